/* Random bits and the shuffle, from the counter-based generator of rng.h. */
#include "../fastnn.h"
#include "../rng.h"

void fnn_random_bits(uint64_t seed, uint32_t stream, uint32_t step, uint64_t offset, size_t n, uint32_t *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t block[4];
        fnn_philox(seed, (offset + i) / 4, step, stream, block);
        for (size_t lane = (offset + i) % 4; lane < 4 && i < n; lane++) out[i++] = block[lane];
    }
}

/* Fisher and Yates: position i, from the last down, changes places with j = floor(u (i + 1) / 2^64), u the i-th 64-bit
 * word of the stream. */
void fnn_permutation(uint64_t seed, uint32_t epoch, size_t n, int64_t *out)
{
    for (size_t i = 0; i < n; i++) out[i] = (int64_t)i;
    uint32_t block[4] = {0};
    uint64_t held = UINT64_MAX;
    for (size_t i = n; i-- > 1;) {
        if (i / 2 != held) {
            held = i / 2;
            fnn_philox(seed, held, epoch, FNN_STREAM_SHUFFLE, block);
        }
        const uint64_t word = block[i % 2 * 2] | (uint64_t)block[i % 2 * 2 + 1] << 32;
        const size_t j = (size_t)(((unsigned __int128)word * (i + 1)) >> 64);
        const int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
