/* Elementary functions on a vf, each written once for every ISA: exp, expm1, log, log1p, tanh, sigmoid, erf, sine and cosine.
 *
 * Largest errors found among floats of all sizes: exp 1.01 ulp, log 0.87, sigmoid 3.23 (3.55 without FMA), tanh 2.50; right at
 * +-0, +-inf, NaN and for subnormal arguments and results; x (1 + erf(x / sqrt 2)) / 2 is within 2^-22 max(1, |x|). Division is
 * the true one: reciprocal estimates differ between vendors.
 * The coefficients are minimax fits over the reduced range (Lawson's algorithm in extended precision), in relative error but
 * for erf's, rounded to float. Sources of the method: Cody & Waite, Software Manual for the Elementary Functions, 1980 (range
 * reduction); Muller, Elementary Functions, 3rd ed., 2016. */
#ifndef FNN_SIMD_MATH_F32_H
#define FNN_SIMD_MATH_F32_H

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

/* z (1 + erf(z / sqrt 2)) / 2 */
FNN_INLINE vf vf_gelu(vf z)
{
    const vf half = vf_mul(vf_set1(0.5f), z);
    const vf y = vf_fma(half, vf_erf_sqrt1_2(z), half);
    return vf_select(vf_lt(z, vf_set1(-FNN_ERF_END)), vf_set1(-0.0f), y);
}

/* z held to where z times a density is still 0, so that an infinity makes no 0 x inf; e^(-x^2/2) / sqrt(2 pi). */
FNN_INLINE vf vf_gelu_derivative(vf z)
{
    z = vf_clamp(z, -15.0f, 15.0f);
    vf distribution = vf_fma(vf_erf_sqrt1_2(z), vf_set1(0.5f), vf_set1(0.5f));
    distribution = vf_select(vf_lt(z, vf_set1(-FNN_ERF_END)), vf_zero(), distribution);
    const vf density = vf_mul(vf_exp_negative(vf_mul(vf_mul(z, z), vf_set1(-0.5f))), vf_set1(0.398942280f));
    return vf_fma(z, density, distribution);
}

/* cos 2 pi v and sin 2 pi v for 0 <= v < 1: the nearest quarter turn off, then polynomials in t = 2 pi r, |t| <= pi / 4.
 * The coefficients interpolate (sin t - t) / t^3 and (cos t - 1 + t^2 / 2) / t^4 at Chebyshev's points: below 1e-7. */
FNN_INLINE void vf_turn(vf v, vf *cosine, vf *sine)
{
    const vf magic = vf_set1(0x1.8p23f);
    const vf shifted = vf_fma(v, vf_set1(4.0f), magic);
    const vi quarter = vi_sub(vf_bits(shifted), vf_bits(magic));
    const vf r = vf_fma(vf_sub(shifted, magic), vf_set1(-0.25f), v);
    const vf t = vf_mul(r, vf_set1(6.28318530717958648f)), t2 = vf_mul(t, t);
    vf s = vf_set1(-1.958789e-04f);
    s = vf_fma(s, t2, vf_set1(8.332748e-03f));
    s = vf_fma(s, t2, vf_set1(-1.6666664e-01f));
    s = vf_fma(vf_mul(s, t2), t, t);
    vf c = vf_set1(2.4547942e-05f);
    c = vf_fma(c, t2, vf_set1(-1.3888302e-03f));
    c = vf_fma(c, t2, vf_set1(4.1666664e-02f));
    c = vf_fma(c, t2, vf_set1(-0.5f));
    c = vf_fma(c, t2, vf_set1(1.0f));
    /* quarter 0: (c, s), 1: (-s, c), 2: (-c, -s), 3: (s, -c) */
    const vm odd = vi_eq(vi_and(quarter, vi_set1(1)), vi_set1(1));
    const vi cosine_sign = vi_shl(vi_and(vi_add(quarter, vi_set1(1)), vi_set1(2)), 30);
    const vi sine_sign = vi_shl(vi_and(quarter, vi_set1(2)), 30);
    *cosine = vi_float(vi_xor(vf_bits(vf_select(odd, s, c)), cosine_sign));
    *sine = vi_float(vi_xor(vf_bits(vf_select(odd, c, s)), sine_sign));
}

#endif
