/* One step of a plan as a thread sees it, and what binding an operation's arguments needs of it. */
#ifndef FNN_OPS_STEP_H
#define FNN_OPS_STEP_H

#include "../fastnn.h"

typedef struct fnn_step {
    fnn_run *run;
    const fnn_kernels *kernels;
    fnn_buffer *buffers; /* this thread's table: input and output may point into the user's arrays */
    size_t number, begin, rows; /* which step of the call, and its rows of the user's data */
    size_t counted; /* rows that are not to be ignored */
    float *scratch; /* this thread's */
} fnn_step;

/* The buffer of the operation's role number i, all zero where it has none. */
static inline fnn_buffer fnn_buffer_of(const fnn_step *s, const fnn_op *op, int i)
{
    return op->buffer[i] < 0 ? (fnn_buffer){0} : s->buffers[op->buffer[i]];
}

/* Float rows in order need no copy: the operations that follow read the user's array. With weights the inputs do, since rows of
 * weight 0 may have to be replaced. */
static inline bool fnn_gather_in_place(const fnn_step *s, const fnn_op *op, const fnn_source *source)
{
    if (op->first > 1 || (source == &s->run->x && s->run->weight.data)) return false;
    if (op->first == 1 && source->stride != (ptrdiff_t)(op->out * sizeof(float))) return false; /* images leave no gaps */
    return !s->run->index && source->dtype == FNN_F32 && source->scale == 1.0 && source->shift == 0.0 && !s->run->check_finite &&
           source->stride % (ptrdiff_t)sizeof(float) == 0 && source->stride >= 0;
}

/* The step's labels, without the buffer that they go to. */
fnn_gather_labels fnn_labels_of(const fnn_step *s);

#define FNN_OP(code, name, arguments, bind, split, roles, writes, phase, traits) \
    arguments bind(const fnn_step *s, const fnn_op *op);
#define FNN_PLAN_OP(code, name, run, roles, writes, phase, traits) void run(const fnn_step *s, const fnn_op *op, fnn_split split);
#include "../defs/ops.def"
#undef FNN_OP
#undef FNN_PLAN_OP

#endif
