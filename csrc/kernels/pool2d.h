/* Pooling of images [height, width, channels] over windows, of the rows [first, last) of a batch.
 *
 *   maximum   the first of the largest in the order of the window; NaN if any is. What lies beyond the image is left out, and the
 *             gradient goes to that element alone. Forward may note the number of its tap; backward then does not look at x again
 *   average   the sum over the window divided by its elements, those of the padding among them where they count
 *
 * A vector of channels at a time. */
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
    if (from >= 0 && from + (ptrdiff_t)((kernel - 1) * dilation) < (ptrdiff_t)size) return (fnn_range){0, kernel, kernel};
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

FNN_INLINE vec fnn_pool_load(const real *p, vt t) { return fnn_part_load(vt_count(t) >= FNN_LANES, p, t); }
FNN_INLINE void fnn_pool_store(real *p, vec a, vt t) { fnn_part_store(vt_count(t) >= FNN_LANES, p, a, t); }

/* Numbers of taps, whole ones up to 255, as bytes. */
FNN_INLINE void fnn_pool_put_taps(uint8_t *to, vec taps, vt t)
{
    real lanes[FNN_LANES];
    v_store(lanes, taps);
    if (vt_count(t) >= FNN_LANES)
        for (size_t c = 0; c < FNN_LANES; c++) to[c] = (uint8_t)(int32_t)lanes[c];
    else
        for (size_t c = 0; c < vt_count(t); c++) to[c] = (uint8_t)(int32_t)lanes[c];
}

FNN_INLINE vec fnn_pool_taps(const uint8_t *from, vt t)
{
    real lanes[FNN_LANES] = {0};
    if (vt_count(t) >= FNN_LANES)
        for (size_t c = 0; c < FNN_LANES; c++) lanes[c] = (real)(int32_t)from[c];
    else
        for (size_t c = 0; c < vt_count(t); c++) lanes[c] = (real)(int32_t)from[c];
    return v_load(lanes);
}

/* Whether no pixel is in two windows: gradients are stored in place of being added. */
static bool fnn_pool_disjoint(const fnn_window *w)
{
    return w->stride_y > (w->kernel_height - 1) * w->dilation_y && w->stride_x > (w->kernel_width - 1) * w->dilation_x;
}

/* And whether every pixel is in one. */
static bool fnn_pool_covers(const fnn_window *w)
{
    return fnn_pool_disjoint(w) && w->stride_y == w->kernel_height && w->stride_x == w->kernel_width &&
           w->out_height * w->stride_y >= w->height + w->pad_top && w->out_width * w->stride_x >= w->width + w->pad_left;
}

/* The windows of images: of each what lies inside the image, from its first tap there on. */
typedef struct fnn_pool_window {
    size_t begin; /* element of the image: the first tap's first channel */
    size_t rows, columns; /* taps inside */
    size_t row, column; /* elements from tap to tap */
    real number, skip; /* the first tap's, and those left out behind a row of taps */
} fnn_pool_window;

static fnn_pool_window fnn_pool_window_of(const fnn_window *w, const fnn_place *p)
{
    const size_t columns = p->columns.end - p->columns.begin;
    return (fnn_pool_window){
        .begin = fnn_pixel_at(w, p, p->rows.begin, p->columns.begin) * w->channels,
        .rows = p->rows.end - p->rows.begin,
        .columns = columns,
        .row = w->dilation_y * w->width * w->channels,
        .column = w->dilation_x * w->channels,
        .number = (real)(p->rows.begin * w->kernel_width + p->columns.begin),
        .skip = (real)(w->kernel_width - columns),
    };
}

/* One element more, v of the tap of this number: the largest so far, and the number of its tap where `taps`. The first NaN stays: nothing
 * is larger, and only what was a number gives way to it. */
FNN_INLINE void fnn_pool_take(const bool taps, vec *most, vec *of, vec v, real number)
{
    if (taps) *of = v_select(v_eq(*most, *most), v_select(v_le(v, *most), *of, v_set1(number)), *of);
    *most = v_select(v_lt(*most, v), v, v_select(v_eq(v, v), *most, v));
}

/* Of a window at x its largest elements, and where `taps` is not NULL the numbers of their taps. */
FNN_INLINE vec fnn_pool_largest(const fnn_pool_window *q, const real *x, vt t, vec *taps)
{
    vec most = fnn_pool_load(x, t), of = v_set1(q->number);
    real number = q->number;
    if (q->rows == 2 && q->columns == 2) { /* as most windows are: without loops */
        const real *below = x + q->row;
        fnn_pool_take(taps != NULL, &most, &of, fnn_pool_load(x + q->column, t), number + 1);
        fnn_pool_take(taps != NULL, &most, &of, fnn_pool_load(below, t), number + q->skip + 2);
        fnn_pool_take(taps != NULL, &most, &of, fnn_pool_load(below + q->column, t), number + q->skip + 3);
        if (taps) *taps = of;
        return most;
    }
    for (size_t y = q->rows; y > 0; y--, x += q->row, number += q->skip) {
        const real *at = x;
        for (size_t k = q->columns; k > 0; k--, at += q->column, number += 1)
            fnn_pool_take(taps != NULL, &most, &of, fnn_pool_load(at, t), number);
    }
    if (taps) *taps = of;
    return most;
}

static void fnn_maxpool2d_forward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    for (size_t r = first; r < last; r++) {
        const real *image = o->x + r * o->ldx;
        real *y = o->y + r * o->ldy;
        uint8_t *winner = o->winner ? o->winner + r * o->ldwinner : NULL;
        for (size_t i = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, y += n) {
                const fnn_place p = fnn_place_of(w, i, j);
                const fnn_pool_window q = fnn_pool_window_of(w, &p);
                for (size_t c = 0; c < n; c += FNN_LANES) {
                    const vt t = vt_first(n - c);
                    if (winner) {
                        vec taps;
                        fnn_pool_store(y + c, fnn_pool_largest(&q, image + q.begin + c, t, &taps), t);
                        fnn_pool_put_taps(winner + c, taps, t);
                    } else {
                        fnn_pool_store(y + c, fnn_pool_largest(&q, image + q.begin + c, t, NULL), t);
                    }
                }
                if (winner) winner += n;
            }
    }
}

static void fnn_maxpool2d_backward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    const bool disjoint = fnn_pool_disjoint(w), covers = fnn_pool_covers(w);
    for (size_t r = first; r < last; r++) {
        const real *image = o->winner ? NULL : o->x + r * o->ldx, *saved = o->saved ? o->saved + r * o->ldsaved : NULL;
        const uint8_t *winner = o->winner ? o->winner + r * o->ldwinner : NULL;
        const real *dy = o->y + r * o->ldy;
        real *gradient = o->dx + r * o->lddx;
        if (!covers) memset(gradient, 0, w->height * w->width * n * sizeof(real));
        for (size_t i = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, dy += n) {
                const fnn_place p = fnn_place_of(w, i, j);
                const fnn_pool_window q = fnn_pool_window_of(w, &p);
                for (size_t c = 0; c < n; c += FNN_LANES) {
                    const vt t = vt_first(n - c);
                    vec of, part = fnn_pool_load(dy + c, t);
                    if (winner)
                        of = fnn_pool_taps(winner + c, t);
                    else
                        fnn_pool_largest(&q, image + q.begin + c, t, &of);
                    if (saved) part = v_select(v_le(fnn_pool_load(saved + c, t), v_zero()), v_zero(), part);
                    real *to = gradient + q.begin + c, number = q.number;
                    for (size_t y = q.rows; y > 0; y--, to += q.row, number += q.skip) {
                        real *at = to;
                        for (size_t k = q.columns; k > 0; k--, at += q.column, number += 1) {
                            const vec mine = v_select(v_eq(of, v_set1(number)), part, v_zero());
                            fnn_pool_store(at, v_add(disjoint ? v_zero() : fnn_pool_load(at, t), mine), t);
                        }
                    }
                }
                if (winner) winner += n;
                if (saved) saved += n;
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
    for (size_t r = first; r < last; r++) {
        const real *image = o->x + r * o->ldx;
        real *y = o->y + r * o->ldy;
        for (size_t i = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, y += n) {
                const fnn_place p = fnn_place_of(w, i, j);
                const fnn_pool_window q = fnn_pool_window_of(w, &p);
                const vec count = v_set1(fnn_pool_count(o, &p));
                for (size_t c = 0; c < n; c += FNN_LANES) {
                    const vt t = vt_first(n - c);
                    const real *line = image + q.begin + c;
                    vec sum = v_zero();
                    for (size_t ky = q.rows; ky > 0; ky--, line += q.row) {
                        const real *at = line;
                        for (size_t kx = q.columns; kx > 0; kx--, at += q.column) sum = v_add(sum, fnn_pool_load(at, t));
                    }
                    fnn_pool_store(y + c, v_div(sum, count), t);
                }
            }
    }
}

static void fnn_avgpool2d_backward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels;
    const bool disjoint = fnn_pool_disjoint(w), covers = fnn_pool_covers(w);
    for (size_t r = first; r < last; r++) {
        const real *dy = o->y + r * o->ldy;
        real *gradient = o->dx + r * o->lddx;
        if (!covers) memset(gradient, 0, w->height * w->width * n * sizeof(real));
        for (size_t i = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, dy += n) {
                const fnn_place p = fnn_place_of(w, i, j);
                const fnn_pool_window q = fnn_pool_window_of(w, &p);
                const vec count = v_set1(fnn_pool_count(o, &p));
                for (size_t c = 0; c < n; c += FNN_LANES) {
                    const vt t = vt_first(n - c);
                    const vec part = v_div(fnn_pool_load(dy + c, t), count);
                    real *to = gradient + q.begin + c;
                    for (size_t ky = q.rows; ky > 0; ky--, to += q.row) {
                        real *at = to;
                        for (size_t kx = q.columns; kx > 0; kx--, at += q.column)
                            fnn_pool_store(at, v_add(disjoint ? v_zero() : fnn_pool_load(at, t), part), t);
                    }
                }
            }
    }
}

#endif
