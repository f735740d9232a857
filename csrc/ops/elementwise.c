/* Operations that treat every row alone: activations and softmax. */
#include "../fastnn.h"

void fnn_op_activation_forward(const fnn_kernels *k, const fnn_elementwise *o, fnn_share s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->activation_forward(o->activation, o->alpha, o->columns, o->x + i * o->ldx, o->y + i * o->ldy);
}

void fnn_op_activation_backward(const fnn_kernels *k, const fnn_elementwise *o, fnn_share s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->activation_backward(o->activation, o->alpha, o->columns, o->x + i * o->ldx, o->saved + i * o->ldsaved,
                               o->y + i * o->ldy);
}

void fnn_op_softmax_forward(const fnn_kernels *k, const fnn_elementwise *o, fnn_share s)
{
    if (s.begin < s.end)
        k->softmax_forward(s.end - s.begin, o->columns, o->x + s.begin * o->ldx, o->ldx, o->y + s.begin * o->ldy, o->ldy);
}

void fnn_op_add(const fnn_kernels *k, const fnn_elementwise *o, fnn_share s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->add(o->columns, o->x + i * o->ldx, o->saved + i * o->ldsaved, o->y + i * o->ldy);
}

void fnn_op_maxout_forward(const fnn_kernels *k, const fnn_maxout *o, fnn_share s)
{
    for (size_t i = s.begin; i < s.end; i++) k->maxout_forward(o->columns, o->pieces, o->x + i * o->ldx, o->y + i * o->ldy);
}

void fnn_op_maxout_backward(const fnn_kernels *k, const fnn_maxout *o, fnn_share s)
{
    for (size_t i = s.begin; i < s.end; i++)
        k->maxout_backward(o->columns, o->pieces, o->dy + i * o->lddy, o->x + i * o->ldx, o->y + i * o->ldy);
}
