/* Elementary functions on a vf, each written once for every ISA: exp, expm1, log, log1p, tanh, sigmoid, erf.
 *
 * Largest errors found among floats of all sizes: exp 1.01 ulp, log 0.87, sigmoid 3.23 (3.55 without FMA), tanh 2.50; right at
 * +-0, +-inf, NaN and for subnormal arguments and results; x (1 + erf(x / sqrt 2)) / 2 is within 2^-22 max(1, |x|). Division is
 * the true one: reciprocal estimates differ between vendors.
 * The coefficients are minimax fits over the reduced range (Lawson's algorithm in extended precision), in relative error but
 * for erf's, rounded to float. Sources of the method: Cody & Waite, Software Manual for the Elementary Functions, 1980 (range
 * reduction); Muller, Elementary Functions, 3rd ed., 2016. */
#ifndef FNN_SIMD_MATH_H
#define FNN_SIMD_MATH_H

#include "simd.h"

/* x, held to at most hi and at least lo; a NaN stays a NaN, since it compares false with both. */
FNN_INLINE vf vf_clamp(vf x, float lo, float hi)
{
    return vf_max2(vf_set1(lo), vf_min2(vf_set1(hi), x));
}

/* e^x = 2^n (1 + p) with n = round(x / ln 2), r = x - n ln 2, |r| <= ln(2)/2, and p = e^r - 1 = r + r^2 P(r).
 * Returns p and stores n. For |x| <= 104. */
FNN_INLINE vf vf_exp_reduced(vf x, vi *n)
{
    const vf magic = vf_set1(0x1.8p23f); /* adding it rounds to an integer, which then stands in the low bits */
    const vf shifted = vf_fma(x, vf_set1(0x1.715476p+0f), magic);
    const vf whole = vf_sub(shifted, magic);
    vf r = vf_fma(whole, vf_set1(-0x1.62e400p-1f), x); /* ln 2 in two parts: n times the first is exact */
    r = vf_fma(whole, vf_set1(-0x1.7f7d1cp-20f), r);
    vf p = vf_set1(0.00138145406f);
    p = vf_fma(p, r, vf_set1(0.00836874545f));
    p = vf_fma(p, r, vf_set1(0.041668389f));
    p = vf_fma(p, r, vf_set1(0.166665211f));
    p = vf_fma(p, r, vf_set1(0.49999994f));
    *n = vi_sub(vf_bits(shifted), vf_bits(magic));
    return vf_fma(vf_mul(r, r), p, r);
}

/* 2^n for -126 <= n <= 127 */
FNN_INLINE vf vf_power_of_two(vi n) { return vi_float(vi_shl(vi_add(n, vi_set1(127)), 23)); }

FNN_INLINE vf vf_exp(vf x)
{
    vi n;
    const vf p = vf_exp_reduced(vf_clamp(x, -104.0f, 89.0f), &n); /* below rounds to 0, above to inf */
    /* 2^n as a product of two normal powers, so that results may be subnormal or infinite: one rounding, the last */
    const vi half = vi_sar(n, 1);
    const vf y = vf_mul(vf_add(p, vf_set1(1.0f)), vf_power_of_two(half));
    return vf_mul(y, vf_power_of_two(vi_sub(n, half)));
}

/* P(f) = (log(1 + f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f < sqrt 2. */
FNN_INLINE vf vf_log_tail(vf f)
{
    vf p = vf_set1(-0.0763450041f);
    p = vf_fma(p, f, vf_set1(0.127615824f));
    p = vf_fma(p, f, vf_set1(-0.131601825f));
    p = vf_fma(p, f, vf_set1(0.142017573f));
    p = vf_fma(p, f, vf_set1(-0.166233569f));
    p = vf_fma(p, f, vf_set1(0.200012267f));
    p = vf_fma(p, f, vf_set1(-0.250008196f));
    return vf_fma(p, f, vf_set1(0.333333313f));
}

/* log x = e ln 2 + log(1 + f) with x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt 2; log(1 + f) = f - f^2/2 + f^3 P(f). */
FNN_INLINE vf vf_log(vf x)
{
    const vm tiny = vf_lt(x, vf_set1(0x1p-126f)); /* subnormal: scaled up; zero and negative: replaced below */
    const vf scaled = vf_select(tiny, vf_mul(x, vf_set1(0x1p23f)), x);
    const vi bits = vi_sub(vf_bits(scaled), vi_set1(0x3f3504f3)); /* the bits of sqrt(1/2) */
    vf e = vi_convert(vi_sar(bits, 23));
    e = vf_sub(e, vf_select(tiny, vf_set1(23.0f), vf_zero()));
    const vf f = vf_sub(vi_float(vi_add(vi_and(bits, vi_set1(0x007fffff)), vi_set1(0x3f3504f3))), vf_set1(1.0f));
    const vf f2 = vf_mul(f, f);
    vf y = vf_mul(vf_mul(f, f2), vf_log_tail(f));
    y = vf_fma(e, vf_set1(0x1.7f7d1cp-20f), y); /* the small part of ln 2 first */
    y = vf_fma(f2, vf_set1(-0.5f), y);
    y = vf_add(y, f);
    y = vf_fma(e, vf_set1(0x1.62e400p-1f), y);
    const vf inf = vf_set1(__builtin_inff());
    y = vf_select(vf_eq(x, inf), inf, y);
    y = vf_select(vf_eq(x, vf_zero()), vf_neg(inf), y);
    /* negative or NaN: not (0 <= x) */
    return vf_select(vf_le(vf_zero(), x), y, vf_set1(__builtin_nanf("")));
}

/* log(1 + e) for 0 <= e <= 1. Above sqrt 2 - 1 one power of two is taken out: 1 + e = 2 (1 + f), f = (e - 1) / 2. */
FNN_INLINE vf vf_log1p_unit(vf e)
{
    const vm far = vf_lt(vf_set1(0x1.a8279ap-2f), e);
    const vf f = vf_select(far, vf_mul(vf_sub(e, vf_set1(1.0f)), vf_set1(0.5f)), e);
    const vf f2 = vf_mul(f, f);
    vf y = vf_mul(vf_mul(f, f2), vf_log_tail(f));
    y = vf_fma(f2, vf_set1(-0.5f), y);
    return vf_add(vf_add(y, f), vf_select(far, vf_set1(0x1.62e430p-1f), vf_zero()));
}

/* e^a for a <= 0, as 2^n e^r like vf_exp but with a few operations less, for the functions of -|x|; within 3 ulp.
 * While every result is a normal number, n is added to the exponent's bits; a vector with others (NaN among them) goes
 * through products of powers of two, which give the same bits where both can. */
FNN_INLINE vf vf_exp_negative(vf a)
{
    const vf magic = vf_set1(0x1.8p23f);
    const vm normal = vf_le(vf_set1(-86.0f), a);
    const bool all = vm_all(normal);
    if (!all) a = vf_max2(vf_set1(-104.0f), a);
    const vf shifted = vf_fma(a, vf_set1(0x1.715476p+0f), magic);
    const vf whole = vf_sub(shifted, magic);
    vf r = vf_fma(whole, vf_set1(-0x1.62e400p-1f), a);
    r = vf_fma(whole, vf_set1(-0x1.7f7d1cp-20f), r);
    vf p = vf_set1(0x1.0fa7d8p-7f);
    p = vf_fma(p, r, vf_set1(0x1.573ad0p-5f));
    p = vf_fma(p, r, vf_set1(0x1.555a6ep-3f));
    p = vf_fma(p, r, vf_set1(0x1.fffdc4p-2f));
    p = vf_fma(p, r, vf_set1(0x1.fffff6p-1f));
    p = vf_fma(p, r, vf_set1(1.0f));
    if (all) return vi_float(vi_add(vf_bits(p), vi_shl(vf_bits(shifted), 23)));
    const vi n = vi_sub(vf_bits(shifted), vf_bits(magic)), half = vi_sar(n, 1);
    return vf_mul(vf_mul(p, vf_power_of_two(half)), vf_power_of_two(vi_sub(n, half)));
}

/* 1 / (1 + e^-x), by way of e^-|x|, which cannot overflow. */
FNN_INLINE vf vf_sigmoid(vf x)
{
    const vf e = vf_exp_negative(vf_minus_abs(x));
    const vf numerator = vf_select(vf_lt(x, vf_zero()), e, vf_set1(1.0f));
    return vf_div(numerator, vf_add(vf_set1(1.0f), e));
}

/* e^x - 1 = 2^n p + (2^n - 1) for x <= 0, which keeps its relative accuracy as x -> 0. */
FNN_INLINE vf vf_expm1_negative(vf x)
{
    vi n;
    const vf p = vf_exp_reduced(vf_max2(vf_set1(-30.0f), x), &n); /* below -17.4 it rounds to -1 */
    const vf scale = vf_power_of_two(n);
    return vf_fma(scale, p, vf_sub(scale, vf_set1(1.0f)));
}

/* erf(x / sqrt 2) = x P(x^2) / Q(x^2) for |x| <= FNN_ERF_END, where it has become 1. */
#define FNN_ERF_END 5.5f
FNN_INLINE vf vf_erf_sqrt1_2(vf x)
{
    x = vf_clamp(x, -FNN_ERF_END, FNN_ERF_END);
    const vf u = vf_mul(x, x);
    vf p = vf_set1(0x1.86d4a4p-25f), q = vf_set1(0x1.4173dcp-20f);
    p = vf_fma(p, u, vf_set1(0x1.aa48cep-17f));
    q = vf_fma(q, u, vf_set1(0x1.34e6e8p-14f));
    p = vf_fma(p, u, vf_set1(0x1.620e56p-12f));
    q = vf_fma(q, u, vf_set1(0x1.edff7ap-10f));
    p = vf_fma(p, u, vf_set1(0x1.32878ep-7f));
    q = vf_fma(q, u, vf_set1(0x1.d555d0p-6f));
    p = vf_fma(p, u, vf_set1(0x1.15526ap-4f));
    q = vf_fma(q, u, vf_set1(0x1.018f0cp-2f));
    p = vf_fma(p, u, vf_set1(0x1.988450p-1f));
    q = vf_fma(q, u, vf_set1(1.0f));
    return vf_div(vf_mul(x, p), q);
}

/* tanh |x| = |t| / (t + 2) with t = e^(-2|x|) - 1 = 2^n p + (2^n - 1) <= 0, which keeps its relative accuracy as x -> 0. */
FNN_INLINE vf vf_tanh(vf x)
{
    const vf a = vf_abs(x);
    vi n;
    const vf p = vf_exp_reduced(vf_mul(vf_min2(vf_set1(10.0f), a), vf_set1(-2.0f)), &n); /* beyond 9.02 it rounds to 1 */
    const vf scale = vf_power_of_two(n);
    const vf t = vf_fma(scale, p, vf_sub(scale, vf_set1(1.0f)));
    const vf y = vf_div(vf_abs(t), vf_add(t, vf_set1(2.0f)));
    return vi_float(vi_xor(vf_bits(y), vi_and(vf_bits(x), vi_set1(INT32_MIN))));
}

#endif
