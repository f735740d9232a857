/* Over rows, forward and backward; in place is allowed: y may be x, dx may be dy or y.
 *   softmax      y_j = e^(x_j - max x) / sum_i e^(x_i - max x)        dx_j = y_j (dy_j - sum_i dy_i y_i)
 *   log_softmax  y_j = x_j - max x - log sum_i e^(x_i - max x)        dx_j = dy_j - e^y_j sum_i dy_i
 * Sums over a row add vectors in order, in blocks of many (sums.h), then fold the lanes in the fixed order of v_sum. A NaN or an
 * infinite maximum makes the row NaN, as it should. */
#ifndef FNN_KERNELS_SOFTMAX_H
#define FNN_KERNELS_SOFTMAX_H

#include "../simd/real.h"
#include "sums.h"

/* The vector at x + j of a row of n, with -inf beyond the end: e^-inf adds nothing to a sum. */
FNN_INLINE vec fnn_row_load_logits(const real *x, size_t j, size_t n)
{
    if (j + FNN_LANES <= n) return v_load(x + j);
    const vt t = vt_first(n - j);
    return v_select(vmask_from_t(t), v_load_t(x + j, t), v_set1(-__builtin_inf()));
}

FNN_INLINE real fnn_row_max(const real *x, size_t n)
{
    vec m = v_set1(-__builtin_inf());
    for (size_t j = 0; j < n; j += FNN_LANES) {
        const vec v = fnn_row_load_logits(x, j, n);
        m = v_select(v_lt(m, v), v, m);
    }
    return v_max(m);
}

/* sum_j e^(x_j - max) */
FNN_INLINE real fnn_row_sum_exp(const real *x, size_t n, vec max)
{
    vec sum = v_zero();
    for (size_t from = 0, end; from < n; from = end) {
        end = fnn_block_end(from, n);
        vec block = v_zero();
        for (size_t j = from; j < end; j += FNN_LANES) block = v_add(block, v_exp(v_sub(fnn_row_load_logits(x, j, n), max)));
        sum = fnn_add_block(from, sum, block);
    }
    return v_sum(sum);
}

static void fnn_softmax_forward(size_t rows, size_t columns, const real *x, size_t ldx, real *y, size_t ldy)
{
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        const vec max = v_set1(fnn_row_max(x, columns));
        vec sum = v_zero();
        for (size_t from = 0, end; from < columns; from = end) {
            end = fnn_block_end(from, columns);
            vec block = v_zero();
            for (size_t j = from; j < end; j += FNN_LANES) {
                const vec e = v_exp(v_sub(fnn_row_load_logits(x, j, columns), max));
                fnn_row_store(y, j, columns, e);
                block = v_add(block, e);
            }
            sum = fnn_add_block(from, sum, block);
        }
        const vec total = v_set1(v_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_LANES)
            fnn_row_store(y, j, columns, v_div(fnn_row_load_logits(y, j, columns), total));
    }
}

static void fnn_softmax_backward(size_t rows, size_t columns, const real *dy, size_t lddy, const real *y, size_t ldy,
                                 real *dx, size_t lddx)
{
    for (size_t i = 0; i < rows; i++, dy += lddy, y += ldy, dx += lddx) {
        vec sum = v_zero();
        for (size_t from = 0, end; from < columns; from = end) {
            end = fnn_block_end(from, columns);
            vec block = v_zero();
            for (size_t j = from; j < end; j += FNN_LANES)
                block = v_fma(fnn_row_load(dy, j, columns), fnn_row_load(y, j, columns), block);
            sum = fnn_add_block(from, sum, block);
        }
        const vec total = v_set1(v_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_LANES)
            fnn_row_store(dx, j, columns, v_mul(fnn_row_load(y, j, columns),
                                                v_sub(fnn_row_load(dy, j, columns), total)));
    }
}

/* Rows go in chunks of a vector, whose logarithms are taken together. */
static void fnn_log_softmax_forward(size_t rows, size_t columns, const real *x, size_t ldx, real *y, size_t ldy)
{
    for (size_t i0 = 0; i0 < rows; i0 += FNN_LANES) {
        const size_t count = rows - i0 < FNN_LANES ? rows - i0 : FNN_LANES;
        real max[FNN_LANES], total[FNN_LANES], log_total[FNN_LANES];
        for (size_t r = 0; r < count; r++) {
            const real *row = x + (i0 + r) * ldx;
            max[r] = fnn_row_max(row, columns);
            total[r] = fnn_row_sum_exp(row, columns, v_set1(max[r]));
        }
        for (size_t r = count; r < FNN_LANES; r++) total[r] = 1.0;
        v_store(log_total, v_log(v_load(total)));
        for (size_t r = 0; r < count; r++)
            for (size_t j = 0; j < columns; j += FNN_LANES)
                fnn_row_store(y + (i0 + r) * ldy, j, columns,
                              v_sub(v_sub(fnn_row_load_logits(x + (i0 + r) * ldx, j, columns), v_set1(max[r])),
                                    v_set1(log_total[r])));
    }
}

static void fnn_log_softmax_backward(size_t rows, size_t columns, const real *dy, size_t lddy, const real *y, size_t ldy,
                                     real *dx, size_t lddx)
{
    for (size_t i = 0; i < rows; i++, dy += lddy, y += ldy, dx += lddx) {
        vec sum = v_zero();
        for (size_t from = 0, end; from < columns; from = end) {
            end = fnn_block_end(from, columns);
            vec block = v_zero();
            for (size_t j = from; j < end; j += FNN_LANES) block = v_add(block, fnn_row_load(dy, j, columns));
            sum = fnn_add_block(from, sum, block);
        }
        const vec total = v_set1(v_sum(sum));
        for (size_t j = 0; j < columns; j += FNN_LANES)
            fnn_row_store(dx, j, columns, v_sub(fnn_row_load(dy, j, columns),
                                                v_mul(v_exp(fnn_row_load(y, j, columns)), total)));
    }
}

#endif
