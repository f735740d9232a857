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

/* Numbers of taps, whole ones up to 255, as bytes. */
FNN_INLINE void fnn_pool_put_taps(const bool full, uint8_t *to, vec taps, vt t)
{
    if (full) {
        v_store_bytes(to, taps);
        return;
    }
    uint8_t bytes[FNN_LANES];
    v_store_bytes(bytes, taps);
    for (size_t c = 0; c < vt_count(t); c++) to[c] = bytes[c];
}

FNN_INLINE vec fnn_pool_taps(const bool full, const uint8_t *from, vt t)
{
    if (full) return v_load_bytes(from);
    uint8_t bytes[FNN_LANES] = {0};
    for (size_t c = 0; c < vt_count(t); c++) bytes[c] = from[c];
    return v_load_bytes(bytes);
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

/* The part of a window that lies inside the image, from its first tap there on. */
typedef struct fnn_pool_window {
    size_t begin; /* element of the image: the first tap's first channel */
    size_t rows, columns; /* taps inside */
    size_t row, column; /* elements from tap to tap */
    size_t last; /* element: the last tap's first channel */
    size_t last_in_line; /* the same, from the beginning of its line of the image */
    size_t padded; /* taps inside and in the padding */
    real number, skip; /* the first tap's, and those left out behind a row of taps */
} fnn_pool_window;

static fnn_pool_window fnn_pool_window_of(const fnn_window *w, size_t i, size_t j)
{
    const fnn_place p = fnn_place_of(w, i, j);
    const size_t rows = p.rows.end - p.rows.begin, columns = p.columns.end - p.columns.begin;
    const size_t row = w->dilation_y * w->width * w->channels, column = w->dilation_x * w->channels;
    const size_t begin = fnn_pixel_at(w, &p, p.rows.begin, p.columns.begin) * w->channels;
    return (fnn_pool_window){
        .begin = begin,
        .rows = rows,
        .columns = columns,
        .row = row,
        .column = column,
        .last = begin + (rows - 1) * row + (columns - 1) * column,
        .last_in_line = (size_t)(p.left + (ptrdiff_t)((p.columns.end - 1) * w->dilation_x)) * w->channels,
        .padded = p.rows.padded * p.columns.padded,
        .number = (real)(p.rows.begin * w->kernel_width + p.columns.begin),
        .skip = (real)(w->kernel_width - columns),
    };
}

/* The output columns [begin, end) whose windows lie between the first and the last column of the image. */
static fnn_range fnn_pool_inside(const fnn_window *w)
{
    const size_t reach = (w->kernel_width - 1) * w->dilation_x, from = (w->pad_left + w->stride_x - 1) / w->stride_x;
    if (w->width + w->pad_left <= reach) return (fnn_range){0, 0, 0};
    const size_t end = (w->width + w->pad_left - reach - 1) / w->stride_x + 1;
    return (fnn_range){from, end < w->out_width ? end : w->out_width, 0};
}

/* The window of (i, j), which come in order: inside, it is the one before, moved on. */
FNN_INLINE void fnn_pool_go_on(fnn_pool_window *q, const fnn_window *w, fnn_range inside, size_t i, size_t j)
{
    if (j > inside.begin && j < inside.end) {
        const size_t step = w->stride_x * w->channels;
        q->begin += step, q->last += step, q->last_in_line += step;
    } else {
        *q = fnn_pool_window_of(w, i, j);
    }
}

/* The last vector of a pixel's channels is whole where memory of the same image is behind it: what is read too much is of no
 * consequence, and what is written too much is written over, by the pixels behind. So parts of vectors are left to the last pixels. */
FNN_INLINE bool fnn_pool_full(size_t at, size_t size) { return at + FNN_LANES <= size; }

/* One element more, v of the tap of this number: the largest so far, and the number of its tap where `taps`. The first NaN stays: nothing
 * is larger, and only what was a number gives way to it. */
FNN_INLINE void fnn_pool_take(const bool taps, vec *most, vec *of, vec v, real number)
{
    if (taps) *of = v_select(v_eq(*most, *most), v_select(v_le(v, *most), *of, v_set1(number)), *of);
    *most = v_select(v_lt(*most, v), v, v_select(v_eq(v, v), *most, v));
}

/* Of a window at x its largest elements, and where `taps` is not NULL the numbers of their taps. */
FNN_INLINE vec fnn_pool_largest(const bool full, const fnn_pool_window *q, const real *x, vt t, vec *taps)
{
    vec most = fnn_part_load(full, x, t), of = v_set1(q->number);
    real number = q->number;
    if (q->rows == 2 && q->columns == 2) { /* as most windows are: without loops */
        const real *below = x + q->row;
        fnn_pool_take(taps != NULL, &most, &of, fnn_part_load(full, x + q->column, t), number + 1);
        fnn_pool_take(taps != NULL, &most, &of, fnn_part_load(full, below, t), number + q->skip + 2);
        fnn_pool_take(taps != NULL, &most, &of, fnn_part_load(full, below + q->column, t), number + q->skip + 3);
        if (taps) *taps = of;
        return most;
    }
    for (size_t y = q->rows; y > 0; y--, x += q->row, number += q->skip) {
        const real *at = x;
        for (size_t k = q->columns; k > 0; k--, at += q->column, number += 1)
            fnn_pool_take(taps != NULL, &most, &of, fnn_part_load(full, at, t), number);
    }
    if (taps) *taps = of;
    return most;
}

static void fnn_maxpool2d_forward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels, size = w->height * w->width * n, out_size = w->out_height * w->out_width * n;
    const fnn_range inside = fnn_pool_inside(w);
    for (size_t r = first; r < last; r++) {
        const real *image = o->x + r * o->ldx;
        real *y = o->y + r * o->ldy;
        uint8_t *winner = o->winner ? o->winner + r * o->ldwinner : NULL;
        fnn_pool_window q = {0};
        for (size_t i = 0, at = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, at += n) {
                fnn_pool_go_on(&q, w, inside, i, j);
                for (size_t c = 0; c < n; c += FNN_LANES) {
                    const vt t = vt_first(n - c);
                    const bool full = fnn_pool_full(q.last + c, size) && fnn_pool_full(at + c, out_size);
                    const real *x = image + q.begin + c;
                    if (winner) {
                        vec taps;
                        fnn_part_store(full, y + at + c, fnn_pool_largest(full, &q, x, t, &taps), t);
                        fnn_pool_put_taps(full, winner + at + c, taps, t);
                    } else {
                        fnn_part_store(full, y + at + c, fnn_pool_largest(full, &q, x, t, NULL), t);
                    }
                }
            }
    }
}

/* Backward, the vectors of a pixel's channels go from the last to the first, and the taps of a line from left to right: where every
 * pixel is in one window, a whole vector of which a part is meant writes over nothing but what is written later, up to the line's end. */
static void fnn_maxpool2d_backward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels, size = w->height * w->width * n, out_size = w->out_height * w->out_width * n;
    const size_t line = w->width * n, vectors = (n + FNN_LANES - 1) / FNN_LANES;
    const bool disjoint = fnn_pool_disjoint(w), covers = fnn_pool_covers(w);
    const fnn_range inside = fnn_pool_inside(w);
    for (size_t r = first; r < last; r++) {
        const real *image = o->winner ? NULL : o->x + r * o->ldx, *saved = o->saved ? o->saved + r * o->ldsaved : NULL;
        const uint8_t *winner = o->winner ? o->winner + r * o->ldwinner : NULL;
        const real *dy = o->y + r * o->ldy;
        real *gradient = o->dx + r * o->lddx;
        if (!covers) memset(gradient, 0, size * sizeof(real));
        fnn_pool_window q = {0};
        for (size_t i = 0, at = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, at += n) {
                fnn_pool_go_on(&q, w, inside, i, j);
                for (size_t v = vectors; v > 0; v--) {
                    const size_t c = (v - 1) * FNN_LANES;
                    const vt t = vt_first(n - c);
                    const bool whole = n - c >= FNN_LANES, from_full = fnn_pool_full(at + c, out_size);
                    const bool to_full = whole || (covers && fnn_pool_full(q.last_in_line + c, line));
                    vec of, part = fnn_part_load(from_full, dy + at + c, t);
                    if (winner)
                        of = fnn_pool_taps(from_full, winner + at + c, t);
                    else
                        fnn_pool_largest(fnn_pool_full(q.last + c, size), &q, image + q.begin + c, t, &of);
                    if (saved) part = v_select(v_le(fnn_part_load(from_full, saved + at + c, t), v_zero()), v_zero(), part);
                    real *to = gradient + q.begin + c, number = q.number;
                    for (size_t y = q.rows; y > 0; y--, to += q.row, number += q.skip) {
                        real *tap = to;
                        for (size_t k = q.columns; k > 0; k--, tap += q.column, number += 1) {
                            const vec mine = v_select(v_eq(of, v_set1(number)), part, v_zero());
                            fnn_part_store(to_full, tap, v_add(disjoint ? v_zero() : fnn_part_load(to_full, tap, t), mine), t);
                        }
                    }
                }
            }
    }
}

/* The mean of so many elements whose sum is given. By powers of two a product gives the bits of the quotient. */
typedef struct fnn_pool_count {
    bool exact;
    real by;
} fnn_pool_count;

static fnn_pool_count fnn_pool_count_of(const fnn_pool2d *o, const fnn_pool_window *q)
{
    const size_t count = o->count_padding ? q->padded : q->rows * q->columns;
    const bool exact = (count & (count - 1)) == 0;
    return (fnn_pool_count){exact, exact ? 1 / (real)count : (real)count};
}

FNN_INLINE vec fnn_pool_mean_of(vec sum, fnn_pool_count count)
{
    return count.exact ? v_mul(sum, v_set1(count.by)) : v_div(sum, v_set1(count.by));
}

static void fnn_avgpool2d_forward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels, size = w->height * w->width * n, out_size = w->out_height * w->out_width * n;
    const fnn_range inside = fnn_pool_inside(w);
    for (size_t r = first; r < last; r++) {
        const real *image = o->x + r * o->ldx;
        real *y = o->y + r * o->ldy;
        fnn_pool_window q = {0};
        for (size_t i = 0, at = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, at += n) {
                fnn_pool_go_on(&q, w, inside, i, j);
                const fnn_pool_count count = fnn_pool_count_of(o, &q);
                for (size_t c = 0; c < n; c += FNN_LANES) {
                    const vt t = vt_first(n - c);
                    const bool full = fnn_pool_full(q.last + c, size) && fnn_pool_full(at + c, out_size);
                    const real *x = image + q.begin + c;
                    vec sum = v_zero();
                    for (size_t ky = q.rows; ky > 0; ky--, x += q.row) {
                        const real *tap = x;
                        for (size_t kx = q.columns; kx > 0; kx--, tap += q.column) sum = v_add(sum, fnn_part_load(full, tap, t));
                    }
                    fnn_part_store(full, y + at + c, fnn_pool_mean_of(sum, count), t);
                }
            }
    }
}

static void fnn_avgpool2d_backward(const fnn_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->window;
    const size_t n = w->channels, size = w->height * w->width * n, out_size = w->out_height * w->out_width * n;
    const size_t line = w->width * n, vectors = (n + FNN_LANES - 1) / FNN_LANES;
    const bool disjoint = fnn_pool_disjoint(w), covers = fnn_pool_covers(w);
    const fnn_range inside = fnn_pool_inside(w);
    for (size_t r = first; r < last; r++) {
        const real *dy = o->y + r * o->ldy;
        real *gradient = o->dx + r * o->lddx;
        if (!covers) memset(gradient, 0, size * sizeof(real));
        fnn_pool_window q = {0};
        for (size_t i = 0, at = 0; i < w->out_height; i++)
            for (size_t j = 0; j < w->out_width; j++, at += n) {
                fnn_pool_go_on(&q, w, inside, i, j);
                const fnn_pool_count count = fnn_pool_count_of(o, &q);
                for (size_t v = vectors; v > 0; v--) { /* as in the backward of a maximum */
                    const size_t c = (v - 1) * FNN_LANES;
                    const vt t = vt_first(n - c);
                    const bool full = n - c >= FNN_LANES || (covers && fnn_pool_full(q.last_in_line + c, line));
                    const vec part = fnn_pool_mean_of(fnn_part_load(fnn_pool_full(at + c, out_size), dy + at + c, t), count);
                    real *to = gradient + q.begin + c;
                    for (size_t ky = q.rows; ky > 0; ky--, to += q.row) {
                        real *tap = to;
                        for (size_t kx = q.columns; kx > 0; kx--, tap += q.column)
                            fnn_part_store(full, tap, v_add(disjoint ? v_zero() : fnn_part_load(full, tap, t), part), t);
                    }
                }
            }
    }
}

#endif
