/* Normalisation of each row of x [rows, columns]: layer normalisation (centered) and root mean square normalisation.
 *
 *   forward    centered: mean = sum x / n, var = sum (x - mean)^2 / n;  else mean = 0, var = sum x^2 / n
 *              rstd = 1 / sqrt(var + eps),  xhat = (x - mean) rstd,  y = f(gamma xhat + beta)
 *   backward   g = dy gamma,  dx = rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) where not centered
 *              dgamma = sum over rows of dy xhat,  dbeta = sum over rows of dy
 *
 * J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016; B. Zhang and R. Sennrich, "Root mean square layer
 * normalization", 2019. The variance is the corrected two-pass one, as in batchnorm.h, with 16 lanes along the row that
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
FNN_INLINE vf fnn_row_scaled(const bool scaled, vf x) { return scaled ? vf_mul(x, vf_set1(FNN_NORM_SCALE)) : x; }

/* x - mean of the vector at j of a row of n, both scaled; 0 in the lanes beyond its end. */
FNN_INLINE vf fnn_row_centered(const bool scaled, const float *x, size_t j, size_t n, vf mean, vf rest)
{
    if (j + FNN_VF <= n) return vf_sub(vf_sub(fnn_row_scaled(scaled, vf_load(x + j)), mean), rest);
    const vt t = vt_first(n - j);
    return vf_select(vm_from_t(t), vf_sub(vf_sub(fnn_row_scaled(scaled, vf_load_t(x + j, t)), mean), rest), vf_zero());
}

FNN_INLINE vf fnn_row_part(const float *x, size_t j, size_t n)
{
    return j + FNN_VF <= n ? vf_load(x + j) : vf_load_t(x + j, vt_first(n - j));
}

FNN_INLINE void fnn_row_put(float *y, size_t j, size_t n, vf v)
{
    if (j + FNN_VF <= n)
        vf_store(y + j, v);
    else
        vf_store_t(y + j, v, vt_first(n - j));
}

/* Of a row of n, scaled: the mean, what it lacks of the true one, and the variance. */
FNN_INLINE void fnn_row_moments(const bool scaled, const float *x, size_t n, bool centered, float *mean, float *rest, float *var)
{
    vf sum = vf_zero(), squares = vf_zero();
    *mean = *rest = 0.0f;
    if (centered) {
        for (size_t from = 0, end; from < n; from = end) {
            end = fnn_block_end(from, n);
            vf block = vf_zero();
            for (size_t j = from; j < end; j += FNN_VF) block = vf_add(block, fnn_row_scaled(scaled, fnn_row_part(x, j, n)));
            sum = fnn_add_block(from, sum, block);
        }
        *mean = vf_sum(sum) / (float)n;
        if (scaled) *mean = fnn_first_lane(fnn_norm_mean(vf_set1(*mean)));
        sum = vf_zero();
    }
    for (size_t from = 0, end; from < n; from = end) {
        end = fnn_block_end(from, n);
        vf s = vf_zero(), q = vf_zero();
        for (size_t j = from; j < end; j += FNN_VF) {
            const vf d = fnn_row_centered(scaled, x, j, n, vf_set1(*mean), vf_zero());
            s = vf_add(s, d);
            q = vf_fma(d, d, q);
        }
        sum = fnn_add_block(from, sum, s);
        squares = fnn_add_block(from, squares, q);
    }
    *var = vf_sum(squares);
    if (centered) {
        const float s = vf_sum(sum), correction = s * (*rest = s / (float)n);
        *var = *var - correction;
    }
    *var = *var / (float)n;
    if (*var < 0.0f) *var = 0.0f;
}

/* y = f(gamma xhat + beta) of a row; mean, rest and rstd are the scaled ones. */
FNN_INLINE void fnn_row_normalize(const bool scaled, const fnn_rownorm *o, const float *x, float mean, float rest, float rstd, float *y)
{
    const size_t n = o->columns;
    for (size_t j = 0; j < n; j += FNN_VF) {
        const vf d = vf_mul(fnn_row_centered(scaled, x, j, n, vf_set1(mean), vf_set1(rest)), vf_set1(rstd));
        const vf a = o->gamma ? fnn_row_part(o->gamma, j, n) : vf_set1(1.0f);
        const vf b = o->beta ? fnn_row_part(o->beta, j, n) : vf_zero();
        fnn_row_put(y, j, n, vf_fma(d, a, b));
    }
}

static void fnn_row_forward_scaled(const fnn_rownorm *o, const float *x, float *statistics, float *y)
{
    float mean, rest, var;
    fnn_row_moments(true, x, o->columns, o->centered, &mean, &rest, &var);
    const float rstd = fnn_first_lane(fnn_norm_rstd(vf_set1(var), o->eps));
    statistics[0] = mean / FNN_NORM_SCALE;
    statistics[1] = rest / FNN_NORM_SCALE;
    statistics[2] = rstd * FNN_NORM_SCALE;
    fnn_row_normalize(true, o, x, mean, rest, rstd, y);
}

/* y may be x. statistics [rows, 3]: mean, what it lacks of the true one, rstd. */
static void fnn_rownorm_forward(const fnn_rownorm *o)
{
    const size_t n = o->columns;
    const float *x = o->x;
    float *y = o->y, *statistics = o->statistics;
    for (size_t i = 0; i < o->rows; i++, x += o->ldx, y += o->ldy, statistics += o->lds) {
        float mean, rest, var;
        fnn_row_moments(false, x, n, o->centered, &mean, &rest, &var);
        if (var - var == 0.0f) {
            const float rstd = 1.0f / __builtin_sqrtf(var + o->eps);
            statistics[0] = mean;
            statistics[1] = rest;
            statistics[2] = rstd;
            fnn_row_normalize(false, o, x, mean, rest, rstd, y);
        } else { /* infinite or NaN */
            fnn_row_forward_scaled(o, x, statistics, y);
        }
        if (o->activation != FNN_IDENTITY) fnn_activation_forward(o->activation, o->alpha, n, y, y);
    }
}

FNN_INLINE void fnn_row_backward(const bool scaled, const fnn_rownorm *o, const float *dy, const float *x, const float *statistics,
                                 float *dx)
{
    const size_t n = o->columns;
    const vf scale = vf_set1(FNN_NORM_SCALE), mean = fnn_row_scaled(scaled, vf_set1(statistics[0]));
    const vf rest = fnn_row_scaled(scaled, vf_set1(statistics[1])), rstd = vf_set1(statistics[2]);
    const vf rstd_scaled = scaled ? vf_div(rstd, scale) : rstd;
    vf s = vf_zero(), q = vf_zero();
    for (size_t from = 0, end; from < n; from = end) {
        end = fnn_block_end(from, n);
        vf block_s = vf_zero(), block_q = vf_zero();
        for (size_t j = from; j < end; j += FNN_VF) {
            const vf a = o->gamma ? fnn_row_part(o->gamma, j, n) : vf_set1(1.0f);
            const vf g = vf_mul(fnn_row_part(dy, j, n), a);
            block_s = vf_add(block_s, g);
            block_q = vf_fma(g, vf_mul(fnn_row_centered(scaled, x, j, n, mean, rest), rstd_scaled), block_q);
        }
        s = fnn_add_block(from, s, block_s);
        q = fnn_add_block(from, q, block_q);
    }
    const vf mean_g = vf_set1(o->centered ? vf_sum(s) / (float)n : 0.0f), mean_q = vf_set1(vf_sum(q) / (float)n);
    for (size_t j = 0; j < n; j += FNN_VF) {
        const vf a = o->gamma ? fnn_row_part(o->gamma, j, n) : vf_set1(1.0f);
        const vf g = vf_mul(fnn_row_part(dy, j, n), a);
        const vf xhat = vf_mul(fnn_row_centered(scaled, x, j, n, mean, rest), rstd_scaled);
        fnn_row_put(dx, j, n, vf_mul(rstd, vf_fma(vf_neg(xhat), mean_q, vf_sub(g, mean_g))));
    }
}

/* dx may be dy. */
static void fnn_rownorm_backward(const fnn_rownorm *o)
{
    const float *x = o->x, *dy = o->dy, *statistics = o->statistics;
    float *dx = o->dx;
    for (size_t i = 0; i < o->rows; i++, x += o->ldx, dy += o->lddy, dx += o->lddx, statistics += o->lds) {
        if (statistics[2] < FNN_NORM_TINY)
            fnn_row_backward(true, o, dy, x, statistics, dx);
        else
            fnn_row_backward(false, o, dy, x, statistics, dx);
    }
}

/* xhat of the vector at column j of the row with these statistics. */
FNN_INLINE vf fnn_row_xhat(const bool scaled, const float *x, const float *statistics, vt t)
{
    const vf mean = fnn_row_scaled(scaled, vf_set1(statistics[0])), rest = fnn_row_scaled(scaled, vf_set1(statistics[1]));
    const vf d = vf_sub(vf_sub(fnn_row_scaled(scaled, vf_load_t(x, t)), mean), rest);
    return vf_mul(d, vf_set1(scaled ? statistics[2] / FNN_NORM_SCALE : statistics[2]));
}

/* dgamma and dbeta, either of which may be NULL, over these columns and all rows. */
static void fnn_rownorm_backward_weights(const fnn_rownorm *o)
{
    for (size_t j = 0; j < o->columns; j += FNN_VF) {
        const vt t = vt_first(o->columns - j);
        vf s = vf_zero(), q = vf_zero();
        for (size_t from = 0, end; from < o->rows; from = end) {
            end = fnn_block_end(from, o->rows);
            vf block_s = vf_zero(), block_q = vf_zero();
            for (size_t i = from; i < end; i += FNN_ROW_CHUNK) {
                const size_t last = end - i < FNN_ROW_CHUNK ? end : i + FNN_ROW_CHUNK;
                vf first = vf_zero(), second = vf_zero();
                for (size_t r = i; r < last; r++) {
                    const float *statistics = o->statistics + r * o->lds, *x = o->x + r * o->ldx + j;
                    const vf g = vf_load_t(o->dy + r * o->lddy + j, t);
                    first = vf_add(first, g);
                    second = vf_fma(g, statistics[2] < FNN_NORM_TINY ? fnn_row_xhat(true, x, statistics, t)
                                                                     : fnn_row_xhat(false, x, statistics, t), second);
                }
                block_s = vf_add(block_s, first);
                block_q = vf_add(block_q, second);
            }
            s = fnn_add_block(from, s, block_s);
            q = fnn_add_block(from, q, block_q);
        }
        if (o->dgamma) vf_store_t(o->dgamma + j, o->accumulate ? vf_add(vf_load_t(o->dgamma + j, t), q) : q, t);
        if (o->dbeta) vf_store_t(o->dbeta + j, o->accumulate ? vf_add(vf_load_t(o->dbeta + j, t), s) : s, t);
    }
}

#endif
