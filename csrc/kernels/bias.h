/* The bias gradient: the sum of dY [rows, columns] over its rows, in chunks of 16 rows, each summed in order, the chunks
 * then added in order, in blocks of many rows (sums.h). `accumulate` adds the result to what db holds. */
#ifndef FNN_KERNELS_BIAS_H
#define FNN_KERNELS_BIAS_H

#include "sums.h"

#define FNN_ROW_CHUNK 16

static void fnn_bias_gradient(size_t rows, size_t columns, const real *dy, size_t ld, bool accumulate, real *db)
{
    for (size_t j = 0; j < columns; j += FNN_LANES) {
        const vt t = vt_first(columns - j);
        vec total = v_zero();
        for (size_t from = 0, end; from < rows; from = end) {
            end = fnn_block_end(from, rows);
            vec block = v_zero();
            for (size_t i = from; i < end; i += FNN_ROW_CHUNK) {
                const size_t last = end - i < FNN_ROW_CHUNK ? end : i + FNN_ROW_CHUNK;
                vec sum = v_zero();
                for (size_t r = i; r < last; r++) sum = v_add(sum, v_load_t(dy + r * ld + j, t));
                block = v_add(block, sum);
            }
            total = fnn_add_block(from, total, block);
        }
        if (accumulate) total = v_add(v_load_t(db + j, t), total);
        v_store_t(db + j, total, t);
    }
}

#endif
