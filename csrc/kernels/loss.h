/* Losses with their gradients in one pass over the rows.
 *
 * Softmax cross-entropy of logits z with targets t (integer labels are one-hot rows):
 *   loss_i = sum_j t_ij (log sum_k e^z_ik - z_ij)         terms with t_ij = 0 count 0
 *   dz_ij  = (softmax(z_i)_j sum_k t_ik - t_ij) scale      scale: 1 / batch for the mean
 * Stable for any finite logits, since the row's maximum is subtracted first. */
#ifndef FNN_KERNELS_LOSS_H
#define FNN_KERNELS_LOSS_H

#include "softmax.h"

/* The first position of a row's largest value; n where the row has a NaN. */
static size_t fnn_argmax(const float *x, size_t n)
{
    const float max = fnn_row_max(x, n);
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

/* labels [rows] or, when NULL, targets [rows, classes] with rows ldt apart. dlogits may be NULL (evaluation) or logits.
 * loss [rows]; correct [rows]: 1 where the first largest logit is the label (or the first largest target). */
static void fnn_softmax_cross_entropy(size_t rows, size_t classes, const float *logits, size_t ldl,
                                      const int32_t *labels, const float *targets, size_t ldt, float scale,
                                      float *dlogits, size_t ldd, double *loss, uint8_t *correct)
{
    for (size_t i = 0; i < rows; i++, logits += ldl) {
        const float *t = labels ? NULL : targets + i * ldt;
        const size_t label = labels ? (size_t)labels[i] : 0;
        const float max = fnn_row_max(logits, classes);
        vf sum = vf_zero();
        for (size_t j = 0; j < classes; j += FNN_VF)
            sum = vf_add(sum, vf_exp(vf_sub(fnn_row_load(logits, j, classes), vf_set1(max))));
        const float total = vf_sum(sum);
        float log_total[FNN_VF];
        vf_store(log_total, vf_log(vf_set1(total)));

        const size_t best = fnn_argmax(logits, classes);
        double mass = 1.0;
        if (labels) {
            loss[i] = (double)log_total[0] + ((double)max - (double)logits[label]);
            correct[i] = best == label;
        } else {
            double l = 0.0;
            mass = 0.0;
            for (size_t j = 0; j < classes; j++) {
                if (t[j] != 0.0f) l += (double)t[j] * ((double)log_total[0] + ((double)max - (double)logits[j]));
                mass += (double)t[j];
            }
            loss[i] = l;
            correct[i] = best < classes && best == fnn_argmax(t, classes);
        }

        if (!dlogits) continue;
        float *d = dlogits + i * ldd;
        const vf s = vf_set1(scale), m = vf_set1((float)mass);
        for (size_t j = 0; j < classes; j += FNN_VF) {
            const vf e = vf_exp(vf_sub(fnn_row_load(logits, j, classes), vf_set1(max)));
            vf p = vf_div(e, vf_set1(total));
            if (t) p = vf_sub(vf_mul(p, m), fnn_row_load(t, j, classes));
            if (labels && label - j < FNN_VF) {
                float lanes[FNN_VF];
                vf_store(lanes, p);
                lanes[label - j] -= 1.0f;
                p = vf_load(lanes);
            }
            fnn_row_store(d, j, classes, vf_mul(p, s));
        }
    }
}

#endif
