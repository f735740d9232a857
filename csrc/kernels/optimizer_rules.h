/* The update rules, once, for the element type that optimizer.h has set: FNN_REAL and the vocabulary V(name).
 * Each rule is a loop body over registers: gradient g (weight decay already added), weight w, states s0, s1.
 * w, g, s0 and s1 must not overlap. Formulas: Sutskever et al. 2013 (momentum, as PyTorch writes it), Kingma & Ba 2015. */

typedef struct {
    V() lr, gradient_scale, weight_decay, beta1, one_beta1, beta2, one_beta2, inverse_sqrt_bc2, eps;
} FNN_NAME(fnn_scalars);

FNN_INLINE FNN_NAME(fnn_scalars) FNN_NAME(fnn_splat)(const fnn_update_scalars *s)
{
    return (FNN_NAME(fnn_scalars)){
        .lr = V(_set1)((FNN_REAL)s->lr),
        .gradient_scale = V(_set1)((FNN_REAL)s->gradient_scale),
        .weight_decay = V(_set1)((FNN_REAL)s->weight_decay),
        .beta1 = V(_set1)((FNN_REAL)s->beta1),
        .one_beta1 = V(_set1)((FNN_REAL)s->one_beta1),
        .beta2 = V(_set1)((FNN_REAL)s->beta2),
        .one_beta2 = V(_set1)((FNN_REAL)s->one_beta2),
        .inverse_sqrt_bc2 = V(_set1)((FNN_REAL)s->inverse_sqrt_bc2),
        .eps = V(_set1)((FNN_REAL)s->eps),
    };
}

/* a - b c */
FNN_INLINE V() FNN_NAME(fnn_minus_product)(V() a, V() b, V() c) { return V(_fma)(V(_sub)(V(_set1)(0), b), c, a); }

/* w <- w - lr g */
FNN_INLINE V() FNN_NAME(fnn_sgd_plain)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1)
{
    (void)s0;
    (void)s1;
    return FNN_NAME(fnn_minus_product)(w, s->lr, g);
}

/* v <- momentum v + (1 - dampening) g;  w <- w - lr v */
FNN_INLINE V() FNN_NAME(fnn_sgd_momentum)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1)
{
    (void)s1;
    *s0 = V(_fma)(s->beta1, *s0, V(_mul)(s->one_beta1, g));
    return FNN_NAME(fnn_minus_product)(w, s->lr, *s0);
}

/* v as above;  w <- w - lr (g + momentum v) */
FNN_INLINE V() FNN_NAME(fnn_sgd_nesterov)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1)
{
    (void)s1;
    *s0 = V(_fma)(s->beta1, *s0, V(_mul)(s->one_beta1, g));
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_fma)(s->beta1, *s0, g));
}

/* m <- m + (1 - beta1)(g - m);  v <- beta2 v + (1 - beta2) g^2;
 * w <- w - lr m / (sqrt(v) / sqrt(1 - beta2^t) + eps), with lr already divided by 1 - beta1^t */
FNN_INLINE V() FNN_NAME(fnn_adam_rule)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1)
{
    *s0 = V(_fma)(s->one_beta1, V(_sub)(g, *s0), *s0);
    *s1 = V(_fma)(V(_mul)(s->one_beta2, g), g, V(_mul)(s->beta2, *s1));
    const V() denominator = V(_fma)(V(_sqrt)(*s1), s->inverse_sqrt_bc2, s->eps);
    return FNN_NAME(fnn_minus_product)(w, s->lr, V(_div)(*s0, denominator));
}

/* One pass over n elements. `rule`, `scaled`, `decay` and `states` are constants wherever this is called, so each call
 * is a loop of its own with no choice inside. */
typedef V() FNN_NAME(fnn_rule)(const FNN_NAME(fnn_scalars) * s, V() w, V() g, V() * s0, V() * s1);

FNN_INLINE void FNN_NAME(fnn_update_loop)(FNN_NAME(fnn_rule) * rule, const bool scaled, const bool decay,
                                          const int states, size_t n, const fnn_update_scalars *scalars, FNN_REAL *w,
                                          const FNN_REAL *g, FNN_REAL *s0, FNN_REAL *s1)
{
    const FNN_NAME(fnn_scalars) s = FNN_NAME(fnn_splat)(scalars);
    size_t i = 0;
    for (; i + FNN_LANES <= n; i += FNN_LANES) {
        V() vw = V(_load)(w + i), vg = V(_load)(g + i), v0 = vg, v1 = vg;
        if (states > 0) v0 = V(_load)(s0 + i);
        if (states > 1) v1 = V(_load)(s1 + i);
        if (scaled) vg = V(_mul)(s.gradient_scale, vg);
        if (decay) vg = V(_fma)(s.weight_decay, vw, vg);
        V(_store)(w + i, rule(&s, vw, vg, &v0, &v1));
        if (states > 0) V(_store)(s0 + i, v0);
        if (states > 1) V(_store)(s1 + i, v1);
    }
    if (i < n) {
        const vt t = vt_first(n - i);
        V() vw = V(_load_t)(w + i, t), vg = V(_load_t)(g + i, t), v0 = vg, v1 = vg;
        if (states > 0) v0 = V(_load_t)(s0 + i, t);
        if (states > 1) v1 = V(_load_t)(s1 + i, t);
        if (scaled) vg = V(_mul)(s.gradient_scale, vg);
        if (decay) vg = V(_fma)(s.weight_decay, vw, vg);
        V(_store_t)(w + i, rule(&s, vw, vg, &v0, &v1), t);
        if (states > 0) V(_store_t)(s0 + i, v0, t);
        if (states > 1) V(_store_t)(s1 + i, v1, t);
    }
}

/* Scaling and decay are only done when asked for: 0 * inf would be NaN. */
#define FNN_UPDATE_WITH(rule, states)                                                            \
    do {                                                                                         \
        const bool decay = s->weight_decay != 0;                                                 \
        if (s->gradient_scale != 1 && decay)                                                     \
            FNN_NAME(fnn_update_loop)(FNN_NAME(rule), true, true, states, n, s, w, g, s0, s1);    \
        else if (s->gradient_scale != 1)                                                         \
            FNN_NAME(fnn_update_loop)(FNN_NAME(rule), true, false, states, n, s, w, g, s0, s1);   \
        else if (decay)                                                                          \
            FNN_NAME(fnn_update_loop)(FNN_NAME(rule), false, true, states, n, s, w, g, s0, s1);   \
        else                                                                                     \
            FNN_NAME(fnn_update_loop)(FNN_NAME(rule), false, false, states, n, s, w, g, s0, s1);  \
    } while (0)

static void FNN_NAME(fnn_sgd)(size_t n, const fnn_update_scalars *s, FNN_REAL *w, const FNN_REAL *g, FNN_REAL *s0,
                              FNN_REAL *s1)
{
    if (!s0)
        FNN_UPDATE_WITH(fnn_sgd_plain, 0);
    else if (s->nesterov)
        FNN_UPDATE_WITH(fnn_sgd_nesterov, 1);
    else
        FNN_UPDATE_WITH(fnn_sgd_momentum, 1);
}

static void FNN_NAME(fnn_adam)(size_t n, const fnn_update_scalars *s, FNN_REAL *w, const FNN_REAL *g, FNN_REAL *s0,
                               FNN_REAL *s1)
{
    FNN_UPDATE_WITH(fnn_adam_rule, 2);
}

#undef FNN_UPDATE_WITH
