/* Philox4x32-10, a counter-based generator: a draw is a function of (key, counter) and nothing else, so any thread may
 * make any part of a stream. J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 *
 * Draw i of a stream: key = (seed low, seed high), counter = (block low, block high, step, stream) with block = i / 4. */
#ifndef FNN_KERNELS_RANDOM_H
#define FNN_KERNELS_RANDOM_H

#include "../simd/real.h"

/* Blocks 16 q ... 16 q + 15, a lane each. */
FNN_INLINE void fnn_philox_lanes(const fnn_random *d, uint64_t q, vi word[4])
{
    vi c0 = vi_add(vi_set1((int32_t)(uint32_t)(q << 4)), vi_lanes()), c1 = vi_set1((int32_t)(uint32_t)(q >> 28));
    vi c2 = vi_set1((int32_t)d->step), c3 = vi_set1((int32_t)d->stream);
    uint32_t k0 = (uint32_t)d->seed, k1 = (uint32_t)(d->seed >> 32);
    FNN_UNROLL
    for (int round = 0; round < 10; round++) {
        vi high0, high1;
        const vi low0 = vi_mul_wide(c0, 0xD2511F53u, &high0), low1 = vi_mul_wide(c2, 0xCD9E8D57u, &high1);
        c0 = vi_xor(vi_xor(high1, c1), vi_set1((int32_t)k0));
        c1 = low1;
        c2 = vi_xor(vi_xor(high0, c3), vi_set1((int32_t)k1));
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

/* The words of the same blocks: word w of block 16 q + lane is words[16 w + lane]. */
static void fnn_random_words(const fnn_random *d, uint64_t q, uint32_t *words)
{
    vi word[4];
    fnn_philox_lanes(d, q, word);
    for (int w = 0; w < 4; w++) memcpy(words + 16 * w, &word[w], sizeof word[w]);
}

#endif
