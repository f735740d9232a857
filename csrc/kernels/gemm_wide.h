/* Products and updates by tiles of 6 rows x 4 registers, for 32 registers of 16 lanes (AVX-512). Panels of C are 64 columns wide and
 * blocks of B deep, so that the L2 cache serves them; what the tiles after it need from beyond, a tile asks for while it computes;
 * and Adam's update of a tile is done between the steps of the next one's product. */
#ifndef FNN_KERNELS_GEMM_WIDE_H
#define FNN_KERNELS_GEMM_WIDE_H

#define FNN_KC 144               /* k in a block of B that is packed on the stack, 36 KB with AVX-512; in scratch FNN_LONG_K */
#define FNN_PACK_TILES 32        /* pack B from a row length of FNN_PACK_LD on if at least this many tiles of rows use it, ... */
#define FNN_PACK_PAGES 16        /* ... or this many where its rows are whole pages, and so lie in few sets of the caches, ... */
#define FNN_PACK_DEEP 8          /* ... or this many in an update over more than FNN_LONG_K, whose B the L2 cache does not hold */
#define FNN_ASK_K 400            /* over so many k, or with scratch, a tile asks for what the next one needs if B is packed ... */
#define FNN_ASK_TILES 16         /* ... or there are so many tiles */
#define FNN_UPDATE_ROWS 96       /* an update goes through all columns of so many rows of w: their pages stay in the TLB */

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
    vr sum[FNN_TALL][FNN_NV];
    fnn_asked asked = {0};
    fnn_tile_start(rows, vectors, false, sum, start, start_ld, last);
    if (ahead) {
        for (size_t p = 0; k >= 16 && (p < FNN_ASK_NEAR || asked.far < FNN_FARS); k -= 16, p += 16) {
            const float *near = ahead->a + p;
            FNN_ROLLED
            for (int i = 0; i < 16 / FNN_ASK_STEPS; i++) {
                if (!a_transposed && i < rows && i < FNN_MR && p < FNN_ASK_NEAR) {
                    __builtin_prefetch(near);
                    near += lda;
                } else {
                    fnn_ask_far(ahead, &asked);
                }
                FNN_UNROLL
                for (int step = 0; step < FNN_ASK_STEPS; step++) {
                    fnn_tile_step(rows, vectors, false, a_transposed, sum, a, lda, b, NULL, last);
                    a += a_transposed ? lda : 1;
                    b += ldb;
                }
            }
        }
        while (asked.far < FNN_FARS) fnn_ask_far(ahead, &asked);
    }
    for (; k > 0; k--) {
        fnn_tile_step(rows, vectors, false, a_transposed, sum, a, lda, b, NULL, last);
        a += a_transposed ? lda : 1;
        b += ldb;
    }
    fnn_tile_gate(rows, vectors, false, sum, gate, last);
    fnn_tile_store(rows, vectors, false, sum, c, ldc, last);
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
#define FNN_TILES(v, t) \
    FNN_TILE(1, v, t) FNN_TILE(2, v, t) FNN_TILE(3, v, t) FNN_TILE(4, v, t) FNN_TILE(5, v, t) FNN_TILE(6, v, t)
#define FNN_TILE_NAMES(v, t)                                                                                         \
    {fnn_tile_1_##v##_##t, fnn_tile_2_##v##_##t, fnn_tile_3_##v##_##t, fnn_tile_4_##v##_##t, fnn_tile_5_##v##_##t, \
     fnn_tile_6_##v##_##t}

FNN_TILES(1, 0) FNN_TILES(2, 0) FNN_TILES(3, 0) FNN_TILES(4, 0)
FNN_TILES(1, 1) FNN_TILES(2, 1) FNN_TILES(3, 1) FNN_TILES(4, 1)
static fnn_tile_fn *const fnn_tiles[2][FNN_NV][FNN_MR] = {
    {FNN_TILE_NAMES(1, 0), FNN_TILE_NAMES(2, 0), FNN_TILE_NAMES(3, 0), FNN_TILE_NAMES(4, 0)},
    {FNN_TILE_NAMES(1, 1), FNN_TILE_NAMES(2, 1), FNN_TILE_NAMES(3, 1), FNN_TILE_NAMES(4, 1)},
};

FNN_TILE(7, 1, 0) FNN_TILE(8, 1, 0) FNN_TILE(9, 1, 0) FNN_TILE(10, 1, 0) FNN_TILE(11, 1, 0) FNN_TILE(12, 1, 0)
static fnn_tile_fn *const fnn_tall_tiles[FNN_TALL - FNN_MR] = {fnn_tile_7_1_0,  fnn_tile_8_1_0,  fnn_tile_9_1_0,
                                                               fnn_tile_10_1_0, fnn_tile_11_1_0, fnn_tile_12_1_0};

FNN_INLINE fnn_tile_fn *fnn_tile_of(bool a_transposed, size_t vectors, size_t rows)
{
    if (rows > FNN_MR) return fnn_tall_tiles[rows - FNN_MR - 1];
    return fnn_tiles[a_transposed][vectors - 1][rows - 1];
}

/* Adam's division and square root keep one unit busy for longer than a tile's products need for their share of the
 * others, so the update of one tile is done, a vector at a time, between the steps of the next tile's product. Nothing
 * but the order in time differs from updating a tile when it is finished. For this there must be registers to spare. */

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
FNN_INLINE size_t fnn_tile_update_steps(const int rows, const int vectors, const int steps, vr sum[FNN_MR][FNN_NV],
                                        const float *a, size_t lda, const float *b, size_t ldb, vt last,
                                        const fnn_pending *q)
{
    for (size_t i = 0; i < q->rows; i++) {
        for (size_t v = 0; v < q->vectors; v++) {
            fnn_pending_vector(q, i, v);
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

/* As fnn_tile with A transposed; start and C are rows FNN_NR apart. The pending tile is updated meanwhile. */
FNN_INLINE void fnn_tile_update(const int rows, const int vectors, size_t k, const float *a, size_t lda, const float *b,
                                size_t ldb, const float *start, float *c, vt last, const fnn_pending *q)
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
    fnn_tile_store(rows, vectors, false, sum, c, FNN_NR, vt_first(FNN_VF));
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

/* To rows of full vectors, zero beyond the width: those of k [from, upto). */
static void fnn_pack(const fnn_product *g, const fnn_block *q, size_t from, size_t upto, float *packed)
{
    const vt last = fnn_block_last(q);
    const float *b = fnn_block_data(g, q) + from * g->ldb;
    packed += from * q->vectors * FNN_VF;
    for (size_t p = from; p < upto; p++, b += g->ldb, packed += q->vectors * FNN_VF) {
        for (size_t v = 0; v + 1 < q->vectors; v++) vf_store(packed + v * FNN_VF, vf_load(b + v * FNN_VF));
        vf_store(packed + (q->vectors - 1) * FNN_VF, vf_load_t(b + (q->vectors - 1) * FNN_VF, last));
    }
}

/* The part `tile` of `tiles` of it. */
static void fnn_pack_piece(const fnn_product *g, const fnn_block *q, size_t tiles, size_t tile, float *packed)
{
    fnn_pack(g, q, fnn_part(q->depth, tiles, tile), fnn_part(q->depth, tiles, tile + 1), packed);
}

/* The part `tile` of `tiles` of a block of B. */
FNN_INLINE fnn_far fnn_far_block(const fnn_product *g, const fnn_block *q, size_t tiles, size_t tile)
{
    const size_t rows = g->b_transposed ? q->width : q->depth, floats = g->b_transposed ? q->depth : q->width;
    const size_t from = fnn_part(rows, tiles, tile), upto = fnn_part(rows, tiles, tile + 1);
    return (fnn_far){{fnn_block_data(g, q) + from * g->ldb}, 1, upto - from, (floats + 15) / 16, g->ldb};
}

/* Of a matrix with rows ld apart the tile at `at`. */
FNN_INLINE fnn_far fnn_far_tile(const float *at, size_t rows, size_t width, size_t ld)
{
    return (fnn_far){{at}, 1, rows, (width + 15) / 16, ld};
}

/* The weights and states that a tile at row i, column j updates. */
FNN_INLINE fnn_far fnn_far_update(const fnn_product *g, size_t i, size_t rows, size_t j, size_t width)
{
    const size_t at = i * g->ldw + j;
    fnn_far far = fnn_far_tile(g->w + at, rows, width, g->ldw);
    for (int q = 0; q < FNN_STATES; q++)
        if (g->state[q]) far.at[far.places++] = g->state[q] + at;
    return far;
}

/* All of it at once, to be written. */
FNN_INLINE void fnn_ask_to_write(const fnn_far *f)
{
    for (size_t r = 0; r < f->rows; r++)
        for (size_t x = 0; x < f->lines; x++)
            for (size_t q = 0; q < f->places; q++) __builtin_prefetch(f->at[q] + r * f->stride + x * 16, 1);
}

/* The last block of k of `rows` rows of dW from i on, from `start` on. The tile that was pending is updated meanwhile, and then
 * this one is. */
static void fnn_pending_tile(const fnn_product *g, fnn_pending *pending, const fnn_block *q, size_t i, size_t rows,
                             const float *a, const float *b, size_t ldb, const float *start)
{
    const size_t at = i * g->ldw + q->j;
    const vt last = fnn_block_last(q);
    if (pending->rows) {
        pending->next = g->w + at - pending->w;
    } else {
        const fnn_far far = fnn_far_update(g, i, rows, q->j, q->width);
        fnn_ask_to_write(&far);
    }
    fnn_tile_updates[q->vectors - 1][rows - 1](q->depth, a, g->lda, b, ldb, start, pending->tile[!pending->turn], last, pending);
    pending->turn = !pending->turn;
    pending->rows = rows;
    pending->vectors = q->vectors;
    pending->last = last;
    pending->w = g->w + at;
    pending->s0 = g->state[0] + at;
    pending->s1 = g->state[1] + at;
    pending->ldw = g->ldw;
    pending->next = 0; /* no tile follows, as far as is known */
}

/* The most k in a block of B. */
FNN_INLINE size_t fnn_most_depth(const fnn_product *g, bool packed)
{
    if (!packed && !g->a_transposed) return 2 * FNN_LONG_K; /* what all tiles read then stays in the L2 cache */
    if (!g->scratch) return FNN_KC;
    if (g->epilogue != FNN_EPILOGUE_UPDATE) return FNN_LONG_K;
    const size_t half = g->k / 2 + 1; /* of an update at least two: in the last but one, weights are asked for */
    return half < FNN_LONG_K / 2 ? half : FNN_LONG_K / 2;
}

/* What the tiles of a block ask for while they compute. */
typedef struct fnn_wishes {
    fnn_block block, next; /* the block itself, and the one whose tiles follow, if `more` do */
    bool more;
    size_t i0, tiles;   /* where the rows begin, and how many tiles they are */
    bool c, saved;      /* where the next tile stores, and what its derivative reads */
    bool packed, after; /* each tile a piece of the next block, to be packed; and of the one after it */
    fnn_block second;   /* that one */
    bool update;        /* the weights and states that the tile's rows and columns are of */
} fnn_wishes;

/* Those of the tile number `tile`, of `rows` rows from i on. */
FNN_INLINE void fnn_wish(const fnn_product *g, const fnn_wishes *w, size_t tile, size_t i, size_t rows, fnn_ahead *ahead)
{
    const bool within = tile + 1 < w->tiles; /* the next tile is of this block */
    const fnn_block *q = &w->block, *then = within || !w->more ? q : &w->next;
    const size_t i2 = within ? i + rows : w->i0;
    *ahead = (fnn_ahead){.a = g->a_transposed ? g->a : g->a + i2 * g->lda + then->p};
    if (w->c && (within || w->more)) {
        ahead->far[FNN_FAR_C] = fnn_far_tile(g->c + i2 * g->ldc + then->j, rows, q->width, g->ldc);
        if (w->saved) ahead->far[FNN_FAR_SAVED] = fnn_far_tile(g->saved + i2 * g->ldsaved + then->j, rows, q->width, g->ldsaved);
    }
    if (w->packed) ahead->far[FNN_FAR_BLOCK] = fnn_far_block(g, &w->next, w->tiles, tile);
    if (w->after) ahead->far[FNN_FAR_AFTER] = fnn_far_block(g, &w->second, w->tiles, tile);
    if (w->update) ahead->far[FNN_FAR_UPDATE] = fnn_far_update(g, i, rows, q->j, q->width);
}

/* The rows [i0, i1) of the product, all columns. An update needs room for gradients, [i1 - i0, FNN_NR]; its last tile is left in
 * `pending`, if that is not NULL. */
static void fnn_gemm_range(const fnn_product *g, size_t i0, size_t i1, float *gradient, fnn_pending *pending)
{
    float little[FNN_KC * FNN_NR] __attribute__((aligned(64))), *packed = g->scratch ? g->scratch : little;
    const bool update = g->epilogue == FNN_EPILOGUE_UPDATE;
    const size_t most_rows = g->n <= FNN_VF && !g->a_transposed ? FNN_TALL : FNN_MR;
    const size_t m = i1 - i0, tiles = (m + most_rows - 1) / most_rows, panels = (g->n + FNN_NR - 1) / FNN_NR;
    const size_t many = g->ldb % 1024 == 0 ? FNN_PACK_PAGES : FNN_PACK_TILES;
    const size_t worth = update && g->k > FNN_LONG_K ? FNN_PACK_DEEP : many;
    const bool pack = g->b_transposed || ((!update || g->k > FNN_UPDATE_DEPTH) && g->ldb >= FNN_PACK_LD && tiles >= worth);
    const size_t most = fnn_most_depth(g, pack), blocks = g->k == 0 ? 1 : (g->k + most - 1) / most;
    const bool long_run = (g->scratch || g->k >= FNN_ASK_K) && (pack || (!g->a_transposed && tiles >= FNN_ASK_TILES));
    /* with room for two blocks each tile packs a piece of the next one, which it has asked for; of a whole block, asked for at
     * once, the caches keep only a part if its rows lie a power of two apart */
    const bool pieces = pack && g->scratch && !g->b_transposed;
    const bool asks_c = !update && g->m * g->n >= FNN_LARGE_C;
    float *other = pieces ? packed + most * FNN_NR : NULL; /* the next block */

    for (size_t stage = 0; stage < panels * blocks; stage++) {
        const fnn_block q = fnn_block_of(g, panels, blocks, stage);
        const bool first = stage % blocks == 0, final = (stage + 1) % blocks == 0, more = stage + 1 < panels * blocks;
        const bool weights = update && (pending ? (stage + 2) % blocks == 0 : final); /* are asked for: before they are updated */
        const bool asks = long_run || weights;
        const fnn_block next = more ? fnn_block_of(g, panels, blocks, stage + 1) : q;
        fnn_wishes wishes = {.block = q, .next = next, .more = more, .i0 = i0, .tiles = tiles, .c = asks_c,
                             .saved = final && g->epilogue == FNN_EPILOGUE_DERIVATIVE, .packed = pack && more, .update = weights,
                             .after = pieces && weights && pending && stage + 2 < panels * blocks};
        if (wishes.after) wishes.second = fnn_block_of(g, panels, blocks, stage + 2);
        const vt last = fnn_block_last(&q);
        const float *b = fnn_block_data(g, &q);
        size_t ldb = g->ldb;
        if (pack) {
            if (g->b_transposed)
                fnn_pack_transposed(g, &q, packed);
            else if (!pieces || stage == 0)
                fnn_pack(g, &q, 0, q.depth, packed);
            b = packed;
            ldb = q.vectors * FNN_VF;
        }
        for (size_t tile = 0, i = i0; tile < tiles; tile++) {
            const size_t rows = m / tiles + (tile < m % tiles), ldc = update ? FNN_NR : g->ldc;
            float *c = update ? gradient + (i - i0) * ldc : g->c + i * g->ldc + q.j;
            const bool resume = !first || g->accumulate;
            const float *start = resume ? c : g->bias ? g->bias + q.j : NULL;
            const float *a = g->a_transposed ? g->a + q.p * g->lda + i : g->a + i * g->lda + q.p;
            if (update && final && pending) {
                fnn_pending_tile(g, pending, &q, i, rows, a, b, ldb, start);
                if (pieces && more) fnn_pack_piece(g, &next, tiles, tile, other);
                i += rows;
                continue;
            }
            fnn_ahead ahead;
            if (asks) fnn_wish(g, &wishes, tile, i, rows, &ahead);
            const fnn_gate gate = final ? fnn_gate_of(g, i, q.j) : (fnn_gate){.kind = FNN_GATE_OPEN};
            fnn_tile_of(g->a_transposed, q.vectors, rows)(q.depth, a, g->lda, b, ldb, start, resume ? ldc : 0, c, ldc, last, &gate,
                                                          asks ? &ahead : NULL);
            if (final && gate.kind == FNN_GATE_OPEN) fnn_finish(g, i, q.j, rows, q.width, c, ldc);
            if (pieces && more) fnn_pack_piece(g, &next, tiles, tile, other);
            i += rows;
        }
        if (pieces) {
            float *done = packed;
            packed = other;
            other = done;
        }
    }
}

/* The update of Adam or AdamW with no other option. */
static bool fnn_may_interleave(const fnn_product *g)
{
    return g->rule == FNN_ADAM && !g->penalized &&
           (g->scalars->options & ~(unsigned)FNN_DECAY) == 0;
}

/* The rows of an update go in groups of at most `most`. Cut between tiles that are equal over all rows, they have no more tiles
 * than those; each group for itself would have one that is partly empty. */
FNN_INLINE size_t fnn_groups(size_t m, size_t most) { return (fnn_row_tiles(m) + most / FNN_MR - 1) / (most / FNN_MR); }
FNN_INLINE size_t fnn_group_begin(size_t m, size_t groups, size_t group)
{
    const size_t tiles = fnn_row_tiles(m);
    return fnn_part(m, tiles, fnn_part(tiles, groups, group));
}

/* An update over many k: the columns of A that a group of rows needs lie a row of A apart, each on a page of its own. They
 * are copied together once, and the group is large, for B, where it is packed, is packed anew for each. */
static void fnn_gemm_deep(const fnn_product *g, fnn_pending *pending)
{
    const size_t most = fnn_deep_rows(g->k), groups = fnn_groups(g->m, most);
    float *gradient = g->scratch + FNN_LONG_ROOM, *columns = gradient + most * FNN_NR;
    for (size_t group = 0; group < groups; group++) {
        const size_t i0 = fnn_group_begin(g->m, groups, group), m = fnn_group_begin(g->m, groups, group + 1) - i0;
        fnn_product q = *g;
        for (size_t p = 0; p < g->k; p++) memcpy(columns + p * m, g->a + p * g->lda + i0, m * sizeof(float));
        q.a = columns;
        q.lda = m;
        q.m = m;
        q.w += i0 * g->ldw;
        fnn_states_at(q.state, g->state, i0 * g->ldw);
        if (q.penalized) q.penalized += i0 * g->ldw;
        fnn_gemm_range(&q, 0, m, gradient, pending);
    }
}

FNN_INLINE void fnn_gemm_tile(size_t rows, size_t vectors, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                              const float *start, size_t start_ld, float *c, size_t ldc, vt last, const fnn_gate *gate)
{
    fnn_tiles[0][vectors - 1][rows - 1](k, a, lda, b, ldb, start, start_ld, c, ldc, last, gate, NULL);
}

static void fnn_gemm_rows(const fnn_product *g) { fnn_gemm_range(g, 0, g->m, NULL, NULL); }

static void fnn_gemm_update(const fnn_product *g)
{
    fnn_product shallow = *g;
    fnn_pending *pending = NULL;
    fnn_scalars_f32 scalars;
    fnn_pending room __attribute__((aligned(64)));
    if (fnn_may_interleave(g)) {
        scalars = fnn_splat_f32(g->scalars);
        room.s = &scalars;
        room.decay = g->scalars->options & FNN_DECAY;
        room.rows = room.vectors = 0;
        room.turn = 0;
        pending = &room;
    }
    if (g->scratch && g->deep) {
        fnn_gemm_deep(g, pending);
    } else {
        shallow.scratch = NULL;
        float gradient[FNN_UPDATE_ROWS * FNN_NR] __attribute__((aligned(64)));
        const size_t groups = fnn_groups(g->m, FNN_UPDATE_ROWS);
        for (size_t group = 0; group < groups; group++)
            fnn_gemm_range(&shallow, fnn_group_begin(g->m, groups, group), fnn_group_begin(g->m, groups, group + 1), gradient, pending);
    }
    if (pending) fnn_pending_finish(pending);
}

#endif
