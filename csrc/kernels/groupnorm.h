/* Normalisation of groups of channels, image by image: each row of x [rows, pixels, channels] has so many groups of `width` channels
 * that stand side by side; a group's mean and variance are over its channels and all pixels.
 *
 *   forward    mean = sum x / n, var = sum (x - mean)^2 / n, rstd = 1 / sqrt(var + eps), y = (x - mean) rstd
 *   backward   dx = rstd (dy - mean(dy) - y mean(dy y))
 *
 * Y. Wu and K. He, "Group normalization", 2018; one channel a group: D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance
 * normalization", 2016. Sums run pixel by pixel, with lanes along the channels that are folded in a fixed order, in blocks of many
 * pixels (sums.h); the variance is the corrected two-pass one, and huge values are scaled, both as in rownorm.h. */
#ifndef FNN_KERNELS_GROUPNORM_H
#define FNN_KERNELS_GROUPNORM_H

#include "rownorm.h"

/* Of a group whose first pixel is at x: the mean, what it lacks of the true one, and the variance. */
FNN_INLINE void fnn_group_moments(const bool scaled, const fnn_groupnorm *o, const real *x, real *mean, real *rest, real *var)
{
    const size_t ld = o->groups * o->width, n = o->width;
    const real count = (real)o->pixels * (real)n;
    vec sum = v_zero(), squares = v_zero(), lacks = v_zero();
    for (size_t from = 0, end; from < o->pixels; from = end) {
        end = fnn_block_end(from, o->pixels);
        vec block = v_zero();
        for (size_t p = from; p < end; p++)
            for (size_t j = 0; j < n; j += FNN_LANES)
                block = v_add(block, fnn_row_scaled(scaled, fnn_row_load(x + p * ld, j, n)));
        sum = fnn_add_block(from, sum, block);
    }
    *mean = v_sum(sum) / count;
    if (scaled) *mean = fnn_first_lane(fnn_norm_mean(v_set1(*mean)));
    for (size_t from = 0, end; from < o->pixels; from = end) {
        end = fnn_block_end(from, o->pixels);
        vec s = v_zero(), q = v_zero();
        for (size_t p = from; p < end; p++)
            for (size_t j = 0; j < n; j += FNN_LANES) {
                const vec d = fnn_row_centered(scaled, x + p * ld, j, n, v_set1(*mean), v_zero());
                s = v_add(s, d);
                q = v_fma(d, d, q);
            }
        lacks = fnn_add_block(from, lacks, s);
        squares = fnn_add_block(from, squares, q);
    }
    const real s = v_sum(lacks), correction = s * (*rest = s / count);
    *var = (v_sum(squares) - correction) / count;
    if (*var < 0.0) *var = 0.0;
}

/* y of a group; mean, rest and rstd are the scaled ones. */
FNN_INLINE void fnn_group_normalize(const bool scaled, const fnn_groupnorm *o, const real *x, real mean, real rest, real rstd, real *y)
{
    const size_t ld = o->groups * o->width, n = o->width;
    for (size_t p = 0; p < o->pixels; p++)
        for (size_t j = 0; j < n; j += FNN_LANES)
            fnn_row_store(y + p * ld, j, n,
                        v_mul(fnn_row_centered(scaled, x + p * ld, j, n, v_set1(mean), v_set1(rest)), v_set1(rstd)));
}

static void fnn_group_forward_scaled(const fnn_groupnorm *o, const real *x, real *statistics, real *y)
{
    real mean, rest, var;
    fnn_group_moments(true, o, x, &mean, &rest, &var);
    const real rstd = fnn_first_lane(fnn_norm_rstd(v_set1(var), (real)o->eps));
    statistics[0] = mean / FNN_NORM_SCALE;
    statistics[1] = rest / FNN_NORM_SCALE;
    statistics[2] = rstd * FNN_NORM_SCALE;
    fnn_group_normalize(true, o, x, mean, rest, rstd, y);
}

/* y may be x. statistics [rows, groups, 3]: mean, what it lacks of the true one, rstd. */
static void fnn_groupnorm_forward(const fnn_groupnorm *o)
{
    for (size_t i = 0; i < o->rows; i++)
        for (size_t g = 0; g < o->groups; g++) {
            const real *x = o->x + i * o->ldx + g * o->width;
            real *y = o->y + i * o->ldy + g * o->width, *statistics = o->statistics + i * o->lds + 3 * g;
            real mean, rest, var;
            fnn_group_moments(false, o, x, &mean, &rest, &var);
            if (var - var == 0.0) {
                statistics[0] = mean;
                statistics[1] = rest;
                statistics[2] = 1 / real_sqrt(var + (real)o->eps);
                fnn_group_normalize(false, o, x, mean, rest, statistics[2], y);
            } else { /* infinite or NaN */
                fnn_group_forward_scaled(o, x, statistics, y);
            }
        }
}

FNN_INLINE void fnn_group_backward(const bool scaled, const fnn_groupnorm *o, const real *dy, const real *x, const real *statistics,
                                   real *dx)
{
    const size_t ld = o->groups * o->width, n = o->width;
    const real count = (real)o->pixels * (real)n;
    const vec mean = fnn_row_scaled(scaled, v_set1(statistics[0])), rest = fnn_row_scaled(scaled, v_set1(statistics[1]));
    const vec rstd = v_set1(statistics[2]), rstd_scaled = scaled ? v_div(rstd, v_set1(FNN_NORM_SCALE)) : rstd;
    vec s = v_zero(), q = v_zero();
    for (size_t from = 0, end; from < o->pixels; from = end) {
        end = fnn_block_end(from, o->pixels);
        vec block_s = v_zero(), block_q = v_zero();
        for (size_t p = from; p < end; p++)
            for (size_t j = 0; j < n; j += FNN_LANES) {
                const vec g = fnn_row_load(dy + p * ld, j, n);
                block_s = v_add(block_s, g);
                block_q = v_fma(g, v_mul(fnn_row_centered(scaled, x + p * ld, j, n, mean, rest), rstd_scaled), block_q);
            }
        s = fnn_add_block(from, s, block_s);
        q = fnn_add_block(from, q, block_q);
    }
    const vec mean_g = v_set1(v_sum(s) / count), mean_q = v_set1(v_sum(q) / count);
    for (size_t p = 0; p < o->pixels; p++)
        for (size_t j = 0; j < n; j += FNN_LANES) {
            const vec g = fnn_row_load(dy + p * ld, j, n);
            const vec y = v_mul(fnn_row_centered(scaled, x + p * ld, j, n, mean, rest), rstd_scaled);
            fnn_row_store(dx + p * ld, j, n, v_mul(rstd, v_fma(v_neg(y), mean_q, v_sub(g, mean_g))));
        }
}

/* dx may be dy. */
static void fnn_groupnorm_backward(const fnn_groupnorm *o)
{
    for (size_t i = 0; i < o->rows; i++)
        for (size_t g = 0; g < o->groups; g++) {
            const real *x = o->x + i * o->ldx + g * o->width, *dy = o->dy + i * o->lddy + g * o->width;
            const real *statistics = o->statistics + i * o->lds + 3 * g;
            real *dx = o->dx + i * o->lddx + g * o->width;
            if (statistics[2] < FNN_NORM_TINY)
                fnn_group_backward(true, o, dy, x, statistics, dx);
            else
                fnn_group_backward(false, o, dy, x, statistics, dx);
        }
}

#endif
