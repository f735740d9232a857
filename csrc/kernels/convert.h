/* Rows of the user's data to the compute type: out = (real)((double)value * scale + shift), the product and the sum each rounded
 * in double, so that every ISA and NumPy give the same bits. Plain loops: the compiler vectorises them. */
#ifndef FNN_KERNELS_CONVERT_H
#define FNN_KERNELS_CONVERT_H

#include "../simd/real.h"

typedef struct { uint16_t bits; } fnn_half;

/* IEEE binary16: exponents are shifted by way of a float product, which normalises subnormals exactly. */
FNN_INLINE double fnn_half_value(fnn_half h)
{
    const uint32_t sign = (uint32_t)(h.bits & 0x8000u) << 16, magnitude = h.bits & 0x7FFFu;
    union { uint32_t bits; float value; } u = {.bits = magnitude << 13};
    u.value *= 0x1p112;
    if (magnitude >= 0x7C00u) u.bits = magnitude << 13 | 0x7F800000u; /* inf and NaN */
    u.bits |= sign;
    return (double)u.value;
}

#define FNN_PLAIN_VALUE(x) ((double)(x))

#define FNN_CONVERT(T, value)                                                                        \
    do {                                                                                             \
        const T *x = source;                                                                         \
        if (scale == 1.0 && shift == 0.0)                                                            \
            for (size_t i = 0; i < n; i++) out[i] = (real)value(x[i]);                              \
        else                                                                                         \
            for (size_t i = 0; i < n; i++) out[i] = (real)(value(x[i]) * scale + shift);            \
    } while (0)

/* source must be aligned to its type and must not overlap out. */
static void fnn_convert(fnn_dtype dtype, size_t n, const void *restrict source, double scale, double shift,
                        real *restrict out)
{
    if (dtype == FNN_PICK(FNN_F32, FNN_F64) && scale == 1.0 && shift == 0.0) {
        memcpy(out, source, n * sizeof(real));
        return;
    }
    switch (dtype) {
    case FNN_U8: FNN_CONVERT(uint8_t, FNN_PLAIN_VALUE); break;
    case FNN_I8: FNN_CONVERT(int8_t, FNN_PLAIN_VALUE); break;
    case FNN_U16: FNN_CONVERT(uint16_t, FNN_PLAIN_VALUE); break;
    case FNN_I16: FNN_CONVERT(int16_t, FNN_PLAIN_VALUE); break;
    case FNN_U32: FNN_CONVERT(uint32_t, FNN_PLAIN_VALUE); break;
    case FNN_I32: FNN_CONVERT(int32_t, FNN_PLAIN_VALUE); break;
    case FNN_U64: FNN_CONVERT(uint64_t, FNN_PLAIN_VALUE); break;
    case FNN_I64: FNN_CONVERT(int64_t, FNN_PLAIN_VALUE); break;
    case FNN_F16: FNN_CONVERT(fnn_half, fnn_half_value); break;
    case FNN_F32: FNN_CONVERT(float, FNN_PLAIN_VALUE); break;
    case FNN_F64: FNN_CONVERT(double, FNN_PLAIN_VALUE); break;
    default: break;
    }
}

#undef FNN_CONVERT
#undef FNN_PLAIN_VALUE

/* No element is NaN or infinite: x - x is 0 for the finite ones and NaN for the others. */
static bool fnn_all_finite(size_t n, const real *x)
{
    uint32_t good = FNN_ALL_LANES;
    for (size_t i = 0; i < n; i += FNN_LANES) {
        const vec v = n - i >= FNN_LANES ? v_load(x + i) : v_load_t(x + i, vt_first(n - i));
        good &= vmask_bits(v_eq(v_sub(v, v), v_zero()));
    }
    return good == FNN_ALL_LANES;
}

#endif
