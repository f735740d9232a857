/* The parts of a tile of a matrix product, held in registers while k runs over a block: its start, its multiply-adds, its epilogue,
 * its store. gemm/wide.h and gemm/narrow.h make whole tiles of them. */
#ifndef FNN_GEMM_MICRO_KERNEL_H
#define FNN_GEMM_MICRO_KERNEL_H

#include "../kernels/activation.h"
#include "../kernels/kernels.h"

#define FNN_NR (FNN_NV * FNN_VR) /* columns of a full panel */
#ifndef FNN_MR_NARROW
#define FNN_MR_NARROW FNN_MR /* rows of a tile where C is one register wide */
#endif

/* The parts of a tile of C, [rows, vectors * FNN_VR], held in registers. `last` says which lanes of the last one exist; where
 * `whole`, all of them do and nothing is masked. rows, vectors, whole and a_transposed are constants where these are called.
 * Every loop over the accumulators must unroll, the first and last included, or they live in memory. */

FNN_INLINE vr fnn_tile_load(const bool masked, const real *p, vt t) { return masked ? vr_load_t(p, t) : vr_load(p); }

FNN_INLINE void fnn_tile_put(const bool masked, real *p, vr a, vt t)
{
    if (masked)
        vr_store_t(p, a, t);
    else
        vr_store(p, a);
}

/* `start` NULL is zero; a start_ld of 0 repeats one row. */
FNN_INLINE void fnn_tile_start(const int rows, const int vectors, const bool whole, vr sum[][FNN_NV], const real *start,
                               size_t start_ld, vt last)
{
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            const real *from = start ? start + i * start_ld + v * FNN_VR : NULL;
            sum[i][v] = !start ? vr_zero() : fnn_tile_load(!whole && v == vectors - 1, from, last);
        }
    }
}

/* One k: a column of A times a row of B, which is packed too, unless `packed` is NULL. */
FNN_INLINE void fnn_tile_step(const int rows, const int vectors, const bool whole, const bool a_transposed, vr sum[][FNN_NV],
                              const real *a, size_t lda, const real *b, real *packed, vt last)
{
    vr row[FNN_NV];
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        row[v] = fnn_tile_load(!whole && v == vectors - 1, b + v * FNN_VR, last);
        if (packed) vr_store(packed + v * FNN_VR, row[v]);
    }
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        const vr element = vr_set1(a_transposed ? a[i] : a[i * lda]);
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) sum[i][v] = vr_fma(element, row[v], sum[i][v]);
    }
}

FNN_INLINE void fnn_tile_store(const int rows, const int vectors, const bool whole, vr sum[][FNN_NV], real *c, size_t ldc, vt last)
{
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            fnn_tile_put(!whole && v == vectors - 1, c + i * ldc + v * FNN_VR, sum[i][v], last);
        }
    }
}

/* What a tile does to its sums before it stores them: ReLU and its derivative, which cost next to nothing there. */
typedef enum { FNN_TILE_EPILOGUE_NONE, FNN_TILE_EPILOGUE_RELU, FNN_TILE_EPILOGUE_RELU_DERIVATIVE } fnn_tile_epilogue_kind;

typedef struct fnn_tile_epilogue {
    fnn_tile_epilogue_kind kind;
    const real *saved; /* RELU_DERIVATIVE: the outputs of ReLU that this tile is the gradient of */
    size_t ldsaved;
} fnn_tile_epilogue;

FNN_INLINE void fnn_tile_apply(const int rows, const int vectors, const bool whole, vr sum[][FNN_NV], const fnn_tile_epilogue *epilogue, vt last)
{
    if (epilogue->kind == FNN_TILE_EPILOGUE_RELU) {
        FNN_UNROLL
        for (int i = 0; i < rows; i++) {
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) sum[i][v] = vr_zero_where_not_positive(sum[i][v], sum[i][v]);
        }
    } else if (epilogue->kind == FNN_TILE_EPILOGUE_RELU_DERIVATIVE) {
        FNN_UNROLL
        for (int i = 0; i < rows; i++) {
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const real *from = epilogue->saved + i * epilogue->ldsaved + v * FNN_VR;
                const vr y = fnn_tile_load(!whole && v == vectors - 1, from, last);
                sum[i][v] = vr_zero_where_not_positive(sum[i][v], y);
            }
        }
    }
}

/* The last steps of k, in which a whole vector of B in place of the lanes that exist would reach beyond the end of B. Before them
 * lanes that do not exist are computed from what lies behind a row of B, and dropped: a mask in the loop would cost half of it. */
FNN_INLINE size_t fnn_tile_masked_steps(size_t k, size_t ldb, vt last)
{
    const size_t beyond = FNN_VR - vt_count(last);
    if (beyond == 0 || ldb == 0) return beyond == 0 ? 0 : k; /* all k may share one row */
    const size_t steps = ldb >= FNN_VR ? 1 : (beyond + ldb - 1) / ldb;
    return steps < k ? steps : k;
}

#endif
