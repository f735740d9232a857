/* Batch, layer and root mean square normalisation: which part of each a thread does. */
#include "grid.h"
#include "step.h"

/* The thread's columns, in whole vectors; every pointer moved to the first of them. */
static fnn_batchnorm columns_of(const fnn_kernels *k, const fnn_batchnorm *o, fnn_split s)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_divide_up(o->columns, 16));
    const size_t j0 = mine.begin * 16, j1 = mine.end * 16 < o->columns ? mine.end * 16 : o->columns;
    fnn_batchnorm part = *o;
    part.columns = j0 < j1 ? j1 - j0 : 0;
    part.x = fnn_at(k, o->x, j0);
    part.gamma = fnn_at(k, o->gamma, j0);
    part.beta = fnn_at(k, o->beta, j0);
    part.statistics = fnn_at(k, o->statistics, j0);
    part.y = fnn_at(k, o->y, j0);
    part.dy = fnn_at(k, o->dy, j0);
    part.dx = fnn_at(k, o->dx, j0);
    part.dgamma = fnn_at(k, o->dgamma, j0);
    part.dbeta = fnn_at(k, o->dbeta, j0);
    return part;
}

void fnn_op_batchnorm_forward(const fnn_kernels *k, const fnn_batchnorm *o, fnn_split s)
{
    const fnn_batchnorm part = columns_of(k, o, s);
    if (part.columns) k->batchnorm_forward(&part);
}

void fnn_op_batchnorm_backward(const fnn_kernels *k, const fnn_batchnorm *o, fnn_split s)
{
    const fnn_batchnorm part = columns_of(k, o, s);
    if (part.columns) k->batchnorm_backward(&part);
}

void fnn_op_batchnorm_inference(const fnn_kernels *k, const fnn_batchnorm_inference *o, fnn_split s)
{
    if (s.begin >= s.end) return;
    fnn_batchnorm part = o->of;
    const size_t each = o->pixels > 1 ? o->pixels : 1;
    part.rows = (s.end - s.begin) * each;
    part.x = fnn_at(k, part.x, s.begin * each * part.ldx);
    part.y = fnn_at(k, part.y, s.begin * each * part.ldy);
    k->batchnorm_inference(&part);
}

/* Where there is a count one thread does it, for all columns need the count as it was. */
void fnn_op_batchnorm_running(const fnn_kernels *k, const fnn_running *o, fnn_split s)
{
    if (o->count && s.id) return;
    const fnn_split mine = fnn_split_of(s.id, o->count ? 1 : s.count, o->columns);
    k->batchnorm_running(o, mine.begin, mine.end);
}

/* The thread's rows. */
static fnn_rownorm rows_of(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    fnn_rownorm part = *o;
    part.rows = s.end > s.begin ? s.end - s.begin : 0;
    part.x = fnn_at(k, o->x, s.begin * o->ldx);
    part.statistics = fnn_at(k, o->statistics, s.begin * o->lds);
    part.y = fnn_at(k, o->y, s.begin * o->ldy);
    part.dy = fnn_at(k, o->dy, s.begin * o->lddy);
    part.dx = fnn_at(k, o->dx, s.begin * o->lddx);
    return part;
}

void fnn_op_rownorm_forward(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    const fnn_rownorm part = rows_of(k, o, s);
    if (part.rows) k->rownorm_forward(&part);
}

void fnn_op_rownorm_backward_input(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    const fnn_rownorm part = rows_of(k, o, s);
    if (part.rows) k->rownorm_backward(&part);
}

void fnn_op_rownorm_backward_weights(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_divide_up(o->columns, 16));
    const size_t j0 = mine.begin * 16, j1 = mine.end * 16 < o->columns ? mine.end * 16 : o->columns;
    if (j0 >= j1) return;
    fnn_rownorm part = *o;
    part.columns = j1 - j0;
    part.x = fnn_at(k, o->x, j0);
    part.dy = fnn_at(k, o->dy, j0);
    part.dgamma = fnn_at(k, o->dgamma, j0);
    part.dbeta = fnn_at(k, o->dbeta, j0);
    k->rownorm_backward_weights(&part);
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

/* Of images the rows are their pixels, which stand without gaps. */
static fnn_batchnorm by_pixels(const fnn_op *op, fnn_batchnorm o)
{
    if (op->first <= 1) return o;
    o.rows *= op->first;
    o.ldx = o.ldy = o.lddy = o.lddx = op->out;
    return o;
}

static fnn_batchnorm bind_batchnorm(const fnn_step *s, const fnn_op *op, bool inference)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 3), fifth = fnn_buffer_of(s, op, 4);
    fnn_batchnorm o = {.rows = s->rows, .columns = op->out, .x = x.data, .ldx = x.ld, .gamma = fnn_buffer_of(s, op, 1).data,
                       .beta = fnn_buffer_of(s, op, 2).data, .eps = op->eps, .activation = op->activation, .alpha = op->alpha,
                       .y = y.data, .ldy = y.ld, .lds = op->out};
    if (inference) {
        o.mean = fifth.data;
        o.var = fnn_buffer_of(s, op, 5).data;
    } else {
        o.statistics = fifth.data;
    }
    return by_pixels(op, o);
}

fnn_batchnorm fnn_bind_batchnorm_forward(const fnn_step *s, const fnn_op *op) { return bind_batchnorm(s, op, false); }
fnn_batchnorm_inference fnn_bind_batchnorm_inference(const fnn_step *s, const fnn_op *op)
{
    return (fnn_batchnorm_inference){bind_batchnorm(s, op, true), op->first};
}

fnn_batchnorm fnn_bind_batchnorm_backward(const fnn_step *s, const fnn_op *op)
{
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), x = fnn_buffer_of(s, op, 1), dx = fnn_buffer_of(s, op, 4);
    const fnn_batchnorm o = {.rows = s->rows, .columns = op->out, .x = x.data, .ldx = x.ld, .gamma = fnn_buffer_of(s, op, 2).data,
                             .statistics = fnn_buffer_of(s, op, 3).data, .lds = op->out, .dy = dy.data, .lddy = dy.ld,
                             .dx = dx.data, .lddx = dx.ld, .dgamma = fnn_buffer_of(s, op, 5).data,
                             .dbeta = fnn_buffer_of(s, op, 6).data, .accumulate = op->accumulate};
    return by_pixels(op, o);
}

/* Nothing to do in a step that is left out. */
fnn_running fnn_bind_batchnorm_running(const fnn_step *s, const fnn_op *op)
{
    const bool skip = s->run->update && s->run->update->skip;
    return (fnn_running){.rows = s->rows * (op->first > 1 ? op->first : 1), .columns = skip ? 0 : op->out, .statistics = fnn_buffer_of(s, op, 0).data, .lds = op->out,
                         .momentum = op->rate, .mean = fnn_buffer_of(s, op, 1).data, .var = fnn_buffer_of(s, op, 2).data,
                         .count = skip ? NULL : fnn_buffer_of(s, op, 3).data};
}

static fnn_rownorm bind_rownorm(const fnn_step *s, const fnn_op *op, bool forward, bool inward)
{
    const fnn_buffer x = fnn_buffer_of(s, op, forward ? 0 : 1), statistics = fnn_buffer_of(s, op, forward ? 4 : inward ? 3 : 2);
    fnn_rownorm o = {.rows = s->rows, .columns = op->out, .x = x.data, .ldx = x.ld, .statistics = statistics.data,
                     .lds = statistics.ld, .eps = op->eps, .activation = op->activation, .alpha = op->alpha,
                     .accumulate = op->accumulate};
    o.centered = op->kind == FNN_OP_LAYERNORM_FORWARD || op->kind == FNN_OP_LAYERNORM_BACKWARD_INPUT ||
                 op->kind == FNN_OP_LAYERNORM_BACKWARD_WEIGHTS;
    if (forward) {
        o.gamma = fnn_buffer_of(s, op, 1).data;
        o.beta = fnn_buffer_of(s, op, 2).data;
        o.y = fnn_buffer_of(s, op, 3).data;
        o.ldy = fnn_buffer_of(s, op, 3).ld;
        return o;
    }
    o.dy = fnn_buffer_of(s, op, 0).data;
    o.lddy = fnn_buffer_of(s, op, 0).ld;
    if (inward) {
        o.gamma = fnn_buffer_of(s, op, 2).data;
        o.dx = fnn_buffer_of(s, op, 4).data;
        o.lddx = fnn_buffer_of(s, op, 4).ld;
    } else {
        o.dgamma = fnn_buffer_of(s, op, 3).data;
        o.dbeta = fnn_buffer_of(s, op, 4).data;
    }
    return o;
}

fnn_rownorm fnn_bind_rownorm_forward(const fnn_step *s, const fnn_op *op) { return bind_rownorm(s, op, true, false); }
fnn_rownorm fnn_bind_rownorm_backward_input(const fnn_step *s, const fnn_op *op) { return bind_rownorm(s, op, false, true); }
fnn_rownorm fnn_bind_rownorm_backward_weights(const fnn_step *s, const fnn_op *op) { return bind_rownorm(s, op, false, false); }
