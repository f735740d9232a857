/* Embeddings: rows of tables, taken by the codes of a batch. Forward copies them; backward adds each row's gradient to the row of
 * the table that it came from, one chain in the order of the batch for every element, whatever the number of threads: each thread
 * goes through all the codes and does those of its own rows of the table. It is memory that both wait for. */
#include "step.h"

#include <string.h>

/* The row of the table for a code, a whole number below 2^24; 0 and a report where there is none. */
static size_t table_row(const fnn_step *s, const fnn_embedding_parameters *p, float code, size_t r)
{
    const size_t known = (size_t)p->count - (p->unknown != 0);
    if (code >= 0.0f && code < (float)known && code == (float)(size_t)code) return (size_t)code;
    if (p->unknown) return known;
    fnn_report(&s->run->status, r, FNN_BAD_CODE);
    return 0;
}

void fnn_run_embedding_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_embedding_parameters *p = &op->embedding;
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 2);
    const float *w = fnn_buffer_of(s, op, 1).data;
    const size_t columns = (size_t)p->columns, dim = (size_t)p->dim;
    for (size_t r = split.begin; r < split.end; r++) {
        const float *codes = (const float *)x.data + r * x.ld + p->first_in;
        float *to = (float *)y.data + r * y.ld + p->first_out;
        if (!w) memcpy(to, codes, columns * sizeof(float));
        for (size_t j = 0; w && j < columns; j++) memcpy(to + j * dim, w + table_row(s, p, codes[j], r) * dim, dim * sizeof(float));
    }
}

void fnn_run_embedding_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_embedding_parameters *p = &op->embedding; /* those of the gradient begin with the same */
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), x = fnn_buffer_of(s, op, 1);
    float *dw = fnn_buffer_of(s, op, 2).data;
    const size_t columns = (size_t)p->columns, dim = (size_t)p->dim;
    const fnn_split mine = fnn_split_of(split.id, split.count, (size_t)p->count);
    if (mine.begin >= mine.end) return;
    if (!op->embedding_gradient.accumulate) memset(dw + mine.begin * dim, 0, (mine.end - mine.begin) * dim * sizeof(float));
    for (size_t r = 0; r < s->rows; r++) {
        const float *codes = (const float *)x.data + r * x.ld + p->first_in, *from = (const float *)dy.data + r * dy.ld + p->first_out;
        for (size_t j = 0; j < columns; j++) {
            const size_t row = table_row(s, p, codes[j], r);
            float *to = dw + row * dim;
            if (row >= mine.begin && row < mine.end) s->kernels->add(dim, to, from + j * dim, to);
        }
    }
}
