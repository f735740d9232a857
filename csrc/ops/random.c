/* Random bits and the shuffle, from the counter-based generator of kernels/random.h: 16 blocks, 64 words, at a time. */
#include "../fastnn.h"

void fnn_philox(const uint32_t counter[4], uint64_t seed, uint32_t word[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

typedef struct group {
    const fnn_kernels *k;
    fnn_random draw;
    uint64_t number; /* of the group whose words are held */
    uint32_t words[64];
} group;

static group first_group(fnn_random draw, uint64_t number)
{
    group g = {.k = fnn_active_kernels(FNN_F32), .draw = draw, .number = number};
    g.k->random_words(&g.draw, number, g.words);
    return g;
}

/* Word i of the stream. */
static uint32_t word_at(group *g, uint64_t i)
{
    if (i / 64 != g->number) {
        g->number = i / 64;
        g->k->random_words(&g->draw, g->number, g->words);
    }
    return g->words[i % 4 * 16 + i / 4 % 16];
}

void fnn_random_bits(uint64_t seed, uint32_t stream, uint32_t step, uint64_t offset, size_t n, uint32_t *out)
{
    group g = first_group((fnn_random){seed, step, stream}, offset / 64);
    for (size_t i = 0; i < n; i++) out[i] = word_at(&g, offset + i);
}

/* Fisher and Yates: position i, from the last down, changes places with j = floor(u (i + 1) / 2^64), u the i-th 64-bit
 * word of the stream. */
void fnn_permutation(uint64_t seed, uint32_t epoch, size_t n, int64_t *out)
{
    for (size_t i = 0; i < n; i++) out[i] = (int64_t)i;
    group g = first_group((fnn_random){seed, epoch, FNN_STREAM_SHUFFLE}, n / 32);
    for (size_t i = n; i-- > 1;) {
        const uint64_t low = word_at(&g, 2 * (uint64_t)i), high = word_at(&g, 2 * (uint64_t)i + 1);
        const size_t j = (size_t)(((unsigned __int128)(low | high << 32) * (i + 1)) >> 64);
        const int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
