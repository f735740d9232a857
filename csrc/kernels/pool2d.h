/* Pooling of images [height, width, channels] over windows, of the rows [first, last) of a batch.
 *
 *   maximum   the first of the largest in the order of the window; NaN if any is. What lies beyond the image is left out, and the
 *             gradient goes to that element alone
 *   average   the sum over the window divided by its elements, those of the padding among them where they count
 *
 * Plain loops over the channels: the compiler vectorises them. */
#ifndef FNN_KERNELS_POOL2D_H
#define FNN_KERNELS_POOL2D_H

#include "../simd/real.h"

#include <string.h>

typedef struct fnn_range {
    size_t begin, end, padded; /* along one side: the pixels of a window inside the image, and how many there are with the padding */
} fnn_range;

static fnn_range fnn_range_of(size_t at, size_t stride, size_t kernel, size_t dilation, size_t pad, size_t size, size_t pad_end)
{
    const ptrdiff_t from = (ptrdiff_t)(at * stride) - (ptrdiff_t)pad;
    fnn_range r = {0, 0, 0};
    for (size_t k = 0; k < kernel; k++) { /* in taps */
        const ptrdiff_t i = from + (ptrdiff_t)(k * dilation);
        if (i < 0) r.begin = k + 1;
        if (i < (ptrdiff_t)size) r.end = k + 1;
        if (i < (ptrdiff_t)(size + pad_end)) r.padded = k + 1;
    }
    return r;
}

/* For the output pixel (y, x): its taps inside the image, and the pixel of the tap (0, 0), which may be outside. */
typedef struct fnn_place {
    fnn_range rows, columns;
    ptrdiff_t top, left;
} fnn_place;

static fnn_place fnn_place_of(const fnn_window *w, size_t y, size_t x)
{
    return (fnn_place){fnn_range_of(y, w->stride_y, w->kernel_height, w->dilation_y, w->pad_top, w->height, w->pad_bottom),
                       fnn_range_of(x, w->stride_x, w->kernel_width, w->dilation_x, w->pad_left, w->width, w->pad_right),
                       (ptrdiff_t)(y * w->stride_y) - (ptrdiff_t)w->pad_top, (ptrdiff_t)(x * w->stride_x) - (ptrdiff_t)w->pad_left};
}

static size_t fnn_pixel_at(const fnn_window *w, const fnn_place *p, size_t ky, size_t kx)
{
    return (size_t)(p->top + (ptrdiff_t)(ky * w->dilation_y)) * w->width + (size_t)(p->left + (ptrdiff_t)(kx * w->dilation_x));
}

static void fnn_maxpool2d_forward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = first; r < last; r++)
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            const real *image = o->x + r * o->ldx;
            real *restrict y = o->y + r * o->ldy + q * n;
            memcpy(y, image + fnn_pixel_at(w, &p, p.rows.begin, p.columns.begin) * n, n * sizeof(real));
            for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                    const real *restrict x = image + fnn_pixel_at(w, &p, ky, kx) * n;
                    for (size_t c = 0; c < n; c++) y[c] = ((x[c] > y[c]) | (x[c] != x[c])) ? x[c] : y[c];
                }
        }
}

static void fnn_maxpool2d_backward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = first; r < last; r++) {
        const real *image = o->x + r * o->ldx;
        real *dx = o->dx + r * o->lddx;
        memset(dx, 0, w->height * w->width * n * sizeof(real));
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            const real *dy = o->y + r * o->ldy + q * n;
            for (size_t begin = 0; begin < n; begin += 64) { /* channels at a time */
                const size_t count = n - begin < 64 ? n - begin : 64;
                real most[64];
                int32_t at[64];
                for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                    for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                        const size_t pixel = fnn_pixel_at(w, &p, ky, kx);
                        const real *x = image + pixel * n + begin;
                        const bool is_first = ky == p.rows.begin && kx == p.columns.begin;
                        for (size_t c = 0; c < count; c++) {
                            /* the first NaN stays: nothing is larger, and only what was a number gives way to it */
                            const bool take = is_first | (x[c] > most[c]) | ((x[c] != x[c]) & (most[c] == most[c]));
                            most[c] = take ? x[c] : most[c];
                            at[c] = take ? (int32_t)pixel : at[c];
                        }
                    }
                for (size_t c = 0; c < count; c++) dx[(size_t)at[c] * n + begin + c] += dy[begin + c];
            }
        }
    }
}

/* The elements that an average is over. */
static real fnn_pool_count(const fnn_pool2d *o, const fnn_place *p)
{
    const size_t inside = (p->rows.end - p->rows.begin) * (p->columns.end - p->columns.begin);
    return (real)(o->count_padding ? p->rows.padded * p->columns.padded : inside);
}

static void fnn_avgpool2d_forward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = first; r < last; r++)
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            real *restrict y = o->y + r * o->ldy + q * n;
            memset(y, 0, n * sizeof(real));
            for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                    const real *restrict x = o->x + r * o->ldx + fnn_pixel_at(w, &p, ky, kx) * n;
                    for (size_t c = 0; c < n; c++) y[c] += x[c];
                }
            const real count = fnn_pool_count(o, &p);
            for (size_t c = 0; c < n; c++) y[c] /= count;
        }
}

static void fnn_avgpool2d_backward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = first; r < last; r++) {
        real *image = o->dx + r * o->lddx;
        memset(image, 0, w->height * w->width * n * sizeof(real));
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            const real *restrict dy = o->y + r * o->ldy + q * n;
            const real count = fnn_pool_count(o, &p);
            for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                    real *restrict dx = image + fnn_pixel_at(w, &p, ky, kx) * n;
                    for (size_t c = 0; c < n; c++) dx[c] += dy[c] / count;
                }
        }
    }
}

#endif
