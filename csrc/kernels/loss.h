/* Losses with their gradients in one pass over the rows. Row losses are in double, times the row's weight w_i where there is
 * one; gradients are times scale w_i, rounded once, scale = 1 / batch for the mean. A NaN in an output or a target is NaN in the
 * row's loss and in the output's gradient, but a row of weight 0 is left out: what is in it cannot make either of them NaN.
 *
 * Softmax cross-entropy of logits z with targets t (integer labels are one-hot rows):
 *   loss_i = w_i sum_j t'_ij (log sum_k e^z_ik - z_ij)         terms with t'_ij = 0 count 0
 *   dz_ij  = (softmax(z_i)_j sum_k t'_ik - t'_ij) scale w_i    t'_ij = c_j ((1 - smoothing) t_ij + smoothing / classes)
 * Stable for any finite logits, since the row's maximum is subtracted first.
 *
 * Elementwise losses of outputs z with targets t, loss_i = w_i sum_j l(z_ij, t_ij) (or the mean), with d = z - t:
 *   squared         d^2                                                        2 d
 *   absolute        |d|                                                        sign d
 *   Huber           d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2)   d held to [-delta, delta]
 *   Poisson         e^z - t z, or z - t log(z + eps)                           e^z - t, or 1 - t / (z + eps)
 *     full: for t > 1 also Stirling's t log t - t + log(2 pi t) / 2; a rate z + eps below 0 is NaN in both
 *   binary entropy  (p t + q (1 - t)) L + p t max(-z, 0) + q (1 - t) max(z, 0)  (p t + q (1 - t)) sigmoid(z) - p t
 *     with L = log(1 + e^-|z|); p, q: the weights of class 1 and class 0; 0 times an infinite logit is 0, and so in the others
 *   hinge           m = max(0, margin - s z), or m^2; times p or q             -s, or -2 s m, where m > 0
 *     with s = 1 where t > 0 (weight p), else -1 (weight q)
 *   quantile        q d where d > 0, else -p d                                 q, or -p, or 0 where d = 0
 * Weights may also be w_ij, of each output.
 *
 * Multi-class hinge (Weston & Watkins 1999), y the row's label: loss_i = w_i c_y sum_{j != y} max(0, z_j - z_y + margin), or the
 * sum of the squares. */
#ifndef FNN_KERNELS_LOSS_H
#define FNN_KERNELS_LOSS_H

#include "softmax.h"

/* The first position of a row's largest value, which is max; n where the row has a NaN. */
FNN_INLINE size_t fnn_argmax(const real *x, size_t n, real max)
{
    size_t first = n;
    for (size_t j = 0; j < n; j += FNN_LANES) {
        const vec v = fnn_row_load_logits(x, j, n);
        const uint32_t valid = n - j < FNN_LANES ? (1u << (n - j)) - 1u : FNN_ALL_LANES;
        if (~vmask_bits(v_eq(v, v)) & valid) return n;
        const uint32_t hit = vmask_bits(v_eq(v, v_set1(max))) & valid;
        if (hit && first == n) first = j + (size_t)__builtin_ctz(hit);
    }
    return first;
}

/* The weight of a row, and the factor of its gradient. */
FNN_INLINE double fnn_row_weight(const fnn_loss *o, size_t i) { return o->weight ? (double)o->weight[i * o->ldw] : 1.0; }
FNN_INLINE real fnn_row_scale(const fnn_loss *o, size_t i) { return (real)(o->scale * fnn_row_weight(o, i)); }

/* Whether a row's label says to ignore it; whether a row is left out; and a row's loss with its weight. */
FNN_INLINE bool fnn_ignored(const fnn_loss *o, size_t i) { return o->ignores && o->labels && o->labels[i] < 0; }
FNN_INLINE bool fnn_left_out(const fnn_loss *o, size_t i)
{
    return fnn_ignored(o, i) || (o->weight && o->weight[i * o->ldw] == 0.0);
}
FNN_INLINE double fnn_row_loss(const fnn_loss *o, size_t i, double loss)
{
    return fnn_left_out(o, i) ? 0.0 : !o->weight ? loss : loss * fnn_row_weight(o, i);
}

/* 0 for what is NaN: of products with 0 those with infinity, and with NaN. */
FNN_INLINE vec v_number_or_zero(vec v) { return v_select(v_eq(v, v), v, v_zero()); }
/* v, and 0 where the factor is 0 and v infinite: for products with that factor. */
FNN_INLINE vec v_for_factor(vec factor, vec v)
{
    const vec zero = v_zero();
    return v_select(v_eq(factor, zero), v_select(v_eq(v, v), zero, v), v);
}

/* ---- softmax cross-entropy ---- */

/* What smoothing and class weights make of targets; `plain` where neither is there. */
typedef struct {
    bool plain;
    real keep, spread; /* 1 - smoothing, smoothing / classes */
    const real *class_weight;
} fnn_target_rule;

FNN_INLINE fnn_target_rule fnn_target_rule_of(const fnn_loss *o)
{
    const real smoothing = (real)o->parameter;
    return (fnn_target_rule){smoothing == 0 && !o->class_weight, 1 - smoothing, (real)((double)smoothing / (double)o->classes),
                             o->class_weight};
}

FNN_INLINE real fnn_target(const fnn_target_rule *rule, real t, size_t j)
{
    if (rule->plain) return t;
    t = rule->keep * t + rule->spread;
    return rule->class_weight ? rule->class_weight[j] * t : t;
}

/* sum_j t'_j (lse - z_j) with lse = log_total + max, in double and in the order of j; *mass = sum_j t'_j. t NULL: one-hot. */
static double fnn_cross_entropy_row(const fnn_target_rule *rule, size_t n, const real *z, const real *t, size_t label,
                                    double max, double log_total, double *mass)
{
    double loss = 0.0;
    *mass = 0.0;
    for (size_t j = 0; j < n; j++) {
        const double target = (double)fnn_target(rule, t ? t[j] : j == label ? 1.0 : 0.0, j);
        if (target != 0.0) loss += target * (log_total + (max - (double)z[j]));
        *mass += target;
    }
    return loss;
}

FNN_INLINE void fnn_load_transposed(size_t rows, size_t columns, const real *x, size_t ld, vec transposed[FNN_LANES])
{
    const vt t = vt_first(columns);
    for (size_t r = 0; r < FNN_LANES; r++) transposed[r] = r < rows ? v_load_t(x + r * ld, t) : v_zero();
    v_transpose(transposed);
}

/* As fnn_softmax_cross_entropy for the rows [i0, i0 + rows), at most as many as a vector has lanes, and no more classes,
 * transposed so that each lane is a row: no sum or maximum goes across lanes. Sums are in the order of the classes. */
static void fnn_cross_entropy_narrow(const fnn_loss *o, const fnn_target_rule *rule, size_t i0, size_t rows)
{
    const size_t classes = o->classes;
    const real *logits = o->logits + i0 * o->ldl;
    const bool by_label = o->labels && rule->plain;
    vec x[FNN_LANES];
    real label[FNN_LANES] = {0}, first[FNN_LANES], highest[FNN_LANES], log_total[FNN_LANES], mass[FNN_LANES] = {0};
    real factor[FNN_LANES] = {0};
    fnn_load_transposed(rows, classes, logits, o->ldl, x);
    vec max = x[0], best = v_zero(), sum = v_zero();
    uint32_t numbers = vmask_bits(v_eq(x[0], x[0]));
    for (size_t j = 1; j < classes; j++) {
        const vmask more = v_lt(max, x[j]);
        max = v_select(more, x[j], max);
        best = v_select(more, v_set1((real)j), best);
        numbers &= vmask_bits(v_eq(x[j], x[j]));
    }
    for (size_t j = 0; j < classes; j++) {
        x[j] = v_exp(v_sub(x[j], max));
        sum = v_add(sum, x[j]);
    }
    v_store(first, best);
    v_store(highest, max);
    v_store(log_total, v_log(sum));
    for (size_t r = 0; r < rows; r++) {
        const real *z = logits + r * o->ldl, *t = o->labels ? NULL : o->targets + (i0 + r) * o->ldt;
        double m = 1.0, loss;
        size_t wanted;
        if (o->labels) {
            wanted = fnn_ignored(o, i0 + r) ? 0 : (size_t)o->labels[i0 + r];
            label[r] = (real)wanted;
        } else {
            wanted = fnn_argmax(t, classes, fnn_row_max(t, classes));
        }
        if (by_label)
            loss = (double)log_total[r] + ((double)highest[r] - (double)z[wanted]);
        else
            loss = fnn_cross_entropy_row(rule, classes, z, t, wanted, (double)highest[r], (double)log_total[r], &m);
        o->loss[i0 + r] = fnn_row_loss(o, i0 + r, loss);
        mass[r] = (real)m;
        o->correct[i0 + r] = (numbers >> r & 1) && (size_t)first[r] == wanted && !fnn_ignored(o, i0 + r);
    }
    if (!o->dlogits) return;

    vec s = v_set1((real)o->scale);
    if (o->weight) {
        for (size_t r = 0; r < rows; r++) factor[r] = fnn_row_scale(o, i0 + r);
        s = v_load(factor);
    }
    const vec wanted = v_load(label), m = v_load(mass), one = v_set1(1.0);
    if (by_label) {
        for (size_t j = 0; j < FNN_LANES; j++) {
            const vec p = j < classes ? v_div(x[j], sum) : v_zero();
            x[j] = v_mul(v_select(v_eq(wanted, v_set1((real)j)), v_sub(p, one), p), s);
        }
    } else {
        vec y[FNN_LANES];
        if (!o->labels) fnn_load_transposed(rows, classes, o->targets + i0 * o->ldt, o->ldt, y);
        for (size_t j = 0; j < classes; j++) {
            vec t = o->labels ? v_select(v_eq(wanted, v_set1((real)j)), one, v_zero()) : y[j];
            if (!rule->plain) {
                t = v_add(v_mul(v_set1(rule->keep), t), v_set1(rule->spread));
                if (rule->class_weight) t = v_mul(v_set1(rule->class_weight[j]), t);
            }
            x[j] = v_mul(v_sub(v_mul(v_div(x[j], sum), m), t), s);
        }
        for (size_t j = classes; j < FNN_LANES; j++) x[j] = v_zero();
    }
    v_transpose(x);
    if (o->weight || o->ignores)
        for (size_t r = 0; r < rows; r++)
            if (fnn_left_out(o, i0 + r)) x[r] = fnn_ignored(o, i0 + r) ? v_zero() : v_number_or_zero(x[r]);
    for (size_t r = 0; r < rows; r++) v_store_t(o->dlogits + (i0 + r) * o->ldd, x[r], vt_first(classes));
}

/* correct: 1 where the first largest logit is the label (or the first largest target). Rows go in chunks of a vector, whose
 * logarithms are taken together. */
static void fnn_softmax_cross_entropy(size_t rows, const fnn_loss *o)
{
    const fnn_target_rule rule = fnn_target_rule_of(o);
    const bool by_label = o->labels && rule.plain;
    const size_t classes = o->classes;
    const vec one = v_set1(1.0);
    for (size_t i0 = 0; i0 < rows; i0 += FNN_LANES) {
        const size_t count = rows - i0 < FNN_LANES ? rows - i0 : FNN_LANES;
        if (classes <= FNN_LANES) {
            fnn_cross_entropy_narrow(o, &rule, i0, count);
            continue;
        }
        real max[FNN_LANES], total[FNN_LANES], picked[FNN_LANES], log_total[FNN_LANES];
        for (size_t r = 0; r < count; r++) {
            const real *z = o->logits + (i0 + r) * o->ldl;
            max[r] = fnn_row_max(z, classes);
            total[r] = fnn_row_sum_exp(z, classes, v_set1(max[r]));
            const size_t best = fnn_argmax(z, classes, max[r]);
            if (o->labels) {
                const bool ignored = fnn_ignored(o, i0 + r);
                picked[r] = z[ignored ? 0 : o->labels[i0 + r]];
                o->correct[i0 + r] = !ignored && best == (size_t)o->labels[i0 + r];
            } else {
                const real *t = o->targets + (i0 + r) * o->ldt;
                o->correct[i0 + r] = best < classes && best == fnn_argmax(t, classes, fnn_row_max(t, classes));
            }
        }
        for (size_t r = count; r < FNN_LANES; r++) total[r] = 1.0;
        v_store(log_total, v_log(v_load(total)));

        for (size_t r = 0; r < count; r++) {
            const real *z = o->logits + (i0 + r) * o->ldl, *t = o->labels ? NULL : o->targets + (i0 + r) * o->ldt;
            const bool left_out = fnn_left_out(o, i0 + r), ignored = fnn_ignored(o, i0 + r);
            const size_t label = o->labels && !ignored ? (size_t)o->labels[i0 + r] : 0;
            double mass = 1.0, loss;
            if (by_label)
                loss = (double)log_total[r] + ((double)max[r] - (double)picked[r]);
            else
                loss = fnn_cross_entropy_row(&rule, classes, z, t, label, (double)max[r], (double)log_total[r], &mass);
            o->loss[i0 + r] = fnn_row_loss(o, i0 + r, loss);
            if (!o->dlogits) continue;
            const vec s = v_set1(fnn_row_scale(o, i0 + r)), m = v_set1((real)mass);
            real *d = o->dlogits + (i0 + r) * o->ldd;
            for (size_t j = 0; j < classes; j += FNN_LANES) {
                const vec e = v_exp(v_sub(fnn_row_load_logits(z, j, classes), v_set1(max[r])));
                const vmask hit = vmask_lane(label - j); /* a label in another vector is beyond the lanes of this one */
                vec p = v_div(e, v_set1(total[r]));
                if (by_label) {
                    p = v_select(hit, v_sub(p, one), p);
                } else {
                    vec target = t ? fnn_row_load(t, j, classes) : v_select(hit, one, v_zero());
                    if (!rule.plain) {
                        target = v_add(v_mul(v_set1(rule.keep), target), v_set1(rule.spread));
                        if (rule.class_weight) target = v_mul(fnn_row_load(rule.class_weight, j, classes), target);
                    }
                    p = v_sub(v_mul(p, m), target);
                }
                p = v_mul(p, s);
                fnn_row_store(d, j, classes, ignored ? v_zero() : left_out ? v_number_or_zero(p) : p);
            }
        }
    }
}

/* ---- elementwise losses ---- */

/* Of one vector of elements: the loss a b (the product to be taken in double), the gradient g, and, of the binary losses, the
 * lanes on the right side. p, q: the weights of class 1 and class 0. */
FNN_INLINE void fnn_loss_term(const fnn_loss_form form, const fnn_loss *o, vec z, vec t, vec p, vec q, vec *a, vec *b, vec *g,
                              uint32_t *right)
{
    const vec zero = v_zero(), one = v_set1(1.0), parameter = v_set1(o->parameter);
    const vec d = v_sub(z, t);
    *b = one;
    *right = 0;
    switch (form) {
    case FNN_SQUARED:
        *a = *b = d;
        *g = v_add(d, d);
        return;
    case FNN_ABSOLUTE:
        *a = v_abs(d);
        *g = v_select(v_lt(zero, d), one, v_select(v_lt(d, zero), v_set1(-1.0), d));
        return;
    case FNN_HUBER: {
        const vec size = v_abs(d), half = v_mul(v_set1(0.5), parameter);
        const vmask far = v_lt(parameter, size);
        *a = v_select(far, parameter, v_mul(v_set1(0.5), d));
        *b = v_select(far, v_sub(size, half), d);
        *g = v_max2(v_neg(parameter), v_min2(parameter, d));
        return;
    }
    case FNN_POISSON_LOG:
    case FNN_POISSON: {
        if (form == FNN_POISSON_LOG) {
            const vec rate = v_exp(z);
            *a = v_sub(rate, v_mul(t, v_for_factor(t, z)));
            *g = v_sub(rate, t);
        } else {
            const vec rate = v_add(z, parameter);
            *a = v_sub(z, v_mul(t, v_for_factor(t, v_log(rate))));
            *g = v_sub(one, v_select(v_eq(t, zero), zero, v_div(t, rate)));
        }
        if (o->full) { /* t log t - t + log(2 pi t) / 2 = (t + 1/2) log t - t + log(2 pi) / 2 */
            const vec stirling = v_add(v_sub(v_mul(v_add(t, v_set1(0.5)), v_log(t)), t), v_set1(0.918938533204672742));
            *a = v_select(v_lt(one, t), v_add(*a, stirling), *a);
        }
        if (form == FNN_POISSON) { /* there is no such distribution */
            const vmask known = v_le(zero, v_add(z, parameter));
            const vec nan = v_set1(__builtin_nan(""));
            *a = v_select(known, *a, nan);
            *g = v_select(known, *g, nan);
        }
        return;
    }
    case FNN_BINARY_ENTROPY: {
        const vec e = v_exp_negative(v_minus_abs(z)), denominator = v_add(one, e);
        const vec sigmoid = v_div(v_select(v_lt(z, zero), e, one), denominator);
        const vec positive = v_mul(p, t), negative = v_mul(q, v_sub(one, t)), both = v_add(positive, negative);
        const vec below = v_select(v_lt(z, zero), v_neg(z), zero), above = v_select(v_lt(z, zero), zero, z);
        *a = v_fma(both, v_log1p_unit(e), v_fma(positive, v_for_factor(positive, below),
                                                v_mul(negative, v_for_factor(negative, above))));
        *g = v_sub(v_mul(both, sigmoid), positive);
        *right = ~(vmask_bits(v_lt(zero, z)) ^ vmask_bits(v_lt(v_set1(0.5), t))) & vmask_bits(v_eq(d, d));
        return;
    }
    case FNN_QUANTILE: {
        const vmask above = v_lt(zero, d), below = v_lt(d, zero);
        *a = v_mul(v_select(above, q, p), v_abs(d));
        *g = v_select(above, q, v_select(below, v_neg(p), d));
        return;
    }
    default: { /* FNN_HINGE, FNN_SQUARED_HINGE */
        const vmask positive = v_lt(zero, t);
        const vec side = v_select(positive, one, v_select(v_eq(t, t), v_set1(-1.0), t));
        const vec weight = v_select(positive, p, q);
        const vec m = v_sub(parameter, v_mul(side, z)), c = v_for_factor(weight, v_select(v_le(m, zero), zero, m));
        const vec slope = form == FNN_SQUARED_HINGE ? v_add(c, c) : v_select(v_lt(zero, c), one, c);
        *a = v_mul(weight, c);
        if (form == FNN_SQUARED_HINGE) *b = c;
        *g = v_mul(v_neg(side), v_mul(weight, slope));
        *right = ~(vmask_bits(v_lt(zero, z)) ^ vmask_bits(positive)) & vmask_bits(v_eq(d, d));
        return;
    }
    }
}

/* The bits that are set among the lowest 16. */
FNN_INLINE uint32_t fnn_count(uint32_t bits)
{
    bits = (bits & 0x5555u) + (bits >> 1 & 0x5555u);
    bits = (bits & 0x3333u) + (bits >> 2 & 0x3333u);
    bits = (bits & 0x0F0Fu) + (bits >> 4 & 0x0F0Fu);
    return (bits & 0x00FFu) + (bits >> 8);
}

FNN_INLINE double fnn_lane_loss(const real *a, const real *b, size_t from, size_t upto)
{
    double sum = 0.0;
    for (size_t j = from; j < upto; j++) sum += (double)a[j] * (double)b[j];
    return sum;
}

/* Rows of fewer outputs than a vector has lanes: as many rows as fit stand in a vector. A row's sum is in the order of its
 * outputs. */
FNN_INLINE void fnn_loss_narrow(const fnn_loss_form form, size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes, per = FNN_LANES / n;
    const double share = o->sum ? 1.0 : (double)n;
    real z[FNN_LANES] = {0}, t[FNN_LANES] = {0}, p[FNN_LANES], q[FNN_LANES], s[FNN_LANES] = {0};
    real a[FNN_LANES], b[FNN_LANES], g[FNN_LANES];
    for (size_t j = 0; j < FNN_LANES; j++) {
        p[j] = o->class_weight ? o->class_weight[n + j % n] : 1.0;
        q[j] = o->class_weight ? o->class_weight[j % n] : 1.0;
    }
    for (size_t i = 0; i < rows; i += per) {
        const size_t count = rows - i < per ? rows - i : per;
        for (size_t r = 0; r < count; r++) {
            const real scale = (real)(o->scale / share * fnn_row_weight(o, i + r));
            for (size_t j = 0; j < n; j++) {
                z[r * n + j] = o->logits[(i + r) * o->ldl + j];
                t[r * n + j] = o->targets[(i + r) * o->ldt + j];
                s[r * n + j] = scale;
            }
        }
        vec va, vb, vg;
        uint32_t right;
        fnn_loss_term(form, o, v_load(z), v_load(t), v_load(p), v_load(q), &va, &vb, &vg, &right);
        v_store(a, va);
        v_store(b, vb);
        v_store(g, v_mul(vg, v_load(s)));
        for (size_t r = 0; r < count; r++) {
            o->loss[i + r] = fnn_row_loss(o, i + r, fnn_lane_loss(a, b, r * n, (r + 1) * n) / share);
            o->correct[i + r] = fnn_count(right >> r * n & ((1u << n) - 1u));
            if (!o->dlogits) continue;
            real *d = o->dlogits + (i + r) * o->ldd;
            for (size_t j = 0; j < n; j++) d[j] = g[r * n + j];
            if (fnn_left_out(o, i + r))
                for (size_t j = 0; j < n; j++) d[j] = d[j] == d[j] ? d[j] : 0.0;
        }
    }
}

/* Longer rows. A row's sum is by a vector's lanes in double, folded as vwide_sum does. */
FNN_INLINE void fnn_loss_wide(const fnn_loss_form form, size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes;
    const double share = o->sum ? 1.0 : (double)n;
    for (size_t i = 0; i < rows; i++) {
        const vec s = v_set1((real)(o->scale / share * fnn_row_weight(o, i)));
        const bool left_out = fnn_left_out(o, i);
        vwide sum = vwide_zero();
        uint32_t correct = 0;
        for (size_t j = 0; j < n; j += FNN_LANES) {
            const vt tail = vt_first(n - j);
            const vec one = v_set1(1.0);
            const vec p = o->class_weight ? v_load_t(o->class_weight + n + j, tail) : one;
            const vec q = o->class_weight ? v_load_t(o->class_weight + j, tail) : one;
            vec a, b, g;
            uint32_t right;
            fnn_loss_term(form, o, v_load_t(o->logits + i * o->ldl + j, tail), v_load_t(o->targets + i * o->ldt + j, tail), p,
                          q, &a, &b, &g, &right);
            if (n - j < FNN_LANES) {
                a = v_select(vmask_from_t(tail), a, v_zero());
                b = v_select(vmask_from_t(tail), b, v_zero());
            }
            sum = vwide_add(sum, vwide_mul(v_widen(a), v_widen(b))); /* the product of two floats is exact */
            correct += fnn_count(right & (n - j < FNN_LANES ? (1u << (n - j)) - 1u : FNN_ALL_LANES));
            g = v_mul(g, s);
            if (o->dlogits) v_store_t(o->dlogits + i * o->ldd + j, left_out ? v_number_or_zero(g) : g, tail);
        }
        o->loss[i] = fnn_row_loss(o, i, vwide_sum(sum) / share);
        o->correct[i] = correct;
    }
}

/* Rows in which each output has a weight of its own. A row's sum is in the order of its outputs. */
FNN_INLINE void fnn_loss_each(const fnn_loss_form form, size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes;
    const double share = o->sum ? 1.0 : (double)n;
    const vec one = v_set1(1.0);
    for (size_t i = 0; i < rows; i++) {
        double loss = 0.0;
        uint32_t correct = 0;
        for (size_t j = 0; j < n; j += FNN_LANES) {
            const size_t count = n - j < FNN_LANES ? n - j : FNN_LANES;
            const vt tail = vt_first(count);
            const vec p = o->class_weight ? v_load_t(o->class_weight + n + j, tail) : one;
            const vec q = o->class_weight ? v_load_t(o->class_weight + j, tail) : one;
            const real *w = o->weight + i * o->ldw + j;
            vec va, vb, vg;
            uint32_t right;
            real a[FNN_LANES], b[FNN_LANES], g[FNN_LANES];
            fnn_loss_term(form, o, v_load_t(o->logits + i * o->ldl + j, tail), v_load_t(o->targets + i * o->ldt + j, tail), p,
                          q, &va, &vb, &vg, &right);
            v_store(a, va);
            v_store(b, vb);
            v_store(g, vg);
            for (size_t r = 0; r < count; r++) {
                if (w[r] != 0.0) loss += (double)a[r] * (double)b[r] * (double)w[r];
                g[r] *= (real)(o->scale / share * (double)w[r]);
                if (w[r] == 0.0 && g[r] != g[r]) g[r] = 0.0;
            }
            correct += fnn_count(right & ((1u << count) - 1u));
            if (o->dlogits) v_store_t(o->dlogits + i * o->ldd + j, v_load(g), tail);
        }
        o->loss[i] = loss / share;
        o->correct[i] = correct;
    }
}

static void fnn_elementwise_loss(size_t rows, const fnn_loss *o)
{
#define FNN_LOSS(code, name)                                             \
    case code:                                                           \
        if (o->each) fnn_loss_each(code, rows, o);                       \
        else if (o->classes < FNN_LANES) fnn_loss_narrow(code, rows, o); \
        else fnn_loss_wide(code, rows, o);                               \
        break;
    switch (o->form) {
#include "../defs/losses.def"
    default: break;
    }
#undef FNN_LOSS
}

/* ---- multi-class hinge ---- */

static void fnn_multiclass_hinge(size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes;
    const bool squared = o->form == FNN_SQUARED_HINGE;
    const vec zero = v_zero(), one = v_set1(1.0);
    for (size_t i = 0; i < rows; i++) {
        const real *z = o->logits + i * o->ldl;
        const size_t label = (size_t)o->labels[i];
        const double weight = fnn_row_weight(o, i) * (o->class_weight ? (double)o->class_weight[label] : 1.0);
        const bool left_out = fnn_left_out(o, i);
        const vec offset = v_set1(o->parameter), wanted = v_set1(z[label]), s = v_set1((real)(o->scale * weight));
        o->correct[i] = fnn_argmax(z, n, fnn_row_max(z, n)) == label;
        vwide sum = vwide_zero();
        vec total = zero, block = zero;
        for (size_t j = 0; j < n; j += FNN_LANES) {
            if (j && j % FNN_SUM_BLOCK == 0) {
                total = v_add(total, block);
                block = zero;
            }
            const vt tail = vt_first(n - j);
            const vec m = v_add(v_sub(v_load_t(z + j, tail), wanted), offset);
            vec c = v_select(vmask_lane(label - j), zero, v_select(v_le(m, zero), zero, m));
            if (n - j < FNN_LANES) c = v_select(vmask_from_t(tail), c, zero);
            const vec g = squared ? v_add(c, c) : v_select(v_lt(zero, c), one, c);
            const vwide margin = v_widen(c);
            sum = vwide_add(sum, squared ? vwide_mul(margin, margin) : margin);
            block = v_add(block, g);
            const vec d = v_mul(g, s);
            if (o->dlogits) v_store_t(o->dlogits + i * o->ldd + j, left_out ? v_number_or_zero(d) : d, tail);
        }
        o->loss[i] = left_out ? 0.0 : vwide_sum(sum) * weight;
        if (o->dlogits) {
            real at[FNN_LANES];
            const vec d = v_neg(v_mul(v_set1(v_sum(v_add(total, block))), s));
            v_store(at, left_out ? v_number_or_zero(d) : d);
            o->dlogits[i * o->ldd + label] = at[0];
        }
    }
}

#endif
