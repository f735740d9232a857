/* Operations that treat every row alone: activations, PReLU, softmax; and the gradient of PReLU's slopes. */
#include "step.h"

const fnn_activation_info fnn_activations[FNN_ACTIVATIONS] = {
#define FNN_ACTIVATION(code, name, saves, alpha, lowest) [code] = {#name, saves, alpha, lowest},
#include "../defs/activations.def"
#undef FNN_ACTIVATION
};

void fnn_op_activation_forward(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->activation_forward(o->activation, o->alpha, o->columns, o->x + i * o->ldx, o->y + i * o->ldy);
}

void fnn_op_activation_backward(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->activation_backward(o->activation, o->alpha, o->columns, o->x + i * o->ldx, o->saved + i * o->ldsaved,
                               o->y + i * o->ldy);
}

void fnn_op_softmax_forward(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    if (s.begin < s.end)
        k->softmax_forward(s.end - s.begin, o->columns, o->x + s.begin * o->ldx, o->ldx, o->y + s.begin * o->ldy, o->ldy);
}

void fnn_op_add(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->add(o->columns, o->x + i * o->ldx, o->saved + i * o->ldsaved, o->y + i * o->ldy);
}

void fnn_op_maxout_forward(const fnn_kernels *k, const fnn_maxout *o, fnn_split s)
{
    for (size_t i = s.begin; i < s.end; i++) k->maxout_forward(o->columns, o->pieces, o->x + i * o->ldx, o->y + i * o->ldy);
}

void fnn_op_maxout_backward(const fnn_kernels *k, const fnn_maxout *o, fnn_split s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->maxout_backward(o->columns, o->pieces, o->dy + i * o->lddy, o->x + i * o->ldx, o->y + i * o->ldy);
}

void fnn_op_log_softmax_forward(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    if (s.begin < s.end)
        k->log_softmax_forward(s.end - s.begin, o->columns, o->x + s.begin * o->ldx, o->ldx, o->y + s.begin * o->ldy, o->ldy);
}

void fnn_op_softmax_backward(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    if (s.begin < s.end)
        k->softmax_backward(s.end - s.begin, o->columns, o->x + s.begin * o->ldx, o->ldx, o->saved + s.begin * o->ldsaved,
                            o->ldsaved, o->y + s.begin * o->ldy, o->ldy);
}

void fnn_op_log_softmax_backward(const fnn_kernels *k, const fnn_elementwise *o, fnn_split s)
{
    if (s.begin < s.end)
        k->log_softmax_backward(s.end - s.begin, o->columns, o->x + s.begin * o->ldx, o->ldx,
                                o->saved + s.begin * o->ldsaved, o->ldsaved, o->y + s.begin * o->ldy, o->ldy);
}

void fnn_op_prelu_forward(const fnn_kernels *k, const fnn_prelu *o, fnn_split s)
{
    if (s.begin < s.end)
        k->prelu_forward(s.end - s.begin, o->columns, o->x + s.begin * o->ldx, o->ldx, o->slope, o->step,
                         o->out + s.begin * o->ldout, o->ldout);
}

void fnn_op_prelu_backward(const fnn_kernels *k, const fnn_prelu *o, fnn_split s)
{
    if (s.begin < s.end)
        k->prelu_backward(s.end - s.begin, o->columns, o->dy + s.begin * o->lddy, o->lddy, o->x + s.begin * o->ldx, o->ldx,
                          o->slope, o->step, o->out + s.begin * o->ldout, o->ldout);
}

/* Columns are shared out between vectors; a single slope is one thread's. */
void fnn_op_prelu_slope_gradient(const fnn_kernels *k, const fnn_prelu *o, fnn_split s)
{
    size_t begin = 0, end = o->columns;
    if (o->step) {
        const fnn_split mine = fnn_split_of(s.id, s.count, (o->columns + 15) / 16);
        begin = mine.begin * 16;
        end = mine.end * 16 < o->columns ? mine.end * 16 : o->columns;
    } else if (s.id != 0) {
        return;
    }
    if (begin < end)
        k->prelu_slope_gradient(o->rows, end - begin, o->dy + begin, o->lddy, o->x + begin, o->ldx, o->step, o->accumulate,
                                o->out + (o->step ? begin : 0));
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

static fnn_elementwise bind(const fnn_step *s, const fnn_op *op, bool backward)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, backward ? 2 : 1);
    fnn_elementwise o = {.columns = op->out, .activation = op->activation, .alpha = op->alpha,
                         .x = x.data, .ldx = x.ld, .y = y.data, .ldy = y.ld};
    if (backward) {
        o.saved = fnn_buffer_of(s, op, 1).data;
        o.ldsaved = fnn_buffer_of(s, op, 1).ld;
    }
    return o;
}

fnn_elementwise fnn_bind_elementwise_forward(const fnn_step *s, const fnn_op *op) { return bind(s, op, false); }
fnn_elementwise fnn_bind_elementwise_backward(const fnn_step *s, const fnn_op *op) { return bind(s, op, true); }

fnn_prelu fnn_bind_prelu_forward(const fnn_step *s, const fnn_op *op)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 2);
    return (fnn_prelu){.rows = s->rows, .columns = op->out, .step = op->in > 1, .slope = fnn_buffer_of(s, op, 1).data,
                       .x = x.data, .ldx = x.ld, .out = y.data, .ldout = y.ld};
}

static fnn_prelu bind_prelu_backward(const fnn_step *s, const fnn_op *op, bool of_slope)
{
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), x = fnn_buffer_of(s, op, 1), out = fnn_buffer_of(s, op, of_slope ? 2 : 3);
    return (fnn_prelu){.rows = s->rows, .columns = op->out, .step = op->in > 1,
                       .slope = of_slope ? NULL : fnn_buffer_of(s, op, 2).data, .x = x.data, .ldx = x.ld, .dy = dy.data,
                       .lddy = dy.ld, .out = out.data, .ldout = out.ld, .accumulate = op->accumulate};
}

fnn_prelu fnn_bind_prelu_backward(const fnn_step *s, const fnn_op *op) { return bind_prelu_backward(s, op, false); }
fnn_prelu fnn_bind_prelu_slope_gradient(const fnn_step *s, const fnn_op *op) { return bind_prelu_backward(s, op, true); }

static fnn_maxout bind_maxout(const fnn_step *s, const fnn_op *op, bool backward)
{
    const fnn_buffer x = fnn_buffer_of(s, op, backward ? 1 : 0), y = fnn_buffer_of(s, op, backward ? 2 : 1);
    fnn_maxout o = {.columns = op->out, .pieces = op->first, .x = x.data, .ldx = x.ld, .y = y.data, .ldy = y.ld};
    if (backward) {
        o.dy = fnn_buffer_of(s, op, 0).data;
        o.lddy = fnn_buffer_of(s, op, 0).ld;
    }
    return o;
}

fnn_maxout fnn_bind_maxout_forward(const fnn_step *s, const fnn_op *op) { return bind_maxout(s, op, false); }
fnn_maxout fnn_bind_maxout_backward(const fnn_step *s, const fnn_op *op) { return bind_maxout(s, op, true); }
