/* Finds out which instruction sets this CPU and operating system offer, and which table of kernels is in use.
 * The only file that reads the CPU. Nothing here falls back: whoever asks for an ISA gets it or an error. */
#include "fastnn.h"

#include <stdatomic.h>
#include <string.h>

extern const fnn_kernels fnn_kernels_generic;
#if defined(__x86_64__)
#include <cpuid.h>
extern const fnn_kernels fnn_kernels_avx2, fnn_kernels_avx512;

/* Bits of CPUID leaf 1 ECX, leaf 7 EBX, and XCR0: Intel SDM vol. 2A (CPUID), vol. 1 section 13.3 (XCR0). */
static void detect_x86(bool *avx2, bool *avx512)
{
    unsigned a, b, c, d;
    *avx2 = *avx512 = false;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1;
    if (!osxsave || !avx || !fma) return;
    unsigned xcr0, high;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if ((xcr0 & 0x6) != 0x6) return; /* the system saves xmm and ymm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    *avx2 = b >> 5 & 1;
    const bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1;
    *avx512 = *avx2 && f && dq && bw && vl && (xcr0 & 0xE6) == 0xE6; /* and the masks and zmm */
}
#endif

size_t fnn_available_kernels(const fnn_kernels *tables[FNN_MAX_ISAS])
{
    size_t n = 0;
    tables[n++] = &fnn_kernels_generic;
#if defined(__x86_64__)
    bool avx2, avx512;
    detect_x86(&avx2, &avx512);
    if (avx2) tables[n++] = &fnn_kernels_avx2;
    if (avx512) tables[n++] = &fnn_kernels_avx512;
#endif
    return n; /* NEON: its table goes here, once csrc/simd/neon.h and csrc/isa/neon.c exist */
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
