/* What is done to the pixels of an image [height, width, channels] that is made anew: see ops/augment.c, which says where each goes, and
 * fastnn/reference/augment.py, which has the same bits. Plain loops without fused multiply-adds: the compiler vectorises them. */
#ifndef FNN_KERNELS_AUGMENT_H
#define FNN_KERNELS_AUGMENT_H

#include "../simd/real.h"

FNN_INLINE void fnn_fill_pixels(size_t n, real value, real *y)
{
    for (size_t i = 0; i < n; i++) y[i] = value;
}

/* Rows of `columns` elements, ld apart, all of one value. */
static void fnn_augment_fill(size_t rows, size_t columns, size_t ld, double value, real *y)
{
    for (size_t r = 0; r < rows; r++) fnn_fill_pixels(columns, (real)value, y + r * ld);
}

/* A map that takes whole pixels to whole pixels, whose axes stay where they are or are turned round: pixel (y, x) becomes pixel
 * (m0 y + m2, m4 x + m5), or the fill where there is none. */
static void fnn_augment_pixels(const fnn_map *o)
{
    const size_t c = o->channels;
    const ptrdiff_t h = (ptrdiff_t)o->height, w = (ptrdiff_t)o->width, out_w = (ptrdiff_t)o->out_width;
    const ptrdiff_t down = o->m[0] > 0 ? 1 : -1, right = o->m[4] > 0 ? 1 : -1, top = (ptrdiff_t)o->m[2], left = (ptrdiff_t)o->m[5];
    /* columns [first, last) of the result come from the image */
    ptrdiff_t first = right > 0 ? -left : left - w + 1, last = right > 0 ? w - left : left + 1;
    first = first < 0 ? 0 : first > out_w ? out_w : first;
    last = last < first ? first : last > out_w ? out_w : last;
    for (size_t row = 0; row < o->out_height; row++) {
        const ptrdiff_t from = down * (ptrdiff_t)row + top;
        real *y = o->y + row * o->out_width * c;
        if (from < 0 || from >= h) {
            fnn_fill_pixels(o->out_width * c, (real)o->fill, y);
            continue;
        }
        fnn_fill_pixels((size_t)first * c, (real)o->fill, y);
        const real *x = o->x + from * w * (ptrdiff_t)c;
        if (right > 0) {
            if (last > first) memcpy(y + first * (ptrdiff_t)c, x + (first + left) * (ptrdiff_t)c, (size_t)(last - first) * c * sizeof(real));
        } else {
            for (ptrdiff_t j = first; j < last; j++)
                for (size_t i = 0; i < c; i++) y[j * (ptrdiff_t)c + (ptrdiff_t)i] = x[(left - j) * (ptrdiff_t)c + (ptrdiff_t)i];
        }
        fnn_fill_pixels((size_t)(out_w - last) * c, (real)o->fill, y + last * (ptrdiff_t)c);
    }
}

#define FNN_SAMPLED 64 /* pixels whose places are worked out together */

/* Any map: pixel (y, x) takes what lies at (m0 y + m1 x + m2, m3 y + m4 x + m5), between four pixels linearly. The image stands in a ring
 * of the fill, one pixel wide, beyond which there is nothing else: places are held to it, and none needs a check. */
static void fnn_augment_sample(const fnn_map *o)
{
    const size_t c = o->channels, ld = (o->width + 2) * c;
    const int32_t h = (int32_t)o->height, w = (int32_t)o->width;
    const real fill = (real)o->fill, most_y = (real)(h + 1), most_x = (real)(w + 1);
    const real step_y = (real)o->m[1], step_x = (real)o->m[4];
    real *ring = o->ring;
    fnn_fill_pixels(ld, fill, ring);
    for (int32_t i = 0; i < h; i++) {
        real *row = ring + (size_t)(i + 1) * ld;
        fnn_fill_pixels(c, fill, row);
        memcpy(row + c, o->x + (size_t)i * o->width * c, o->width * c * sizeof(real));
        fnn_fill_pixels(c, fill, row + ld - c);
    }
    fnn_fill_pixels(ld, fill, ring + (size_t)(h + 1) * ld);
    int32_t at[FNN_SAMPLED];
    real fy[FNN_SAMPLED], fx[FNN_SAMPLED];
    for (size_t row = 0; row < o->out_height; row++) {
        const real base_y = (real)(o->m[0] * (double)row + (o->m[2] + 1.0)), base_x = (real)(o->m[3] * (double)row + (o->m[5] + 1.0));
        for (size_t j0 = 0; j0 < o->out_width; j0 += FNN_SAMPLED) {
            const int32_t count = (int32_t)fnn_min(FNN_SAMPLED, o->out_width - j0), first = (int32_t)j0;
            for (int32_t j = 0; j < count; j++) {
                real sy = base_y + step_y * (real)(first + j), sx = base_x + step_x * (real)(first + j);
                sy = sy > 0 ? sy : 0;
                sx = sx > 0 ? sx : 0;
                sy = sy < most_y ? sy : most_y;
                sx = sx < most_x ? sx : most_x;
                int32_t top = (int32_t)sy, left = (int32_t)sx;
                top = top < h ? top : h;
                left = left < w ? left : w;
                fy[j] = sy - (real)top;
                fx[j] = sx - (real)left;
                at[j] = top * (w + 2) + left;
            }
            real *y = o->y + (row * o->out_width + j0) * c;
            if (c == 1) {
                for (int32_t j = 0; j < count; j++) {
                    const real *p = ring + at[j], *q = p + w + 2;
                    const real upper = p[0] + fx[j] * (p[1] - p[0]), lower = q[0] + fx[j] * (q[1] - q[0]);
                    y[j] = upper + fy[j] * (lower - upper);
                }
                continue;
            }
            for (int32_t j = 0; j < count; j++) {
                const real *p = ring + (size_t)at[j] * c, *q = p + ld;
                for (size_t i = 0; i < c; i++) {
                    const real upper = p[i] + fx[j] * (p[i + c] - p[i]), lower = q[i] + fx[j] * (q[i + c] - q[i]);
                    y[(size_t)j * c + i] = upper + fy[j] * (lower - upper);
                }
            }
        }
    }
}

/* Brightness, contrast and saturation by these factors, in this order; a factor below 0: not at all. The mean is summed up in double, in
 * 16 lanes that are added in order. */
static void fnn_augment_colors(size_t pixels, size_t channels, double brightness, double contrast, double saturation, real *y)
{
    const size_t n = pixels * channels;
    if (brightness >= 0) {
        const real factor = (real)brightness;
        for (size_t i = 0; i < n; i++) y[i] = y[i] * factor;
    }
    if (contrast >= 0) {
        double lane[16] = {0}, total = 0.0;
        size_t i = 0;
        for (; i + 16 <= n; i += 16)
            for (size_t j = 0; j < 16; j++) lane[j] += (double)y[i + j];
        for (size_t j = 0; i + j < n; j++) lane[j] += (double)y[i + j];
        for (size_t j = 0; j < 16; j++) total += lane[j];
        const real factor = (real)contrast, mean = (real)(total / (double)n);
        for (i = 0; i < n; i++) y[i] = mean + factor * (y[i] - mean);
    }
    if (saturation >= 0) {
        const real factor = (real)saturation, red = (real)0.299, green = (real)0.587, blue = (real)0.114; /* ITU-R BT.601 */
        for (size_t i = 0; i + 3 <= n; i += 3) {
            const real grey = (red * y[i] + green * y[i + 1]) + blue * y[i + 2];
            for (size_t j = 0; j < 3; j++) y[i + j] = grey + factor * (y[i + j] - grey);
        }
    }
}

/* y = share y + (1 - share) other. */
static void fnn_augment_mix(size_t n, double share, const real *other, real *y)
{
    const real part = (real)share;
    for (size_t i = 0; i < n; i++) y[i] = other[i] + part * (y[i] - other[i]);
}

#endif
