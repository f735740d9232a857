/* The only file that reads the CPU. A flag is set only if the operating system saves the registers that go with it. */
#include "cpu_features.h"

#include <stdbool.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Bits of CPUID leaf 1 ECX, leaf 7 EBX, and XCR0: Intel SDM vol. 2A (CPUID), vol. 1 section 13.3 (XCR0). */
unsigned fnn_cpu_features(void)
{
    unsigned a, b, c, d, xcr0, high, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1;
    if (!osxsave || !avx) return 0;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if ((xcr0 & 0x6) != 0x6) return 0; /* xmm and ymm */
    if (fma) features |= FNN_CPU_FMA;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
    if (b >> 5 & 1) features |= FNN_CPU_AVX2;
    if ((xcr0 & 0xE6) != 0xE6) return features; /* and the masks and zmm */
    if (b >> 16 & 1) features |= FNN_CPU_AVX512F;
    if (b >> 17 & 1) features |= FNN_CPU_AVX512DQ;
    if (b >> 30 & 1) features |= FNN_CPU_AVX512BW;
    if (b >> 31 & 1) features |= FNN_CPU_AVX512VL;
    return features;
}
#elif defined(__aarch64__)
unsigned fnn_cpu_features(void) { return FNN_CPU_NEON; }
#else
unsigned fnn_cpu_features(void) { return 0; }
#endif
