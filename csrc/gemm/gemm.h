/* The matrix product, for the three products of a dense layer:
 *
 *   forward   Y  [batch, out] = bias + X [batch, in] W [in, out]         then y = f(z)
 *   backward  dX [batch, in]  = dY [batch, out] W^T   (b_transposed)     then dx f'(y of the layer below)
 *             dW [in, out]    = X^T dY                (a_transposed)     then the optimizer's update of W
 *
 * Every element of C is one chain of fused multiply-adds in the order of k (of dW over more than 65,536 rows, one for each so
 * many). How C is cut into panels, tiles and blocks of K never changes a bit of it, so each may be chosen for speed alone.
 * Blocking: Goto & van de Geijn 2008; Van Zee & van de Geijn 2015 (BLIS).
 *
 *   micro_kernel.h      a tile of C in registers while k runs
 *   blocking.h          panels, blocks and tiles
 *   pack.h              copies of blocks in the order in which tiles read them
 *   prefetch.h          what tiles prefetch meanwhile
 *   epilogues.h         activation, derivative, penalty and update of a finished tile
 *   pipelined_update.h  Adam between the steps of the next tile's product
 *   row.h               a product of one row
 *   wide.h, narrow.h    whole products by panels of 4 cache lines and of one
 *   windows.h           convolutions, whose A are windows of an image
 *   depthwise.h         those of each channel with a filter of its own
 *
 * This file chooses among them, and has the forms for few k and for few columns. */
#ifndef FNN_GEMM_GEMM_H
#define FNN_GEMM_GEMM_H

#include "../kernels/pieces.h"
#include "../kernels/sums.h"
#include "row.h"

/* Products and updates cut into tiles: fnn_gemm_rows, fnn_gemm_update and, of one tile, fnn_gemm_tile. */
#if FNN_NR > FNN_LANES
#include "wide.h"
#else
#include "narrow.h"
#endif

/* A product with W^T over few k, as dX = dY W^T of a layer with few outputs: what it does is to read and write large matrices. It
 * goes through them one row of tiles after the other, with all that it needs of W^T, or as many panels of it as find room, packed
 * before. Its tiles are too short to ask line by line for where the next one stores. */
#define FNN_SMALL_K 16

static bool fnn_has_small_k(const fnn_product *g)
{
    return g->b_transposed && !g->a_transposed && g->k > 0 && g->k <= FNN_SMALL_K && !g->bias;
}

static void fnn_gemm_small_k(const fnn_product *g)
{
    real packed[FNN_KC * FNN_NR] __attribute__((aligned(64)));
    const size_t tiles = fnn_row_tiles(g->m), panels = (g->n + FNN_NR - 1) / FNN_NR, max = FNN_KC / g->k;
    const size_t each = g->m / tiles, more = g->m % tiles;
    const bool finish = fnn_tiles_need_finish(g);
    fnn_tile_epilogue epilogue = {.kind = fnn_tile_epilogue_of(g), .ldsaved = g->ldsaved};
    for (size_t from = 0; from < panels; from += max) {
        const size_t end = from + max < panels ? from + max : panels;
        for (size_t panel = from; panel < end; panel++) {
            const fnn_block q = fnn_block_of(g, panels, 1, panel);
            fnn_pack_transposed(g, &q, packed + (panel - from) * g->k * FNN_NR);
        }
        for (size_t tile = 0, i = 0; tile < tiles; tile++) {
            const size_t rows = each + (tile < more);
            for (size_t panel = from; panel < end; panel++) {
                const fnn_block q = fnn_block_of(g, panels, 1, panel);
                real *c = g->c + i * g->ldc + q.j;
                if (g->m * g->n >= FNN_LARGE_C && panel + 1 < end) fnn_prefetch_to_write(c + q.width, rows, q.width, g->ldc);
                fnn_tile_epilogue_at(&epilogue, g, i, q.j);
                fnn_gemm_tile(rows, q.vectors, g->k, g->a + i * g->lda, g->lda, packed + (panel - from) * g->k * FNN_NR,
                              fnn_packed_ld(&q), g->accumulate ? c : NULL, g->ldc, c, g->ldc, fnn_block_last(&q), &epilogue);
                if (finish) fnn_finish(g, i, q.j, rows, q.width, c, g->ldc);
            }
            i += rows;
        }
    }
}

/* dW = X^T dY with fewer columns than a vector has lanes: the transpose, dY^T X, fills the lanes. It is transposed as it is done,
 * and w, which has no other columns, updated as one array. */
static bool fnn_may_swap(const fnn_product *g)
{
    if (!g->a_transposed || g->n >= FNN_LANES) return false;
    return g->epilogue == FNN_EPILOGUE_UPDATE ? g->ldw == g->n : !g->accumulate && !g->penalized;
}

#define FNN_SWAPPED_ROWS (2 * FNN_NR > 64 ? 2 * FNN_NR : 64) /* rows of C at a time */

/* C [rows, n], n up to a vector's lanes, from its transpose, whose rows are FNN_SWAPPED_ROWS apart. */
static void fnn_transpose_back(size_t rows, size_t n, const real *transposed, real *c, size_t ldc)
{
    const vt t = vt_first(n);
    for (size_t r = 0; r < rows; r += FNN_LANES) {
        vec block[FNN_LANES];
        for (size_t j = 0; j < FNN_LANES; j++) block[j] = j < n ? v_load(transposed + j * FNN_SWAPPED_ROWS + r) : v_zero();
        v_transpose(block);
        for (size_t j = 0; j < FNN_LANES && r + j < rows; j++) v_store_t(c + (r + j) * ldc, block[j], t);
    }
}

static void fnn_gemm_swapped(const fnn_product *g)
{
    real transposed[FNN_LANES * FNN_SWAPPED_ROWS] __attribute__((aligned(64))), gradient[FNN_LANES * (FNN_SWAPPED_ROWS + 1)];
    const bool update = g->epilogue == FNN_EPILOGUE_UPDATE;
    for (size_t i = 0; i < g->m; i += FNN_SWAPPED_ROWS) {
        const size_t rows = g->m - i < FNN_SWAPPED_ROWS ? g->m - i : FNN_SWAPPED_ROWS;
        real *dw = update ? gradient : g->c + i * g->ldc;
        const size_t lddw = update ? g->n : g->ldc;
        fnn_gemm_rows(&(fnn_product){.m = g->n, .n = rows, .k = g->k, .a = g->b, .lda = g->ldb, .a_transposed = true,
                                     .b = g->a + i, .ldb = g->lda, .c = transposed, .ldc = FNN_SWAPPED_ROWS});
        fnn_transpose_back(rows, g->n, transposed, dw, lddw);
        if (!update) continue;
        if (g->penalized) fnn_finish_penalty(g, 0, i * g->n, 1, rows * g->n, gradient, 0);
        fnn_finish_update(g, 0, i * g->n, 1, rows * g->n, gradient, 0);
    }
}

/* Y = bias + X W with very few columns: Y^T = W^T X^T in the same way. X must be transposed for it, which pays for this few. */
#define FNN_SWAPPED_COLUMNS 4

static bool fnn_may_swap_forward(const fnn_product *g)
{
    return !g->a_transposed && !g->b_transposed && !g->accumulate && g->n <= FNN_SWAPPED_COLUMNS && g->m >= FNN_LANES &&
           (g->epilogue == FNN_EPILOGUE_NONE || g->epilogue == FNN_EPILOGUE_ACTIVATION);
}

static void fnn_gemm_swapped_forward(const fnn_product *g)
{
    real transposed[FNN_SWAPPED_COLUMNS * FNN_SWAPPED_ROWS] __attribute__((aligned(64)));
    for (size_t i = 0; i < g->m; i += FNN_SWAPPED_ROWS) {
        const size_t rows = g->m - i < FNN_SWAPPED_ROWS ? g->m - i : FNN_SWAPPED_ROWS;
        for (size_t j = 0; j < g->n; j++)
            for (size_t r = 0; r < FNN_SWAPPED_ROWS; r += FNN_LANES)
                v_store(transposed + j * FNN_SWAPPED_ROWS + r, g->bias ? v_set1(g->bias[j]) : v_zero());
        fnn_gemm_rows(&(fnn_product){.m = g->n, .n = rows, .k = g->k, .a = g->b, .lda = g->ldb, .a_transposed = true,
                                     .b = g->a + i * g->lda, .ldb = g->lda, .b_transposed = true, .accumulate = true,
                                     .c = transposed, .ldc = FNN_SWAPPED_ROWS});
        real *y = g->c + i * g->ldc;
        fnn_transpose_back(rows, g->n, transposed, y, g->ldc);
        if (g->epilogue == FNN_EPILOGUE_ACTIVATION) fnn_finish_activation(g, i, 0, rows, g->n, y, g->ldc);
    }
}

/* dW = X^T dY over so many rows that a chain of all would stop growing: one chain for each FNN_SUM_BLOCK of them, added in order.
 * It goes through C in pieces that find room on the stack. */
#define FNN_LONG_ROWS 96
#define FNN_LONG_COLUMNS 64

static bool fnn_has_long_k(const fnn_product *g) { return g->a_transposed && g->k > FNN_SUM_BLOCK; }

static void fnn_gemm_long_k(const fnn_product *g)
{
    real sum[FNN_LONG_ROWS * FNN_LONG_COLUMNS] __attribute__((aligned(64))), block[FNN_LONG_ROWS * FNN_LONG_COLUMNS];
    for (size_t i = 0; i < g->m; i += FNN_LONG_ROWS) {
        for (size_t j = 0; j < g->n; j += FNN_LONG_COLUMNS) {
            const size_t rows = fnn_min(g->m - i, FNN_LONG_ROWS), columns = fnn_min(g->n - j, FNN_LONG_COLUMNS);
            for (size_t from = 0, end; from < g->k; from = end) {
                end = fnn_block_end(from, g->k);
                fnn_gemm_rows(&(fnn_product){.m = rows, .n = columns, .k = end - from, .a = g->a + from * g->lda + i, .lda = g->lda,
                                             .a_transposed = true, .b = g->b + from * g->ldb + j, .ldb = g->ldb,
                                             .c = from ? block : sum, .ldc = columns});
                if (from) fnn_add(rows * columns, sum, block, sum);
            }
            real *c = g->epilogue == FNN_EPILOGUE_UPDATE ? NULL : g->c + i * g->ldc + j;
            for (size_t r = 0; r < rows && c && g->accumulate; r++)
                fnn_add(columns, c + r * g->ldc, sum + r * columns, sum + r * columns);
            fnn_finish(g, i, j, rows, columns, sum, columns);
            for (size_t r = 0; r < rows && c; r++) memcpy(c + r * g->ldc, sum + r * columns, columns * sizeof(real));
        }
    }
}

static void fnn_gemm(const fnn_product *g)
{
    if (g->m == 0 || g->n == 0) return;
    if (fnn_has_long_k(g))
        fnn_gemm_long_k(g);
    else if (fnn_may_swap(g))
        fnn_gemm_swapped(g);
    else if (g->epilogue == FNN_EPILOGUE_UPDATE)
        fnn_gemm_update(g);
    else if (g->m == 1 && !g->a_transposed && !g->b_transposed)
        fnn_gemm_row(g);
    else if (fnn_may_swap_forward(g))
        fnn_gemm_swapped_forward(g);
    else if (fnn_has_small_k(g))
        fnn_gemm_small_k(g);
    else
        fnn_gemm_rows(g);
}

#endif
