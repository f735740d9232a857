/* Elementwise activations y = f(z) and their derivatives, each a function of y or, where y does not tell, of z.
 *
 *   identity    y = z                              1
 *   sigmoid     y = 1 / (1 + e^-z)                 y (1 - y)
 *   tanh        y = tanh z                         1 - y^2
 *   relu        y = z <= 0 ? 0 : z                 y <= 0 ? 0 : 1
 *   leaky_relu  y = z <= 0 ? alpha z : z           y > 0 ? 1 : alpha       alpha >= 0, so y and z have one sign
 *   elu         y = z < 0 ? alpha (e^z - 1) : z    y > 0 ? 1 : y + alpha   alpha >= 0, likewise
 *   selu        y = lambda elu(z)                  y > 0 ? lambda : y + lambda alpha
 *   softplus    y = log(1 + e^(alpha z)) / alpha   1 - e^(-alpha y)        alpha > 0 (PyTorch's beta)
 *   hard_tanh   y = z held to [-1, 1]              |y| < 1 ? 1 : 0
 *   gelu        y = z Phi(z)                       Phi(z) + z phi(z)       Phi, phi: the normal distribution and density
 *   gelu_tanh   y = z S                            S + z S (1 - S) v'      S = sigmoid(v), v = 2 sqrt(2/pi) (z + 0.044715 z^3)
 *   silu        y = z S                            S + z S (1 - S)         S = sigmoid(z)
 *
 * A NaN compares false with everything, so it stays a NaN. The functions of z tend to -0 for z -> -inf, and are -0 there.
 * In place is allowed everywhere: y may be x, dx may be dy or saved. */
#ifndef FNN_KERNELS_ACTIVATION_H
#define FNN_KERNELS_ACTIVATION_H

#include "../simd/math.h"
#include "sums.h"

#define FNN_SELU_LAMBDA 1.05070098735548049f /* Klambauer et al. 2017: mean 0 and variance 1 are a fixed point */
#define FNN_SELU_LAMBDA_ALPHA 1.75809934084737686f

/* z (1 + erf(z / sqrt 2)) / 2 */
FNN_INLINE vf fnn_gelu(vf z)
{
    const vf half = vf_mul(vf_set1(0.5f), z);
    const vf y = vf_fma(half, vf_erf_sqrt1_2(z), half);
    return vf_select(vf_lt(z, vf_set1(-FNN_ERF_END)), vf_set1(-0.0f), y);
}

/* z held to where z times a density is still 0, so that an infinity makes no 0 x inf; e^(-x^2/2) / sqrt(2 pi). */
FNN_INLINE vf fnn_gelu_derivative(vf z)
{
    z = vf_clamp(z, -15.0f, 15.0f);
    vf distribution = vf_fma(vf_erf_sqrt1_2(z), vf_set1(0.5f), vf_set1(0.5f));
    distribution = vf_select(vf_lt(z, vf_set1(-FNN_ERF_END)), vf_zero(), distribution);
    const vf density = vf_mul(vf_exp_negative(vf_mul(vf_mul(z, z), vf_set1(-0.5f))), vf_set1(0.398942280f));
    return vf_fma(z, density, distribution);
}

/* The argument of the sigmoid in gelu_tanh: v = z (a + b z^2) with a = 2 sqrt(2/pi), b = 0.044715 a. v' = a + 3 b z^2. */
#define FNN_GELU_A 1.59576912f
#define FNN_GELU_B 0.0713548163f

/* S + z S (1 - S) v' with S = sigmoid(v), where S (1 - S) = e / (1 + e)^2, e = e^-|v| */
FNN_INLINE vf fnn_gate_derivative(vf z, vf v, vf slope)
{
    const vf e = vf_exp_negative(vf_minus_abs(v));
    const vf t = vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), e)), far = vf_mul(e, t);
    return vf_fma(vf_mul(z, slope), vf_mul(far, t), vf_select(vf_lt(v, vf_zero()), far, t));
}

FNN_INLINE vf fnn_activate(fnn_activation f, vf z, vf alpha)
{
    switch (f) {
    case FNN_SIGMOID: return vf_sigmoid(z);
    case FNN_TANH: return vf_tanh(z);
    case FNN_RELU: return vf_select(vf_le(z, vf_zero()), vf_zero(), z);
    case FNN_LEAKY_RELU: return vf_select(vf_le(z, vf_zero()), vf_mul(alpha, z), z);
    case FNN_ELU: return vf_select(vf_lt(z, vf_zero()), vf_mul(alpha, vf_expm1_negative(vf_minus_abs(z))), z);
    case FNN_SELU:
        return vf_select(vf_lt(z, vf_zero()), vf_mul(vf_set1(FNN_SELU_LAMBDA_ALPHA), vf_expm1_negative(vf_minus_abs(z))),
                         vf_mul(vf_set1(FNN_SELU_LAMBDA), z));
    case FNN_GELU: return fnn_gelu(z);
    case FNN_GELU_TANH: { /* below -11 the sigmoid is 0 */
        const vf held = vf_max2(vf_set1(-11.0f), z);
        const vf v = vf_mul(held, vf_fma(vf_mul(held, held), vf_set1(FNN_GELU_B), vf_set1(FNN_GELU_A)));
        return vf_mul(held, vf_sigmoid(v));
    }
    case FNN_SILU: { /* below -104 the sigmoid is 0 */
        const vf held = vf_max2(vf_set1(-110.0f), z);
        return vf_mul(held, vf_sigmoid(held));
    }
    case FNN_SOFTPLUS: {
        const vf tail = vf_log1p_unit(vf_exp_negative(vf_minus_abs(vf_mul(alpha, z))));
        return vf_fma(tail, vf_div(vf_set1(1.0f), alpha), vf_max2(vf_zero(), z));
    }
    case FNN_HARD_TANH: return vf_clamp(z, -1.0f, 1.0f);
    default: return z;
    }
}

/* dy f'(z) in terms of what f saves, y or z */
FNN_INLINE vf fnn_differentiate(fnn_activation f, vf dy, vf saved, vf alpha)
{
    const vf y = saved, one = vf_set1(1.0f);
    switch (f) {
    case FNN_SIGMOID: return vf_mul(dy, vf_mul(y, vf_sub(one, y)));
    case FNN_TANH: return vf_mul(dy, vf_sub(one, vf_mul(y, y)));
    case FNN_RELU: return vf_select(vf_le(y, vf_zero()), vf_zero(), dy);
    case FNN_LEAKY_RELU: return vf_select(vf_lt(vf_zero(), y), dy, vf_mul(alpha, dy));
    case FNN_ELU: return vf_select(vf_lt(vf_zero(), y), dy, vf_mul(dy, vf_add(y, alpha)));
    case FNN_SELU:
        return vf_mul(dy, vf_select(vf_lt(vf_zero(), y), vf_set1(FNN_SELU_LAMBDA),
                                    vf_add(y, vf_set1(FNN_SELU_LAMBDA_ALPHA))));
    case FNN_GELU: return vf_mul(dy, fnn_gelu_derivative(saved));
    case FNN_GELU_TANH: {
        const vf z = vf_clamp(saved, -12.0f, 12.0f), u = vf_mul(z, z);
        const vf v = vf_mul(z, vf_fma(u, vf_set1(FNN_GELU_B), vf_set1(FNN_GELU_A)));
        return vf_mul(dy, fnn_gate_derivative(z, v, vf_fma(u, vf_set1(3.0f * FNN_GELU_B), vf_set1(FNN_GELU_A))));
    }
    case FNN_SILU: {
        const vf z = vf_clamp(saved, -110.0f, 110.0f);
        return vf_mul(dy, fnn_gate_derivative(z, z, one));
    }
    case FNN_SOFTPLUS: return vf_mul(dy, vf_neg(vf_expm1_negative(vf_neg(vf_mul(alpha, y)))));
    case FNN_HARD_TANH: return vf_select(vf_le(one, vf_abs(y)), vf_zero(), dy);
    default: return dy;
    }
}

FNN_INLINE void fnn_activate_run(fnn_activation f, float alpha, size_t n, const float *x, float *y)
{
    const vf a = vf_set1(alpha);
    size_t i = 0;
    for (; i + FNN_VF <= n; i += FNN_VF) vf_store(y + i, fnn_activate(f, vf_load(x + i), a));
    if (i < n) {
        const vt t = vt_first(n - i);
        vf_store_t(y + i, fnn_activate(f, vf_load_t(x + i, t), a), t);
    }
}

FNN_INLINE void fnn_differentiate_run(fnn_activation f, float alpha, size_t n, const float *dy, const float *saved,
                                      float *dx)
{
    const vf a = vf_set1(alpha);
    size_t i = 0;
    for (; i + FNN_VF <= n; i += FNN_VF)
        vf_store(dx + i, fnn_differentiate(f, vf_load(dy + i), vf_load(saved + i), a));
    if (i < n) {
        const vt t = vt_first(n - i);
        vf_store_t(dx + i, fnn_differentiate(f, vf_load_t(dy + i, t), vf_load_t(saved + i, t), a), t);
    }
}

/* One loop for each activation, so that the choice is made outside it. */
static void fnn_activation_forward(fnn_activation f, float alpha, size_t n, const float *x, float *y)
{
    switch (f) {
#define FNN_ACTIVATION(code, name, saves, alpha_, lowest) \
    case code: fnn_activate_run(code, alpha, n, x, y); break;
#include "../defs/activations.def"
#undef FNN_ACTIVATION
    default: break;
    }
}

static void fnn_activation_backward(fnn_activation f, float alpha, size_t n, const float *dy, const float *saved,
                                    float *dx)
{
    switch (f) {
#define FNN_ACTIVATION(code, name, saves, alpha_, lowest) \
    case code: fnn_differentiate_run(code, alpha, n, dy, saved, dx); break;
#include "../defs/activations.def"
#undef FNN_ACTIVATION
    default: break;
    }
}

/* PReLU: y = x > 0 ? x : a x, with a slope for every column (a_step 1) or one for all (a_step 0). y may be x.
 * Backward: dx = x > 0 ? dy : a dy, from the input x; dx may be dy or x. */
FNN_INLINE vf fnn_slopes(const float *slope, size_t step, size_t j, vt t)
{
    return step ? vf_load_t(slope + j, t) : vf_set1(*slope);
}

static void fnn_prelu_forward(size_t rows, size_t columns, const float *x, size_t ldx, const float *slope, size_t step,
                              float *y, size_t ldy)
{
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf a = fnn_slopes(slope, step, j, t);
        for (size_t i = 0; i < rows; i++) {
            const vf v = vf_load_t(x + i * ldx + j, t);
            vf_store_t(y + i * ldy + j, vf_select(vf_le(v, vf_zero()), vf_mul(a, v), v), t);
        }
    }
}

static void fnn_prelu_backward(size_t rows, size_t columns, const float *dy, size_t lddy, const float *x, size_t ldx,
                               const float *slope, size_t step, float *dx, size_t lddx)
{
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf a = fnn_slopes(slope, step, j, t);
        for (size_t i = 0; i < rows; i++) {
            const vf d = vf_load_t(dy + i * lddy + j, t), v = vf_load_t(x + i * ldx + j, t);
            vf_store_t(dx + i * lddx + j, vf_select(vf_lt(vf_zero(), v), d, vf_mul(a, d)), t);
        }
    }
}

/* The slope's gradient, sum over rows of dy min(x, 0): for every column in chunks of 16 rows, each summed in order, the
 * chunks then added in order, in blocks of many rows (sums.h; step 1); or the sum of those over the columns, lane by lane, then folded (step 0). */
static void fnn_prelu_slope_gradient(size_t rows, size_t columns, const float *dy, size_t lddy, const float *x, size_t ldx,
                                     size_t step, bool accumulate, float *dslope)
{
    vf all = vf_zero();
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        vf total = vf_zero();
        for (size_t from = 0, end; from < rows; from = end) {
            end = fnn_block_end(from, rows);
            vf block = vf_zero();
            for (size_t i = from; i < end; i += 16) {
                const size_t last = end - i < 16 ? end : i + 16;
                vf sum = vf_zero();
                for (size_t r = i; r < last; r++) {
                    const vf d = vf_load_t(dy + r * lddy + j, t), v = vf_load_t(x + r * ldx + j, t);
                    sum = vf_add(sum, vf_select(vf_lt(vf_zero(), v), vf_zero(), vf_mul(d, v)));
                }
                block = vf_add(block, sum);
            }
            total = fnn_add_block(from, total, block);
        }
        if (step)
            vf_store_t(dslope + j, accumulate ? vf_add(vf_load_t(dslope + j, t), total) : total, t);
        else
            all = vf_add(all, total);
    }
    if (!step) *dslope = accumulate ? *dslope + vf_sum(all) : vf_sum(all);
}

#endif
