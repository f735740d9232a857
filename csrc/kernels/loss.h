/* Losses with their gradients in one pass over the rows. Row losses are in double, times the row's weight w_i where there is
 * one; gradients are times (float)(scale w_i), scale = 1 / batch for the mean. A NaN in an output or a target is NaN in the
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
FNN_INLINE size_t fnn_argmax(const float *x, size_t n, float max)
{
    size_t first = n;
    for (size_t j = 0; j < n; j += FNN_VF) {
        const vf v = fnn_row_load(x, j, n);
        const uint32_t valid = n - j < FNN_VF ? (1u << (n - j)) - 1u : 0xFFFFu;
        if (~vm_bits(vf_eq(v, v)) & valid) return n;
        const uint32_t hit = vm_bits(vf_eq(v, vf_set1(max))) & valid;
        if (hit && first == n) first = j + (size_t)__builtin_ctz(hit);
    }
    return first;
}

/* The weight of a row, and the factor of its gradient. */
FNN_INLINE double fnn_row_weight(const fnn_loss *o, size_t i) { return o->weight ? (double)o->weight[i * o->ldw] : 1.0; }
FNN_INLINE float fnn_row_scale(const fnn_loss *o, size_t i) { return (float)(o->scale * fnn_row_weight(o, i)); }

/* Whether a row's label says to ignore it; whether a row is left out; and a row's loss with its weight. */
FNN_INLINE bool fnn_ignored(const fnn_loss *o, size_t i) { return o->ignores && o->labels && o->labels[i] < 0; }
FNN_INLINE bool fnn_left_out(const fnn_loss *o, size_t i)
{
    return fnn_ignored(o, i) || (o->weight && o->weight[i * o->ldw] == 0.0f);
}
FNN_INLINE double fnn_row_loss(const fnn_loss *o, size_t i, double loss)
{
    return fnn_left_out(o, i) ? 0.0 : !o->weight ? loss : loss * fnn_row_weight(o, i);
}

/* 0 for what is NaN: of products with 0 those with infinity, and with NaN. */
FNN_INLINE vf vf_number_or_zero(vf v) { return vf_select(vf_eq(v, v), v, vf_zero()); }
/* v, and 0 where the factor is 0 and v infinite: for products with that factor. */
FNN_INLINE vf vf_for_factor(vf factor, vf v)
{
    const vf zero = vf_zero();
    return vf_select(vf_eq(factor, zero), vf_select(vf_eq(v, v), zero, v), v);
}

/* ---- softmax cross-entropy ---- */

/* What smoothing and class weights make of targets; `plain` where neither is there. */
typedef struct {
    bool plain;
    float keep, spread; /* 1 - smoothing, smoothing / classes */
    const float *class_weight;
} fnn_target_rule;

FNN_INLINE fnn_target_rule fnn_target_rule_of(const fnn_loss *o)
{
    return (fnn_target_rule){o->parameter == 0.0f && !o->class_weight, 1.0f - o->parameter,
                             (float)((double)o->parameter / (double)o->classes), o->class_weight};
}

FNN_INLINE float fnn_target(const fnn_target_rule *rule, float t, size_t j)
{
    if (rule->plain) return t;
    t = rule->keep * t + rule->spread;
    return rule->class_weight ? rule->class_weight[j] * t : t;
}

/* sum_j t'_j (lse - z_j) with lse = log_total + max, in double and in the order of j; *mass = sum_j t'_j. t NULL: one-hot. */
static double fnn_cross_entropy_row(const fnn_target_rule *rule, size_t n, const float *z, const float *t, size_t label,
                                    double max, double log_total, double *mass)
{
    double loss = 0.0;
    *mass = 0.0;
    for (size_t j = 0; j < n; j++) {
        const double target = (double)fnn_target(rule, t ? t[j] : j == label ? 1.0f : 0.0f, j);
        if (target != 0.0) loss += target * (log_total + (max - (double)z[j]));
        *mass += target;
    }
    return loss;
}

FNN_INLINE void fnn_load_transposed(size_t rows, size_t columns, const float *x, size_t ld, vf transposed[FNN_VF])
{
    const vt t = vt_first(columns);
    for (size_t r = 0; r < FNN_VF; r++) transposed[r] = r < rows ? vf_load_t(x + r * ld, t) : vf_zero();
    vf_transpose(transposed);
}

/* As fnn_softmax_cross_entropy for the rows [i0, i0 + rows), at most 16 of at most 16 classes, transposed so that each lane is a
 * row: no sum or maximum goes across lanes. Sums are in the order of the classes. */
static void fnn_cross_entropy_narrow(const fnn_loss *o, const fnn_target_rule *rule, size_t i0, size_t rows)
{
    const size_t classes = o->classes;
    const float *logits = o->logits + i0 * o->ldl;
    const bool by_label = o->labels && rule->plain;
    vf x[FNN_VF];
    float label[FNN_VF] = {0}, first[FNN_VF], highest[FNN_VF], log_total[FNN_VF], mass[FNN_VF] = {0}, factor[FNN_VF] = {0};
    fnn_load_transposed(rows, classes, logits, o->ldl, x);
    vf max = x[0], best = vf_zero(), sum = vf_zero();
    uint32_t numbers = vm_bits(vf_eq(x[0], x[0]));
    for (size_t j = 1; j < classes; j++) {
        const vm more = vf_lt(max, x[j]);
        max = vf_select(more, x[j], max);
        best = vf_select(more, vf_set1((float)j), best);
        numbers &= vm_bits(vf_eq(x[j], x[j]));
    }
    for (size_t j = 0; j < classes; j++) {
        x[j] = vf_exp(vf_sub(x[j], max));
        sum = vf_add(sum, x[j]);
    }
    vf_store(first, best);
    vf_store(highest, max);
    vf_store(log_total, vf_log(sum));
    for (size_t r = 0; r < rows; r++) {
        const float *z = logits + r * o->ldl, *t = o->labels ? NULL : o->targets + (i0 + r) * o->ldt;
        double m = 1.0, loss;
        size_t wanted;
        if (o->labels) {
            wanted = fnn_ignored(o, i0 + r) ? 0 : (size_t)o->labels[i0 + r];
            label[r] = (float)wanted;
        } else {
            wanted = fnn_argmax(t, classes, fnn_row_max(t, classes));
        }
        if (by_label)
            loss = (double)log_total[r] + ((double)highest[r] - (double)z[wanted]);
        else
            loss = fnn_cross_entropy_row(rule, classes, z, t, wanted, (double)highest[r], (double)log_total[r], &m);
        o->loss[i0 + r] = fnn_row_loss(o, i0 + r, loss);
        mass[r] = (float)m;
        o->correct[i0 + r] = (numbers >> r & 1) && (size_t)first[r] == wanted && !fnn_ignored(o, i0 + r);
    }
    if (!o->dlogits) return;

    vf s = vf_set1((float)o->scale);
    if (o->weight) {
        for (size_t r = 0; r < rows; r++) factor[r] = fnn_row_scale(o, i0 + r);
        s = vf_load(factor);
    }
    const vf wanted = vf_load(label), m = vf_load(mass), one = vf_set1(1.0f);
    if (by_label) {
        for (size_t j = 0; j < FNN_VF; j++) {
            const vf p = j < classes ? vf_div(x[j], sum) : vf_zero();
            x[j] = vf_mul(vf_select(vf_eq(wanted, vf_set1((float)j)), vf_sub(p, one), p), s);
        }
    } else {
        vf y[FNN_VF];
        if (!o->labels) fnn_load_transposed(rows, classes, o->targets + i0 * o->ldt, o->ldt, y);
        for (size_t j = 0; j < classes; j++) {
            vf t = o->labels ? vf_select(vf_eq(wanted, vf_set1((float)j)), one, vf_zero()) : y[j];
            if (!rule->plain) {
                t = vf_add(vf_mul(vf_set1(rule->keep), t), vf_set1(rule->spread));
                if (rule->class_weight) t = vf_mul(vf_set1(rule->class_weight[j]), t);
            }
            x[j] = vf_mul(vf_sub(vf_mul(vf_div(x[j], sum), m), t), s);
        }
        for (size_t j = classes; j < FNN_VF; j++) x[j] = vf_zero();
    }
    vf_transpose(x);
    if (o->weight || o->ignores)
        for (size_t r = 0; r < rows; r++)
            if (fnn_left_out(o, i0 + r)) x[r] = fnn_ignored(o, i0 + r) ? vf_zero() : vf_number_or_zero(x[r]);
    for (size_t r = 0; r < rows; r++) vf_store_t(o->dlogits + (i0 + r) * o->ldd, x[r], vt_first(classes));
}

/* correct: 1 where the first largest logit is the label (or the first largest target). Rows go in chunks of a vector, whose
 * logarithms are taken together. */
static void fnn_softmax_cross_entropy(size_t rows, const fnn_loss *o)
{
    const fnn_target_rule rule = fnn_target_rule_of(o);
    const bool by_label = o->labels && rule.plain;
    const size_t classes = o->classes;
    const vf one = vf_set1(1.0f);
    for (size_t i0 = 0; i0 < rows; i0 += FNN_VF) {
        const size_t count = rows - i0 < FNN_VF ? rows - i0 : FNN_VF;
        if (classes <= FNN_VF) {
            fnn_cross_entropy_narrow(o, &rule, i0, count);
            continue;
        }
        float max[FNN_VF], total[FNN_VF], picked[FNN_VF], log_total[FNN_VF];
        for (size_t r = 0; r < count; r++) {
            const float *z = o->logits + (i0 + r) * o->ldl;
            max[r] = fnn_row_max(z, classes);
            total[r] = fnn_row_sum_exp(z, classes, vf_set1(max[r]));
            const size_t best = fnn_argmax(z, classes, max[r]);
            if (o->labels) {
                const bool ignored = fnn_ignored(o, i0 + r);
                picked[r] = z[ignored ? 0 : o->labels[i0 + r]];
                o->correct[i0 + r] = !ignored && best == (size_t)o->labels[i0 + r];
            } else {
                const float *t = o->targets + (i0 + r) * o->ldt;
                o->correct[i0 + r] = best < classes && best == fnn_argmax(t, classes, fnn_row_max(t, classes));
            }
        }
        for (size_t r = count; r < FNN_VF; r++) total[r] = 1.0f;
        vf_store(log_total, vf_log(vf_load(total)));

        for (size_t r = 0; r < count; r++) {
            const float *z = o->logits + (i0 + r) * o->ldl, *t = o->labels ? NULL : o->targets + (i0 + r) * o->ldt;
            const bool left_out = fnn_left_out(o, i0 + r), ignored = fnn_ignored(o, i0 + r);
            const size_t label = o->labels && !ignored ? (size_t)o->labels[i0 + r] : 0;
            double mass = 1.0, loss;
            if (by_label)
                loss = (double)log_total[r] + ((double)max[r] - (double)picked[r]);
            else
                loss = fnn_cross_entropy_row(&rule, classes, z, t, label, (double)max[r], (double)log_total[r], &mass);
            o->loss[i0 + r] = fnn_row_loss(o, i0 + r, loss);
            if (!o->dlogits) continue;
            const vf s = vf_set1(fnn_row_scale(o, i0 + r)), m = vf_set1((float)mass);
            float *d = o->dlogits + (i0 + r) * o->ldd;
            for (size_t j = 0; j < classes; j += FNN_VF) {
                const vf e = vf_exp(vf_sub(fnn_row_load(z, j, classes), vf_set1(max[r])));
                const vm hit = vm_lane(label - j); /* where the label is not in this vector, its distance is beyond the lanes */
                vf p = vf_div(e, vf_set1(total[r]));
                if (by_label) {
                    p = vf_select(hit, vf_sub(p, one), p);
                } else {
                    vf target = t ? fnn_row_load_zero(t, j, classes) : vf_select(hit, one, vf_zero());
                    if (!rule.plain) {
                        target = vf_add(vf_mul(vf_set1(rule.keep), target), vf_set1(rule.spread));
                        if (rule.class_weight) target = vf_mul(fnn_row_load_zero(rule.class_weight, j, classes), target);
                    }
                    p = vf_sub(vf_mul(p, m), target);
                }
                p = vf_mul(p, s);
                fnn_row_store(d, j, classes, ignored ? vf_zero() : left_out ? vf_number_or_zero(p) : p);
            }
        }
    }
}

/* ---- elementwise losses ---- */

/* Of one vector of elements: the loss a b (the product to be taken in double), the gradient g, and, of the binary losses, the
 * lanes on the right side. p, q: the weights of class 1 and class 0. */
FNN_INLINE void fnn_loss_term(const fnn_loss_form form, const fnn_loss *o, vf z, vf t, vf p, vf q, vf *a, vf *b, vf *g,
                              uint32_t *right)
{
    const vf zero = vf_zero(), one = vf_set1(1.0f), parameter = vf_set1(o->parameter);
    const vf d = vf_sub(z, t);
    *b = one;
    *right = 0;
    switch (form) {
    case FNN_SQUARED:
        *a = *b = d;
        *g = vf_add(d, d);
        return;
    case FNN_ABSOLUTE:
        *a = vf_abs(d);
        *g = vf_select(vf_lt(zero, d), one, vf_select(vf_lt(d, zero), vf_set1(-1.0f), d));
        return;
    case FNN_HUBER: {
        const vf size = vf_abs(d), half = vf_mul(vf_set1(0.5f), parameter);
        const vm far = vf_lt(parameter, size);
        *a = vf_select(far, parameter, vf_mul(vf_set1(0.5f), d));
        *b = vf_select(far, vf_sub(size, half), d);
        *g = vf_max2(vf_neg(parameter), vf_min2(parameter, d));
        return;
    }
    case FNN_POISSON_LOG:
    case FNN_POISSON: {
        if (form == FNN_POISSON_LOG) {
            const vf rate = vf_exp(z);
            *a = vf_sub(rate, vf_mul(t, vf_for_factor(t, z)));
            *g = vf_sub(rate, t);
        } else {
            const vf rate = vf_add(z, parameter);
            *a = vf_sub(z, vf_mul(t, vf_for_factor(t, vf_log(rate))));
            *g = vf_sub(one, vf_select(vf_eq(t, zero), zero, vf_div(t, rate)));
        }
        if (o->full) { /* t log t - t + log(2 pi t) / 2 = (t + 1/2) log t - t + log(2 pi) / 2 */
            const vf stirling = vf_add(vf_sub(vf_mul(vf_add(t, vf_set1(0.5f)), vf_log(t)), t), vf_set1(0.918938533f));
            *a = vf_select(vf_lt(one, t), vf_add(*a, stirling), *a);
        }
        if (form == FNN_POISSON) { /* there is no such distribution */
            const vm known = vf_le(zero, vf_add(z, parameter));
            const vf nan = vf_set1(__builtin_nanf(""));
            *a = vf_select(known, *a, nan);
            *g = vf_select(known, *g, nan);
        }
        return;
    }
    case FNN_BINARY_ENTROPY: {
        const vf e = vf_exp_negative(vf_minus_abs(z)), denominator = vf_add(one, e);
        const vf sigmoid = vf_div(vf_select(vf_lt(z, zero), e, one), denominator);
        const vf positive = vf_mul(p, t), negative = vf_mul(q, vf_sub(one, t)), both = vf_add(positive, negative);
        const vf below = vf_select(vf_lt(z, zero), vf_neg(z), zero), above = vf_select(vf_lt(z, zero), zero, z);
        *a = vf_fma(both, vf_log1p_unit(e), vf_fma(positive, vf_for_factor(positive, below),
                                                   vf_mul(negative, vf_for_factor(negative, above))));
        *g = vf_sub(vf_mul(both, sigmoid), positive);
        *right = ~(vm_bits(vf_lt(zero, z)) ^ vm_bits(vf_lt(vf_set1(0.5f), t))) & vm_bits(vf_eq(d, d));
        return;
    }
    case FNN_QUANTILE: {
        const vm above = vf_lt(zero, d), below = vf_lt(d, zero);
        *a = vf_mul(vf_select(above, q, p), vf_abs(d));
        *g = vf_select(above, q, vf_select(below, vf_neg(p), d));
        return;
    }
    default: { /* FNN_HINGE, FNN_SQUARED_HINGE */
        const vm positive = vf_lt(zero, t);
        const vf side = vf_select(positive, one, vf_select(vf_eq(t, t), vf_set1(-1.0f), t));
        const vf weight = vf_select(positive, p, q);
        const vf m = vf_sub(parameter, vf_mul(side, z)), c = vf_for_factor(weight, vf_select(vf_le(m, zero), zero, m));
        const vf slope = form == FNN_SQUARED_HINGE ? vf_add(c, c) : vf_select(vf_lt(zero, c), one, c);
        *a = vf_mul(weight, c);
        if (form == FNN_SQUARED_HINGE) *b = c;
        *g = vf_mul(vf_neg(side), vf_mul(weight, slope));
        *right = ~(vm_bits(vf_lt(zero, z)) ^ vm_bits(positive)) & vm_bits(vf_eq(d, d));
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

FNN_INLINE double fnn_lane_loss(const float *a, const float *b, size_t from, size_t upto)
{
    double sum = 0.0;
    for (size_t j = from; j < upto; j++) sum += (double)a[j] * (double)b[j];
    return sum;
}

/* Rows of fewer than 16 outputs: as many rows as fit stand in a vector. A row's sum is in the order of its outputs. */
FNN_INLINE void fnn_loss_narrow(const fnn_loss_form form, size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes, per = FNN_VF / n;
    const double share = o->sum ? 1.0 : (double)n;
    float z[FNN_VF] = {0}, t[FNN_VF] = {0}, p[FNN_VF], q[FNN_VF], s[FNN_VF] = {0}, a[FNN_VF], b[FNN_VF], g[FNN_VF];
    for (size_t j = 0; j < FNN_VF; j++) {
        p[j] = o->class_weight ? o->class_weight[n + j % n] : 1.0f;
        q[j] = o->class_weight ? o->class_weight[j % n] : 1.0f;
    }
    for (size_t i = 0; i < rows; i += per) {
        const size_t count = rows - i < per ? rows - i : per;
        for (size_t r = 0; r < count; r++) {
            const float scale = (float)(o->scale / share * fnn_row_weight(o, i + r));
            for (size_t j = 0; j < n; j++) {
                z[r * n + j] = o->logits[(i + r) * o->ldl + j];
                t[r * n + j] = o->targets[(i + r) * o->ldt + j];
                s[r * n + j] = scale;
            }
        }
        vf va, vb, vg;
        uint32_t right;
        fnn_loss_term(form, o, vf_load(z), vf_load(t), vf_load(p), vf_load(q), &va, &vb, &vg, &right);
        vf_store(a, va);
        vf_store(b, vb);
        vf_store(g, vf_mul(vg, vf_load(s)));
        for (size_t r = 0; r < count; r++) {
            o->loss[i + r] = fnn_row_loss(o, i + r, fnn_lane_loss(a, b, r * n, (r + 1) * n) / share);
            o->correct[i + r] = fnn_count(right >> r * n & ((1u << n) - 1u));
            if (!o->dlogits) continue;
            float *d = o->dlogits + (i + r) * o->ldd;
            for (size_t j = 0; j < n; j++) d[j] = g[r * n + j];
            if (fnn_left_out(o, i + r))
                for (size_t j = 0; j < n; j++) d[j] = d[j] == d[j] ? d[j] : 0.0f;
        }
    }
}

/* Rows of 16 outputs and more. A row's sum is by 16 lanes in double, folded as vd_sum does. */
FNN_INLINE void fnn_loss_wide(const fnn_loss_form form, size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes;
    const double share = o->sum ? 1.0 : (double)n;
    for (size_t i = 0; i < rows; i++) {
        const vf s = vf_set1((float)(o->scale / share * fnn_row_weight(o, i)));
        const bool left_out = fnn_left_out(o, i);
        vd low = vd_set1(0.0), high = vd_set1(0.0);
        uint32_t correct = 0;
        for (size_t j = 0; j < n; j += FNN_VF) {
            const vt tail = vt_first(n - j);
            const vf one = vf_set1(1.0f);
            const vf p = o->class_weight ? vf_load_t(o->class_weight + n + j, tail) : one;
            const vf q = o->class_weight ? vf_load_t(o->class_weight + j, tail) : one;
            vf a, b, g;
            uint32_t right;
            fnn_loss_term(form, o, vf_load_t(o->logits + i * o->ldl + j, tail), vf_load_t(o->targets + i * o->ldt + j, tail), p,
                          q, &a, &b, &g, &right);
            float ta[FNN_VF], tb[FNN_VF];
            vf_store(ta, n - j < FNN_VF ? vf_select(vm_from_t(tail), a, vf_zero()) : a);
            vf_store(tb, n - j < FNN_VF ? vf_select(vm_from_t(tail), b, vf_zero()) : b);
            low = vd_add(low, vd_mul(vd_load_f32(ta), vd_load_f32(tb))); /* the product of two floats is exact */
            high = vd_add(high, vd_mul(vd_load_f32(ta + FNN_VD), vd_load_f32(tb + FNN_VD)));
            correct += fnn_count(right & (n - j < FNN_VF ? (1u << (n - j)) - 1u : 0xFFFFu));
            g = vf_mul(g, s);
            if (o->dlogits) vf_store_t(o->dlogits + i * o->ldd + j, left_out ? vf_number_or_zero(g) : g, tail);
        }
        o->loss[i] = fnn_row_loss(o, i, vd_sum(vd_add(low, high)) / share);
        o->correct[i] = correct;
    }
}

/* Rows in which each output has a weight of its own. A row's sum is in the order of its outputs. */
FNN_INLINE void fnn_loss_each(const fnn_loss_form form, size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes;
    const double share = o->sum ? 1.0 : (double)n;
    const vf one = vf_set1(1.0f);
    for (size_t i = 0; i < rows; i++) {
        double loss = 0.0;
        uint32_t correct = 0;
        for (size_t j = 0; j < n; j += FNN_VF) {
            const size_t count = n - j < FNN_VF ? n - j : FNN_VF;
            const vt tail = vt_first(count);
            const vf p = o->class_weight ? vf_load_t(o->class_weight + n + j, tail) : one;
            const vf q = o->class_weight ? vf_load_t(o->class_weight + j, tail) : one;
            const float *w = o->weight + i * o->ldw + j;
            vf va, vb, vg;
            uint32_t right;
            float a[FNN_VF], b[FNN_VF], g[FNN_VF];
            fnn_loss_term(form, o, vf_load_t(o->logits + i * o->ldl + j, tail), vf_load_t(o->targets + i * o->ldt + j, tail), p,
                          q, &va, &vb, &vg, &right);
            vf_store(a, va);
            vf_store(b, vb);
            vf_store(g, vg);
            for (size_t r = 0; r < count; r++) {
                if (w[r] != 0.0f) loss += (double)a[r] * (double)b[r] * (double)w[r];
                g[r] *= (float)(o->scale / share * (double)w[r]);
                if (w[r] == 0.0f && g[r] != g[r]) g[r] = 0.0f;
            }
            correct += fnn_count(right & ((1u << count) - 1u));
            if (o->dlogits) vf_store_t(o->dlogits + i * o->ldd + j, vf_load(g), tail);
        }
        o->loss[i] = loss / share;
        o->correct[i] = correct;
    }
}

static void fnn_elementwise_loss(size_t rows, const fnn_loss *o)
{
#define FNN_FORM(f)                                            \
    case f:                                                    \
        if (o->each) fnn_loss_each(f, rows, o);                \
        else if (o->classes < FNN_VF) fnn_loss_narrow(f, rows, o); \
        else fnn_loss_wide(f, rows, o);                        \
        break;
    switch (o->form) {
        FNN_FORM(FNN_SQUARED)
        FNN_FORM(FNN_ABSOLUTE)
        FNN_FORM(FNN_HUBER)
        FNN_FORM(FNN_POISSON_LOG)
        FNN_FORM(FNN_POISSON)
        FNN_FORM(FNN_BINARY_ENTROPY)
        FNN_FORM(FNN_HINGE)
        FNN_FORM(FNN_SQUARED_HINGE)
        FNN_FORM(FNN_QUANTILE)
    default: break;
    }
#undef FNN_FORM
}

/* ---- multi-class hinge ---- */

static void fnn_multiclass_hinge(size_t rows, const fnn_loss *o)
{
    const size_t n = o->classes;
    const bool squared = o->form == FNN_SQUARED_HINGE;
    const vf zero = vf_zero(), one = vf_set1(1.0f);
    for (size_t i = 0; i < rows; i++) {
        const float *z = o->logits + i * o->ldl;
        const size_t label = (size_t)o->labels[i];
        const double weight = fnn_row_weight(o, i) * (o->class_weight ? (double)o->class_weight[label] : 1.0);
        const bool left_out = fnn_left_out(o, i);
        const vf offset = vf_set1(o->parameter), wanted = vf_set1(z[label]), s = vf_set1((float)(o->scale * weight));
        o->correct[i] = fnn_argmax(z, n, fnn_row_max(z, n)) == label;
        vd low = vd_set1(0.0), high = vd_set1(0.0);
        vf total = zero, block = zero;
        for (size_t j = 0; j < n; j += FNN_VF) {
            if (j && j % FNN_SUM_BLOCK == 0) {
                total = vf_add(total, block);
                block = zero;
            }
            const vt tail = vt_first(n - j);
            const vf m = vf_add(vf_sub(vf_load_t(z + j, tail), wanted), offset);
            vf c = vf_select(vm_lane(label - j), zero, vf_select(vf_le(m, zero), zero, m));
            if (n - j < FNN_VF) c = vf_select(vm_from_t(tail), c, zero);
            const vf g = squared ? vf_add(c, c) : vf_select(vf_lt(zero, c), one, c);
            float margin[FNN_VF];
            vf_store(margin, c);
            const vd a = vd_load_f32(margin), b = vd_load_f32(margin + FNN_VD);
            low = vd_add(low, squared ? vd_mul(a, a) : a);
            high = vd_add(high, squared ? vd_mul(b, b) : b);
            block = vf_add(block, g);
            const vf d = vf_mul(g, s);
            if (o->dlogits) vf_store_t(o->dlogits + i * o->ldd + j, left_out ? vf_number_or_zero(d) : d, tail);
        }
        o->loss[i] = left_out ? 0.0 : vd_sum(vd_add(low, high)) * weight;
        if (o->dlogits) {
            float at[FNN_VF];
            const vf d = vf_neg(vf_mul(vf_set1(vf_sum(vf_add(total, block))), s));
            vf_store(at, left_out ? vf_number_or_zero(d) : d);
            o->dlogits[i * o->ldd + label] = at[0];
        }
    }
}

#endif
