/* The vocabulary of simd.h on AArch64's Advanced SIMD (NEON), which every such processor has: a vf is four registers.
 *
 * Comparisons and selections stand where NEON's own minimum and maximum would let a NaN win. Only the bits of a NaN may be others
 * than on x86: its processors make a negative one where these make a positive. */
#include <arm_neon.h>

/* Micro-tile of the matrix product: 24 accumulators + 4 of B + up to 4 of A = 32 registers. */
#define FNN_MR 6
#define FNN_NV 4
#define FNN_MR_NARROW 12 /* rows of a tile of one register */
#define FNN_ROW_NV 4 /* vectors of a one-row tile: 16 accumulators, enough chains for four units of latency 4 */
#define FNN_PEAK_NV 6 /* vectors of the loop of nothing but FMAs: 24 registers of 32, and 2 of constants */

typedef struct { float32x4_t q[4]; } vf;
typedef struct { float64x2_t q[4]; } vd;
typedef struct { int32x4_t q[4]; } vi;
typedef struct { int64x2_t q[4]; } vl;
typedef struct { uint32x4_t q[4]; } vm;
typedef struct { uint64x2_t q[4]; } vdm;
typedef struct { size_t n; } vt; /* at most 16 */

FNN_INLINE vt vt_first(size_t n) { return (vt){n < 16 ? n : 16}; }
FNN_INLINE size_t vt_count(vt t) { return t.n; }
FNN_INLINE size_t vt_beyond(vt t, size_t lanes) { return t.n > lanes ? t.n - lanes : 0; }

/* The first n lanes of one register: there are no masks for memory, so they go in twos and ones. */
FNN_INLINE float32x4_t fnn_load_first(const float *p, size_t n)
{
    if (n >= 4) return vld1q_f32(p);
    float32x4_t a = vdupq_n_f32(0.0f);
    if (n & 2) a = vcombine_f32(vld1_f32(p), vdup_n_f32(0.0f));
    if (n == 1) a = vld1q_lane_f32(p, a, 0);
    if (n == 3) a = vld1q_lane_f32(p + 2, a, 2);
    return a;
}
FNN_INLINE void fnn_store_first(float *p, float32x4_t a, size_t n)
{
    if (n >= 4) {
        vst1q_f32(p, a);
        return;
    }
    if (n & 2) vst1_f32(p, vget_low_f32(a));
    if (n == 1) vst1q_lane_f32(p, a, 0);
    if (n == 3) vst1q_lane_f32(p + 2, a, 2);
}

FNN_INLINE vf vf_zero(void) { FNN_QUARTERS(vf, (vdupq_n_f32(0.0f))); }
FNN_INLINE vf vf_set1(float a) { FNN_QUARTERS(vf, (vdupq_n_f32(a))); }
FNN_INLINE vf vf_load(const float *p) { FNN_QUARTERS(vf, (vld1q_f32(p + 4 * i))); }
FNN_INLINE void vf_store(float *p, vf a)
{
    FNN_UNROLL
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.q[i]);
}
FNN_INLINE vf vf_load_t(const float *p, vt t)
{
    if (t.n >= 16) return vf_load(p);
    FNN_QUARTERS(vf, (fnn_load_first(p + 4 * i, vt_beyond(t, 4 * i))));
}
FNN_INLINE void vf_store_t(float *p, vf a, vt t)
{
    FNN_UNROLL
    for (int i = 0; i < 4; i++) fnn_store_first(p + 4 * i, a.q[i], vt_beyond(t, 4 * i));
}

/* One register, as tiles of products are made of. */
#define FNN_VFR 4
typedef float32x4_t vfr;
FNN_INLINE vfr vfr_zero(void) { return vdupq_n_f32(0.0f); }
FNN_INLINE vfr vfr_set1(float a) { return vdupq_n_f32(a); }
FNN_INLINE vfr vfr_load(const float *p) { return vld1q_f32(p); }
FNN_INLINE void vfr_store(float *p, vfr a) { vst1q_f32(p, a); }
FNN_INLINE vfr vfr_load_t(const float *p, vt t) { return fnn_load_first(p, t.n); }
FNN_INLINE void vfr_store_t(float *p, vfr a, vt t) { fnn_store_first(p, a, t.n); }
FNN_INLINE vfr vfr_fma(vfr a, vfr b, vfr c) { return vfmaq_f32(c, a, b); }
FNN_INLINE vfr vfr_zero_where_not_positive(vfr a, vfr y)
{
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), vclezq_f32(y)));
}

FNN_INLINE vf vf_add(vf a, vf b) { FNN_QUARTERS(vf, (vaddq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vf vf_sub(vf a, vf b) { FNN_QUARTERS(vf, (vsubq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vf vf_mul(vf a, vf b) { FNN_QUARTERS(vf, (vmulq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vf vf_div(vf a, vf b) { FNN_QUARTERS(vf, (vdivq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vf vf_sqrt(vf a) { FNN_QUARTERS(vf, (vsqrtq_f32(a.q[i]))); }
FNN_INLINE vf vf_fma(vf a, vf b, vf c) { FNN_QUARTERS(vf, (vfmaq_f32(c.q[i], a.q[i], b.q[i]))); }

/* s a + b, for the loop that proves the loop of FMAs: instructions that no compiler can join or leave out. Each adds to a register,
 * so that b is copied first, as it is in that loop. */
#define FNN_LITERAL_FMA 1
FNN_INLINE vf vf_fma_literal(vf s, vf a, vf b)
{
    FNN_UNROLL
    for (int i = 0; i < 4; i++) __asm__ volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(b.q[i]) : "w"(s.q[i]), "w"(a.q[i]));
    return b;
}

/* c - a b */
FNN_INLINE vf vf_fnmadd(vf a, vf b, vf c) { FNN_QUARTERS(vf, (vfmsq_f32(c.q[i], a.q[i], b.q[i]))); }

FNN_INLINE vm vf_lt(vf a, vf b) { FNN_QUARTERS(vm, (vcltq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vm vf_le(vf a, vf b) { FNN_QUARTERS(vm, (vcleq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vm vf_eq(vf a, vf b) { FNN_QUARTERS(vm, (vceqq_f32(a.q[i], b.q[i]))); }
FNN_INLINE vf vf_select(vm m, vf a, vf b) { FNN_QUARTERS(vf, (vbslq_f32(m.q[i], a.q[i], b.q[i]))); }
FNN_INLINE vf vf_min2(vf a, vf b) { FNN_QUARTERS(vf, (vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]))); }
FNN_INLINE vf vf_max2(vf a, vf b) { FNN_QUARTERS(vf, (vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]))); }

FNN_INLINE uint32_t vm_bits(vm m)
{
    const uint16x8_t low = vmovn_high_u32(vmovn_u32(m.q[0]), m.q[1]), high = vmovn_high_u32(vmovn_u32(m.q[2]), m.q[3]);
    const uint16x8_t of_lane = {1, 2, 4, 8, 16, 32, 64, 128};
    return (uint32_t)vaddvq_u16(vandq_u16(low, of_lane)) | (uint32_t)vaddvq_u16(vandq_u16(high, of_lane)) << 8;
}
FNN_INLINE bool vm_all(vm m)
{
    return vminvq_u32(vandq_u32(vandq_u32(m.q[0], m.q[1]), vandq_u32(m.q[2], m.q[3]))) != 0;
}

/* The numbers of the lanes of quarter i. */
FNN_INLINE uint32x4_t fnn_lanes(uint32_t i)
{
    const uint32x4_t lane = {0, 1, 2, 3};
    return vaddq_u32(lane, vdupq_n_u32(4 * i));
}
FNN_INLINE uint64x2_t fnn_lanes_pd(uint64_t i)
{
    const uint64x2_t lane = {0, 1};
    return vaddq_u64(lane, vdupq_n_u64(2 * i));
}
FNN_INLINE vm vm_from_t(vt t) { FNN_QUARTERS(vm, (vcltq_u32(fnn_lanes(i), vdupq_n_u32((uint32_t)t.n)))); }
FNN_INLINE vm vm_lane(size_t n) { FNN_QUARTERS(vm, (vceqq_u32(fnn_lanes(i), vdupq_n_u32((uint32_t)(n < 16 ? n : 16))))); }

FNN_INLINE vi vf_bits(vf a) { FNN_QUARTERS(vi, (vreinterpretq_s32_f32(a.q[i]))); }
FNN_INLINE vf vi_float(vi a) { FNN_QUARTERS(vf, (vreinterpretq_f32_s32(a.q[i]))); }
FNN_INLINE vi vi_set1(int32_t a) { FNN_QUARTERS(vi, (vdupq_n_s32(a))); }
FNN_INLINE vi vi_add(vi a, vi b) { FNN_QUARTERS(vi, (vaddq_s32(a.q[i], b.q[i]))); }
FNN_INLINE vi vi_sub(vi a, vi b) { FNN_QUARTERS(vi, (vsubq_s32(a.q[i], b.q[i]))); }
FNN_INLINE vi vi_and(vi a, vi b) { FNN_QUARTERS(vi, (vandq_s32(a.q[i], b.q[i]))); }
FNN_INLINE vi vi_or(vi a, vi b) { FNN_QUARTERS(vi, (vorrq_s32(a.q[i], b.q[i]))); }
FNN_INLINE vi vi_xor(vi a, vi b) { FNN_QUARTERS(vi, (veorq_s32(a.q[i], b.q[i]))); }
FNN_INLINE uint32x4_t fnn_unsigned(int32x4_t a) { return vreinterpretq_u32_s32(a); }
FNN_INLINE vi vi_shl(vi a, int n) { FNN_QUARTERS(vi, (vreinterpretq_s32_u32(fnn_unsigned(a.q[i]) << n))); }
FNN_INLINE vi vi_sar(vi a, int n) { FNN_QUARTERS(vi, (a.q[i] >> n)); }
FNN_INLINE vi vi_shr(vi a, int n) { FNN_QUARTERS(vi, (vreinterpretq_s32_u32(fnn_unsigned(a.q[i]) >> n))); }
FNN_INLINE vm vi_lt(vi a, vi b) { FNN_QUARTERS(vm, (vcltq_s32(a.q[i], b.q[i]))); }
FNN_INLINE vm vi_eq(vi a, vi b) { FNN_QUARTERS(vm, (vceqq_s32(a.q[i], b.q[i]))); }
FNN_INLINE vi vi_lanes(void) { FNN_QUARTERS(vi, (vreinterpretq_s32_u32(fnn_lanes(i)))); }

/* The two halves of the 64-bit products a m of unsigned numbers. */
FNN_INLINE int32x4_t fnn_mul_wide4(int32x4_t a, uint32_t m, int32x4_t *high)
{
    const uint32x4_t by = vdupq_n_u32(m);
    const uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(fnn_unsigned(a)), vget_low_u32(by)));
    const uint32x4_t last = vreinterpretq_u32_u64(vmull_high_u32(fnn_unsigned(a), by));
    *high = vreinterpretq_s32_u32(vuzp2q_u32(first, last));
    return vreinterpretq_s32_u32(vuzp1q_u32(first, last));
}
FNN_INLINE vi vi_mul_wide(vi a, uint32_t m, vi *high) { FNN_QUARTERS(vi, (fnn_mul_wide4(a.q[i], m, &high->q[i]))); }

FNN_INLINE vf vi_convert(vi a) { FNN_QUARTERS(vf, (vcvtq_f32_s32(a.q[i]))); }

FNN_INLINE float64x2_t fnn_load_first_pd(const double *p, size_t n)
{
    if (n >= 2) return vld1q_f64(p);
    return n ? vcombine_f64(vld1_f64(p), vdup_n_f64(0.0)) : vdupq_n_f64(0.0);
}
FNN_INLINE void fnn_store_first_pd(double *p, float64x2_t a, size_t n)
{
    if (n >= 2)
        vst1q_f64(p, a);
    else if (n)
        vst1_f64(p, vget_low_f64(a));
}

FNN_INLINE vd vd_zero(void) { FNN_QUARTERS(vd, (vdupq_n_f64(0.0))); }
FNN_INLINE vd vd_set1(double a) { FNN_QUARTERS(vd, (vdupq_n_f64(a))); }
FNN_INLINE vd vd_load(const double *p) { FNN_QUARTERS(vd, (vld1q_f64(p + 2 * i))); }
FNN_INLINE void vd_store(double *p, vd a)
{
    FNN_UNROLL
    for (int i = 0; i < 4; i++) vst1q_f64(p + 2 * i, a.q[i]);
}
FNN_INLINE vd vd_load_t(const double *p, vt t)
{
    if (t.n >= 8) return vd_load(p);
    FNN_QUARTERS(vd, (fnn_load_first_pd(p + 2 * i, vt_beyond(t, 2 * i))));
}
FNN_INLINE void vd_store_t(double *p, vd a, vt t)
{
    FNN_UNROLL
    for (int i = 0; i < 4; i++) fnn_store_first_pd(p + 2 * i, a.q[i], vt_beyond(t, 2 * i));
}

#define FNN_VDR 2
typedef float64x2_t vdr;
FNN_INLINE vdr vdr_zero(void) { return vdupq_n_f64(0.0); }
FNN_INLINE vdr vdr_set1(double a) { return vdupq_n_f64(a); }
FNN_INLINE vdr vdr_load(const double *p) { return vld1q_f64(p); }
FNN_INLINE void vdr_store(double *p, vdr a) { vst1q_f64(p, a); }
FNN_INLINE vdr vdr_load_t(const double *p, vt t) { return fnn_load_first_pd(p, t.n); }
FNN_INLINE void vdr_store_t(double *p, vdr a, vt t) { fnn_store_first_pd(p, a, t.n); }
FNN_INLINE vdr vdr_fma(vdr a, vdr b, vdr c) { return vfmaq_f64(c, a, b); }
FNN_INLINE vdr vdr_zero_where_not_positive(vdr a, vdr y)
{
    return vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(a), vclezq_f64(y)));
}

FNN_INLINE vd vd_add(vd a, vd b) { FNN_QUARTERS(vd, (vaddq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vd vd_sub(vd a, vd b) { FNN_QUARTERS(vd, (vsubq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vd vd_mul(vd a, vd b) { FNN_QUARTERS(vd, (vmulq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vd vd_div(vd a, vd b) { FNN_QUARTERS(vd, (vdivq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vd vd_sqrt(vd a) { FNN_QUARTERS(vd, (vsqrtq_f64(a.q[i]))); }
FNN_INLINE vd vd_fma(vd a, vd b, vd c) { FNN_QUARTERS(vd, (vfmaq_f64(c.q[i], a.q[i], b.q[i]))); }
FNN_INLINE vd vd_fnmadd(vd a, vd b, vd c) { FNN_QUARTERS(vd, (vfmsq_f64(c.q[i], a.q[i], b.q[i]))); }
FNN_INLINE vd vd_fma_literal(vd s, vd a, vd b)
{
    FNN_UNROLL
    for (int i = 0; i < 4; i++) __asm__ volatile("fmla %0.2d, %1.2d, %2.2d" : "+w"(b.q[i]) : "w"(s.q[i]), "w"(a.q[i]));
    return b;
}

FNN_INLINE vdm vd_lt(vd a, vd b) { FNN_QUARTERS(vdm, (vcltq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vdm vd_le(vd a, vd b) { FNN_QUARTERS(vdm, (vcleq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vdm vd_eq(vd a, vd b) { FNN_QUARTERS(vdm, (vceqq_f64(a.q[i], b.q[i]))); }
FNN_INLINE vd vd_select(vdm m, vd a, vd b) { FNN_QUARTERS(vd, (vbslq_f64(m.q[i], a.q[i], b.q[i]))); }
FNN_INLINE vd vd_min2(vd a, vd b) { FNN_QUARTERS(vd, (vbslq_f64(vcltq_f64(a.q[i], b.q[i]), a.q[i], b.q[i]))); }
FNN_INLINE vd vd_max2(vd a, vd b) { FNN_QUARTERS(vd, (vbslq_f64(vcgtq_f64(a.q[i], b.q[i]), a.q[i], b.q[i]))); }

FNN_INLINE uint32_t vdm_bits(vdm m)
{
    const uint32x4_t low = vmovn_high_u64(vmovn_u64(m.q[0]), m.q[1]), high = vmovn_high_u64(vmovn_u64(m.q[2]), m.q[3]);
    const uint32x4_t of_lane = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(low, of_lane)) | vaddvq_u32(vandq_u32(high, of_lane)) << 4;
}
FNN_INLINE bool vdm_all(vdm m)
{
    const uint64x2_t all = vandq_u64(vandq_u64(m.q[0], m.q[1]), vandq_u64(m.q[2], m.q[3]));
    return (vgetq_lane_u64(all, 0) & vgetq_lane_u64(all, 1)) != 0;
}
FNN_INLINE vdm vdm_from_t(vt t) { FNN_QUARTERS(vdm, (vcltq_u64(fnn_lanes_pd(i), vdupq_n_u64(t.n)))); }
FNN_INLINE vdm vdm_lane(size_t n) { FNN_QUARTERS(vdm, (vceqq_u64(fnn_lanes_pd(i), vdupq_n_u64(n < 8 ? n : 8)))); }

/* Lanes 8 half ... 8 half + 7 of 16. */
FNN_INLINE vl fnn_widen_half(int32x4_t low, int32x4_t high)
{
    return (vl){{vmovl_s32(vget_low_s32(low)), vmovl_high_s32(low), vmovl_s32(vget_low_s32(high)), vmovl_high_s32(high)}};
}
FNN_INLINE vdm vdm_from_half(vm m, size_t half)
{
    const vl a = fnn_widen_half(vreinterpretq_s32_u32(half ? m.q[2] : m.q[0]), vreinterpretq_s32_u32(half ? m.q[3] : m.q[1]));
    FNN_QUARTERS(vdm, (vreinterpretq_u64_s64(a.q[i])));
}
FNN_INLINE vd vd_from_half(vi v, size_t half)
{
    const vl a = fnn_widen_half(half ? v.q[2] : v.q[0], half ? v.q[3] : v.q[1]);
    FNN_QUARTERS(vd, (vcvtq_f64_s64(a.q[i])));
}

FNN_INLINE vl vd_bits(vd a) { FNN_QUARTERS(vl, (vreinterpretq_s64_f64(a.q[i]))); }
FNN_INLINE vd vl_double(vl a) { FNN_QUARTERS(vd, (vreinterpretq_f64_s64(a.q[i]))); }
FNN_INLINE vl vl_set1(int64_t a) { FNN_QUARTERS(vl, (vdupq_n_s64(a))); }
FNN_INLINE vl vl_add(vl a, vl b) { FNN_QUARTERS(vl, (vaddq_s64(a.q[i], b.q[i]))); }
FNN_INLINE vl vl_sub(vl a, vl b) { FNN_QUARTERS(vl, (vsubq_s64(a.q[i], b.q[i]))); }
FNN_INLINE vl vl_and(vl a, vl b) { FNN_QUARTERS(vl, (vandq_s64(a.q[i], b.q[i]))); }
FNN_INLINE vl vl_or(vl a, vl b) { FNN_QUARTERS(vl, (vorrq_s64(a.q[i], b.q[i]))); }
FNN_INLINE vl vl_xor(vl a, vl b) { FNN_QUARTERS(vl, (veorq_s64(a.q[i], b.q[i]))); }
FNN_INLINE vl vl_shl(vl a, int n) { FNN_QUARTERS(vl, (vreinterpretq_s64_u64(vreinterpretq_u64_s64(a.q[i]) << n))); }
FNN_INLINE vl vl_shr(vl a, int n) { FNN_QUARTERS(vl, (vreinterpretq_s64_u64(vreinterpretq_u64_s64(a.q[i]) >> n))); }

/* Bytes: whole numbers from 0 to 255. */
FNN_INLINE vf vf_load_bytes(const uint8_t *p)
{
    const uint8x16_t bytes = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    return (vf){{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
                 vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
}
FNN_INLINE uint16x8_t fnn_narrowed(float32x4_t a, float32x4_t b)
{
    return vcombine_u16(vmovn_u32(vcvtq_u32_f32(a)), vmovn_u32(vcvtq_u32_f32(b)));
}
FNN_INLINE void vf_store_bytes(uint8_t *p, vf a)
{
    vst1q_u8(p, vcombine_u8(vmovn_u16(fnn_narrowed(a.q[0], a.q[1])), vmovn_u16(fnn_narrowed(a.q[2], a.q[3]))));
}
FNN_INLINE vd vd_load_bytes(const uint8_t *p)
{
    const uint16x8_t words = vmovl_u8(vld1_u8(p));
    const float32x4_t low = vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), high = vcvtq_f32_u32(vmovl_u16(vget_high_u16(words)));
    return (vd){{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low), vcvt_f64_f32(vget_low_f32(high)), vcvt_high_f64_f32(high)}};
}
FNN_INLINE void vd_store_bytes(uint8_t *p, vd a)
{
    const float32x4_t low = vcvt_high_f32_f64(vcvt_f32_f64(a.q[0]), a.q[1]), high = vcvt_high_f32_f64(vcvt_f32_f64(a.q[2]), a.q[3]);
    vst1_u8(p, vmovn_u16(fnn_narrowed(low, high)));
}

/* Eight floats, widened; and a fold like those below: i with i+4, i+2, i+1. */
FNN_INLINE vd vd_load_f32(const float *p)
{
    const float32x4_t low = vld1q_f32(p), high = vld1q_f32(p + 4);
    return (vd){{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low), vcvt_f64_f32(vget_low_f32(high)), vcvt_high_f64_f32(high)}};
}
FNN_INLINE double vd_sum(vd a)
{
    return vpaddd_f64(vaddq_f64(vaddq_f64(a.q[0], a.q[2]), vaddq_f64(a.q[1], a.q[3])));
}

FNN_INLINE float64x2_t fnn_max_pd(float64x2_t a, float64x2_t b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
FNN_INLINE double vd_max(vd a)
{
    const float64x2_t y = fnn_max_pd(fnn_max_pd(a.q[0], a.q[2]), fnn_max_pd(a.q[1], a.q[3]));
    const double first = vgetq_lane_f64(y, 0), second = vgetq_lane_f64(y, 1);
    return first > second ? first : second;
}

/* Folds: lane i with i+8, then i+4, i+2, i+1: one fixed tree. */
FNN_INLINE float vf_sum(vf a)
{
    const float32x4_t y = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
    return vpadds_f32(vadd_f32(vget_low_f32(y), vget_high_f32(y)));
}

/* The largest lane; a NaN may or may not win. */
FNN_INLINE float32x4_t fnn_max_ps(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
FNN_INLINE float vf_max(vf a)
{
    float32x4_t y = fnn_max_ps(fnn_max_ps(a.q[0], a.q[2]), fnn_max_ps(a.q[1], a.q[3]));
    y = fnn_max_ps(y, vextq_f32(y, y, 2));
    const float first = vgetq_lane_f32(y, 0), second = vgetq_lane_f32(y, 1);
    return first > second ? first : second;
}

/* r[i][j] becomes r[j][i], 16 by 16, as blocks of 4 by 4. */
FNN_INLINE void vf_transpose(vf r[16])
{
    vf t[16];
    FNN_UNROLL
    for (int i = 0; i < 16; i += 4) {
        FNN_UNROLL
        for (int j = 0; j < 4; j++) {
            const float32x4_t a = r[i].q[j], b = r[i + 1].q[j], c = r[i + 2].q[j], d = r[i + 3].q[j];
            const float64x2_t ab = vreinterpretq_f64_f32(vtrn1q_f32(a, b)), ba = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
            const float64x2_t cd = vreinterpretq_f64_f32(vtrn1q_f32(c, d)), dc = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
            t[4 * j].q[i / 4] = vreinterpretq_f32_f64(vtrn1q_f64(ab, cd));
            t[4 * j + 1].q[i / 4] = vreinterpretq_f32_f64(vtrn1q_f64(ba, dc));
            t[4 * j + 2].q[i / 4] = vreinterpretq_f32_f64(vtrn2q_f64(ab, cd));
            t[4 * j + 3].q[i / 4] = vreinterpretq_f32_f64(vtrn2q_f64(ba, dc));
        }
    }
    FNN_UNROLL
    for (int i = 0; i < 16; i++) r[i] = t[i];
}

/* The same of doubles, 8 by 8. */
FNN_INLINE void vd_transpose(vd r[8])
{
    vd t[8];
    FNN_UNROLL
    for (int i = 0; i < 8; i += 2) {
        FNN_UNROLL
        for (int j = 0; j < 4; j++) {
            t[2 * j].q[i / 2] = vtrn1q_f64(r[i].q[j], r[i + 1].q[j]);
            t[2 * j + 1].q[i / 2] = vtrn2q_f64(r[i].q[j], r[i + 1].q[j]);
        }
    }
    FNN_UNROLL
    for (int i = 0; i < 8; i++) r[i] = t[i];
}
