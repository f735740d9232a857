/* Optimizer updates over many arrays, and the numbers of a step that are the same for all their elements. */
#include "../fastnn.h"

#include <math.h>

#define FNN_UPDATE_CHUNK 4096 /* elements dealt out at a time: 16 KB an array, a few microseconds */

/* Scalars in double; the kernels round each once to the arrays' type. */
fnn_update_scalars fnn_update_prepare(const fnn_group *group, double lr, uint64_t t)
{
    fnn_update_scalars s = {.lr = lr, .gradient_scale = 1.0, .weight_decay = group->weight_decay, .nesterov = group->nesterov};
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

static size_t chunks_of(const fnn_tensor *t) { return (t->n + FNN_UPDATE_CHUNK - 1) / FNN_UPDATE_CHUNK; }

size_t fnn_update_chunks(const fnn_tensor *tensors, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) total += chunks_of(&tensors[i]);
    return total;
}

/* Chunks of all arrays in a row, dealt out in equal runs; visit(argument, tensor, from, upto, number of the chunk at
 * `from`) for each array's part of this thread's run. */
typedef void visitor(void *argument, const fnn_tensor *t, size_t from, size_t upto, size_t chunk);

static void visit_share(const fnn_tensor *tensors, size_t count, fnn_share s, visitor *visit, void *argument)
{
    const fnn_share mine = fnn_share_of(s.id, s.count, fnn_update_chunks(tensors, count));
    size_t first = 0; /* number of the array's first chunk */
    for (size_t i = 0; i < count && first < mine.end; i++) {
        const fnn_tensor *t = &tensors[i];
        const size_t end = first + chunks_of(t);
        if (end > mine.begin) {
            const size_t begin = mine.begin > first ? mine.begin : first;
            const size_t upto = mine.end < end ? (mine.end - first) * FNN_UPDATE_CHUNK : t->n;
            visit(argument, t, (begin - first) * FNN_UPDATE_CHUNK, upto, begin);
        }
        first = end;
    }
}

typedef struct {
    const fnn_kernels *k;
    const fnn_update *o;
} update_call;

static void update_part(void *argument, const fnn_tensor *t, size_t from, size_t upto, size_t chunk)
{
    (void)chunk;
    const update_call *c = argument;
    const fnn_update_rule rule = c->o->rules[t->group];
    const fnn_update_scalars *scalars = &c->o->scalars[t->group];
    if (t->is_double)
        c->k->update_f64[rule](upto - from, scalars, (double *)t->w + from, (const double *)t->g + from,
                               t->state[0] ? (double *)t->state[0] + from : NULL,
                               t->state[1] ? (double *)t->state[1] + from : NULL);
    else
        c->k->update_f32[rule](upto - from, scalars, (float *)t->w + from, (const float *)t->g + from,
                               t->state[0] ? (float *)t->state[0] + from : NULL,
                               t->state[1] ? (float *)t->state[1] + from : NULL);
}

void fnn_op_update(const fnn_kernels *k, const fnn_update *o, fnn_share s)
{
    visit_share(o->tensors, o->count, s, update_part, &(update_call){k, o});
}

typedef struct {
    const fnn_kernels *k;
    double *partial;
} norm_call;

static void norm_part(void *argument, const fnn_tensor *t, size_t from, size_t upto, size_t chunk)
{
    const norm_call *c = argument;
    for (; from < upto; from += FNN_UPDATE_CHUNK, chunk++) {
        const size_t n = upto - from < FNN_UPDATE_CHUNK ? upto - from : FNN_UPDATE_CHUNK;
        c->partial[chunk] = t->is_double ? c->k->sum_squares_f64(n, (const double *)t->g + from)
                                         : c->k->sum_squares_f32(n, (const float *)t->g + from);
    }
}

void fnn_op_norm(const fnn_kernels *k, const fnn_norm *o, fnn_share s)
{
    visit_share(o->tensors, o->count, s, norm_part, &(norm_call){k, o->partial});
}
