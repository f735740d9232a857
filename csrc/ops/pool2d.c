/* Pooling of images [height, width, channels] over windows, by rows of the batch.
 *
 *   maximum   the first of the largest in the order of the window; NaN if any is. What lies beyond the image is left out, and the
 *             gradient goes to that element alone
 *   average   the sum over the window divided by its elements, those of the padding among them where they count (`full`) */
#include "step.h"

#include <string.h>

/* A pooling: y from x, or dx from y's gradient, which stands in y. */
typedef struct pool2d {
    fnn_window window;
    bool count_padding; /* of an average: the padding counts */
    const float *x;
    size_t ldx; /* here and below from one image to the next */
    float *y;
    size_t ldy;
    float *dx;
    size_t lddx;
} pool2d;

typedef struct range {
    size_t begin, end, padded; /* along one side: the pixels of a window inside the image, and how many there are with the padding */
} range;

static range window_range(size_t at, size_t stride, size_t kernel, size_t dilation, size_t pad, size_t size, size_t pad_end)
{
    const ptrdiff_t from = (ptrdiff_t)(at * stride) - (ptrdiff_t)pad;
    range r = {0, 0, 0};
    for (size_t k = 0; k < kernel; k++) { /* in taps */
        const ptrdiff_t i = from + (ptrdiff_t)(k * dilation);
        if (i < 0) r.begin = k + 1;
        if (i < (ptrdiff_t)size) r.end = k + 1;
        if (i < (ptrdiff_t)(size + pad_end)) r.padded = k + 1;
    }
    return r;
}

/* For the output pixel (y, x): its taps inside the image, and the pixel of the tap (0, 0), which may be outside. */
typedef struct place {
    range rows, columns;
    ptrdiff_t top, left;
} place;

static place place_of(const fnn_window *w, size_t y, size_t x)
{
    return (place){window_range(y, w->stride_y, w->kernel_height, w->dilation_y, w->pad_top, w->height, w->pad_bottom),
                   window_range(x, w->stride_x, w->kernel_width, w->dilation_x, w->pad_left, w->width, w->pad_right),
                   (ptrdiff_t)(y * w->stride_y) - (ptrdiff_t)w->pad_top, (ptrdiff_t)(x * w->stride_x) - (ptrdiff_t)w->pad_left};
}

static size_t pixel_at(const fnn_window *w, const place *p, size_t ky, size_t kx)
{
    return (size_t)(p->top + (ptrdiff_t)(ky * w->dilation_y)) * w->width + (size_t)(p->left + (ptrdiff_t)(kx * w->dilation_x));
}

static void maxpool2d_forward(const pool2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = s.begin; r < s.end; r++)
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const place p = place_of(w, q / w->out_width, q % w->out_width);
            const float *image = o->x + r * o->ldx;
            float *restrict y = o->y + r * o->ldy + q * n;
            memcpy(y, image + pixel_at(w, &p, p.rows.begin, p.columns.begin) * n, n * sizeof(float));
            for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                    const float *restrict x = image + pixel_at(w, &p, ky, kx) * n;
                    for (size_t c = 0; c < n; c++) y[c] = (x[c] > y[c]) | (x[c] != x[c]) ? x[c] : y[c];
                }
        }
}

static void maxpool2d_backward(const pool2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = s.begin; r < s.end; r++) {
        const float *image = o->x + r * o->ldx;
        float *dx = o->dx + r * o->lddx;
        memset(dx, 0, w->height * w->width * n * sizeof(float));
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const place p = place_of(w, q / w->out_width, q % w->out_width);
            const float *dy = o->y + r * o->ldy + q * n;
            for (size_t begin = 0; begin < n; begin += 64) { /* channels at a time */
                const size_t count = n - begin < 64 ? n - begin : 64;
                float most[64];
                int32_t at[64];
                for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                    for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                        const size_t pixel = pixel_at(w, &p, ky, kx);
                        const float *x = image + pixel * n + begin;
                        const bool first = ky == p.rows.begin && kx == p.columns.begin;
                        for (size_t c = 0; c < count; c++) {
                            /* the first NaN stays: nothing is larger, and only what was a number gives way to it */
                            const bool take = first | (x[c] > most[c]) | ((x[c] != x[c]) & (most[c] == most[c]));
                            most[c] = take ? x[c] : most[c];
                            at[c] = take ? (int32_t)pixel : at[c];
                        }
                    }
                for (size_t c = 0; c < count; c++) dx[(size_t)at[c] * n + begin + c] += dy[begin + c];
            }
        }
    }
}

/* 1 over the elements that an average is over. */
static float weight_of(const pool2d *o, const place *p)
{
    const size_t inside = (p->rows.end - p->rows.begin) * (p->columns.end - p->columns.begin);
    return (float)(o->count_padding ? p->rows.padded * p->columns.padded : inside);
}

static void avgpool2d_forward(const pool2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = s.begin; r < s.end; r++)
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const place p = place_of(w, q / w->out_width, q % w->out_width);
            float *restrict y = o->y + r * o->ldy + q * n;
            memset(y, 0, n * sizeof(float));
            for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                    const float *restrict x = o->x + r * o->ldx + pixel_at(w, &p, ky, kx) * n;
                    for (size_t c = 0; c < n; c++) y[c] += x[c];
                }
            const float count = weight_of(o, &p);
            for (size_t c = 0; c < n; c++) y[c] /= count;
        }
}

static void avgpool2d_backward(const pool2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = s.begin; r < s.end; r++) {
        float *image = o->dx + r * o->lddx;
        memset(image, 0, w->height * w->width * n * sizeof(float));
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const place p = place_of(w, q / w->out_width, q % w->out_width);
            const float *restrict dy = o->y + r * o->ldy + q * n;
            const float count = weight_of(o, &p);
            for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                    float *restrict dx = image + pixel_at(w, &p, ky, kx) * n;
                    for (size_t c = 0; c < n; c++) dx[c] += dy[c] / count;
                }
        }
    }
}

/* ---- operations: the roles of x, y and dx ---- */

static pool2d bind(const fnn_step *s, const fnn_op *op, int x, int y, int dx)
{
    pool2d o = {.window = fnn_window_of(op), .y = fnn_buffer_of(s, op, y).data, .ldy = fnn_buffer_of(s, op, y).ld};
    if (x >= 0) o.x = fnn_buffer_of(s, op, x).data, o.ldx = fnn_buffer_of(s, op, x).ld;
    if (dx >= 0) o.dx = fnn_buffer_of(s, op, dx).data, o.lddx = fnn_buffer_of(s, op, dx).ld;
    return o;
}

void fnn_run_maxpool2d_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const pool2d o = bind(s, op, 0, 1, -1);
    maxpool2d_forward(&o, split);
}

void fnn_run_maxpool2d_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const pool2d o = bind(s, op, 1, 0, 2);
    maxpool2d_backward(&o, split);
}

void fnn_run_avgpool2d_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    pool2d o = bind(s, op, 0, 1, -1);
    o.count_padding = op->pool.count_padding;
    avgpool2d_forward(&o, split);
}

void fnn_run_avgpool2d_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    pool2d o = bind(s, op, -1, 0, 1);
    o.count_padding = op->pool.count_padding;
    avgpool2d_backward(&o, split);
}
