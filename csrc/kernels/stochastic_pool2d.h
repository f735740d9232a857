/* Stochastic pooling of images [height, width, channels] over windows, of the rows [first, last) of a batch. With a = max(x, 0):
 *
 *   training    one element of each window, drawn with the probabilities a / sum a; 0 where no element is positive
 *   inference   what is drawn on average, sum a (a / sum a); 0 likewise
 *
 * M. D. Zeiler and R. Fergus, "Stochastic pooling for regularization of deep convolutional neural networks", 2013. In training the
 * gradient goes to the element that was drawn. Nothing is kept: backward draws the same again. Number e of the elements of a batch's output, in
 * row-major order, has u = (word e of the stream / 2^8) 2^-24, and of the window's elements, in their order, the first counts at which
 * the running sum of a is above u sum a; by rounding there may be none, and then the last positive one does. Where the sum is infinite
 * or NaN the largest element counts, as in max-pooling: NaN is the largest of all. */
#ifndef FNN_KERNELS_STOCHASTIC_POOL2D_H
#define FNN_KERNELS_STOCHASTIC_POOL2D_H

#include "pool2d.h"
#include "random.h"

#define FNN_POOL_CHANNELS 64 /* at a time */

/* Words of the stream, of which the last group is held. */
typedef struct fnn_words {
    const fnn_random *draw;
    uint64_t group;
    uint32_t words[64];
} fnn_words;

static uint32_t fnn_word_at(fnn_words *w, uint64_t i)
{
    if (i / 64 != w->group) fnn_random_words(w->draw, w->group = i / 64, w->words);
    return w->words[i % 4 * 16 + i / 4 % 16];
}

FNN_INLINE real fnn_positive(real x) { return x > 0 ? x : x != x ? x : 0; }

/* Whether x takes the place of the largest so far, which at -1 there is none. */
FNN_INLINE bool fnn_is_larger(real x, real most, int32_t at) { return (at < 0) | (x > most) | ((x != x) & (most == most)); }

/* Sums over a window of max(x, 0), for `count` channels from `begin` on. */
static void fnn_pool_sums(const fnn_window *w, const real *image, const fnn_place *p, size_t begin, size_t count, real *sum)
{
    for (size_t c = 0; c < count; c++) sum[c] = 0;
    for (size_t ky = p->rows.begin; ky < p->rows.end; ky++)
        for (size_t kx = p->columns.begin; kx < p->columns.end; kx++) {
            const real *x = image + fnn_pixel_at(w, p, ky, kx) * w->channels + begin;
            for (size_t c = 0; c < count; c++) sum[c] += fnn_positive(x[c]);
        }
}

/* What is drawn from a window for these channels, and the pixel where it stands; 0 and -1 where nothing is positive. e: the number of
 * the first of the elements that come out. */
static void fnn_pool_draw(const fnn_window *w, const real *image, const fnn_place *p, size_t begin, size_t count, fnn_words *words,
                          uint64_t e, real *drawn, int32_t *at)
{
    real sum[FNN_POOL_CHANNELS], limit[FNN_POOL_CHANNELS], so_far[FNN_POOL_CHANNELS];
    fnn_pool_sums(w, image, p, begin, count, sum);
    for (size_t c = 0; c < count; c++) {
        limit[c] = (real)(fnn_word_at(words, e + c) >> 8) * (real)0x1p-24 * sum[c];
        so_far[c] = drawn[c] = 0;
        at[c] = -1;
    }
    for (size_t ky = p->rows.begin; ky < p->rows.end; ky++)
        for (size_t kx = p->columns.begin; kx < p->columns.end; kx++) {
            const size_t pixel = fnn_pixel_at(w, p, ky, kx);
            const real *x = image + pixel * w->channels + begin;
            for (size_t c = 0; c < count; c++) {
                const bool finite = sum[c] - sum[c] == 0;
                const bool take = finite ? (x[c] > 0) & (so_far[c] <= limit[c]) : fnn_is_larger(x[c], drawn[c], at[c]);
                so_far[c] += fnn_positive(x[c]);
                drawn[c] = take ? x[c] : drawn[c];
                at[c] = take ? (int32_t)pixel : at[c];
            }
        }
}

/* The channels of a pixel in strips. */
#define FNN_EACH_STRIP(n) \
    for (size_t begin = 0, count; begin < (n) && (count = (n) - begin < FNN_POOL_CHANNELS ? (n) - begin : FNN_POOL_CHANNELS, true); \
         begin += count)

static void fnn_stochastic_pool2d_forward(const fnn_stochastic_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->pool.window;
    const size_t n = w->channels, pixels = w->out_height * w->out_width;
    fnn_words words = {.draw = &o->draw, .group = UINT64_MAX};
    int32_t at[FNN_POOL_CHANNELS];
    for (size_t r = first; r < last; r++)
        for (size_t q = 0; q < pixels; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            FNN_EACH_STRIP(n)
                fnn_pool_draw(w, o->pool.x + r * o->pool.ldx, &p, begin, count, &words, ((o->first_row + r) * pixels + q) * n + begin,
                              o->pool.y + r * o->pool.ldy + q * n + begin, at);
        }
}

static void fnn_stochastic_pool2d_backward(const fnn_stochastic_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->pool.window;
    const size_t n = w->channels, pixels = w->out_height * w->out_width;
    fnn_words words = {.draw = &o->draw, .group = UINT64_MAX};
    real drawn[FNN_POOL_CHANNELS];
    int32_t at[FNN_POOL_CHANNELS];
    for (size_t r = first; r < last; r++) {
        real *dx = o->pool.dx + r * o->pool.lddx;
        memset(dx, 0, w->height * w->width * n * sizeof(real));
        for (size_t q = 0; q < pixels; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            FNN_EACH_STRIP(n) {
                const real *dy = o->pool.y + r * o->pool.ldy + q * n + begin;
                fnn_pool_draw(w, o->pool.x + r * o->pool.ldx, &p, begin, count, &words, ((o->first_row + r) * pixels + q) * n + begin, drawn, at);
                for (size_t c = 0; c < count; c++)
                    if (at[c] >= 0) dx[(size_t)at[c] * n + begin + c] += dy[c];
            }
        }
    }
}

/* For these channels of a window sum a, sum a (a / sum a), and the pixel of the largest element. */
static void fnn_pool_mean(const fnn_window *w, const real *image, const fnn_place *p, size_t begin, size_t count, real *sum, real *mean,
                          real *most, int32_t *at)
{
    fnn_pool_sums(w, image, p, begin, count, sum);
    for (size_t c = 0; c < count; c++) mean[c] = most[c] = 0, at[c] = -1;
    for (size_t ky = p->rows.begin; ky < p->rows.end; ky++)
        for (size_t kx = p->columns.begin; kx < p->columns.end; kx++) {
            const size_t pixel = fnn_pixel_at(w, p, ky, kx);
            const real *x = image + pixel * w->channels + begin;
            for (size_t c = 0; c < count; c++) {
                const real a = fnn_positive(x[c]);
                mean[c] += sum[c] > 0 ? a * (a / sum[c]) : 0;
                const bool take = fnn_is_larger(x[c], most[c], at[c]);
                most[c] = take ? x[c] : most[c];
                at[c] = take ? (int32_t)pixel : at[c];
            }
        }
}

static void fnn_stochastic_pool2d_inference(const fnn_stochastic_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->pool.window;
    const size_t n = w->channels;
    real sum[FNN_POOL_CHANNELS], mean[FNN_POOL_CHANNELS], most[FNN_POOL_CHANNELS];
    int32_t at[FNN_POOL_CHANNELS];
    for (size_t r = first; r < last; r++)
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            FNN_EACH_STRIP(n) {
                real *y = o->pool.y + r * o->pool.ldy + q * n + begin;
                fnn_pool_mean(w, o->pool.x + r * o->pool.ldx, &p, begin, count, sum, mean, most, at);
                for (size_t c = 0; c < count; c++) y[c] = sum[c] - sum[c] == 0 ? mean[c] : most[c];
            }
        }
}

/* dx = dy (2 a - y) / sum a where a is positive; where the sum is infinite or NaN, dy to the largest. */
static void fnn_stochastic_pool2d_inference_backward(const fnn_stochastic_pool2d *o, size_t first, size_t last)
{
    const fnn_window *w = &o->pool.window;
    const size_t n = w->channels;
    real sum[FNN_POOL_CHANNELS], mean[FNN_POOL_CHANNELS], most[FNN_POOL_CHANNELS];
    int32_t at[FNN_POOL_CHANNELS];
    for (size_t r = first; r < last; r++) {
        real *dx = o->pool.dx + r * o->pool.lddx;
        memset(dx, 0, w->height * w->width * n * sizeof(real));
        for (size_t q = 0; q < w->out_height * w->out_width; q++) {
            const fnn_place p = fnn_place_of(w, q / w->out_width, q % w->out_width);
            FNN_EACH_STRIP(n) {
                const real *image = o->pool.x + r * o->pool.ldx, *dy = o->pool.y + r * o->pool.ldy + q * n + begin;
                fnn_pool_mean(w, image, &p, begin, count, sum, mean, most, at);
                for (size_t ky = p.rows.begin; ky < p.rows.end; ky++)
                    for (size_t kx = p.columns.begin; kx < p.columns.end; kx++) {
                        const size_t pixel = fnn_pixel_at(w, &p, ky, kx);
                        const real *x = image + pixel * n + begin;
                        real *to = dx + pixel * n + begin;
                        for (size_t c = 0; c < count; c++) {
                            if (sum[c] - sum[c] == 0)
                                to[c] += x[c] > 0 ? dy[c] * ((2 * x[c] - mean[c]) / sum[c]) : 0;
                            else if ((int32_t)pixel == at[c])
                                to[c] += dy[c];
                        }
                    }
            }
        }
    }
}

#undef FNN_EACH_STRIP

#endif
