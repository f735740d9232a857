/* The register of operations as a table, and the eager calls, which are one operation by a team without a plan around it. */
#include "step.h"

void fnn_run_nothing(const fnn_step *s, const fnn_op *op, fnn_split split) { (void)s, (void)op, (void)split; }

#define FNN_OP(code, name, arguments, bind, split_, roles, writes, phase, traits)        \
    static void run_##name(const fnn_step *s, const fnn_op *op, fnn_split split)         \
    {                                                                                    \
        const arguments o = bind(s, op);                                                 \
        split_(s->kernels, &o, split);                                                   \
    }                                                                                    \
    static void eager_##name(const fnn_kernels *k, const void *o, fnn_split split)       \
    {                                                                                    \
        split_(k, (const arguments *)o, split);                                          \
    }
#define FNN_PLAN_OP(code, name, run, roles, writes, phase, traits)
#include "../defs/ops.def"
#undef FNN_OP
#undef FNN_PLAN_OP

const fnn_op_kind_info fnn_op_kinds[FNN_OP_KINDS] = {
#define FNN_OP(code, name, arguments, bind, split, roles, writes, phase, traits) \
    [FNN_OP_##code] = {#name, roles, writes, phase, traits, run_##name, eager_##name},
#define FNN_PLAN_OP(code, name, run, roles, writes, phase, traits) [FNN_OP_##code] = {#name, roles, writes, phase, traits, run, NULL},
#include "../defs/ops.def"
#undef FNN_OP
#undef FNN_PLAN_OP
};

typedef struct {
    fnn_op_kind op;
    const void *arguments;
    const fnn_kernels *kernels;
    size_t rows;
} call;

static void body(void *argument, int id, int count, fnn_barrier *barrier)
{
    (void)barrier;
    const call *c = argument;
    fnn_op_kinds[c->op].eager(c->kernels, c->arguments, fnn_split_of(id, count, c->rows));
}

void fnn_eager(fnn_op_kind op, const void *arguments, size_t rows, int threads)
{
    call c = {op, arguments, fnn_active_kernels(FNN_F32), rows};
    fnn_team_run(threads, body, &c);
}
