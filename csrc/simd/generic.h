/* The vocabulary of simd.h in plain C for any machine: a vf is four GNU vectors of four floats, which the compiler
 * maps to SSE2, NEON or scalars. It has no fused multiply-add: vf_fma rounds twice. */

/* Micro-tile of the matrix product: 2 rows of 4 registers of accumulators, 4 of B, 1 broadcast, 1 for the product. */
#define FNN_MR 2
#define FNN_NV 1
#define FNN_ROW_NV 2 /* vectors of a one-row tile */
#define FNN_PEAK_NV 3 /* vectors of the loop of nothing but products and sums: 12 registers of 16, and 2 of constants */

typedef float fnn_f4 __attribute__((vector_size(16)));
typedef int32_t fnn_i4 __attribute__((vector_size(16)));
typedef double fnn_d2 __attribute__((vector_size(16)));
typedef int64_t fnn_l2 __attribute__((vector_size(16)));

typedef struct { fnn_f4 q[4]; } vf;
typedef struct { fnn_i4 q[4]; } vi;
typedef struct { fnn_i4 q[4]; } vm;
typedef struct { fnn_d2 q[4]; } vd;
typedef struct { fnn_l2 q[4]; } vl;
typedef struct { fnn_l2 q[4]; } vdm;
typedef struct { size_t n; } vt;

FNN_INLINE vt vt_first(size_t n) { return (vt){n < 16 ? n : 16}; }
FNN_INLINE size_t vt_count(vt t) { return t.n; }

FNN_INLINE vf vf_set1(float a) { FNN_QUARTERS(vf, ((fnn_f4){a, a, a, a})); }
FNN_INLINE vf vf_zero(void) { return vf_set1(0.0f); }
FNN_INLINE vf vf_load(const float *p) { vf r; memcpy(&r, p, sizeof r); return r; }
FNN_INLINE void vf_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
FNN_INLINE vf vf_load_t(const float *p, vt t)
{
    if (t.n >= FNN_VF) return vf_load(p);
    float tile[FNN_VF] = {0};
    for (size_t i = 0; i < t.n; i++) tile[i] = p[i];
    return vf_load(tile);
}
FNN_INLINE void vf_store_t(float *p, vf a, vt t)
{
    if (t.n >= FNN_VF) {
        vf_store(p, a);
        return;
    }
    float tile[FNN_VF];
    vf_store(tile, a);
    for (size_t i = 0; i < t.n; i++) p[i] = tile[i];
}

FNN_INLINE vf vf_add(vf a, vf b) { FNN_QUARTERS(vf, a.q[i] + b.q[i]); }
FNN_INLINE vf vf_sub(vf a, vf b) { FNN_QUARTERS(vf, a.q[i] - b.q[i]); }
FNN_INLINE vf vf_mul(vf a, vf b) { FNN_QUARTERS(vf, a.q[i] * b.q[i]); }
FNN_INLINE vf vf_div(vf a, vf b) { FNN_QUARTERS(vf, a.q[i] / b.q[i]); }
FNN_INLINE vf vf_fma(vf a, vf b, vf c) { FNN_QUARTERS(vf, a.q[i] * b.q[i] + c.q[i]); }
FNN_INLINE vf vf_fnmadd(vf a, vf b, vf c) { FNN_QUARTERS(vf, c.q[i] - a.q[i] * b.q[i]); }
FNN_INLINE vf vf_sqrt(vf a)
{
    FNN_QUARTERS(vf, ((fnn_f4){__builtin_sqrtf(a.q[i][0]), __builtin_sqrtf(a.q[i][1]), __builtin_sqrtf(a.q[i][2]),
                               __builtin_sqrtf(a.q[i][3])}));
}

FNN_INLINE vm vf_lt(vf a, vf b) { FNN_QUARTERS(vm, a.q[i] < b.q[i]); }
FNN_INLINE vm vf_le(vf a, vf b) { FNN_QUARTERS(vm, a.q[i] <= b.q[i]); }
FNN_INLINE vm vf_eq(vf a, vf b) { FNN_QUARTERS(vm, a.q[i] == b.q[i]); }
FNN_INLINE vf vf_select(vm m, vf a, vf b)
{
    FNN_QUARTERS(vf, (fnn_f4)((m.q[i] & (fnn_i4)a.q[i]) | (~m.q[i] & (fnn_i4)b.q[i])));
}
FNN_INLINE vf vf_min2(vf a, vf b) { return vf_select(vf_lt(a, b), a, b); }
FNN_INLINE vf vf_max2(vf a, vf b) { return vf_select(vf_lt(b, a), a, b); }
FNN_INLINE bool vm_all(vm m)
{
    const fnn_i4 all = (m.q[0] & m.q[1]) & (m.q[2] & m.q[3]);
    return (all[0] & all[1] & all[2] & all[3]) != 0;
}
FNN_INLINE uint32_t vm_bits(vm m)
{
    uint32_t bits = 0;
    for (int i = 0; i < FNN_VF; i++) bits |= (uint32_t)(m.q[i / 4][i % 4] & 1) << i;
    return bits;
}
FNN_INLINE vm vm_from_t(vt t)
{
    const fnn_i4 lane = {0, 1, 2, 3};
    const int32_t n = (int32_t)(t.n < FNN_VF ? t.n : FNN_VF);
    FNN_QUARTERS(vm, lane + 4 * i < n);
}

FNN_INLINE vm vm_lane(size_t n)
{
    const fnn_i4 lane = {0, 1, 2, 3};
    const int32_t at = (int32_t)(n < FNN_VF ? n : FNN_VF);
    FNN_QUARTERS(vm, lane + 4 * i == at);
}

FNN_INLINE vi vf_bits(vf a) { FNN_QUARTERS(vi, (fnn_i4)a.q[i]); }
FNN_INLINE vf vi_float(vi a) { FNN_QUARTERS(vf, (fnn_f4)a.q[i]); }
FNN_INLINE vi vi_set1(int32_t a) { FNN_QUARTERS(vi, ((fnn_i4){a, a, a, a})); }
FNN_INLINE vi vi_add(vi a, vi b) { FNN_QUARTERS(vi, a.q[i] + b.q[i]); }
FNN_INLINE vi vi_sub(vi a, vi b) { FNN_QUARTERS(vi, a.q[i] - b.q[i]); }
FNN_INLINE vi vi_and(vi a, vi b) { FNN_QUARTERS(vi, a.q[i] & b.q[i]); }
FNN_INLINE vi vi_or(vi a, vi b) { FNN_QUARTERS(vi, a.q[i] | b.q[i]); }
FNN_INLINE vi vi_xor(vi a, vi b) { FNN_QUARTERS(vi, a.q[i] ^ b.q[i]); }
FNN_INLINE vi vi_shl(vi a, int n)
{
    typedef uint32_t u4 __attribute__((vector_size(16)));
    FNN_QUARTERS(vi, (fnn_i4)((u4)a.q[i] << n));
}
FNN_INLINE vi vi_sar(vi a, int n) { FNN_QUARTERS(vi, a.q[i] >> n); }
FNN_INLINE vi vi_shr(vi a, int n)
{
    typedef uint32_t u4 __attribute__((vector_size(16)));
    FNN_QUARTERS(vi, (fnn_i4)((u4)a.q[i] >> n));
}
FNN_INLINE vm vi_lt(vi a, vi b) { FNN_QUARTERS(vm, a.q[i] < b.q[i]); }
FNN_INLINE vm vi_eq(vi a, vi b) { FNN_QUARTERS(vm, a.q[i] == b.q[i]); }
FNN_INLINE vi vi_lanes(void) { FNN_QUARTERS(vi, ((fnn_i4){4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3})); }

/* The two halves of the 64-bit products a m of unsigned numbers. */
FNN_INLINE vi vi_mul_wide(vi a, uint32_t m, vi *high)
{
    uint32_t from[FNN_VF], upper[FNN_VF], lower[FNN_VF];
    memcpy(from, &a, sizeof from);
    for (int i = 0; i < FNN_VF; i++) {
        const uint64_t product = (uint64_t)from[i] * m;
        lower[i] = (uint32_t)product;
        upper[i] = (uint32_t)(product >> 32);
    }
    memcpy(high, upper, sizeof upper);
    memcpy(&a, lower, sizeof lower);
    return a;
}

FNN_INLINE vf vi_convert(vi a) { FNN_QUARTERS(vf, __builtin_convertvector(a.q[i], fnn_f4)); }

FNN_INLINE vd vd_set1(double a) { FNN_QUARTERS(vd, ((fnn_d2){a, a})); }
FNN_INLINE vd vd_zero(void) { return vd_set1(0.0); }
FNN_INLINE vd vd_load(const double *p) { vd r; memcpy(&r, p, sizeof r); return r; }
FNN_INLINE void vd_store(double *p, vd a) { memcpy(p, &a, sizeof a); }
FNN_INLINE vd vd_load_t(const double *p, vt t)
{
    if (t.n >= FNN_VD) return vd_load(p);
    double tile[FNN_VD] = {0};
    for (size_t i = 0; i < t.n; i++) tile[i] = p[i];
    return vd_load(tile);
}
FNN_INLINE void vd_store_t(double *p, vd a, vt t)
{
    if (t.n >= FNN_VD) {
        vd_store(p, a);
        return;
    }
    double tile[FNN_VD];
    vd_store(tile, a);
    for (size_t i = 0; i < t.n; i++) p[i] = tile[i];
}
FNN_INLINE vd vd_add(vd a, vd b) { FNN_QUARTERS(vd, a.q[i] + b.q[i]); }
FNN_INLINE vd vd_sub(vd a, vd b) { FNN_QUARTERS(vd, a.q[i] - b.q[i]); }
FNN_INLINE vd vd_mul(vd a, vd b) { FNN_QUARTERS(vd, a.q[i] * b.q[i]); }
FNN_INLINE vd vd_div(vd a, vd b) { FNN_QUARTERS(vd, a.q[i] / b.q[i]); }
FNN_INLINE vd vd_fma(vd a, vd b, vd c) { FNN_QUARTERS(vd, a.q[i] * b.q[i] + c.q[i]); }
FNN_INLINE vd vd_fnmadd(vd a, vd b, vd c) { FNN_QUARTERS(vd, c.q[i] - a.q[i] * b.q[i]); }
FNN_INLINE vd vd_sqrt(vd a) { FNN_QUARTERS(vd, ((fnn_d2){__builtin_sqrt(a.q[i][0]), __builtin_sqrt(a.q[i][1])})); }

FNN_INLINE vdm vd_lt(vd a, vd b) { FNN_QUARTERS(vdm, a.q[i] < b.q[i]); }
FNN_INLINE vdm vd_le(vd a, vd b) { FNN_QUARTERS(vdm, a.q[i] <= b.q[i]); }
FNN_INLINE vdm vd_eq(vd a, vd b) { FNN_QUARTERS(vdm, a.q[i] == b.q[i]); }
FNN_INLINE vd vd_select(vdm m, vd a, vd b)
{
    FNN_QUARTERS(vd, (fnn_d2)((m.q[i] & (fnn_l2)a.q[i]) | (~m.q[i] & (fnn_l2)b.q[i])));
}
FNN_INLINE vd vd_min2(vd a, vd b) { return vd_select(vd_lt(a, b), a, b); }
FNN_INLINE vd vd_max2(vd a, vd b) { return vd_select(vd_lt(b, a), a, b); }
FNN_INLINE uint32_t vdm_bits(vdm m)
{
    uint32_t bits = 0;
    for (int i = 0; i < FNN_VD; i++) bits |= (uint32_t)(m.q[i / 2][i % 2] & 1) << i;
    return bits;
}
FNN_INLINE bool vdm_all(vdm m)
{
    const fnn_l2 all = (m.q[0] & m.q[1]) & (m.q[2] & m.q[3]);
    return (all[0] & all[1]) != 0;
}
FNN_INLINE vdm vdm_from_t(vt t)
{
    const fnn_l2 lane = {0, 1};
    const int64_t n = (int64_t)t.n;
    FNN_QUARTERS(vdm, lane + 2 * i < n);
}
FNN_INLINE vdm vdm_lane(size_t n)
{
    const fnn_l2 lane = {0, 1};
    const int64_t at = (int64_t)(n < FNN_VD ? n : FNN_VD);
    FNN_QUARTERS(vdm, lane + 2 * i == at);
}

/* Lanes 8 half ... 8 half + 7 of 16. */
FNN_INLINE vdm vdm_from_half(vm m, size_t half)
{
    FNN_QUARTERS(vdm, ((fnn_l2){m.q[2 * half + i / 2][2 * i % 4], m.q[2 * half + i / 2][2 * i % 4 + 1]}));
}
FNN_INLINE vd vd_from_half(vi a, size_t half)
{
    FNN_QUARTERS(vd, ((fnn_d2){(double)a.q[2 * half + i / 2][2 * i % 4], (double)a.q[2 * half + i / 2][2 * i % 4 + 1]}));
}

FNN_INLINE vl vd_bits(vd a) { FNN_QUARTERS(vl, (fnn_l2)a.q[i]); }
FNN_INLINE vd vl_double(vl a) { FNN_QUARTERS(vd, (fnn_d2)a.q[i]); }
FNN_INLINE vl vl_set1(int64_t a) { FNN_QUARTERS(vl, ((fnn_l2){a, a})); }
FNN_INLINE vl vl_add(vl a, vl b) { FNN_QUARTERS(vl, a.q[i] + b.q[i]); }
FNN_INLINE vl vl_sub(vl a, vl b) { FNN_QUARTERS(vl, a.q[i] - b.q[i]); }
FNN_INLINE vl vl_and(vl a, vl b) { FNN_QUARTERS(vl, a.q[i] & b.q[i]); }
FNN_INLINE vl vl_or(vl a, vl b) { FNN_QUARTERS(vl, a.q[i] | b.q[i]); }
FNN_INLINE vl vl_xor(vl a, vl b) { FNN_QUARTERS(vl, a.q[i] ^ b.q[i]); }
FNN_INLINE vl vl_shl(vl a, int n)
{
    typedef uint64_t u2 __attribute__((vector_size(16)));
    FNN_QUARTERS(vl, (fnn_l2)((u2)a.q[i] << n));
}
FNN_INLINE vl vl_shr(vl a, int n)
{
    typedef uint64_t u2 __attribute__((vector_size(16)));
    FNN_QUARTERS(vl, (fnn_l2)((u2)a.q[i] >> n));
}

/* Bytes: whole numbers from 0 to 255. */
FNN_INLINE vf vf_load_bytes(const uint8_t *p)
{
    FNN_QUARTERS(vf, ((fnn_f4){(float)p[4 * i], (float)p[4 * i + 1], (float)p[4 * i + 2], (float)p[4 * i + 3]}));
}
FNN_INLINE void vf_store_bytes(uint8_t *p, vf a)
{
    for (int i = 0; i < FNN_VF; i++) p[i] = (uint8_t)(int32_t)a.q[i / 4][i % 4];
}
FNN_INLINE vd vd_load_bytes(const uint8_t *p) { FNN_QUARTERS(vd, ((fnn_d2){(double)p[2 * i], (double)p[2 * i + 1]})); }
FNN_INLINE void vd_store_bytes(uint8_t *p, vd a)
{
    for (int i = 0; i < FNN_VD; i++) p[i] = (uint8_t)(int32_t)a.q[i / 2][i % 2];
}

/* Eight floats, widened; and a fold like those below: i with i+4, i+2, i+1. */
FNN_INLINE vd vd_load_f32(const float *p) { FNN_QUARTERS(vd, ((fnn_d2){(double)p[2 * i], (double)p[2 * i + 1]})); }
FNN_INLINE double vd_sum(vd a)
{
    const fnn_d2 x = (a.q[0] + a.q[2]) + (a.q[1] + a.q[3]);
    return x[0] + x[1];
}

FNN_INLINE double vd_max(vd a)
{
    double m = a.q[0][0];
    for (int i = 1; i < FNN_VD; i++) m = a.q[i / 2][i % 2] > m ? a.q[i / 2][i % 2] : m;
    return m;
}

/* Folds: lane i with i+8, then i+4, i+2, i+1: one fixed tree. */
FNN_INLINE float vf_sum(vf a)
{
    const fnn_f4 x = (a.q[0] + a.q[2]) + (a.q[1] + a.q[3]);
    return (x[0] + x[2]) + (x[1] + x[3]);
}

/* The largest lane; a NaN may or may not win. */
FNN_INLINE float vf_max(vf a)
{
    float m = a.q[0][0];
    for (int i = 1; i < FNN_VF; i++) m = a.q[i / 4][i % 4] > m ? a.q[i / 4][i % 4] : m;
    return m;
}

/* r[i][j] becomes r[j][i], 16 by 16. */
FNN_INLINE void vf_transpose(vf r[16])
{
    float tile[16][16];
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) tile[j][i] = r[i].q[j / 4][j % 4];
    for (int i = 0; i < 16; i++) r[i] = vf_load(tile[i]);
}

/* The same of doubles, 8 by 8. */
FNN_INLINE void vd_transpose(vd r[8])
{
    double tile[8][8];
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) tile[j][i] = r[i].q[j / 2][j % 2];
    for (int i = 0; i < 8; i++) r[i] = vd_load(tile[i]);
}
