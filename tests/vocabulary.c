/* What each operation of the vector vocabulary and the matrix product give on one instruction set: a line each, with a digest of
 * the bits. tests/test_vocabulary.py compiles this once for each instruction set and compute type, as the files of csrc/isa/ are
 * compiled, runs it, by an emulator where the processor is another, and compares the lines.
 *
 * Every NaN counts as the same: which bits one has differs between processors. */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 1500
#define INTEGER FNN_PICK(uint32_t, uint64_t)

typedef uint64_t digest; /* FNV-1a over 64-bit words */

static void mix(digest *d, uint64_t word) { *d = (*d ^ word) * 0x100000001b3u; }

static void mix_reals(digest *d, size_t n, const real *x)
{
    for (size_t i = 0; i < n; i++) {
        INTEGER bits;
        memcpy(&bits, x + i, sizeof bits);
        mix(d, x[i] == x[i] ? bits : 1);
    }
}

static void mix_vec(digest *d, vec a)
{
    real lanes[FNN_LANES];
    v_store(lanes, a);
    mix_reals(d, FNN_LANES, lanes);
}

static void mix_doubles(digest *d, size_t n, const double *x)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, x + i, sizeof bits);
        mix(d, x[i] == x[i] ? bits : 1);
    }
}

static void mix_wide(digest *d, vwide a)
{
    double lanes[FNN_WIDE];
    vd_store(lanes, a.low);
    vd_store(lanes + FNN_VD, a.high);
    mix_doubles(d, FNN_WIDE, lanes);
}

static void mix_vr(digest *d, vr a)
{
    real lanes[FNN_VR];
    vr_store(lanes, a);
    mix_reals(d, FNN_VR, lanes);
}

#define START 0xcbf29ce484222325u

static void report(const char *name, digest d) { printf("%s %016llx\n", name, (unsigned long long)d); }

/* ---- what goes in ---- */

static uint64_t word_state = 88172645463325252u;

static uint64_t word(void)
{
    word_state ^= word_state << 13;
    word_state ^= word_state >> 7;
    word_state ^= word_state << 17;
    return word_state * 0x2545F4914F6CDD1Du;
}

/* In [-1, 1). */
static real uniform(void) { return (real)((double)(int64_t)(word() >> 11) * 0x1p-52 - 1.0); }

/* A special value, any pattern of bits, or a number of moderate size. */
static real any(void)
{
    static const real special[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, FNN_PICK(0x1p-126f, 0x1p-1022), FNN_PICK(0x1p-149f, 0x1p-1074),
                                   FNN_PICK(-0x1p-149f, -0x1p-1074), FNN_PICK(0x1.fffffep127f, 0x1.fffffffffffffp1023), 0.5, 2, -88, 89};
    const uint64_t choice = word();
    if (choice % 4 == 0) return special[choice / 4 % (sizeof special / sizeof *special)];
    if (choice % 4 == 1) {
        const INTEGER bits = (INTEGER)word();
        real value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return 20 * uniform();
}

static real number(void) /* no NaN */
{
    const real value = any();
    return value == value ? value : 3;
}

static vec vec_of(real (*draw)(void))
{
    real lanes[FNN_LANES];
    for (size_t i = 0; i < FNN_LANES; i++) lanes[i] = draw();
    return v_load(lanes);
}

/* ---- the vocabulary ---- */

/* what(...) of vectors a, b, c and, where it is meant for such, u in [-1, 1) */
#define EACH(name, statement)                                                                    \
    do {                                                                                         \
        digest d = START;                                                                        \
        for (int round = 0; round < ROUNDS; round++) {                                           \
            const vec a = vec_of(any), b = vec_of(any), c = vec_of(any), u = vec_of(uniform);    \
            (void)a, (void)b, (void)c, (void)u;                                                  \
            statement;                                                                           \
        }                                                                                        \
        report(name, d);                                                                         \
    } while (0)
#define VEC(expression) EACH(#expression, mix_vec(&d, expression))
#define MASK(expression) EACH(#expression, mix(&d, vmask_bits(expression)))

static void arithmetic(void)
{
    VEC(v_add(a, b));
    VEC(v_sub(a, b));
    VEC(v_mul(a, b));
    VEC(v_div(a, b));
    VEC(v_sqrt(a));
    VEC(v_fma(a, b, c));
    VEC(v_fma(u, a, b));
    VEC(v_fnmadd(a, b, c));
    VEC(v_fnmadd(u, a, b));
    VEC(v_neg(a));
    VEC(v_abs(a));
    VEC(v_minus_abs(a));
    VEC(v_min2(a, b));
    VEC(v_max2(a, b));
    VEC(v_zero());
    VEC(v_set1((real)0.3));
#ifdef FNN_LITERAL_FMA
    VEC(v_fma_literal(a, b, c));
#endif
    MASK(v_lt(a, b));
    MASK(v_le(a, b));
    MASK(v_eq(a, b));
    MASK(v_eq(a, a));
    VEC(v_select(v_lt(a, b), b, c));
    EACH("vmask_all", mix(&d, vmask_all(v_lt(a, b)) + 2u * vmask_all(v_lt(u, v_set1(2))) + 4u * vmask_all(v_le(a, a))));
    EACH("v_sum", real s = v_sum(u); mix_reals(&d, 1, &s));
    EACH("v_max", real s = v_max(vec_of(number)); mix_reals(&d, 1, &s));
    EACH("vr_fma", real x[3 * FNN_LANES]; v_store(x, a); v_store(x + FNN_LANES, b); v_store(x + 2 * FNN_LANES, c);
         for (size_t i = 0; i < FNN_LANES; i += FNN_VR)
             mix_vr(&d, vr_fma(vr_load(x + i), vr_load(x + FNN_LANES + i), vr_load(x + 2 * FNN_LANES + i))));
}

/* Of registers, whose number of lanes is the instruction set's own, all that a vec has. */
static void registers(void)
{
    digest d = START;
    for (int round = 0; round < ROUNDS; round++) {
        real x[2 * FNN_LANES], y[FNN_LANES];
        for (size_t i = 0; i < 2 * FNN_LANES; i++) x[i] = any();
        for (size_t i = 0; i < FNN_LANES; i += FNN_VR) vr_store(y + i, vr_zero_where_not_positive(vr_load(x + i), vr_load(x + FNN_LANES + i)));
        mix_reals(&d, FNN_LANES, y);
        for (size_t i = 0; i < FNN_LANES; i += FNN_VR) vr_store(y + i, i % 2 ? vr_zero() : vr_set1(x[0]));
        mix_reals(&d, FNN_LANES, y);
    }
    report("vr_zero_where_not_positive", d);
}

static void functions(void)
{
    VEC(v_clamp(a, -2, 3));
    VEC(v_exp(a));
    VEC(v_exp_negative(v_minus_abs(a)));
    VEC(v_exp_negative(v_minus_abs(u)));
    VEC(v_expm1_negative(v_minus_abs(a)));
    VEC(v_log(a));
    VEC(v_log(v_abs(u)));
    VEC(v_log1p_unit(v_abs(u)));
    VEC(v_sigmoid(a));
    VEC(v_tanh(a));
    VEC(v_tanh(u));
    VEC(v_gelu(a));
    VEC(v_gelu_derivative(a));
    EACH("v_turn", vec cosine; vec sine; v_turn(v_abs(u), &cosine, &sine); mix_vec(&d, cosine); mix_vec(&d, sine));
    EACH("v_transpose", vec r[FNN_LANES]; for (size_t i = 0; i < FNN_LANES; i++) r[i] = vec_of(any); v_transpose(r);
         for (size_t i = 0; i < FNN_LANES; i++) mix_vec(&d, r[i]));
}

/* Loads and stores of the first n lanes, in rooms of just so many elements: an access beyond is an error for a sanitizer, and
 * a changed element behind them one for the digest. */
static void memory(void)
{
    digest d = START;
    for (size_t n = 0; n <= 2 * FNN_LANES; n++) {
        const size_t whole = n < FNN_LANES ? n : FNN_LANES, part = n < FNN_VR ? n : FNN_VR;
        real *few = malloc((whole ? whole : 1) * sizeof(real)), out[FNN_LANES + 4];
        for (size_t i = 0; i < whole; i++) few[i] = any();
        for (size_t i = 0; i < FNN_LANES + 4; i++) out[i] = -7;
        const vt t = vt_first(n);
        mix(&d, vmask_bits(vmask_from_t(t)));
        mix(&d, vmask_bits(vmask_lane(n)));
        mix(&d, vt_count(vt_first(n < FNN_LANES ? n : FNN_LANES)));
        const vec a = v_load_t(few, t);
        mix_vec(&d, a);
        v_store_t(out + 1, vec_of(any), t);
        mix_reals(&d, FNN_LANES + 4, out);
        v_store_t(few, a, t);
        mix_reals(&d, whole, few);
        if (n <= FNN_VR) { /* as many lanes as the register has, or fewer */
            vr r = vr_load_t(few, vt_first(part));
            vr_store_t(few, r, vt_first(part));
            real lanes[FNN_VR];
            vr_store(lanes, r);
            for (size_t i = 0; i < FNN_VR; i++)
                if (memcmp(lanes + i, i < part ? few + i : &(real){0}, sizeof(real)) != 0) puts("vr_load_t is wrong");
        }
        free(few);
    }
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t bytes[FNN_LANES], back[FNN_LANES];
        for (size_t i = 0; i < FNN_LANES; i++) bytes[i] = (uint8_t)word();
        const vec a = v_load_bytes(bytes);
        mix_vec(&d, a);
        v_store_bytes(back, a);
        if (memcmp(bytes, back, sizeof bytes) != 0) puts("v_store_bytes is wrong");
    }
    report("memory", d);
}

static void integers(void)
{
    digest d = START;
    for (int round = 0; round < ROUNDS; round++) {
        int32_t x[2][FNN_VF], y[FNN_VF];
        float f[FNN_VF];
        for (size_t i = 0; i < 2 * FNN_VF; i++) x[i / FNN_VF][i % FNN_VF] = (int32_t)(word() >> (word() & 31));
        memcpy(x[1], x[0], round % 4 * sizeof(int32_t));
        memcpy(f, x[0], sizeof f);
        const vi a = vf_bits(vf_load(f));
        memcpy(f, x[1], sizeof f);
        const vi b = vf_bits(vf_load(f));
        vi high;
        const vi low = vi_mul_wide(a, 0xD2511F53u, &high);
        const vi found[] = {vi_add(a, b), vi_sub(a, b), vi_and(a, b), vi_or(a, b), vi_xor(a, b), vi_shl(a, 23), vi_sar(a, 1), vi_sar(a, 23),
                            vi_shr(a, 16), vi_shr(a, 8), vi_set1(INT32_MIN), vi_lanes(), low, high};
        for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
            vf_store(f, vi_float(found[i]));
            memcpy(y, f, sizeof y);
            for (size_t j = 0; j < FNN_VF; j++) mix(&d, (uint32_t)y[j]);
        }
        mix(&d, vm_bits(vi_lt(a, b)) | (uint64_t)vm_bits(vi_eq(a, b)) << 16);
        vf_store(f, vi_convert(a));
        for (size_t j = 0; j < FNN_VF; j++) mix(&d, (uint64_t)(int64_t)f[j]);
        for (size_t part = 0; part < FNN_VF / FNN_LANES; part++) {
            mix_vec(&d, v_of_part(a, part));
            mix(&d, vmask_bits(vmask_of_part(vi_lt(a, b), part)));
        }
    }
    report("integers", d);
    d = START;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t x[2][FNN_VD], y[FNN_VD];
        double f[FNN_VD];
        for (size_t i = 0; i < 2 * FNN_VD; i++) x[i / FNN_VD][i % FNN_VD] = (int64_t)(word() >> (word() & 63));
        memcpy(f, x[0], sizeof f);
        const vl a = vd_bits(vd_load(f));
        memcpy(f, x[1], sizeof f);
        const vl b = vd_bits(vd_load(f));
        const vl found[] = {vl_add(a, b), vl_sub(a, b), vl_and(a, b), vl_or(a, b), vl_xor(a, b), vl_shl(a, 52), vl_shl(a, 63), vl_shr(a, 52),
                            vl_shr(a, 2), vl_set1(INT64_MIN)};
        for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
            vd_store(f, vl_double(found[i]));
            memcpy(y, f, sizeof y);
            for (size_t j = 0; j < FNN_VD; j++) mix(&d, (uint64_t)y[j]);
        }
    }
    report("long integers", d);
}

static void doubles(void)
{
    EACH("v_widen", mix_wide(&d, v_widen(a)));
    EACH("vwide", real x[FNN_WIDE]; for (size_t i = 0; i < FNN_WIDE; i++) x[i] = uniform(); vwide w = vwide_load(x);
         w = vwide_fma(w, vwide_abs(w), vwide_add(vwide_mul(w, w), vwide_zero())); mix_wide(&d, w); double s = vwide_sum(w);
         mix_doubles(&d, 1, &s); s = vd_max(w.high); mix_doubles(&d, 1, &s));
}

/* ---- products ---- */

#define MOST 60000 /* elements of a matrix */

static real left[MOST], right[MOST], out[MOST], bias[1024], saved[MOST], weights[MOST], states[2][MOST], scratch[1 << 20];

static void fill(size_t n, real *x)
{
    for (size_t i = 0; i < n; i++) x[i] = uniform();
}

static real fused(real a, real b, real c) { return FNN_PICK(fmaf, fma)(a, b, c); }

/* Every element is one chain of fused multiply-adds in the order of k. */
static void check(const fnn_product *g, const real *before)
{
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            real sum = g->accumulate ? before[i * g->ldc + j] : g->bias ? g->bias[j] : 0;
            for (size_t p = 0; p < g->k; p++)
                sum = fused(g->a_transposed ? g->a[p * g->lda + i] : g->a[i * g->lda + p],
                            g->b_transposed ? g->b[j * g->ldb + p] : g->b[p * g->ldb + j], sum);
            if (memcmp(&sum, g->c + i * g->ldc + j, sizeof sum) != 0) {
                printf("product [%zu, %zu] of k = %zu is wrong at %zu, %zu\n", g->m, g->n, g->k, i, j);
                return;
            }
        }
}

static void products(void)
{
    static const size_t sizes[][3] = {{1, 1, 1},   {1, 37, 20},  {2, 16, 9},   {3, 5, 70},    {6, 16, 33},  {7, 17, 5},   {12, 3, 40},
                                      {13, 20, 0}, {17, 48, 12}, {25, 31, 64}, {33, 100, 41}, {64, 9, 100}, {80, 64, 64}, {30, 77, 700},
                                      {18, 1, 50}, {90, 560, 100}, {4, 33, 1100}};
    static real before[MOST];
    digest plain = START, finished = START, updated = START;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
        for (int form = 0; form < 16; form++) {
            fnn_product g = {.m = m, .n = n, .k = k, .a = left, .a_transposed = form & 1, .b = right, .b_transposed = form & 2,
                             .bias = (form & 5) == 4 ? bias : NULL, .accumulate = form & 8, .c = out, .ldc = n + form % 3, .alpha = 0.1,
                             .scratch = form & 4 ? scratch : NULL};
            if (form % 4 == 3 || form / 4 == 3) continue; /* not two of them at once */
            g.lda = (g.a_transposed ? m : k) + form % 2;
            g.ldb = (g.b_transposed ? k : n) + form % 3;
            fill((g.a_transposed ? k : m) * g.lda, left);
            fill((g.b_transposed ? n : k) * g.ldb, right);
            fill(n, bias);
            fill(m * g.ldc, out);
            fill(m * n, saved);
            memcpy(before, out, sizeof out);
            if (g.scratch && m * n < 1000) g.scratch = NULL;
            fnn_gemm(&g);
            check(&g, before);
            mix_reals(&plain, m * g.ldc, out);
            if (form & 8) continue;
            g.epilogue = g.b_transposed ? FNN_EPILOGUE_DERIVATIVE : FNN_EPILOGUE_ACTIVATION;
            g.activation = s % 2 ? FNN_RELU : FNN_TANH;
            g.saved = saved;
            g.ldsaved = n;
            if (g.a_transposed) {
                static const fnn_update_scalars scalars = {.lr = 0.01, .beta1 = 0.8125, .one_beta1 = 0.1875, .beta2 = 0.95, .one_beta2 = 0.05,
                                                           .inverse_sqrt_bc2 = 1.5, .eps = 1e-8};
                g.epilogue = FNN_EPILOGUE_UPDATE;
                g.rule = FNN_ADAM;
                g.scalars = &scalars;
                g.c = NULL;
                g.w = weights;
                g.ldw = n + form % 2;
                fill(m * g.ldw, weights);
                for (int q = 0; q < 2; q++) {
                    fill(m * g.ldw, states[q]);
                    for (size_t i = 0; i < m * g.ldw; i++) states[q][i] *= states[q][i];
                    g.state[q] = states[q];
                }
                fnn_gemm(&g);
                mix_reals(&updated, m * g.ldw, weights);
                mix_reals(&updated, m * g.ldw, states[0]);
                mix_reals(&updated, m * g.ldw, states[1]);
            } else {
                fnn_gemm(&g);
                mix_reals(&finished, m * g.ldc, out);
            }
        }
    }
    report("products", plain);
    report("products with an epilogue", finished);
    report("products with an update", updated);
}

int main(void)
{
    arithmetic();
    registers();
    functions();
    memory();
    integers();
    doubles();
    products();
    return 0;
}
