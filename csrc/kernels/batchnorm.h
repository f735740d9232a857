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
 * is kept in two numbers: `mean`, rounded, and `rest`, what it lacks.
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

#define FNN_STRIP (2048 / sizeof(real)) /* columns: 2 KB for each number that is kept of them */

/* A vector of a row, as by fnn_part_load, times a factor; where `full` it is 1. */
FNN_INLINE vec fnn_part_scaled(const bool full, const real *x, vt t, vec factor)
{
    return full ? v_load(x) : v_mul(v_load_t(x, t), factor);
}

/* Mean and squares of `more` rows added to those of n rows. */
FNN_INLINE void fnn_combine_statistics(size_t n, size_t more, vec own, vec q, real *mean, real *squares)
{
    const real both = (real)(n + more);
    const vec m = v_load(mean), delta = v_sub(own, m);
    v_store(mean, v_fma(delta, v_set1((real)more / both), m));
    const vec between = v_mul(v_mul(delta, delta), v_set1((real)n * ((real)more / both)));
    v_store(squares, v_add(v_load(squares), v_add(q, between)));
}

/* Mean and deviations of one vector of columns over a chunk of at most 16 rows, added to what n rows before it gave: `shift`
 * (the first chunk's mean, made where it is the `first`), `mean` (relative to the shift) and `squares` (about the mean). */
FNN_INLINE void fnn_chunk_statistics(const bool full, const size_t rows, size_t n, bool first, const real *x, size_t ldx,
                                     vec factor, real *shift, real *mean, real *squares, vt t)
{
    vec d[FNN_ROW_CHUNK];
    vec sum = v_zero(), from;
    FNN_UNROLL
    for (size_t r = 0; r < FNN_ROW_CHUNK; r++) d[r] = r < rows ? fnn_part_scaled(full, x + r * ldx, t, factor) : v_zero();
    const vec count = v_set1((real)rows);
    if (first) {
        FNN_UNROLL
        for (size_t r = 0; r < rows; r++) sum = v_add(sum, d[r]);
        from = v_div(sum, count);
        v_store(shift, from);
        sum = v_zero();
    } else {
        from = v_load(shift);
    }
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        d[r] = v_sub(d[r], from);
        sum = v_add(sum, d[r]);
    }
    const vec own = v_div(sum, count);
    vec q = v_zero();
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vec e = v_sub(d[r], own);
        q = v_fma(e, e, q);
    }
    if (n == 0) {
        v_store(mean, own);
        v_store(squares, q);
        return;
    }
    fnn_combine_statistics(n, rows, own, q, mean, squares);
}

/* factor NULL: 1. Returns whether the squares of a column overflowed, or it holds what is not a number. */
static bool fnn_strip_statistics(size_t rows, size_t columns, const real *x, size_t ldx, real eps, const real *factor,
                                 real *mean, real *rest, real *rstd, real *var)
{
    real shift[FNN_STRIP], relative[FNN_STRIP], squares[FNN_STRIP], block_mean[FNN_STRIP], block_squares[FNN_STRIP];
    const vt none = vt_first(FNN_LANES);
    const vec one = v_set1(1.0);
    bool overflow = false;
    for (size_t from = 0, end; from < rows; from = end) {
        end = fnn_block_end(from, rows);
        real *m = from ? block_mean : relative, *q = from ? block_squares : squares;
        for (size_t i = from; i < end; i += FNN_ROW_CHUNK) {
            const size_t count = end - i < FNN_ROW_CHUNK ? end - i : FNN_ROW_CHUNK;
            const real *row = x + i * ldx;
            for (size_t j = 0; j < columns; j += FNN_LANES) {
                const vt t = columns - j < FNN_LANES ? vt_first(columns - j) : none;
                const vec f = factor ? v_load(factor + j) : one;
                if (count == FNN_ROW_CHUNK && columns - j >= FNN_LANES && !factor)
                    fnn_chunk_statistics(true, FNN_ROW_CHUNK, i - from, i == 0, row + j, ldx, f, shift + j, m + j, q + j, none);
                else if (count == FNN_ROW_CHUNK)
                    fnn_chunk_statistics(false, FNN_ROW_CHUNK, i - from, i == 0, row + j, ldx, f, shift + j, m + j, q + j, t);
                else
                    fnn_chunk_statistics(false, count, i - from, i == 0, row + j, ldx, f, shift + j, m + j, q + j, t);
            }
        }
        if (from)
            for (size_t j = 0; j < columns; j += FNN_LANES)
                fnn_combine_statistics(from, end - from, v_load(m + j), v_load(q + j), relative + j, squares + j);
    }
    const vec n = v_set1((real)rows);
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec a = v_load(shift + j), b = v_load(relative + j), m = v_add(a, b), c = v_sub(m, a);
        const vec lacks = v_add(v_sub(a, v_sub(m, c)), v_sub(b, c)), v = v_div(v_load(squares + j), n);
        const vec r = v_div(one, v_sqrt(v_add(v, v_set1(eps))));
        if (!factor) {
            const vec zero = v_sub(v, v);
            overflow |= (vmask_bits(v_eq(zero, zero)) & vmask_bits(vmask_from_t(t))) != vmask_bits(vmask_from_t(t));
            v_store_t(mean + j, m, t);
            v_store_t(rest + j, lacks, t);
            v_store_t(rstd + j, r, t);
            v_store_t(var + j, v, t);
            continue;
        }
        const vec f = v_load(factor + j), most = fnn_norm_mean(m);
        const vmask scaled = v_lt(f, one);
        v_store_t(mean + j, v_div(v_select(scaled, most, m), f), t);
        v_store_t(rest + j, v_div(v_select(scaled, v_add(lacks, v_sub(m, most)), lacks), f), t);
        v_store_t(rstd + j, v_select(scaled, v_mul(fnn_norm_rstd(v, eps), f), r), t);
        v_store_t(var + j, v_div(v_div(v, f), f), t);
    }
    return overflow;
}

/* The columns of a strip whose squares overflow, done again. */
static void fnn_strip_statistics_again(size_t rows, size_t columns, const real *x, size_t ldx, real eps, real *mean, real *rest,
                                       real *rstd, real *var)
{
    real factor[FNN_STRIP];
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vec v = v_load_t(var + j, vt_first(columns - j)), zero = v_sub(v, v);
        v_store(factor + j, v_select(v_eq(zero, zero), v_set1(1.0), v_set1(FNN_NORM_SCALE)));
    }
    fnn_strip_statistics(rows, columns, x, ldx, eps, factor, mean, rest, rstd, var);
}

/* The factors of a strip's columns; whether one is not 1. */
FNN_INLINE bool fnn_strip_factors(size_t columns, const real *rstd, real *factor)
{
    bool scaled = false;
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vmask tiny = v_lt(v_load_t(rstd + j, t), v_set1(FNN_NORM_TINY));
        scaled |= (vmask_bits(tiny) & vmask_bits(vmask_from_t(t))) != 0;
        v_store(factor + j, v_select(tiny, v_set1(FNN_NORM_SCALE), v_set1(1.0)));
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
FNN_INLINE void fnn_normalize_part(const bool full, const size_t rows, const real *x, size_t ldx, vec factor, vec mean, vec rest,
                                   vec scale, vec shift, real *y, size_t ldy, vt t)
{
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vec d = v_sub(v_sub(fnn_part_scaled(full, x + r * ldx, t, factor), mean), rest);
        fnn_part_store(full, y + r * ldy, v_fma(d, scale, shift), t);
    }
}

/* The columns of one strip. mean, rest and rstd are the strip's; rest may be NULL: 0. */
static void fnn_strip_normalize(const fnn_batchnorm *o, size_t j0, size_t columns, const real *mean, const real *rest,
                                const real *rstd)
{
    real scale[FNN_STRIP], shift[FNN_STRIP], first[FNN_STRIP], second[FNN_STRIP], factor[FNN_STRIP];
    const bool scaled = fnn_strip_factors(columns, rstd, factor);
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec f = v_load(factor + j), r = v_div(v_load_t(rstd + j, t), f);
        v_store(scale + j, o->gamma ? v_mul(v_load_t(o->gamma + j0 + j, t), r) : r);
        v_store(shift + j, o->beta ? v_load_t(o->beta + j0 + j, t) : v_zero());
        v_store(first + j, v_mul(v_load_t(mean + j, t), f));
        v_store(second + j, rest ? v_mul(v_load_t(rest + j, t), f) : v_zero());
    }
    for (size_t i = fnn_after_last_group(o->rows); i > 0;) {
        i -= FNN_ROWS_AT_ONCE;
        const size_t count = o->rows - i < FNN_ROWS_AT_ONCE ? o->rows - i : FNN_ROWS_AT_ONCE;
        const real *x = o->x + i * o->ldx + j0;
        real *y = o->y + i * o->ldy + j0;
        for (size_t j = 0; j < columns; j += FNN_LANES) {
            const vec m = v_load(first + j), e = v_load(second + j), a = v_load(scale + j), b = v_load(shift + j);
            const vec f = v_load(factor + j);
            if (count == FNN_ROWS_AT_ONCE && columns - j >= FNN_LANES && !scaled)
                fnn_normalize_part(true, FNN_ROWS_AT_ONCE, x + j, o->ldx, f, m, e, a, b, y + j, o->ldy, vt_first(FNN_LANES));
            else
                fnn_normalize_part(false, count, x + j, o->ldx, f, m, e, a, b, y + j, o->ldy, vt_first(columns - j));
        }
        if (o->activation != FNN_IDENTITY) fnn_activation_forward(o->activation, o->alpha, count, columns, y, o->ldy, y, o->ldy);
    }
}

/* sum += dy and products += dy ((x - mean) - rest) over `rows` rows of one vector, with the factor in x, mean and rest. */
FNN_INLINE void fnn_gradients_part(const bool full, const size_t rows, const real *dy, size_t lddy, const real *x, size_t ldx,
                                   vec factor, vec mean, vec rest, real *sum, real *products, vt t)
{
    vec s = v_load(sum), q = v_load(products);
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vec g = fnn_part_load(full, dy + r * lddy, t);
        const vec d = v_sub(v_sub(fnn_part_scaled(full, x + r * ldx, t, factor), mean), rest);
        s = v_add(s, g);
        q = v_fma(g, d, q);
    }
    v_store(sum, s);
    v_store(products, q);
}

/* dx = scale ((dy - shift) + slope ((x - mean) - rest)), with the factor in x, mean, rest and 1 / slope. */
FNN_INLINE void fnn_denormalize_part(const bool full, const size_t rows, const real *dy, size_t lddy, const real *x, size_t ldx,
                                     vec factor, vec mean, vec rest, vec scale, vec shift, vec slope, real *dx, size_t lddx, vt t)
{
    FNN_UNROLL
    for (size_t r = 0; r < rows; r++) {
        const vec g = v_sub(fnn_part_load(full, dy + r * lddy, t), shift);
        const vec d = v_sub(v_sub(fnn_part_scaled(full, x + r * ldx, t, factor), mean), rest);
        fnn_part_store(full, dx + r * lddx, v_mul(scale, v_fma(slope, d, g)), t);
    }
}

static void fnn_strip_backward(const fnn_batchnorm *o, size_t j0, size_t columns)
{
    real mean[FNN_STRIP], rest[FNN_STRIP], sum[FNN_STRIP], products[FNN_STRIP], scale[FNN_STRIP];
    real chunk_sum[FNN_STRIP], chunk_products[FNN_STRIP], block_sum[FNN_STRIP], block_products[FNN_STRIP], factor[FNN_STRIP];
    const real *statistics = o->statistics + j0;
    const bool scaled = fnn_strip_factors(columns, statistics + 2 * o->lds, factor);
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec f = v_load(factor + j);
        v_store(mean + j, v_mul(v_load_t(statistics + j, t), f));
        v_store(rest + j, v_mul(v_load_t(statistics + o->lds + j, t), f));
        v_store(sum + j, v_zero());
        v_store(products + j, v_zero());
        v_store(block_sum + j, v_zero());
        v_store(block_products + j, v_zero());
        v_store(chunk_sum + j, v_zero());
        v_store(chunk_products + j, v_zero());
    }
    for (size_t i = 0; i < o->rows; i += FNN_ROWS_AT_ONCE) {
        const size_t count = o->rows - i < FNN_ROWS_AT_ONCE ? o->rows - i : FNN_ROWS_AT_ONCE;
        const real *dy = o->dy + i * o->lddy + j0, *x = o->x + i * o->ldx + j0;
        for (size_t j = 0; j < columns; j += FNN_LANES) {
            const vec m = v_load(mean + j), e = v_load(rest + j), f = v_load(factor + j);
            real *s = chunk_sum + j, *q = chunk_products + j;
            if (count == FNN_ROWS_AT_ONCE && columns - j >= FNN_LANES && !scaled)
                fnn_gradients_part(true, FNN_ROWS_AT_ONCE, dy + j, o->lddy, x + j, o->ldx, f, m, e, s, q, vt_first(FNN_LANES));
            else
                fnn_gradients_part(false, count, dy + j, o->lddy, x + j, o->ldx, f, m, e, s, q, vt_first(columns - j));
        }
        const size_t done = i + FNN_ROWS_AT_ONCE;
        if (done % FNN_ROW_CHUNK && done < o->rows) continue;
        for (size_t j = 0; j < columns; j += FNN_LANES) { /* the chunk is over */
            v_store(block_sum + j, v_add(v_load(block_sum + j), v_load(chunk_sum + j)));
            v_store(block_products + j, v_add(v_load(block_products + j), v_load(chunk_products + j)));
            v_store(chunk_sum + j, v_zero());
            v_store(chunk_products + j, v_zero());
        }
        if (done % FNN_SUM_BLOCK && done < o->rows) continue;
        for (size_t j = 0; j < columns; j += FNN_LANES) { /* the block is over */
            v_store(sum + j, v_add(v_load(sum + j), v_load(block_sum + j)));
            v_store(products + j, v_add(v_load(products + j), v_load(block_products + j)));
            v_store(block_sum + j, v_zero());
            v_store(block_products + j, v_zero());
        }
    }
    const vec n = v_set1((real)o->rows);
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        const vec r = v_load_t(statistics + 2 * o->lds + j, t), own = v_div(r, v_load(factor + j));
        const vec dbeta = v_load(sum + j), dgamma = v_mul(v_load(products + j), own);
        if (o->dgamma) fnn_put_gradient(o->dgamma + j0 + j, o->accumulate, dgamma, t);
        if (o->dbeta) fnn_put_gradient(o->dbeta + j0 + j, o->accumulate, dbeta, t);
        v_store(scale + j, o->gamma ? v_mul(v_load_t(o->gamma + j0 + j, t), r) : r);
        v_store(sum + j, v_div(dbeta, n)); /* what is taken off dy, and the factor of x - mean */
        v_store(products + j, v_neg(v_mul(own, v_div(dgamma, n))));
    }
    if (!o->dx) return;
    for (size_t i = fnn_after_last_group(o->rows); i > 0;) {
        i -= FNN_ROWS_AT_ONCE;
        const size_t count = o->rows - i < FNN_ROWS_AT_ONCE ? o->rows - i : FNN_ROWS_AT_ONCE;
        const real *dy = o->dy + i * o->lddy + j0, *x = o->x + i * o->ldx + j0;
        real *dx = o->dx + i * o->lddx + j0;
        for (size_t j = 0; j < columns; j += FNN_LANES) {
            const vec m = v_load(mean + j), e = v_load(rest + j), a = v_load(scale + j), f = v_load(factor + j);
            const vec shift = v_load(sum + j), slope = v_load(products + j);
            if (count == FNN_ROWS_AT_ONCE && columns - j >= FNN_LANES && !scaled)
                fnn_denormalize_part(true, FNN_ROWS_AT_ONCE, dy + j, o->lddy, x + j, o->ldx, f, m, e, a, shift, slope, dx + j,
                                     o->lddx, vt_first(FNN_LANES));
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
        real *mean = o->statistics + j, *rest = mean + o->lds, *rstd = rest + o->lds, *var = rstd + o->lds;
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
        real rstd[FNN_STRIP];
        for (size_t c = 0; c < columns; c += FNN_LANES) {
            const vec var = v_load_t(o->var + j + c, vt_first(columns - c));
            v_store(rstd + c, v_div(v_set1(1.0), v_sqrt(v_add(var, v_set1(o->eps)))));
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

/* running <- (1 - momentum) running + momentum new, the new variance with n - 1, for the columns [begin, end). With a count of the
 * steps so far, momentum is 1 / (count + 1), which makes the mean over all steps. */
static void fnn_batchnorm_running(const fnn_running *o, size_t begin, size_t end)
{
    const real *mean = o->statistics, *rest = mean + o->lds, *var = mean + 3 * o->lds;
    const real momentum = o->count ? 1 / (o->count[0] += 1) : (real)o->momentum, old = 1 - momentum;
    const real unbiased = (real)((double)o->rows / (double)(o->rows > 1 ? o->rows - 1 : 1));
    for (size_t j = begin; j < end; j++) {
        o->mean[j] = old * o->mean[j] + momentum * (mean[j] + rest[j]);
        o->var[j] = old * o->var[j] + momentum * (var[j] * unbiased);
    }
}

#endif
