/* Sums of two arrays, and maxout: y [rows, columns] = the largest of the pieces, which stand side by side in a row,
 * x [rows, pieces columns]. Of equal pieces the first counts, and a NaN beats every number, the first NaN all others.
 * I. Goodfellow et al., "Maxout networks", 2013. */
#ifndef FNN_KERNELS_PIECES_H
#define FNN_KERNELS_PIECES_H

#include "../simd/simd.h"
#include "kernels.h"

/* y = a + b; y may be a or b. */
static void fnn_add(size_t n, const float *a, const float *b, float *y)
{
    for (size_t i = 0; i < n; i += FNN_VF) {
        if (i + FNN_VF <= n) {
            vf_store(y + i, vf_add(vf_load(a + i), vf_load(b + i)));
        } else {
            const vt t = vt_first(n - i);
            vf_store_t(y + i, vf_add(vf_load_t(a + i, t), vf_load_t(b + i, t)), t);
        }
    }
}

/* Whether v takes the place of the largest so far: larger, or the first NaN. */
FNN_INLINE vf fnn_larger(vf best, vf v, vf if_so, vf if_not)
{
    const vf candidate = vf_select(vf_eq(v, v), vf_select(vf_lt(best, v), if_so, if_not), if_so);
    return vf_select(vf_eq(best, best), candidate, if_not);
}

static void fnn_maxout_forward(size_t columns, size_t pieces, const float *x, float *y)
{
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        vf best = vf_load_t(x + j, t);
        for (size_t k = 1; k < pieces; k++) {
            const vf v = vf_load_t(x + k * columns + j, t);
            best = fnn_larger(best, v, v, best);
        }
        vf_store_t(y + j, best, t);
    }
}

/* dx [pieces columns]: dy where the piece was chosen, else 0. dx must not be x. */
static void fnn_maxout_backward(size_t columns, size_t pieces, const float *dy, const float *x, float *dx)
{
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf g = vf_load_t(dy + j, t);
        vf best = vf_load_t(x + j, t), chosen = vf_zero();
        for (size_t k = 1; k < pieces; k++) {
            const vf v = vf_load_t(x + k * columns + j, t);
            chosen = fnn_larger(best, v, vf_set1((float)k), chosen);
            best = fnn_larger(best, v, v, best);
        }
        for (size_t k = 0; k < pieces; k++)
            vf_store_t(dx + k * columns + j, vf_select(vf_eq(chosen, vf_set1((float)k)), g, vf_zero()), t);
    }
}

#endif
