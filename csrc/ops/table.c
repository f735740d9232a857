/* The register of operations as a table, and the eager calls, which are one operation by a team without a plan around it. */
#include "step.h"

#include <math.h>

_Static_assert(sizeof(int64_t) == 8 && sizeof(double) == 8, "parameters are of one size: their places are their numbers");
#define FNN_PARAMETERS(name, fields) \
    _Static_assert(sizeof(fnn_##name##_parameters) <= 8 * FNN_OP_PARAMETERS, #name ": more parameters than fnn_op has room for");
#include "../defs/ops.def"
#undef FNN_PARAMETERS

#define FNN_WINDOW_WORK (rows * p->out_height * p->out_width * p->kernel_height * p->kernel_width)
#define FNN_CONV_WORK (2 * FNN_WINDOW_WORK * (p->channels / p->groups) * p->filters)
#define FNN_OP(name, parameters, roles, writes, phase, traits, work) \
    static double work_##name(const fnn_op *op, double rows)         \
    {                                                                \
        const fnn_##parameters##_parameters *p = &op->parameters;    \
        (void)p, (void)rows;                                         \
        return (double)(work);                                       \
    }
#include "../defs/ops.def"
#undef FNN_OP

#define FNN_INT(name) "i" #name " "
#define FNN_DOUBLE(name) "d" #name " "
#define FNN_PARAMETERS(name, fields) static const char name##_parameters[] = fields;
#include "../defs/ops.def"
#undef FNN_INT
#undef FNN_DOUBLE
#undef FNN_PARAMETERS

const fnn_op_kind_info fnn_op_kinds[FNN_OP_KINDS] = {
#define FNN_OP(name, parameters, roles, writes, phase, traits, work) \
    [FNN_OP_##name] = {#name, parameters##_parameters, roles, writes, phase, traits, work_##name, fnn_run_##name},
#include "../defs/ops.def"
#undef FNN_OP
};

typedef struct {
    const fnn_op *op;
    fnn_run *run;
    fnn_buffer *buffers;
    const fnn_kernels *kernels;
} call;

static void body(void *argument, int id, int count, fnn_barrier *barrier)
{
    (void)barrier;
    const call *c = argument;
    const size_t rows = c->run->rows, counted = rows - c->run->rows_left_out;
    fnn_step s = {.run = c->run, .kernels = c->kernels, .buffers = c->buffers, .rows = rows, .counted = counted};
    if (c->run->scratch) s.scratch = c->run->scratch + (size_t)id * c->run->scratch_bytes;
    fnn_op_kinds[c->op->kind].run(&s, c->op, fnn_split_of(id, count, rows));
}

#define WORK_SIZES 24 /* from 2^18 on, each twice the one before */

void fnn_eager(const fnn_op *op, fnn_buffer *buffers, fnn_run *run, double work)
{
    static fnn_autotune tunes[FNN_OP_KINDS][WORK_SIZES]; /* used by who holds the team */
    int size = 0;
    frexp(work, &size);
    size = size < 19 ? 0 : size - 19 < WORK_SIZES ? size - 19 : WORK_SIZES - 1;
    call c = {op, run, buffers, fnn_active_kernels(run->dtype)};
    fnn_team_call(&tunes[op->kind][size], run->threads ? run->threads : fnn_team_for(work), work, body, &c);
}
