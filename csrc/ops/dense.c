/* The products of a dense layer: which part of each a thread does. */
#include "grid.h"
#include "step.h"

static void *scratch_of(const fnn_step *s, const fnn_op *op) { return op->scratch ? s->scratch : NULL; }

/* y = f(bias + x w); transposed: w is stored [out, in], the weights of another layer. */
static void forward(const fnn_step *s, const fnn_op *op, fnn_split split, bool transposed)
{
    const size_t in = (size_t)op->product.n_in, out = (size_t)op->product.n_out;
    const fnn_tile_range c = fnn_tile_range_of(op->by_rows, s->rows, out, split);
    if (fnn_tile_range_is_empty(c)) return;
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 3), z = fnn_buffer_of(s, op, 4);
    const fnn_activation activation = (fnn_activation)op->product.activation;
    const fnn_kernels *k = s->kernels;
    k->gemm(&(fnn_product){
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = in,
        .a = fnn_at(k, x.data, c.i0 * x.ld),
        .lda = x.ld,
        .b = fnn_array_of(s, op, 1, transposed ? c.j0 * in : c.j0),
        .ldb = transposed ? in : out,
        .b_transposed = transposed,
        .bias = fnn_array_of(s, op, 2, c.j0),
        .c = fnn_at(k, y.data, c.i0 * y.ld + c.j0),
        .ldc = y.ld,
        .epilogue = activation == FNN_IDENTITY && !z.data ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_ACTIVATION,
        .activation = activation,
        .alpha = op->product.alpha,
        .z = fnn_at(k, z.data, c.i0 * z.ld + c.j0),
        .ldz = z.ld,
        .scratch = scratch_of(s, op),
    });
}

void fnn_run_dense_forward(const fnn_step *s, const fnn_op *op, fnn_split split) { forward(s, op, split, false); }
void fnn_run_tied_forward(const fnn_step *s, const fnn_op *op, fnn_split split) { forward(s, op, split, true); }

/* dx = (dy w^T) f'(saved), f the activation that made x and saved its output (x itself) or its input. */
static void backward_input(const fnn_step *s, const fnn_op *op, fnn_split split, bool transposed)
{
    const size_t in = (size_t)op->input_gradient.n_in, out = (size_t)op->input_gradient.n_out;
    const fnn_tile_range c = fnn_tile_range_of(op->by_rows, s->rows, in, split);
    if (fnn_tile_range_is_empty(c)) return;
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), saved = fnn_buffer_of(s, op, 2), dx = fnn_buffer_of(s, op, 3);
    const fnn_activation activation = (fnn_activation)op->input_gradient.activation;
    const fnn_kernels *k = s->kernels;
    k->gemm(&(fnn_product){
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = out,
        .a = fnn_at(k, dy.data, c.i0 * dy.ld),
        .lda = dy.ld,
        .b = fnn_array_of(s, op, 1, transposed ? c.j0 : c.j0 * out),
        .ldb = transposed ? in : out,
        .b_transposed = !transposed,
        .accumulate = op->input_gradient.accumulate,
        .c = fnn_at(k, dx.data, c.i0 * dx.ld + c.j0),
        .ldc = dx.ld,
        .epilogue = activation == FNN_IDENTITY ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_DERIVATIVE,
        .activation = activation,
        .alpha = op->input_gradient.alpha,
        .saved = fnn_at(k, saved.data, c.i0 * saved.ld + c.j0),
        .ldsaved = saved.ld,
        .scratch = scratch_of(s, op),
    });
}

void fnn_run_dense_backward_input(const fnn_step *s, const fnn_op *op, fnn_split split) { backward_input(s, op, split, false); }
void fnn_run_tied_backward_input(const fnn_step *s, const fnn_op *op, fnn_split split) { backward_input(s, op, split, true); }

/* db, or b updated by it: the threads whose range holds the first rows of dw do their columns of it. */
static void bias(const fnn_step *s, const fnn_op *op, fnn_tile_range c)
{
    const fnn_kernels *k = s->kernels;
    const fnn_buffer dy = fnn_buffer_of(s, op, 1);
    const size_t n = c.j1 - c.j0;
    if (op->weight_gradient.update_b < 0) {
        void *out = fnn_array_of(s, op, 3, c.j0);
        if (out) k->bias_gradient(s->rows, n, fnn_at(k, dy.data, c.j0), dy.ld, op->weight_gradient.accumulate, out);
        return;
    }
    const fnn_update *u = s->run->update;
    const fnn_tensor *t = &u->tensors[op->weight_gradient.update_b];
    for (size_t j = 0; j < n; j += 256) { /* by way of the stack */
        double db[256]; /* or floats */
        const size_t width = n - j < 256 ? n - j : 256, at = c.j0 + j;
        k->bias_gradient(s->rows, width, fnn_at(k, dy.data, at), dy.ld, false, db);
        void *state[FNN_STATES];
        fnn_states_at(k, state, t->state, at);
        k->update[u->rules[t->group]](1, width, &u->scalars[t->group], fnn_at(k, t->w, at), width, db, width, state);
    }
}

/* dw = x^T dy and db = the sum of dy's rows; or w and b are updated, and neither is stored. */
void fnn_run_dense_backward_weights(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_weight_gradient_parameters *g = &op->weight_gradient;
    const size_t in = (size_t)g->n_in, out = (size_t)g->n_out;
    const fnn_tile_range c = fnn_grid_tile(in, out, split);
    if (fnn_tile_range_is_empty(c)) return;
    if (c.i0 == 0) bias(s, op, c);
    const fnn_buffer x = fnn_buffer_of(s, op, 0), dy = fnn_buffer_of(s, op, 1);
    const size_t at = c.i0 * out + c.j0;
    void *dw = fnn_array_of(s, op, 2, at);
    if (!dw && g->update_w < 0) return;
    const fnn_kernels *k = s->kernels;
    fnn_product p = {
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = s->rows,
        .a = fnn_at(k, x.data, c.i0),
        .lda = x.ld,
        .a_transposed = true,
        .b = fnn_at(k, dy.data, c.j0),
        .ldb = dy.ld,
    };
    p.penalized = fnn_array_of(s, op, 4, at);
    if (p.penalized) {
        p.l1 = g->l1;
        p.l2 = g->l2;
        p.ldw = out;
    }
    if (g->update_w >= 0) {
        const fnn_update *u = s->run->update;
        const fnn_tensor *t = &u->tensors[g->update_w];
        p.epilogue = FNN_EPILOGUE_UPDATE;
        p.rule = u->rules[t->group];
        p.scalars = &u->scalars[t->group];
        p.w = fnn_at(k, t->w, at);
        fnn_states_at(k, p.state, t->state, at);
        p.ldw = out;
        p.scratch = scratch_of(s, op);
        p.large_k = fnn_product_has_large_k(in, out, s->rows);
    } else {
        p.accumulate = g->accumulate;
        p.c = dw;
        p.ldc = out;
    }
    k->gemm(&p);
}
