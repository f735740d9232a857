/* The tables of kernels that this machine can run, slowest first, and which one is in use. Nothing here falls back: whoever asks
 * for an ISA gets it or an error. */
#include "../fastnn.h"
#include "cpu_features.h"

#include <stdatomic.h>
#include <string.h>

#define FNN_TABLES(isa) {&fnn_kernels_##isa##_f32, &fnn_kernels_##isa##_f64}

extern const fnn_kernels fnn_kernels_generic_f32, fnn_kernels_generic_f64;
#if defined(__x86_64__)
extern const fnn_kernels fnn_kernels_avx2_f32, fnn_kernels_avx2_f64, fnn_kernels_avx512_f32, fnn_kernels_avx512_f64;
#elif defined(__aarch64__)
extern const fnn_kernels fnn_kernels_neon_f32, fnn_kernels_neon_f64;
#endif

/* An instruction set: its tables, for floats and for doubles, and the flags of cpu_features.h that it needs. */
static const struct tier {
    const fnn_kernels *kernels[2];
    unsigned needs;
} tiers[] = {
    {FNN_TABLES(generic), 0},
#if defined(__x86_64__)
    {FNN_TABLES(avx2), FNN_CPU_FMA | FNN_CPU_AVX2},
    {FNN_TABLES(avx512), FNN_CPU_FMA | FNN_CPU_AVX2 | FNN_CPU_AVX512F | FNN_CPU_AVX512BW | FNN_CPU_AVX512DQ | FNN_CPU_AVX512VL},
#elif defined(__aarch64__)
    {FNN_TABLES(neon), FNN_CPU_NEON},
#endif
};

size_t fnn_available_isas(const char *names[FNN_MAX_ISAS])
{
    const unsigned features = fnn_cpu_features();
    size_t n = 0;
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if ((features & tiers[i].needs) == tiers[i].needs) names[n++] = tiers[i].kernels[0]->isa;
    return n;
}

static _Atomic(const struct tier *) active = &tiers[0];

const fnn_kernels *fnn_active_kernels(fnn_dtype dtype)
{
    return atomic_load_explicit(&active, memory_order_relaxed)->kernels[dtype == FNN_F64];
}

bool fnn_use_isa(const char *name)
{
    const unsigned features = fnn_cpu_features();
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) {
        if ((features & tiers[i].needs) == tiers[i].needs && strcmp(tiers[i].kernels[0]->isa, name) == 0) {
            atomic_store(&active, &tiers[i]);
            return true;
        }
    }
    return false;
}
