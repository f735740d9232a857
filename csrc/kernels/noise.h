/* What training does to its activations at random: dropout and Gaussian noise. Nothing is kept: a draw is a function of
 * (seed, step, stream) and of the element's place, so the backward pass makes the same mask anew.
 *
 * Rows are counted in vectors of 16 elements, the last of a row perhaps partly used: vector n = row ceil(columns / 16) +
 * column / 16. Sixteen Philox blocks, numbers 16 q ... 16 q + 15, make 128 words in 16 lanes; they serve
 *
 *   dropout         8 vectors: lane l of vector n has the half-word n % 8 (low halves first) of block 16 (n / 8) + l
 *   Gaussian noise  4 vectors: lane l of vector n has words 2 (n % 4 / 2) and the next of block 16 (n / 4) + l, by
 *                   Box & Muller 1958: sqrt(-2 ln u) cos(2 pi v) where n is even, sin where it is odd,
 *                   u = (word / 2^8 + 1) 2^-24, v = (next / 2^8) 2^-24
 *
 * Philox: see random.h. */
#ifndef FNN_KERNELS_NOISE_H
#define FNN_KERNELS_NOISE_H

#include "../simd/real.h"
#include "random.h"

/* The vectors n ... of a run of rows, one by one, each in as many parts as it takes vecs, and those of all pixels of a row that have the
 * same draws. draw(q) makes the numbers of group q, of `group` vectors; body(x, n, part) is the result. */
#define FNN_EACH_VECTOR(o, pixels, group, draw, body)                                                     \
    do {                                                                                                  \
        const uint64_t across = ((o)->columns + 15) / 16;                                                 \
        uint64_t n = (o)->first_row * across, held = n / (group);                                         \
        draw(held);                                                                                       \
        for (size_t r = 0; r < (o)->rows; r++) {                                                          \
            for (size_t j = 0; j < (o)->columns; j += 16, n++) {                                          \
                if (n / (group) != held) {                                                                \
                    held = n / (group);                                                                   \
                    draw(held);                                                                           \
                }                                                                                         \
                for (size_t part = 0, i = j; part < FNN_PARTS && i < (o)->columns; part++, i += FNN_LANES) { \
                    for (size_t pixel = 0; pixel < (pixels); pixel++) {                                   \
                        const real *x = (o)->x + r * (o)->ldx + pixel * (o)->columns + i;                 \
                        real *y = (o)->y + r * (o)->ldy + pixel * (o)->columns + i;                       \
                        if (i + FNN_LANES <= (o)->columns) {                                              \
                            v_store(y, body(v_load(x), n, part));                                         \
                        } else {                                                                          \
                            const vt t = vt_first((o)->columns - i);                                      \
                            v_store_t(y, body(v_load_t(x, t), n, part), t);                               \
                        }                                                                                 \
                    }                                                                                     \
                }                                                                                         \
            }                                                                                             \
        }                                                                                                 \
    } while (0)
#define FNN_PARTS (16 / FNN_LANES)

/* y = x scale, or 0 where the element's half-word is below the threshold. y may be x. */
FNN_INLINE void fnn_dropout_of(const fnn_noise *o, const size_t pixels)
{
    const vec scale = v_set1((real)o->scale);
    const vi threshold = vi_set1((int32_t)o->threshold), low = vi_set1(0xFFFF);
    vi half[8], word[4];
#define FNN_DRAW(q)                                    \
    do {                                               \
        fnn_philox_lanes(&o->draw, q, word);           \
        for (int w = 0; w < 4; w++) {                  \
            half[2 * w] = vi_and(word[w], low);        \
            half[2 * w + 1] = vi_shr(word[w], 16);     \
        }                                              \
    } while (0)
#define FNN_BODY(x, n, part) v_select(vmask_of_part(vi_lt(half[(n) % 8], threshold), part), v_zero(), v_mul(x, scale))
    FNN_EACH_VECTOR(o, pixels, 8, FNN_DRAW, FNN_BODY);
#undef FNN_DRAW
#undef FNN_BODY
}

static void fnn_dropout(const fnn_noise *o) { fnn_dropout_of(o, 1); }

/* Whole channels of images: the draws are those of a matrix [rows, channels]. */
static void fnn_drop_channels(const fnn_noise *o) { fnn_dropout_of(o, o->pixels); }

/* y = x + scale times a standard normal number. y may be x. */
static void fnn_gaussian_noise(const fnn_noise *o)
{
    const vec scale = v_set1((real)o->scale), unit = v_set1(0x1p-24);
    vi word[4];
    vec normal[4][FNN_PARTS];
#define FNN_DRAW(q)                                                                                                \
    do {                                                                                                           \
        fnn_philox_lanes(&o->draw, q, word);                                                                       \
        for (int w = 0; w < 4; w += 2) {                                                                           \
            for (size_t part = 0; part < FNN_PARTS; part++) {                                                      \
                const vec u = v_mul(v_of_part(vi_add(vi_shr(word[w], 8), vi_set1(1)), part), unit);                \
                const vec v = v_mul(v_of_part(vi_shr(word[w + 1], 8), part), unit);                                \
                const vec radius = v_sqrt(v_mul(v_set1(-2.0), v_log(u)));                                          \
                vec cosine, sine;                                                                                  \
                v_turn(v, &cosine, &sine);                                                                         \
                normal[w][part] = v_mul(radius, cosine);                                                           \
                normal[w + 1][part] = v_mul(radius, sine);                                                         \
            }                                                                                                      \
        }                                                                                                          \
    } while (0)
#define FNN_BODY(x, n, part) v_fma(scale, normal[(n) % 4][part], x)
    FNN_EACH_VECTOR(o, 1, 4, FNN_DRAW, FNN_BODY);
#undef FNN_DRAW
#undef FNN_BODY
}

#undef FNN_EACH_VECTOR
#undef FNN_PARTS

/* Whole rows: y = x scale, or 0 where the low half of a row's word is below the threshold. Row r has word r % 4 of block r / 4. */
static void fnn_drop_rows(const fnn_noise *o)
{
    uint32_t words[64];
    uint64_t held = UINT64_MAX;
    const real scale = (real)o->scale;
    for (size_t r = 0; r < o->rows; r++) {
        const uint64_t row = o->first_row + r;
        if (row / 64 != held) fnn_random_words(&o->draw, held = row / 64, words);
        const bool stays = (words[row % 4 * 16 + row / 4 % 16] & 0xFFFF) >= o->threshold;
        const real *x = o->x + r * o->ldx;
        real *y = o->y + r * o->ldy;
        for (size_t j = 0; j < o->columns; j++) y[j] = stays ? x[j] * scale : 0;
    }
}

#endif
