/* The compute type. Every kernel is written once, in terms of `real` and of the vocabulary below, and compiled twice for each
 * instruction set: for floats, and with FNN_DOUBLE for doubles. Nothing in it is named after a type, for nothing but its table
 * leaves its file (isa/table.h).
 *
 *   real    float or double                    FNN_LANES  16 or 8: lanes of a vec, which is 64 bytes in memory
 *   vec     vf or vd, with v_add and so on     FNN_VR     lanes of a vr
 *   vmask   a truth value per lane of a vec    vr         one register, of a tile
 *
 * FNN_PICK(a, b) is a for floats and b for doubles. */
#ifndef FNN_REAL_H
#define FNN_REAL_H

#ifdef FNN_DOUBLE
#define FNN_REAL double
#else
#define FNN_REAL float
#endif

#include "../kernels/kernels.h"
#include "simd.h"

#ifdef FNN_DOUBLE

#include "math_f64.h"
typedef vd vec;
typedef vdm vmask;
typedef vdr vr;
#define FNN_LANES FNN_VD
#define FNN_VR FNN_VDR
#define FNN_V(name) vd_##name
#define FNN_M(name) vdm_##name
#define FNN_R(name) vdr_##name
#define FNN_PICK(a, b) b

#else

#include "math_f32.h"
typedef vf vec;
typedef vm vmask;
typedef vfr vr;
#define FNN_LANES FNN_VF
#define FNN_VR FNN_VFR
#define FNN_V(name) vf_##name
#define FNN_M(name) vm_##name
#define FNN_R(name) vfr_##name
#define FNN_PICK(a, b) a

#endif

#define real_sqrt FNN_PICK(__builtin_sqrtf, __builtin_sqrt)
#define FNN_ALL_LANES FNN_PICK(0xFFFFu, 0xFFu) /* as the bits of a vmask */

#define v_zero FNN_V(zero)
#define v_set1 FNN_V(set1)
#define v_load FNN_V(load)
#define v_load_t FNN_V(load_t)
#define v_store FNN_V(store)
#define v_store_t FNN_V(store_t)
#define v_load_bytes FNN_V(load_bytes)
#define v_store_bytes FNN_V(store_bytes)
#define v_add FNN_V(add)
#define v_sub FNN_V(sub)
#define v_mul FNN_V(mul)
#define v_div FNN_V(div)
#define v_sqrt FNN_V(sqrt)
#define v_fma FNN_V(fma)
#define v_fnmadd FNN_V(fnmadd)
#define v_fma_literal FNN_V(fma_literal)
#define v_neg FNN_V(neg)
#define v_abs FNN_V(abs)
#define v_minus_abs FNN_V(minus_abs)
#define v_min2 FNN_V(min2)
#define v_max2 FNN_V(max2)
#define v_lt FNN_V(lt)
#define v_le FNN_V(le)
#define v_eq FNN_V(eq)
#define v_select FNN_V(select)
#define v_sum FNN_V(sum)
#define v_max FNN_V(max)
#define v_transpose FNN_V(transpose)

#define v_clamp FNN_V(clamp)
#define v_exp FNN_V(exp)
#define v_exp_negative FNN_V(exp_negative)
#define v_expm1_negative FNN_V(expm1_negative)
#define v_log FNN_V(log)
#define v_log1p_unit FNN_V(log1p_unit)
#define v_sigmoid FNN_V(sigmoid)
#define v_tanh FNN_V(tanh)
#define v_gelu FNN_V(gelu)
#define v_gelu_derivative FNN_V(gelu_derivative)
#define v_turn FNN_V(turn)

#define vmask_bits FNN_M(bits)
#define vmask_all FNN_M(all)
#define vmask_from_t FNN_M(from_t)
#define vmask_lane FNN_M(lane)

#define vr_zero FNN_R(zero)
#define vr_set1 FNN_R(set1)
#define vr_load FNN_R(load)
#define vr_load_t FNN_R(load_t)
#define vr_store FNN_R(store)
#define vr_store_t FNN_R(store_t)
#define vr_fma FNN_R(fma)
#define vr_zero_where_not_positive FNN_R(zero_where_not_positive)

/* Sixteen sums in double, whatever the type: the square of a float is exact there. vwide_sum adds lane i and i + 8, then folds as
 * vd_sum does. */
#define FNN_WIDE 16
typedef struct { vd low, high; } vwide;

/* Eight numbers in memory as doubles. */
FNN_INLINE vd vd_load_real(const real *p) { return FNN_PICK(vd_load_f32, vd_load)(p); }

FNN_INLINE vwide vwide_zero(void) { return (vwide){vd_set1(0.0), vd_set1(0.0)}; }
FNN_INLINE vwide vwide_load(const real *p) { return (vwide){vd_load_real(p), vd_load_real(p + FNN_VD)}; }
FNN_INLINE vwide vwide_add(vwide a, vwide b) { return (vwide){vd_add(a.low, b.low), vd_add(a.high, b.high)}; }
FNN_INLINE vwide vwide_mul(vwide a, vwide b) { return (vwide){vd_mul(a.low, b.low), vd_mul(a.high, b.high)}; }
FNN_INLINE vwide vwide_fma(vwide a, vwide b, vwide c)
{
    return (vwide){vd_fma(a.low, b.low, c.low), vd_fma(a.high, b.high, c.high)};
}
FNN_INLINE vwide vwide_abs(vwide a) { return (vwide){vd_abs(a.low), vd_abs(a.high)}; }
FNN_INLINE double vwide_sum(vwide a) { return vd_sum(vd_add(a.low, a.high)); }

/* What belongs to the lanes of vec number `part` among 16 lanes: truth values, and integers, converted. */
FNN_INLINE vmask vmask_of_part(vm m, size_t part) { return FNN_PICK(((void)part, m), vdm_from_half(m, part)); }
FNN_INLINE vec v_of_part(vi a, size_t part) { return FNN_PICK(((void)part, vi_convert(a)), vd_from_half(a, part)); }

/* The lanes of a vec, and zeros where it has eight. */
FNN_INLINE vwide v_widen(vec a)
{
    real lanes[FNN_WIDE] = {0};
    v_store(lanes, a);
    return vwide_load(lanes);
}

/* The vector at j of a row of n: the lanes beyond its end are 0, and are not written. */
FNN_INLINE vec fnn_row_load(const real *x, size_t j, size_t n)
{
    return j + FNN_LANES <= n ? v_load(x + j) : v_load_t(x + j, vt_first(n - j));
}

FNN_INLINE void fnn_row_store(real *y, size_t j, size_t n, vec v)
{
    if (j + FNN_LANES <= n)
        v_store(y + j, v);
    else
        v_store_t(y + j, v, vt_first(n - j));
}

/* A vector, whole or the lanes of t. Where `full` is a constant there is no branch. */
FNN_INLINE vec fnn_part_load(const bool full, const real *x, vt t) { return full ? v_load(x) : v_load_t(x, t); }

FNN_INLINE void fnn_part_store(const bool full, real *y, vec a, vt t)
{
    if (full)
        v_store(y, a);
    else
        v_store_t(y, a, t);
}

#endif
