/* The tables of kernels that this machine can run, slowest first, and which one is in use. Nothing here falls back: whoever asks
 * for an ISA gets it or an error. */
#include "../fastnn.h"
#include "cpu_features.h"

#include <stdatomic.h>
#include <string.h>

extern const fnn_kernels fnn_kernels_generic;
#if defined(__x86_64__)
extern const fnn_kernels fnn_kernels_avx2, fnn_kernels_avx512;
#endif

/* A table, and the flags of cpu_features.h that it needs. */
static const struct {
    const fnn_kernels *kernels;
    unsigned needs;
} tiers[] = {
    {&fnn_kernels_generic, 0},
#if defined(__x86_64__)
    {&fnn_kernels_avx2, FNN_CPU_FMA | FNN_CPU_AVX2},
    {&fnn_kernels_avx512,
     FNN_CPU_FMA | FNN_CPU_AVX2 | FNN_CPU_AVX512F | FNN_CPU_AVX512BW | FNN_CPU_AVX512DQ | FNN_CPU_AVX512VL},
#endif
};

size_t fnn_available_kernels(const fnn_kernels *tables[FNN_MAX_ISAS])
{
    const unsigned features = fnn_cpu_features();
    size_t n = 0;
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if ((features & tiers[i].needs) == tiers[i].needs) tables[n++] = tiers[i].kernels;
    return n;
}

static _Atomic(const fnn_kernels *) active = &fnn_kernels_generic;

const fnn_kernels *fnn_active_kernels(void) { return atomic_load_explicit(&active, memory_order_relaxed); }

bool fnn_use_kernels(const char *isa)
{
    const fnn_kernels *tables[FNN_MAX_ISAS] = {0};
    const size_t n = fnn_available_kernels(tables);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(tables[i]->isa, isa) == 0) {
            atomic_store(&active, tables[i]);
            return true;
        }
    }
    return false;
}
