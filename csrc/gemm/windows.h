/* Products with the windows of an image, which are read where they lie: convolutions and their gradients.
 *
 * The pixels of an image lie in lines. A window has `depth` elements side by side at each of its taps, and those of the next
 * pixel of a line begin `step` further on, so a tile of pixels is one of the kernel of matrices that jumps at each tap. Where nothing lies
 * between the lines of C, tiles of more than one register go on from one line to the next.
 * Nothing is copied but B, once for all images: in panels of whole vectors, [panel][k][vectors], zero beyond the columns.
 *
 *   fnn_windows_pack      B in panels
 *   fnn_windows_product   C [pixels, n] = bias + windows B
 *   fnn_windows_gradient  C [k, n] = windows^T B, whose rows are the pixels: the gradient of the weights */
#ifndef FNN_GEMM_WINDOWS_H
#define FNN_GEMM_WINDOWS_H

#include "epilogues.h"

#define FNN_GRADIENT_PIXELS 160 /* of a block: what its tiles read of A and B, a few lines each, stays in the L1 cache */

/* k runs through `lines` of `runs` of `depth` steps. */
typedef struct fnn_window_task {
    size_t lines, runs, depth;
    ptrdiff_t line_step, run_step; /* of A */
    const real *row[FNN_MR]; /* A: of a tile of more than one register each row, */
    const real *a;           /* else the first one, */
    size_t step; /* and from row to row; transposed, from one k to the next */
    const real *b;
    size_t ldb;
    size_t masked; /* steps at the very end in which a whole vector would reach beyond the end of B */
    const real *start;
    size_t start_ld;
    real *c;
    size_t ldc;
    vt last;
    fnn_tile_epilogue epilogue;
} fnn_window_task;

/* One k of a tile whose rows lie anywhere; B is packed. */
FNN_INLINE void fnn_window_step(const int rows, const int vectors, vr sum[][FNN_NV], const real *const *row, ptrdiff_t at, const real *b)
{
    vr line[FNN_NV];
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) line[v] = vr_load(b + v * FNN_VR);
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        const vr element = vr_set1(row[i][at]);
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) sum[i][v] = vr_fma(element, line[v], sum[i][v]);
    }
}

FNN_INLINE void fnn_window_rows(const int rows, const int vectors, vr sum[][FNN_NV], const fnn_window_task *t)
{
    const size_t ldb = t->ldb;
    const real *row[FNN_MR], *b = t->b;
    FNN_UNROLL
    for (int i = 0; i < rows; i++) row[i] = t->row[i];
    for (size_t y = 0; y < t->lines; y++)
        for (size_t x = 0; x < t->runs; x++) {
            const ptrdiff_t from = (ptrdiff_t)y * t->line_step + (ptrdiff_t)x * t->run_step, end = from + (ptrdiff_t)t->depth;
            for (ptrdiff_t at = from; at < end; at++, b += ldb) fnn_window_step(rows, vectors, sum, row, at, b);
        }
}

FNN_INLINE void fnn_window_even_rows(const int rows, const int vectors, const bool transposed, vr sum[][FNN_NV], const fnn_window_task *t)
{
    const size_t step = t->step, ldb = t->ldb;
    const real *line = t->a, *b = t->b, *a = line;
    for (size_t y = t->lines; y > 0; y--, line += t->line_step) {
        const real *run = line;
        for (size_t x = t->runs; x > 0; x--, run += t->run_step) {
            a = run;
            for (size_t k = x == 1 && y == 1 ? t->depth - t->masked : t->depth; k > 0; k--) {
                fnn_tile_step(rows, vectors, true, transposed, sum, a, step, b, NULL, t->last);
                a += transposed ? step : 1;
                b += ldb;
            }
        }
    }
    for (size_t k = t->masked; k > 0; k--) {
        fnn_tile_step(rows, vectors, false, transposed, sum, a, step, b, NULL, t->last);
        a += transposed ? step : 1;
        b += ldb;
    }
}

FNN_INLINE void fnn_window_tile(const int rows, const int vectors, const bool transposed, const fnn_window_task *t)
{
    vr sum[FNN_MR_NARROW][FNN_NV];
    const bool whole = vt_count(t->last) == FNN_VR;
    if (whole)
        fnn_tile_start(rows, vectors, true, sum, t->start, t->start_ld, t->last);
    else
        fnn_tile_start(rows, vectors, false, sum, t->start, t->start_ld, t->last);
    if (!transposed && vectors > 1)
        fnn_window_rows(rows, vectors, sum, t);
    else
        fnn_window_even_rows(rows, vectors, transposed, sum, t);
    if (whole) {
        fnn_tile_apply(rows, vectors, true, sum, &t->epilogue, t->last);
        fnn_tile_store(rows, vectors, true, sum, t->c, t->ldc, t->last);
    } else {
        fnn_tile_apply(rows, vectors, false, sum, &t->epilogue, t->last);
        fnn_tile_store(rows, vectors, false, sum, t->c, t->ldc, t->last);
    }
}

typedef void fnn_window_tile_fn(const fnn_window_task *t);

#define FNN_WINDOW_TILE(rows, vectors, transposed)                                                  \
    static void fnn_window_tile_##rows##_##vectors##_##transposed(const fnn_window_task *t)         \
    {                                                                                               \
        fnn_window_tile(rows, vectors, transposed, t);                                              \
    }
#define FNN_WINDOW_ROWS(f, v, t) f(1, v, t) f(2, v, t) f(3, v, t) f(4, v, t) f(5, v, t) f(6, v, t)
#define FNN_WINDOW_NARROW(f, t) \
    FNN_WINDOW_ROWS(f, 1, t) f(7, 1, t) f(8, 1, t) f(9, 1, t) f(10, 1, t) f(11, 1, t) f(12, 1, t)
#if FNN_NV == 4
#define FNN_WINDOW_TILES(f, t) FNN_WINDOW_NARROW(f, t) FNN_WINDOW_ROWS(f, 2, t) FNN_WINDOW_ROWS(f, 3, t) FNN_WINDOW_ROWS(f, 4, t)
#elif FNN_NV == 2
#define FNN_WINDOW_TILES(f, t) FNN_WINDOW_NARROW(f, t) FNN_WINDOW_ROWS(f, 2, t)
#else
#define FNN_WINDOW_TILES(f, t) f(1, 1, t) f(2, 1, t)
#endif
FNN_WINDOW_TILES(FNN_WINDOW_TILE, 0) FNN_WINDOW_TILES(FNN_WINDOW_TILE, 1)

#define FNN_WINDOW_ENTRY(rows, vectors, transposed) \
    [transposed][vectors - 1][rows - 1] = fnn_window_tile_##rows##_##vectors##_##transposed,
static fnn_window_tile_fn *const fnn_window_tiles[2][FNN_NV][FNN_MR_NARROW] = {FNN_WINDOW_TILES(FNN_WINDOW_ENTRY, 0)
                                                                               FNN_WINDOW_TILES(FNN_WINDOW_ENTRY, 1)};

FNN_INLINE size_t fnn_window_max_rows(size_t vectors) { return vectors == 1 ? FNN_MR_NARROW : FNN_MR; }

/* The panels of n columns: how many, and the block of one of them. */
FNN_INLINE size_t fnn_window_panels(size_t n) { return (n + FNN_NR - 1) / FNN_NR; }

static void fnn_windows_pack(const fnn_windows *g, real *packed)
{
    const fnn_product product = {.n = g->n, .k = g->taps_y * g->taps_x * g->depth};
    const size_t panels = fnn_window_panels(g->n);
    for (size_t panel = 0; panel < panels; panel++) {
        const fnn_block q = fnn_block_of(&product, panels, 1, panel);
        const size_t wide = q.vectors * FNN_VR;
        for (size_t y = 0; y < g->taps_y; y++)
            for (size_t x = 0; x < g->taps_x; x++)
                for (size_t p = 0; p < g->depth; p++, packed += wide) {
                    const real *b = g->b + y * g->b_line + x * g->b_tap + p * g->b_row + q.j * g->b_column;
                    for (size_t j = 0; j < wide; j++) packed[j] = j < q.width ? b[j * g->b_column] : (real)0;
                }
    }
}

/* Whether nothing lies between the lines of C, z and `saved`, so that their rows are those of one matrix. */
static bool fnn_windows_joined(const fnn_windows *g)
{
    const fnn_product *o = &g->out;
    return g->line_c == g->width * o->ldc && (!o->z || g->line_saved == g->width * o->ldz) &&
           (!o->saved || g->line_saved == g->width * o->ldsaved);
}

/* Nor between the rows, so that an epilogue may go over all of them as one array. */
static bool fnn_windows_together(const fnn_windows *g)
{
    const fnn_product *o = &g->out;
    return fnn_windows_joined(g) && o->ldc == g->n && (!o->z || o->ldz == g->n) && (!o->saved || o->ldsaved == g->n);
}

/* What is said of the outputs in line y, as rows from 0 on. */
static fnn_product fnn_windows_line(const fnn_windows *g, size_t y)
{
    fnn_product o = g->out;
    if (o.z) o.z += y * g->line_saved;
    if (o.saved) o.saved += y * g->line_saved;
    return o;
}

/* Where a tile's rows begin, from pixel x of the line at `line` on, and where the next tile's. */
FNN_INLINE void fnn_window_find_rows(const fnn_windows *g, fnn_window_task *t, size_t rows, const real **line, size_t *x)
{
    if (*x + rows <= g->width) {
        FNN_UNROLL
        for (size_t i = 0; i < FNN_MR; i++) t->row[i] = *line + (*x + i) * g->step;
        *x += rows;
    } else {
        for (size_t i = 0; i < rows; i++, ++*x) {
            if (*x == g->width) *x = 0, *line += g->line;
            t->row[i] = *line + *x * g->step;
        }
    }
    if (*x == g->width) *x = 0, *line += g->line;
}

static void fnn_windows_product(const fnn_windows *g)
{
    const fnn_product *o = &g->out;
    const size_t k = g->taps_y * g->taps_x * g->depth, panels = fnn_window_panels(g->n);
    const fnn_product product = {.n = g->n, .k = k};
    const real *b = g->packed;
    /* An epilogue that tiles do not have for theirs is done to all of C at once where nothing lies between its rows. */
    const bool together = fnn_tiles_need_finish(o) && fnn_windows_together(g), finish = fnn_tiles_need_finish(o) && !together;
    for (size_t panel = 0; panel < panels; panel++) {
        const fnn_block q = fnn_block_of(&product, panels, 1, panel);
        const bool joined = q.vectors > 1 && fnn_windows_joined(g);
        const size_t lines = joined ? 1 : g->lines, pixels = joined ? g->lines * g->width : g->width;
        const size_t max = fnn_window_max_rows(q.vectors), tiles = (pixels + max - 1) / max;
        const size_t each = pixels / tiles, more = pixels % tiles;
        fnn_window_task t = {.lines = g->taps_y, .runs = g->taps_x, .depth = g->depth, .line_step = g->tap_y, .run_step = g->tap_x,
                             .step = g->step, .b = b, .ldb = q.vectors * FNN_VR, .start = o->bias ? o->bias + q.j : NULL,
                             .ldc = o->ldc, .last = fnn_block_last(&q),
                             .epilogue = {.kind = fnn_tile_epilogue_of(o), .ldsaved = o->ldsaved}};
        for (size_t y = 0; y < lines; y++) {
            const fnn_product line = fnn_windows_line(g, y);
            const real *from = g->a + y * g->line; /* of the line that a tile is in */
            t.a = from;
            t.c = o->c + y * g->line_c + q.j;
            for (size_t tile = 0, pixel = 0, x = 0; tile < tiles; tile++) {
                const size_t rows = each + (tile < more);
                if (q.vectors > 1) fnn_window_find_rows(g, &t, rows, &from, &x);
                if (o->accumulate) t.start = t.c, t.start_ld = t.ldc;
                fnn_tile_epilogue_at(&t.epilogue, &line, pixel, q.j);
                fnn_window_tiles[0][q.vectors - 1][rows - 1](&t);
                if (finish) fnn_finish(&line, pixel, q.j, rows, q.width, t.c, t.ldc);
                t.a += rows * g->step;
                t.c += rows * t.ldc;
                pixel += rows;
            }
        }
        b += k * q.vectors * FNN_VR;
    }
    if (together) fnn_finish(o, 0, 0, 1, g->lines * g->width * g->n, o->c, 0);
}

static void fnn_windows_gradient(const fnn_windows *g)
{
    const fnn_product *o = &g->out;
    const size_t panels = fnn_window_panels(g->n), pixels = g->lines * g->width;
    const size_t most = fnn_max(FNN_GRADIENT_PIXELS / g->width, 1), blocks = (g->lines + most - 1) / most;
    const fnn_product product = {.n = g->n, .k = pixels};
    for (size_t block = 0; block < blocks; block++) {
        const size_t y = fnn_part(g->lines, blocks, block), lines = fnn_part(g->lines, blocks, block + 1) - y;
        for (size_t panel = 0; panel < panels; panel++) {
            const fnn_block q = fnn_block_of(&product, panels, 1, panel);
            const size_t max = fnn_window_max_rows(q.vectors), tiles = (g->depth + max - 1) / max;
            const size_t each = g->depth / tiles, more = g->depth % tiles;
            fnn_window_task t = {.lines = lines, .runs = 1, .depth = g->width, .line_step = (ptrdiff_t)g->line, .step = g->step,
                                 .b = g->b + y * g->width * g->b_row + q.j, .ldb = g->b_row, .ldc = o->ldc,
                                 .last = fnn_block_last(&q), .epilogue = {.kind = FNN_TILE_EPILOGUE_NONE}};
            t.masked = block + 1 < blocks ? 0 : fnn_tile_masked_steps(g->width, g->b_row, t.last);
            t.c = o->c + q.j;
            for (size_t tap = 0; tap < g->taps_y * g->taps_x; tap++) {
                t.a = g->a + y * g->line + (ptrdiff_t)(tap / g->taps_x) * g->tap_y + (ptrdiff_t)(tap % g->taps_x) * g->tap_x;
                for (size_t tile = 0; tile < tiles; tile++) {
                    const size_t rows = each + (tile < more);
                    if (o->accumulate || block > 0) t.start = t.c, t.start_ld = t.ldc;
                    fnn_window_tiles[1][q.vectors - 1][rows - 1](&t);
                    t.a += rows;
                    t.c += rows * t.ldc;
                }
            }
        }
    }
}

#endif
