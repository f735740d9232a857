/* Losses by rows, and their sum. */
#include "../fastnn.h"

void fnn_op_softmax_cross_entropy(const fnn_kernels *k, const fnn_loss *o, fnn_share s)
{
    if (s.begin >= s.end) return;
    k->softmax_cross_entropy(s.end - s.begin, o->classes, o->logits + s.begin * o->ldl, o->ldl,
                             o->labels ? o->labels + s.begin : NULL, o->targets ? o->targets + s.begin * o->ldt : NULL,
                             o->ldt, o->scale, o->dlogits ? o->dlogits + s.begin * o->ldd : NULL, o->ldd,
                             o->loss + s.begin, o->correct + s.begin);
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
