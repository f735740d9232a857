/* Operations on every element or every row alone: activations, sums, maxout, softmax, PReLU; and the gradient of PReLU's slopes. */
#include "step.h"

const fnn_activation_info fnn_activations[FNN_ACTIVATIONS] = {
#define FNN_ACTIVATION(code, name, saves, alpha, lowest) [code] = {#name, saves, alpha, lowest},
#include "../defs/activations.def"
#undef FNN_ACTIVATION
};

/* Row i of a buffer. */
static void *row(const fnn_step *s, fnn_buffer b, size_t i) { return fnn_at(s->kernels, b.data, i * b.ld); }

void fnn_run_activation_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_activation_parameters *p = &op->activation;
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 1, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->activation_forward((fnn_activation)p->activation, p->alpha, (size_t)p->columns, row(s, x, i), row(s, y, i));
}

void fnn_run_activation_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_activation_parameters *p = &op->activation;
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), saved = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 2, split);
    for (size_t i = 0; split.begin + i < split.end; i++)
        s->kernels->activation_backward((fnn_activation)p->activation, p->alpha, (size_t)p->columns, row(s, dy, i),
                                        row(s, saved, i), row(s, dx, i));
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
