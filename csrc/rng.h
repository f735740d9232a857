/* Philox4x32-10, a counter-based generator: a draw is a function of (key, counter) and nothing else, so any thread may
 * make any part of a stream. J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 *
 * Draw i of a stream: key = (seed low, seed high), counter = (block low, block high, step, stream) with block = i / 4. */
#ifndef FNN_RNG_H
#define FNN_RNG_H

#include <stdint.h>

enum { FNN_STREAM_INIT = 0, FNN_STREAM_SHUFFLE = 1, FNN_STREAM_LAYERS = 16 }; /* from there on, one for each layer that draws */

static inline void fnn_philox(uint64_t seed, uint64_t block, uint32_t step, uint32_t stream, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = step, c3 = stream;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

#endif
