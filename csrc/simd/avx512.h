/* The vocabulary of simd.h on AVX-512 (F, BW, DQ, VL): a vf is one register. */
#include <immintrin.h>

/* Micro-tile of the matrix product: FNN_MR rows of FNN_NV vectors. 24 accumulators + 4 of B + 1 broadcast = 29 of 32. */
#define FNN_MR 6
#define FNN_NV 4
#define FNN_MR_NARROW 12   /* rows of a tile of one vector: enough chains to hide the latency of an FMA */
#define FNN_ROW_NV 16 /* vectors of a one-row tile: the wider, the longer the pieces of rows of B, which come faster */
#define FNN_PEAK_NV 12 /* vectors of the loop of nothing but FMAs: more chains than latency x units, which is 8 to 10 */

typedef __m512 vf;
typedef __m512d vd;
typedef __m512i vi;
typedef __m512i vl;
typedef __mmask16 vm;
typedef __mmask8 vdm;
typedef __mmask16 vt;

FNN_INLINE vt vt_first(size_t n) { return (vt)(n >= 16 ? 0xFFFFu : (1u << n) - 1u); }

FNN_INLINE size_t vt_count(vt t) { return (size_t)__builtin_popcount(t); }

FNN_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
FNN_INLINE vf vf_set1(float a) { return _mm512_set1_ps(a); }
FNN_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
FNN_INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
FNN_INLINE vf vf_load_t(const float *p, vt t) { return _mm512_maskz_loadu_ps(t, p); }
FNN_INLINE void vf_store_t(float *p, vf a, vt t) { _mm512_mask_storeu_ps(p, t, a); }

FNN_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
FNN_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
FNN_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
FNN_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
FNN_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
FNN_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }

/* s a + b, for the loop that proves the loop of FMAs: instructions that no compiler can join, move or leave out. */
#define FNN_LITERAL_FMA 1
FNN_INLINE vf vf_fma_literal(vf s, vf a, vf b)
{
    __asm__ volatile("vfmadd213ps %2, %1, %0" : "+v"(s) : "v"(a), "v"(b));
    return s;
}

FNN_INLINE vf vf_fnmadd(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }

FNN_INLINE vf vf_min2(vf a, vf b) { return _mm512_min_ps(a, b); }
FNN_INLINE vf vf_max2(vf a, vf b) { return _mm512_max_ps(a, b); }

FNN_INLINE vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
FNN_INLINE vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
FNN_INLINE vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
FNN_INLINE vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
FNN_INLINE uint32_t vm_bits(vm m) { return m; }
FNN_INLINE bool vm_all(vm m) { return m == 0xFFFFu; }
FNN_INLINE vm vm_from_t(vt t) { return t; }
FNN_INLINE vm vm_lane(size_t i) { return (vm)(i < 16 ? 1u << i : 0u); }

FNN_INLINE vi vf_bits(vf a) { return _mm512_castps_si512(a); }
FNN_INLINE vf vi_float(vi a) { return _mm512_castsi512_ps(a); }
FNN_INLINE vi vi_set1(int32_t a) { return _mm512_set1_epi32(a); }
FNN_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
FNN_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
FNN_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
FNN_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
FNN_INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
#define vi_shl(a, n) _mm512_slli_epi32((a), (n))
#define vi_sar(a, n) _mm512_srai_epi32((a), (n))
#define vi_shr(a, n) _mm512_srli_epi32((a), (n))
FNN_INLINE vm vi_lt(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b); }
FNN_INLINE vm vi_eq(vi a, vi b) { return _mm512_cmpeq_epi32_mask(a, b); }
FNN_INLINE vi vi_lanes(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
FNN_INLINE vf vi_convert(vi a) { return _mm512_cvtepi32_ps(a); }

/* The two halves of the 64-bit products a m of unsigned numbers. */
FNN_INLINE vi vi_mul_wide(vi a, uint32_t m, vi *high)
{
    const __m512i by = _mm512_set1_epi64((long long)m);
    const __m512i even = _mm512_mul_epu32(a, by), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), by);
    *high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    return _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}

FNN_INLINE vd vd_zero(void) { return _mm512_setzero_pd(); }
FNN_INLINE vd vd_set1(double a) { return _mm512_set1_pd(a); }
FNN_INLINE vd vd_load(const double *p) { return _mm512_loadu_pd(p); }
FNN_INLINE void vd_store(double *p, vd a) { _mm512_storeu_pd(p, a); }
FNN_INLINE vd vd_load_t(const double *p, vt t) { return _mm512_maskz_loadu_pd((__mmask8)t, p); }
FNN_INLINE void vd_store_t(double *p, vd a, vt t) { _mm512_mask_storeu_pd(p, (__mmask8)t, a); }
FNN_INLINE vd vd_add(vd a, vd b) { return _mm512_add_pd(a, b); }
FNN_INLINE vd vd_sub(vd a, vd b) { return _mm512_sub_pd(a, b); }
FNN_INLINE vd vd_mul(vd a, vd b) { return _mm512_mul_pd(a, b); }
FNN_INLINE vd vd_div(vd a, vd b) { return _mm512_div_pd(a, b); }
FNN_INLINE vd vd_sqrt(vd a) { return _mm512_sqrt_pd(a); }
FNN_INLINE vd vd_fma(vd a, vd b, vd c) { return _mm512_fmadd_pd(a, b, c); }
FNN_INLINE vd vd_fnmadd(vd a, vd b, vd c) { return _mm512_fnmadd_pd(a, b, c); }

FNN_INLINE vd vd_fma_literal(vd s, vd a, vd b)
{
    __asm__ volatile("vfmadd213pd %2, %1, %0" : "+v"(s) : "v"(a), "v"(b));
    return s;
}
FNN_INLINE vd vd_min2(vd a, vd b) { return _mm512_min_pd(a, b); }
FNN_INLINE vd vd_max2(vd a, vd b) { return _mm512_max_pd(a, b); }
FNN_INLINE vdm vd_lt(vd a, vd b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
FNN_INLINE vdm vd_le(vd a, vd b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
FNN_INLINE vdm vd_eq(vd a, vd b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
FNN_INLINE vd vd_select(vdm m, vd a, vd b) { return _mm512_mask_blend_pd(m, b, a); }
FNN_INLINE uint32_t vdm_bits(vdm m) { return m; }
FNN_INLINE bool vdm_all(vdm m) { return m == 0xFFu; }
FNN_INLINE vdm vdm_from_t(vt t) { return (vdm)t; }
FNN_INLINE vdm vdm_lane(size_t i) { return (vdm)(i < 8 ? 1u << i : 0u); }

/* Lanes 8 half ... 8 half + 7 of 16. */
FNN_INLINE vdm vdm_from_half(vm m, size_t half) { return (vdm)(half ? m >> 8 : m); }
FNN_INLINE vd vd_from_half(vi v, size_t half)
{
    return _mm512_cvtepi32_pd(half ? _mm512_extracti32x8_epi32(v, 1) : _mm512_castsi512_si256(v));
}

FNN_INLINE vl vd_bits(vd a) { return _mm512_castpd_si512(a); }
FNN_INLINE vd vl_double(vl a) { return _mm512_castsi512_pd(a); }
FNN_INLINE vl vl_set1(int64_t a) { return _mm512_set1_epi64(a); }
FNN_INLINE vl vl_add(vl a, vl b) { return _mm512_add_epi64(a, b); }
FNN_INLINE vl vl_sub(vl a, vl b) { return _mm512_sub_epi64(a, b); }
FNN_INLINE vl vl_and(vl a, vl b) { return _mm512_and_si512(a, b); }
FNN_INLINE vl vl_or(vl a, vl b) { return _mm512_or_si512(a, b); }
FNN_INLINE vl vl_xor(vl a, vl b) { return _mm512_xor_si512(a, b); }
#define vl_shl(a, n) _mm512_slli_epi64((a), (n))
#define vl_shr(a, n) _mm512_srli_epi64((a), (n))

/* Bytes: whole numbers from 0 to 255. */
FNN_INLINE vf vf_load_bytes(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p))); }
FNN_INLINE void vf_store_bytes(uint8_t *p, vf a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a))); }
FNN_INLINE vd vd_load_bytes(const uint8_t *p) { return _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))); }
FNN_INLINE void vd_store_bytes(uint8_t *p, vd a)
{
    _mm_storel_epi64((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_castsi256_si512(_mm512_cvttpd_epi32(a))));
}

/* Eight floats, widened; and a fold like those below: i with i+4, i+2, i+1. */
FNN_INLINE vd vd_load_f32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
FNN_INLINE double vd_sum(vd a)
{
    __m256d x = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d y = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(y, _mm_unpackhi_pd(y, y)));
}

FNN_INLINE double vd_max(vd a)
{
    __m256d x = _mm256_max_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d y = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_max_sd(y, _mm_unpackhi_pd(y, y)));
}

/* Folds: lane i with i+8, then i+4, i+2, i+1: one fixed tree. */
FNN_INLINE float vf_sum(vf a)
{
    __m256 x = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_shuffle_ps(y, y, 1)));
}

/* The largest lane; a NaN may or may not win. */
FNN_INLINE float vf_max(vf a)
{
    __m256 x = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
}

/* r[i][j] becomes r[j][i], 16 by 16. */
FNN_INLINE void vf_transpose(vf r[16])
{
    vf t[16];
    FNN_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    FNN_UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    }
    /* r[4q + c] now holds, in its 128-bit quarter p, column 4p + c of rows 4q .. 4q+3 */
    FNN_UNROLL
    for (int c = 0; c < 4; c++) {
        t[c] = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88);
        t[4 + c] = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xDD);
        t[8 + c] = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xDD);
    }
    FNN_UNROLL
    for (int c = 0; c < 4; c++) {
        r[c] = _mm512_shuffle_f32x4(t[c], t[8 + c], 0x88);
        r[8 + c] = _mm512_shuffle_f32x4(t[c], t[8 + c], 0xDD);
        r[4 + c] = _mm512_shuffle_f32x4(t[4 + c], t[12 + c], 0x88);
        r[12 + c] = _mm512_shuffle_f32x4(t[4 + c], t[12 + c], 0xDD);
    }
}

/* The same of doubles, 8 by 8. */
FNN_INLINE void vd_transpose(vd r[8])
{
    vd t[8];
    FNN_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    /* t[2q + c] now holds, in its 128-bit quarter p, column 2p + c of rows 2q and 2q + 1 */
    FNN_UNROLL
    for (int c = 0; c < 2; c++) {
        const vd a = _mm512_shuffle_f64x2(t[c], t[2 + c], 0x88), b = _mm512_shuffle_f64x2(t[4 + c], t[6 + c], 0x88);
        const vd d = _mm512_shuffle_f64x2(t[c], t[2 + c], 0xDD), e = _mm512_shuffle_f64x2(t[4 + c], t[6 + c], 0xDD);
        r[c] = _mm512_shuffle_f64x2(a, b, 0x88);
        r[4 + c] = _mm512_shuffle_f64x2(a, b, 0xDD);
        r[2 + c] = _mm512_shuffle_f64x2(d, e, 0x88);
        r[6 + c] = _mm512_shuffle_f64x2(d, e, 0xDD);
    }
}
