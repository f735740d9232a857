/* Losses by rows, and their sum. */
#include "../fastnn.h"

/* The loss of the rows of a split. */
static fnn_loss rows_of(const fnn_loss *o, fnn_split s)
{
    fnn_loss part = *o;
    part.logits += s.begin * o->ldl;
    if (o->labels) part.labels += s.begin;
    if (o->targets) part.targets += s.begin * o->ldt;
    if (o->weight) part.weight += s.begin * o->ldw;
    if (o->dlogits) part.dlogits += s.begin * o->ldd;
    part.loss += s.begin;
    part.correct += s.begin;
    return part;
}

void fnn_op_softmax_cross_entropy(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    const fnn_loss part = rows_of(o, s);
    if (s.begin < s.end) k->softmax_cross_entropy(s.end - s.begin, &part);
}

void fnn_op_elementwise_loss(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    const fnn_loss part = rows_of(o, s);
    if (s.begin < s.end) k->elementwise_loss(s.end - s.begin, &part);
}

void fnn_op_multiclass_hinge(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    const fnn_loss part = rows_of(o, s);
    if (s.begin < s.end) k->multiclass_hinge(s.end - s.begin, &part);
}

double fnn_sum_rows(const double *loss, size_t rows)
{
    double total = 0.0;
    for (size_t i = 0; i < rows; i += 16) {
        const size_t end = rows - i < 16 ? rows : i + 16;
        double sum = 0.0;
        for (size_t r = i; r < end; r++) sum += loss[r];
        total += sum;
    }
    return total;
}
