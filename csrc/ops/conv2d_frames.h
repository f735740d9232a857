/* What convolutions read where it lies: lines of an image or, where windows reach beyond it, a copy of some of them between zeros.
 *
 *   frame_of_input    the lines that the windows of a convolution's outputs see
 *   frame_of_output   those of the outputs' gradient that the gradient of the inputs is made of, and `side` which of them for which inputs
 *   lines_at          where they lie, copied if need be
 *
 * Part of conv2d.c. */
#ifndef FNN_OPS_CONV2D_FRAMES_H
#define FNN_OPS_CONV2D_FRAMES_H

#include "step.h"

#include <string.h>

#define BLOCK 32768     /* elements of windows that are copied together: 128 KB of the L2 cache, or twice that of doubles */

/* Elements are moved as words, of which a float is one and a double two. */
typedef uint32_t __attribute__((may_alias)) word;

static size_t words(const fnn_kernels *k) { return k->item / sizeof(word); }

static word *copy(word *to, const word *from, size_t n)
{
    if (n < 16)
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    else
        memcpy(to, from, n * sizeof(word));
    return to + n;
}

static word *zero(word *to, size_t n)
{
    if (n) memset(to, 0, n * sizeof(word));
    return to + n;
}

/* What a convolution reads: an image [height, width, channels], and `rows` lines of `columns` pixels of it, whose first is at
 * (top, left), which may be outside. Where each channel has several filters of its own the copy has a pixel's elements side by side
 * as one filter after the other needs them. */
typedef struct frame {
    size_t height, width, channels; /* of the copy, where that is another number */
    ptrdiff_t top, left;
    size_t rows, columns;
    size_t reach; /* lines that an output line's windows see, */
    size_t stride; /* and from one output line's to the next one's */
    size_t repeat; /* each element of the image is so many of the copy, that follow each other; else 1 */
    size_t apart;  /* the copy has every so many-th element of a pixel side by side, from the first, then from the second, ...; else 1 */
} frame;

static bool whole(const frame *f)
{
    return f->top == 0 && f->left == 0 && f->rows <= f->height && f->columns <= f->width && f->repeat == 1 && f->apart == 1;
}

/* Output lines whose windows are copied together, of `lines`. */
static size_t lines_of(const frame *f, size_t lines)
{
    if (whole(f)) return lines;
    const size_t fit = BLOCK / (f->columns * f->channels);
    return fnn_min(lines, fit > f->reach ? (fit - f->reach) / f->stride + 1 : 1);
}

static size_t copied(const frame *f, size_t lines)
{
    return whole(f) ? 0 : ((lines_of(f, lines) - 1) * f->stride + f->reach) * f->columns * f->channels;
}

static size_t pitch(const frame *f) { return (whole(f) ? f->width : f->columns) * f->channels; }

/* n pixels as the copy has them, of elements of `unit` words. */
static word *copy_pixels(const frame *f, size_t unit, word *to, const word *from, size_t n)
{
    if (f->repeat == 1 && f->apart == 1) return copy(to, from, n * f->channels * unit);
    for (size_t i = 0; i < n * f->channels / f->repeat; i += f->channels / f->repeat)
        for (size_t first = 0; first < f->apart; first++)
            for (size_t c = first; c < f->channels / f->repeat; c += f->apart)
                for (size_t again = 0; again < f->repeat; again++) to = copy(to, from + (i + c) * unit, unit);
    return to;
}

/* The first of what the output lines [begin, end) read. */
static const void *lines_at(const fnn_kernels *kernels, const frame *f, const void *image, size_t begin, size_t end, void *room)
{
    if (whole(f)) return fnn_at(kernels, image, begin * f->stride * pitch(f));
    const size_t unit = words(kernels), pixel = f->channels * unit, rows = (end - begin - 1) * f->stride + f->reach;
    const ptrdiff_t right = f->left + (ptrdiff_t)f->columns;
    const ptrdiff_t from = f->left < 0 ? 0 : f->left, until = right > (ptrdiff_t)f->width ? (ptrdiff_t)f->width : right;
    word *to = room;
    for (size_t r = 0; r < rows; r++) {
        const ptrdiff_t row = f->top + (ptrdiff_t)(begin * f->stride + r);
        if (row < 0 || row >= (ptrdiff_t)f->height || from >= until) {
            to = zero(to, f->columns * pixel);
            continue;
        }
        to = zero(to, (size_t)(from - f->left) * pixel);
        to = copy_pixels(f, unit, to, (const word *)image + ((size_t)row * f->width + (size_t)from) * (pixel / f->repeat),
                         (size_t)(until - from));
        to = zero(to, (size_t)(right - until) * pixel);
    }
    return room;
}

/* How many filters each channel has of its own; 0: they see several channels, or all of them the only one. */
static size_t own_filters(const fnn_window *w, size_t filters)
{
    return w->groups > 1 && w->channels == w->groups ? filters / w->groups : 0;
}

/* What the outputs' windows are of. */
static frame frame_of_input(const fnn_window *w, size_t filters)
{
    const size_t own = own_filters(w, filters), repeat = own ? own : 1;
    const size_t reach = (w->kernel_height - 1) * w->dilation_y + 1, across = (w->kernel_width - 1) * w->dilation_x + 1;
    return (frame){w->height, w->width, w->channels * repeat, -(ptrdiff_t)w->pad_top, -(ptrdiff_t)w->pad_left,
                   (w->out_height - 1) * w->stride_y + reach, (w->out_width - 1) * w->stride_x + across, reach, w->stride_y, repeat, 1};
}

/* And those of the inputs' gradient, of the outputs'. Along one side every `stride`th input pixel, from one of the first on, has the same
 * taps, every `step`th from the first on, and the outputs that read it there stand `back` before each other: for these pixels alone it
 * is a convolution of stride 1, whose taps go backwards. */
typedef struct side {
    size_t pixels, taps, first, step, back;
    ptrdiff_t from; /* the output that reads the first pixel at the last of its taps; it may be outside */
} side;

static size_t common_divisor(size_t a, size_t b)
{
    while (b > 0) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static side side_of(size_t pixel, size_t size, size_t stride, size_t kernel, size_t dilation, size_t pad)
{
    const size_t divisor = common_divisor(stride, dilation);
    side s = {.pixels = pixel < size ? (size - pixel - 1) / stride + 1 : 0, .step = stride / divisor, .back = dilation / divisor};
    const ptrdiff_t at = (ptrdiff_t)(pixel + pad);
    while (s.first < kernel && s.first < s.step && (at - (ptrdiff_t)(s.first * dilation)) % (ptrdiff_t)stride != 0) s.first++;
    if (s.first >= kernel || s.first >= s.step) return s; /* no window reads it */
    s.taps = (kernel - 1 - s.first) / s.step + 1;
    s.from = (at - (ptrdiff_t)((s.first + (s.taps - 1) * s.step) * dilation)) / (ptrdiff_t)stride;
    return s;
}

static side side_y(const fnn_window *w, size_t pixel)
{
    return side_of(pixel, w->height, w->stride_y, w->kernel_height, w->dilation_y, w->pad_top);
}

static side side_x(const fnn_window *w, size_t pixel)
{
    return side_of(pixel, w->width, w->stride_x, w->kernel_width, w->dilation_x, w->pad_left);
}

/* Of all the sides together: the first output that is read, how many from there on, and how many for one pixel. */
typedef struct span {
    ptrdiff_t from;
    size_t size, reach;
} span;

static span span_of(const fnn_window *w, side (*of)(const fnn_window *w, size_t pixel), size_t stride)
{
    ptrdiff_t from = PTRDIFF_MAX, end = 0, reach = 0;
    for (size_t pixel = 0; pixel < stride; pixel++) {
        const side s = of(w, pixel);
        if (!s.pixels || !s.taps) continue;
        const ptrdiff_t until = s.from + (ptrdiff_t)((s.taps - 1) * s.back) + 1;
        if (from == PTRDIFF_MAX) from = s.from, reach = until, end = until + (ptrdiff_t)s.pixels - 1;
        from = s.from < from ? s.from : from;
        reach = until > reach ? until : reach;
        end = until + (ptrdiff_t)s.pixels - 1 > end ? until + (ptrdiff_t)s.pixels - 1 : end;
    }
    if (from == PTRDIFF_MAX) return (span){0, 1, 1};
    return (span){from, (size_t)(end - from), (size_t)(reach - from)};
}

static frame frame_of_output(const fnn_window *w, size_t filters)
{
    const span y = span_of(w, side_y, w->stride_y), x = span_of(w, side_x, w->stride_x);
    const size_t own = own_filters(w, filters);
    return (frame){w->out_height, w->out_width, filters, y.from, x.from, y.size, x.size, y.reach, 1, 1, own ? own : 1};
}

#endif
