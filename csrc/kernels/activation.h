/* Elementwise activations y = f(z) and their derivatives, which are functions of y.
 *
 *   identity    y = z                              1
 *   sigmoid     y = 1 / (1 + e^-z)                 y (1 - y)
 *   tanh        y = tanh z                         1 - y^2
 *   relu        y = z <= 0 ? 0 : z                 y <= 0 ? 0 : 1
 *   leaky_relu  y = z <= 0 ? alpha z : z           y > 0 ? 1 : alpha       alpha >= 0, so y and z have one sign
 *
 * A NaN compares false with 0, so it stays a NaN. In place is allowed everywhere: y may be x, dx may be dy or saved. */
#ifndef FNN_KERNELS_ACTIVATION_H
#define FNN_KERNELS_ACTIVATION_H

#include "../simd/math.h"
#include "kernels.h"

FNN_INLINE vf fnn_activate(fnn_activation f, vf z, vf alpha)
{
    switch (f) {
    case FNN_SIGMOID: return vf_sigmoid(z);
    case FNN_TANH: return vf_tanh(z);
    case FNN_RELU: return vf_select(vf_le(z, vf_zero()), vf_zero(), z);
    case FNN_LEAKY_RELU: return vf_select(vf_le(z, vf_zero()), vf_mul(alpha, z), z);
    default: return z;
    }
}

/* dy f'(z) in terms of y */
FNN_INLINE vf fnn_differentiate(fnn_activation f, vf dy, vf y, vf alpha)
{
    switch (f) {
    case FNN_SIGMOID: return vf_mul(dy, vf_mul(y, vf_sub(vf_set1(1.0f), y)));
    case FNN_TANH: return vf_mul(dy, vf_sub(vf_set1(1.0f), vf_mul(y, y)));
    case FNN_RELU: return vf_select(vf_le(y, vf_zero()), vf_zero(), dy);
    case FNN_LEAKY_RELU: return vf_select(vf_lt(vf_zero(), y), dy, vf_mul(alpha, dy));
    default: return dy;
    }
}

/* One loop for each activation, so that the choice is made outside it. */
#define FNN_EACH_ACTIVATION(f, loop)                  \
    switch (f) {                                      \
    case FNN_SIGMOID: loop(FNN_SIGMOID); break;       \
    case FNN_TANH: loop(FNN_TANH); break;             \
    case FNN_RELU: loop(FNN_RELU); break;             \
    case FNN_LEAKY_RELU: loop(FNN_LEAKY_RELU); break; \
    default: loop(FNN_IDENTITY); break;               \
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

static void fnn_activation_forward(fnn_activation f, float alpha, size_t n, const float *x, float *y)
{
#define FNN_LOOP(F) fnn_activate_run(F, alpha, n, x, y)
    FNN_EACH_ACTIVATION(f, FNN_LOOP)
#undef FNN_LOOP
}

static void fnn_activation_backward(fnn_activation f, float alpha, size_t n, const float *dy, const float *saved,
                                    float *dx)
{
#define FNN_LOOP(F) fnn_differentiate_run(F, alpha, n, dy, saved, dx)
    FNN_EACH_ACTIVATION(f, FNN_LOOP)
#undef FNN_LOOP
}

#endif
