/* Sums of many terms, and of squares that overflow.
 *
 * One float32 chain over millions of equal terms stops growing: what a term adds is lost against the sum. So
 * terms (rows, or elements of a row) are summed in blocks of 65,536, each from zero, and the blocks' sums added in order. A loop
 * over blocks reads
 *
 *   for (size_t from = 0, end; from < n; from = end) {
 *       end = fnn_block_end(from, n);
 *       vf block = ...the sum of the terms [from, end)...;
 *       sum = fnn_add_block(from, sum, block);
 *   }
 *
 * and up to 65,536 terms have the bits of a plain loop.
 *
 * Squares of numbers above 1e19 are infinite in float32. The normalisations then make their statistics again, of the rows or
 * columns concerned alone, from x times FNN_NORM_SCALE, a power of two: the mean, what it lacks and the deviations are scaled
 * exactly, and the variance of what was scaled is within range. */
#ifndef FNN_KERNELS_SUMS_H
#define FNN_KERNELS_SUMS_H

#include "../simd/simd.h"
#include "kernels.h"

FNN_INLINE size_t fnn_block_end(size_t from, size_t n) { return n - from < FNN_SUM_BLOCK ? n : from + FNN_SUM_BLOCK; }

/* The first block's sum, which begins at 0, is taken as it is. */
FNN_INLINE vf fnn_add_block(size_t from, vf sum, vf block) { return from ? vf_add(sum, block) : block; }

FNN_INLINE float fnn_first_lane(vf v)
{
    float lanes[FNN_VF];
    vf_store(lanes, v);
    return lanes[0];
}

#define FNN_NORM_SCALE 0x1p-80f /* of the largest floats the square is 2^96: 2^31 of them can be summed */
#define FNN_NORM_TINY 0x1p-64f  /* 1 / sqrt of the largest float: below it is no rstd but that of what was scaled */

/* A mean of numbers that were scaled, which its rounding may have brought beyond the largest of them. */
FNN_INLINE vf fnn_norm_mean(vf mean)
{
    const vf most = vf_set1(0x1.fffffep127f * FNN_NORM_SCALE), infinity = vf_set1(__builtin_inff());
    mean = vf_select(vf_lt(most, mean), vf_select(vf_lt(mean, infinity), most, mean), mean);
    return vf_select(vf_lt(mean, vf_neg(most)), vf_select(vf_lt(vf_neg(infinity), mean), vf_neg(most), mean), mean);
}

/* 1 / (scale sqrt(var + eps)), from the variance of what was scaled. Its eps may be too small to be told from 0, which matters
 * only where var is 0. */
FNN_INLINE vf fnn_norm_rstd(vf var, float eps)
{
    const vf one = vf_set1(1.0f), own = vf_set1(eps * FNN_NORM_SCALE * FNN_NORM_SCALE);
    const vf of_eps = vf_div(vf_div(one, vf_sqrt(vf_set1(eps))), vf_set1(FNN_NORM_SCALE));
    return vf_select(vf_eq(var, vf_zero()), of_eps, vf_div(one, vf_sqrt(vf_add(var, own))));
}

#endif
