/* Random changes of activations and weights, by rows. */
#include "step.h"

static fnn_noise rows_of(const fnn_kernels *k, const fnn_noise *o, fnn_split s)
{
    fnn_noise part = *o;
    part.rows = s.end > s.begin ? s.end - s.begin : 0;
    part.first_row += s.begin;
    part.x = fnn_at(k, o->x, s.begin * o->ldx);
    part.y = fnn_at(k, o->y, s.begin * o->ldy);
    return part;
}

void fnn_op_dropout(const fnn_kernels *k, const fnn_noise *o, fnn_split s)
{
    const fnn_noise part = rows_of(k, o, s);
    if (!part.rows) return;
    if (part.whole_rows)
        k->drop_rows(&part);
    else
        k->dropout(&part);
}

void fnn_op_gaussian_noise(const fnn_kernels *k, const fnn_noise *o, fnn_split s)
{
    const fnn_noise part = rows_of(k, o, s);
    if (part.rows) k->gaussian_noise(&part);
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

static fnn_noise bind(const fnn_step *s, const fnn_op *op, double scale)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 1);
    return (fnn_noise){.draw = {s->run->seed, (uint32_t)(s->run->step0 + s->number), op->stream},
                       .rows = s->rows,
                       .columns = op->out,
                       .threshold = op->threshold,
                       .whole_rows = op->full,
                       .scale = scale,
                       .x = x.data,
                       .ldx = x.ld,
                       .y = y.data,
                       .ldy = y.ld};
}

static double dropout_scale(uint32_t threshold) { return threshold < 65536 ? 65536.0 / (65536 - threshold) : 0.0; }

fnn_noise fnn_bind_dropout(const fnn_step *s, const fnn_op *op) { return bind(s, op, dropout_scale(op->threshold)); }
fnn_noise fnn_bind_gaussian_noise(const fnn_step *s, const fnn_op *op) { return bind(s, op, op->rate); }

/* A whole matrix [in, out] in place of a batch. */
void fnn_run_drop_weights(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_noise o = fnn_bind_dropout(s, op);
    o.rows = op->in;
    o.ldx = o.ldy = op->out;
    fnn_op_dropout(s->kernels, &o, fnn_split_of(split.id, split.count, op->in));
}
