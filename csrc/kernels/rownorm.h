/* Normalisation of each row of x [rows, columns]: layer normalisation (centered) and root mean square normalisation.
 *
 *   forward    centered: mean = sum x / n, var = sum (x - mean)^2 / n;  else mean = 0, var = sum x^2 / n
 *              rstd = 1 / sqrt(var + eps),  xhat = (x - mean) rstd,  y = f(gamma xhat + beta)
 *   backward   g = dy gamma,  dx = rstd (g - mean(g) - xhat mean(g xhat)), without mean(g) where not centered
 *              dgamma = sum over rows of dy xhat,  dbeta = sum over rows of dy
 *
 * J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016; B. Zhang and R. Sennrich, "Root mean square layer
 * normalization", 2019. The variance is the corrected two-pass one, as in batchnorm.h, with 16 lanes along the row that
 * are folded in a fixed order. Sums over rows are in chunks of 16 rows, added in order. */
#ifndef FNN_KERNELS_ROWNORM_H
#define FNN_KERNELS_ROWNORM_H

#include "activation.h"
#include "bias.h"

/* x - mean of the vector at j of a row of n; 0 in the lanes beyond its end. */
FNN_INLINE vf fnn_row_centered(const float *x, size_t j, size_t n, vf mean, vf rest)
{
    if (j + FNN_VF <= n) return vf_sub(vf_sub(vf_load(x + j), mean), rest);
    const vt t = vt_first(n - j);
    return vf_select(vm_from_t(t), vf_sub(vf_sub(vf_load_t(x + j, t), mean), rest), vf_zero());
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

/* y may be x. statistics [rows, 3]: mean, what it lacks of the true one, rstd. */
static void fnn_rownorm_forward(const fnn_rownorm *o)
{
    const size_t n = o->columns;
    const float *x = o->x;
    float *y = o->y, *statistics = o->statistics;
    for (size_t i = 0; i < o->rows; i++, x += o->ldx, y += o->ldy, statistics += o->lds) {
        vf sum = vf_zero(), squares = vf_zero();
        float mean = 0.0f, rest = 0.0f;
        if (o->centered) {
            for (size_t j = 0; j < n; j += FNN_VF) sum = vf_add(sum, fnn_row_part(x, j, n));
            mean = vf_sum(sum) / (float)n;
            sum = vf_zero();
        }
        for (size_t j = 0; j < n; j += FNN_VF) {
            const vf d = fnn_row_centered(x, j, n, vf_set1(mean), vf_zero());
            sum = vf_add(sum, d);
            squares = vf_fma(d, d, squares);
        }
        float var = vf_sum(squares);
        if (o->centered) {
            const float s = vf_sum(sum), correction = s * (rest = s / (float)n);
            var = var - correction;
        }
        var = var / (float)n;
        if (var < 0.0f) var = 0.0f;
        const float rstd = 1.0f / __builtin_sqrtf(var + o->eps);
        statistics[0] = mean;
        statistics[1] = rest;
        statistics[2] = rstd;
        for (size_t j = 0; j < n; j += FNN_VF) {
            const vf d = vf_mul(fnn_row_centered(x, j, n, vf_set1(mean), vf_set1(rest)), vf_set1(rstd));
            const vf a = o->gamma ? fnn_row_part(o->gamma, j, n) : vf_set1(1.0f);
            const vf b = o->beta ? fnn_row_part(o->beta, j, n) : vf_zero();
            fnn_row_put(y, j, n, vf_fma(d, a, b));
        }
        if (o->activation != FNN_IDENTITY) fnn_activation_forward(o->activation, o->alpha, n, y, y);
    }
}

/* dx may be dy. */
static void fnn_rownorm_backward(const fnn_rownorm *o)
{
    const size_t n = o->columns;
    const float *x = o->x, *dy = o->dy, *statistics = o->statistics;
    float *dx = o->dx;
    for (size_t i = 0; i < o->rows; i++, x += o->ldx, dy += o->lddy, dx += o->lddx, statistics += o->lds) {
        const vf mean = vf_set1(statistics[0]), rest = vf_set1(statistics[1]), rstd = vf_set1(statistics[2]);
        vf s = vf_zero(), q = vf_zero();
        for (size_t j = 0; j < n; j += FNN_VF) {
            const vf a = o->gamma ? fnn_row_part(o->gamma, j, n) : vf_set1(1.0f);
            const vf g = vf_mul(fnn_row_part(dy, j, n), a);
            s = vf_add(s, g);
            q = vf_fma(g, vf_mul(fnn_row_centered(x, j, n, mean, rest), rstd), q);
        }
        const vf mean_g = vf_set1(o->centered ? vf_sum(s) / (float)n : 0.0f), mean_q = vf_set1(vf_sum(q) / (float)n);
        for (size_t j = 0; j < n; j += FNN_VF) {
            const vf a = o->gamma ? fnn_row_part(o->gamma, j, n) : vf_set1(1.0f);
            const vf g = vf_mul(fnn_row_part(dy, j, n), a);
            const vf xhat = vf_mul(fnn_row_centered(x, j, n, mean, rest), rstd);
            fnn_row_put(dx, j, n, vf_mul(rstd, vf_fma(vf_neg(xhat), mean_q, vf_sub(g, mean_g))));
        }
    }
}

/* dgamma and dbeta, either of which may be NULL, over these columns and all rows. */
static void fnn_rownorm_backward_weights(const fnn_rownorm *o)
{
    for (size_t j = 0; j < o->columns; j += FNN_VF) {
        const vt t = vt_first(o->columns - j);
        vf s = vf_zero(), q = vf_zero();
        for (size_t i = 0; i < o->rows; i += FNN_ROW_CHUNK) {
            const size_t end = o->rows - i < FNN_ROW_CHUNK ? o->rows : i + FNN_ROW_CHUNK;
            vf first = vf_zero(), second = vf_zero();
            for (size_t r = i; r < end; r++) {
                const float *statistics = o->statistics + r * o->lds;
                const vf g = vf_load_t(o->dy + r * o->lddy + j, t);
                const vf d = vf_sub(vf_sub(vf_load_t(o->x + r * o->ldx + j, t), vf_set1(statistics[0])), vf_set1(statistics[1]));
                first = vf_add(first, g);
                second = vf_fma(g, vf_mul(d, vf_set1(statistics[2])), second);
            }
            s = vf_add(s, first);
            q = vf_add(q, second);
        }
        if (o->dgamma) vf_store_t(o->dgamma + j, o->accumulate ? vf_add(vf_load_t(o->dgamma + j, t), q) : q, t);
        if (o->dbeta) vf_store_t(o->dbeta + j, o->accumulate ? vf_add(vf_load_t(o->dbeta + j, t), s) : s, t);
    }
}

#endif
