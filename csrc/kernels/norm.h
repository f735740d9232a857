/* Sums of squares in double, for gradient norms. The square of a float is exact in double, so only the additions round:
 * 16 lanes in two vectors, added, then folded. */
#ifndef FNN_KERNELS_NORM_H
#define FNN_KERNELS_NORM_H

#include "../simd/simd.h"
#include "kernels.h"

static double fnn_sum_squares_f32(size_t n, const float *x)
{
    vd a = vd_set1(0.0), b = vd_set1(0.0);
    size_t i = 0;
    for (; i + 2 * FNN_VD <= n; i += 2 * FNN_VD) {
        const vd low = vd_load_f32(x + i), high = vd_load_f32(x + i + FNN_VD);
        a = vd_fma(low, low, a);
        b = vd_fma(high, high, b);
    }
    double tail = 0.0;
    for (; i < n; i++) tail += (double)x[i] * (double)x[i];
    return vd_sum(vd_add(a, b)) + tail;
}

static double fnn_sum_squares_f64(size_t n, const double *x)
{
    vd a = vd_set1(0.0), b = vd_set1(0.0);
    size_t i = 0;
    for (; i + 2 * FNN_VD <= n; i += 2 * FNN_VD) {
        const vd low = vd_load(x + i), high = vd_load(x + i + FNN_VD);
        a = vd_fma(low, low, a);
        b = vd_fma(high, high, b);
    }
    double tail = 0.0;
    for (; i < n; i++) tail += x[i] * x[i];
    return vd_sum(vd_add(a, b)) + tail;
}

#endif
