/* What is done to a finished tile of C while it is in the L1 cache: activation, derivative, penalty, update. */
#ifndef FNN_GEMM_EPILOGUES_H
#define FNN_GEMM_EPILOGUES_H

#include "../kernels/optimizer.h"
#include "../kernels/penalty.h"
#include "blocking.h"

/* The epilogues, on a finished tile: rows i .. i+rows of C, columns j .. j+width; its elements are at c, ldc. */
static void fnn_finish_activation(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, real *c, size_t ldc)
{
    for (size_t r = 0; g->z && r < rows; r++) memcpy(g->z + (i + r) * g->ldz + j, c + r * ldc, width * sizeof(real));
    fnn_activation_forward(g->activation, g->alpha, rows, width, c, ldc, c, ldc);
}

static void fnn_finish_derivative(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, real *c, size_t ldc)
{
    fnn_activation_backward(g->activation, g->alpha, rows, width, c, ldc, g->saved + i * g->ldsaved + j, g->ldsaved, c, ldc);
}

static fnn_update_rule_fn *const fnn_update_rules[FNN_UPDATE_RULES] = {
#define FNN_UPDATE(code, name, ...) [code] = fnn_##name,
#include "../defs/update_rules.def"
#undef FNN_UPDATE
};

static void fnn_finish_update(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, real *c, size_t ldc)
{
    const size_t at = i * g->ldw + j;
    real *state[FNN_STATES];
    fnn_states_at(state, g->state, at);
    fnn_update_rules[g->rule](rows, width, g->scalars, g->w + at, g->ldw, c, ldc, state);
}

/* The gradient of a penalty on the weights, added to a finished tile of theirs. */
static void fnn_finish_penalty(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, real *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++)
        fnn_penalty_backward(width, g->l1, g->l2, g->penalized + (i + r) * g->ldw + j, c + r * ldc);
}

static void fnn_finish(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, real *c, size_t ldc)
{
    if (g->penalized) fnn_finish_penalty(g, i, j, rows, width, c, ldc);
    switch (g->epilogue) {
    case FNN_EPILOGUE_ACTIVATION: fnn_finish_activation(g, i, j, rows, width, c, ldc); break;
    case FNN_EPILOGUE_DERIVATIVE: fnn_finish_derivative(g, i, j, rows, width, c, ldc); break;
    case FNN_EPILOGUE_UPDATE: fnn_finish_update(g, i, j, rows, width, c, ldc); break;
    default: break;
    }
}

/* What the tiles of a finished C do themselves. */
FNN_INLINE fnn_tile_epilogue_kind fnn_tile_epilogue_of(const fnn_product *g)
{
    if (g->activation != FNN_RELU || g->z) return FNN_TILE_EPILOGUE_NONE;
    if (g->epilogue == FNN_EPILOGUE_ACTIVATION) return FNN_TILE_EPILOGUE_RELU;
    return g->epilogue == FNN_EPILOGUE_DERIVATIVE ? FNN_TILE_EPILOGUE_RELU_DERIVATIVE : FNN_TILE_EPILOGUE_NONE;
}

/* Whether they leave something to `fnn_finish`. */
FNN_INLINE bool fnn_tiles_need_finish(const fnn_product *g)
{
    return fnn_tile_epilogue_of(g) == FNN_TILE_EPILOGUE_NONE && (g->epilogue != FNN_EPILOGUE_NONE || g->penalized);
}

/* The tile at row i, column j is next. One field is set, not the whole of it copied: a tile is too short to wait for stores of one
 * width to be loaded in another, which go by way of the L1 cache. */
FNN_INLINE void fnn_tile_epilogue_at(fnn_tile_epilogue *epilogue, const fnn_product *g, size_t i, size_t j)
{
    if (epilogue->kind == FNN_TILE_EPILOGUE_RELU_DERIVATIVE) epilogue->saved = g->saved + i * g->ldsaved + j;
}

#endif
