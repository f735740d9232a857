/* Losses with their gradients in one pass over the rows.
 *
 * Softmax cross-entropy of logits z with targets t (integer labels are one-hot rows):
 *   loss_i = sum_j t_ij (log sum_k e^z_ik - z_ij)         terms with t_ij = 0 count 0
 *   dz_ij  = (softmax(z_i)_j sum_k t_ik - t_ij) scale      scale: 1 / batch for the mean
 * Stable for any finite logits, since the row's maximum is subtracted first. */
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

/* sum_j t_j (lse - z_j) with lse = log_total + max, in double and in the order of j; *mass = sum_j t_j. */
static double fnn_cross_entropy_row(size_t n, const float *z, const float *t, double max, double log_total, double *mass)
{
    double loss = 0.0;
    *mass = 0.0;
    for (size_t j = 0; j < n; j++) {
        if (t[j] != 0.0f) loss += (double)t[j] * (log_total + (max - (double)z[j]));
        *mass += (double)t[j];
    }
    return loss;
}

FNN_INLINE void fnn_load_turned(size_t rows, size_t columns, const float *x, size_t ld, vf turned[FNN_VF])
{
    const vt t = vt_first(columns);
    for (size_t r = 0; r < FNN_VF; r++) turned[r] = r < rows ? vf_load_t(x + r * ld, t) : vf_zero();
    vf_transpose(turned);
}

/* As fnn_softmax_cross_entropy for up to 16 rows of up to 16 classes, turned so that each lane is a row: no sum or
 * maximum goes across lanes. Sums are in the order of the classes. */
static void fnn_cross_entropy_narrow(size_t rows, size_t classes, const float *logits, size_t ldl, const int32_t *labels,
                                     const float *targets, size_t ldt, float scale, float *dlogits, size_t ldd,
                                     double *loss, uint8_t *correct)
{
    vf x[FNN_VF];
    float label[FNN_VF] = {0}, first[FNN_VF], highest[FNN_VF], log_total[FNN_VF], mass[FNN_VF] = {0};
    fnn_load_turned(rows, classes, logits, ldl, x);
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
        const float *z = logits + r * ldl, *t = labels ? NULL : targets + r * ldt;
        double m = 1.0;
        size_t wanted;
        if (labels) {
            wanted = (size_t)labels[r];
            label[r] = (float)wanted;
            loss[r] = (double)log_total[r] + ((double)highest[r] - (double)z[wanted]);
        } else {
            wanted = fnn_argmax(t, classes, fnn_row_max(t, classes));
            loss[r] = fnn_cross_entropy_row(classes, z, t, (double)highest[r], (double)log_total[r], &m);
        }
        mass[r] = (float)m;
        correct[r] = (numbers >> r & 1) && (size_t)first[r] == wanted;
    }
    if (!dlogits) return;

    vf y[FNN_VF];
    if (!labels) fnn_load_turned(rows, classes, targets, ldt, y);
    const vf wanted = vf_load(label), m = vf_load(mass), s = vf_set1(scale);
    for (size_t j = 0; j < FNN_VF; j++) {
        const vf p = j < classes ? vf_div(x[j], sum) : vf_zero();
        const vf d = labels ? vf_select(vf_eq(wanted, vf_set1((float)j)), vf_sub(p, vf_set1(1.0f)), p)
                            : vf_sub(vf_mul(p, m), j < classes ? y[j] : vf_zero());
        x[j] = vf_mul(d, s);
    }
    vf_transpose(x);
    for (size_t r = 0; r < rows; r++) vf_store_t(dlogits + r * ldd, x[r], vt_first(classes));
}

/* labels [rows] or, when NULL, targets [rows, classes] with rows ldt apart. dlogits may be NULL (evaluation) or logits.
 * loss [rows]; correct [rows]: 1 where the first largest logit is the label (or the first largest target). Rows go in
 * chunks of a vector, whose logarithms are taken together. */
static void fnn_softmax_cross_entropy(size_t rows, size_t classes, const float *logits, size_t ldl,
                                      const int32_t *labels, const float *targets, size_t ldt, float scale,
                                      float *dlogits, size_t ldd, double *loss, uint8_t *correct)
{
    const vf one = vf_set1(1.0f), s = vf_set1(scale);
    for (size_t i0 = 0; i0 < rows; i0 += FNN_VF) {
        const size_t count = rows - i0 < FNN_VF ? rows - i0 : FNN_VF;
        if (classes <= FNN_VF) {
            fnn_cross_entropy_narrow(count, classes, logits + i0 * ldl, ldl, labels ? labels + i0 : NULL,
                                     labels ? NULL : targets + i0 * ldt, ldt, scale,
                                     dlogits ? dlogits + i0 * ldd : NULL, ldd, loss + i0, correct + i0);
            continue;
        }
        float max[FNN_VF], total[FNN_VF], picked[FNN_VF], log_total[FNN_VF];
        for (size_t r = 0; r < count; r++) {
            const float *z = logits + (i0 + r) * ldl;
            max[r] = fnn_row_max(z, classes);
            vf sum = vf_zero();
            for (size_t j = 0; j < classes; j += FNN_VF)
                sum = vf_add(sum, vf_exp(vf_sub(fnn_row_load(z, j, classes), vf_set1(max[r]))));
            total[r] = vf_sum(sum);
            const size_t best = fnn_argmax(z, classes, max[r]);
            if (labels) {
                picked[r] = z[labels[i0 + r]];
                correct[i0 + r] = best == (size_t)labels[i0 + r];
            } else {
                const float *t = targets + (i0 + r) * ldt;
                correct[i0 + r] = best < classes && best == fnn_argmax(t, classes, fnn_row_max(t, classes));
            }
        }
        for (size_t r = count; r < FNN_VF; r++) total[r] = 1.0f;
        vf_store(log_total, vf_log(vf_load(total)));

        for (size_t r = 0; r < count; r++) {
            const float *z = logits + (i0 + r) * ldl, *t = labels ? NULL : targets + (i0 + r) * ldt;
            double mass = 1.0;
            if (labels)
                loss[i0 + r] = (double)log_total[r] + ((double)max[r] - (double)picked[r]);
            else
                loss[i0 + r] = fnn_cross_entropy_row(classes, z, t, (double)max[r], (double)log_total[r], &mass);
            if (!dlogits) continue;
            float *d = dlogits + (i0 + r) * ldd;
            for (size_t j = 0; j < classes; j += FNN_VF) {
                const vf e = vf_exp(vf_sub(fnn_row_load(z, j, classes), vf_set1(max[r])));
                vf p = vf_div(e, vf_set1(total[r]));
                if (labels) /* where the label is not in this vector, its distance is beyond the lanes */
                    p = vf_select(vm_lane((size_t)labels[i0 + r] - j), vf_sub(p, one), p);
                else
                    p = vf_sub(vf_mul(p, vf_set1((float)mass)), fnn_row_load(t, j, classes));
                fnn_row_store(d, j, classes, vf_mul(p, s));
            }
        }
    }
}

#endif
