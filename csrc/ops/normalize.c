/* Batch, layer, root mean square and group normalisation: which part of each a thread does. */
#include "step.h"

/* Of images the rows are their pixels, which stand without gaps: the buffer of a role, from an element on. */
static fnn_buffer part_of(const fnn_step *s, const fnn_op *op, int role, size_t from)
{
    const fnn_buffer b = fnn_buffer_of(s, op, role);
    return (fnn_buffer){fnn_at(s->kernels, b.data, from), op->batchnorm.pixels > 1 ? (size_t)op->batchnorm.columns : b.ld};
}

/* The batch normalisation of the thread's columns, which may be none. */
static fnn_batchnorm columns_of(const fnn_step *s, const fnn_op *op, fnn_split mine)
{
    const size_t columns = (size_t)op->batchnorm.columns;
    return (fnn_batchnorm){.rows = s->rows * (size_t)op->batchnorm.pixels, .columns = mine.end - mine.begin, .lds = columns};
}

void fnn_run_batchnorm_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_batchnorm_parameters *p = &op->batchnorm;
    const fnn_split mine = fnn_columns_of((size_t)p->columns, split);
    if (mine.begin >= mine.end) return;
    const fnn_buffer x = part_of(s, op, 0, mine.begin), y = part_of(s, op, 3, mine.begin);
    fnn_batchnorm o = columns_of(s, op, mine);
    o.x = x.data;
    o.ldx = x.ld;
    o.gamma = fnn_array_of(s, op, 1, mine.begin);
    o.beta = fnn_array_of(s, op, 2, mine.begin);
    o.eps = p->eps;
    o.activation = (fnn_activation)p->activation;
    o.alpha = p->alpha;
    o.y = y.data;
    o.ldy = y.ld;
    o.statistics = fnn_array_of(s, op, 4, mine.begin);
    s->kernels->batchnorm_forward(&o);
}

void fnn_run_batchnorm_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_split mine = fnn_columns_of((size_t)op->batchnorm_gradient.columns, split);
    if (mine.begin >= mine.end) return;
    const fnn_buffer dy = part_of(s, op, 0, mine.begin), x = part_of(s, op, 1, mine.begin), dx = part_of(s, op, 4, mine.begin);
    fnn_batchnorm o = columns_of(s, op, mine);
    o.x = x.data;
    o.ldx = x.ld;
    o.gamma = fnn_array_of(s, op, 2, mine.begin);
    o.statistics = fnn_array_of(s, op, 3, mine.begin);
    o.dy = dy.data;
    o.lddy = dy.ld;
    o.dx = dx.data;
    o.lddx = dx.ld;
    o.dgamma = fnn_array_of(s, op, 5, mine.begin);
    o.dbeta = fnn_array_of(s, op, 6, mine.begin);
    o.accumulate = op->batchnorm_gradient.accumulate;
    s->kernels->batchnorm_backward(&o);
}

void fnn_run_batchnorm_inference(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_batchnorm_parameters *p = &op->batchnorm;
    const fnn_buffer x = part_of(s, op, 0, split.begin * fnn_buffer_of(s, op, 0).ld);
    const fnn_buffer y = part_of(s, op, 3, split.begin * fnn_buffer_of(s, op, 3).ld);
    if (split.begin >= split.end) return;
    s->kernels->batchnorm_inference(&(fnn_batchnorm){
        .rows = (split.end - split.begin) * (size_t)p->pixels,
        .columns = (size_t)p->columns,
        .x = x.data,
        .ldx = x.ld,
        .gamma = fnn_buffer_of(s, op, 1).data,
        .beta = fnn_buffer_of(s, op, 2).data,
        .eps = p->eps,
        .mean = fnn_buffer_of(s, op, 4).data,
        .var = fnn_buffer_of(s, op, 5).data,
        .activation = (fnn_activation)p->activation,
        .alpha = p->alpha,
        .y = y.data,
        .ldy = y.ld,
    });
}

/* Nothing in a step that is left out. Where there is a count one thread does it, for all columns need the count as it was. */
void fnn_run_batchnorm_running(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_running o = {
        .rows = s->rows * (size_t)op->running.pixels,
        .columns = (size_t)op->running.columns,
        .statistics = fnn_buffer_of(s, op, 0).data,
        .lds = (size_t)op->running.columns,
        .momentum = op->running.momentum,
        .mean = fnn_buffer_of(s, op, 1).data,
        .var = fnn_buffer_of(s, op, 2).data,
        .count = fnn_buffer_of(s, op, 3).data,
    };
    if ((s->run->update && s->run->update->skip) || (o.count && split.id)) return;
    const fnn_split mine = fnn_split_of(split.id, o.count ? 1 : split.count, o.columns);
    s->kernels->batchnorm_running(&o, mine.begin, mine.end);
}

static void forward(const fnn_step *s, const fnn_op *op, fnn_split split, bool centered)
{
    const fnn_norm_parameters *p = &op->norm;
    const fnn_buffer x = fnn_rows_of(s, op, 0, split), y = fnn_rows_of(s, op, 3, split), statistics = fnn_rows_of(s, op, 4, split);
    if (split.begin >= split.end) return;
    s->kernels->rownorm_forward(&(fnn_rownorm){
        .rows = split.end - split.begin,
        .columns = (size_t)p->columns,
        .centered = centered,
        .x = x.data,
        .ldx = x.ld,
        .gamma = fnn_buffer_of(s, op, 1).data,
        .beta = fnn_buffer_of(s, op, 2).data,
        .eps = p->eps,
        .statistics = statistics.data,
        .lds = statistics.ld,
        .activation = (fnn_activation)p->activation,
        .alpha = p->alpha,
        .y = y.data,
        .ldy = y.ld,
    });
}

void fnn_run_layernorm_forward(const fnn_step *s, const fnn_op *op, fnn_split split) { forward(s, op, split, true); }
void fnn_run_rmsnorm_forward(const fnn_step *s, const fnn_op *op, fnn_split split) { forward(s, op, split, false); }

static void backward_input(const fnn_step *s, const fnn_op *op, fnn_split split, bool centered)
{
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), x = fnn_rows_of(s, op, 1, split), dx = fnn_rows_of(s, op, 4, split);
    const fnn_buffer statistics = fnn_rows_of(s, op, 3, split);
    if (split.begin >= split.end) return;
    s->kernels->rownorm_backward(&(fnn_rownorm){
        .rows = split.end - split.begin,
        .columns = (size_t)op->columns.columns,
        .centered = centered,
        .x = x.data,
        .ldx = x.ld,
        .gamma = fnn_buffer_of(s, op, 2).data,
        .statistics = statistics.data,
        .lds = statistics.ld,
        .dy = dy.data,
        .lddy = dy.ld,
        .dx = dx.data,
        .lddx = dx.ld,
    });
}

void fnn_run_layernorm_backward_input(const fnn_step *s, const fnn_op *op, fnn_split split) { backward_input(s, op, split, true); }
void fnn_run_rmsnorm_backward_input(const fnn_step *s, const fnn_op *op, fnn_split split) { backward_input(s, op, split, false); }

static void backward_weights(const fnn_step *s, const fnn_op *op, fnn_split split, bool centered)
{
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), x = fnn_buffer_of(s, op, 1), statistics = fnn_buffer_of(s, op, 2);
    const fnn_split mine = fnn_columns_of((size_t)op->norm_gradient.columns, split);
    if (mine.begin >= mine.end) return;
    s->kernels->rownorm_backward_weights(&(fnn_rownorm){
        .rows = s->rows,
        .columns = mine.end - mine.begin,
        .centered = centered,
        .x = fnn_at(s->kernels, x.data, mine.begin),
        .ldx = x.ld,
        .statistics = statistics.data,
        .lds = statistics.ld,
        .dy = fnn_at(s->kernels, dy.data, mine.begin),
        .lddy = dy.ld,
        .dgamma = fnn_array_of(s, op, 3, mine.begin),
        .dbeta = fnn_array_of(s, op, 4, mine.begin),
        .accumulate = op->norm_gradient.accumulate,
    });
}

void fnn_run_layernorm_backward_weights(const fnn_step *s, const fnn_op *op, fnn_split split) { backward_weights(s, op, split, true); }

/* What both directions are given: x is the buffer with role `x`. */
static fnn_groupnorm groupnorm_of(const fnn_step *s, const fnn_op *op, fnn_split split, int x)
{
    const fnn_groupnorm_parameters *p = &op->groupnorm;
    const fnn_buffer from = fnn_rows_of(s, op, x, split), statistics = fnn_rows_of(s, op, 2, split);
    return (fnn_groupnorm){
        .rows = split.end - split.begin,
        .pixels = (size_t)p->pixels,
        .groups = (size_t)p->groups,
        .width = (size_t)(p->columns / p->groups),
        .x = from.data,
        .ldx = from.ld,
        .statistics = statistics.data,
        .lds = statistics.ld,
    };
}

void fnn_run_groupnorm_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_groupnorm o = groupnorm_of(s, op, split, 0);
    const fnn_buffer y = fnn_rows_of(s, op, 1, split);
    if (split.begin >= split.end) return;
    o.eps = op->groupnorm.eps;
    o.y = y.data, o.ldy = y.ld;
    s->kernels->groupnorm_forward(&o);
}

void fnn_run_groupnorm_backward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    fnn_groupnorm o = groupnorm_of(s, op, split, 1);
    const fnn_buffer dy = fnn_rows_of(s, op, 0, split), dx = fnn_rows_of(s, op, 3, split);
    if (split.begin >= split.end) return;
    o.dy = dy.data, o.lddy = dy.ld;
    o.dx = dx.data, o.lddx = dx.ld;
    s->kernels->groupnorm_backward(&o);
}

void fnn_run_rmsnorm_backward_weights(const fnn_step *s, const fnn_op *op, fnn_split split) { backward_weights(s, op, split, false); }
