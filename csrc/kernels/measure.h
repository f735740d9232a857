/* For tests and benches: an elementary function over an array, and a loop of nothing but fused multiply-adds. */
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

/* n rounds of FNN_PEAK_REGISTERS independent chains of vf_fma: n * chains * 16 * 2 flops, no memory. */
#define FNN_PEAK_REGISTERS 12
static float fnn_fma_peak(size_t n)
{
    vf sum[FNN_PEAK_REGISTERS];
    const vf a = vf_set1(0.999f), b = vf_set1(0.001f);
#pragma GCC unroll 16
    for (int i = 0; i < FNN_PEAK_REGISTERS; i++) sum[i] = vf_set1((float)i);
    for (size_t k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < FNN_PEAK_REGISTERS; i++) sum[i] = vf_fma(sum[i], a, b);
    }
    float total = 0.0f;
#pragma GCC unroll 16
    for (int i = 0; i < FNN_PEAK_REGISTERS; i++) total += vf_sum(sum[i]);
    return total;
}

#endif
