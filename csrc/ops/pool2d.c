/* Pooling of images: what a thread does of the rows of a batch. */
#include "step.h"

/* The roles of x, y (or its gradient) and dx; -1: none. */
static fnn_pool2d pool_of(const fnn_step *s, const fnn_op *op, int x, int y, int dx)
{
    fnn_pool2d o = {.window = fnn_window_of(op), .y = fnn_buffer_of(s, op, y).data, .ldy = fnn_buffer_of(s, op, y).ld};
    if (x >= 0) o.x = fnn_buffer_of(s, op, x).data, o.ldx = fnn_buffer_of(s, op, x).ld;
    if (dx >= 0) o.dx = fnn_buffer_of(s, op, dx).data, o.lddx = fnn_buffer_of(s, op, dx).ld;
    return o;
}

void fnn_run_maxpool2d_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_pool2d o = pool_of(s, op, 0, 1, -1);
    o.winner = fnn_buffer_of(s, op, 2).data, o.ldwinner = fnn_buffer_of(s, op, 2).ld;
    s->kernels->maxpool2d_forward(&o, split.begin, split.end);
}

void fnn_run_maxpool2d_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_pool2d o = pool_of(s, op, 1, 0, 4);
    o.winner = fnn_buffer_of(s, op, 2).data, o.ldwinner = fnn_buffer_of(s, op, 2).ld;
    o.saved = fnn_buffer_of(s, op, 3).data, o.ldsaved = fnn_buffer_of(s, op, 3).ld;
    s->kernels->maxpool2d_backward(&o, split.begin, split.end);
}

void fnn_run_avgpool2d_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_pool2d o = pool_of(s, op, 0, 1, -1);
    o.count_padding = op->pool.count_padding;
    s->kernels->avgpool2d_forward(&o, split.begin, split.end);
}

void fnn_run_avgpool2d_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_pool2d o = pool_of(s, op, -1, 0, 1);
    o.count_padding = op->pool.count_padding;
    s->kernels->avgpool2d_backward(&o, split.begin, split.end);
}

static fnn_stochastic_pool2d stochastic_pool_of(const fnn_step *s, const fnn_op *op, int x, int y, int dx)
{
    return (fnn_stochastic_pool2d){
        .pool = pool_of(s, op, x, y, dx),
        .draw = {s->run->seed, (uint32_t)(s->run->step0 + s->number), (uint32_t)op->stochastic_pool.stream},
        .first_row = s->run->row0,
    };
}

void fnn_run_stochastic_pool2d_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_stochastic_pool2d o = stochastic_pool_of(s, op, 0, 1, -1);
    s->kernels->stochastic_pool2d_forward(&o, split.begin, split.end);
}

void fnn_run_stochastic_pool2d_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_stochastic_pool2d o = stochastic_pool_of(s, op, 1, 0, 2);
    s->kernels->stochastic_pool2d_backward(&o, split.begin, split.end);
}

/* Nothing is drawn: what stands where another has its stream does not matter. */
void fnn_run_stochastic_pool2d_inference(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_stochastic_pool2d o = stochastic_pool_of(s, op, 0, 1, -1);
    s->kernels->stochastic_pool2d_inference(&o, split.begin, split.end);
}

void fnn_run_stochastic_pool2d_inference_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_stochastic_pool2d o = stochastic_pool_of(s, op, 1, 0, 2);
    s->kernels->stochastic_pool2d_inference_backward(&o, split.begin, split.end);
}
