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
 *   mish        y = z T                            T + z T'                T = tanh(log(1 + e^z)) = ((1 + e^z)^2 - 1) / ((1 + e^z)^2 + 1)
 *
 * A NaN compares false with everything, so it stays a NaN. The functions of z tend to -0 for z -> -inf, and are -0 there.
 * In place is allowed everywhere: y may be x, dx may be dy or saved. */
#ifndef FNN_KERNELS_ACTIVATION_H
#define FNN_KERNELS_ACTIVATION_H

#include "sums.h"

#define FNN_SELU_LAMBDA 1.05070098735548048 /* Klambauer et al. 2017: mean 0 and variance 1 are a fixed point */
#define FNN_SELU_LAMBDA_ALPHA 1.75809934084737686

/* The argument of the sigmoid in gelu_tanh: v = z (a + b z^2) with a = 2 sqrt(2/pi), b = 0.044715 a. v' = a + 3 b z^2. */
#define FNN_GELU_A 1.59576912160573071
#define FNN_GELU_B 0.0713548162726002488

/* Beyond these the sigmoids of silu and of gelu_tanh are 0 or 1, and so is the T of mish. */
#define FNN_SILU_END FNN_PICK(110.0, 750.0)
#define FNN_GELU_END FNN_PICK(12.0, 23.0)

/* S + z S (1 - S) v' with S = sigmoid(v), where S (1 - S) = e / (1 + e)^2, e = e^-|v| */
FNN_INLINE vec fnn_gate_derivative(vec z, vec v, vec slope)
{
    const vec e = v_exp_negative(v_minus_abs(v));
    const vec t = v_div(v_set1(1.0), v_add(v_set1(1.0), e)), far = v_mul(e, t);
    return v_fma(v_mul(z, slope), v_mul(far, t), v_select(v_lt(v, v_zero()), far, t));
}

/* mish, in w = e^-|z|, which does not overflow: T = a / b with a = w (w + 2), b = a + 2 for z < 0; else, both divided by e^2z,
 * a = 1 + 2w, b = a + 2w^2. Returns a. T' = 4 (1 + w) s / b^2 with s = w and s = w^2. */
FNN_INLINE vec fnn_mish_fraction(vec z, vec *b, vec *w, vec *s)
{
    *w = v_exp_negative(v_minus_abs(z));
    const vec one = v_set1(1.0), two = v_set1(2.0), square = v_mul(*w, *w);
    const vmask left = v_lt(z, v_zero());
    const vec a = v_select(left, v_mul(*w, v_add(*w, two)), v_fma(two, *w, one));
    *b = v_add(a, v_select(left, two, v_mul(two, square)));
    *s = v_select(left, *w, square);
    return a;
}

/* T + z T', by a single division */
FNN_INLINE vec fnn_mish_derivative(vec z)
{
    vec b, w, s;
    const vec a = fnn_mish_fraction(z, &b, &w, &s), one = v_set1(1.0), inverse = v_div(one, b);
    const vec slope = v_mul(v_mul(v_mul(v_set1(4.0), v_add(one, w)), s), v_mul(inverse, inverse));
    return v_fma(z, slope, v_mul(a, inverse));
}

FNN_INLINE vec fnn_activate(fnn_activation f, vec z, vec alpha)
{
    switch (f) {
    case FNN_SIGMOID: return v_sigmoid(z);
    case FNN_TANH: return v_tanh(z);
    case FNN_RELU: return v_select(v_le(z, v_zero()), v_zero(), z);
    case FNN_LEAKY_RELU: return v_select(v_le(z, v_zero()), v_mul(alpha, z), z);
    case FNN_ELU: return v_select(v_lt(z, v_zero()), v_mul(alpha, v_expm1_negative(v_minus_abs(z))), z);
    case FNN_SELU:
        return v_select(v_lt(z, v_zero()), v_mul(v_set1(FNN_SELU_LAMBDA_ALPHA), v_expm1_negative(v_minus_abs(z))),
                        v_mul(v_set1(FNN_SELU_LAMBDA), z));
    case FNN_GELU: return v_gelu(z);
    case FNN_GELU_TANH: { /* further below the sigmoid is 0 */
        const vec held = v_max2(v_set1(FNN_PICK(-11.0, -22.0)), z);
        const vec v = v_mul(held, v_fma(v_mul(held, held), v_set1(FNN_GELU_B), v_set1(FNN_GELU_A)));
        return v_mul(held, v_sigmoid(v));
    }
    case FNN_SILU: { /* below -104, of doubles -746, the sigmoid is 0 */
        const vec held = v_max2(v_set1(-FNN_SILU_END), z);
        return v_mul(held, v_sigmoid(held));
    }
    case FNN_SOFTPLUS: {
        const vec tail = v_log1p_unit(v_exp_negative(v_minus_abs(v_mul(alpha, z))));
        return v_fma(tail, v_div(v_set1(1.0), alpha), v_max2(v_zero(), z));
    }
    case FNN_HARD_TANH: return v_clamp(z, -1.0, 1.0);
    case FNN_MISH: {
        vec b, w, s;
        const vec held = v_max2(v_set1(-FNN_SILU_END), z), a = fnn_mish_fraction(held, &b, &w, &s);
        return v_mul(held, v_div(a, b));
    }
    default: return z;
    }
}

/* dy f'(z) in terms of what f saves, y or z */
FNN_INLINE vec fnn_differentiate(fnn_activation f, vec dy, vec saved, vec alpha)
{
    const vec y = saved, one = v_set1(1.0);
    switch (f) {
    case FNN_SIGMOID: return v_mul(dy, v_mul(y, v_sub(one, y)));
    case FNN_TANH: return v_mul(dy, v_sub(one, v_mul(y, y)));
    case FNN_RELU: return v_select(v_le(y, v_zero()), v_zero(), dy);
    case FNN_LEAKY_RELU: return v_select(v_lt(v_zero(), y), dy, v_mul(alpha, dy));
    case FNN_ELU: return v_select(v_lt(v_zero(), y), dy, v_mul(dy, v_add(y, alpha)));
    case FNN_SELU:
        return v_mul(dy, v_select(v_lt(v_zero(), y), v_set1(FNN_SELU_LAMBDA),
                                  v_add(y, v_set1(FNN_SELU_LAMBDA_ALPHA))));
    case FNN_GELU: return v_mul(dy, v_gelu_derivative(saved));
    case FNN_GELU_TANH: {
        const vec z = v_clamp(saved, -FNN_GELU_END, FNN_GELU_END), u = v_mul(z, z);
        const vec v = v_mul(z, v_fma(u, v_set1(FNN_GELU_B), v_set1(FNN_GELU_A)));
        return v_mul(dy, fnn_gate_derivative(z, v, v_fma(u, v_set1(3.0 * FNN_GELU_B), v_set1(FNN_GELU_A))));
    }
    case FNN_SILU: {
        const vec z = v_clamp(saved, -FNN_SILU_END, FNN_SILU_END);
        return v_mul(dy, fnn_gate_derivative(z, z, one));
    }
    case FNN_SOFTPLUS: return v_mul(dy, v_neg(v_expm1_negative(v_neg(v_mul(alpha, y)))));
    case FNN_HARD_TANH: return v_select(v_le(one, v_abs(y)), v_zero(), dy);
    case FNN_MISH: return v_mul(dy, fnn_mish_derivative(v_clamp(saved, -FNN_SILU_END, FNN_SILU_END)));
    default: return dy;
    }
}

FNN_INLINE void fnn_activate_rows(fnn_activation f, real alpha, size_t rows, size_t n, const real *x, size_t ldx, real *y, size_t ldy)
{
    const vec a = v_set1(alpha);
    for (; rows > 0; rows--, x += ldx, y += ldy) {
        size_t i = 0;
        for (; i + FNN_LANES <= n; i += FNN_LANES) v_store(y + i, fnn_activate(f, v_load(x + i), a));
        if (i < n) {
            const vt t = vt_first(n - i);
            v_store_t(y + i, fnn_activate(f, v_load_t(x + i, t), a), t);
        }
    }
}

FNN_INLINE void fnn_differentiate_rows(fnn_activation f, real alpha, size_t rows, size_t n, const real *dy, size_t lddy,
                                       const real *saved, size_t ldsaved, real *dx, size_t lddx)
{
    const vec a = v_set1(alpha);
    for (; rows > 0; rows--, dy += lddy, saved += ldsaved, dx += lddx) {
        size_t i = 0;
        for (; i + FNN_LANES <= n; i += FNN_LANES)
            v_store(dx + i, fnn_differentiate(f, v_load(dy + i), v_load(saved + i), a));
        if (i < n) {
            const vt t = vt_first(n - i);
            v_store_t(dx + i, fnn_differentiate(f, v_load_t(dy + i, t), v_load_t(saved + i, t), a), t);
        }
    }
}

/* One loop for each activation, so that the choice is made outside it, and the constants of a tile of a product are loaded once. */
static void fnn_activation_forward(fnn_activation f, double alpha, size_t rows, size_t n, const real *x, size_t ldx, real *y, size_t ldy)
{
    switch (f) {
#define FNN_ACTIVATION(code, name, ...) \
    case code: fnn_activate_rows(code, (real)alpha, rows, n, x, ldx, y, ldy); break;
#include "../defs/activations.def"
#undef FNN_ACTIVATION
    default: break;
    }
}

static void fnn_activation_backward(fnn_activation f, double alpha, size_t rows, size_t n, const real *dy, size_t lddy,
                                    const real *saved, size_t ldsaved, real *dx, size_t lddx)
{
    switch (f) {
#define FNN_ACTIVATION(code, name, ...) \
    case code: fnn_differentiate_rows(code, (real)alpha, rows, n, dy, lddy, saved, ldsaved, dx, lddx); break;
#include "../defs/activations.def"
#undef FNN_ACTIVATION
    default: break;
    }
}

/* PReLU: y = x > 0 ? x : a x, with a slope for every column (a_step 1) or one for all (a_step 0). y may be x.
 * Backward: dx = x > 0 ? dy : a dy, from the input x; dx may be dy or x. */
FNN_INLINE vec fnn_slopes(const real *slope, size_t step, size_t j, vt t)
{
    return step ? v_load_t(slope + j, t) : v_set1(*slope);
}

static void fnn_prelu_forward(size_t rows, size_t columns, const real *x, size_t ldx, const real *slope, size_t step,
                              real *y, size_t ldy)
{
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec a = fnn_slopes(slope, step, j, t);
        for (size_t i = 0; i < rows; i++) {
            const vec v = v_load_t(x + i * ldx + j, t);
            v_store_t(y + i * ldy + j, v_select(v_le(v, v_zero()), v_mul(a, v), v), t);
        }
    }
}

static void fnn_prelu_backward(size_t rows, size_t columns, const real *dy, size_t lddy, const real *x, size_t ldx,
                               const real *slope, size_t step, real *dx, size_t lddx)
{
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec a = fnn_slopes(slope, step, j, t);
        for (size_t i = 0; i < rows; i++) {
            const vec d = v_load_t(dy + i * lddy + j, t), v = v_load_t(x + i * ldx + j, t);
            v_store_t(dx + i * lddx + j, v_select(v_lt(v_zero(), v), d, v_mul(a, d)), t);
        }
    }
}

/* The slope's gradient, sum over rows of dy min(x, 0): for every column in chunks of 16 rows, each summed in order, the
 * chunks then added in order, in blocks of many rows (sums.h; step 1); or the sum of those over the columns, lane by lane, then
 * folded (step 0). */
static void fnn_prelu_slope_gradient(size_t rows, size_t columns, const real *dy, size_t lddy, const real *x, size_t ldx,
                                     size_t step, bool accumulate, real *dslope)
{
    vec all = v_zero();
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        vec total = v_zero();
        for (size_t from = 0, end; from < rows; from = end) {
            end = fnn_block_end(from, rows);
            vec block = v_zero();
            for (size_t i = from; i < end; i += 16) {
                const size_t last = end - i < 16 ? end : i + 16;
                vec sum = v_zero();
                for (size_t r = i; r < last; r++) {
                    const vec d = v_load_t(dy + r * lddy + j, t), v = v_load_t(x + r * ldx + j, t);
                    sum = v_add(sum, v_select(v_lt(v_zero(), v), v_zero(), v_mul(d, v)));
                }
                block = v_add(block, sum);
            }
            total = fnn_add_block(from, total, block);
        }
        if (step)
            fnn_put_gradient(dslope + j, accumulate, total, t);
        else
            all = v_add(all, total);
    }
    if (!step) *dslope = accumulate ? *dslope + v_sum(all) : v_sum(all);
}

/* An activation of which each column takes a part that is learned: y = x + w (f(x) - x). y may be x.
 * Backward: dx = dy + w (dy f'(x) - dy), from the input x; dx may be dy or x. dw = sum over rows of dy (f(x) - x), one chain for each
 * column in the order of the batch, in blocks of many rows (sums.h). f is taken of so many elements at a time: */
#define FNN_PARTS_AT_ONCE 256

FNN_INLINE bool fnn_saves_output(fnn_activation f)
{
    switch (f) {
#define FNN_ACTIVATION(code, name, saves, ...) \
    case code: return (saves)[0] == 'y';
#include "../defs/activations.def"
#undef FNN_ACTIVATION
    default: return false;
    }
}

static void fnn_parametric_activation_forward(fnn_activation f, double alpha, size_t n, const real *x, const real *weight, real *y)
{
    real whole[FNN_PARTS_AT_ONCE];
    for (size_t i = 0; i < n; i += FNN_PARTS_AT_ONCE) {
        const size_t count = n - i < FNN_PARTS_AT_ONCE ? n - i : FNN_PARTS_AT_ONCE;
        fnn_activation_forward(f, alpha, 1, count, x + i, count, whole, count);
        for (size_t j = 0; j < count; j += FNN_LANES) {
            const vec v = fnn_row_load(x + i, j, count), part = v_sub(fnn_row_load(whole, j, count), v);
            fnn_row_store(y + i, j, count, v_fma(fnn_row_load(weight + i, j, count), part, v));
        }
    }
}

static void fnn_parametric_activation_backward(fnn_activation f, double alpha, size_t n, const real *dy, const real *x,
                                               const real *weight, real *dx)
{
    real y[FNN_PARTS_AT_ONCE], whole[FNN_PARTS_AT_ONCE];
    for (size_t i = 0; i < n; i += FNN_PARTS_AT_ONCE) {
        const size_t count = n - i < FNN_PARTS_AT_ONCE ? n - i : FNN_PARTS_AT_ONCE;
        const bool of_output = fnn_saves_output(f);
        if (of_output) fnn_activation_forward(f, alpha, 1, count, x + i, count, y, count);
        fnn_activation_backward(f, alpha, 1, count, dy + i, count, of_output ? y : x + i, count, whole, count);
        for (size_t j = 0; j < count; j += FNN_LANES) {
            const vec d = fnn_row_load(dy + i, j, count), part = v_sub(fnn_row_load(whole, j, count), d);
            fnn_row_store(dx + i, j, count, v_fma(fnn_row_load(weight + i, j, count), part, d));
        }
    }
}

static void fnn_parametric_activation_gradient(fnn_activation f, double alpha, size_t rows, size_t columns, const real *dy,
                                               size_t lddy, const real *x, size_t ldx, bool accumulate, real *dw)
{
    for (size_t j0 = 0; j0 < columns; j0 += FNN_PARTS_AT_ONCE) {
        const size_t n = columns - j0 < FNN_PARTS_AT_ONCE ? columns - j0 : FNN_PARTS_AT_ONCE;
        real total[FNN_PARTS_AT_ONCE] = {0}, block[FNN_PARTS_AT_ONCE], whole[FNN_PARTS_AT_ONCE];
        for (size_t from = 0, end; from < rows; from = end) {
            end = fnn_block_end(from, rows);
            memset(block, 0, sizeof block);
            for (size_t r = from; r < end; r++) {
                const real *g = dy + r * lddy + j0, *z = x + r * ldx + j0;
                fnn_activation_forward(f, alpha, 1, n, z, ldx, whole, n);
                for (size_t j = 0; j < n; j += FNN_LANES) {
                    const vec part = v_sub(fnn_row_load(whole, j, n), fnn_row_load(z, j, n));
                    v_store(block + j, v_fma(fnn_row_load(g, j, n), part, v_load(block + j)));
                }
            }
            for (size_t j = 0; j < n; j += FNN_LANES) v_store(total + j, fnn_add_block(from, v_load(total + j), v_load(block + j)));
        }
        for (size_t j = 0; j < n; j += FNN_LANES) fnn_put_gradient(dw + j0 + j, accumulate, v_load(total + j), vt_first(n - j));
    }
}

#endif
