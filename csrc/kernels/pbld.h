/* Periodic embeddings of numbers: a column x becomes itself and, for each d,
 *
 *   y_d = c_d + sum over f of v_df cos(2 pi w_f x + b_f)
 *
 * with weights of its own for each column. Angles are taken in turns, u = w x + b / 2 pi, of which whole turns go off exactly. Every
 * output is one chain in the order of the frequencies, started from c; every gradient of a weight one chain in the order of the
 * batch, in blocks of many rows (sums.h). The first `embedded` of the columns are so embedded, all of them stand in front of y:
 *
 *   y = [x_0 ... x_columns-1, y of x_0, y of x_1, ...] */
#ifndef FNN_KERNELS_PBLD_H
#define FNN_KERNELS_PBLD_H

#include "sums.h"

#define FNN_TWO_PI 6.28318530717958648
#define FNN_PBLD_SUMS 4 /* chains at once */

/* cos 2 pi u and sin 2 pi u of any u; NaN of what is not finite. From 2^22 on, of doubles 2^51, there is no part of a turn left. */
FNN_INLINE void fnn_any_turn(vec u, vec *cosine, vec *sine)
{
    const vec magic = v_set1(FNN_PICK(0x1.8p23, 0x1.8p52)); /* adding it rounds to an integer */
    const vec part = v_sub(u, v_sub(v_add(u, magic), magic));
    v_turn(v_select(v_lt(v_abs(u), v_set1(FNN_PICK(0x1p22, 0x1p51))), part, v_sub(u, u)), cosine, sine);
}

/* The numbers of a column in up to FNN_LANES rows, and zeros. */
FNN_INLINE vec fnn_load_column(const real *x, size_t ld, size_t rows)
{
    real lanes[FNN_LANES] = {0};
    for (size_t i = 0; i < rows; i++) lanes[i] = x[i * ld];
    return v_load(lanes);
}

FNN_INLINE void fnn_store_column(real *y, size_t ld, size_t rows, vec values)
{
    real lanes[FNN_LANES];
    v_store(lanes, values);
    for (size_t i = 0; i < rows; i++) y[i * ld] = lanes[i];
}

/* A lane is a row. y is not x. */
static void fnn_pbld_forward(const fnn_pbld *o)
{
    const size_t frequencies = o->frequencies, dim = o->dim;
    for (size_t r = 0; r < o->rows; r += FNN_LANES) {
        const size_t rows = o->rows - r < FNN_LANES ? o->rows - r : FNN_LANES;
        const real *x = o->x + r * o->ldx;
        real *y = o->y + r * o->ldy;
        for (size_t i = 0; i < rows; i++) memcpy(y + i * o->ldy, x + i * o->ldx, o->columns * sizeof(real));
        for (size_t j = 0; j < o->embedded; j++) {
            const vec number = fnn_load_column(x + j, o->ldx, rows);
            const real *w = o->w + j * frequencies, *b = o->b + j * frequencies;
            for (size_t first = 0; first < dim; first += FNN_PBLD_SUMS) {
                const size_t count = dim - first < FNN_PBLD_SUMS ? dim - first : FNN_PBLD_SUMS;
                const real *v = o->v + (j * dim + first) * frequencies, *c = o->c + j * dim + first;
                vec sum[FNN_PBLD_SUMS];
                for (size_t d = 0; d < FNN_PBLD_SUMS; d++) sum[d] = v_set1(d < count ? c[d] : 0);
                for (size_t f = 0; f < frequencies; f++) {
                    vec cosine, sine;
                    fnn_any_turn(v_fma(v_set1(w[f]), number, v_set1(b[f] * (real)(1 / FNN_TWO_PI))), &cosine, &sine);
                    for (size_t d = 0; d < count; d++) sum[d] = v_fma(v_set1(v[d * frequencies + f]), cosine, sum[d]);
                }
                for (size_t d = 0; d < count; d++) fnn_store_column(y + o->columns + j * dim + first + d, o->ldy, rows, sum[d]);
            }
        }
    }
}

/* dx = dy of the number itself + 2 pi sum over f of w_f g_f, where g_f = -sin(...) sum over d of dy_d v_df is the gradient of an angle.
 * A lane is a row. */
static void fnn_pbld_backward_input(const fnn_pbld *o)
{
    const size_t frequencies = o->frequencies, dim = o->dim;
    for (size_t r = 0; r < o->rows; r += FNN_LANES) {
        const size_t rows = o->rows - r < FNN_LANES ? o->rows - r : FNN_LANES;
        const real *x = o->x + r * o->ldx, *dy = o->dy + r * o->lddy;
        real *dx = o->dx + r * o->lddx;
        for (size_t i = 0; i < rows; i++) memcpy(dx + i * o->lddx, dy + i * o->lddy, o->columns * sizeof(real));
        for (size_t j = 0; j < o->embedded; j++) {
            const vec number = fnn_load_column(x + j, o->ldx, rows);
            const real *w = o->w + j * frequencies, *b = o->b + j * frequencies, *v = o->v + j * dim * frequencies;
            vec sum = v_zero();
            for (size_t f = 0; f < frequencies; f++) {
                vec cosine, sine, back = v_zero();
                fnn_any_turn(v_fma(v_set1(w[f]), number, v_set1(b[f] * (real)(1 / FNN_TWO_PI))), &cosine, &sine);
                for (size_t d = 0; d < dim; d++)
                    back = v_fma(v_set1(v[d * frequencies + f]), fnn_load_column(dy + o->columns + j * dim + d, o->lddy, rows), back);
                sum = v_fnmadd(v_set1(w[f]), v_mul(sine, back), sum);
            }
            const vec own = fnn_load_column(dy + j, o->lddy, rows);
            fnn_store_column(dx + j, o->lddx, rows, v_fma(v_set1(FNN_TWO_PI), sum, own));
        }
    }
}

/* dw = 2 pi sum of x g and db = sum of g over the rows, for the columns [first, end). A lane is a frequency. */
static void fnn_pbld_backward_frequencies(const fnn_pbld *o, size_t first, size_t end)
{
    const size_t frequencies = o->frequencies, dim = o->dim;
    for (size_t j = first; j < end; j++) {
        for (size_t f = 0; f < frequencies; f += FNN_LANES) {
            const size_t at = j * frequencies + f;
            const vt t = vt_first(frequencies - f);
            const vec w = v_load_t(o->w + at, t), b = v_mul(v_load_t(o->b + at, t), v_set1(1 / FNN_TWO_PI));
            vec dw = v_zero(), db = v_zero();
            for (size_t from = 0, to; from < o->rows; from = to) {
                to = fnn_block_end(from, o->rows);
                vec block_w = v_zero(), block_b = v_zero();
                for (size_t r = from; r < to; r++) {
                    const vec number = v_set1(o->x[r * o->ldx + j]);
                    const real *dy = o->dy + r * o->lddy + o->columns + j * dim;
                    vec cosine, sine, back = v_zero();
                    fnn_any_turn(v_fma(w, number, b), &cosine, &sine);
                    for (size_t d = 0; d < dim; d++) back = v_fma(v_load_t(o->v + (j * dim + d) * frequencies + f, t), v_set1(dy[d]), back);
                    const vec g = v_mul(sine, back);
                    block_w = v_fnmadd(number, g, block_w);
                    block_b = v_sub(block_b, g);
                }
                dw = fnn_add_block(from, dw, block_w);
                db = fnn_add_block(from, db, block_b);
            }
            if (o->dw) fnn_put_gradient(o->dw + at, o->accumulate, v_mul(v_set1(FNN_TWO_PI), dw), t);
            if (o->db) fnn_put_gradient(o->db + at, o->accumulate, db, t);
        }
    }
}

/* dv_d = sum of dy_d cos(...) and dc_d = sum of dy_d over the rows, for the columns [first, end). A lane is a frequency. */
static void fnn_pbld_backward_weights(const fnn_pbld *o, size_t first, size_t end)
{
    const size_t frequencies = o->frequencies, dim = o->dim;
    for (size_t j = first; j < end; j++) {
        for (size_t f = 0; o->dv && f < frequencies; f += FNN_LANES) {
            const size_t at = j * frequencies + f;
            const vt t = vt_first(frequencies - f);
            const vec w = v_load_t(o->w + at, t), b = v_mul(v_load_t(o->b + at, t), v_set1(1 / FNN_TWO_PI));
            for (size_t d = 0; d < dim; d += FNN_PBLD_SUMS) {
                const size_t count = dim - d < FNN_PBLD_SUMS ? dim - d : FNN_PBLD_SUMS;
                vec sum[FNN_PBLD_SUMS], block[FNN_PBLD_SUMS];
                for (size_t i = 0; i < FNN_PBLD_SUMS; i++) sum[i] = v_zero();
                for (size_t from = 0, to; from < o->rows; from = to) {
                    to = fnn_block_end(from, o->rows);
                    for (size_t i = 0; i < FNN_PBLD_SUMS; i++) block[i] = v_zero();
                    for (size_t r = from; r < to; r++) {
                        const real *dy = o->dy + r * o->lddy + o->columns + j * dim + d;
                        vec cosine, sine;
                        fnn_any_turn(v_fma(w, v_set1(o->x[r * o->ldx + j]), b), &cosine, &sine);
                        for (size_t i = 0; i < count; i++) block[i] = v_fma(v_set1(dy[i]), cosine, block[i]);
                    }
                    for (size_t i = 0; i < count; i++) sum[i] = fnn_add_block(from, sum[i], block[i]);
                }
                for (size_t i = 0; i < count; i++)
                    fnn_put_gradient(o->dv + (j * dim + d + i) * frequencies + f, o->accumulate, sum[i], t);
            }
        }
        for (size_t d = 0; o->dc && d < dim; d++) {
            real sum = 0;
            for (size_t from = 0, to; from < o->rows; from = to) {
                to = fnn_block_end(from, o->rows);
                real block = 0;
                for (size_t r = from; r < to; r++) block += o->dy[r * o->lddy + o->columns + j * dim + d];
                sum = from ? sum + block : block;
            }
            real *dc = o->dc + j * dim + d;
            *dc = o->accumulate ? *dc + sum : sum;
        }
    }
}

#endif
