/* softmax over rows: y_j = e^(x_j - max x) / sum_i e^(x_i - max x). y may be x.
 * Sums over a row add vectors in order, then fold the 16 lanes in the fixed order of vf_sum. A NaN or an infinite
 * maximum makes the row NaN, as it should. */
#ifndef FNN_KERNELS_SOFTMAX_H
#define FNN_KERNELS_SOFTMAX_H

#include "../simd/math.h"
#include "kernels.h"

/* The vector at x + j of a row of n, with -inf beyond the end: e^-inf adds nothing to a sum. */
FNN_INLINE vf fnn_row_load(const float *x, size_t j, size_t n)
{
    if (j + FNN_VF <= n) return vf_load(x + j);
    const vt t = vt_first(n - j);
    return vf_select(vm_from_t(t), vf_load_t(x + j, t), vf_set1(-__builtin_inff()));
}

FNN_INLINE void fnn_row_store(float *y, size_t j, size_t n, vf v)
{
    if (j + FNN_VF <= n)
        vf_store(y + j, v);
    else
        vf_store_t(y + j, v, vt_first(n - j));
}

FNN_INLINE float fnn_row_max(const float *x, size_t n)
{
    vf m = vf_set1(-__builtin_inff());
    for (size_t j = 0; j < n; j += FNN_VF) {
        const vf v = fnn_row_load(x, j, n);
        m = vf_select(vf_lt(m, v), v, m);
    }
    return vf_max(m);
}

static void fnn_softmax_forward(size_t rows, size_t columns, const float *x, size_t ldx, float *y, size_t ldy)
{
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        const vf max = vf_set1(fnn_row_max(x, columns));
        vf sum = vf_zero();
        for (size_t j = 0; j < columns; j += FNN_VF) {
            const vf e = vf_exp(vf_sub(fnn_row_load(x, j, columns), max));
            fnn_row_store(y, j, columns, e);
            sum = vf_add(sum, e);
        }
        const vf total = vf_set1(vf_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_VF)
            fnn_row_store(y, j, columns, vf_div(fnn_row_load(y, j, columns), total));
    }
}

#endif
