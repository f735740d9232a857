/* Batch normalisation: each column of x [rows, columns] is brought to mean 0 and variance 1 over the rows.
 *
 *   forward    mean = sum x / n,  var = sum (x - mean)^2 / n,  rstd = 1 / sqrt(var + eps),
 *              xhat = (x - mean) rstd,  y = f(gamma xhat + beta)
 *   backward   dbeta = sum dy,  dgamma = sum dy xhat,
 *              dx = gamma rstd (dy - dbeta / n - xhat dgamma / n)
 *
 * S. Ioffe and C. Szegedy, "Batch normalization", 2015. Mean and variance are made in one pass over memory, in chunks of 16
 * rows: a chunk's deviations from the first chunk's mean, which are exact for values far from 0, give its own mean and its
 * squares about that, and chunks are combined in order (Chan, Golub & LeVeque 1983), in blocks of many rows (sums.h). The mean
 * is kept in two floats: `mean`, rounded, and `rest`, what it lacks.
 *
 * A column whose sums of squares overflow is done again with a factor before x, mean and rest, FNN_NORM_SCALE; the factor of
 * all others is 1, so nothing changes for those of the same strip. Such a column is known by its rstd, which is smaller than
 * any other column's.
 *
 * Columns are independent, so nothing depends on how they are shared out. They go in strips that are wide enough for rows to
 * be read in long runs (a narrow strip of rows of 4 KB would meet in few sets of the caches), and narrow enough for what is
 * kept of each column to stay in the nearest one. Of a batch that the caches do not hold, the rows read last are still there:
 * the second pass of a strip begins with them and goes upwards. */
#ifndef FNN_KERNELS_BATCHNORM_H
#define FNN_KERNELS_BATCHNORM_H

#include "activation.h"
#include "bias.h"

#define FNN_STRIP 512 /* columns: 2 KB for each number that is kept of them */

/* A vector of a row, whole or with t's lanes; `full` is a constant wherever these are called. */
FNN_INLINE vf fnn_part_load(const bool full, const float *x, vt t) { return full ? vf_load(x) : vf_load_t(x, t); }

FNN_INLINE void fnn_part_store(const bool full, float *y, vf a, vt t)
{
    if (full)
        vf_store(y, a);
    else
        vf_store_t(y, a, t);
}

/* The same of x, times a factor; where `full` it is 1. */
FNN_INLINE vf fnn_part_scaled(const bool full, const float *x, vt t, vf factor)
{
    return full ? vf_load(x) : vf_mul(vf_load_t(x, t), factor);
}

/* Mean and squares of `more` rows added to those of n rows. */
FNN_INLINE void fnn_combine_statistics(size_t n, size_t more, vf own, vf q, float *mean, float *squares)
{
    const float both = (float)(n + more);
    const vf m = vf_load(mean), delta = vf_sub(own, m);
    vf_store(mean, vf_fma(delta, vf_set1((float)more / both), m));
    const vf between = vf_mul(vf_mul(delta, delta), vf_set1((float)n * ((float)more / both)));
    vf_store(squares, vf_add(vf_load(squares), vf_add(q, between)));
}

/* Mean and deviations of one vector of columns over a chunk of at most 16 rows, added to what n rows before it gave: `shift`
 * (the first chunk's mean, made where it is the `first`), `mean` (relative to the shift) and `squares` (about the mean). */
FNN_INLINE void fnn_chunk_statistics(const bool full, const size_t rows, size_t n, bool first, const float *x, size_t ldx,
                                     vf factor, float *shift, float *mean, float *squares, vt t)
{
    vf d[FNN_ROW_CHUNK];
    vf sum = vf_zero(), from;
    FNN_UNROLL
    for (size_t r = 0; r < FNN_ROW_CHUNK; r++) d[r] = r < rows ? fnn_part_scaled(full, x + r * ldx, t, factor) : vf_zero();
    const vf count = vf_set1((float)rows);
    if (first) {
        FNN_UNROLL
        for (size_t r = 0; r < rows; r++) sum = vf_add(sum, d[r]);
        from = vf_div(sum, count);
        vf_store(shift, from);
        sum = vf_zero();
    } else {
        from = vf_load(shift);
    }
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        d[r] = vf_sub(d[r], from);
        sum = vf_add(sum, d[r]);
    }
    const vf own = vf_div(sum, count);
    vf q = vf_zero();
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vf e = vf_sub(d[r], own);
        q = vf_fma(e, e, q);
    }
    if (n == 0) {
        vf_store(mean, own);
        vf_store(squares, q);
        return;
    }
    fnn_combine_statistics(n, rows, own, q, mean, squares);
}

/* factor NULL: 1. Returns whether the squares of a column overflowed, or it holds what is not a number. */
static bool fnn_strip_statistics(size_t rows, size_t columns, const float *x, size_t ldx, float eps, const float *factor,
                                 float *mean, float *rest, float *rstd, float *var)
{
    float shift[FNN_STRIP], relative[FNN_STRIP], squares[FNN_STRIP], block_mean[FNN_STRIP], block_squares[FNN_STRIP];
    const vt none = vt_first(FNN_VF);
    const vf one = vf_set1(1.0f);
    bool overflow = false;
    for (size_t from = 0, end; from < rows; from = end) {
        end = fnn_block_end(from, rows);
        float *m = from ? block_mean : relative, *q = from ? block_squares : squares;
        for (size_t i = from; i < end; i += FNN_ROW_CHUNK) {
            const size_t count = end - i < FNN_ROW_CHUNK ? end - i : FNN_ROW_CHUNK;
            const float *row = x + i * ldx;
            for (size_t j = 0; j < columns; j += FNN_VF) {
                const vt t = columns - j < FNN_VF ? vt_first(columns - j) : none;
                const vf f = factor ? vf_load(factor + j) : one;
                if (count == FNN_ROW_CHUNK && columns - j >= FNN_VF && !factor)
                    fnn_chunk_statistics(true, FNN_ROW_CHUNK, i - from, i == 0, row + j, ldx, f, shift + j, m + j, q + j, none);
                else if (count == FNN_ROW_CHUNK)
                    fnn_chunk_statistics(false, FNN_ROW_CHUNK, i - from, i == 0, row + j, ldx, f, shift + j, m + j, q + j, t);
                else
                    fnn_chunk_statistics(false, count, i - from, i == 0, row + j, ldx, f, shift + j, m + j, q + j, t);
            }
        }
        if (from)
            for (size_t j = 0; j < columns; j += FNN_VF)
                fnn_combine_statistics(from, end - from, vf_load(m + j), vf_load(q + j), relative + j, squares + j);
    }
    const vf n = vf_set1((float)rows);
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf a = vf_load(shift + j), b = vf_load(relative + j), m = vf_add(a, b), c = vf_sub(m, a);
        const vf lacks = vf_add(vf_sub(a, vf_sub(m, c)), vf_sub(b, c)), v = vf_div(vf_load(squares + j), n);
        const vf r = vf_div(one, vf_sqrt(vf_add(v, vf_set1(eps))));
        if (!factor) {
            const vf zero = vf_sub(v, v);
            overflow |= (vm_bits(vf_eq(zero, zero)) & vm_bits(vm_from_t(t))) != vm_bits(vm_from_t(t));
            vf_store_t(mean + j, m, t);
            vf_store_t(rest + j, lacks, t);
            vf_store_t(rstd + j, r, t);
            vf_store_t(var + j, v, t);
            continue;
        }
        const vf f = vf_load(factor + j), most = fnn_norm_mean(m);
        const vm scaled = vf_lt(f, one);
        vf_store_t(mean + j, vf_div(vf_select(scaled, most, m), f), t);
        vf_store_t(rest + j, vf_div(vf_select(scaled, vf_add(lacks, vf_sub(m, most)), lacks), f), t);
        vf_store_t(rstd + j, vf_select(scaled, vf_mul(fnn_norm_rstd(v, eps), f), r), t);
        vf_store_t(var + j, vf_div(vf_div(v, f), f), t);
    }
    return overflow;
}

/* The columns of a strip whose squares overflow, done again. */
static void fnn_strip_statistics_again(size_t rows, size_t columns, const float *x, size_t ldx, float eps, float *mean, float *rest,
                                       float *rstd, float *var)
{
    float factor[FNN_STRIP];
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vf v = vf_load_t(var + j, vt_first(columns - j)), zero = vf_sub(v, v);
        vf_store(factor + j, vf_select(vf_eq(zero, zero), vf_set1(1.0f), vf_set1(FNN_NORM_SCALE)));
    }
    fnn_strip_statistics(rows, columns, x, ldx, eps, factor, mean, rest, rstd, var);
}

/* The factors of a strip's columns; whether one is not 1. */
FNN_INLINE bool fnn_strip_factors(size_t columns, const float *rstd, float *factor)
{
    bool scaled = false;
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vm tiny = vf_lt(vf_load_t(rstd + j, t), vf_set1(FNN_NORM_TINY));
        scaled |= (vm_bits(tiny) & vm_bits(vm_from_t(t))) != 0;
        vf_store(factor + j, vf_select(tiny, vf_set1(FNN_NORM_SCALE), vf_set1(1.0f)));
    }
    return scaled;
}

#define FNN_ROWS_AT_ONCE 4 /* rows that share what is loaded for a column */

/* Where the second pass begins: at the last group of rows. */
FNN_INLINE size_t fnn_after_last_group(size_t rows)
{
    return (rows + FNN_ROWS_AT_ONCE - 1) / FNN_ROWS_AT_ONCE * FNN_ROWS_AT_ONCE;
}

/* y = ((x - mean) - rest) scale + shift for `rows` rows of one vector, with the factor in x, mean, rest and 1 / scale. */
FNN_INLINE void fnn_normalize_part(const bool full, const size_t rows, const float *x, size_t ldx, vf factor, vf mean, vf rest,
                                   vf scale, vf shift, float *y, size_t ldy, vt t)
{
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vf d = vf_sub(vf_sub(fnn_part_scaled(full, x + r * ldx, t, factor), mean), rest);
        fnn_part_store(full, y + r * ldy, vf_fma(d, scale, shift), t);
    }
}

/* The columns of one strip. mean, rest and rstd are the strip's; rest may be NULL: 0. */
static void fnn_strip_normalize(const fnn_batchnorm *o, size_t j0, size_t columns, const float *mean, const float *rest,
                                const float *rstd)
{
    float scale[FNN_STRIP], shift[FNN_STRIP], first[FNN_STRIP], second[FNN_STRIP], factor[FNN_STRIP];
    const bool scaled = fnn_strip_factors(columns, rstd, factor);
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf f = vf_load(factor + j), r = vf_div(vf_load_t(rstd + j, t), f);
        vf_store(scale + j, o->gamma ? vf_mul(vf_load_t(o->gamma + j0 + j, t), r) : r);
        vf_store(shift + j, o->beta ? vf_load_t(o->beta + j0 + j, t) : vf_zero());
        vf_store(first + j, vf_mul(vf_load_t(mean + j, t), f));
        vf_store(second + j, rest ? vf_mul(vf_load_t(rest + j, t), f) : vf_zero());
    }
    for (size_t i = fnn_after_last_group(o->rows); i > 0;) {
        i -= FNN_ROWS_AT_ONCE;
        const size_t count = o->rows - i < FNN_ROWS_AT_ONCE ? o->rows - i : FNN_ROWS_AT_ONCE;
        const float *x = o->x + i * o->ldx + j0;
        float *y = o->y + i * o->ldy + j0;
        for (size_t j = 0; j < columns; j += FNN_VF) {
            const vf m = vf_load(first + j), e = vf_load(second + j), a = vf_load(scale + j), b = vf_load(shift + j);
            const vf f = vf_load(factor + j);
            if (count == FNN_ROWS_AT_ONCE && columns - j >= FNN_VF && !scaled)
                fnn_normalize_part(true, FNN_ROWS_AT_ONCE, x + j, o->ldx, f, m, e, a, b, y + j, o->ldy, vt_first(FNN_VF));
            else
                fnn_normalize_part(false, count, x + j, o->ldx, f, m, e, a, b, y + j, o->ldy, vt_first(columns - j));
        }
        if (o->activation != FNN_IDENTITY)
            for (size_t r = 0; r < count; r++)
                fnn_activation_forward(o->activation, o->alpha, columns, y + r * o->ldy, y + r * o->ldy);
    }
}

/* sum += dy and products += dy ((x - mean) - rest) over `rows` rows of one vector, with the factor in x, mean and rest. */
FNN_INLINE void fnn_gradients_part(const bool full, const size_t rows, const float *dy, size_t lddy, const float *x, size_t ldx,
                                   vf factor, vf mean, vf rest, float *sum, float *products, vt t)
{
    vf s = vf_load(sum), q = vf_load(products);
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vf g = fnn_part_load(full, dy + r * lddy, t);
        const vf d = vf_sub(vf_sub(fnn_part_scaled(full, x + r * ldx, t, factor), mean), rest);
        s = vf_add(s, g);
        q = vf_fma(g, d, q);
    }
    vf_store(sum, s);
    vf_store(products, q);
}

/* dx = scale ((dy - shift) + slope ((x - mean) - rest)), with the factor in x, mean, rest and 1 / slope. */
FNN_INLINE void fnn_denormalize_part(const bool full, const size_t rows, const float *dy, size_t lddy, const float *x, size_t ldx,
                                     vf factor, vf mean, vf rest, vf scale, vf shift, vf slope, float *dx, size_t lddx, vt t)
{
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vf g = vf_sub(fnn_part_load(full, dy + r * lddy, t), shift);
        const vf d = vf_sub(vf_sub(fnn_part_scaled(full, x + r * ldx, t, factor), mean), rest);
        fnn_part_store(full, dx + r * lddx, vf_mul(scale, vf_fma(slope, d, g)), t);
    }
}

/* The gradient of a parameter, stored or added; NULL: not wanted. */
FNN_INLINE void fnn_put_gradient(float *out, bool accumulate, vf gradient, vt t)
{
    if (out) vf_store_t(out, accumulate ? vf_add(vf_load_t(out, t), gradient) : gradient, t);
}

static void fnn_strip_backward(const fnn_batchnorm *o, size_t j0, size_t columns)
{
    float mean[FNN_STRIP], rest[FNN_STRIP], sum[FNN_STRIP], products[FNN_STRIP], scale[FNN_STRIP];
    float chunk_sum[FNN_STRIP], chunk_products[FNN_STRIP], block_sum[FNN_STRIP], block_products[FNN_STRIP], factor[FNN_STRIP];
    const float *statistics = o->statistics + j0;
    const bool scaled = fnn_strip_factors(columns, statistics + 2 * o->lds, factor);
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf f = vf_load(factor + j);
        vf_store(mean + j, vf_mul(vf_load_t(statistics + j, t), f));
        vf_store(rest + j, vf_mul(vf_load_t(statistics + o->lds + j, t), f));
        vf_store(sum + j, vf_zero());
        vf_store(products + j, vf_zero());
        vf_store(block_sum + j, vf_zero());
        vf_store(block_products + j, vf_zero());
        vf_store(chunk_sum + j, vf_zero());
        vf_store(chunk_products + j, vf_zero());
    }
    for (size_t i = 0; i < o->rows; i += FNN_ROWS_AT_ONCE) {
        const size_t count = o->rows - i < FNN_ROWS_AT_ONCE ? o->rows - i : FNN_ROWS_AT_ONCE;
        const float *dy = o->dy + i * o->lddy + j0, *x = o->x + i * o->ldx + j0;
        for (size_t j = 0; j < columns; j += FNN_VF) {
            const vf m = vf_load(mean + j), e = vf_load(rest + j), f = vf_load(factor + j);
            float *s = chunk_sum + j, *q = chunk_products + j;
            if (count == FNN_ROWS_AT_ONCE && columns - j >= FNN_VF && !scaled)
                fnn_gradients_part(true, FNN_ROWS_AT_ONCE, dy + j, o->lddy, x + j, o->ldx, f, m, e, s, q, vt_first(FNN_VF));
            else
                fnn_gradients_part(false, count, dy + j, o->lddy, x + j, o->ldx, f, m, e, s, q, vt_first(columns - j));
        }
        const size_t done = i + FNN_ROWS_AT_ONCE;
        if (done % FNN_ROW_CHUNK && done < o->rows) continue;
        for (size_t j = 0; j < columns; j += FNN_VF) { /* the chunk is over */
            vf_store(block_sum + j, vf_add(vf_load(block_sum + j), vf_load(chunk_sum + j)));
            vf_store(block_products + j, vf_add(vf_load(block_products + j), vf_load(chunk_products + j)));
            vf_store(chunk_sum + j, vf_zero());
            vf_store(chunk_products + j, vf_zero());
        }
        if (done % FNN_SUM_BLOCK && done < o->rows) continue;
        for (size_t j = 0; j < columns; j += FNN_VF) { /* the block is over */
            vf_store(sum + j, vf_add(vf_load(sum + j), vf_load(block_sum + j)));
            vf_store(products + j, vf_add(vf_load(products + j), vf_load(block_products + j)));
            vf_store(block_sum + j, vf_zero());
            vf_store(block_products + j, vf_zero());
        }
    }
    const vf n = vf_set1((float)o->rows);
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        const vf r = vf_load_t(statistics + 2 * o->lds + j, t), own = vf_div(r, vf_load(factor + j));
        const vf dbeta = vf_load(sum + j), dgamma = vf_mul(vf_load(products + j), own);
        fnn_put_gradient(o->dgamma ? o->dgamma + j0 + j : NULL, o->accumulate, dgamma, t);
        fnn_put_gradient(o->dbeta ? o->dbeta + j0 + j : NULL, o->accumulate, dbeta, t);
        vf_store(scale + j, o->gamma ? vf_mul(vf_load_t(o->gamma + j0 + j, t), r) : r);
        vf_store(sum + j, vf_div(dbeta, n)); /* what is taken off dy, and the factor of x - mean */
        vf_store(products + j, vf_neg(vf_mul(own, vf_div(dgamma, n))));
    }
    if (!o->dx) return;
    for (size_t i = fnn_after_last_group(o->rows); i > 0;) {
        i -= FNN_ROWS_AT_ONCE;
        const size_t count = o->rows - i < FNN_ROWS_AT_ONCE ? o->rows - i : FNN_ROWS_AT_ONCE;
        const float *dy = o->dy + i * o->lddy + j0, *x = o->x + i * o->ldx + j0;
        float *dx = o->dx + i * o->lddx + j0;
        for (size_t j = 0; j < columns; j += FNN_VF) {
            const vf m = vf_load(mean + j), e = vf_load(rest + j), a = vf_load(scale + j), f = vf_load(factor + j);
            const vf shift = vf_load(sum + j), slope = vf_load(products + j);
            if (count == FNN_ROWS_AT_ONCE && columns - j >= FNN_VF && !scaled)
                fnn_denormalize_part(true, FNN_ROWS_AT_ONCE, dy + j, o->lddy, x + j, o->ldx, f, m, e, a, shift, slope, dx + j,
                                     o->lddx, vt_first(FNN_VF));
            else
                fnn_denormalize_part(false, count, dy + j, o->lddy, x + j, o->ldx, f, m, e, a, shift, slope, dx + j, o->lddx,
                                     vt_first(columns - j));
        }
    }
}

/* Statistics [4, columns]: mean, rest, rstd, var. y may be x. */
static void fnn_batchnorm_forward(const fnn_batchnorm *o)
{
    for (size_t j = 0; j < o->columns; j += FNN_STRIP) {
        const size_t columns = o->columns - j < FNN_STRIP ? o->columns - j : FNN_STRIP;
        float *mean = o->statistics + j, *rest = mean + o->lds, *rstd = rest + o->lds, *var = rstd + o->lds;
        if (fnn_strip_statistics(o->rows, columns, o->x + j, o->ldx, o->eps, NULL, mean, rest, rstd, var))
            fnn_strip_statistics_again(o->rows, columns, o->x + j, o->ldx, o->eps, mean, rest, rstd, var);
        fnn_strip_normalize(o, j, columns, mean, rest, rstd);
    }
}

/* With mean and var given. y may be x. */
static void fnn_batchnorm_inference(const fnn_batchnorm *o)
{
    for (size_t j = 0; j < o->columns; j += FNN_STRIP) {
        const size_t columns = o->columns - j < FNN_STRIP ? o->columns - j : FNN_STRIP;
        float rstd[FNN_STRIP];
        for (size_t c = 0; c < columns; c += FNN_VF) {
            const vf var = vf_load_t(o->var + j + c, vt_first(columns - c));
            vf_store(rstd + c, vf_div(vf_set1(1.0f), vf_sqrt(vf_add(var, vf_set1(o->eps)))));
        }
        fnn_strip_normalize(o, j, columns, o->mean + j, NULL, rstd);
    }
}

/* dx, dgamma, dbeta may be NULL: not wanted. dx may be dy. */
static void fnn_batchnorm_backward(const fnn_batchnorm *o)
{
    for (size_t j = 0; j < o->columns; j += FNN_STRIP)
        fnn_strip_backward(o, j, o->columns - j < FNN_STRIP ? o->columns - j : FNN_STRIP);
}

#endif
