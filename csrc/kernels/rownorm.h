/* Normalisation of each row of x [rows, columns]: layer normalisation (centered) and root mean square normalisation.
 *
 *   forward    centered: mean = sum x / n, var = sum (x - mean)^2 / n;  else mean = 0, var = sum x^2 / n
 *              rstd = 1 / sqrt(var + eps),  xhat = (x - mean) rstd,  y = f(gamma xhat + beta)
 *   backward   g = dy gamma,  dx = rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) where not centered
 *              dgamma = sum over rows of dy xhat,  dbeta = sum over rows of dy
 *
 * J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016; B. Zhang and R. Sennrich, "Root mean square layer
 * normalization", 2019. The variance is the corrected two-pass one, as in batchnorm.h, with lanes along the row that
 * are folded in a fixed order. Sums over rows are in chunks of 16 rows, added in order, all sums in blocks of many terms (sums.h).
 *
 * Where a sum of squares overflows, the row's statistics are made again from x times FNN_NORM_SCALE, a power of two, and so is
 * xhat = (x scale - mean scale) (rstd / scale). Such a row is known by its rstd, which is smaller than any other row's. */
#ifndef FNN_KERNELS_ROWNORM_H
#define FNN_KERNELS_ROWNORM_H

#include "activation.h"
#include "bias.h"

/* What x is multiplied by before it is centered: 1, or the power of two of a row whose squares overflow. `scaled` is a constant
 * wherever these are called: most rows are not multiplied at all. */
FNN_INLINE vec fnn_row_scaled(const bool scaled, vec x) { return scaled ? v_mul(x, v_set1(FNN_NORM_SCALE)) : x; }

/* x - mean of the vector at j of a row of n, both scaled; 0 in the lanes beyond its end. */
FNN_INLINE vec fnn_row_centered(const bool scaled, const real *x, size_t j, size_t n, vec mean, vec rest)
{
    if (j + FNN_LANES <= n) return v_sub(v_sub(fnn_row_scaled(scaled, v_load(x + j)), mean), rest);
    const vt t = vt_first(n - j);
    return v_select(vmask_from_t(t), v_sub(v_sub(fnn_row_scaled(scaled, v_load_t(x + j, t)), mean), rest), v_zero());
}

/* Of a row of n, scaled: the mean, what it lacks of the true one, and the variance. */
FNN_INLINE void fnn_row_moments(const bool scaled, const real *x, size_t n, bool centered, real *mean, real *rest, real *var)
{
    vec sum = v_zero(), squares = v_zero();
    *mean = *rest = 0.0;
    if (centered) {
        for (size_t from = 0, end; from < n; from = end) {
            end = fnn_block_end(from, n);
            vec block = v_zero();
            for (size_t j = from; j < end; j += FNN_LANES) block = v_add(block, fnn_row_scaled(scaled, fnn_row_load(x, j, n)));
            sum = fnn_add_block(from, sum, block);
        }
        *mean = v_sum(sum) / (real)n;
        if (scaled) *mean = fnn_first_lane(fnn_norm_mean(v_set1(*mean)));
        sum = v_zero();
    }
    for (size_t from = 0, end; from < n; from = end) {
        end = fnn_block_end(from, n);
        vec s = v_zero(), q = v_zero();
        for (size_t j = from; j < end; j += FNN_LANES) {
            const vec d = fnn_row_centered(scaled, x, j, n, v_set1(*mean), v_zero());
            s = v_add(s, d);
            q = v_fma(d, d, q);
        }
        sum = fnn_add_block(from, sum, s);
        squares = fnn_add_block(from, squares, q);
    }
    *var = v_sum(squares);
    if (centered) {
        const real s = v_sum(sum), correction = s * (*rest = s / (real)n);
        *var = *var - correction;
    }
    *var = *var / (real)n;
    if (*var < 0.0) *var = 0.0;
}

/* y = f(gamma xhat + beta) of a row; mean, rest and rstd are the scaled ones. */
FNN_INLINE void fnn_row_normalize(const bool scaled, const fnn_rownorm *o, const real *x, real mean, real rest, real rstd, real *y)
{
    const size_t n = o->columns;
    for (size_t j = 0; j < n; j += FNN_LANES) {
        const vec d = v_mul(fnn_row_centered(scaled, x, j, n, v_set1(mean), v_set1(rest)), v_set1(rstd));
        const vec a = o->gamma ? fnn_row_load(o->gamma, j, n) : v_set1(1.0);
        const vec b = o->beta ? fnn_row_load(o->beta, j, n) : v_zero();
        fnn_row_store(y, j, n, v_fma(d, a, b));
    }
}

static void fnn_row_forward_scaled(const fnn_rownorm *o, const real *x, real *statistics, real *y)
{
    real mean, rest, var;
    fnn_row_moments(true, x, o->columns, o->centered, &mean, &rest, &var);
    const real rstd = fnn_first_lane(fnn_norm_rstd(v_set1(var), (real)o->eps));
    statistics[0] = mean / FNN_NORM_SCALE;
    statistics[1] = rest / FNN_NORM_SCALE;
    statistics[2] = rstd * FNN_NORM_SCALE;
    fnn_row_normalize(true, o, x, mean, rest, rstd, y);
}

/* y may be x. statistics [rows, 3]: mean, what it lacks of the true one, rstd. */
static void fnn_rownorm_forward(const fnn_rownorm *o)
{
    const size_t n = o->columns;
    const real *x = o->x;
    real *y = o->y, *statistics = o->statistics;
    for (size_t i = 0; i < o->rows; i++, x += o->ldx, y += o->ldy, statistics += o->lds) {
        real mean, rest, var;
        fnn_row_moments(false, x, n, o->centered, &mean, &rest, &var);
        if (var - var == 0.0) {
            const real rstd = 1 / real_sqrt(var + (real)o->eps);
            statistics[0] = mean;
            statistics[1] = rest;
            statistics[2] = rstd;
            fnn_row_normalize(false, o, x, mean, rest, rstd, y);
        } else { /* infinite or NaN */
            fnn_row_forward_scaled(o, x, statistics, y);
        }
        if (o->activation != FNN_IDENTITY) fnn_activation_forward(o->activation, o->alpha, 1, n, y, n, y, n);
    }
}

FNN_INLINE void fnn_row_backward(const bool scaled, const fnn_rownorm *o, const real *dy, const real *x, const real *statistics,
                                 real *dx)
{
    const size_t n = o->columns;
    const vec scale = v_set1(FNN_NORM_SCALE), mean = fnn_row_scaled(scaled, v_set1(statistics[0]));
    const vec rest = fnn_row_scaled(scaled, v_set1(statistics[1])), rstd = v_set1(statistics[2]);
    const vec rstd_scaled = scaled ? v_div(rstd, scale) : rstd;
    vec s = v_zero(), q = v_zero();
    for (size_t from = 0, end; from < n; from = end) {
        end = fnn_block_end(from, n);
        vec block_s = v_zero(), block_q = v_zero();
        for (size_t j = from; j < end; j += FNN_LANES) {
            const vec a = o->gamma ? fnn_row_load(o->gamma, j, n) : v_set1(1.0);
            const vec g = v_mul(fnn_row_load(dy, j, n), a);
            block_s = v_add(block_s, g);
            block_q = v_fma(g, v_mul(fnn_row_centered(scaled, x, j, n, mean, rest), rstd_scaled), block_q);
        }
        s = fnn_add_block(from, s, block_s);
        q = fnn_add_block(from, q, block_q);
    }
    const vec mean_g = v_set1(o->centered ? v_sum(s) / (real)n : 0), mean_q = v_set1(v_sum(q) / (real)n);
    for (size_t j = 0; j < n; j += FNN_LANES) {
        const vec a = o->gamma ? fnn_row_load(o->gamma, j, n) : v_set1(1.0);
        const vec g = v_mul(fnn_row_load(dy, j, n), a);
        const vec xhat = v_mul(fnn_row_centered(scaled, x, j, n, mean, rest), rstd_scaled);
        fnn_row_store(dx, j, n, v_mul(rstd, v_fma(v_neg(xhat), mean_q, v_sub(g, mean_g))));
    }
}

/* dx may be dy. */
static void fnn_rownorm_backward(const fnn_rownorm *o)
{
    const real *x = o->x, *dy = o->dy, *statistics = o->statistics;
    real *dx = o->dx;
    for (size_t i = 0; i < o->rows; i++, x += o->ldx, dy += o->lddy, dx += o->lddx, statistics += o->lds) {
        if (statistics[2] < FNN_NORM_TINY)
            fnn_row_backward(true, o, dy, x, statistics, dx);
        else
            fnn_row_backward(false, o, dy, x, statistics, dx);
    }
}

/* xhat of the vector at column j of the row with these statistics. */
FNN_INLINE vec fnn_row_xhat(const bool scaled, const real *x, const real *statistics, vt t)
{
    const vec mean = fnn_row_scaled(scaled, v_set1(statistics[0])), rest = fnn_row_scaled(scaled, v_set1(statistics[1]));
    const vec d = v_sub(v_sub(fnn_row_scaled(scaled, v_load_t(x, t)), mean), rest);
    return v_mul(d, v_set1(scaled ? statistics[2] / FNN_NORM_SCALE : statistics[2]));
}

/* dgamma and dbeta, either of which may be NULL, over these columns and all rows. */
static void fnn_rownorm_backward_weights(const fnn_rownorm *o)
{
    for (size_t j = 0; j < o->columns; j += FNN_LANES) {
        const vt t = vt_first(o->columns - j);
        vec s = v_zero(), q = v_zero();
        for (size_t from = 0, end; from < o->rows; from = end) {
            end = fnn_block_end(from, o->rows);
            vec block_s = v_zero(), block_q = v_zero();
            for (size_t i = from; i < end; i += FNN_ROW_CHUNK) {
                const size_t last = end - i < FNN_ROW_CHUNK ? end : i + FNN_ROW_CHUNK;
                vec first = v_zero(), second = v_zero();
                for (size_t r = i; r < last; r++) {
                    const real *statistics = o->statistics + r * o->lds, *x = o->x + r * o->ldx + j;
                    const vec g = v_load_t(o->dy + r * o->lddy + j, t);
                    first = v_add(first, g);
                    second = v_fma(g, statistics[2] < FNN_NORM_TINY ? fnn_row_xhat(true, x, statistics, t)
                                                                     : fnn_row_xhat(false, x, statistics, t), second);
                }
                block_s = v_add(block_s, first);
                block_q = v_add(block_q, second);
            }
            s = fnn_add_block(from, s, block_s);
            q = fnn_add_block(from, q, block_q);
        }
        if (o->dgamma) fnn_put_gradient(o->dgamma + j, o->accumulate, q, t);
        if (o->dbeta) fnn_put_gradient(o->dbeta + j, o->accumulate, s, t);
    }
}

#endif
