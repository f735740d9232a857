/* Batch, layer and root mean square normalisation: which part of each a thread does. */
#include "grid.h"

/* The thread's columns, in whole vectors; every pointer moved to the first of them. */
static fnn_batchnorm columns_of(const fnn_batchnorm *o, fnn_split s)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_divide_up(o->columns, 16));
    const size_t j0 = mine.begin * 16, j1 = mine.end * 16 < o->columns ? mine.end * 16 : o->columns;
    fnn_batchnorm part = *o;
    part.columns = j0 < j1 ? j1 - j0 : 0;
    part.x += j0;
    if (o->gamma) part.gamma += j0;
    if (o->beta) part.beta += j0;
    if (o->statistics) part.statistics += j0;
    if (o->y) part.y += j0;
    if (o->dy) part.dy += j0;
    if (o->dx) part.dx += j0;
    if (o->dgamma) part.dgamma += j0;
    if (o->dbeta) part.dbeta += j0;
    return part;
}

void fnn_op_batchnorm_forward(const fnn_kernels *k, const fnn_batchnorm *o, fnn_split s)
{
    const fnn_batchnorm part = columns_of(o, s);
    if (part.columns) k->batchnorm_forward(&part);
}

void fnn_op_batchnorm_backward(const fnn_kernels *k, const fnn_batchnorm *o, fnn_split s)
{
    const fnn_batchnorm part = columns_of(o, s);
    if (part.columns) k->batchnorm_backward(&part);
}

void fnn_op_batchnorm_inference(const fnn_kernels *k, const fnn_batchnorm *o, fnn_split s)
{
    if (s.begin >= s.end) return;
    fnn_batchnorm part = *o;
    part.rows = s.end - s.begin;
    part.x += s.begin * o->ldx;
    part.y += s.begin * o->ldy;
    k->batchnorm_inference(&part);
}

/* running <- (1 - momentum) running + momentum new, the new variance with n - 1. */
void fnn_op_batchnorm_running(const fnn_kernels *k, const fnn_running *o, fnn_split s)
{
    (void)k;
    const fnn_split mine = fnn_split_of(s.id, s.count, o->columns);
    const float *mean = o->statistics, *rest = mean + o->lds, *var = mean + 3 * o->lds;
    const float old = 1.0f - o->momentum, unbiased = (float)((double)o->rows / (double)(o->rows > 1 ? o->rows - 1 : 1));
    for (size_t j = mine.begin; j < mine.end; j++) {
        o->mean[j] = old * o->mean[j] + o->momentum * (mean[j] + rest[j]);
        o->var[j] = old * o->var[j] + o->momentum * (var[j] * unbiased);
    }
}

/* The thread's rows. */
static fnn_rownorm rows_of(const fnn_rownorm *o, fnn_split s)
{
    fnn_rownorm part = *o;
    part.rows = s.end > s.begin ? s.end - s.begin : 0;
    part.x += s.begin * o->ldx;
    part.statistics += s.begin * o->lds;
    if (o->y) part.y += s.begin * o->ldy;
    if (o->dy) part.dy += s.begin * o->lddy;
    if (o->dx) part.dx += s.begin * o->lddx;
    return part;
}

void fnn_op_rownorm_forward(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    const fnn_rownorm part = rows_of(o, s);
    if (part.rows) k->rownorm_forward(&part);
}

void fnn_op_rownorm_backward_input(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    const fnn_rownorm part = rows_of(o, s);
    if (part.rows) k->rownorm_backward(&part);
}

void fnn_op_rownorm_backward_weights(const fnn_kernels *k, const fnn_rownorm *o, fnn_split s)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_divide_up(o->columns, 16));
    const size_t j0 = mine.begin * 16, j1 = mine.end * 16 < o->columns ? mine.end * 16 : o->columns;
    if (j0 >= j1) return;
    fnn_rownorm part = *o;
    part.columns = j1 - j0;
    part.x += j0;
    part.dy += j0;
    if (o->dgamma) part.dgamma += j0;
    if (o->dbeta) part.dbeta += j0;
    k->rownorm_backward_weights(&part);
}
