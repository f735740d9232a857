/* For tests and benches: an elementary function over an array, a loop of nothing but fused multiply-adds, and one of
 * nothing but memory. */
#ifndef FNN_KERNELS_MEASURE_H
#define FNN_KERNELS_MEASURE_H

#include "../simd/math.h"
#include "kernels.h"

static void fnn_math_map(fnn_math f, size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i += FNN_VF) {
        const vt t = vt_first(n - i);
        vf v = vf_load_t(x + i, t);
        v = f == FNN_MATH_EXP ? vf_exp(v) : f == FNN_MATH_LOG ? vf_log(v) : f == FNN_MATH_SIGMOID ? vf_sigmoid(v) : vf_tanh(v);
        vf_store_t(y + i, v, t);
    }
}

/* n rounds of FNN_PEAK_NV independent chains of vectors, s <- 0.999 s + 0.001, with no memory. Returns the flops that this
 * took, the one place that counts them, and in *sum all lanes at the end. Every lane starts from a number of its own, and
 * goes into the sum: a compiler that sees two registers hold the same numbers computes one of them only. */
static size_t fnn_fma_peak(size_t n, float *sum)
{
    vf s[FNN_PEAK_NV];
    const vf a = vf_set1(0.999f), b = vf_set1(0.001f);
    FNN_UNROLL
    for (int i = 0; i < FNN_PEAK_NV; i++) s[i] = vi_convert(vi_add(vi_lanes(), vi_set1(i * FNN_VF)));
    for (size_t k = 0; k < n; k++) {
        FNN_UNROLL
        for (int i = 0; i < FNN_PEAK_NV; i++) s[i] = vf_fma(s[i], a, b);
    }
    float total = 0.0f;
    FNN_UNROLL
    for (int i = 0; i < FNN_PEAK_NV; i++) total += vf_sum(s[i]);
    *sum = total;
    return n * FNN_PEAK_NV * FNN_VF * 2;
}

/* The same from instructions that stand in the code one by one, and of one chain less: by what bench/ checks the peak. It
 * does nothing and returns 0 where there are no such instructions. */
static size_t fnn_fma_literal(size_t n, float *sum)
{
    *sum = 0.0f;
#ifdef FNN_LITERAL_FMA
    enum { NV = FNN_PEAK_NV - 1 };
    vf s[NV];
    const vf a = vf_set1(0.999f), b = vf_set1(0.001f);
    FNN_UNROLL
    for (int i = 0; i < NV; i++) s[i] = vi_convert(vi_add(vi_lanes(), vi_set1(i * FNN_VF)));
    for (size_t k = 0; k < n; k++) {
        FNN_UNROLL
        for (int i = 0; i < NV; i++) s[i] = vf_fma_literal(s[i], a, b);
    }
    FNN_UNROLL
    for (int i = 0; i < NV; i++) *sum += vf_sum(s[i]);
    return n * NV * FNN_VF * 2;
#else
    (void)n;
    return 0;
#endif
}

/* The memory traffic of an optimizer's update, and next to no arithmetic: all `count` arrays are read and all but the last
 * written, a <- (a + last) / 2. The last n % 16 elements are left alone. */
FNN_INLINE void fnn_stream(const size_t count, size_t n, float *const *arrays)
{
    const vf half = vf_set1(0.5f);
    float *a[FNN_STREAMS];
    for (size_t k = 0; k < count; k++) a[k] = arrays[k];
    for (size_t i = 0; i + FNN_VF <= n; i += FNN_VF) {
        const vf last = vf_mul(half, vf_load(a[count - 1] + i));
        FNN_UNROLL
        for (size_t k = 0; k + 1 < count; k++) vf_store(a[k] + i, vf_fma(half, vf_load(a[k] + i), last));
    }
}

static void fnn_streams(size_t count, size_t n, float *const *arrays)
{
    switch (count) {
    case 2: fnn_stream(2, n, arrays); break;
    case 3: fnn_stream(3, n, arrays); break;
    case 4: fnn_stream(4, n, arrays); break;
    case 5: fnn_stream(5, n, arrays); break;
    case 6: fnn_stream(6, n, arrays); break;
    default: break;
    }
}

#endif
