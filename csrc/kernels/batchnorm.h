/* Batch normalisation: each column of x [rows, columns] is brought to mean 0 and variance 1 over the rows.
 *
 *   forward    mean = sum x / n,  var = sum (x - mean)^2 / n,  rstd = 1 / sqrt(var + eps),
 *              xhat = (x - mean) rstd,  y = f(gamma xhat + beta)
 *   backward   dbeta = sum dy,  dgamma = sum dy xhat,
 *              dx = gamma rstd (dy - dbeta / n - xhat dgamma / n)
 *
 * S. Ioffe and C. Szegedy, "Batch normalization", 2015. The variance is the corrected two-pass one (Chan, Golub & LeVeque
 * 1983): a first pass gives m, the mean rounded to float; a second sums d = x - m and d^2, so that what m lacks of the
 * true mean (`rest`) is known too, and var = (sum d^2 - rest sum d) / n. Columns far from 0 lose nothing: d is exact there.
 *
 * Columns are independent: a strip of a few vectors goes through all its rows in each pass, while it lies in a near cache.
 * Sums over rows are in chunks of 16 rows, added in order, so nothing depends on how columns are shared out. */
#ifndef FNN_KERNELS_BATCHNORM_H
#define FNN_KERNELS_BATCHNORM_H

#include "activation.h"
#include "bias.h"

#define FNN_STRIP (FNN_NV == 4 ? 4 : 2) /* vectors of a strip: what the registers hold of two sums in two levels */
#define FNN_STRIP_UNROLL _Pragma("GCC unroll 4")

/* The vectors of a strip at x: whole ones, but for the last one's lanes beyond the columns. */
FNN_INLINE vf fnn_strip_load(const float *x, const int v, const int wide, vt last)
{
    return v == wide - 1 ? vf_load_t(x + v * FNN_VF, last) : vf_load(x + v * FNN_VF);
}

FNN_INLINE void fnn_strip_store(float *y, const int v, const int wide, vf a, vt last)
{
    if (v == wide - 1)
        vf_store_t(y + v * FNN_VF, a, last);
    else
        vf_store(y + v * FNN_VF, a);
}

/* gamma or beta, which may be missing */
FNN_INLINE vf fnn_strip_or(const float *x, float otherwise, const int v, const int wide, vt last)
{
    return x ? fnn_strip_load(x, v, wide, last) : vf_set1(otherwise);
}

/* Mean, rest, rstd and var of a strip. */
FNN_INLINE void fnn_strip_statistics(const int wide, size_t rows, const float *x, size_t ldx, float eps, float *mean,
                                     float *rest, float *rstd, float *var, vt last)
{
    const vf n = vf_set1((float)rows);
    vf m[FNN_STRIP], first[FNN_STRIP], second[FNN_STRIP];
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) m[v] = vf_zero();
    for (size_t i = 0; i < rows; i += FNN_ROW_CHUNK) {
        const size_t end = rows - i < FNN_ROW_CHUNK ? rows : i + FNN_ROW_CHUNK;
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) first[v] = vf_zero();
        for (size_t r = i; r < end; r++) {
            FNN_STRIP_UNROLL
            for (int v = 0; v < wide; v++) first[v] = vf_add(first[v], fnn_strip_load(x + r * ldx, v, wide, last));
        }
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) m[v] = vf_add(m[v], first[v]);
    }
    vf s[FNN_STRIP], q[FNN_STRIP];
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) {
        m[v] = vf_div(m[v], n);
        s[v] = q[v] = vf_zero();
    }
    for (size_t i = 0; i < rows; i += FNN_ROW_CHUNK) {
        const size_t end = rows - i < FNN_ROW_CHUNK ? rows : i + FNN_ROW_CHUNK;
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) first[v] = second[v] = vf_zero();
        for (size_t r = i; r < end; r++) {
            FNN_STRIP_UNROLL
            for (int v = 0; v < wide; v++) {
                const vf d = vf_sub(fnn_strip_load(x + r * ldx, v, wide, last), m[v]);
                first[v] = vf_add(first[v], d);
                second[v] = vf_fma(d, d, second[v]);
            }
        }
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) {
            s[v] = vf_add(s[v], first[v]);
            q[v] = vf_add(q[v], second[v]);
        }
    }
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) {
        const vf left = vf_div(s[v], n);
        vf squares = vf_div(vf_fma(vf_neg(left), s[v], q[v]), n);
        squares = vf_select(vf_lt(squares, vf_zero()), vf_zero(), squares);
        fnn_strip_store(mean, v, wide, m[v], last);
        fnn_strip_store(rest, v, wide, left, last);
        fnn_strip_store(rstd, v, wide, vf_div(vf_set1(1.0f), vf_sqrt(vf_add(squares, vf_set1(eps)))), last);
        fnn_strip_store(var, v, wide, squares, last);
    }
}

/* y = f(((x - mean) - rest) scale + beta) with scale = gamma rstd. rest may be NULL: 0. */
FNN_INLINE void fnn_strip_normalize(const int wide, const fnn_batchnorm *o, size_t j, const float *mean, const float *rest,
                                    const float *rstd, vt last)
{
    vf m[FNN_STRIP], e[FNN_STRIP], a[FNN_STRIP], b[FNN_STRIP];
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) {
        m[v] = fnn_strip_load(mean, v, wide, last);
        e[v] = fnn_strip_or(rest, 0.0f, v, wide, last);
        a[v] = vf_mul(fnn_strip_or(o->gamma ? o->gamma + j : NULL, 1.0f, v, wide, last),
                      fnn_strip_load(rstd, v, wide, last));
        b[v] = fnn_strip_or(o->beta ? o->beta + j : NULL, 0.0f, v, wide, last);
    }
    const size_t width = o->columns - j < (size_t)wide * FNN_VF ? o->columns - j : (size_t)wide * FNN_VF;
    const float *x = o->x + j;
    float *y = o->y + j;
    for (size_t r = 0; r < o->rows; r++, x += o->ldx, y += o->ldy) {
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) {
            const vf d = vf_sub(vf_sub(fnn_strip_load(x, v, wide, last), m[v]), e[v]);
            fnn_strip_store(y, v, wide, vf_fma(d, a[v], b[v]), last);
        }
        if (o->activation != FNN_IDENTITY) fnn_activation_forward(o->activation, o->alpha, width, y, y);
    }
}

FNN_INLINE void fnn_strip_forward(const int wide, const fnn_batchnorm *o, size_t j, vt last)
{
    float *mean = o->statistics + j, *rest = mean + o->lds, *rstd = rest + o->lds, *var = rstd + o->lds;
    fnn_strip_statistics(wide, o->rows, o->x + j, o->ldx, o->eps, mean, rest, rstd, var, last);
    fnn_strip_normalize(wide, o, j, mean, rest, rstd, last);
}

FNN_INLINE void fnn_strip_inference(const int wide, const fnn_batchnorm *o, size_t j, vt last)
{
    float rstd[FNN_STRIP * FNN_VF];
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) {
        const vf var = fnn_strip_load(o->var + j, v, wide, last);
        vf_store(rstd + v * FNN_VF, vf_div(vf_set1(1.0f), vf_sqrt(vf_add(var, vf_set1(o->eps)))));
    }
    fnn_strip_normalize(wide, o, j, o->mean + j, NULL, rstd, last);
}

FNN_INLINE void fnn_strip_backward(const int wide, const fnn_batchnorm *o, size_t j, vt last)
{
    const float *mean = o->statistics + j, *rest = mean + o->lds, *rstd = rest + o->lds;
    const float *x = o->x + j, *dy = o->dy + j;
    vf m[FNN_STRIP], e[FNN_STRIP], first[FNN_STRIP], second[FNN_STRIP], s[FNN_STRIP], q[FNN_STRIP];
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) {
        m[v] = fnn_strip_load(mean, v, wide, last);
        e[v] = fnn_strip_load(rest, v, wide, last);
        s[v] = q[v] = vf_zero();
    }
    for (size_t i = 0; i < o->rows; i += FNN_ROW_CHUNK) {
        const size_t end = o->rows - i < FNN_ROW_CHUNK ? o->rows : i + FNN_ROW_CHUNK;
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) first[v] = second[v] = vf_zero();
        for (size_t r = i; r < end; r++) {
            FNN_STRIP_UNROLL
            for (int v = 0; v < wide; v++) {
                const vf g = fnn_strip_load(dy + r * o->lddy, v, wide, last);
                const vf d = vf_sub(vf_sub(fnn_strip_load(x + r * o->ldx, v, wide, last), m[v]), e[v]);
                first[v] = vf_add(first[v], g);
                second[v] = vf_fma(g, d, second[v]);
            }
        }
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) {
            s[v] = vf_add(s[v], first[v]);
            q[v] = vf_add(q[v], second[v]);
        }
    }
    const vf n = vf_set1((float)o->rows);
    vf a[FNN_STRIP];
    FNN_STRIP_UNROLL
    for (int v = 0; v < wide; v++) {
        const vf r = fnn_strip_load(rstd, v, wide, last), dgamma = vf_mul(q[v], r);
        if (o->dgamma) {
            const vf held = o->accumulate ? fnn_strip_load(o->dgamma + j, v, wide, last) : vf_zero();
            fnn_strip_store(o->dgamma + j, v, wide, o->accumulate ? vf_add(held, dgamma) : dgamma, last);
        }
        if (o->dbeta) {
            const vf held = o->accumulate ? fnn_strip_load(o->dbeta + j, v, wide, last) : vf_zero();
            fnn_strip_store(o->dbeta + j, v, wide, o->accumulate ? vf_add(held, s[v]) : s[v], last);
        }
        a[v] = vf_mul(fnn_strip_or(o->gamma ? o->gamma + j : NULL, 1.0f, v, wide, last), r);
        s[v] = vf_div(s[v], n);
        q[v] = vf_neg(vf_mul(r, vf_div(dgamma, n)));
    }
    if (!o->dx) return;
    float *dx = o->dx + j;
    for (size_t r = 0; r < o->rows; r++) {
        FNN_STRIP_UNROLL
        for (int v = 0; v < wide; v++) {
            const vf g = vf_sub(fnn_strip_load(dy + r * o->lddy, v, wide, last), s[v]);
            const vf d = vf_sub(vf_sub(fnn_strip_load(x + r * o->ldx, v, wide, last), m[v]), e[v]);
            fnn_strip_store(dx + r * o->lddx, v, wide, vf_mul(a[v], vf_fma(q[v], d, g)), last);
        }
    }
}

/* A loop over the strips, in which the number of vectors is a constant. */
#if FNN_NV == 4
#define FNN_EACH_STRIP(strip, o)                                                                     \
    for (size_t j = 0; j < (o)->columns; j += FNN_STRIP * FNN_VF) {                                  \
        const size_t left = (o)->columns - j, wide = (left + FNN_VF - 1) / FNN_VF;                   \
        if (wide >= 4)                                                                               \
            strip(4, o, j, vt_first(left - 3 * FNN_VF));                                             \
        else if (wide == 3)                                                                          \
            strip(3, o, j, vt_first(left - 2 * FNN_VF));                                             \
        else if (wide == 2)                                                                          \
            strip(2, o, j, vt_first(left - FNN_VF));                                                 \
        else                                                                                         \
            strip(1, o, j, vt_first(left));                                                          \
    }
#else
#define FNN_EACH_STRIP(strip, o)                                                                     \
    for (size_t j = 0; j < (o)->columns; j += FNN_STRIP * FNN_VF) {                                  \
        const size_t left = (o)->columns - j;                                                        \
        if (left > FNN_VF)                                                                           \
            strip(2, o, j, vt_first(left - FNN_VF));                                                 \
        else                                                                                         \
            strip(1, o, j, vt_first(left));                                                          \
    }
#endif

/* Statistics [4, columns]: mean, rest, rstd, var. y may be x. */
static void fnn_batchnorm_forward(const fnn_batchnorm *o) { FNN_EACH_STRIP(fnn_strip_forward, o) }

/* With mean and var given. y may be x. */
static void fnn_batchnorm_inference(const fnn_batchnorm *o) { FNN_EACH_STRIP(fnn_strip_inference, o) }

/* dx, dgamma, dbeta may be NULL: not wanted. dx may be dy. */
static void fnn_batchnorm_backward(const fnn_batchnorm *o) { FNN_EACH_STRIP(fnn_strip_backward, o) }

#endif
