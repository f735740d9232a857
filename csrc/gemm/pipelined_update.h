/* Adam between the steps of a product: the update of one tile of dW while the next one is computed. */
#ifndef FNN_GEMM_PIPELINED_UPDATE_H
#define FNN_GEMM_PIPELINED_UPDATE_H

#include "epilogues.h"
#include "prefetch.h"

/* Adam's division and square root keep one unit busy for longer than a tile's products need for their share of the
 * others, so the update of one tile is done, a vector at a time, between the steps of the next tile's product. Nothing
 * but the order in time differs from updating a tile when it is finished. For this there must be registers to spare. */

/* A finished tile of a gradient that waits for its update. */
typedef struct fnn_deferred_update {
    real tile[2][FNN_MR * FNN_NR]; /* the one that waits and the one that is being computed, in turns */
    int turn;                       /* which of them waits */
    const fnn_scalars *s;
    bool decay;           /* AdamW's */
    size_t rows, vectors; /* rows 0: none waits */
    vt last;
    real *w, *s0, *s1;
    size_t ldw;
    ptrdiff_t next; /* from this tile's weights to those of the tile whose product runs meanwhile, which are prefetched */
} fnn_deferred_update;

FNN_INLINE void fnn_deferred_update_vector(const fnn_deferred_update *q, size_t i, size_t v)
{
    const size_t at = i * q->ldw + v * FNN_LANES;
    const vt t = v == q->vectors - 1 ? q->last : vt_first(FNN_LANES);
    __builtin_prefetch(q->w + at + q->next, 1); /* one line a step: all at once they would hold up the product's loads */
    __builtin_prefetch(q->s0 + at + q->next, 1);
    __builtin_prefetch(q->s1 + at + q->next, 1);
    vec v0 = v_load_t(q->s0 + at, t), v1 = v_load_t(q->s1 + at, t);
    vec w = v_load_t(q->w + at, t);
    if (q->decay) w = v_mul(q->s->keep, w);
    w = fnn_adam_rule(q->s, w, v_load(q->tile[q->turn] + i * FNN_NR + v * FNN_LANES), &v0, &v1, NULL);
    v_store_t(q->w + at, w, t);
    v_store_t(q->s0 + at, v0, t);
    v_store_t(q->s1 + at, v1, t);
}

static void fnn_deferred_update_finish(fnn_deferred_update *q)
{
    for (size_t i = 0; i < q->rows; i++)
        for (size_t v = 0; v < q->vectors; v++) fnn_deferred_update_vector(q, i, v);
    q->rows = 0;
}

/* The first steps of a tile's product, `steps` of them between two vectors of the deferred tile's update. They are unrolled, for
 * the ends of loops so short would be mispredicted. Returns how many there were. */
FNN_INLINE size_t fnn_tile_update_steps(const int rows, const int vectors, const int steps, vr sum[FNN_MR][FNN_NV],
                                        const real *a, size_t lda, const real *b, size_t ldb, vt last,
                                        const fnn_deferred_update *q)
{
    for (size_t i = 0; i < q->rows; i++) {
        for (size_t v = 0; v < q->vectors; v++) {
            fnn_deferred_update_vector(q, i, v);
            FNN_UNROLL
            for (int step = 0; step < steps; step++) {
                fnn_tile_step(rows, vectors, false, true, sum, a, lda, b, NULL, last);
                a += lda;
                b += ldb;
            }
        }
    }
    return q->rows * q->vectors * (size_t)steps;
}

/* As fnn_tile with A transposed; start and C are rows FNN_NR apart. The deferred tile is updated meanwhile. */
FNN_INLINE void fnn_tile_update(const int rows, const int vectors, size_t k, const real *a, size_t lda, const real *b,
                                size_t ldb, const real *start, real *c, vt last, const fnn_deferred_update *q)
{
    vr sum[FNN_MR][FNN_NV];
    const size_t count = q->rows * q->vectors;
    size_t p = 0;
    fnn_tile_start(rows, vectors, false, sum, start, FNN_NR, last);
    if (k >= 4 * count)
        p = fnn_tile_update_steps(rows, vectors, 4, sum, a, lda, b, ldb, last, q);
    else if (k >= 2 * count)
        p = fnn_tile_update_steps(rows, vectors, 2, sum, a, lda, b, ldb, last, q);
    else if (k >= count)
        p = fnn_tile_update_steps(rows, vectors, 1, sum, a, lda, b, ldb, last, q);
    else
        p = fnn_tile_update_steps(rows, vectors, 0, sum, a, lda, b, ldb, last, q);
    for (; p < k; p++) fnn_tile_step(rows, vectors, false, true, sum, a + p * lda, lda, b + p * ldb, NULL, last);
    fnn_tile_store(rows, vectors, false, sum, c, FNN_NR, vt_first(FNN_LANES));
}

typedef void fnn_tile_update_fn(size_t k, const real *a, size_t lda, const real *b, size_t ldb, const real *start, real *c,
                                vt last, const fnn_deferred_update *q);

#define FNN_TILE_UPDATE(rows, vectors)                                                                              \
    static void fnn_tile_update_##rows##_##vectors(size_t k, const real *a, size_t lda, const real *b, size_t ldb, \
                                                   const real *start, real *c, vt last, const fnn_deferred_update *q)     \
    {                                                                                                               \
        fnn_tile_update(rows, vectors, k, a, lda, b, ldb, start, c, last, q);                                       \
    }
#define FNN_TILE_UPDATES(v)                                              \
    FNN_TILE_UPDATE(1, v) FNN_TILE_UPDATE(2, v) FNN_TILE_UPDATE(3, v) \
    FNN_TILE_UPDATE(4, v) FNN_TILE_UPDATE(5, v) FNN_TILE_UPDATE(6, v)
#define FNN_TILE_UPDATE_NAMES(v)                                                                              \
    {fnn_tile_update_1_##v, fnn_tile_update_2_##v, fnn_tile_update_3_##v, fnn_tile_update_4_##v, \
     fnn_tile_update_5_##v, fnn_tile_update_6_##v}
FNN_TILE_UPDATES(1)
FNN_TILE_UPDATES(2)
FNN_TILE_UPDATES(3)
FNN_TILE_UPDATES(4)
static fnn_tile_update_fn *const fnn_tile_updates[FNN_NV][FNN_MR] = {
    FNN_TILE_UPDATE_NAMES(1), FNN_TILE_UPDATE_NAMES(2), FNN_TILE_UPDATE_NAMES(3), FNN_TILE_UPDATE_NAMES(4)};

/* The last block of k of `rows` rows of dW from i on, from `start` on. The tile that was deferred is updated meanwhile, and then
 * this one is. */
static void fnn_deferred_update_tile(const fnn_product *g, fnn_deferred_update *deferred, const fnn_block *q, size_t i, size_t rows,
                                     const real *a, const real *b, size_t ldb, const real *start)
{
    const size_t at = i * g->ldw + q->j;
    const vt last = fnn_block_last(q);
    if (deferred->rows) {
        deferred->next = g->w + at - deferred->w;
    } else {
        const fnn_prefetch_region region = fnn_prefetch_of_update(g, i, rows, q->j, q->width);
        fnn_prefetch_whole_to_write(&region);
    }
    fnn_tile_updates[q->vectors - 1][rows - 1](q->depth, a, g->lda, b, ldb, start, deferred->tile[!deferred->turn], last, deferred);
    deferred->turn = !deferred->turn;
    deferred->rows = rows;
    deferred->vectors = q->vectors;
    deferred->last = last;
    deferred->w = g->w + at;
    deferred->s0 = g->state[0] + at;
    deferred->s1 = g->state[1] + at;
    deferred->ldw = g->ldw;
    deferred->next = 0; /* no tile follows, as far as is known */
}

/* The update of Adam or AdamW with no other option. */
static bool fnn_may_interleave(const fnn_product *g)
{
    return g->rule == FNN_ADAM && !g->penalized &&
           (g->scalars->options & ~(unsigned)FNN_DECAY) == 0;
}

#endif
