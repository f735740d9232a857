/* Penalties on weights: L1, L2 and their sum (the elastic net).
 *
 *   R(w) = l1 sum |w| + l2 / 2 sum w^2          dR/dw = l1 sign(w) + l2 w,   sign(0) = 0
 *
 * The value is added up in double (the square of a float is exact there): 16 lanes, folded. A
 * part whose factor is 0 is left out, since 0 * inf would be NaN. */
#ifndef FNN_KERNELS_PENALTY_H
#define FNN_KERNELS_PENALTY_H

#include "../simd/real.h"

/* FNN_WIDE more elements of the two sums */
FNN_INLINE void fnn_penalty_add(const bool with_l1, const bool with_l2, const real *w, vwide *absolute, vwide *square)
{
    const vwide v = vwide_load(w);
    if (with_l2) *square = vwide_fma(v, v, *square);
    if (with_l1) *absolute = vwide_add(*absolute, vwide_abs(v));
}

FNN_INLINE double fnn_penalty_sum(const bool with_l1, const bool with_l2, size_t n, double l1, double l2, const real *w)
{
    vwide absolute = vwide_zero(), square = vwide_zero();
    size_t i = 0;
    for (; i + FNN_WIDE <= n; i += FNN_WIDE) fnn_penalty_add(with_l1, with_l2, w + i, &absolute, &square);
    if (i < n) {
        real last[FNN_WIDE] = {0};
        for (size_t j = 0; i + j < n; j++) last[j] = w[i + j];
        fnn_penalty_add(with_l1, with_l2, last, &absolute, &square);
    }
    double value = 0.0;
    if (with_l1) value += l1 * vwide_sum(absolute);
    if (with_l2) value += 0.5 * l2 * vwide_sum(square);
    return value;
}

static double fnn_penalty_forward(size_t n, double l1, double l2, const real *w)
{
    if (l1 != 0 && l2 != 0) return fnn_penalty_sum(true, true, n, l1, l2, w);
    if (l1 != 0) return fnn_penalty_sum(true, false, n, l1, l2, w);
    return l2 != 0 ? fnn_penalty_sum(false, true, n, l1, l2, w) : 0.0;
}

/* dw + l2 w + l1 sign(w); a NaN has no sign and stays one */
FNN_INLINE vec fnn_penalty_gradient(vec w, vec dw, const bool with_l1, vec l1, const bool with_l2, vec l2)
{
    if (with_l2) dw = v_fma(l2, w, dw);
    if (with_l1) {
        const vec negative = v_select(v_lt(w, v_zero()), v_neg(l1), w); /* 0 or NaN where neither holds */
        dw = v_add(dw, v_select(v_lt(v_zero(), w), l1, negative));
    }
    return dw;
}

FNN_INLINE void fnn_penalty_loop(const bool with_l1, const bool with_l2, size_t n, real l1, real l2, const real *w, real *dw)
{
    const vec a = v_set1(l1), b = v_set1(l2);
    size_t i = 0;
    for (; i + FNN_LANES <= n; i += FNN_LANES)
        v_store(dw + i, fnn_penalty_gradient(v_load(w + i), v_load(dw + i), with_l1, a, with_l2, b));
    if (i < n) {
        const vt t = vt_first(n - i);
        v_store_t(dw + i, fnn_penalty_gradient(v_load_t(w + i, t), v_load_t(dw + i, t), with_l1, a, with_l2, b), t);
    }
}

static void fnn_penalty_backward(size_t n, double l1, double l2, const real *w, real *dw)
{
    const real a = (real)l1, b = (real)l2;
    if (a != 0 && b != 0)
        fnn_penalty_loop(true, true, n, a, b, w, dw);
    else if (a != 0)
        fnn_penalty_loop(true, false, n, a, b, w, dw);
    else if (b != 0)
        fnn_penalty_loop(false, true, n, a, b, w, dw);
}

#endif
