/* The vocabulary of simd.h on AVX2 + FMA: a vf is two registers. */
#include <immintrin.h>

/* Micro-tile of the matrix product: 12 accumulators + 2 of B + 2 broadcasts = 16 registers. */
#define FNN_MR 6
#define FNN_NV 2
#define FNN_MR_NARROW 12 /* rows of a tile of one register: as many accumulators */
#define FNN_ROW_NV 4 /* vectors of a one-row tile: 8 accumulators, enough chains to hide the latency of an FMA */
#define FNN_PEAK_NV 6 /* vectors of the loop of nothing but FMAs: 12 registers of 16, and 2 of constants */

typedef struct { __m256 lo, hi; } vf;
typedef struct { __m256d lo, hi; } vd;
typedef struct { __m256i lo, hi; } vi;
typedef struct { __m256i lo, hi; } vl;
typedef struct { __m256 lo, hi; } vm;
typedef struct { __m256d lo, hi; } vdm;
typedef struct { size_t n; } vt; /* at most 16: the masks are made where they are used, and a call passes it in a register */

FNN_INLINE vt vt_first(size_t n) { return (vt){n < 16 ? n : 16}; }
FNN_INLINE size_t vt_count(vt t) { return t.n; }

/* The two halves of the mask of the first t.n lanes: windows of sixteen ones and sixteen zeros. */
static const int32_t fnn_mask_window[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
FNN_INLINE __m256i fnn_mask_lo(vt t) { return _mm256_loadu_si256((const __m256i *)(fnn_mask_window + 16 - t.n)); }
FNN_INLINE __m256i fnn_mask_hi(vt t) { return _mm256_loadu_si256((const __m256i *)(fnn_mask_window + 24 - t.n)); }

FNN_INLINE vf vf_zero(void) { return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
FNN_INLINE vf vf_set1(float a) { return (vf){_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
FNN_INLINE vf vf_load(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
FNN_INLINE void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a.lo); _mm256_storeu_ps(p + 8, a.hi); }
FNN_INLINE vf vf_load_t(const float *p, vt t)
{
    return (vf){_mm256_maskload_ps(p, fnn_mask_lo(t)), _mm256_maskload_ps(p + 8, fnn_mask_hi(t))};
}

/* Masked stores are microcoded on AMD: the lanes go in fours, twos and ones. */
FNN_INLINE void fnn_store_first(float *p, __m256 a, size_t n)
{
    if (n >= 8) {
        _mm256_storeu_ps(p, a);
        return;
    }
    __m128 four = _mm256_castps256_ps128(a);
    if (n & 4) {
        _mm_storeu_ps(p, four);
        p += 4;
        four = _mm256_extractf128_ps(a, 1);
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, four);
        p += 2;
        four = _mm_movehl_ps(four, four);
    }
    if (n & 1) _mm_store_ss(p, four);
}
FNN_INLINE void vf_store_t(float *p, vf a, vt t)
{
    fnn_store_first(p, a.lo, t.n);
    if (t.n > 8) fnn_store_first(p + 8, a.hi, t.n - 8);
}

/* One register, as tiles of products are made of. */
#define FNN_VFR 8
typedef __m256 vfr;
FNN_INLINE vfr vfr_zero(void) { return _mm256_setzero_ps(); }
FNN_INLINE vfr vfr_set1(float a) { return _mm256_set1_ps(a); }
FNN_INLINE vfr vfr_load(const float *p) { return _mm256_loadu_ps(p); }
FNN_INLINE void vfr_store(float *p, vfr a) { _mm256_storeu_ps(p, a); }
FNN_INLINE vfr vfr_load_t(const float *p, vt t) { return _mm256_maskload_ps(p, fnn_mask_lo(t)); }
FNN_INLINE void vfr_store_t(float *p, vfr a, vt t) { fnn_store_first(p, a, t.n); }
FNN_INLINE vfr vfr_fma(vfr a, vfr b, vfr c) { return _mm256_fmadd_ps(a, b, c); }
FNN_INLINE vfr vfr_zero_where_not_positive(vfr a, vfr y)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_LE_OQ), a);
}

FNN_INLINE vf vf_add(vf a, vf b) { return (vf){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
FNN_INLINE vf vf_sub(vf a, vf b) { return (vf){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
FNN_INLINE vf vf_mul(vf a, vf b) { return (vf){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
FNN_INLINE vf vf_div(vf a, vf b) { return (vf){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
FNN_INLINE vf vf_sqrt(vf a) { return (vf){_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
FNN_INLINE vf vf_fma(vf a, vf b, vf c) { return (vf){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }

/* s a + b, for the loop that proves the loop of FMAs: instructions that no compiler can join, move or leave out. */
#define FNN_LITERAL_FMA 1
FNN_INLINE vf vf_fma_literal(vf s, vf a, vf b)
{
    __asm__ volatile("vfmadd213ps %2, %1, %0" : "+x"(s.lo) : "x"(a.lo), "x"(b.lo));
    __asm__ volatile("vfmadd213ps %2, %1, %0" : "+x"(s.hi) : "x"(a.hi), "x"(b.hi));
    return s;
}

/* c - a b */
FNN_INLINE vf vf_fnmadd(vf a, vf b, vf c) { return (vf){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)}; }

FNN_INLINE vf vf_min2(vf a, vf b) { return (vf){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
FNN_INLINE vf vf_max2(vf a, vf b) { return (vf){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }

FNN_INLINE vm vf_lt(vf a, vf b) { return (vm){_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)}; }
FNN_INLINE vm vf_le(vf a, vf b) { return (vm){_mm256_cmp_ps(a.lo, b.lo, _CMP_LE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LE_OQ)}; }
FNN_INLINE vm vf_eq(vf a, vf b) { return (vm){_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ)}; }
FNN_INLINE vf vf_select(vm m, vf a, vf b) { return (vf){_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)}; }
FNN_INLINE uint32_t vm_bits(vm m) { return (uint32_t)_mm256_movemask_ps(m.lo) | (uint32_t)_mm256_movemask_ps(m.hi) << 8; }
FNN_INLINE bool vm_all(vm m) { return _mm256_movemask_ps(_mm256_and_ps(m.lo, m.hi)) == 0xFF; }
FNN_INLINE vm vm_from_t(vt t) { return (vm){_mm256_castsi256_ps(fnn_mask_lo(t)), _mm256_castsi256_ps(fnn_mask_hi(t))}; }

FNN_INLINE vm vm_lane(size_t i)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i at = _mm256_set1_epi32((int)(i < 16 ? i : 16));
    return (vm){_mm256_castsi256_ps(_mm256_cmpeq_epi32(at, lane)),
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(at, _mm256_add_epi32(lane, _mm256_set1_epi32(8))))};
}

FNN_INLINE vi vf_bits(vf a) { return (vi){_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
FNN_INLINE vf vi_float(vi a) { return (vf){_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
FNN_INLINE vi vi_set1(int32_t a) { return (vi){_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
FNN_INLINE vi vi_add(vi a, vi b) { return (vi){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
FNN_INLINE vi vi_sub(vi a, vi b) { return (vi){_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
FNN_INLINE vi vi_and(vi a, vi b) { return (vi){_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
FNN_INLINE vi vi_or(vi a, vi b) { return (vi){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
FNN_INLINE vi vi_xor(vi a, vi b) { return (vi){_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
#define vi_shl(a, n) ((vi){_mm256_slli_epi32((a).lo, (n)), _mm256_slli_epi32((a).hi, (n))})
#define vi_sar(a, n) ((vi){_mm256_srai_epi32((a).lo, (n)), _mm256_srai_epi32((a).hi, (n))})
#define vi_shr(a, n) ((vi){_mm256_srli_epi32((a).lo, (n)), _mm256_srli_epi32((a).hi, (n))})
FNN_INLINE vm vi_lt(vi a, vi b)
{
    return (vm){_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.lo, a.lo)), _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.hi, a.hi))};
}
FNN_INLINE vm vi_eq(vi a, vi b)
{
    return (vm){_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi))};
}
FNN_INLINE vi vi_lanes(void)
{
    return (vi){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

/* The two halves of the 64-bit products a m of unsigned numbers. */
FNN_INLINE __m256i fnn_mul_wide8(__m256i a, __m256i by, __m256i *high)
{
    const __m256i even = _mm256_mul_epu32(a, by), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), by);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
FNN_INLINE vi vi_mul_wide(vi a, uint32_t m, vi *high)
{
    const __m256i by = _mm256_set1_epi64x((long long)m);
    vi low;
    low.lo = fnn_mul_wide8(a.lo, by, &high->lo);
    low.hi = fnn_mul_wide8(a.hi, by, &high->hi);
    return low;
}

FNN_INLINE vf vi_convert(vi a) { return (vf){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }

FNN_INLINE vd vd_set1(double a) { return (vd){_mm256_set1_pd(a), _mm256_set1_pd(a)}; }
FNN_INLINE vd vd_load(const double *p) { return (vd){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
FNN_INLINE void vd_store(double *p, vd a) { _mm256_storeu_pd(p, a.lo); _mm256_storeu_pd(p + 4, a.hi); }

/* Of the first t.n lanes, those from `from` on. */
FNN_INLINE __m256i fnn_mask_pd(vt t, size_t from)
{
    return _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(fnn_mask_window + 16 + from - t.n)));
}
FNN_INLINE vd vd_load_t(const double *p, vt t)
{
    return (vd){_mm256_maskload_pd(p, fnn_mask_pd(t, 0)), _mm256_maskload_pd(p + 4, fnn_mask_pd(t, 4))};
}
FNN_INLINE void fnn_store_first_pd(double *p, __m256d a, size_t n)
{
    if (n >= 4) {
        _mm256_storeu_pd(p, a);
        return;
    }
    __m128d two = _mm256_castpd256_pd128(a);
    if (n & 2) {
        _mm_storeu_pd(p, two);
        p += 2;
        two = _mm256_extractf128_pd(a, 1);
    }
    if (n & 1) _mm_store_sd(p, two);
}
FNN_INLINE void vd_store_t(double *p, vd a, vt t)
{
    fnn_store_first_pd(p, a.lo, t.n);
    if (t.n > 4) fnn_store_first_pd(p + 4, a.hi, t.n - 4);
}

#define FNN_VDR 4
typedef __m256d vdr;
FNN_INLINE vdr vdr_zero(void) { return _mm256_setzero_pd(); }
FNN_INLINE vdr vdr_set1(double a) { return _mm256_set1_pd(a); }
FNN_INLINE vdr vdr_load(const double *p) { return _mm256_loadu_pd(p); }
FNN_INLINE void vdr_store(double *p, vdr a) { _mm256_storeu_pd(p, a); }
FNN_INLINE vdr vdr_load_t(const double *p, vt t) { return _mm256_maskload_pd(p, fnn_mask_pd(t, 0)); }
FNN_INLINE void vdr_store_t(double *p, vdr a, vt t) { fnn_store_first_pd(p, a, t.n); }
FNN_INLINE vdr vdr_fma(vdr a, vdr b, vdr c) { return _mm256_fmadd_pd(a, b, c); }
FNN_INLINE vdr vdr_zero_where_not_positive(vdr a, vdr y)
{
    return _mm256_andnot_pd(_mm256_cmp_pd(y, _mm256_setzero_pd(), _CMP_LE_OQ), a);
}

FNN_INLINE vd vd_zero(void) { return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()}; }
FNN_INLINE vd vd_add(vd a, vd b) { return (vd){_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)}; }
FNN_INLINE vd vd_sub(vd a, vd b) { return (vd){_mm256_sub_pd(a.lo, b.lo), _mm256_sub_pd(a.hi, b.hi)}; }
FNN_INLINE vd vd_mul(vd a, vd b) { return (vd){_mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi)}; }
FNN_INLINE vd vd_div(vd a, vd b) { return (vd){_mm256_div_pd(a.lo, b.lo), _mm256_div_pd(a.hi, b.hi)}; }
FNN_INLINE vd vd_sqrt(vd a) { return (vd){_mm256_sqrt_pd(a.lo), _mm256_sqrt_pd(a.hi)}; }
FNN_INLINE vd vd_fma(vd a, vd b, vd c) { return (vd){_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)}; }
FNN_INLINE vd vd_fnmadd(vd a, vd b, vd c) { return (vd){_mm256_fnmadd_pd(a.lo, b.lo, c.lo), _mm256_fnmadd_pd(a.hi, b.hi, c.hi)}; }

FNN_INLINE vd vd_fma_literal(vd s, vd a, vd b)
{
    __asm__ volatile("vfmadd213pd %2, %1, %0" : "+x"(s.lo) : "x"(a.lo), "x"(b.lo));
    __asm__ volatile("vfmadd213pd %2, %1, %0" : "+x"(s.hi) : "x"(a.hi), "x"(b.hi));
    return s;
}
FNN_INLINE vd vd_min2(vd a, vd b) { return (vd){_mm256_min_pd(a.lo, b.lo), _mm256_min_pd(a.hi, b.hi)}; }
FNN_INLINE vd vd_max2(vd a, vd b) { return (vd){_mm256_max_pd(a.lo, b.lo), _mm256_max_pd(a.hi, b.hi)}; }
FNN_INLINE vdm vd_lt(vd a, vd b) { return (vdm){_mm256_cmp_pd(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_pd(a.hi, b.hi, _CMP_LT_OQ)}; }
FNN_INLINE vdm vd_le(vd a, vd b) { return (vdm){_mm256_cmp_pd(a.lo, b.lo, _CMP_LE_OQ), _mm256_cmp_pd(a.hi, b.hi, _CMP_LE_OQ)}; }
FNN_INLINE vdm vd_eq(vd a, vd b) { return (vdm){_mm256_cmp_pd(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_pd(a.hi, b.hi, _CMP_EQ_OQ)}; }
FNN_INLINE vd vd_select(vdm m, vd a, vd b)
{
    return (vd){_mm256_blendv_pd(b.lo, a.lo, m.lo), _mm256_blendv_pd(b.hi, a.hi, m.hi)};
}
FNN_INLINE uint32_t vdm_bits(vdm m) { return (uint32_t)_mm256_movemask_pd(m.lo) | (uint32_t)_mm256_movemask_pd(m.hi) << 4; }
FNN_INLINE bool vdm_all(vdm m) { return _mm256_movemask_pd(_mm256_and_pd(m.lo, m.hi)) == 0xF; }
FNN_INLINE vdm vdm_from_t(vt t) { return (vdm){_mm256_castsi256_pd(fnn_mask_pd(t, 0)), _mm256_castsi256_pd(fnn_mask_pd(t, 4))}; }
FNN_INLINE vdm vdm_lane(size_t i)
{
    const __m256i at = _mm256_set1_epi64x((long long)(i < 8 ? i : 8));
    return (vdm){_mm256_castsi256_pd(_mm256_cmpeq_epi64(at, _mm256_setr_epi64x(0, 1, 2, 3))),
                 _mm256_castsi256_pd(_mm256_cmpeq_epi64(at, _mm256_setr_epi64x(4, 5, 6, 7)))};
}

/* Lanes 8 half ... 8 half + 7 of 16. */
FNN_INLINE vdm vdm_from_half(vm m, size_t half)
{
    const __m256i a = _mm256_castps_si256(half ? m.hi : m.lo);
    return (vdm){_mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(a))),
                 _mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm256_extracti128_si256(a, 1)))};
}
FNN_INLINE vd vd_from_half(vi v, size_t half)
{
    const __m256i a = half ? v.hi : v.lo;
    return (vd){_mm256_cvtepi32_pd(_mm256_castsi256_si128(a)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(a, 1))};
}

FNN_INLINE vl vd_bits(vd a) { return (vl){_mm256_castpd_si256(a.lo), _mm256_castpd_si256(a.hi)}; }
FNN_INLINE vd vl_double(vl a) { return (vd){_mm256_castsi256_pd(a.lo), _mm256_castsi256_pd(a.hi)}; }
FNN_INLINE vl vl_set1(int64_t a) { return (vl){_mm256_set1_epi64x(a), _mm256_set1_epi64x(a)}; }
FNN_INLINE vl vl_add(vl a, vl b) { return (vl){_mm256_add_epi64(a.lo, b.lo), _mm256_add_epi64(a.hi, b.hi)}; }
FNN_INLINE vl vl_sub(vl a, vl b) { return (vl){_mm256_sub_epi64(a.lo, b.lo), _mm256_sub_epi64(a.hi, b.hi)}; }
FNN_INLINE vl vl_and(vl a, vl b) { return (vl){_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
FNN_INLINE vl vl_or(vl a, vl b) { return (vl){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
FNN_INLINE vl vl_xor(vl a, vl b) { return (vl){_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
#define vl_shl(a, n) ((vl){_mm256_slli_epi64((a).lo, (n)), _mm256_slli_epi64((a).hi, (n))})
#define vl_shr(a, n) ((vl){_mm256_srli_epi64((a).lo, (n)), _mm256_srli_epi64((a).hi, (n))})

/* Bytes: whole numbers from 0 to 255. */
FNN_INLINE __m256 fnn_load_bytes8(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))); }
FNN_INLINE vf vf_load_bytes(const uint8_t *p) { return (vf){fnn_load_bytes8(p), fnn_load_bytes8(p + 8)}; }
FNN_INLINE void vf_store_bytes(uint8_t *p, vf a)
{
    const __m256i mixed = _mm256_packs_epi32(_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)), words = _mm256_permute4x64_epi64(mixed, 0xD8);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
FNN_INLINE vd vd_load_bytes(const uint8_t *p)
{
    const __m256i whole = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    return (vd){_mm256_cvtepi32_pd(_mm256_castsi256_si128(whole)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(whole, 1))};
}
FNN_INLINE void vd_store_bytes(uint8_t *p, vd a)
{
    const __m128i words = _mm_packs_epi32(_mm256_cvttpd_epi32(a.lo), _mm256_cvttpd_epi32(a.hi));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}

/* Eight floats, widened; and a fold like those below: i with i+4, i+2, i+1. */
FNN_INLINE vd vd_load_f32(const float *p) { return (vd){_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))}; }
FNN_INLINE double vd_sum(vd a)
{
    __m256d x = _mm256_add_pd(a.lo, a.hi);
    __m128d y = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(y, _mm_unpackhi_pd(y, y)));
}

FNN_INLINE double vd_max(vd a)
{
    __m256d x = _mm256_max_pd(a.lo, a.hi);
    __m128d y = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_max_sd(y, _mm_unpackhi_pd(y, y)));
}

/* Folds: lane i with i+8, then i+4, i+2, i+1: one fixed tree. */
FNN_INLINE float vf_sum(vf a)
{
    __m256 x = _mm256_add_ps(a.lo, a.hi);
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_shuffle_ps(y, y, 1)));
}

/* The largest lane; a NaN may or may not win. */
FNN_INLINE float vf_max(vf a)
{
    __m256 x = _mm256_max_ps(a.lo, a.hi);
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
}

FNN_INLINE void fnn_transpose8(__m256 r[8])
{
    __m256 t[8];
    FNN_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    FNN_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    FNN_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) r[i] = t[i];
}

/* r[i][j] becomes r[j][i], 16 by 16, as four blocks of 8 by 8. */
FNN_INLINE void vf_transpose(vf r[16])
{
    __m256 a[8], b[8], c[8], d[8];
    for (int i = 0; i < 8; i++) {
        a[i] = r[i].lo;
        b[i] = r[i].hi;
        c[i] = r[i + 8].lo;
        d[i] = r[i + 8].hi;
    }
    fnn_transpose8(a);
    fnn_transpose8(b);
    fnn_transpose8(c);
    fnn_transpose8(d);
    for (int i = 0; i < 8; i++) {
        r[i] = (vf){a[i], c[i]};
        r[i + 8] = (vf){b[i], d[i]};
    }
}

FNN_INLINE void fnn_transpose4(__m256d r[4])
{
    const __m256d a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const __m256d c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
}

/* The same of doubles, 8 by 8. */
FNN_INLINE void vd_transpose(vd r[8])
{
    __m256d a[4], b[4], c[4], d[4];
    for (int i = 0; i < 4; i++) {
        a[i] = r[i].lo;
        b[i] = r[i].hi;
        c[i] = r[i + 4].lo;
        d[i] = r[i + 4].hi;
    }
    fnn_transpose4(a);
    fnn_transpose4(b);
    fnn_transpose4(c);
    fnn_transpose4(d);
    for (int i = 0; i < 4; i++) {
        r[i] = (vd){a[i], c[i]};
        r[i + 4] = (vd){b[i], d[i]};
    }
}
