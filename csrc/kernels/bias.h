/* The bias gradient: the sum of dY [rows, columns] over its rows, in chunks of 16 rows, each summed in order, the chunks
 * then added in order. `accumulate` adds the result to what db holds. */
#ifndef FNN_KERNELS_BIAS_H
#define FNN_KERNELS_BIAS_H

#include "../simd/simd.h"
#include "kernels.h"

#define FNN_ROW_CHUNK 16

static void fnn_bias_gradient(size_t rows, size_t columns, const float *dy, size_t ld, bool accumulate, float *db)
{
    for (size_t j = 0; j < columns; j += FNN_VF) {
        const vt t = vt_first(columns - j);
        vf total = vf_zero();
        for (size_t i = 0; i < rows; i += FNN_ROW_CHUNK) {
            const size_t end = rows - i < FNN_ROW_CHUNK ? rows : i + FNN_ROW_CHUNK;
            vf sum = vf_zero();
            for (size_t r = i; r < end; r++) sum = vf_add(sum, vf_load_t(dy + r * ld + j, t));
            total = vf_add(total, sum);
        }
        if (accumulate) total = vf_add(vf_load_t(db + j, t), total);
        vf_store_t(db + j, total, t);
    }
}

#endif
