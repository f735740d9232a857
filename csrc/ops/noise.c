/* Random changes of activations and weights, by rows. */
#include "step.h"

#include <math.h>

/* The rows of a split of what the operation reads and writes, by the draws of a stream. */
static fnn_noise noise_of(const fnn_step *s, const fnn_op *op, size_t columns, int64_t stream, fnn_split split)
{
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split);
    return (fnn_noise){
        .draw = {s->run->seed, (uint32_t)(s->run->step0 + s->number), (uint32_t)stream},
        .rows = split.end > split.begin ? split.end - split.begin : 0,
        .columns = columns,
        .first_row = split.begin,
        .x = x.data,
        .ldx = x.ld,
        .y = y.data,
        .ldy = y.ld,
    };
}

/* A share is dropped, p or that of the step by a schedule, to the nearest of 65536, the even one of two; what stays grows by as much. */
static void drop(fnn_noise *o, const fnn_step *s, double p, int64_t schedule)
{
    if (schedule >= 0) p = s->run->shares[s->number * s->run->n_shares + (size_t)schedule];
    o->threshold = (uint32_t)rint(p * 65536);
    o->scale = o->threshold < 65536 ? 65536.0 / (65536 - o->threshold) : 0.0;
}

void fnn_run_dropout(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_dropout_parameters *p = &op->dropout;
    fnn_noise o = noise_of(s, op, (size_t)p->columns, p->stream, split);
    if (!o.rows) return;
    o.first_row += s->run->row0;
    drop(&o, s, p->p, p->schedule);
    o.pixels = (size_t)p->pixels;
    if (p->whole_rows)
        s->kernels->drop_rows(&o);
    else if (p->pixels > 1)
        s->kernels->drop_channels(&o);
    else
        s->kernels->dropout(&o);
}

void fnn_run_gaussian_noise(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_noise o = noise_of(s, op, (size_t)op->noise.columns, op->noise.stream, split);
    o.first_row += s->run->row0;
    o.scale = op->noise.std;
    if (o.rows) s->kernels->gaussian_noise(&o);
}

/* A whole matrix [rows, columns] in place of a batch. */
void fnn_run_drop_weights(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_drop_weights_parameters *p = &op->drop_weights;
    fnn_noise o = noise_of(s, op, (size_t)p->columns, p->stream, fnn_split_of(split.id, split.count, (size_t)p->rows));
    drop(&o, s, p->p, p->schedule);
    if (o.rows) s->kernels->dropout(&o);
}

void fnn_run_drop_weight_gradients(const fnn_step *s, const fnn_op *op, fnn_split split) { fnn_run_drop_weights(s, op, split); }
