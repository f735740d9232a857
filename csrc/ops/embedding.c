/* Embeddings: rows of tables, taken by the codes of a batch. Forward copies them; backward adds each row's gradient to the row of
 * the table that it came from, one chain in the order of the batch for every element, whatever the number of threads: each thread
 * goes through all the codes and does those of its own rows of the table. It is memory that both wait for. */
#include "step.h"

#include <string.h>

/* The row of the table for a code, a whole number below 2^24; 0 and a report where there is none. */
static size_t table_row(const fnn_step *s, const fnn_embedding_parameters *p, double code, size_t r)
{
    const int64_t known = p->count - (p->unknown != 0); /* signed, as conversions are quick */
    if (code >= 0.0 && code < (double)known && code == (double)(int64_t)code) return (size_t)(int64_t)code;
    if (p->unknown) return (size_t)known;
    fnn_report(&s->run->status, r, FNN_BAD_CODE);
    return 0;
}

/* The copy of a few numbers, mostly: without a call. */
static inline void copy_few(char *to, const char *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 16 <= bytes; i += 16) memcpy(to + i, from + i, 16);
    for (; i < bytes; i += 4) memcpy(to + i, from + i, 4);
}

void fnn_run_embedding_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_embedding_parameters *p = &op->embedding;
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 2);
    const fnn_kernels *k = s->kernels;
    const void *w = fnn_buffer_of(s, op, 1).data;
    const size_t columns = (size_t)p->columns, bytes = (size_t)p->dim * k->item;
    for (size_t r = split.begin; r < split.end; r++) {
        const void *codes = fnn_at(k, x.data, r * x.ld + (size_t)p->first_in);
        char *to = fnn_at(k, y.data, r * y.ld + (size_t)p->first_out);
        if (!w) copy_few(to, codes, columns * k->item);
        for (size_t j = 0; w && j < columns; j++, to += bytes)
            copy_few(to, (const char *)w + table_row(s, p, fnn_value(k, codes, j), r) * bytes, bytes);
    }
}

void fnn_run_embedding_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_embedding_parameters *p = &op->embedding; /* those of the gradient begin with the same */
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), x = fnn_buffer_of(s, op, 1);
    const fnn_kernels *k = s->kernels;
    void *dw = fnn_buffer_of(s, op, 2).data;
    unsigned char *named = fnn_buffer_of(s, op, 3).data;
    const bool lazy = op->embedding_gradient.lazy, accumulate = op->embedding_gradient.accumulate;
    const size_t columns = (size_t)p->columns, dim = (size_t)p->dim;
    const fnn_split mine = fnn_split_of(split.id, split.count, (size_t)p->count);
    if (mine.begin >= mine.end) return;
    if (named && !accumulate) memset(named + mine.begin, 0, mine.end - mine.begin);
    if (!lazy && !accumulate) memset(fnn_at(k, dw, mine.begin * dim), 0, (mine.end - mine.begin) * dim * k->item);
    for (size_t r = 0; r < s->rows; r++) {
        const void *codes = fnn_at(k, x.data, r * x.ld + (size_t)p->first_in);
        const void *from = fnn_at(k, dy.data, r * dy.ld + (size_t)p->first_out);
        for (size_t j = 0; j < columns; j++) {
            const size_t row = table_row(s, p, fnn_value(k, codes, j), r);
            void *to = fnn_at(k, dw, row * dim);
            if (row < mine.begin || row >= mine.end) continue;
            if (lazy && !named[row]) memset(to, 0, dim * k->item);
            if (named) named[row] = 1;
            k->add(dim, to, fnn_at(k, from, j * dim), to);
        }
    }
}
