/* Convolutions in which each channel has filters of its own: no product of matrices, but column by column one of a window and its
 * weights. They are given as those of windows.h; at a tap stand `depth` times n elements of A and of b, of which an element of C sees
 * those of its own column.
 *
 *   fnn_depthwise_product   C [pixels, n] = bias + over the taps, in order, A [pixels, depth, n] at the tap times b [depth, n] of the tap
 *   fnn_depthwise_gradient  C [taps, n] = over the pixels, in order, A [pixels, n] at the tap times b [pixels, n]
 *
 * Each element is one chain of fused multiply-adds. */
#ifndef FNN_GEMM_DEPTHWISE_H
#define FNN_GEMM_DEPTHWISE_H

#include "windows.h"

#define FNN_DEPTHWISE_PIXELS 4 /* at a time: so many chains hide what a multiply-add takes, */
#define FNN_DEPTHWISE_TAPS 3   /* and so many taps of a gradient, of which 3 x 3 are three times as many */

/* A vector of columns of some pixels that stand side by side. */
FNN_INLINE void fnn_depthwise_tile(const int pixels, const bool whole, const fnn_windows *g, const real *a, const real *b, const real *bias,
                                   real *c, vt t)
{
    const size_t ldc = g->out.ldc;
    vec sum[FNN_DEPTHWISE_PIXELS];
    FNN_UNROLL
    for (int i = 0; i < pixels; i++) {
        const real *start = g->out.accumulate ? c + (size_t)i * ldc : bias;
        sum[i] = start ? fnn_part_load(whole, start, t) : v_zero();
    }
    for (size_t y = 0; y < g->taps_y; y++) {
        const real *line = a + (ptrdiff_t)y * g->tap_y, *weight = b + y * g->b_line;
        for (size_t x = 0; x < g->taps_x; x++, line += g->tap_x, weight += g->b_tap)
            for (size_t at = 0; at < g->depth * g->n; at += g->n) {
                const vec v = fnn_part_load(whole, weight + at, t);
                FNN_UNROLL
                for (int i = 0; i < pixels; i++) sum[i] = v_fma(fnn_part_load(whole, line + at + (size_t)i * g->step, t), v, sum[i]);
            }
    }
    FNN_UNROLL
    for (int i = 0; i < pixels; i++) fnn_part_store(whole, c + (size_t)i * ldc, sum[i], t);
}

FNN_INLINE void fnn_depthwise_line(const bool whole, const fnn_windows *g, const real *a, const real *b, const real *bias, real *c, vt t)
{
    size_t x = 0;
    for (; x + FNN_DEPTHWISE_PIXELS <= g->width; x += FNN_DEPTHWISE_PIXELS)
        fnn_depthwise_tile(FNN_DEPTHWISE_PIXELS, whole, g, a + x * g->step, b, bias, c + x * g->out.ldc, t);
    for (; x < g->width; x++) fnn_depthwise_tile(1, whole, g, a + x * g->step, b, bias, c + x * g->out.ldc, t);
}

static void fnn_depthwise_product(const fnn_windows *g)
{
    const bool together = fnn_windows_together(g);
    for (size_t y = 0; y < g->lines; y++) {
        const fnn_product o = fnn_windows_line(g, y);
        const real *a = g->a + y * g->line;
        real *c = o.c + y * g->line_c;
        for (size_t j = 0; j < g->n; j += FNN_LANES) {
            const real *bias = o.bias ? o.bias + j : NULL;
            const vt t = vt_first(g->n - j);
            if (g->n - j >= FNN_LANES)
                fnn_depthwise_line(true, g, a + j, g->b + j, bias, c + j, t);
            else
                fnn_depthwise_line(false, g, a + j, g->b + j, bias, c + j, t);
        }
        if (o.epilogue == FNN_EPILOGUE_NONE) continue;
        if (together)
            fnn_finish(&o, 0, 0, 1, g->width * g->n, c, 0);
        else
            fnn_finish(&o, 0, 0, g->width, g->n, c, o.ldc);
    }
}

/* A vector of columns of some taps, from number `tap` on, over these lines. */
FNN_INLINE void fnn_depthwise_taps(const int taps, const bool whole, const fnn_windows *g, size_t tap, size_t y, size_t end, size_t j,
                                   bool accumulate, vt t)
{
    const real *at[FNN_DEPTHWISE_TAPS];
    real *c = g->out.c + tap * g->out.ldc + j;
    vec sum[FNN_DEPTHWISE_TAPS];
    FNN_UNROLL
    for (int i = 0; i < taps; i++) {
        const size_t number = tap + (size_t)i;
        at[i] = g->a + (ptrdiff_t)(number / g->taps_x) * g->tap_y + (ptrdiff_t)(number % g->taps_x) * g->tap_x + j;
        sum[i] = accumulate ? fnn_part_load(whole, c + (size_t)i * g->out.ldc, t) : v_zero();
    }
    for (; y < end; y++) {
        const real *b = g->b + y * g->width * g->b_row + j;
        size_t a = y * g->line;
        for (size_t x = 0; x < g->width; x++, b += g->b_row, a += g->step) {
            const vec v = fnn_part_load(whole, b, t);
            FNN_UNROLL
            for (int i = 0; i < taps; i++) sum[i] = v_fma(fnn_part_load(whole, at[i] + a, t), v, sum[i]);
        }
    }
    FNN_UNROLL
    for (int i = 0; i < taps; i++) fnn_part_store(whole, c + (size_t)i * g->out.ldc, sum[i], t);
}

FNN_INLINE void fnn_depthwise_columns(const bool whole, const fnn_windows *g, size_t y, size_t end, size_t j, bool accumulate, vt t)
{
    const size_t taps = g->taps_y * g->taps_x;
    size_t tap = 0;
    for (; tap + FNN_DEPTHWISE_TAPS <= taps; tap += FNN_DEPTHWISE_TAPS)
        fnn_depthwise_taps(FNN_DEPTHWISE_TAPS, whole, g, tap, y, end, j, accumulate, t);
    for (; tap < taps; tap++) fnn_depthwise_taps(1, whole, g, tap, y, end, j, accumulate, t);
}

static void fnn_depthwise_gradient(const fnn_windows *g)
{
    const size_t most = fnn_max(FNN_GRADIENT_PIXELS / g->width, 1);
    for (size_t y = 0; y < g->lines; y += most) {
        const size_t end = fnn_min(y + most, g->lines);
        const bool accumulate = g->out.accumulate || y > 0;
        for (size_t j = 0; j < g->n; j += FNN_LANES) {
            const vt t = vt_first(g->n - j);
            if (g->n - j >= FNN_LANES)
                fnn_depthwise_columns(true, g, y, end, j, accumulate, t);
            else
                fnn_depthwise_columns(false, g, y, end, j, accumulate, t);
        }
    }
}

#endif
