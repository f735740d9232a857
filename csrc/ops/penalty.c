/* Penalties on weights: their value in chunks of the array, their gradient added to dw. */
#include "step.h"

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
    k->penalty_backward(upto - from, o->l1, o->l2, o->w + from, o->dw + from);
}

double fnn_penalty_total(const double *partial, size_t n)
{
    double total = 0.0;
    for (size_t i = 0; i < fnn_penalty_chunks(n); i++) total += partial[i];
    return total;
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

static fnn_penalty bind(const fnn_step *s, const fnn_op *op, bool forward)
{
    void *second = fnn_buffer_of(s, op, 1).data;
    fnn_penalty o = {.n = op->out, .l1 = op->l1, .l2 = op->l2, .w = fnn_buffer_of(s, op, 0).data};
    if (forward)
        o.partial = second;
    else
        o.dw = second;
    return o;
}

fnn_penalty fnn_bind_penalty_forward(const fnn_step *s, const fnn_op *op) { return bind(s, op, true); }
fnn_penalty fnn_bind_penalty_backward(const fnn_step *s, const fnn_op *op) { return bind(s, op, false); }

/* By the thread that reduces the loss, after it: every row that counts has the penalty once, as it has a mean. */
void fnn_run_reduce_penalty(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.id != split.count - 1) return;
    fnn_run *run = s->run;
    const double value = fnn_penalty_total(fnn_buffer_of(s, op, 0).data, op->out);
    run->loss_sum += op->sum ? value : value * (double)s->counted;
    if (run->losses) run->losses[s->number] += value;
}
