/* Products of a layer that uses the transposed weights of another, stored [out, in]: y = f(x w^T + b). The gradient of w
 * is that of a dense layer with x and dy in each other's place. */
#include "grid.h"

void fnn_op_tied_forward(const fnn_kernels *k, const fnn_dense_forward *o, fnn_share s)
{
    const fnn_cell c = fnn_cell_of(o->by_rows, o->batch, o->out, s);
    if (fnn_cell_is_empty(c)) return;
    k->gemm(&(fnn_product){
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = o->in,
        .a = o->x + c.i0 * o->ldx,
        .lda = o->ldx,
        .b = o->w + c.j0 * o->in,
        .ldb = o->in,
        .b_transposed = true,
        .bias = o->b ? o->b + c.j0 : NULL,
        .c = o->y + c.i0 * o->ldy + c.j0,
        .ldc = o->ldy,
        .epilogue = o->activation == FNN_IDENTITY && !o->z ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_ACTIVATION,
        .activation = o->activation,
        .alpha = o->alpha,
        .z = o->z ? o->z + c.i0 * o->ldz + c.j0 : NULL,
        .ldz = o->ldz,
    });
}

void fnn_op_tied_backward_input(const fnn_kernels *k, const fnn_dense_backward_input *o, fnn_share s)
{
    const fnn_cell c = fnn_cell_of(o->by_rows, o->batch, o->in, s);
    if (fnn_cell_is_empty(c)) return;
    k->gemm(&(fnn_product){
        .m = c.i1 - c.i0,
        .n = c.j1 - c.j0,
        .k = o->out,
        .a = o->dy + c.i0 * o->lddy,
        .lda = o->lddy,
        .b = o->w + c.j0,
        .ldb = o->in,
        .accumulate = o->accumulate,
        .c = o->dx + c.i0 * o->lddx + c.j0,
        .ldc = o->lddx,
        .epilogue = o->activation == FNN_IDENTITY ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_DERIVATIVE,
        .activation = o->activation,
        .alpha = o->alpha,
        .saved = o->saved ? o->saved + c.i0 * o->ldsaved + c.j0 : NULL,
        .ldsaved = o->ldsaved,
    });
}
