/* Penalties on weights, l1 sum |w| + l2 / 2 sum w^2: their value in chunks of the array, their gradient added to dw. */
#include "step.h"

#define FNN_PENALTY_CHUNK 4096 /* elements whose sum is one term of the total, whatever the team */

size_t fnn_penalty_chunks(size_t n) { return (n + FNN_PENALTY_CHUNK - 1) / FNN_PENALTY_CHUNK; }

void fnn_run_penalty_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const size_t size = (size_t)op->penalty.size;
    const fnn_split mine = fnn_split_of(split.id, split.count, fnn_penalty_chunks(size));
    double *partial = fnn_buffer_of(s, op, 1).data;
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t from = i * FNN_PENALTY_CHUNK, n = size - from < FNN_PENALTY_CHUNK ? size - from : FNN_PENALTY_CHUNK;
        partial[i] = s->kernels->penalty_forward(n, op->penalty.l1, op->penalty.l2, fnn_array_of(s, op, 0, from));
    }
}

void fnn_run_penalty_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const size_t size = (size_t)op->penalty.size;
    const fnn_split mine = fnn_split_of(split.id, split.count, fnn_penalty_chunks(size));
    if (mine.begin >= mine.end) return;
    const size_t from = mine.begin * FNN_PENALTY_CHUNK;
    const size_t end = mine.end * FNN_PENALTY_CHUNK < size ? mine.end * FNN_PENALTY_CHUNK : size;
    s->kernels->penalty_backward(end - from, op->penalty.l1, op->penalty.l2, fnn_array_of(s, op, 0, from), fnn_array_of(s, op, 1, from));
}

double fnn_penalty_total(const double *partial, size_t n)
{
    double total = 0.0;
    for (size_t i = 0; i < fnn_penalty_chunks(n); i++) total += partial[i];
    return total;
}

/* By the thread that reduces the loss, after it: every row that counts has the penalty once, as it has a mean. */
void fnn_run_reduce_penalty(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.id != split.count - 1) return;
    fnn_run *run = s->run;
    const double value = fnn_penalty_total(fnn_buffer_of(s, op, 0).data, (size_t)op->reduce_penalty.size);
    run->loss_sum += op->reduce_penalty.sum ? value : value * (double)s->counted;
    if (run->losses) run->losses[s->number] += value;
}
