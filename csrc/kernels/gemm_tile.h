/* One tile of a matrix product, held in registers while k runs over a block: its multiply-adds, what it asks for meanwhile,
 * its gate, and the update of the tile before it. How a product is cut into tiles is gemm.h's. */
#ifndef FNN_KERNELS_GEMM_TILE_H
#define FNN_KERNELS_GEMM_TILE_H

#include "activation.h"
#include "optimizer.h"

#define FNN_NR (FNN_NV * FNN_VF) /* columns of a full panel */
#ifndef FNN_TALL
#define FNN_TALL FNN_MR /* rows of a tile where all of C is one vector wide */
#endif

#define FNN_UNROLL _Pragma("GCC unroll 16")

/* The parts of a tile of C, [rows, vectors * 16], held in registers. `last` says which lanes of the last vector exist.
 * rows, vectors and a_transposed are constants where these are called. Every loop over the accumulators must unroll, the
 * first and last included, or they live in memory. */

/* `start` NULL is zero; a start_ld of 0 repeats one row. */
FNN_INLINE void fnn_tile_start(const int rows, const int vectors, vf sum[][FNN_NV], const float *start,
                               size_t start_ld, vt last)
{
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            const float *from = start ? start + i * start_ld + v * FNN_VF : NULL;
            sum[i][v] = !start ? vf_zero() : v == vectors - 1 ? vf_load_t(from, last) : vf_load(from);
        }
    }
}

/* One k: a column of A times a row of B. */
FNN_INLINE void fnn_tile_step(const int rows, const int vectors, const bool a_transposed, vf sum[][FNN_NV],
                              const float *a, size_t lda, const float *b, vt last)
{
    vf row[FNN_NV];
    FNN_UNROLL
    for (int v = 0; v < vectors; v++)
        row[v] = v == vectors - 1 ? vf_load_t(b + v * FNN_VF, last) : vf_load(b + v * FNN_VF);
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        const vf element = vf_set1(a_transposed ? a[i] : a[i * lda]);
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) sum[i][v] = vf_fma(element, row[v], sum[i][v]);
    }
}

FNN_INLINE void fnn_tile_store(const int rows, const int vectors, vf sum[][FNN_NV], float *c, size_t ldc, vt last)
{
    FNN_UNROLL
    for (int i = 0; i < rows; i++) {
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            float *to = c + i * ldc + v * FNN_VF;
            if (v == vectors - 1)
                vf_store_t(to, sum[i][v], last);
            else
                vf_store(to, sum[i][v]);
        }
    }
}

/* What a tile does to its sums before it stores them: ReLU and its derivative, which cost next to nothing there. */
typedef struct fnn_gate {
    enum { FNN_GATE_OPEN, FNN_GATE_RELU, FNN_GATE_RELU_DERIVATIVE } kind;
    const float *saved; /* RELU_DERIVATIVE: the outputs of ReLU that this tile is the gradient of */
    size_t ldsaved;
} fnn_gate;

FNN_INLINE void fnn_tile_gate(const int rows, const int vectors, vf sum[][FNN_NV], const fnn_gate *gate, vt last)
{
    if (gate->kind == FNN_GATE_RELU) {
        FNN_UNROLL
        for (int i = 0; i < rows; i++) {
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) sum[i][v] = fnn_activate(FNN_RELU, sum[i][v], vf_zero());
        }
    } else if (gate->kind == FNN_GATE_RELU_DERIVATIVE) {
        FNN_UNROLL
        for (int i = 0; i < rows; i++) {
            FNN_UNROLL
            for (int v = 0; v < vectors; v++) {
                const float *from = gate->saved + i * gate->ldsaved + v * FNN_VF;
                const vf y = v == vectors - 1 ? vf_load_t(from, last) : vf_load(from);
                sum[i][v] = fnn_differentiate(FNN_RELU, sum[i][v], y, vf_zero());
            }
        }
    }
}

/* What a tile asks for, a line now and then, while it computes. Asked for all at once it would take every place that the L1 cache
 * has for what it waits for, and the tile's own loads would queue up behind. */
typedef struct fnn_far {
    const float *at[1 + FNN_STATES]; /* in each of these places ... */
    size_t places;
    size_t rows, lines, stride; /* ... so many rows, `stride` floats apart, of so many lines of 64 bytes */
} fnn_far;

enum {
    FNN_FAR_UPDATE, /* weights and states that are to be updated */
    FNN_FAR_C,      /* where the next tile stores its sums */
    FNN_FAR_SAVED,  /* what its derivative reads */
    FNN_FAR_BLOCK,  /* a part of the next block of B, */
    FNN_FAR_AFTER,  /* and of the one after it, if the next one's tiles do not ask */
    FNN_FARS
};

typedef struct fnn_ahead {
    const float *a; /* the next tile's A, of as many rows; not where A is transposed */
    fnn_far far[FNN_FARS];
} fnn_ahead;

typedef struct fnn_asked {
    size_t far, row, line;
} fnn_asked;

/* The next line of `far`, in all of its places. */
FNN_INLINE void fnn_ask_far(const fnn_ahead *ahead, fnn_asked *done)
{
    if (done->far == FNN_FARS) return;
    const fnn_far *f = &ahead->far[done->far];
    if (done->row < f->rows) {
        for (size_t q = 0; q < f->places; q++) __builtin_prefetch(f->at[q] + done->row * f->stride + done->line * 16, 0, 2);
        if (++done->line < f->lines) return;
        done->line = 0;
        if (++done->row < f->rows) return;
    }
    done->row = 0;
    done->far++;
}

#define FNN_ASK_STEPS 2  /* steps of k between two questions; in 16, a line's worth of A, FNN_MR rows of A are asked for once */
#define FNN_ASK_NEAR 192 /* k of the next tile's A to be asked for: what follows in its rows the hardware fetches by itself */

/* One tile over one block of k: C = start + A B, through the gate. */
FNN_INLINE void fnn_tile(const int rows, const int vectors, const bool a_transposed, size_t k, const float *a,
                         size_t lda, const float *b, size_t ldb, const float *start, size_t start_ld, float *c,
                         size_t ldc, vt last, const fnn_gate *gate, const fnn_ahead *ahead)
{
    vf sum[FNN_TALL][FNN_NV];
    fnn_asked asked = {0};
    fnn_tile_start(rows, vectors, sum, start, start_ld, last);
    if (ahead) {
        for (size_t p = 0; k >= 16 && (p < FNN_ASK_NEAR || asked.far < FNN_FARS); k -= 16, p += 16) {
            const float *near = ahead->a + p;
            _Pragma("GCC unroll 1")
            for (int i = 0; i < 16 / FNN_ASK_STEPS; i++) {
                if (!a_transposed && i < rows && i < FNN_MR && p < FNN_ASK_NEAR) {
                    __builtin_prefetch(near);
                    near += lda;
                } else {
                    fnn_ask_far(ahead, &asked);
                }
                FNN_UNROLL
                for (int step = 0; step < FNN_ASK_STEPS; step++) {
                    fnn_tile_step(rows, vectors, a_transposed, sum, a, lda, b, last);
                    a += a_transposed ? lda : 1;
                    b += ldb;
                }
            }
        }
        while (asked.far < FNN_FARS) fnn_ask_far(ahead, &asked);
    }
    for (; k > 0; k--) {
        fnn_tile_step(rows, vectors, a_transposed, sum, a, lda, b, last);
        a += a_transposed ? lda : 1;
        b += ldb;
    }
    fnn_tile_gate(rows, vectors, sum, gate, last);
    fnn_tile_store(rows, vectors, sum, c, ldc, last);
}

typedef void fnn_tile_fn(size_t k, const float *a, size_t lda, const float *b, size_t ldb, const float *start,
                         size_t start_ld, float *c, size_t ldc, vt last, const fnn_gate *gate, const fnn_ahead *ahead);

#define FNN_TILE(rows, vectors, transposed)                                                                         \
    static void fnn_tile_##rows##_##vectors##_##transposed(size_t k, const float *a, size_t lda, const float *b,    \
                                                           size_t ldb, const float *start, size_t start_ld,         \
                                                           float *c, size_t ldc, vt last, const fnn_gate *gate,     \
                                                           const fnn_ahead *ahead)                                  \
    {                                                                                                               \
        fnn_tile(rows, vectors, transposed, k, a, lda, b, ldb, start, start_ld, c, ldc, last, gate, ahead);         \
    }
#if FNN_MR == 6
#define FNN_TILES(v, t) \
    FNN_TILE(1, v, t) FNN_TILE(2, v, t) FNN_TILE(3, v, t) FNN_TILE(4, v, t) FNN_TILE(5, v, t) FNN_TILE(6, v, t)
#define FNN_TILE_NAMES(v, t)                                                                                         \
    {fnn_tile_1_##v##_##t, fnn_tile_2_##v##_##t, fnn_tile_3_##v##_##t, fnn_tile_4_##v##_##t, fnn_tile_5_##v##_##t, \
     fnn_tile_6_##v##_##t}
#elif FNN_MR == 2
#define FNN_TILES(v, t) FNN_TILE(1, v, t) FNN_TILE(2, v, t)
#define FNN_TILE_NAMES(v, t) {fnn_tile_1_##v##_##t, fnn_tile_2_##v##_##t}
#else
#error "tiles are listed for 2 and 6 rows"
#endif

FNN_TILES(1, 0)
FNN_TILES(1, 1)
#if FNN_NV == 4
FNN_TILES(2, 0) FNN_TILES(3, 0) FNN_TILES(4, 0)
FNN_TILES(2, 1) FNN_TILES(3, 1) FNN_TILES(4, 1)
#elif FNN_NV != 1
#error "tiles are listed for 1 and 4 vectors"
#endif

static fnn_tile_fn *const fnn_tiles[2][FNN_NV][FNN_MR] = {
#if FNN_NV == 4
    {FNN_TILE_NAMES(1, 0), FNN_TILE_NAMES(2, 0), FNN_TILE_NAMES(3, 0), FNN_TILE_NAMES(4, 0)},
    {FNN_TILE_NAMES(1, 1), FNN_TILE_NAMES(2, 1), FNN_TILE_NAMES(3, 1), FNN_TILE_NAMES(4, 1)},
#else
    {FNN_TILE_NAMES(1, 0)},
    {FNN_TILE_NAMES(1, 1)},
#endif
};

#if FNN_TALL == 12
FNN_TILE(7, 1, 0) FNN_TILE(8, 1, 0) FNN_TILE(9, 1, 0) FNN_TILE(10, 1, 0) FNN_TILE(11, 1, 0) FNN_TILE(12, 1, 0)
static fnn_tile_fn *const fnn_tall_tiles[FNN_TALL - FNN_MR] = {fnn_tile_7_1_0,  fnn_tile_8_1_0,  fnn_tile_9_1_0,
                                                               fnn_tile_10_1_0, fnn_tile_11_1_0, fnn_tile_12_1_0};
#elif FNN_TALL != FNN_MR
#error "tall tiles are listed for 12 rows"
#endif

FNN_INLINE fnn_tile_fn *fnn_tile_of(bool a_transposed, size_t vectors, size_t rows)
{
#if FNN_TALL > FNN_MR
    if (rows > FNN_MR) return fnn_tall_tiles[rows - FNN_MR - 1];
#endif
    return fnn_tiles[a_transposed][vectors - 1][rows - 1];
}

struct fnn_pending; /* known only where updates are interleaved */

#if FNN_NV == 4
/* Adam's division and square root keep one unit busy for longer than a tile's products need for their share of the
 * others, so the update of one tile is done, a vector at a time, between the steps of the next tile's product. Nothing
 * but the order in time differs from updating a tile when it is finished. For this there must be registers to spare. */
#define FNN_INTERLEAVE 1

/* A finished tile of a gradient that waits for its update. */
typedef struct fnn_pending {
    float tile[2][FNN_MR * FNN_NR]; /* the one that waits and the one that is being computed, in turns */
    int turn;                       /* which of them waits */
    const fnn_scalars_f32 *s;
    bool decay;           /* AdamW's */
    size_t rows, vectors; /* rows 0: none waits */
    vt last;
    float *w, *s0, *s1;
    size_t ldw;
    ptrdiff_t next; /* from this tile's weights to those of the tile whose product runs meanwhile, which are asked for */
} fnn_pending;

FNN_INLINE void fnn_pending_vector(const fnn_pending *q, size_t i, size_t v)
{
    const size_t at = i * q->ldw + v * FNN_VF;
    const vt t = v == q->vectors - 1 ? q->last : vt_first(FNN_VF);
    __builtin_prefetch(q->w + at + q->next, 1); /* one line a step: all at once they would hold up the product's loads */
    __builtin_prefetch(q->s0 + at + q->next, 1);
    __builtin_prefetch(q->s1 + at + q->next, 1);
    vf v0 = vf_load_t(q->s0 + at, t), v1 = vf_load_t(q->s1 + at, t);
    vf w = vf_load_t(q->w + at, t);
    if (q->decay) w = vf_mul(q->s->keep, w);
    w = fnn_adam_rule_f32(q->s, w, vf_load(q->tile[q->turn] + i * FNN_NR + v * FNN_VF), &v0, &v1, NULL);
    vf_store_t(q->w + at, w, t);
    vf_store_t(q->s0 + at, v0, t);
    vf_store_t(q->s1 + at, v1, t);
}

static void fnn_pending_finish(fnn_pending *q)
{
    for (size_t i = 0; i < q->rows; i++)
        for (size_t v = 0; v < q->vectors; v++) fnn_pending_vector(q, i, v);
    q->rows = 0;
}

/* The first steps of a tile's product, `steps` of them between two vectors of the pending tile's update. They are unrolled, for
 * the ends of loops so short would be mispredicted. Returns how many there were. */
FNN_INLINE size_t fnn_tile_update_steps(const int rows, const int vectors, const int steps, vf sum[FNN_MR][FNN_NV],
                                        const float *a, size_t lda, const float *b, size_t ldb, vt last,
                                        const fnn_pending *q)
{
    for (size_t i = 0; i < q->rows; i++) {
        for (size_t v = 0; v < q->vectors; v++) {
            fnn_pending_vector(q, i, v);
            FNN_UNROLL
            for (int step = 0; step < steps; step++) {
                fnn_tile_step(rows, vectors, true, sum, a, lda, b, last);
                a += lda;
                b += ldb;
            }
        }
    }
    return q->rows * q->vectors * (size_t)steps;
}

/* As fnn_tile with A transposed; start and C are rows FNN_NR apart. The pending tile is updated meanwhile. */
FNN_INLINE void fnn_tile_update(const int rows, const int vectors, size_t k, const float *a, size_t lda, const float *b,
                                size_t ldb, const float *start, float *c, vt last, const fnn_pending *q)
{
    vf sum[FNN_MR][FNN_NV];
    const size_t count = q->rows * q->vectors;
    size_t p = 0;
    fnn_tile_start(rows, vectors, sum, start, FNN_NR, last);
    if (k >= 4 * count)
        p = fnn_tile_update_steps(rows, vectors, 4, sum, a, lda, b, ldb, last, q);
    else if (k >= 2 * count)
        p = fnn_tile_update_steps(rows, vectors, 2, sum, a, lda, b, ldb, last, q);
    else if (k >= count)
        p = fnn_tile_update_steps(rows, vectors, 1, sum, a, lda, b, ldb, last, q);
    else
        p = fnn_tile_update_steps(rows, vectors, 0, sum, a, lda, b, ldb, last, q);
    for (; p < k; p++) fnn_tile_step(rows, vectors, true, sum, a + p * lda, lda, b + p * ldb, last);
    fnn_tile_store(rows, vectors, sum, c, FNN_NR, vt_first(FNN_VF));
}

typedef void fnn_tile_update_fn(size_t k, const float *a, size_t lda, const float *b, size_t ldb, const float *start, float *c,
                                vt last, const fnn_pending *q);

#define FNN_TILE_UPDATE(rows, vectors)                                                                              \
    static void fnn_tile_update_##rows##_##vectors(size_t k, const float *a, size_t lda, const float *b, size_t ldb, \
                                                   const float *start, float *c, vt last, const fnn_pending *q)     \
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
#endif

#endif
