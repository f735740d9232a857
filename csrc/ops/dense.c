/* The three products of a dense layer: which part of each a thread does. */
#include "grid.h"
#include "step.h"

void fnn_op_dense_forward(const fnn_kernels *k, const fnn_dense_forward *o, fnn_split s)
{
    const fnn_tile_range c = fnn_tile_range_of(o->by_rows, o->batch, o->out, s);
    if (fnn_tile_range_is_empty(c)) return;
    k->gemm(&(fnn_product){
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = o->in,
        .a = o->x + c.i0 * o->ldx,
        .lda = o->ldx,
        .b = o->w + (o->transposed ? c.j0 * o->in : c.j0),
        .ldb = o->transposed ? o->in : o->out,
        .b_transposed = o->transposed,
        .bias = o->b ? o->b + c.j0 : NULL,
        .c = o->y + c.i0 * o->ldy + c.j0,
        .ldc = o->ldy,
        .epilogue = o->activation == FNN_IDENTITY && !o->z ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_ACTIVATION,
        .activation = o->activation,
        .alpha = o->alpha,
        .z = o->z ? o->z + c.i0 * o->ldz + c.j0 : NULL,
        .ldz = o->ldz,
        .scratch = o->scratch,
    });
}

void fnn_op_dense_backward_input(const fnn_kernels *k, const fnn_dense_backward_input *o, fnn_split s)
{
    const fnn_tile_range c = fnn_tile_range_of(o->by_rows, o->batch, o->in, s);
    if (fnn_tile_range_is_empty(c)) return;
    k->gemm(&(fnn_product){
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = o->out,
        .a = o->dy + c.i0 * o->lddy,
        .lda = o->lddy,
        .b = o->w + (o->transposed ? c.j0 : c.j0 * o->out),
        .ldb = o->transposed ? o->in : o->out,
        .b_transposed = !o->transposed,
        .accumulate = o->accumulate,
        .c = o->dx + c.i0 * o->lddx + c.j0,
        .ldc = o->lddx,
        .epilogue = o->activation == FNN_IDENTITY ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_DERIVATIVE,
        .activation = o->activation,
        .alpha = o->alpha,
        .saved = o->saved ? o->saved + c.i0 * o->ldsaved + c.j0 : NULL,
        .ldsaved = o->ldsaved,
        .scratch = o->scratch,
    });
}

/* db, or b updated by it: the threads whose range holds the first rows of dw do their columns of it. */
static void bias(const fnn_kernels *k, const fnn_dense_backward_weights *o, fnn_tile_range c)
{
    const float *dy = o->dy + c.j0;
    const size_t n = c.j1 - c.j0;
    if (!o->update_b) {
        if (o->db) k->bias_gradient(o->batch, n, dy, o->lddy, o->accumulate, o->db + c.j0);
        return;
    }
    const fnn_tensor *t = o->update_b;
    for (size_t j = 0; j < n; j += 256) { /* by way of the stack */
        float db[256];
        const size_t width = n - j < 256 ? n - j : 256, at = c.j0 + j;
        k->bias_gradient(o->batch, width, dy + j, o->lddy, false, db);
        void *state[FNN_STATES];
        fnn_states_at(k, state, t->state, at);
        k->update[o->rules[t->group]](1, width, &o->scalars[t->group], fnn_at(k, t->w, at), width, db, width, state);
    }
}

void fnn_op_dense_backward_weights(const fnn_kernels *k, const fnn_dense_backward_weights *o, fnn_split s)
{
    const fnn_tile_range c = fnn_grid_tile(o->in, o->out, s);
    if (fnn_tile_range_is_empty(c)) return;
    if (c.i0 == 0) bias(k, o, c);
    if (!o->dw && !o->update_w) return;
    const size_t at = c.i0 * o->out + c.j0;
    fnn_product p = {
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = o->batch,
        .a = o->x + c.i0,
        .lda = o->ldx,
        .a_transposed = true,
        .b = o->dy + c.j0,
        .ldb = o->lddy,
    };
    if (o->w) {
        p.l1 = (float)o->l1;
        p.l2 = (float)o->l2;
        p.penalized = o->w + at;
        p.ldw = o->out;
    }
    if (o->update_w) {
        const fnn_tensor *t = o->update_w;
        p.epilogue = FNN_EPILOGUE_UPDATE;
        p.rule = o->rules[t->group];
        p.scalars = &o->scalars[t->group];
        p.w = (float *)t->w + at;
        fnn_states_at(k, p.state, t->state, at);
        p.ldw = o->out;
        p.scratch = o->scratch;
        p.large_k = fnn_product_has_large_k(o->in, o->out, o->batch);
    } else {
        p.accumulate = o->accumulate;
        p.c = o->dw + at;
        p.ldc = o->out;
    }
    k->gemm(&p);
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

fnn_dense_forward fnn_bind_dense_forward(const fnn_step *s, const fnn_op *op)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 3), z = fnn_buffer_of(s, op, 4);
    return (fnn_dense_forward){
        .batch = s->rows,
        .in = op->in,
        .out = op->out,
        .by_rows = op->by_rows,
        .transposed = op->kind == FNN_OP_TIED_FORWARD,
        .x = x.data,
        .ldx = x.ld,
        .w = fnn_buffer_of(s, op, 1).data,
        .b = fnn_buffer_of(s, op, 2).data,
        .y = y.data,
        .ldy = y.ld,
        .z = z.data,
        .ldz = z.ld,
        .activation = op->activation,
        .alpha = op->alpha,
        .scratch = (op->scratch ? s->scratch : NULL),
    };
}

fnn_dense_backward_input fnn_bind_dense_backward_input(const fnn_step *s, const fnn_op *op)
{
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), saved = fnn_buffer_of(s, op, 2), dx = fnn_buffer_of(s, op, 3);
    return (fnn_dense_backward_input){
        .batch = s->rows,
        .in = op->in,
        .out = op->out,
        .by_rows = op->by_rows,
        .transposed = op->kind == FNN_OP_TIED_BACKWARD_INPUT,
        .dy = dy.data,
        .lddy = dy.ld,
        .w = fnn_buffer_of(s, op, 1).data,
        .dx = dx.data,
        .lddx = dx.ld,
        .accumulate = op->accumulate,
        .saved = saved.data,
        .ldsaved = saved.ld,
        .activation = op->activation,
        .alpha = op->alpha,
        .scratch = (op->scratch ? s->scratch : NULL),
    };
}

fnn_dense_backward_weights fnn_bind_dense_backward_weights(const fnn_step *s, const fnn_op *op)
{
    const fnn_run *run = s->run;
    const fnn_buffer x = fnn_buffer_of(s, op, 0), dy = fnn_buffer_of(s, op, 1);
    return (fnn_dense_backward_weights){
        .batch = s->rows,
        .in = op->in,
        .out = op->out,
        .x = x.data,
        .ldx = x.ld,
        .dy = dy.data,
        .lddy = dy.ld,
        .dw = fnn_buffer_of(s, op, 2).data,
        .db = fnn_buffer_of(s, op, 3).data,
        .accumulate = op->accumulate,
        .l1 = op->l1,
        .l2 = op->l2,
        .w = fnn_buffer_of(s, op, 4).data,
        .update_w = op->update_w < 0 ? NULL : &run->update->tensors[op->update_w],
        .update_b = op->update_b < 0 ? NULL : &run->update->tensors[op->update_b],
        .rules = run->update ? run->update->rules : NULL,
        .scalars = run->update ? run->update->scalars : NULL,
        .scratch = (op->scratch ? s->scratch : NULL),
    };
}
