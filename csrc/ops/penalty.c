/* Penalties on weights: their value in chunks of the array, their gradient added to dw. */
#include "../fastnn.h"

#define FNN_PENALTY_CHUNK 4096 /* elements whose sum is one term of the total, whatever the team */

size_t fnn_penalty_chunks(size_t n) { return (n + FNN_PENALTY_CHUNK - 1) / FNN_PENALTY_CHUNK; }

void fnn_op_penalty_forward(const fnn_kernels *k, const fnn_penalty *o, fnn_split s)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_penalty_chunks(o->n));
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t from = i * FNN_PENALTY_CHUNK, n = o->n - from < FNN_PENALTY_CHUNK ? o->n - from : FNN_PENALTY_CHUNK;
        o->partial[i] = k->penalty_forward(n, o->l1, o->l2, o->w + from);
    }
}

void fnn_op_penalty_backward(const fnn_kernels *k, const fnn_penalty *o, fnn_split s)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_penalty_chunks(o->n));
    if (mine.begin >= mine.end) return;
    const size_t from = mine.begin * FNN_PENALTY_CHUNK;
    const size_t upto = mine.end * FNN_PENALTY_CHUNK < o->n ? mine.end * FNN_PENALTY_CHUNK : o->n;
    k->penalty_backward(upto - from, (float)o->l1, (float)o->l2, o->w + from, o->dw + from);
}

double fnn_penalty_total(const double *partial, size_t n)
{
    double total = 0.0;
    for (size_t i = 0; i < fnn_penalty_chunks(n); i++) total += partial[i];
    return total;
}
