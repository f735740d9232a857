/* Penalties on weights: L1, L2 and their sum (the elastic net).
 *
 *   R(w) = l1 sum |w| + l2 / 2 sum w^2          dR/dw = l1 sign(w) + l2 w,   sign(0) = 0
 *
 * The value is added up in double (the square of a float is exact there): 16 lanes in two vectors, added, then folded. A
 * part whose factor is 0 is left out, since 0 * inf would be NaN. */
#ifndef FNN_KERNELS_PENALTY_H
#define FNN_KERNELS_PENALTY_H

#include "../simd/simd.h"
#include "kernels.h"

/* 16 more elements of the two sums */
FNN_INLINE void fnn_penalty_add(const bool with_l1, const bool with_l2, const float *w, vd absolute[2], vd square[2])
{
    if (with_l2) {
        const vd low = vd_load_f32(w), high = vd_load_f32(w + FNN_VD);
        square[0] = vd_fma(low, low, square[0]);
        square[1] = vd_fma(high, high, square[1]);
    }
    if (with_l1) {
        float lanes[FNN_VF];
        vf_store(lanes, vf_abs(vf_load(w)));
        absolute[0] = vd_add(absolute[0], vd_load_f32(lanes));
        absolute[1] = vd_add(absolute[1], vd_load_f32(lanes + FNN_VD));
    }
}

FNN_INLINE double fnn_penalty_sum(const bool with_l1, const bool with_l2, size_t n, double l1, double l2, const float *w)
{
    vd absolute[2] = {vd_set1(0.0), vd_set1(0.0)}, square[2] = {vd_set1(0.0), vd_set1(0.0)};
    size_t i = 0;
    for (; i + FNN_VF <= n; i += FNN_VF) fnn_penalty_add(with_l1, with_l2, w + i, absolute, square);
    if (i < n) {
        float last[FNN_VF]; /* zeros beyond the end */
        vf_store(last, vf_load_t(w + i, vt_first(n - i)));
        fnn_penalty_add(with_l1, with_l2, last, absolute, square);
    }
    double value = 0.0;
    if (with_l1) value += l1 * vd_sum(vd_add(absolute[0], absolute[1]));
    if (with_l2) value += 0.5 * l2 * vd_sum(vd_add(square[0], square[1]));
    return value;
}

static double fnn_penalty_forward(size_t n, double l1, double l2, const float *w)
{
    if (l1 != 0 && l2 != 0) return fnn_penalty_sum(true, true, n, l1, l2, w);
    if (l1 != 0) return fnn_penalty_sum(true, false, n, l1, l2, w);
    return l2 != 0 ? fnn_penalty_sum(false, true, n, l1, l2, w) : 0.0;
}

/* dw + l2 w + l1 sign(w); a NaN has no sign and stays one */
FNN_INLINE vf fnn_penalty_gradient(vf w, vf dw, const bool with_l1, vf l1, const bool with_l2, vf l2)
{
    if (with_l2) dw = vf_fma(l2, w, dw);
    if (with_l1) {
        const vf negative = vf_select(vf_lt(w, vf_zero()), vf_neg(l1), w); /* 0 or NaN where neither holds */
        dw = vf_add(dw, vf_select(vf_lt(vf_zero(), w), l1, negative));
    }
    return dw;
}

FNN_INLINE void fnn_penalty_loop(const bool with_l1, const bool with_l2, size_t n, float l1, float l2, const float *w, float *dw)
{
    const vf a = vf_set1(l1), b = vf_set1(l2);
    size_t i = 0;
    for (; i + FNN_VF <= n; i += FNN_VF)
        vf_store(dw + i, fnn_penalty_gradient(vf_load(w + i), vf_load(dw + i), with_l1, a, with_l2, b));
    if (i < n) {
        const vt t = vt_first(n - i);
        vf_store_t(dw + i, fnn_penalty_gradient(vf_load_t(w + i, t), vf_load_t(dw + i, t), with_l1, a, with_l2, b), t);
    }
}

static void fnn_penalty_backward(size_t n, float l1, float l2, const float *w, float *dw)
{
    if (l1 != 0 && l2 != 0)
        fnn_penalty_loop(true, true, n, l1, l2, w, dw);
    else if (l1 != 0)
        fnn_penalty_loop(true, false, n, l1, l2, w, dw);
    else if (l2 != 0)
        fnn_penalty_loop(false, true, n, l1, l2, w, dw);
}

#endif
