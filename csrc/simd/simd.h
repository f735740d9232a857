/* The vector vocabulary: one small set of names, written once per instruction set.
 *
 * A kernel is written once against this vocabulary and compiled once for each ISA. The width is *virtual*: `vf` is
 * always 16 floats and `vd` always 8 doubles, whatever the registers are, so that an order of addition that depends
 * on the lane is the same everywhere. The FMA-capable sets (AVX2, AVX-512, NEON) give the same bits for every function
 * here; generic has no fused multiply-add and rounds twice in `vf_fma`.
 *
 *   vf  16 floats      vi  16 int32      vm   a truth value per lane of a vf      vfr  one register of floats
 *   vd  8 doubles      vl  8 int64       vdm  a truth value per lane of a vd      vdr  one register of doubles
 *   vm_lane(i): true in lane i only (in none where there is no such lane)
 *   vt  "the first n lanes", made by vt_first(n), for the last, partial vector of a row
 *
 * Kernels say vec, v_add and so on, which real.h makes names of the floats' or of the doubles' vocabulary.
 * Comparisons are ordered (false on NaN) and vf_select(m, a, b) is m ? a : b. vf_min2(a, b) is a < b ? a : b and
 * vf_max2(a, b) is a > b ? a : b: of a NaN and a number, the second. vf_load_t fills the lanes it does not
 * read with zero and never touches their memory; vf_store_t writes no other lane. vf_load_bytes and vf_store_bytes turn whole numbers
 * from 0 to 255, a byte each, into lanes and back.
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

/* For sets whose vf is four registers, of types T {q[4]}: expression(i) of each quarter. Not a loop: until a compiler has unrolled
 * one, the quarters live in memory, and gcc then takes three times as long over the instruction set. */
#define FNN_QUARTER(n, expression) __extension__({ enum { i = n }; (expression); })
#define FNN_QUARTERS(T, expression) \
    return (T) {{ FNN_QUARTER(0, expression), FNN_QUARTER(1, expression), FNN_QUARTER(2, expression), FNN_QUARTER(3, expression) }}

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

/* One register of a tile: what a vf or a vd is, but where that is several. */
#ifndef FNN_VFR
#define FNN_VFR FNN_VF
#define FNN_VDR FNN_VD
typedef vf vfr;
FNN_INLINE vfr vfr_zero(void) { return vf_zero(); }
FNN_INLINE vfr vfr_set1(float a) { return vf_set1(a); }
FNN_INLINE vfr vfr_load(const float *p) { return vf_load(p); }
FNN_INLINE void vfr_store(float *p, vfr a) { vf_store(p, a); }
FNN_INLINE vfr vfr_load_t(const float *p, vt t) { return vf_load_t(p, t); }
FNN_INLINE void vfr_store_t(float *p, vfr a, vt t) { vf_store_t(p, a, t); }
FNN_INLINE vfr vfr_fma(vfr a, vfr b, vfr c) { return vf_fma(a, b, c); }
FNN_INLINE vfr vfr_zero_where_not_positive(vfr a, vfr y) { return vf_select(vf_le(y, vf_zero()), vf_zero(), a); }
typedef vd vdr;
FNN_INLINE vdr vdr_zero(void) { return vd_zero(); }
FNN_INLINE vdr vdr_set1(double a) { return vd_set1(a); }
FNN_INLINE vdr vdr_load(const double *p) { return vd_load(p); }
FNN_INLINE void vdr_store(double *p, vdr a) { vd_store(p, a); }
FNN_INLINE vdr vdr_load_t(const double *p, vt t) { return vd_load_t(p, t); }
FNN_INLINE void vdr_store_t(double *p, vdr a, vt t) { vd_store_t(p, a, t); }
FNN_INLINE vdr vdr_fma(vdr a, vdr b, vdr c) { return vd_fma(a, b, c); }
FNN_INLINE vdr vdr_zero_where_not_positive(vdr a, vdr y) { return vd_select(vd_le(y, vd_zero()), vd_zero(), a); }
#endif

FNN_INLINE vf vf_neg(vf a) { return vi_float(vi_xor(vf_bits(a), vi_set1(INT32_MIN))); }
FNN_INLINE vf vf_minus_abs(vf a) { return vi_float(vi_or(vf_bits(a), vi_set1(INT32_MIN))); }
FNN_INLINE vf vf_abs(vf a) { return vi_float(vi_and(vf_bits(a), vi_set1(INT32_MAX))); }

FNN_INLINE vd vd_neg(vd a) { return vl_double(vl_xor(vd_bits(a), vl_set1(INT64_MIN))); }
FNN_INLINE vd vd_minus_abs(vd a) { return vl_double(vl_or(vd_bits(a), vl_set1(INT64_MIN))); }
FNN_INLINE vd vd_abs(vd a) { return vl_double(vl_and(vd_bits(a), vl_set1(INT64_MAX))); }

#endif
