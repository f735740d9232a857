/* Sums of squares in double, for gradient norms. The square of a float is exact in double, so only the additions round:
 * 16 lanes, folded. */
#ifndef FNN_KERNELS_NORM_H
#define FNN_KERNELS_NORM_H

#include "../simd/real.h"

static double fnn_sum_squares(size_t n, const real *x)
{
    vwide sum = vwide_zero();
    size_t i = 0;
    for (; i + FNN_WIDE <= n; i += FNN_WIDE) {
        const vwide v = vwide_load(x + i);
        sum = vwide_fma(v, v, sum);
    }
    double tail = 0.0;
    for (; i < n; i++) tail += (double)x[i] * (double)x[i];
    return vwide_sum(sum) + tail;
}

#endif
