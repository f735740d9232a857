/* The matrix product, for the three products of a dense layer:
 *
 *   forward   Y  [batch, out] = bias + X [batch, in] W [in, out]         then y = f(z)
 *   backward  dX [batch, in]  = dY [batch, out] W^T   (b_transposed)     then dx f'(y of the layer below)
 *             dW [in, out]    = X^T dY                (a_transposed)     then the optimizer's update of W
 *
 * Every element of C is one chain of fused multiply-adds in the order of k. How C is cut into panels, tiles and blocks
 * of K never changes a bit of it, so each may be chosen for speed alone:
 *
 *   C is cut into panels of at most FNN_NV vectors of columns, equal to within a vector (100 columns: 64 + 36);
 *   K into blocks of at most FNN_KC; a block of B of one panel, FNN_KC x FNN_NV x 64 bytes, stays in the L2 cache;
 *   rows into tiles of at most FNN_MR, equal to within a row.
 *
 * A tile is held in registers while k runs over a block. A is never packed: the tile broadcasts single elements of it.
 * B is packed where it must be transposed, or where its rows lie far apart and are used often (TLB, set conflicts).
 * What the epilogue does, it does to a tile that is still in the L1 cache. Blocking: Goto & van de Geijn 2008;
 * Van Zee & van de Geijn 2015 (BLIS). */
#ifndef FNN_KERNELS_GEMM_H
#define FNN_KERNELS_GEMM_H

#include "activation.h"
#include "optimizer.h"

#define FNN_KC 256               /* packed: 64 KB of stack with AVX-512, safe on every platform's threads */
#define FNN_NR (FNN_NV * FNN_VF) /* columns of a full panel */
#define FNN_PACK_LD 512          /* pack B from this row length on (a row is 2 KB or more) ... */
#define FNN_PACK_TILES 8         /* ... if at least this many tiles of rows use it */

#define FNN_UNROLL _Pragma("GCC unroll 16")

/* One tile over one block of k: C [rows, vectors * 16] = start + A B. `start` NULL is zero; a start_ld of 0 repeats one
 * row. `last` says which lanes of the last vector exist. rows, vectors and a_transposed are constants where this is
 * called. Every loop over the accumulators must unroll, the first and last included, or they live in memory. */
FNN_INLINE void fnn_tile(const int rows, const int vectors, const bool a_transposed, size_t k, const float *a,
                         size_t lda, const float *b, size_t ldb, const float *start, size_t start_ld, float *c,
                         size_t ldc, vt last)
{
    vf sum[FNN_MR][FNN_NV];
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            const float *from = start + i * start_ld + v * FNN_VF;
            sum[i][v] = !start ? vf_zero() : v == vectors - 1 ? vf_load_t(from, last) : vf_load(from);
        }
    }
    for (size_t p = 0; p < k; p++) {
        vf row[FNN_NV];
        FNN_UNROLL
        for (int v = 0; v < vectors; v++)
            row[v] = v == vectors - 1 ? vf_load_t(b + v * FNN_VF, last) : vf_load(b + v * FNN_VF);
        FNN_UNROLL
        for (int i = 0; i < rows; i++) {
            const vf element = vf_set1(a_transposed ? a[i] : a[i * lda]);
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) sum[i][v] = vf_fma(element, row[v], sum[i][v]);
        }
        a += a_transposed ? lda : 1;
        b += ldb;
    }
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            float *to = c + i * ldc + v * FNN_VF;
            if (v == vectors - 1)
                vf_store_t(to, sum[i][v], last);
            else
                vf_store(to, sum[i][v]);
        }
    }
}

typedef void fnn_tile_fn(size_t k, const float *a, size_t lda, const float *b, size_t ldb, const float *start,
                         size_t start_ld, float *c, size_t ldc, vt last);

#define FNN_TILE(rows, vectors, transposed)                                                                         \
    static void fnn_tile_##rows##_##vectors##_##transposed(size_t k, const float *a, size_t lda, const float *b,    \
                                                           size_t ldb, const float *start, size_t start_ld,         \
                                                           float *c, size_t ldc, vt last)                           \
    {                                                                                                               \
        fnn_tile(rows, vectors, transposed, k, a, lda, b, ldb, start, start_ld, c, ldc, last);                      \
    }
#if FNN_MR == 6
#define FNN_TILES(v, t) FNN_TILE(1, v, t) FNN_TILE(2, v, t) FNN_TILE(3, v, t) FNN_TILE(4, v, t) FNN_TILE(5, v, t) FNN_TILE(6, v, t)
#define FNN_TILE_NAMES(v, t) {fnn_tile_1_##v##_##t, fnn_tile_2_##v##_##t, fnn_tile_3_##v##_##t, fnn_tile_4_##v##_##t, fnn_tile_5_##v##_##t, fnn_tile_6_##v##_##t}
#elif FNN_MR == 2
#define FNN_TILES(v, t) FNN_TILE(1, v, t) FNN_TILE(2, v, t)
#define FNN_TILE_NAMES(v, t) {fnn_tile_1_##v##_##t, fnn_tile_2_##v##_##t}
#else
#error "tiles are listed for 2 and 6 rows"
#endif

FNN_TILES(1, 0)
FNN_TILES(1, 1)
#if FNN_NV == 4
FNN_TILES(2, 0) FNN_TILES(3, 0) FNN_TILES(4, 0)
FNN_TILES(2, 1) FNN_TILES(3, 1) FNN_TILES(4, 1)
#elif FNN_NV != 1
#error "tiles are listed for 1 and 4 vectors"
#endif

static fnn_tile_fn *const fnn_tiles[2][FNN_NV][FNN_MR] = {
#if FNN_NV == 4
    {FNN_TILE_NAMES(1, 0), FNN_TILE_NAMES(2, 0), FNN_TILE_NAMES(3, 0), FNN_TILE_NAMES(4, 0)},
    {FNN_TILE_NAMES(1, 1), FNN_TILE_NAMES(2, 1), FNN_TILE_NAMES(3, 1), FNN_TILE_NAMES(4, 1)},
#else
    {FNN_TILE_NAMES(1, 0)},
    {FNN_TILE_NAMES(1, 1)},
#endif
};

/* B [k, columns] to rows of `vectors` full vectors, zero beyond the columns. */
static void fnn_pack(size_t k, size_t columns, size_t vectors, const float *b, size_t ldb, float *packed)
{
    const vt last = vt_first(columns - (vectors - 1) * FNN_VF);
    for (size_t p = 0; p < k; p++, b += ldb, packed += vectors * FNN_VF) {
        for (size_t v = 0; v + 1 < vectors; v++) vf_store(packed + v * FNN_VF, vf_load(b + v * FNN_VF));
        vf_store(packed + (vectors - 1) * FNN_VF, vf_load_t(b + (vectors - 1) * FNN_VF, last));
    }
}

/* The same from B stored transposed, [columns, k]: blocks of 16 x 16 turned in registers. */
static void fnn_pack_transposed(size_t k, size_t columns, size_t vectors, const float *b, size_t ldb, float *packed)
{
    const size_t ldp = vectors * FNN_VF;
    for (size_t v = 0; v < vectors; v++) {
        const size_t j0 = v * FNN_VF, width = columns - j0 < FNN_VF ? columns - j0 : FNN_VF;
        for (size_t p = 0; p < k; p += FNN_VF) {
            const size_t depth = k - p < FNN_VF ? k - p : FNN_VF;
            const vt t = vt_first(depth);
            vf block[FNN_VF];
            FNN_UNROLL
            for (size_t j = 0; j < FNN_VF; j++)
                block[j] = j < width ? vf_load_t(b + (j0 + j) * ldb + p, t) : vf_zero();
            vf_transpose(block);
            FNN_UNROLL
            for (size_t q = 0; q < FNN_VF; q++)
                if (q < depth) vf_store(packed + (p + q) * ldp + j0, block[q]);
        }
    }
}

/* The epilogues, on a finished tile: rows i .. i+rows of C, columns j .. j+width; its elements are at c, ldc. */
static void fnn_finish_activation(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++) {
        float *row = c + r * ldc;
        if (g->z) memcpy(g->z + (i + r) * g->ldz + j, row, width * sizeof(float));
        fnn_activation_forward(g->activation, g->alpha, width, row, row);
    }
}

static void fnn_finish_derivative(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++) {
        float *row = c + r * ldc;
        fnn_activation_backward(g->activation, g->alpha, width, row, g->saved + (i + r) * g->ldsaved + j, row);
    }
}

static fnn_update_f32 *const fnn_update_rules_f32[FNN_UPDATE_RULES] = {
#define FNN_UPDATE(rule, name) [rule] = fnn_##name##_f32,
#include "../kernels.def"
#undef FNN_UPDATE
};

static void fnn_finish_update(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (i + r) * g->ldw + j;
        fnn_update_rules_f32[g->rule](width, g->scalars, g->w + at, c + r * ldc, g->state[0] ? g->state[0] + at : NULL,
                                      g->state[1] ? g->state[1] + at : NULL);
    }
}

/* Ask for the weights and states of a tile while its product runs: the update then finds them in cache. */
FNN_INLINE void fnn_prefetch_update(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (i + r) * g->ldw + j;
        for (size_t x = 0; x < width; x += 16) {
            __builtin_prefetch(g->w + at + x, 1);
            if (g->state[0]) __builtin_prefetch(g->state[0] + at + x, 1);
            if (g->state[1]) __builtin_prefetch(g->state[1] + at + x, 1);
        }
    }
}

static void fnn_gemm(const fnn_product *g)
{
    float packed[FNN_KC * FNN_NR] __attribute__((aligned(64)));
    float update_tile[FNN_MR * FNN_NR] __attribute__((aligned(64)));
    const bool update = g->epilogue == FNN_EPILOGUE_UPDATE;
    const size_t tiles = (g->m + FNN_MR - 1) / FNN_MR;
    const size_t vectors = (g->n + FNN_VF - 1) / FNN_VF, panels = (vectors + FNN_NV - 1) / FNN_NV;
    /* An update's tile has no C to leave partial sums in: its k runs through in one block. */
    const size_t blocks = update || g->k == 0 ? 1 : (g->k + FNN_KC - 1) / FNN_KC;
    const bool pack = g->b_transposed || (g->ldb >= FNN_PACK_LD && tiles >= FNN_PACK_TILES && g->k <= blocks * FNN_KC);

    for (size_t panel = 0, j = 0; panel < panels; panel++) {
        const size_t wide = vectors / panels + (panel < vectors % panels);
        const size_t width = wide * FNN_VF < g->n - j ? wide * FNN_VF : g->n - j;
        const vt last = vt_first(width - (wide - 1) * FNN_VF);
        for (size_t block = 0, p = 0; block < blocks; block++) {
            const size_t depth = g->k / blocks + (block < g->k % blocks);
            const float *b = g->b + p * g->ldb + j;
            size_t ldb = g->ldb;
            if (pack) {
                if (g->b_transposed)
                    fnn_pack_transposed(depth, width, wide, g->b + j * g->ldb + p, g->ldb, packed);
                else
                    fnn_pack(depth, width, wide, b, ldb, packed);
                b = packed;
                ldb = wide * FNN_VF;
            }
            for (size_t tile = 0, i = 0; tile < tiles; tile++) {
                const size_t rows = g->m / tiles + (tile < g->m % tiles);
                float *c = update ? update_tile : g->c + i * g->ldc + j;
                const size_t ldc = update ? FNN_NR : g->ldc;
                const bool resume = block > 0 || g->accumulate;
                const float *start = resume ? c : g->bias ? g->bias + j : NULL;
                if (update) fnn_prefetch_update(g, i, j, rows, width);
                fnn_tiles[g->a_transposed][wide - 1][rows - 1](
                    depth, g->a_transposed ? g->a + p * g->lda + i : g->a + i * g->lda + p, g->lda, b, ldb, start,
                    resume ? ldc : 0, c, ldc, last);
                if (block == blocks - 1) {
                    switch (g->epilogue) {
                    case FNN_EPILOGUE_ACTIVATION: fnn_finish_activation(g, i, j, rows, width, c, ldc); break;
                    case FNN_EPILOGUE_DERIVATIVE: fnn_finish_derivative(g, i, j, rows, width, c, ldc); break;
                    case FNN_EPILOGUE_UPDATE: fnn_finish_update(g, i, j, rows, width, c, ldc); break;
                    default: break;
                    }
                }
                i += rows;
            }
            p += depth;
        }
        j += width;
    }
}
#endif
