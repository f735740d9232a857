/* Sums of many terms, and of squares that overflow.
 *
 * One chain of floats over millions of equal terms stops growing: what a term adds is lost against the sum. So
 * terms (rows, or elements of a row) are summed in blocks of 65,536, each from zero, and the blocks' sums added in order. A loop
 * over blocks reads
 *
 *   for (size_t from = 0, end; from < n; from = end) {
 *       end = fnn_block_end(from, n);
 *       vec block = ...the sum of the terms [from, end)...;
 *       sum = fnn_add_block(from, sum, block);
 *   }
 *
 * and up to 65,536 terms have the bits of a plain loop.
 *
 * Squares of floats above 1e19, of doubles above 1e154, are infinite. The normalisations then make their statistics again, of the
 * rows or columns concerned alone, from x times FNN_NORM_SCALE, a power of two: the mean, what it lacks and the deviations are
 * scaled exactly, and the variance of what was scaled is within range. */
#ifndef FNN_KERNELS_SUMS_H
#define FNN_KERNELS_SUMS_H

#include "../simd/real.h"

FNN_INLINE size_t fnn_block_end(size_t from, size_t n) { return n - from < FNN_SUM_BLOCK ? n : from + FNN_SUM_BLOCK; }

/* The first block's sum, which begins at 0, is taken as it is. */
FNN_INLINE vec fnn_add_block(size_t from, vec sum, vec block) { return from ? v_add(sum, block) : block; }

/* A gradient of parameters takes the place of what `to` holds, or is added to it. */
FNN_INLINE void fnn_put_gradient(real *to, bool accumulate, vec gradient, vt t)
{
    v_store_t(to, accumulate ? v_add(v_load_t(to, t), gradient) : gradient, t);
}

FNN_INLINE real fnn_first_lane(vec v)
{
    real lanes[FNN_LANES];
    v_store(lanes, v);
    return lanes[0];
}

/* Of the largest numbers, scaled, the square is 2^96, of doubles 2^848: 2^31 of them can be summed. */
#define FNN_NORM_SCALE ((real)FNN_PICK(0x1p-80, 0x1p-600))
/* 1 / sqrt of the largest number: below it is no rstd but that of what was scaled. */
#define FNN_NORM_TINY ((real)FNN_PICK(0x1p-64, 0x1p-512))

/* A mean of numbers that were scaled, which its rounding may have brought beyond the largest of them. */
FNN_INLINE vec fnn_norm_mean(vec mean)
{
    const vec most = v_set1(FNN_PICK(0x1.fffffep127f, 0x1.fffffffffffffp1023) * FNN_NORM_SCALE), infinity = v_set1(__builtin_inf());
    mean = v_select(v_lt(most, mean), v_select(v_lt(mean, infinity), most, mean), mean);
    return v_select(v_lt(mean, v_neg(most)), v_select(v_lt(v_neg(infinity), mean), v_neg(most), mean), mean);
}

/* 1 / (scale sqrt(var + eps)), from the variance of what was scaled. Its eps may be too small to be told from 0, which matters
 * only where var is 0. */
FNN_INLINE vec fnn_norm_rstd(vec var, real eps)
{
    const vec one = v_set1(1.0), own = v_set1(eps * FNN_NORM_SCALE * FNN_NORM_SCALE);
    const vec of_eps = v_div(v_div(one, v_sqrt(v_set1(eps))), v_set1(FNN_NORM_SCALE));
    return v_select(v_eq(var, v_zero()), of_eps, v_div(one, v_sqrt(v_add(var, own))));
}

#endif
