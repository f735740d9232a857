/* Elementary functions on a vd, as math_f32.h has them on a vf.
 *
 * Largest errors found among doubles of all sizes: exp 0.97 ulp, log 0.89, sigmoid 2.4, tanh 2.6; right at +-0, +-inf, NaN and for
 * subnormal arguments and results; x Phi(x) is within 2^-52 max(1, |x|). The coefficients are minimax fits over the reduced range (Remez's algorithm, and for the quotient of polynomials
 * Lawson's, in extended precision), in relative error, rounded to double. Sources of the method as there. */
#ifndef FNN_SIMD_MATH_F64_H
#define FNN_SIMD_MATH_F64_H

#include "simd.h"

/* x, held to at most hi and at least lo; a NaN stays a NaN, since it compares false with both. */
FNN_INLINE vd vd_clamp(vd x, double lo, double hi)
{
    return vd_max2(vd_set1(lo), vd_min2(vd_set1(hi), x));
}

#define FNN_LN2_HIGH 0x1.62e42fefa38p-1 /* ln 2 in two parts: an exponent times the first is exact */
#define FNN_LN2_LOW 0x1.ef35793c7673p-45

/* e^x = 2^n (1 + p) with n = round(x / ln 2), r = x - n ln 2, |r| <= ln(2)/2, and p = e^r - 1 = r + r^2 P(r).
 * Returns p, n in *whole, and in *integer n as the low bits of a number. For |x| <= 746. */
FNN_INLINE vd vd_exp_reduced(vd x, vd *whole, vl *integer)
{
    const vd magic = vd_set1(0x1.8p52); /* adding it rounds to an integer, which then stands in the low bits */
    const vd shifted = vd_fma(x, vd_set1(0x1.71547652b82fep+0), magic);
    const vd n = vd_sub(shifted, magic);
    vd r = vd_fma(n, vd_set1(-FNN_LN2_HIGH), x);
    r = vd_fma(n, vd_set1(-FNN_LN2_LOW), r);
    vd p = vd_set1(0x1.1e3cdc283eb02p-29);
    p = vd_fma(p, r, vd_set1(0x1.af6c61272060ap-26));
    p = vd_fma(p, r, vd_set1(0x1.27e5b4f07216ap-22));
    p = vd_fma(p, r, vd_set1(0x1.71ddefdc82241p-19));
    p = vd_fma(p, r, vd_set1(0x1.a01a0135fd818p-16));
    p = vd_fma(p, r, vd_set1(0x1.a01a01b398ffdp-13));
    p = vd_fma(p, r, vd_set1(0x1.6c16c16c3077ep-10));
    p = vd_fma(p, r, vd_set1(0x1.111111110ec1ap-7));
    p = vd_fma(p, r, vd_set1(0x1.5555555555502p-5));
    p = vd_fma(p, r, vd_set1(0x1.555555555555bp-3));
    p = vd_fma(p, r, vd_set1(0.5));
    *whole = n;
    *integer = vl_sub(vd_bits(shifted), vd_bits(magic));
    return vd_fma(vd_mul(r, r), p, r);
}

/* 2^n for -1022 <= n <= 1023 */
FNN_INLINE vd vd_power_of_two(vl n) { return vl_double(vl_shl(vl_add(n, vl_set1(1023)), 52)); }

FNN_INLINE vd vd_exp(vd x)
{
    const vd magic = vd_set1(0x1.8p52);
    vd whole;
    vl n;
    const vd p = vd_exp_reduced(vd_clamp(x, -746.0, 710.0), &whole, &n); /* below rounds to 0, above to inf */
    /* 2^n as a product of two normal powers, so that results may be subnormal or infinite: one rounding, the last */
    const vl half = vl_sub(vd_bits(vd_add(vd_mul(whole, vd_set1(0.5)), magic)), vd_bits(magic));
    const vd y = vd_mul(vd_add(p, vd_set1(1.0)), vd_power_of_two(half));
    return vd_mul(y, vd_power_of_two(vl_sub(n, half)));
}

/* e^a for a <= 0. (Floats have a faster form.) */
FNN_INLINE vd vd_exp_negative(vd a) { return vd_exp(a); }

/* e^x - 1 = 2^n p + (2^n - 1) for x <= 0, which keeps its relative accuracy as x -> 0. */
FNN_INLINE vd vd_expm1_negative(vd x)
{
    vd whole;
    vl n;
    const vd p = vd_exp_reduced(vd_max2(vd_set1(-60.0), x), &whole, &n); /* below -37.5 it rounds to -1 */
    const vd scale = vd_power_of_two(n);
    return vd_fma(scale, p, vd_sub(scale, vd_set1(1.0)));
}

/* log(1 + f) - f for sqrt(1/2) <= 1 + f <= sqrt 2. With s = f / (2 + f) it is log((1 + s) / (1 - s)) = 2 s + s^3 P(s^2), and
 * 2 s = f - f^2/2 + s f^2/2. */
FNN_INLINE vd vd_log_tail(vd f)
{
    const vd s = vd_div(f, vd_add(f, vd_set1(2.0))), u = vd_mul(s, s), half = vd_mul(vd_mul(f, f), vd_set1(0.5));
    vd p = vd_set1(0x1.2f6176bb5a312p-3);
    p = vd_fma(p, u, vd_set1(0x1.399b98a681323p-3));
    p = vd_fma(p, u, vd_set1(0x1.74665678049dep-3));
    p = vd_fma(p, u, vd_set1(0x1.c71c527d19016p-3));
    p = vd_fma(p, u, vd_set1(0x1.2492493ff4824p-2));
    p = vd_fma(p, u, vd_set1(0x1.99999999843c4p-2));
    p = vd_fma(p, u, vd_set1(0x1.555555555557cp-1));
    return vd_sub(vd_mul(s, vd_fma(u, p, half)), half);
}

/* log x = e ln 2 + log(1 + f) with x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt 2. */
FNN_INLINE vd vd_log(vd x)
{
    const vdm tiny = vd_lt(x, vd_set1(0x1p-1022)); /* subnormal: scaled up; zero and negative: replaced below */
    const vd scaled = vd_select(tiny, vd_mul(x, vd_set1(0x1p54)), x);
    const vl root = vl_set1(0x3fe6a09e667f3bcd); /* the bits of sqrt(1/2) */
    const vl bits = vl_sub(vd_bits(scaled), root);
    /* the exponent, 1024 added to make it positive, becomes the last bits of 2^52 */
    const vl raised = vl_shr(vl_add(bits, vl_set1(INT64_C(1024) << 52)), 52);
    vd e = vd_sub(vl_double(vl_or(raised, vd_bits(vd_set1(0x1p52)))), vd_set1(0x1p52 + 1024.0));
    e = vd_sub(e, vd_select(tiny, vd_set1(54.0), vd_zero()));
    const vd f = vd_sub(vl_double(vl_add(vl_and(bits, vl_set1(0x000fffffffffffff)), root)), vd_set1(1.0));
    vd y = vd_fma(e, vd_set1(FNN_LN2_LOW), vd_log_tail(f));
    y = vd_fma(e, vd_set1(FNN_LN2_HIGH), vd_add(y, f));
    const vd inf = vd_set1(__builtin_inf());
    y = vd_select(vd_eq(x, inf), inf, y);
    y = vd_select(vd_eq(x, vd_zero()), vd_neg(inf), y);
    /* negative or NaN: not (0 <= x) */
    return vd_select(vd_le(vd_zero(), x), y, vd_set1(__builtin_nan("")));
}

/* log(1 + e) for 0 <= e <= 1. Above sqrt 2 - 1 one power of two is taken out: 1 + e = 2 (1 + f), f = (e - 1) / 2. */
FNN_INLINE vd vd_log1p_unit(vd e)
{
    const vdm far = vd_lt(vd_set1(0x1.a827999fcef32p-2), e);
    const vd f = vd_select(far, vd_mul(vd_sub(e, vd_set1(1.0)), vd_set1(0.5)), e);
    return vd_add(vd_add(vd_log_tail(f), f), vd_select(far, vd_set1(0x1.62e42fefa39efp-1), vd_zero()));
}

/* 1 / (1 + e^-x), by way of e^-|x|, which cannot overflow. */
FNN_INLINE vd vd_sigmoid(vd x)
{
    const vd e = vd_exp(vd_minus_abs(x));
    const vd numerator = vd_select(vd_lt(x, vd_zero()), e, vd_set1(1.0));
    return vd_div(numerator, vd_add(vd_set1(1.0), e));
}

/* tanh |x| = |t| / (t + 2) with t = e^(-2|x|) - 1 <= 0; beyond 19.1 it rounds to 1. */
FNN_INLINE vd vd_tanh(vd x)
{
    const vd t = vd_expm1_negative(vd_mul(vd_abs(x), vd_set1(-2.0)));
    const vd y = vd_div(vd_abs(t), vd_add(t, vd_set1(2.0)));
    return vl_double(vl_xor(vd_bits(y), vl_and(vd_bits(x), vl_set1(INT64_MIN))));
}

/* The normal distribution Phi(x) for |x| <= 39, beyond which it has become 0 or 1, and in *decay e^(-x^2/2). With a = |x| it is
 * e^(-a^2/2) P(a) / Q(a) below 0; all coefficients are positive, so that nothing cancels. What a^2 lost in rounding is put
 * back. */
#define FNN_NORMAL_END 39.0
FNN_INLINE vd vd_normal_distribution(vd x, vd *decay)
{
    const vd a = vd_abs(x), square = vd_mul(a, a), lost = vd_fma(a, a, vd_neg(square));
    vd h = vd_exp(vd_mul(square, vd_set1(-0.5)));
    h = vd_fnmadd(h, vd_mul(lost, vd_set1(0.5)), h);
    vd p = vd_set1(0x1.73f9bed6a102ep-20), q = vd_set1(0x1.d233c5e4f578bp-19);
    q = vd_fma(q, a, vd_set1(0x1.87ad5bc8acbdep-14));
    p = vd_fma(p, a, vd_set1(0x1.38835f832a2a4p-15));
    q = vd_fma(q, a, vd_set1(0x1.432a2530296c3p-10));
    p = vd_fma(p, a, vd_set1(0x1.011f1e29d9286p-11));
    q = vd_fma(q, a, vd_set1(0x1.52f23cd0108fcp-7));
    p = vd_fma(p, a, vd_set1(0x1.0bff9b4a302ccp-8));
    q = vd_fma(q, a, vd_set1(0x1.ef15c062700a8p-5));
    p = vd_fma(p, a, vd_set1(0x1.8307f0154e902p-6));
    q = vd_fma(q, a, vd_set1(0x1.05144161a46e5p-2));
    p = vd_fma(p, a, vd_set1(0x1.902d63eddae81p-4));
    q = vd_fma(q, a, vd_set1(0x1.906774ee0295ap-1));
    p = vd_fma(p, a, vd_set1(0x1.2846e49605ed3p-2));
    q = vd_fma(q, a, vd_set1(0x1.b6e18e8a336ecp+0));
    p = vd_fma(p, a, vd_set1(0x1.3026dd91bc3dep-1));
    q = vd_fma(q, a, vd_set1(0x1.47d679c7a744cp+1));
    p = vd_fma(p, a, vd_set1(0x1.8cbc482e01d72p-1));
    q = vd_fma(q, a, vd_set1(0x1.2c7f38e651c36p+1));
    p = vd_fma(p, a, vd_set1(0.5));
    q = vd_fma(q, a, vd_set1(1.0));
    const vd tail = vd_mul(h, vd_div(p, q));
    *decay = h;
    return vd_select(vd_lt(x, vd_zero()), tail, vd_sub(vd_set1(1.0), tail));
}

/* z Phi(z) */
FNN_INLINE vd vd_gelu(vd z)
{
    vd decay;
    z = vd_max2(vd_set1(-FNN_NORMAL_END), z);
    return vd_mul(z, vd_normal_distribution(vd_min2(vd_set1(FNN_NORMAL_END), z), &decay));
}

/* Phi(z) + z phi(z), z held to where the density is 0, so that an infinity makes no 0 x inf. */
FNN_INLINE vd vd_gelu_derivative(vd z)
{
    vd decay;
    z = vd_clamp(z, -FNN_NORMAL_END, FNN_NORMAL_END);
    const vd distribution = vd_normal_distribution(z, &decay);
    return vd_fma(z, vd_mul(decay, vd_set1(0x1.9884533d43651p-2)), distribution);
}

/* cos 2 pi v and sin 2 pi v for 0 <= v < 1: the nearest quarter turn off, then sin t = t + t^3 S(t^2) and
 * cos t = 1 - t^2 / 2 + t^4 C(t^2) in t = 2 pi r, |t| <= pi / 4. */
FNN_INLINE void vd_turn(vd v, vd *cosine, vd *sine)
{
    const vd magic = vd_set1(0x1.8p52);
    const vd shifted = vd_fma(v, vd_set1(4.0), magic);
    const vl quarter = vl_sub(vd_bits(shifted), vd_bits(magic));
    const vd r = vd_fma(vd_sub(shifted, magic), vd_set1(-0.25), v);
    const vd t = vd_mul(r, vd_set1(0x1.921fb54442d18p+2)), t2 = vd_mul(t, t);
    vd s = vd_set1(0x1.5d87440c808f7p-33);
    s = vd_fma(s, t2, vd_set1(-0x1.ae5e4bb84bca2p-26));
    s = vd_fma(s, t2, vd_set1(0x1.71de356eb0de6p-19));
    s = vd_fma(s, t2, vd_set1(-0x1.a01a019c2fea4p-13));
    s = vd_fma(s, t2, vd_set1(0x1.111111110fb4ap-7));
    s = vd_fma(s, t2, vd_set1(-0x1.555555555554cp-3));
    s = vd_fma(vd_mul(s, t2), t, t);
    vd c = vd_set1(-0x1.8ff9ad8c46d75p-37);
    c = vd_fma(c, t2, vd_set1(0x1.1eea890e2e216p-29));
    c = vd_fma(c, t2, vd_set1(-0x1.27e4f903ab84cp-22));
    c = vd_fma(c, t2, vd_set1(0x1.a01a019e24894p-16));
    c = vd_fma(c, t2, vd_set1(-0x1.6c16c16c16131p-10));
    c = vd_fma(c, t2, vd_set1(0x1.5555555555553p-5));
    c = vd_fma(c, t2, vd_set1(-0.5));
    c = vd_fma(c, t2, vd_set1(1.0));
    /* quarter 0: (c, s), 1: (-s, c), 2: (-c, -s), 3: (s, -c) */
    const vdm odd = vd_lt(vd_zero(), vl_double(vl_shr(vl_shl(quarter, 63), 2))); /* the lowest bit, as a number above 0 */
    const vl cosine_sign = vl_shl(vl_and(vl_add(quarter, vl_set1(1)), vl_set1(2)), 62);
    const vl sine_sign = vl_shl(vl_and(quarter, vl_set1(2)), 62);
    *cosine = vl_double(vl_xor(vd_bits(vd_select(odd, s, c)), cosine_sign));
    *sine = vl_double(vl_xor(vd_bits(vd_select(odd, c, s)), sine_sign));
}

#endif
