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

#include "../simd/math.h"
#include "random.h"

/* The vectors n ... of a run of rows, one by one. draw(q) makes the numbers of group q, of `group` vectors; body(x, n) is the
 * result. */
#define FNN_EACH_VECTOR(o, group, draw, body)                                                             \
    do {                                                                                                  \
        const uint64_t across = ((o)->columns + FNN_VF - 1) / FNN_VF;                                     \
        uint64_t n = (o)->first_row * across, held = n / (group);                                         \
        draw(held);                                                                                       \
        for (size_t r = 0; r < (o)->rows; r++) {                                                          \
            for (size_t j = 0; j < (o)->columns; j += FNN_VF, n++) {                                      \
                if (n / (group) != held) {                                                                \
                    held = n / (group);                                                                   \
                    draw(held);                                                                           \
                }                                                                                         \
                const float *x = (o)->x + r * (o)->ldx + j;                                               \
                float *y = (o)->y + r * (o)->ldy + j;                                                     \
                if (j + FNN_VF <= (o)->columns) {                                                         \
                    vf_store(y, body(vf_load(x), n));                                                     \
                } else {                                                                                  \
                    const vt t = vt_first((o)->columns - j);                                              \
                    vf_store_t(y, body(vf_load_t(x, t), n), t);                                           \
                }                                                                                         \
            }                                                                                             \
        }                                                                                                 \
    } while (0)

/* y = x scale, or 0 where the element's half-word is below the threshold. y may be x. */
static void fnn_dropout(const fnn_noise *o)
{
    const vf scale = vf_set1(o->scale);
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
#define FNN_BODY(x, n) vf_select(vi_lt(half[(n) % 8], threshold), vf_zero(), vf_mul(x, scale))
    FNN_EACH_VECTOR(o, 8, FNN_DRAW, FNN_BODY);
#undef FNN_DRAW
#undef FNN_BODY
}

/* cos 2 pi v and sin 2 pi v for 0 <= v < 1: the nearest quarter turn off, then polynomials in t = 2 pi r, |t| <= pi / 4.
 * The coefficients interpolate (sin t - t) / t^3 and (cos t - 1 + t^2 / 2) / t^4 at Chebyshev's points: below 1e-7. */
FNN_INLINE void fnn_turn(vf v, vf *cosine, vf *sine)
{
    const vf magic = vf_set1(0x1.8p23f);
    const vf shifted = vf_fma(v, vf_set1(4.0f), magic);
    const vi quarter = vi_sub(vf_bits(shifted), vf_bits(magic));
    const vf r = vf_fma(vf_sub(shifted, magic), vf_set1(-0.25f), v);
    const vf t = vf_mul(r, vf_set1(6.28318530717958648f)), t2 = vf_mul(t, t);
    vf s = vf_set1(-1.958789e-04f);
    s = vf_fma(s, t2, vf_set1(8.332748e-03f));
    s = vf_fma(s, t2, vf_set1(-1.6666664e-01f));
    s = vf_fma(vf_mul(s, t2), t, t);
    vf c = vf_set1(2.4547942e-05f);
    c = vf_fma(c, t2, vf_set1(-1.3888302e-03f));
    c = vf_fma(c, t2, vf_set1(4.1666664e-02f));
    c = vf_fma(c, t2, vf_set1(-0.5f));
    c = vf_fma(c, t2, vf_set1(1.0f));
    /* quarter 0: (c, s), 1: (-s, c), 2: (-c, -s), 3: (s, -c) */
    const vm odd = vi_eq(vi_and(quarter, vi_set1(1)), vi_set1(1));
    const vi cosine_sign = vi_shl(vi_and(vi_add(quarter, vi_set1(1)), vi_set1(2)), 30);
    const vi sine_sign = vi_shl(vi_and(quarter, vi_set1(2)), 30);
    *cosine = vi_float(vi_xor(vf_bits(vf_select(odd, s, c)), cosine_sign));
    *sine = vi_float(vi_xor(vf_bits(vf_select(odd, c, s)), sine_sign));
}

/* y = x + scale times a standard normal number. y may be x. */
static void fnn_gaussian_noise(const fnn_noise *o)
{
    const vf scale = vf_set1(o->scale), unit = vf_set1(0x1p-24f);
    vi word[4];
    vf normal[4];
#define FNN_DRAW(q)                                                                                    \
    do {                                                                                               \
        fnn_philox_lanes(&o->draw, q, word);                                                           \
        for (int w = 0; w < 4; w += 2) {                                                               \
            const vf u = vf_mul(vi_convert(vi_add(vi_shr(word[w], 8), vi_set1(1))), unit);             \
            const vf v = vf_mul(vi_convert(vi_shr(word[w + 1], 8)), unit);                             \
            const vf radius = vf_sqrt(vf_mul(vf_set1(-2.0f), vf_log(u)));                              \
            vf cosine, sine;                                                                           \
            fnn_turn(v, &cosine, &sine);                                                               \
            normal[w] = vf_mul(radius, cosine);                                                        \
            normal[w + 1] = vf_mul(radius, sine);                                                      \
        }                                                                                              \
    } while (0)
#define FNN_BODY(x, n) vf_fma(scale, normal[(n) % 4], x)
    FNN_EACH_VECTOR(o, 4, FNN_DRAW, FNN_BODY);
#undef FNN_DRAW
#undef FNN_BODY
}

#undef FNN_EACH_VECTOR

#endif
