/* Random changes of activations and weights, by rows. */
#include "../fastnn.h"

static fnn_noise rows_of(const fnn_noise *o, fnn_split s)
{
    fnn_noise part = *o;
    part.rows = s.end > s.begin ? s.end - s.begin : 0;
    part.first_row += s.begin;
    part.x += s.begin * o->ldx;
    part.y += s.begin * o->ldy;
    return part;
}

void fnn_op_dropout(const fnn_kernels *k, const fnn_noise *o, fnn_split s)
{
    const fnn_noise part = rows_of(o, s);
    if (part.rows) k->dropout(&part);
}

void fnn_op_gaussian_noise(const fnn_kernels *k, const fnn_noise *o, fnn_split s)
{
    const fnn_noise part = rows_of(o, s);
    if (part.rows) k->gaussian_noise(&part);
}
