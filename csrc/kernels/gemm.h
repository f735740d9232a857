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
 *   K into blocks of at most FNN_KC or, where there is room to pack B or no need to, some FNN_LONG_K; a block of B of one panel
 *     stays in the L1 or, beside the next one, in the L2 cache. Both are near enough; longer blocks begin and end fewer tiles;
 *   rows into tiles of at most FNN_MR (FNN_TALL where C is one vector wide), equal to within a row.
 *
 * A tile is held in registers while k runs over a block. A is not packed (but see fnn_gemm_deep): the tile broadcasts single
 * elements of it. B is packed where it must be transposed, or where its rows are used often and lie far apart (TLB, set
 * conflicts). What the tiles after it need from beyond the L2 cache, a tile asks for while it computes.
 * What the epilogue does, it does to a tile that is still in the L1 cache. Blocking: Goto & van de Geijn 2008;
 * Van Zee & van de Geijn 2015 (BLIS). */
#ifndef FNN_KERNELS_GEMM_H
#define FNN_KERNELS_GEMM_H

#include "gemm_tile.h"

#define FNN_ROW_AHEAD 8          /* rows of B asked for ahead of a lone row of A, in pieces too short for the hardware to guess */

/* A block of B: columns [j, j + width), in `vectors` vectors, k from p on, `depth` of them. */
typedef struct fnn_block {
    size_t j, width, vectors, p, depth;
} fnn_block;

/* Where the part number `part` of `parts` of n begins: each is as large as the others, the first ones perhaps by one larger. */
FNN_INLINE size_t fnn_part(size_t n, size_t parts, size_t part)
{
    const size_t each = n / parts, more = n % parts;
    return part * each + (part < more ? part : more);
}

/* The tiles of m rows. */
FNN_INLINE size_t fnn_row_tiles(size_t m) { return (m + FNN_MR - 1) / FNN_MR; }

/* Of panels x blocks, counted through the blocks of one panel first. */
static fnn_block fnn_block_of(const fnn_product *g, size_t panels, size_t blocks, size_t stage)
{
    const size_t vectors = (g->n + FNN_VR - 1) / FNN_VR, panel = stage / blocks, block = stage % blocks;
    const size_t v = fnn_part(vectors, panels, panel), p = fnn_part(g->k, blocks, block);
    fnn_block q = {.j = v * FNN_VR, .vectors = fnn_part(vectors, panels, panel + 1) - v, .p = p,
                   .depth = fnn_part(g->k, blocks, block + 1) - p};
    q.width = q.vectors * FNN_VR < g->n - q.j ? q.vectors * FNN_VR : g->n - q.j;
    return q;
}

FNN_INLINE const float *fnn_block_data(const fnn_product *g, const fnn_block *q)
{
    return g->b_transposed ? g->b + q->j * g->ldb + q->p : g->b + q->p * g->ldb + q->j;
}

FNN_INLINE vt fnn_block_last(const fnn_block *q) { return vt_first(q->width - (q->vectors - 1) * FNN_VR); }

/* The distance of two rows of a block that is packed, in floats: whole vectors. */
FNN_INLINE size_t fnn_packed_ld(const fnn_block *q) { return (q->vectors * FNN_VR + FNN_VF - 1) / FNN_VF * FNN_VF; }

/* B, stored transposed, [n, k], to rows of whole vectors, zero beyond the width: squares of 16 x 16 turned in registers. */
static void fnn_pack_transposed(const fnn_product *g, const fnn_block *q, float *packed)
{
    const size_t ldp = fnn_packed_ld(q);
    const float *b = fnn_block_data(g, q);
    for (size_t j0 = 0; j0 < q->width; j0 += FNN_VF) {
        const size_t width = q->width - j0 < FNN_VF ? q->width - j0 : FNN_VF;
        for (size_t p = 0; p < q->depth; p += FNN_VF) {
            const size_t depth = q->depth - p < FNN_VF ? q->depth - p : FNN_VF;
            const vt t = vt_first(depth);
            vf square[FNN_VF];
            FNN_UNROLL
            for (size_t j = 0; j < FNN_VF; j++)
                square[j] = j < width ? vf_load_t(b + (j0 + j) * g->ldb + p, t) : vf_zero();
            vf_transpose(square);
            FNN_UNROLL
            for (size_t r = 0; r < FNN_VF; r++)
                if (r < depth) vf_store(packed + (p + r) * ldp + j0, square[r]);
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
#define FNN_UPDATE(code, name, states) [code] = fnn_##name##_f32,
#include "../kernels.def"
#undef FNN_UPDATE
};

static void fnn_finish_update(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    const size_t at = i * g->ldw + j;
    float *state[FNN_STATES];
    fnn_states_at(state, g->state, at);
    fnn_update_rules_f32[g->rule](rows, width, g->scalars, g->w + at, g->ldw, c, ldc, state);
}

/* The gradient of a penalty on the weights, added to a finished tile of theirs. */
static void fnn_finish_penalty(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++)
        fnn_penalty_backward(width, g->l1, g->l2, g->penalized + (i + r) * g->ldw + j, c + r * ldc);
}

static void fnn_finish(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    if (g->penalized) fnn_finish_penalty(g, i, j, rows, width, c, ldc);
    switch (g->epilogue) {
    case FNN_EPILOGUE_ACTIVATION: fnn_finish_activation(g, i, j, rows, width, c, ldc); break;
    case FNN_EPILOGUE_DERIVATIVE: fnn_finish_derivative(g, i, j, rows, width, c, ldc); break;
    case FNN_EPILOGUE_UPDATE: fnn_finish_update(g, i, j, rows, width, c, ldc); break;
    default: break;
    }
}

/* One row times B: every element of B is used once, so what counts is to read it as it lies. Panels are as wide as the
 * accumulators allow, in equal parts, and k runs through in one block. */
FNN_INLINE void fnn_row_panel(const int vectors, size_t k, const float *a, const float *b, size_t ldb, const float *start,
                              float *c, vt last)
{
    vf sum[FNN_ROW_NV];
    const float *ahead = b + FNN_ROW_AHEAD * ldb; /* one pointer for all vectors: of sums the compiler would keep one for each */
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const float *from = start ? start + v * FNN_VF : NULL;
        sum[v] = !start ? vf_zero() : v == vectors - 1 ? vf_load_t(from, last) : vf_load(from);
    }
    for (size_t p = 0; p < k; p++, b += ldb, ahead += ldb) {
        const vf element = vf_set1(a[p]);
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(ahead + v * FNN_VF);
            const vf row = v == vectors - 1 ? vf_load_t(b + v * FNN_VF, last) : vf_load(b + v * FNN_VF);
            sum[v] = vf_fma(element, row, sum[v]);
        }
    }
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        if (v == vectors - 1)
            vf_store_t(c + v * FNN_VF, sum[v], last);
        else
            vf_store(c + v * FNN_VF, sum[v]);
    }
}

static void fnn_gemm_row(const fnn_product *g)
{
    const size_t vectors = (g->n + FNN_VF - 1) / FNN_VF, panels = (vectors + FNN_ROW_NV - 1) / FNN_ROW_NV;
    /* Where a layer's columns are shared by a team, other CPUs have just written most of A and have read C last: all lines of
     * both are asked for at once, since the loop below would come upon them one after the other. */
    for (size_t p = 0; p < g->k; p += 16) __builtin_prefetch(g->a + p);
    for (size_t j = 0; j < g->n; j += 16) __builtin_prefetch(g->c + j, 1);
    for (size_t panel = 0, j = 0; panel < panels; panel++) {
        const size_t wide = vectors / panels + (panel < vectors % panels);
        const size_t width = wide * FNN_VF < g->n - j ? wide * FNN_VF : g->n - j;
        const vt last = vt_first(width - (wide - 1) * FNN_VF);
        const float *b = g->b + j, *start = g->accumulate ? g->c + j : g->bias ? g->bias + j : NULL;
        float *c = g->c + j;
        switch (wide) {
        case 1: fnn_row_panel(1, g->k, g->a, b, g->ldb, start, c, last); break;
        case 2: fnn_row_panel(2, g->k, g->a, b, g->ldb, start, c, last); break;
#if FNN_ROW_NV > 2
        case 3: fnn_row_panel(3, g->k, g->a, b, g->ldb, start, c, last); break;
        case 4: fnn_row_panel(4, g->k, g->a, b, g->ldb, start, c, last); break;
#endif
#if FNN_ROW_NV > 4
        case 5: fnn_row_panel(5, g->k, g->a, b, g->ldb, start, c, last); break;
        case 6: fnn_row_panel(6, g->k, g->a, b, g->ldb, start, c, last); break;
        case 7: fnn_row_panel(7, g->k, g->a, b, g->ldb, start, c, last); break;
        case 8: fnn_row_panel(8, g->k, g->a, b, g->ldb, start, c, last); break;
#endif
#if FNN_ROW_NV > 8
        case 9: fnn_row_panel(9, g->k, g->a, b, g->ldb, start, c, last); break;
        case 10: fnn_row_panel(10, g->k, g->a, b, g->ldb, start, c, last); break;
        case 11: fnn_row_panel(11, g->k, g->a, b, g->ldb, start, c, last); break;
        case 12: fnn_row_panel(12, g->k, g->a, b, g->ldb, start, c, last); break;
        case 13: fnn_row_panel(13, g->k, g->a, b, g->ldb, start, c, last); break;
        case 14: fnn_row_panel(14, g->k, g->a, b, g->ldb, start, c, last); break;
        case 15: fnn_row_panel(15, g->k, g->a, b, g->ldb, start, c, last); break;
        case 16: fnn_row_panel(16, g->k, g->a, b, g->ldb, start, c, last); break;
#endif
        }
        if (g->epilogue == FNN_EPILOGUE_ACTIVATION) fnn_finish_activation(g, 0, j, 1, width, c, g->ldc);
        if (g->epilogue == FNN_EPILOGUE_DERIVATIVE) fnn_finish_derivative(g, 0, j, 1, width, c, g->ldc);
        j += width;
    }
}

/* The gate of the tile at row i, column j. */
FNN_INLINE fnn_gate fnn_gate_of(const fnn_product *g, size_t i, size_t j)
{
    if (g->activation != FNN_RELU || g->z) return (fnn_gate){.kind = FNN_GATE_OPEN};
    if (g->epilogue == FNN_EPILOGUE_ACTIVATION) return (fnn_gate){.kind = FNN_GATE_RELU};
    if (g->epilogue == FNN_EPILOGUE_DERIVATIVE)
        return (fnn_gate){FNN_GATE_RELU_DERIVATIVE, g->saved + i * g->ldsaved + j, g->ldsaved};
    return (fnn_gate){.kind = FNN_GATE_OPEN};
}

/* All `rows` rows of `width` columns, ld apart, to be written. */
FNN_INLINE void fnn_prefetch_to_write(const float *at, size_t rows, size_t width, size_t ld)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t x = 0; x < width; x += 16) __builtin_prefetch(at + r * ld + x, 1);
}

#define FNN_LARGE_C (1 << 16) /* a C of so many elements, 256 KB, has left the caches nearby since it was last used */

/* Products and updates cut into tiles: fnn_gemm_rows, fnn_gemm_update and, of one tile, fnn_gemm_tile. */
#if FNN_NR > FNN_VF
#include "gemm_wide.h"
#else
#include "gemm_panels.h"
#endif

/* A product with W^T over few k, as dX = dY W^T of a layer with few outputs: what it does is to read and write large matrices. It
 * goes through them one row of tiles after the other, with all that it needs of W^T, or as many panels of it as find room, packed
 * before. Its tiles are too short to ask line by line for where the next one stores. */
#define FNN_SHALLOW_K 16

static bool fnn_may_go_by_row(const fnn_product *g)
{
    return g->b_transposed && !g->a_transposed && g->k > 0 && g->k <= FNN_SHALLOW_K && !g->bias;
}

static void fnn_gemm_by_row(const fnn_product *g)
{
    float packed[FNN_KC * FNN_NR] __attribute__((aligned(64)));
    const size_t tiles = fnn_row_tiles(g->m), panels = (g->n + FNN_NR - 1) / FNN_NR, most = FNN_KC / g->k;
    for (size_t from = 0; from < panels; from += most) {
        const size_t upto = from + most < panels ? from + most : panels;
        for (size_t panel = from; panel < upto; panel++) {
            const fnn_block q = fnn_block_of(g, panels, 1, panel);
            fnn_pack_transposed(g, &q, packed + (panel - from) * g->k * FNN_NR);
        }
        for (size_t tile = 0, i = 0; tile < tiles; tile++) {
            const size_t rows = g->m / tiles + (tile < g->m % tiles);
            for (size_t panel = from; panel < upto; panel++) {
                const fnn_block q = fnn_block_of(g, panels, 1, panel);
                const fnn_gate gate = fnn_gate_of(g, i, q.j);
                float *c = g->c + i * g->ldc + q.j;
                if (g->m * g->n >= FNN_LARGE_C && panel + 1 < upto) fnn_prefetch_to_write(c + q.width, rows, q.width, g->ldc);
                fnn_gemm_tile(rows, q.vectors, g->k, g->a + i * g->lda, g->lda, packed + (panel - from) * g->k * FNN_NR,
                              fnn_packed_ld(&q), g->accumulate ? c : NULL, g->ldc, c, g->ldc, fnn_block_last(&q), &gate);
                if (gate.kind == FNN_GATE_OPEN) fnn_finish(g, i, q.j, rows, q.width, c, g->ldc);
            }
            i += rows;
        }
    }
}

/* dW = X^T dY with fewer columns than a vector has lanes: the transpose, dY^T X, fills the lanes. It is turned as it is done,
 * and w, which has no other columns, updated as one array. */
static bool fnn_may_turn(const fnn_product *g)
{
    if (!g->a_transposed || g->n >= FNN_VF) return false;
    return g->epilogue == FNN_EPILOGUE_UPDATE ? g->ldw == g->n : !g->accumulate && !g->penalized;
}

#define FNN_TURNED (2 * FNN_NR > 64 ? 2 * FNN_NR : 64) /* rows of C at a time */

/* C [rows, n], n up to 16, from its transpose, whose rows are FNN_TURNED apart. */
static void fnn_turn_back(size_t rows, size_t n, const float *turned, float *c, size_t ldc)
{
    const vt t = vt_first(n);
    for (size_t r = 0; r < rows; r += FNN_VF) {
        vf block[FNN_VF];
        for (size_t j = 0; j < FNN_VF; j++) block[j] = j < n ? vf_load(turned + j * FNN_TURNED + r) : vf_zero();
        vf_transpose(block);
        for (size_t j = 0; j < FNN_VF && r + j < rows; j++) vf_store_t(c + (r + j) * ldc, block[j], t);
    }
}

static void fnn_gemm_turned(const fnn_product *g)
{
    float turned[FNN_VF * FNN_TURNED] __attribute__((aligned(64))), gradient[FNN_VF * (FNN_TURNED + 1)];
    const bool update = g->epilogue == FNN_EPILOGUE_UPDATE;
    for (size_t i = 0; i < g->m; i += FNN_TURNED) {
        const size_t rows = g->m - i < FNN_TURNED ? g->m - i : FNN_TURNED;
        float *dw = update ? gradient : g->c + i * g->ldc;
        const size_t lddw = update ? g->n : g->ldc;
        fnn_gemm_rows(&(fnn_product){.m = g->n, .n = rows, .k = g->k, .a = g->b, .lda = g->ldb, .a_transposed = true,
                                     .b = g->a + i, .ldb = g->lda, .c = turned, .ldc = FNN_TURNED});
        fnn_turn_back(rows, g->n, turned, dw, lddw);
        if (!update) continue;
        if (g->penalized) fnn_finish_penalty(g, 0, i * g->n, 1, rows * g->n, gradient, 0);
        fnn_finish_update(g, 0, i * g->n, 1, rows * g->n, gradient, 0);
    }
}

/* Y = bias + X W with very few columns: Y^T = W^T X^T in the same way. X must be transposed for it, which pays for this few. */
#define FNN_TURNED_COLUMNS 4

static bool fnn_may_turn_forward(const fnn_product *g)
{
    return !g->a_transposed && !g->b_transposed && !g->accumulate && g->n <= FNN_TURNED_COLUMNS && g->m >= FNN_VF &&
           (g->epilogue == FNN_EPILOGUE_NONE || g->epilogue == FNN_EPILOGUE_ACTIVATION);
}

static void fnn_gemm_turned_forward(const fnn_product *g)
{
    float turned[FNN_TURNED_COLUMNS * FNN_TURNED] __attribute__((aligned(64)));
    for (size_t i = 0; i < g->m; i += FNN_TURNED) {
        const size_t rows = g->m - i < FNN_TURNED ? g->m - i : FNN_TURNED;
        for (size_t j = 0; j < g->n; j++)
            for (size_t r = 0; r < FNN_TURNED; r += FNN_VF)
                vf_store(turned + j * FNN_TURNED + r, g->bias ? vf_set1(g->bias[j]) : vf_zero());
        fnn_gemm_rows(&(fnn_product){.m = g->n, .n = rows, .k = g->k, .a = g->b, .lda = g->ldb, .a_transposed = true,
                                     .b = g->a + i * g->lda, .ldb = g->lda, .b_transposed = true, .accumulate = true,
                                     .c = turned, .ldc = FNN_TURNED});
        float *y = g->c + i * g->ldc;
        fnn_turn_back(rows, g->n, turned, y, g->ldc);
        if (g->epilogue == FNN_EPILOGUE_ACTIVATION) fnn_finish_activation(g, i, 0, rows, g->n, y, g->ldc);
    }
}

static void fnn_gemm(const fnn_product *g)
{
    if (fnn_may_turn(g))
        fnn_gemm_turned(g);
    else if (g->epilogue == FNN_EPILOGUE_UPDATE)
        fnn_gemm_update(g);
    else if (g->m == 1 && !g->a_transposed && !g->b_transposed)
        fnn_gemm_row(g);
    else if (fnn_may_turn_forward(g))
        fnn_gemm_turned_forward(g);
    else if (fnn_may_go_by_row(g))
        fnn_gemm_by_row(g);
    else
        fnn_gemm_rows(g);
}

#endif
