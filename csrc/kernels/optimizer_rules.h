/* The update rules, once, for the element type that optimizer.h has set: FNN_REAL and the vocabulary V(name).
 *
 * One frame for all: prepare the gradient (scale, clip, weight decay), apply the rule, finish (shrink, average). A rule is
 * a function on registers: from the weight w, the prepared gradient g and its states it makes the new states and returns
 * the new weight. Its line in defs/kernels.def makes two loops of it: one of the rule alone, and one with those options of the
 * frame that the step's scalars ask for, tested once a vector. What is not asked for is not computed: 0 * inf is NaN.
 *
 * w, g and the states must not overlap. Scalars beyond those that a comment explains are hyper-parameters of the same
 * name. `lr` is the rate of the step. */

typedef struct {
    V() lr, second_lr, beta1, one_beta1, beta2, one_beta2, inverse_sqrt_bc2, eps, mix, decay;
    V() gradient_scale, clip_value, weight_decay, keep, threshold, one_ema;
    bool first, decays;
} FNN_NAME(fnn_scalars);

FNN_INLINE FNN_NAME(fnn_scalars) FNN_NAME(fnn_splat)(const fnn_update_scalars *s)
{
    return (FNN_NAME(fnn_scalars)){
        .lr = V(_set1)((FNN_REAL)s->lr),
        .second_lr = V(_set1)((FNN_REAL)s->second_lr),
        .beta1 = V(_set1)((FNN_REAL)s->beta1),
        .one_beta1 = V(_set1)((FNN_REAL)s->one_beta1),
        .beta2 = V(_set1)((FNN_REAL)s->beta2),
        .one_beta2 = V(_set1)((FNN_REAL)s->one_beta2),
        .inverse_sqrt_bc2 = V(_set1)((FNN_REAL)s->inverse_sqrt_bc2),
        .eps = V(_set1)((FNN_REAL)s->eps),
        .mix = V(_set1)((FNN_REAL)s->mix),
        .decay = V(_set1)((FNN_REAL)s->decay),
        .gradient_scale = V(_set1)((FNN_REAL)s->gradient_scale),
        .clip_value = V(_set1)((FNN_REAL)s->clip_value),
        .weight_decay = V(_set1)((FNN_REAL)s->weight_decay),
        .keep = V(_set1)((FNN_REAL)s->keep),
        .threshold = V(_set1)((FNN_REAL)s->threshold),
        .one_ema = V(_set1)((FNN_REAL)s->one_ema),
        .first = s->first,
        .decays = s->decay != 0,
    };
}

/* ---- what several rules are made of ---- */

FNN_INLINE V() FNN_NAME(fnn_minus)(V() a) { return V(_sub)(V(_set1)(0), a); }

/* a - b c */
FNN_INLINE V() FNN_NAME(fnn_minus_product)(V() a, V() b, V() c) { return V(_fnmadd)(b, c, a); }

/* The larger; a NaN where either is one. */
FNN_INLINE V() FNN_NAME(fnn_larger)(V() a, V() b) { return V(_select)(V(_le)(a, b), b, V(_select)(V(_lt)(b, a), a, V(_add)(a, b))); }

FNN_INLINE V() FNN_NAME(fnn_magnitude)(V() a)
{
    const V() zero = V(_set1)(0);
    return V(_sub)(zero, V(_select)(V(_lt)(zero, a), FNN_NAME(fnn_minus)(a), a)); /* -(-0) is 0 too */
}

/* -1, 1, or 0 and NaN themselves */
FNN_INLINE V() FNN_NAME(fnn_sign)(V() a)
{
    const V() zero = V(_set1)(0);
    return V(_select)(V(_lt)(zero, a), V(_set1)(1), V(_select)(V(_lt)(a, zero), V(_set1)(-1), a));
}

/* a + weight (b - a) */
FNN_INLINE V() FNN_NAME(fnn_towards)(V() a, V() b, V() weight) { return V(_fma)(weight, V(_sub)(b, a), a); }

/* d + decay w, for the rules whose decay is part of the direction */
FNN_INLINE V() FNN_NAME(fnn_with_decay)(const FNN_NAME(fnn_scalars) * s, V() d, V() w)
{
    return s->decays ? V(_fma)(s->decay, w, d) : d;
}

/* v <- beta2 v + (1 - beta2) g^2 */
FNN_INLINE V() FNN_NAME(fnn_second_moment)(const FNN_NAME(fnn_scalars) * s, V() v, V() g)
{
    return V(_fma)(V(_mul)(s->one_beta2, g), g, V(_mul)(s->beta2, v));
}

/* sqrt(v) / sqrt(1 - beta2^t) + eps */
FNN_INLINE V() FNN_NAME(fnn_corrected_root)(const FNN_NAME(fnn_scalars) * s, V() v)
{
    return V(_fma)(V(_sqrt)(v), s->inverse_sqrt_bc2, s->eps);
}

/* ---- the rules ---- */

#define FNN_RULE(name) \
    FNN_INLINE V() FNN_NAME(fnn_##name##_rule)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1, V() * s2)
#define FNN_UNUSED(name) (void)(name)

/* w <- w - lr g */
FNN_RULE(sgd)
{
    FNN_UNUSED(s0), FNN_UNUSED(s1), FNN_UNUSED(s2);
    return FNN_NAME(fnn_minus_product)(w, s->lr, g);
}

/* v <- momentum v + share g;  w <- w - lr v.  beta1 is the momentum and one_beta1 the share: 1 - dampening as PyTorch writes
 * it (Polyak 1964), -rate with lr = -1 in the classic form, 1 - momentum in that of an average. */
FNN_RULE(momentum)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    *s0 = V(_fma)(s->beta1, *s0, V(_mul)(s->one_beta1, g));
    return FNN_NAME(fnn_minus_product)(w, s->lr, *s0);
}

/* v as above;  w <- w - lr (share g + momentum v).  Sutskever et al. 2013. */
FNN_RULE(nesterov)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    const V() shared = V(_mul)(s->one_beta1, g);
    *s0 = V(_fma)(s->beta1, *s0, shared);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_fma)(s->beta1, *s0, shared));
}

/* a <- a + g^2;  w <- w - lr g / (sqrt(a) + eps).  Duchi et al. 2011; lr is already decayed. */
FNN_RULE(adagrad)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    *s0 = V(_fma)(g, g, *s0);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(g, V(_add)(V(_sqrt)(*s0), s->eps)));
}

/* a <- rho a + (1 - rho) g^2;  d = g sqrt(b + eps) / sqrt(a + eps);  b <- rho b + (1 - rho) d^2;  w <- w - lr d.
 * Zeiler 2012; beta2 is rho. */
FNN_RULE(adadelta)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_second_moment)(s, *s0, g);
    const V() d = V(_mul)(g, V(_sqrt)(V(_div)(V(_add)(*s1, s->eps), V(_add)(*s0, s->eps))));
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, d);
    return FNN_NAME(fnn_minus_product)(w, s->lr, d);
}

/* a <- alpha a + (1 - alpha) g^2;  d = g / (sqrt(a) + eps);  w <- w - lr d.  Tieleman & Hinton 2012; beta2 is alpha. */
FNN_RULE(rmsprop)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_second_moment)(s, *s0, g);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(g, V(_add)(V(_sqrt)(*s0), s->eps)));
}

/* d as above;  b <- momentum b + d;  w <- w - lr b.  beta1 is the momentum. */
FNN_RULE(rmsprop_momentum)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_second_moment)(s, *s0, g);
    *s1 = V(_fma)(s->beta1, *s1, V(_div)(g, V(_add)(V(_sqrt)(*s0), s->eps)));
    return FNN_NAME(fnn_minus_product)(w, s->lr, *s1);
}

/* a as above;  c <- c + (1 - alpha)(g - c);  d = g / (sqrt(a - c^2) + eps), the root of a variance, which rounding must
 * not make negative.  Graves 2013. */
FNN_INLINE V() FNN_NAME(fnn_centered)(const FNN_NAME(fnn_scalars) * s, V() g, V() * square, V() * mean)
{
    *square = FNN_NAME(fnn_second_moment)(s, *square, g);
    *mean = FNN_NAME(fnn_towards)(*mean, g, s->one_beta2);
    const V() zero = V(_set1)(0), variance = FNN_NAME(fnn_minus_product)(*square, *mean, *mean);
    return V(_div)(g, V(_add)(V(_sqrt)(V(_select)(V(_lt)(variance, zero), zero, variance)), s->eps));
}

/* d with a and c;  w <- w - lr d */
FNN_RULE(rmsprop_centered)
{
    FNN_UNUSED(s2);
    return FNN_NAME(fnn_minus_product)(w, s->lr, FNN_NAME(fnn_centered)(s, g, s0, s1));
}

/* d with a and c;  b <- momentum b + d;  w <- w - lr b.  States: a, b, c. */
FNN_RULE(rmsprop_centered_momentum)
{
    *s1 = V(_fma)(s->beta1, *s1, FNN_NAME(fnn_centered)(s, g, s0, s2));
    return FNN_NAME(fnn_minus_product)(w, s->lr, *s1);
}

/* m <- m + (1 - beta1)(g - m);  v <- beta2 v + (1 - beta2) g^2;  w <- w - lr m / (sqrt(v) / sqrt(1 - beta2^t) + eps), with lr
 * already divided by 1 - beta1^t.  Kingma & Ba 2015; in the reordered form lr takes the root too and eps is their eps hat. */
FNN_RULE(adam)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_towards)(*s0, g, s->one_beta1);
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, g);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(*s0, FNN_NAME(fnn_corrected_root)(s, *s1)));
}

/* As adam, with the largest v so far in place of v.  Reddi et al. 2018. */
FNN_RULE(amsgrad)
{
    *s0 = FNN_NAME(fnn_towards)(*s0, g, s->one_beta1);
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, g);
    *s2 = FNN_NAME(fnn_larger)(*s2, *s1);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(*s0, FNN_NAME(fnn_corrected_root)(s, *s2)));
}

/* m, v as in adam;  w <- w - (second_lr g + lr m) / (sqrt(v) / sqrt(1 - beta2^t) + eps).  Dozat 2016. */
FNN_RULE(nadam)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_towards)(*s0, g, s->one_beta1);
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, g);
    const V() ahead = V(_fma)(s->lr, *s0, V(_mul)(s->second_lr, g));
    return V(_sub)(w, V(_div)(ahead, FNN_NAME(fnn_corrected_root)(s, *s1)));
}

/* m as in adam;  u <- max(beta2 u, |g| + eps);  w <- w - lr m / u, lr already divided by 1 - beta1^t.  Kingma & Ba 2015. */
FNN_RULE(adamax)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_towards)(*s0, g, s->one_beta1);
    *s1 = FNN_NAME(fnn_larger)(V(_mul)(s->beta2, *s1), V(_add)(FNN_NAME(fnn_magnitude)(g), s->eps));
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(*s0, *s1));
}

/* m, v as in adam;  w <- w - lr m / (sqrt(v) + eps), lr with the rectification and both corrections; while the variance
 * cannot be rectified (`first`) w <- w - lr m.  Liu et al. 2020. */
FNN_RULE(radam)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_towards)(*s0, g, s->one_beta1);
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, g);
    if (s->first) return FNN_NAME(fnn_minus_product)(w, s->lr, *s0);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(*s0, V(_add)(V(_sqrt)(*s1), s->eps)));
}

/* w <- w - lr (sign(beta1 m + (1 - beta1) g) + decay w);  m <- beta2 m + (1 - beta2) g.  Chen et al. 2023. */
FNN_RULE(lion)
{
    FNN_UNUSED(s1), FNN_UNUSED(s2);
    const V() direction = V(_fma)(s->beta1, *s0, V(_mul)(s->one_beta1, g));
    *s0 = V(_fma)(s->beta2, *s0, V(_mul)(s->one_beta2, g));
    return FNN_NAME(fnn_minus_product)(w, s->lr, FNN_NAME(fnn_with_decay)(s, FNN_NAME(fnn_sign)(direction), w));
}

/* v as in adam;  d = g / (sqrt(v) / sqrt(1 - beta2^t) + eps) + decay w;  w <- w + mix (z - w) - second_lr d;  z <- z - lr d;
 * in the first step z starts from w.  Defazio et al. 2024; w is their y. */
FNN_RULE(schedule_free)
{
    FNN_UNUSED(s2);
    if (s->first) *s0 = w;
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, g);
    const V() d = FNN_NAME(fnn_with_decay)(s, V(_div)(g, FNN_NAME(fnn_corrected_root)(s, *s1)), w);
    const V() y = FNN_NAME(fnn_minus_product)(FNN_NAME(fnn_towards)(w, *s0, s->mix), s->second_lr, d);
    *s0 = FNN_NAME(fnn_minus_product)(*s0, s->lr, d);
    return y;
}

/* m, v as in adam; w follows in trust_update, once the norms over the whole array are known.  You et al. 2020. */
FNN_RULE(lamb)
{
    FNN_UNUSED(s2);
    *s0 = FNN_NAME(fnn_towards)(*s0, g, s->one_beta1);
    *s1 = FNN_NAME(fnn_second_moment)(s, *s1, g);
    return w;
}

/* ---- the frame ---- */

FNN_INLINE V() FNN_NAME(fnn_prepare_gradient)(const unsigned options, const FNN_NAME(fnn_scalars) * s, V() w, V() g)
{
    if (options & FNN_SCALE) g = V(_mul)(s->gradient_scale, g);
    if (options & FNN_CLIP) {
        const V() low = FNN_NAME(fnn_minus)(s->clip_value);
        g = V(_select)(V(_lt)(s->clip_value, g), s->clip_value, V(_select)(V(_lt)(g, low), low, g));
    }
    if (options & FNN_L2) g = V(_fma)(s->weight_decay, w, g);
    return g;
}

/* w - threshold, w + threshold, or 0 between them; NaN stays */
FNN_INLINE V() FNN_NAME(fnn_shrink)(const FNN_NAME(fnn_scalars) * s, V() w)
{
    const V() zero = V(_set1)(0), t = s->threshold;
    const V() less = V(_select)(V(_lt)(w, FNN_NAME(fnn_minus)(t)), V(_add)(w, t), V(_fma)(w, zero, zero));
    return V(_select)(V(_lt)(t, w), V(_sub)(w, t), less);
}

FNN_INLINE V() FNN_NAME(fnn_averaged)(const FNN_NAME(fnn_scalars) * s, const bool start, V() average, V() w)
{
    return start ? w : FNN_NAME(fnn_towards)(average, w, s->one_ema);
}

FNN_INLINE V() FNN_NAME(fnn_get)(const bool whole, const FNN_REAL *p, vt t) { return whole ? V(_load)(p) : V(_load_t)(p, t); }

FNN_INLINE void FNN_NAME(fnn_put)(const bool whole, FNN_REAL *p, V() a, vt t)
{
    if (whole)
        V(_store)(p, a);
    else
        V(_store_t)(p, a, t);
}

typedef V() FNN_NAME(fnn_rule)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1, V() * s2);

/* One vector, or the part of one that `t` says: at i, in g at ig. */
FNN_INLINE void FNN_NAME(fnn_update_vector)(FNN_NAME(fnn_rule) * rule, const int states, const bool whole,
                                            const unsigned options, const bool start, const FNN_NAME(fnn_scalars) * s,
                                            size_t i, size_t ig, vt t, FNN_REAL *w, const FNN_REAL *g, FNN_REAL *s0, FNN_REAL *s1,
                                            FNN_REAL *s2, FNN_REAL *average)
{
    V() vw = FNN_NAME(fnn_get)(whole, w + i, t), vg = FNN_NAME(fnn_get)(whole, g + ig, t), v0 = vg, v1 = vg, v2 = vg;
    if (states > 0) v0 = FNN_NAME(fnn_get)(whole, s0 + i, t);
    if (states > 1) v1 = FNN_NAME(fnn_get)(whole, s1 + i, t);
    if (states > 2) v2 = FNN_NAME(fnn_get)(whole, s2 + i, t);
    if (options) vg = FNN_NAME(fnn_prepare_gradient)(options, s, vw, vg);
    if (options & FNN_DECAY) vw = V(_mul)(s->keep, vw);
    vw = rule(s, vw, vg, &v0, &v1, &v2);
    if (options & FNN_THRESHOLD) vw = FNN_NAME(fnn_shrink)(s, vw);
    if (rule != FNN_NAME(fnn_lamb_rule)) FNN_NAME(fnn_put)(whole, w + i, vw, t); /* lamb's moves later: nothing to write */
    if (states > 0) FNN_NAME(fnn_put)(whole, s0 + i, v0, t);
    if (states > 1) FNN_NAME(fnn_put)(whole, s1 + i, v1, t);
    if (states > 2) FNN_NAME(fnn_put)(whole, s2 + i, v2, t);
    if (options & FNN_EMA)
        FNN_NAME(fnn_put)(whole, average + i, FNN_NAME(fnn_averaged)(s, start, FNN_NAME(fnn_get)(whole, average + i, t), vw), t);
}

/* One pass over `rows` rows of n elements, those of w and of the states ldw apart, those of g ldg; `rule`, `states` and `plain`
 * are constants wherever this is called. */
FNN_INLINE void FNN_NAME(fnn_update_loop)(FNN_NAME(fnn_rule) * rule, const int states, const bool plain, size_t rows, size_t n,
                                          const fnn_update_scalars *scalars, FNN_REAL *w, size_t ldw, const FNN_REAL *g,
                                          size_t ldg, FNN_REAL *const state[FNN_STATES])
{
    const FNN_NAME(fnn_scalars) s = FNN_NAME(fnn_splat)(scalars);
    const unsigned options = plain ? 0 : scalars->options;
    const bool start = !plain && scalars->start;
    const vt all = vt_first(FNN_LANES), rest = vt_first(n % FNN_LANES);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = r * ldw, from = r * ldg;
        size_t j = 0;
        for (; j + FNN_LANES <= n; j += FNN_LANES)
            FNN_NAME(fnn_update_vector)(rule, states, true, options, start, &s, at + j, from + j, all, w, g, state[0], state[1], state[2], state[FNN_AVERAGE]);
        if (j < n)
            FNN_NAME(fnn_update_vector)(rule, states, false, options, start, &s, at + j, from + j, rest, w, g, state[0], state[1], state[2], state[FNN_AVERAGE]);
    }
}

#define FNN_UPDATE(code, name, states)                                                                                 \
    static void FNN_NAME(fnn_##name)(size_t rows, size_t n, const fnn_update_scalars *s, FNN_REAL *w, size_t ldw,      \
                                     const FNN_REAL *g, size_t ldg, FNN_REAL *const state[FNN_STATES])                 \
    {                                                                                                                  \
        if (s->options)                                                                                                \
            FNN_NAME(fnn_update_loop)(FNN_NAME(fnn_##name##_rule), states, false, rows, n, s, w, ldw, g, ldg, state);  \
        else                                                                                                           \
            FNN_NAME(fnn_update_loop)(FNN_NAME(fnn_##name##_rule), states, true, rows, n, s, w, ldw, g, ldg, state);   \
    }
#include "../defs/kernels.def"
#undef FNN_UPDATE

/* ---- passes of their own, behind the update ---- */

/* LAMB's direction: d = m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + decay w; `mix` is 1 / (1 - beta1^t). */
FNN_INLINE V() FNN_NAME(fnn_trust_direction)(const FNN_NAME(fnn_scalars) * s, V() w, V() m, V() v)
{
    return FNN_NAME(fnn_with_decay)(s, V(_div)(V(_mul)(s->mix, m), FNN_NAME(fnn_corrected_root)(s, v)), w);
}

/* sums = |w|^2, |d|^2 */
static void FNN_NAME(fnn_trust_norms)(size_t n, const fnn_update_scalars *scalars, const FNN_REAL *w, const FNN_REAL *m,
                                      const FNN_REAL *v, double sums[2])
{
    const FNN_NAME(fnn_scalars) s = FNN_NAME(fnn_splat)(scalars);
    sums[0] = FNN_NAME(fnn_sum_squares)(n, w);
    sums[1] = 0.0;
    FNN_REAL direction[256] __attribute__((aligned(64)));
    for (size_t i = 0; i < n; i += 256) {
        const size_t count = n - i < 256 ? n - i : 256;
        size_t j = 0;
        for (; j + FNN_LANES <= count; j += FNN_LANES) {
            const size_t at = i + j;
            V(_store)(direction + j, FNN_NAME(fnn_trust_direction)(&s, V(_load)(w + at), V(_load)(m + at), V(_load)(v + at)));
        }
        if (j < count) {
            const size_t at = i + j;
            const vt t = vt_first(count - j);
            V(_store)(direction + j, FNN_NAME(fnn_trust_direction)(&s, V(_load_t)(w + at, t), V(_load_t)(m + at, t), V(_load_t)(v + at, t)));
        }
        sums[1] += FNN_NAME(fnn_sum_squares)(count, direction);
    }
}

/* w <- w - lr ratio d, then what finishes an update */
FNN_INLINE void FNN_NAME(fnn_trust_vector)(const bool whole, const unsigned options, const bool start,
                                           const FNN_NAME(fnn_scalars) * s, V() lr, size_t i, vt t, FNN_REAL *w,
                                           const FNN_REAL *m, const FNN_REAL *v, FNN_REAL *average)
{
    V() vw = FNN_NAME(fnn_get)(whole, w + i, t);
    vw = FNN_NAME(fnn_minus_product)(
        vw, lr, FNN_NAME(fnn_trust_direction)(s, vw, FNN_NAME(fnn_get)(whole, m + i, t), FNN_NAME(fnn_get)(whole, v + i, t)));
    if (options & FNN_THRESHOLD) vw = FNN_NAME(fnn_shrink)(s, vw);
    FNN_NAME(fnn_put)(whole, w + i, vw, t);
    if (options & FNN_EMA)
        FNN_NAME(fnn_put)(whole, average + i, FNN_NAME(fnn_averaged)(s, start, FNN_NAME(fnn_get)(whole, average + i, t), vw), t);
}

static void FNN_NAME(fnn_trust_update)(size_t n, const fnn_update_scalars *scalars, double ratio, FNN_REAL *w,
                                       const FNN_REAL *m, const FNN_REAL *v, FNN_REAL *average)
{
    const FNN_NAME(fnn_scalars) s = FNN_NAME(fnn_splat)(scalars);
    const V() lr = V(_set1)((FNN_REAL)(scalars->lr * ratio));
    const unsigned options = scalars->options;
    const vt all = vt_first(FNN_LANES);
    size_t i = 0;
    for (; i + FNN_LANES <= n; i += FNN_LANES)
        FNN_NAME(fnn_trust_vector)(true, options, scalars->start, &s, lr, i, all, w, m, v, average);
    if (i < n) FNN_NAME(fnn_trust_vector)(false, options, scalars->start, &s, lr, i, vt_first(n - i), w, m, v, average);
}

/* A unit of n weights side by side: scaled to max_norm if its norm is above; then the average, where there is one. */
static void FNN_NAME(fnn_max_norm_unit)(size_t n, const fnn_update_scalars *scalars, FNN_REAL *w, FNN_REAL *average)
{
    const FNN_NAME(fnn_scalars) s = FNN_NAME(fnn_splat)(scalars);
    const double norm = __builtin_sqrt(FNN_NAME(fnn_sum_squares)(n, w));
    const bool scale = norm > scalars->max_norm;
    const V() factor = V(_set1)((FNN_REAL)(scalars->max_norm / norm));
    for (size_t i = 0; (scale || average) && i < n; i += FNN_LANES) {
        const vt t = vt_first(n - i < FNN_LANES ? n - i : FNN_LANES);
        V() vw = V(_load_t)(w + i, t);
        if (scale) vw = V(_mul)(factor, vw);
        if (scale) V(_store_t)(w + i, vw, t);
        if (average)
            V(_store_t)(average + i, FNN_NAME(fnn_averaged)(&s, scalars->start, V(_load_t)(average + i, t), vw), t);
    }
}

/* The same for each column of w [rows, columns], a unit of its own: at most FNN_LANES columns. Without `limit` only the
 * average. */
static void FNN_NAME(fnn_max_norm)(size_t rows, size_t columns, bool limit, const fnn_update_scalars *scalars,
                                   FNN_REAL *w, FNN_REAL *average, size_t ld)
{
    const FNN_NAME(fnn_scalars) s = FNN_NAME(fnn_splat)(scalars);
    const vt t = vt_first(columns);
    FNN_REAL factor[FNN_LANES];
    double sum[FNN_LANES] = {0};
    bool scale = false;
    if (limit && columns == FNN_LANES) {
        vd sums[FNN_LANES / FNN_VD];
        for (size_t h = 0; h < FNN_LANES / FNN_VD; h++) sums[h] = vd_set1(0.0);
        for (size_t i = 0; i < rows; i++) {
            for (size_t h = 0; h < FNN_LANES / FNN_VD; h++) {
                const vd x = FNN_WIDEN(w + i * ld + h * FNN_VD);
                sums[h] = vd_add(sums[h], vd_mul(x, x));
            }
        }
        for (size_t h = 0; h < FNN_LANES / FNN_VD; h++) vd_store(sum + h * FNN_VD, sums[h]);
    } else if (limit) { /* the same, one by one */
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) sum[j] += (double)w[i * ld + j] * (double)w[i * ld + j];
    }
    for (size_t j = 0; j < FNN_LANES; j++) {
        const double norm = __builtin_sqrt(sum[j]);
        const bool above = norm > scalars->max_norm;
        factor[j] = above ? (FNN_REAL)(scalars->max_norm / norm) : 1;
        scale |= above;
    }
    const V() factors = V(_load)(factor);
    for (size_t i = 0; (scale || average) && i < rows; i++) {
        FNN_REAL *row = w + i * ld, *mean = average ? average + i * ld : NULL;
        V() vw = V(_load_t)(row, t);
        if (scale) vw = V(_mul)(factors, vw);
        if (scale) V(_store_t)(row, vw, t);
        if (average) V(_store_t)(mean, FNN_NAME(fnn_averaged)(&s, scalars->start, V(_load_t)(mean, t), vw), t);
    }
}

#undef FNN_RULE
#undef FNN_UNUSED
