/* Over rows, forward and backward; in place is allowed: y may be x, dx may be dy or y.
 *   softmax      y_j = e^(x_j - max x) / sum_i e^(x_i - max x)        dx_j = y_j (dy_j - sum_i dy_i y_i)
 *   log_softmax  y_j = x_j - max x - log sum_i e^(x_i - max x)        dx_j = dy_j - e^y_j sum_i dy_i
 * Sums over a row add vectors in order, in blocks of many (sums.h), then fold the 16 lanes in the fixed order of vf_sum. A NaN or an infinite
 * maximum makes the row NaN, as it should. */
#ifndef FNN_KERNELS_SOFTMAX_H
#define FNN_KERNELS_SOFTMAX_H

#include "../simd/math.h"
#include "sums.h"

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

/* sum_j e^(x_j - max) */
FNN_INLINE float fnn_row_sum_exp(const float *x, size_t n, vf max)
{
    vf sum = vf_zero();
    for (size_t from = 0, end; from < n; from = end) {
        end = fnn_block_end(from, n);
        vf block = vf_zero();
        for (size_t j = from; j < end; j += FNN_VF) block = vf_add(block, vf_exp(vf_sub(fnn_row_load(x, j, n), max)));
        sum = fnn_add_block(from, sum, block);
    }
    return vf_sum(sum);
}

static void fnn_softmax_forward(size_t rows, size_t columns, const float *x, size_t ldx, float *y, size_t ldy)
{
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        const vf max = vf_set1(fnn_row_max(x, columns));
        vf sum = vf_zero();
        for (size_t from = 0, end; from < columns; from = end) {
            end = fnn_block_end(from, columns);
            vf block = vf_zero();
            for (size_t j = from; j < end; j += FNN_VF) {
                const vf e = vf_exp(vf_sub(fnn_row_load(x, j, columns), max));
                fnn_row_store(y, j, columns, e);
                block = vf_add(block, e);
            }
            sum = fnn_add_block(from, sum, block);
        }
        const vf total = vf_set1(vf_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_VF)
            fnn_row_store(y, j, columns, vf_div(fnn_row_load(y, j, columns), total));
    }
}

FNN_INLINE vf fnn_row_load_zero(const float *x, size_t j, size_t n)
{
    return j + FNN_VF <= n ? vf_load(x + j) : vf_load_t(x + j, vt_first(n - j));
}

static void fnn_softmax_backward(size_t rows, size_t columns, const float *dy, size_t lddy, const float *y, size_t ldy,
                                 float *dx, size_t lddx)
{
    for (size_t i = 0; i < rows; i++, dy += lddy, y += ldy, dx += lddx) {
        vf sum = vf_zero();
        for (size_t from = 0, end; from < columns; from = end) {
            end = fnn_block_end(from, columns);
            vf block = vf_zero();
            for (size_t j = from; j < end; j += FNN_VF)
                block = vf_fma(fnn_row_load_zero(dy, j, columns), fnn_row_load_zero(y, j, columns), block);
            sum = fnn_add_block(from, sum, block);
        }
        const vf total = vf_set1(vf_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_VF)
            fnn_row_store(dx, j, columns, vf_mul(fnn_row_load_zero(y, j, columns),
                                                 vf_sub(fnn_row_load_zero(dy, j, columns), total)));
    }
}

/* Rows go in chunks of a vector, whose logarithms are taken together. */
static void fnn_log_softmax_forward(size_t rows, size_t columns, const float *x, size_t ldx, float *y, size_t ldy)
{
    for (size_t i0 = 0; i0 < rows; i0 += FNN_VF) {
        const size_t count = rows - i0 < FNN_VF ? rows - i0 : FNN_VF;
        float max[FNN_VF], total[FNN_VF], log_total[FNN_VF];
        for (size_t r = 0; r < count; r++) {
            const float *row = x + (i0 + r) * ldx;
            max[r] = fnn_row_max(row, columns);
            total[r] = fnn_row_sum_exp(row, columns, vf_set1(max[r]));
        }
        for (size_t r = count; r < FNN_VF; r++) total[r] = 1.0f;
        vf_store(log_total, vf_log(vf_load(total)));
        for (size_t r = 0; r < count; r++)
            for (size_t j = 0; j < columns; j += FNN_VF)
                fnn_row_store(y + (i0 + r) * ldy, j, columns,
                              vf_sub(vf_sub(fnn_row_load(x + (i0 + r) * ldx, j, columns), vf_set1(max[r])),
                                     vf_set1(log_total[r])));
    }
}

static void fnn_log_softmax_backward(size_t rows, size_t columns, const float *dy, size_t lddy, const float *y, size_t ldy,
                                     float *dx, size_t lddx)
{
    for (size_t i = 0; i < rows; i++, dy += lddy, y += ldy, dx += lddx) {
        vf sum = vf_zero();
        for (size_t from = 0, end; from < columns; from = end) {
            end = fnn_block_end(from, columns);
            vf block = vf_zero();
            for (size_t j = from; j < end; j += FNN_VF) block = vf_add(block, fnn_row_load_zero(dy, j, columns));
            sum = fnn_add_block(from, sum, block);
        }
        const vf total = vf_set1(vf_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_VF)
            fnn_row_store(dx, j, columns, vf_sub(fnn_row_load_zero(dy, j, columns),
                                                 vf_mul(vf_exp(fnn_row_load_zero(y, j, columns)), total)));
    }
}

#endif
