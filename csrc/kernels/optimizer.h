/* The optimizers' update rules. What a new one needs in C: its body here, and its line in
 * defs/update_rules.def.
 *
 * One frame for all: prepare the gradient (scale, clip, weight decay), apply the rule, finish (shrink, average). A rule is
 * a function on registers: from the weight w, the prepared gradient g and its states it makes the new states and returns
 * the new weight. Its line in defs/update_rules.def makes two loops of it: one of the rule alone, and one with those options of the
 * frame that the step's scalars ask for, tested once a vector. What is not asked for is not computed: 0 * inf is NaN.
 *
 * w, g and the states must not overlap. Scalars beyond those that a comment explains are hyper-parameters of the same
 * name. `lr` is the rate of the step. */
#ifndef FNN_KERNELS_OPTIMIZER_H
#define FNN_KERNELS_OPTIMIZER_H

#include "../simd/real.h"
#include "norm.h"

typedef struct {
    vec lr, second_lr, beta1, one_beta1, beta2, one_beta2, inverse_sqrt_bc2, eps, mix, decay;
    vec gradient_scale, clip_value, weight_decay, keep, threshold, one_ema;
    bool first, decays;
} fnn_scalars;

FNN_INLINE fnn_scalars fnn_splat(const fnn_update_scalars *s)
{
    return (fnn_scalars){
        .lr = v_set1((real)s->lr),
        .second_lr = v_set1((real)s->second_lr),
        .beta1 = v_set1((real)s->beta1),
        .one_beta1 = v_set1((real)s->one_beta1),
        .beta2 = v_set1((real)s->beta2),
        .one_beta2 = v_set1((real)s->one_beta2),
        .inverse_sqrt_bc2 = v_set1((real)s->inverse_sqrt_bc2),
        .eps = v_set1((real)s->eps),
        .mix = v_set1((real)s->mix),
        .decay = v_set1((real)s->decay),
        .gradient_scale = v_set1((real)s->gradient_scale),
        .clip_value = v_set1((real)s->clip_value),
        .weight_decay = v_set1((real)s->weight_decay),
        .keep = v_set1((real)s->keep),
        .threshold = v_set1((real)s->threshold),
        .one_ema = v_set1((real)s->one_ema),
        .first = s->first,
        .decays = s->decay != 0,
    };
}

/* ---- what several rules are made of ---- */

FNN_INLINE vec fnn_minus(vec a) { return v_sub(v_set1(0), a); }

/* a - b c */
FNN_INLINE vec fnn_minus_product(vec a, vec b, vec c) { return v_fnmadd(b, c, a); }

/* The larger; a NaN where either is one. */
FNN_INLINE vec fnn_larger_or_nan(vec a, vec b) { return v_select(v_le(a, b), b, v_select(v_lt(b, a), a, v_add(a, b))); }

FNN_INLINE vec fnn_magnitude(vec a)
{
    const vec zero = v_set1(0);
    return v_sub(zero, v_select(v_lt(zero, a), fnn_minus(a), a)); /* -(-0) is 0 too */
}

/* -1, 1, or 0 and NaN themselves */
FNN_INLINE vec fnn_sign(vec a)
{
    const vec zero = v_set1(0);
    return v_select(v_lt(zero, a), v_set1(1), v_select(v_lt(a, zero), v_set1(-1), a));
}

/* a + weight (b - a) */
FNN_INLINE vec fnn_towards(vec a, vec b, vec weight) { return v_fma(weight, v_sub(b, a), a); }

/* d + decay w, for the rules whose decay is part of the direction */
FNN_INLINE vec fnn_with_decay(const fnn_scalars *s, vec d, vec w)
{
    return s->decays ? v_fma(s->decay, w, d) : d;
}

/* v <- beta2 v + (1 - beta2) g^2 */
FNN_INLINE vec fnn_second_moment(const fnn_scalars *s, vec v, vec g)
{
    return v_fma(v_mul(s->one_beta2, g), g, v_mul(s->beta2, v));
}

/* sqrt(v) / sqrt(1 - beta2^t) + eps */
FNN_INLINE vec fnn_corrected_root(const fnn_scalars *s, vec v)
{
    return v_fma(v_sqrt(v), s->inverse_sqrt_bc2, s->eps);
}

/* ---- the rules ---- */

#define FNN_RULE(name) \
    FNN_INLINE vec fnn_##name##_rule(const fnn_scalars *s, vec w, vec g, vec *s0, vec *s1, vec *s2)
#define FNN_UNUSED(name) (void)(name)

/* w <- w - lr g */
FNN_RULE(sgd)
{
    FNN_UNUSED(s0), FNN_UNUSED(s1), FNN_UNUSED(s2);
    return fnn_minus_product(w, s->lr, g);
}

/* v <- momentum v + share g;  w <- w - lr v.  beta1 is the momentum and one_beta1 the share: 1 - dampening as PyTorch writes
 * it (Polyak 1964), -rate with lr = -1 in the classic form, 1 - momentum in that of an average. */
FNN_RULE(momentum)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    *s0 = v_fma(s->beta1, *s0, v_mul(s->one_beta1, g));
    return fnn_minus_product(w, s->lr, *s0);
}

/* v as above;  w <- w - lr (share g + momentum v).  Sutskever et al. 2013. */
FNN_RULE(nesterov)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    const vec shared = v_mul(s->one_beta1, g);
    *s0 = v_fma(s->beta1, *s0, shared);
    return fnn_minus_product(w, s->lr, v_fma(s->beta1, *s0, shared));
}

/* a <- a + g^2;  w <- w - lr g / (sqrt(a) + eps).  Duchi et al. 2011; lr is already decayed. */
FNN_RULE(adagrad)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    *s0 = v_fma(g, g, *s0);
    return fnn_minus_product(w, s->lr, v_div(g, v_add(v_sqrt(*s0), s->eps)));
}

/* a <- rho a + (1 - rho) g^2;  d = g sqrt(b + eps) / sqrt(a + eps);  b <- rho b + (1 - rho) d^2;  w <- w - lr d.
 * Zeiler 2012; beta2 is rho. */
FNN_RULE(adadelta)
{
    FNN_UNUSED(s2);
    *s0 = fnn_second_moment(s, *s0, g);
    const vec d = v_mul(g, v_sqrt(v_div(v_add(*s1, s->eps), v_add(*s0, s->eps))));
    *s1 = fnn_second_moment(s, *s1, d);
    return fnn_minus_product(w, s->lr, d);
}

/* a <- alpha a + (1 - alpha) g^2;  d = g / (sqrt(a) + eps);  w <- w - lr d.  Tieleman & Hinton 2012; beta2 is alpha. */
FNN_RULE(rmsprop)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    *s0 = fnn_second_moment(s, *s0, g);
    return fnn_minus_product(w, s->lr, v_div(g, v_add(v_sqrt(*s0), s->eps)));
}

/* d as above;  b <- momentum b + d;  w <- w - lr b.  beta1 is the momentum. */
FNN_RULE(rmsprop_momentum)
{
    FNN_UNUSED(s2);
    *s0 = fnn_second_moment(s, *s0, g);
    *s1 = v_fma(s->beta1, *s1, v_div(g, v_add(v_sqrt(*s0), s->eps)));
    return fnn_minus_product(w, s->lr, *s1);
}

/* a as above;  c <- c + (1 - alpha)(g - c);  d = g / (sqrt(a - c^2) + eps), the root of a variance, which rounding must
 * not make negative.  Graves 2013. */
FNN_INLINE vec fnn_centered(const fnn_scalars *s, vec g, vec *square, vec *mean)
{
    *square = fnn_second_moment(s, *square, g);
    *mean = fnn_towards(*mean, g, s->one_beta2);
    const vec zero = v_set1(0), variance = fnn_minus_product(*square, *mean, *mean);
    return v_div(g, v_add(v_sqrt(v_select(v_lt(variance, zero), zero, variance)), s->eps));
}

/* d with a and c;  w <- w - lr d */
FNN_RULE(rmsprop_centered)
{
    FNN_UNUSED(s2);
    return fnn_minus_product(w, s->lr, fnn_centered(s, g, s0, s1));
}

/* d with a and c;  b <- momentum b + d;  w <- w - lr b.  States: a, b, c. */
FNN_RULE(rmsprop_centered_momentum)
{
    *s1 = v_fma(s->beta1, *s1, fnn_centered(s, g, s0, s2));
    return fnn_minus_product(w, s->lr, *s1);
}

/* m <- m + (1 - beta1)(g - m);  v <- beta2 v + (1 - beta2) g^2;  w <- w - lr m / (sqrt(v) / sqrt(1 - beta2^t) + eps), with lr
 * already divided by 1 - beta1^t.  Kingma & Ba 2015; in the reordered form lr takes the root too and eps is their eps hat. */
FNN_RULE(adam)
{
    FNN_UNUSED(s2);
    *s0 = fnn_towards(*s0, g, s->one_beta1);
    *s1 = fnn_second_moment(s, *s1, g);
    return fnn_minus_product(w, s->lr, v_div(*s0, fnn_corrected_root(s, *s1)));
}

/* As adam, with the largest v so far in place of v.  Reddi et al. 2018. */
FNN_RULE(amsgrad)
{
    *s0 = fnn_towards(*s0, g, s->one_beta1);
    *s1 = fnn_second_moment(s, *s1, g);
    *s2 = fnn_larger_or_nan(*s2, *s1);
    return fnn_minus_product(w, s->lr, v_div(*s0, fnn_corrected_root(s, *s2)));
}

/* m, v as in adam;  w <- w - (second_lr g + lr m) / (sqrt(v) / sqrt(1 - beta2^t) + eps).  Dozat 2016. */
FNN_RULE(nadam)
{
    FNN_UNUSED(s2);
    *s0 = fnn_towards(*s0, g, s->one_beta1);
    *s1 = fnn_second_moment(s, *s1, g);
    const vec ahead = v_fma(s->lr, *s0, v_mul(s->second_lr, g));
    return v_sub(w, v_div(ahead, fnn_corrected_root(s, *s1)));
}

/* m as in adam;  u <- max(beta2 u, |g| + eps);  w <- w - lr m / u, lr already divided by 1 - beta1^t.  Kingma & Ba 2015. */
FNN_RULE(adamax)
{
    FNN_UNUSED(s2);
    *s0 = fnn_towards(*s0, g, s->one_beta1);
    *s1 = fnn_larger_or_nan(v_mul(s->beta2, *s1), v_add(fnn_magnitude(g), s->eps));
    return fnn_minus_product(w, s->lr, v_div(*s0, *s1));
}

/* m, v as in adam;  w <- w - lr m / (sqrt(v) + eps), lr with the rectification and both corrections; while the variance
 * cannot be rectified (`first`) w <- w - lr m.  Liu et al. 2020. */
FNN_RULE(radam)
{
    FNN_UNUSED(s2);
    *s0 = fnn_towards(*s0, g, s->one_beta1);
    *s1 = fnn_second_moment(s, *s1, g);
    if (s->first) return fnn_minus_product(w, s->lr, *s0);
    return fnn_minus_product(w, s->lr, v_div(*s0, v_add(v_sqrt(*s1), s->eps)));
}

/* w <- w - lr (sign(beta1 m + (1 - beta1) g) + decay w);  m <- beta2 m + (1 - beta2) g.  Chen et al. 2023. */
FNN_RULE(lion)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    const vec direction = v_fma(s->beta1, *s0, v_mul(s->one_beta1, g));
    *s0 = v_fma(s->beta2, *s0, v_mul(s->one_beta2, g));
    return fnn_minus_product(w, s->lr, fnn_with_decay(s, fnn_sign(direction), w));
}

/* v as in adam;  d = g / (sqrt(v) / sqrt(1 - beta2^t) + eps) + decay w;  w <- w + mix (z - w) - second_lr d;  z <- z - lr d;
 * in the first step z starts from w.  Defazio et al. 2024; w is their y. */
FNN_RULE(schedule_free)
{
    FNN_UNUSED(s2);
    if (s->first) *s0 = w;
    *s1 = fnn_second_moment(s, *s1, g);
    const vec d = fnn_with_decay(s, v_div(g, fnn_corrected_root(s, *s1)), w);
    const vec y = fnn_minus_product(fnn_towards(w, *s0, s->mix), s->second_lr, d);
    *s0 = fnn_minus_product(*s0, s->lr, d);
    return y;
}

/* m, v as in adam; w follows in trust_update, once the norms over the whole array are known.  You et al. 2020. */
FNN_RULE(lamb)
{
    FNN_UNUSED(s2);
    *s0 = fnn_towards(*s0, g, s->one_beta1);
    *s1 = fnn_second_moment(s, *s1, g);
    return w;
}

/* w <- w - lr u: g is the update that ops/whole_update.c has made of the gradient. */
FNN_RULE(adafactor)
{
    FNN_UNUSED(s0), FNN_UNUSED(s1), FNN_UNUSED(s2);
    return fnn_minus_product(w, s->lr, g);
}

/* Of arrays that are no matrices: as adam. */
FNN_RULE(muon) { return fnn_adam_rule(s, w, g, s0, s1, s2); }

/* ---- the frame ---- */

FNN_INLINE vec fnn_prepare_gradient(const unsigned options, const fnn_scalars *s, vec w, vec g)
{
    if (options & FNN_SCALE) g = v_mul(s->gradient_scale, g);
    if (options & FNN_CLIP) {
        const vec low = fnn_minus(s->clip_value);
        g = v_select(v_lt(s->clip_value, g), s->clip_value, v_select(v_lt(g, low), low, g));
    }
    if (options & FNN_L2) g = v_fma(s->weight_decay, w, g);
    return g;
}

/* w - threshold, w + threshold, or 0 between them; NaN stays */
FNN_INLINE vec fnn_shrink(const fnn_scalars *s, vec w)
{
    const vec zero = v_set1(0), t = s->threshold;
    const vec less = v_select(v_lt(w, fnn_minus(t)), v_add(w, t), v_fma(w, zero, zero));
    return v_select(v_lt(t, w), v_sub(w, t), less);
}

FNN_INLINE vec fnn_averaged(const fnn_scalars *s, const bool start, vec average, vec w)
{
    return start ? w : fnn_towards(average, w, s->one_ema);
}

/* The states of the elements from `at` on. */
FNN_INLINE void fnn_states_at(real *to[FNN_STATES], real *const state[FNN_STATES], size_t at)
{
    for (int i = 0; i < FNN_STATES; i++) to[i] = state[i] ? state[i] + at : NULL;
}

typedef vec fnn_rule(const fnn_scalars *s, vec w, vec g, vec *s0, vec *s1, vec *s2);

/* One vector, or the part of one that `t` says: at i, in g at ig. */
FNN_INLINE void fnn_update_vector(fnn_rule * rule, const int states, const unsigned traits, const bool whole,
                                  const unsigned options, const bool start, const fnn_scalars *s,
                                  size_t i, size_t ig, vt t, real *w, const real *g, real *s0, real *s1,
                                  real *s2, real *average)
{
    vec vw = fnn_part_load(whole, w + i, t), vg = fnn_part_load(whole, g + ig, t), v0 = vg, v1 = vg, v2 = vg;
    if (states > 0) v0 = fnn_part_load(whole, s0 + i, t);
    if (states > 1) v1 = fnn_part_load(whole, s1 + i, t);
    if (states > 2) v2 = fnn_part_load(whole, s2 + i, t);
    if (options) vg = fnn_prepare_gradient(options, s, vw, vg);
    if (options & FNN_DECAY) vw = v_mul(s->keep, vw);
    vw = rule(s, vw, vg, &v0, &v1, &v2);
    if (options & FNN_THRESHOLD) vw = fnn_shrink(s, vw);
    if (!(traits & FNN_TRAIT_trust)) fnn_part_store(whole, w + i, vw, t); /* else it moves later: nothing to write */
    if (states > 0) fnn_part_store(whole, s0 + i, v0, t);
    if (states > 1) fnn_part_store(whole, s1 + i, v1, t);
    if (states > 2) fnn_part_store(whole, s2 + i, v2, t);
    if (options & FNN_EMA)
        fnn_part_store(whole, average + i, fnn_averaged(s, start, fnn_part_load(whole, average + i, t), vw), t);
}

/* One pass over `rows` rows of n elements, those of w and of the states ldw apart, those of g ldg; `rule`, `states`, `traits` and
 * `plain` are constants wherever this is called. */
FNN_INLINE void fnn_update_loop(fnn_rule * rule, const int states, const unsigned traits, const bool plain, size_t rows, size_t n,
                                const fnn_update_scalars *scalars, real *w, size_t ldw, const real *g,
                                size_t ldg, real *const state[FNN_STATES])
{
    const fnn_scalars s = fnn_splat(scalars);
    const unsigned options = plain ? 0 : scalars->options;
    const bool start = !plain && scalars->start;
    const vt all = vt_first(FNN_LANES), rest = vt_first(n % FNN_LANES);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = r * ldw, from = r * ldg;
        size_t j = 0;
        for (; j + FNN_LANES <= n; j += FNN_LANES)
            fnn_update_vector(rule, states, traits, true, options, start, &s, at + j, from + j, all, w, g, state[0], state[1],
                              state[2], state[FNN_AVERAGE]);
        if (j < n)
            fnn_update_vector(rule, states, traits, false, options, start, &s, at + j, from + j, rest, w, g, state[0],
                              state[1], state[2], state[FNN_AVERAGE]);
    }
}

#define FNN_STATE(name) +1
#define FNN_TRAIT(name) | FNN_TRAIT_##name
#define FNN_UPDATE(code, name, states, matrix_states, hyper, memory, traits, ...)                                      \
    static void fnn_##name(size_t rows, size_t n, const fnn_update_scalars *s, real *w, size_t ldw,                    \
                           const real *g, size_t ldg, real *const state[FNN_STATES])                                   \
    {                                                                                                                  \
        if (s->options)                                                                                                \
            fnn_update_loop(fnn_##name##_rule, 0 states, 0 traits, false, rows, n, s, w, ldw, g, ldg, state);          \
        else                                                                                                           \
            fnn_update_loop(fnn_##name##_rule, 0 states, 0 traits, true, rows, n, s, w, ldw, g, ldg, state);           \
    }
#include "../defs/update_rules.def"
#undef FNN_UPDATE
#undef FNN_STATE
#undef FNN_TRAIT

/* ---- passes of their own, behind the update ---- */

/* LAMB's direction: d = m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + decay w; `mix` is 1 / (1 - beta1^t). */
FNN_INLINE vec fnn_trust_direction(const fnn_scalars *s, vec w, vec m, vec v)
{
    return fnn_with_decay(s, v_div(v_mul(s->mix, m), fnn_corrected_root(s, v)), w);
}

/* sums = |w|^2, |d|^2 */
static void fnn_trust_norms(size_t n, const fnn_update_scalars *scalars, const real *w, const real *m,
                            const real *v, double sums[2])
{
    const fnn_scalars s = fnn_splat(scalars);
    sums[0] = fnn_sum_squares(n, w);
    sums[1] = 0.0;
    real direction[256] __attribute__((aligned(64)));
    for (size_t i = 0; i < n; i += 256) {
        const size_t count = n - i < 256 ? n - i : 256;
        size_t j = 0;
        for (; j + FNN_LANES <= count; j += FNN_LANES) {
            const size_t at = i + j;
            v_store(direction + j, fnn_trust_direction(&s, v_load(w + at), v_load(m + at), v_load(v + at)));
        }
        if (j < count) {
            const size_t at = i + j;
            const vt t = vt_first(count - j);
            v_store(direction + j, fnn_trust_direction(&s, v_load_t(w + at, t), v_load_t(m + at, t), v_load_t(v + at, t)));
        }
        sums[1] += fnn_sum_squares(count, direction);
    }
}

/* w <- w - lr ratio d, then what finishes an update */
FNN_INLINE void fnn_trust_vector(const bool whole, const unsigned options, const bool start,
                                 const fnn_scalars *s, vec lr, size_t i, vt t, real *w,
                                 const real *m, const real *v, real *average)
{
    vec vw = fnn_part_load(whole, w + i, t);
    vw = fnn_minus_product(
        vw, lr, fnn_trust_direction(s, vw, fnn_part_load(whole, m + i, t), fnn_part_load(whole, v + i, t)));
    if (options & FNN_THRESHOLD) vw = fnn_shrink(s, vw);
    fnn_part_store(whole, w + i, vw, t);
    if (options & FNN_EMA)
        fnn_part_store(whole, average + i, fnn_averaged(s, start, fnn_part_load(whole, average + i, t), vw), t);
}

static void fnn_trust_update(size_t n, const fnn_update_scalars *scalars, double ratio, real *w,
                             const real *m, const real *v, real *average)
{
    const fnn_scalars s = fnn_splat(scalars);
    const vec lr = v_set1((real)(scalars->lr * ratio));
    const unsigned options = scalars->options;
    const vt all = vt_first(FNN_LANES);
    size_t i = 0;
    for (; i + FNN_LANES <= n; i += FNN_LANES)
        fnn_trust_vector(true, options, scalars->start, &s, lr, i, all, w, m, v, average);
    if (i < n) fnn_trust_vector(false, options, scalars->start, &s, lr, i, vt_first(n - i), w, m, v, average);
}

/* A unit of n weights side by side: scaled to max_norm if its norm is above; then the average, where there is one. */
static void fnn_max_norm_unit(size_t n, const fnn_update_scalars *scalars, real *w, real *average)
{
    const fnn_scalars s = fnn_splat(scalars);
    const double norm = __builtin_sqrt(fnn_sum_squares(n, w));
    const bool scale = norm > scalars->max_norm;
    const vec factor = v_set1((real)(scalars->max_norm / norm));
    for (size_t i = 0; (scale || average) && i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        vec vw = v_load_t(w + i, t);
        if (scale) vw = v_mul(factor, vw);
        if (scale) v_store_t(w + i, vw, t);
        if (average)
            v_store_t(average + i, fnn_averaged(&s, scalars->start, v_load_t(average + i, t), vw), t);
    }
}

/* Sums of the squares of each of at most FNN_LANES columns. */
static void fnn_square_columns(size_t rows, size_t columns, const real *x, size_t ld, double *sum)
{
    for (size_t j = 0; j < columns; j++) sum[j] = 0.0;
    if (columns == FNN_LANES) {
        vd sums[FNN_LANES / FNN_VD];
        for (size_t h = 0; h < FNN_LANES / FNN_VD; h++) sums[h] = vd_set1(0.0);
        for (size_t i = 0; i < rows; i++) {
            for (size_t h = 0; h < FNN_LANES / FNN_VD; h++) {
                const vd v = vd_load_real(x + i * ld + h * FNN_VD);
                sums[h] = vd_add(sums[h], vd_mul(v, v));
            }
        }
        for (size_t h = 0; h < FNN_LANES / FNN_VD; h++) vd_store(sum + h * FNN_VD, sums[h]);
    } else { /* the same, one by one */
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) sum[j] += (double)x[i * ld + j] * (double)x[i * ld + j];
    }
}

/* The same for each column of w [rows, columns], a unit of its own: at most FNN_LANES columns. Without `limit` only the
 * average. */
static void fnn_max_norm(size_t rows, size_t columns, bool limit, const fnn_update_scalars *scalars,
                         real *w, real *average, size_t ld)
{
    const fnn_scalars s = fnn_splat(scalars);
    const vt t = vt_first(columns);
    real factor[FNN_LANES];
    double sum[FNN_LANES] = {0};
    bool scale = false;
    if (limit) fnn_square_columns(rows, columns, w, ld, sum);
    for (size_t j = 0; j < FNN_LANES; j++) {
        const double norm = __builtin_sqrt(sum[j]);
        const bool above = norm > scalars->max_norm;
        factor[j] = above ? (real)(scalars->max_norm / norm) : 1;
        scale |= above;
    }
    const vec factors = v_load(factor);
    for (size_t i = 0; (scale || average) && i < rows; i++) {
        real *row = w + i * ld, *mean = average ? average + i * ld : NULL;
        vec vw = v_load_t(row, t);
        if (scale) vw = v_mul(factors, vw);
        if (scale) v_store_t(row, vw, t);
        if (average) v_store_t(mean, fnn_averaged(&s, scalars->start, v_load_t(mean, t), vw), t);
    }
}

#undef FNN_RULE
#undef FNN_UNUSED

#endif
