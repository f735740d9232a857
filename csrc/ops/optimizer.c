/* Optimizer updates over many arrays, and the numbers of a step that are the same for all their elements. */
#include "../fastnn.h"

#include <math.h>

#define FNN_UPDATE_CHUNK 4096 /* elements dealt out at a time: 16 KB an array, a few microseconds */

/* Scalars in double; the kernels round each once to the arrays' type. */
fnn_update_scalars fnn_update_prepare(const fnn_group *group, double lr, uint64_t t)
{
    fnn_update_scalars s = {.lr = lr, .weight_decay = group->weight_decay, .nesterov = group->nesterov};
    switch (group->rule) {
    case FNN_SGD: /* the first step starts the average from the gradient itself, undampened */
        s.beta1 = group->beta1;
        s.one_beta1 = t == 1 ? 1.0 : 1.0 - group->beta2;
        break;
    case FNN_ADAM:
        s.lr = lr / (1.0 - pow(group->beta1, (double)t));
        s.beta1 = group->beta1;
        s.one_beta1 = 1.0 - group->beta1;
        s.beta2 = group->beta2;
        s.one_beta2 = 1.0 - group->beta2;
        s.inverse_sqrt_bc2 = 1.0 / sqrt(1.0 - pow(group->beta2, (double)t));
        s.eps = group->eps;
        break;
    default: break;
    }
    return s;
}

/* Chunks of all arrays in a row, dealt out in equal runs. */
void fnn_op_update(const fnn_kernels *k, const fnn_update *o, fnn_share s)
{
    size_t total = 0;
    for (size_t i = 0; i < o->count; i++) total += (o->tensors[i].n + FNN_UPDATE_CHUNK - 1) / FNN_UPDATE_CHUNK;
    const fnn_share mine = fnn_share_of(s.id, s.count, total);
    size_t first = 0; /* chunk number of the array's first chunk */
    for (size_t i = 0; i < o->count && first < mine.end; i++) {
        const fnn_tensor *t = &o->tensors[i];
        const size_t chunks = (t->n + FNN_UPDATE_CHUNK - 1) / FNN_UPDATE_CHUNK;
        if (first + chunks > mine.begin) {
            const size_t from = mine.begin > first ? (mine.begin - first) * FNN_UPDATE_CHUNK : 0;
            const size_t upto = mine.end < first + chunks ? (mine.end - first) * FNN_UPDATE_CHUNK : t->n;
            const fnn_update_rule rule = o->rules[t->group];
            const fnn_update_scalars *scalars = &o->scalars[t->group];
            if (t->is_double)
                k->update_f64[rule](upto - from, scalars, (double *)t->w + from, (const double *)t->g + from,
                                    t->state[0] ? (double *)t->state[0] + from : NULL,
                                    t->state[1] ? (double *)t->state[1] + from : NULL);
            else
                k->update_f32[rule](upto - from, scalars, (float *)t->w + from, (const float *)t->g + from,
                                    t->state[0] ? (float *)t->state[0] + from : NULL,
                                    t->state[1] ? (float *)t->state[1] + from : NULL);
        }
        first += chunks;
    }
}
