/* Sums of two arrays, and maxout: y [rows, columns] = the largest of the pieces, which stand side by side in a row,
 * x [rows, pieces columns]. Of equal pieces the first counts, and a NaN beats every number, the first NaN all others.
 * I. Goodfellow et al., "Maxout networks", 2013. */
#ifndef FNN_KERNELS_PIECES_H
#define FNN_KERNELS_PIECES_H

#include "../simd/real.h"

/* y = a + b; y may be a or b. */
static void fnn_add(size_t n, const real *a, const real *b, real *y)
{
    for (size_t i = 0; i < n; i += FNN_LANES) fnn_row_store(y, i, n, v_add(fnn_row_load(a, i, n), fnn_row_load(b, i, n)));
}

/* Whether v takes the place of the largest so far: larger, or the first NaN. */
FNN_INLINE vec fnn_larger(vec best, vec v, vec if_so, vec if_not)
{
    const vec candidate = v_select(v_eq(v, v), v_select(v_lt(best, v), if_so, if_not), if_so);
    return v_select(v_eq(best, best), candidate, if_not);
}

static void fnn_maxout_forward(size_t columns, size_t pieces, const real *x, real *y)
{
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        vec best = v_load_t(x + j, t);
        for (size_t k = 1; k < pieces; k++) {
            const vec v = v_load_t(x + k * columns + j, t);
            best = fnn_larger(best, v, v, best);
        }
        v_store_t(y + j, best, t);
    }
}

/* dx [pieces columns]: dy where the piece was chosen, else 0. dx must not be x. */
static void fnn_maxout_backward(size_t columns, size_t pieces, const real *dy, const real *x, real *dx)
{
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec g = v_load_t(dy + j, t);
        vec best = v_load_t(x + j, t), chosen = v_zero();
        for (size_t k = 1; k < pieces; k++) {
            const vec v = v_load_t(x + k * columns + j, t);
            chosen = fnn_larger(best, v, v_set1((real)k), chosen);
            best = fnn_larger(best, v, v, best);
        }
        for (size_t k = 0; k < pieces; k++)
            v_store_t(dx + k * columns + j, v_select(v_eq(chosen, v_set1((real)k)), g, v_zero()), t);
    }
}

#endif
