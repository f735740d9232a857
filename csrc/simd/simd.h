/* The vector vocabulary: one small set of names, written once per instruction set.
 *
 * A kernel is written once against this vocabulary and compiled once for each ISA. The width is *virtual*: `vf` is
 * always 16 floats and `vd` always 8 doubles, whatever the registers are, so that an order of addition that depends
 * on the lane is the same everywhere. The FMA-capable sets (AVX2, AVX-512) give the same bits for every function
 * here; generic has no fused multiply-add and rounds twice in `vf_fma`.
 *
 *   vf  16 floats      vd  8 doubles      vi  16 int32      vm  a truth value per lane of a vf
 *   vm_lane(i): true in lane i only (in none where i >= 16)
 *   vt  "the first n lanes", made by vt_first(n), for the last, partial vector of a row
 *
 * A comparison of vd makes a truth value of its own type, for vd_select.
 * Comparisons are ordered (false on NaN) and vf_select(m, a, b) is m ? a : b. vf_min2(a, b) is a < b ? a : b and
 * vf_max2(a, b) is a > b ? a : b: of a NaN and a number, the second. vf_load_t fills the lanes it does not
 * read with zero and never touches their memory; vf_store_t writes no other lane.
 *
 * What this is not: a general vector library. A function enters when a kernel needs it. */
#ifndef FNN_SIMD_H
#define FNN_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FNN_VF 16 /* lanes of vf */
#define FNN_VD 8  /* lanes of vd */

#if defined(__SANITIZE_ADDRESS__) || defined(FNN_NO_INLINE) /* inlined, the sanitizers' checks take gcc many minutes */
#define FNN_INLINE static inline
#else
#define FNN_INLINE static inline __attribute__((always_inline))
#endif

/* In front of a loop of a constant number of rounds, at most 16: unrolled whole, so that arrays it goes through can be registers;
 * or left as it is. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* some loops are as long as their last part is */
#define FNN_UNROLL _Pragma("clang loop unroll(full)")
#define FNN_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define FNN_UNROLL _Pragma("GCC unroll 16")
#define FNN_ROLLED _Pragma("GCC unroll 1")
#endif

#if defined(FNN_ISA_AVX512)
#include "avx512.h"
#elif defined(FNN_ISA_AVX2)
#include "avx2.h"
#elif defined(FNN_ISA_NEON)
#include "neon.h"
#elif defined(FNN_ISA_GENERIC)
#include "generic.h"
#else
#error "simd.h is for the files of csrc/isa/, which say which instruction set they are"
#endif

/* What can be said in terms of the above, once. */

/* One register of a tile: what a vf is, but where that is several. */
#ifndef FNN_VR
#define FNN_VR FNN_VF
typedef vf vr;
FNN_INLINE vr vr_zero(void) { return vf_zero(); }
FNN_INLINE vr vr_set1(float a) { return vf_set1(a); }
FNN_INLINE vr vr_load(const float *p) { return vf_load(p); }
FNN_INLINE void vr_store(float *p, vr a) { vf_store(p, a); }
FNN_INLINE vr vr_load_t(const float *p, vt t) { return vf_load_t(p, t); }
FNN_INLINE void vr_store_t(float *p, vr a, vt t) { vf_store_t(p, a, t); }
FNN_INLINE vr vr_fma(vr a, vr b, vr c) { return vf_fma(a, b, c); }
FNN_INLINE vr vr_zero_where_not_positive(vr a, vr y) { return vf_select(vf_le(y, vf_zero()), vf_zero(), a); }
#endif

FNN_INLINE vf vf_neg(vf a) { return vi_float(vi_xor(vf_bits(a), vi_set1(INT32_MIN))); }
FNN_INLINE vf vf_minus_abs(vf a) { return vi_float(vi_or(vf_bits(a), vi_set1(INT32_MIN))); }
FNN_INLINE vf vf_abs(vf a) { return vi_float(vi_and(vf_bits(a), vi_set1(INT32_MAX))); }

#endif
