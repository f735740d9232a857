/* What the CPU can do and the operating system lets it: a set of flags, of which tables of kernels name those they need. */
#ifndef FNN_RUNTIME_CPU_FEATURES_H
#define FNN_RUNTIME_CPU_FEATURES_H

enum {
    FNN_CPU_FMA = 1 << 0,
    FNN_CPU_AVX2 = 1 << 1,
    FNN_CPU_AVX512F = 1 << 2,
    FNN_CPU_AVX512BW = 1 << 3,
    FNN_CPU_AVX512DQ = 1 << 4,
    FNN_CPU_AVX512VL = 1 << 5,
    FNN_CPU_NEON = 1 << 6 /* every AArch64 has it */
};

unsigned fnn_cpu_features(void);

#endif
