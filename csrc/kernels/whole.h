/* What updates of whole arrays are made of, see ops/whole_update.c: passes over rows of a prepared gradient, in its memory. */
#ifndef FNN_KERNELS_WHOLE_H
#define FNN_KERNELS_WHOLE_H

#include "optimizer.h"

/* u = the gradient as the options of the frame prepare it */
static void fnn_prepared_gradient(size_t n, const fnn_update_scalars *scalars, const real *w, const real *g, real *u)
{
    const fnn_scalars s = fnn_splat(scalars);
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        v_store_t(u + i, fnn_prepare_gradient(scalars->options, &s, v_load_t(w + i, t), v_load_t(g + i, t)), t);
    }
}

/* y = a x, which may be the same array */
static void fnn_scaled(size_t n, double a, const real *x, real *y)
{
    const vec factor = v_set1((real)a);
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        v_store_t(y + i, v_mul(factor, v_load_t(x + i, t)), t);
    }
}

/* m <- m + weight (u - m);  u <- m, or Nesterov's u + momentum (m - u) */
static void fnn_momentum_of(size_t n, double weight, bool nesterov, double momentum, real *m, real *u)
{
    const vec share = v_set1((real)weight), ahead = v_set1((real)momentum);
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        const vec vu = v_load_t(u + i, t), vm = fnn_towards(v_load_t(m + i, t), vu, share);
        v_store_t(m + i, vm, t);
        v_store_t(u + i, nesterov ? fnn_towards(vu, vm, ahead) : vm, t);
    }
}

/* u <- u / sqrt(v), or where v is below the floor / sqrt(floor): v is row times column, one each, or `variance` */
static void fnn_divided_by_root(size_t n, double row, const real *column, const real *variance, double floor, real *u)
{
    const vec factor = v_set1((real)row), least = v_set1((real)floor);
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        const vec v = variance ? v_load_t(variance + i, t) : v_mul(factor, v_load_t(column + i, t));
        v_store_t(u + i, v_div(v_load_t(u + i, t), v_sqrt(v_select(v_lt(v, least), least, v))), t);
    }
}

/* variance <- variance + weight (u^2 - variance) */
static void fnn_variance_of(size_t n, double weight, const real *u, real *variance)
{
    const vec share = v_set1((real)weight);
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        const vec vu = v_load_t(u + i, t);
        v_store_t(variance + i, fnn_towards(v_load_t(variance + i, t), v_mul(vu, vu), share), t);
    }
}

#endif
