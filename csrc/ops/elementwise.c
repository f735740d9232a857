/* Operations on every element or every row alone: activations, sums, maxout, softmax, PReLU, periodic embeddings; and the gradients of
 * what of them is learned. */
#include "step.h"

const fnn_activation_info fnn_activations[FNN_ACTIVATIONS] = {
#define FNN_ACTIVATION(code, name, ...) [code] = {#name, __VA_ARGS__},
#include "../defs/activations.def"
#undef FNN_ACTIVATION
};

/* Row i of a buffer. */
static void *row(const fnn_step *s, fnn_buffer b, size_t i) { return fnn_at(s->kernels, b.data, i * b.ld); }

void fnn_run_activation_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_activation_parameters *p = &op->activation;
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split);
    if (split.begin < split.end)
        s->kernels->activation_forward((fnn_activation)p->activation, p->alpha, split.end - split.begin, (size_t)p->columns, x.data, x.ld,
                                       y.data, y.ld);
}

void fnn_run_activation_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_activation_parameters *p = &op->activation;
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), saved = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 2, split);
    if (split.begin < split.end)
        s->kernels->activation_backward((fnn_activation)p->activation, p->alpha, split.end - split.begin, (size_t)p->columns, dy.data,
                                        dy.ld, saved.data, saved.ld, dx.data, dx.ld);
}

void fnn_run_add(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer a = fnn_rows_of(s, op, 0, split), b = fnn_rows_of(s, op, 1, split), y = fnn_rows_of(s, op, 2, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->add((size_t)op->columns.columns, row(s, a, i), row(s, b, i), row(s, y, i));
}

void fnn_run_maxout_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->maxout_forward((size_t)op->maxout.columns, (size_t)op->maxout.pieces, row(s, x, i), row(s, y, i));
}

void fnn_run_maxout_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), x = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 2, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->maxout_backward((size_t)op->maxout.columns, (size_t)op->maxout.pieces, row(s, dy, i), row(s, x, i), row(s, dx, i));
}

void fnn_run_softmax_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split);
    if (split.begin < split.end)
        s->kernels->softmax_forward(split.end - split.begin, (size_t)op->columns.columns, x.data, x.ld, y.data, y.ld);
}

void fnn_run_softmax_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 2, split);
    if (split.begin < split.end)
        s->kernels->softmax_backward(split.end - split.begin, (size_t)op->columns.columns, dy.data, dy.ld, y.data, y.ld, dx.data, dx.ld);
}

void fnn_run_log_softmax_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split);
    if (split.begin < split.end)
        s->kernels->log_softmax_forward(split.end - split.begin, (size_t)op->columns.columns, x.data, x.ld, y.data, y.ld);
}

void fnn_run_log_softmax_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 2, split);
    if (split.begin < split.end)
        s->kernels->log_softmax_backward(split.end - split.begin, (size_t)op->columns.columns, dy.data, dy.ld, y.data, y.ld, dx.data,
                                         dx.ld);
}

/* As rows of a matrix with a column for each slope: those of images are their pixels, which stand without gaps. */
static fnn_buffer pixels_of(fnn_buffer b, const fnn_prelu_parameters *p)
{
    return (fnn_buffer){b.data, p->pixels > 1 ? (size_t)p->columns : b.ld};
}

void fnn_run_prelu_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_prelu_parameters *p = &op->prelu;
    const fnn_buffer x = pixels_of(fnn_rows_of(s, op, 0, split), p), y = pixels_of(fnn_rows_of(s, op, 2, split), p);
    if (split.begin < split.end)
        s->kernels->prelu_forward((split.end - split.begin) * (size_t)p->pixels, (size_t)p->columns, x.data, x.ld,
                                  fnn_buffer_of(s, op, 1).data, p->slopes > 1, y.data, y.ld);
}

void fnn_run_prelu_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_prelu_parameters *p = &op->prelu;
    const fnn_buffer dy = pixels_of(fnn_rows_of(s, op, 0, split), p), x = pixels_of(fnn_rows_of(s, op, 1, split), p);
    const fnn_buffer dx = pixels_of(fnn_rows_of(s, op, 3, split), p);
    if (split.begin < split.end)
        s->kernels->prelu_backward((split.end - split.begin) * (size_t)p->pixels, (size_t)p->columns, dy.data, dy.ld, x.data, x.ld,
                                   fnn_buffer_of(s, op, 2).data, p->slopes > 1, dx.data, dx.ld);
}

/* Columns are shared out between vectors; a single slope is one thread's. */
void fnn_run_prelu_slope_gradient(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_slope_gradient_parameters *p = &op->slope_gradient;
    const bool each = p->slopes > 1;
    const fnn_split mine = fnn_columns_of((size_t)p->columns, each ? split : (fnn_split){0, 1, 0, 0});
    if (mine.begin >= mine.end || (!each && split.id != 0)) return;
    const fnn_buffer dy = pixels_of(fnn_buffer_of(s, op, 0), &op->prelu), x = pixels_of(fnn_buffer_of(s, op, 1), &op->prelu);
    s->kernels->prelu_slope_gradient(s->rows * (size_t)p->pixels, mine.end - mine.begin, fnn_at(s->kernels, dy.data, mine.begin), dy.ld,
                                     fnn_at(s->kernels, x.data, mine.begin), x.ld, each, p->accumulate,
                                     fnn_array_of(s, op, 2, each ? mine.begin : 0));
}

void fnn_run_parametric_activation_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_activation_parameters *p = &op->activation;
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 2, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->parametric_activation_forward((fnn_activation)p->activation, p->alpha, (size_t)p->columns, row(s, x, i),
                                                  fnn_array_of(s, op, 1, 0), row(s, y, i));
}

void fnn_run_parametric_activation_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_activation_parameters *p = &op->activation;
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), x = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 3, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->parametric_activation_backward((fnn_activation)p->activation, p->alpha, (size_t)p->columns, row(s, dy, i),
                                                   row(s, x, i), fnn_array_of(s, op, 2, 0), row(s, dx, i));
}

void fnn_run_parametric_activation_gradient(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_parametric_gradient_parameters *p = &op->parametric_gradient;
    const fnn_split mine = fnn_columns_of((size_t)p->columns, split);
    if (mine.begin >= mine.end) return;
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), x = fnn_buffer_of(s, op, 1);
    s->kernels->parametric_activation_gradient((fnn_activation)p->activation, p->alpha, s->rows, mine.end - mine.begin,
                                               fnn_at(s->kernels, dy.data, mine.begin), dy.ld, fnn_at(s->kernels, x.data, mine.begin), x.ld,
                                               p->accumulate, fnn_array_of(s, op, 2, mine.begin));
}

/* The weights of periodic embeddings, and x: the buffers from role `x` on. */
static fnn_pbld pbld_of(const fnn_step *s, const fnn_op *op, int x)
{
    const fnn_pbld_parameters *p = &op->pbld; /* those of the gradients begin with the same */
    const fnn_buffer from = fnn_buffer_of(s, op, x);
    return (fnn_pbld){
        .rows = s->rows,
        .columns = (size_t)p->columns,
        .embedded = (size_t)p->embedded,
        .frequencies = (size_t)p->frequencies,
        .dim = (size_t)p->dim,
        .x = from.data,
        .ldx = from.ld,
        .w = fnn_array_of(s, op, x + 1, 0),
        .b = fnn_array_of(s, op, x + 2, 0),
    };
}

static void only_rows(const fnn_step *s, fnn_pbld *o, fnn_split split)
{
    o->rows = split.end - split.begin;
    o->x = fnn_at(s->kernels, o->x, split.begin * o->ldx);
}

void fnn_run_pbld_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.begin >= split.end) return;
    fnn_pbld o = pbld_of(s, op, 0);
    const fnn_buffer y = fnn_rows_of(s, op, 5, split);
    only_rows(s, &o, split);
    o.v = fnn_array_of(s, op, 3, 0), o.c = fnn_array_of(s, op, 4, 0);
    o.y = y.data, o.ldy = y.ld;
    s->kernels->pbld_forward(&o);
}

void fnn_run_pbld_backward_input(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.begin >= split.end) return;
    fnn_pbld o = pbld_of(s, op, 1);
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), dx = fnn_rows_of(s, op, 5, split);
    only_rows(s, &o, split);
    o.v = fnn_array_of(s, op, 4, 0);
    o.dy = dy.data, o.lddy = dy.ld;
    o.dx = dx.data, o.lddx = dx.ld;
    s->kernels->pbld_backward_input(&o);
}

/* Of the weights of embeddings each thread has those of some columns. */
void fnn_run_pbld_backward_frequencies(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_split mine = fnn_split_of(split.id, split.count, (size_t)op->pbld.embedded);
    const fnn_buffer dy = fnn_buffer_of(s, op, 0);
    fnn_pbld o = pbld_of(s, op, 1);
    o.v = fnn_array_of(s, op, 4, 0);
    o.dy = dy.data, o.lddy = dy.ld;
    o.dw = fnn_array_of(s, op, 5, 0), o.db = fnn_array_of(s, op, 6, 0);
    o.accumulate = op->pbld_gradient.accumulate;
    if (mine.begin < mine.end) s->kernels->pbld_backward_frequencies(&o, mine.begin, mine.end);
}

void fnn_run_pbld_backward_weights(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_split mine = fnn_split_of(split.id, split.count, (size_t)op->pbld.embedded);
    const fnn_buffer dy = fnn_buffer_of(s, op, 0);
    fnn_pbld o = pbld_of(s, op, 1);
    o.dy = dy.data, o.lddy = dy.ld;
    o.dv = fnn_array_of(s, op, 4, 0), o.dc = fnn_array_of(s, op, 5, 0);
    o.accumulate = op->pbld_gradient.accumulate;
    if (mine.begin < mine.end) s->kernels->pbld_backward_weights(&o, mine.begin, mine.end);
}
