/* The bias gradient: the sum of dY [rows, columns] over its rows, in chunks of 16 rows, each summed in order, the chunks
 * then added in order, in blocks of many rows (sums.h). `accumulate` adds the result to what db holds. */
#ifndef FNN_KERNELS_BIAS_H
#define FNN_KERNELS_BIAS_H

#include "sums.h"

#define FNN_ROW_CHUNK 16
#define FNN_BIAS_VECTORS 2

/* Some vectors of columns side by side, of which the last may have fewer lanes: chains enough to hide what an addition takes. */
FNN_INLINE void fnn_bias_columns(const int vectors, const bool whole, size_t rows, const real *dy, size_t ld, vt last, bool accumulate,
                                 real *db)
{
    vec total[FNN_BIAS_VECTORS];
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) total[v] = v_zero();
    for (size_t from = 0, end; from < rows; from = end) {
        end = fnn_block_end(from, rows);
        vec block[FNN_BIAS_VECTORS];
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) block[v] = v_zero();
        for (size_t i = from; i < end; i += FNN_ROW_CHUNK) {
            const size_t until = end - i < FNN_ROW_CHUNK ? end : i + FNN_ROW_CHUNK;
            vec sum[FNN_BIAS_VECTORS];
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) sum[v] = v_zero();
            for (size_t r = i; r < until; r++) {
                FNN_UNROLL
                for (int v = 0; v < vectors; v++) {
                    const real *at = dy + r * ld + v * FNN_LANES;
                    sum[v] = v_add(sum[v], !whole && v == vectors - 1 ? v_load_t(at, last) : v_load(at));
                }
            }
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) block[v] = v_add(block[v], sum[v]);
        }
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) total[v] = fnn_add_block(from, total[v], block[v]);
    }
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const vt t = whole || v < vectors - 1 ? vt_first(FNN_LANES) : last;
        real *to = db + v * FNN_LANES;
        if (accumulate) total[v] = v_add(v_load_t(to, t), total[v]);
        v_store_t(to, total[v], t);
    }
}

static void fnn_bias_gradient(size_t rows, size_t columns, const real *dy, size_t ld, bool accumulate, real *db)
{
    for (size_t j = 0; j < columns; j += FNN_BIAS_VECTORS * FNN_LANES) {
        const size_t rest = columns - j;
        const vt last = vt_first(rest > FNN_LANES ? rest - FNN_LANES : rest);
        if (rest >= FNN_BIAS_VECTORS * FNN_LANES)
            fnn_bias_columns(2, true, rows, dy + j, ld, last, accumulate, db + j);
        else if (rest > FNN_LANES)
            fnn_bias_columns(2, false, rows, dy + j, ld, last, accumulate, db + j);
        else
            fnn_bias_columns(1, false, rows, dy + j, ld, last, accumulate, db + j);
    }
}

#endif
