/* For tests and benches: an elementary function over an array, a loop of nothing but fused multiply-adds, and one of
 * nothing but memory. */
#ifndef FNN_KERNELS_MEASURE_H
#define FNN_KERNELS_MEASURE_H

#include "../simd/real.h"

static void fnn_math_map(fnn_math f, size_t n, const real *x, real *y)
{
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i);
        vec v = v_load_t(x + i, t);
        v = f == FNN_MATH_EXP ? v_exp(v) : f == FNN_MATH_LOG ? v_log(v) : f == FNN_MATH_SIGMOID ? v_sigmoid(v) : v_tanh(v);
        v_store_t(y + i, v, t);
    }
}

/* n rounds of FNN_PEAK_NV independent chains of vectors, s <- 0.999 s + 0.001, with no memory. Returns the flops that this
 * took, the one place that counts them, and in *sum all lanes at the end. Every lane starts from a number of its own, and
 * goes into the sum: a compiler that sees two registers hold the same numbers computes one of them only. */
static size_t fnn_fma_peak(size_t n, double *sum)
{
    vec s[FNN_PEAK_NV];
    const vec a = v_set1(0.999), b = v_set1(0.001);
    FNN_UNROLL
    for (int i = 0; i < FNN_PEAK_NV; i++) s[i] = v_of_part(vi_add(vi_lanes(), vi_set1(i * FNN_LANES)), 0);
    for (size_t k = 0; k < n; k++) {
        FNN_UNROLL
        for (int i = 0; i < FNN_PEAK_NV; i++) s[i] = v_fma(s[i], a, b);
    }
    real total = 0.0;
    FNN_UNROLL
    for (int i = 0; i < FNN_PEAK_NV; i++) total += v_sum(s[i]);
    *sum = total;
    return n * FNN_PEAK_NV * FNN_LANES * 2;
}

/* The same from instructions that stand in the code one by one, and of one chain less: by what bench/ checks the peak. It
 * does nothing and returns 0 where there are no such instructions. */
static size_t fnn_fma_literal(size_t n, double *sum)
{
    *sum = 0.0;
#ifdef FNN_LITERAL_FMA
    enum { NV = FNN_PEAK_NV - 1 };
    vec s[NV];
    const vec a = v_set1(0.999), b = v_set1(0.001);
    FNN_UNROLL
    for (int i = 0; i < NV; i++) s[i] = v_of_part(vi_add(vi_lanes(), vi_set1(i * FNN_LANES)), 0);
    for (size_t k = 0; k < n; k++) {
        FNN_UNROLL
        for (int i = 0; i < NV; i++) s[i] = v_fma_literal(s[i], a, b);
    }
    real total = 0;
    FNN_UNROLL
    for (int i = 0; i < NV; i++) total += v_sum(s[i]);
    *sum = total;
    return n * NV * FNN_LANES * 2;
#else
    (void)n;
    return 0;
#endif
}

/* The memory traffic of an optimizer's update, and next to no arithmetic: all `count` arrays are read and all but the last
 * written, a <- (a + last) / 2. The elements beyond whole vectors are left alone. */
FNN_INLINE void fnn_stream(const size_t count, size_t n, real *const *arrays)
{
    const vec half = v_set1(0.5);
    real *a[FNN_STREAMS];
    for (size_t k = 0; k < count; k++) a[k] = arrays[k];
    for (size_t i = 0; i + FNN_LANES <= n; i += FNN_LANES) {
        const vec last = v_mul(half, v_load(a[count - 1] + i));
        FNN_UNROLL
        for (size_t k = 0; k + 1 < count; k++) v_store(a[k] + i, v_fma(half, v_load(a[k] + i), last));
    }
}

static void fnn_streams(size_t count, size_t n, real *const *arrays)
{
    switch (count) {
    case 2: fnn_stream(2, n, arrays); break;
    case 3: fnn_stream(3, n, arrays); break;
    case 4: fnn_stream(4, n, arrays); break;
    case 5: fnn_stream(5, n, arrays); break;
    case 6: fnn_stream(6, n, arrays); break;
    default: break;
    }
}

#endif
