/* The matrix product, for the three products of a dense layer:
 *
 *   forward   Y  [batch, out] = bias + X [batch, in] W [in, out]         then y = f(z)
 *   backward  dX [batch, in]  = dY [batch, out] W^T   (b_transposed)     then dx f'(y of the layer below)
 *             dW [in, out]    = X^T dY                (a_transposed)     then the optimizer's update of W
 *
 * Every element of C is one chain of fused multiply-adds in the order of k. How C is cut into panels, tiles and blocks
 * of K never changes a bit of it, so each may be chosen for speed alone:
 *
 *   C is cut into panels of at most FNN_NV vectors of columns, equal to within a vector (100 columns: 64 + 36);
 *   K into blocks of at most FNN_KC or, where there is room to pack B or no need to, some FNN_LONG_K; a block of B of one panel
 *     stays in the L1 or, beside the next one, in the L2 cache. Both are near enough; longer blocks begin and end fewer tiles;
 *   rows into tiles of at most FNN_MR (FNN_TALL where C is one vector wide), equal to within a row.
 *
 * A tile is held in registers while k runs over a block. A is not packed (but see fnn_gemm_deep): the tile broadcasts single
 * elements of it. B is packed where it must be transposed, or where its rows are used often and lie far apart (TLB, set
 * conflicts). What the tiles after it need from beyond the L2 cache, a tile asks for while it computes.
 * What the epilogue does, it does to a tile that is still in the L1 cache. Blocking: Goto & van de Geijn 2008;
 * Van Zee & van de Geijn 2015 (BLIS). */
#ifndef FNN_KERNELS_GEMM_H
#define FNN_KERNELS_GEMM_H

#include "gemm_tile.h"

#define FNN_KC 144               /* k in a block of B that is packed on the stack, 36 KB with AVX-512; in scratch FNN_LONG_K */
#define FNN_PACK_TILES 32        /* pack B from a row length of FNN_PACK_LD on if at least this many tiles of rows use it, ... */
#define FNN_PACK_PAGES 16        /* ... or this many where its rows are whole pages, and so lie in few sets of the caches, ... */
#define FNN_PACK_DEEP 8          /* ... or this many in an update over more than FNN_LONG_K, whose B the L2 cache does not hold */
#define FNN_ASK_K 400            /* over so many k, or with scratch, a tile asks for what the next one needs if B is packed ... */
#define FNN_ASK_TILES 16         /* ... or there are so many tiles */
#define FNN_ASK_C (1 << 16)      /* C of so many elements, 256 KB, has left the caches nearby since it was last used: see above */
#define FNN_ROW_AHEAD 8          /* rows of B asked for ahead of a lone row of A, in pieces too short for the hardware to guess */
#define FNN_UPDATE_ROWS 96       /* an update goes through all columns of so many rows of w: their pages stay in the TLB */

/* A block of B: columns [j, j + width), in `vectors` vectors, k from p on, `depth` of them. */
typedef struct fnn_block {
    size_t j, width, vectors, p, depth;
} fnn_block;

/* Where the part number `part` of `parts` of n begins: each is as large as the others, the first ones perhaps by one larger. */
FNN_INLINE size_t fnn_part(size_t n, size_t parts, size_t part)
{
    const size_t each = n / parts, more = n % parts;
    return part * each + (part < more ? part : more);
}

/* The tiles of m rows. */
FNN_INLINE size_t fnn_row_tiles(size_t m) { return (m + FNN_MR - 1) / FNN_MR; }

/* Of panels x blocks, counted through the blocks of one panel first. */
static fnn_block fnn_block_of(const fnn_product *g, size_t panels, size_t blocks, size_t stage)
{
    const size_t vectors = (g->n + FNN_VF - 1) / FNN_VF, panel = stage / blocks, block = stage % blocks;
    const size_t v = fnn_part(vectors, panels, panel), p = fnn_part(g->k, blocks, block);
    fnn_block q = {.j = v * FNN_VF, .vectors = fnn_part(vectors, panels, panel + 1) - v, .p = p,
                   .depth = fnn_part(g->k, blocks, block + 1) - p};
    q.width = q.vectors * FNN_VF < g->n - q.j ? q.vectors * FNN_VF : g->n - q.j;
    return q;
}

FNN_INLINE const float *fnn_block_data(const fnn_product *g, const fnn_block *q)
{
    return g->b_transposed ? g->b + q->j * g->ldb + q->p : g->b + q->p * g->ldb + q->j;
}

FNN_INLINE vt fnn_block_last(const fnn_block *q) { return vt_first(q->width - (q->vectors - 1) * FNN_VF); }

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

/* The same where B is stored transposed, [n, k]: squares of 16 x 16 turned in registers. */
static void fnn_pack_transposed(const fnn_product *g, const fnn_block *q, float *packed)
{
    const size_t ldp = q->vectors * FNN_VF;
    const float *b = fnn_block_data(g, q);
    for (size_t j0 = 0; j0 < q->width; j0 += FNN_VF) {
        const size_t width = q->width - j0 < FNN_VF ? q->width - j0 : FNN_VF;
        for (size_t p = 0; p < q->depth; p += FNN_VF) {
            const size_t depth = q->depth - p < FNN_VF ? q->depth - p : FNN_VF;
            const vt t = vt_first(depth);
            vf square[FNN_VF];
            FNN_UNROLL
            for (size_t j = 0; j < FNN_VF; j++)
                square[j] = j < width ? vf_load_t(b + (j0 + j) * g->ldb + p, t) : vf_zero();
            vf_transpose(square);
            FNN_UNROLL
            for (size_t r = 0; r < FNN_VF; r++)
                if (r < depth) vf_store(packed + (p + r) * ldp + j0, square[r]);
        }
    }
}

/* The epilogues, on a finished tile: rows i .. i+rows of C, columns j .. j+width; its elements are at c, ldc. */
static void fnn_finish_activation(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++) {
        float *row = c + r * ldc;
        if (g->z) memcpy(g->z + (i + r) * g->ldz + j, row, width * sizeof(float));
        fnn_activation_forward(g->activation, g->alpha, width, row, row);
    }
}

static void fnn_finish_derivative(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++) {
        float *row = c + r * ldc;
        fnn_activation_backward(g->activation, g->alpha, width, row, g->saved + (i + r) * g->ldsaved + j, row);
    }
}

static fnn_update_f32 *const fnn_update_rules_f32[FNN_UPDATE_RULES] = {
#define FNN_UPDATE(code, name, states) [code] = fnn_##name##_f32,
#include "../kernels.def"
#undef FNN_UPDATE
};

static void fnn_finish_update(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (i + r) * g->ldw + j;
        float *state[FNN_STATES];
        fnn_states_at(state, g->state, at);
        fnn_update_rules_f32[g->rule](width, g->scalars, g->w + at, c + r * ldc, state);
    }
}

/* The gradient of a penalty on the weights, added to a finished tile of theirs. */
static void fnn_finish_penalty(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    for (size_t r = 0; r < rows; r++)
        fnn_penalty_backward(width, g->l1, g->l2, g->penalized + (i + r) * g->ldw + j, c + r * ldc);
}

static void fnn_finish(const fnn_product *g, size_t i, size_t j, size_t rows, size_t width, float *c, size_t ldc)
{
    if (g->penalized) fnn_finish_penalty(g, i, j, rows, width, c, ldc);
    switch (g->epilogue) {
    case FNN_EPILOGUE_ACTIVATION: fnn_finish_activation(g, i, j, rows, width, c, ldc); break;
    case FNN_EPILOGUE_DERIVATIVE: fnn_finish_derivative(g, i, j, rows, width, c, ldc); break;
    case FNN_EPILOGUE_UPDATE: fnn_finish_update(g, i, j, rows, width, c, ldc); break;
    default: break;
    }
}

/* One row times B: every element of B is used once, so what counts is to read it as it lies. Panels are as wide as the
 * accumulators allow, in equal parts, and k runs through in one block. */
FNN_INLINE void fnn_row_panel(const int vectors, size_t k, const float *a, const float *b, size_t ldb, const float *start,
                              float *c, vt last)
{
    vf sum[FNN_ROW_NV];
    const float *ahead = b + FNN_ROW_AHEAD * ldb; /* one pointer for all vectors: of sums the compiler would keep one for each */
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const float *from = start ? start + v * FNN_VF : NULL;
        sum[v] = !start ? vf_zero() : v == vectors - 1 ? vf_load_t(from, last) : vf_load(from);
    }
    for (size_t p = 0; p < k; p++, b += ldb, ahead += ldb) {
        const vf element = vf_set1(a[p]);
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(ahead + v * FNN_VF);
            const vf row = v == vectors - 1 ? vf_load_t(b + v * FNN_VF, last) : vf_load(b + v * FNN_VF);
            sum[v] = vf_fma(element, row, sum[v]);
        }
    }
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        if (v == vectors - 1)
            vf_store_t(c + v * FNN_VF, sum[v], last);
        else
            vf_store(c + v * FNN_VF, sum[v]);
    }
}

static void fnn_gemm_row(const fnn_product *g)
{
    const size_t vectors = (g->n + FNN_VF - 1) / FNN_VF, panels = (vectors + FNN_ROW_NV - 1) / FNN_ROW_NV;
    /* Where a layer's columns are shared by a team, other CPUs have just written most of A and have read C last: all lines of
     * both are asked for at once, since the loop below would come upon them one after the other. */
    for (size_t p = 0; p < g->k; p += 16) __builtin_prefetch(g->a + p);
    for (size_t j = 0; j < g->n; j += 16) __builtin_prefetch(g->c + j, 1);
    for (size_t panel = 0, j = 0; panel < panels; panel++) {
        const size_t wide = vectors / panels + (panel < vectors % panels);
        const size_t width = wide * FNN_VF < g->n - j ? wide * FNN_VF : g->n - j;
        const vt last = vt_first(width - (wide - 1) * FNN_VF);
        const float *b = g->b + j, *start = g->accumulate ? g->c + j : g->bias ? g->bias + j : NULL;
        float *c = g->c + j;
        switch (wide) {
        case 1: fnn_row_panel(1, g->k, g->a, b, g->ldb, start, c, last); break;
        case 2: fnn_row_panel(2, g->k, g->a, b, g->ldb, start, c, last); break;
#if FNN_ROW_NV > 2
        case 3: fnn_row_panel(3, g->k, g->a, b, g->ldb, start, c, last); break;
        case 4: fnn_row_panel(4, g->k, g->a, b, g->ldb, start, c, last); break;
#endif
#if FNN_ROW_NV > 4
        case 5: fnn_row_panel(5, g->k, g->a, b, g->ldb, start, c, last); break;
        case 6: fnn_row_panel(6, g->k, g->a, b, g->ldb, start, c, last); break;
        case 7: fnn_row_panel(7, g->k, g->a, b, g->ldb, start, c, last); break;
        case 8: fnn_row_panel(8, g->k, g->a, b, g->ldb, start, c, last); break;
#endif
#if FNN_ROW_NV > 8
        case 9: fnn_row_panel(9, g->k, g->a, b, g->ldb, start, c, last); break;
        case 10: fnn_row_panel(10, g->k, g->a, b, g->ldb, start, c, last); break;
        case 11: fnn_row_panel(11, g->k, g->a, b, g->ldb, start, c, last); break;
        case 12: fnn_row_panel(12, g->k, g->a, b, g->ldb, start, c, last); break;
        case 13: fnn_row_panel(13, g->k, g->a, b, g->ldb, start, c, last); break;
        case 14: fnn_row_panel(14, g->k, g->a, b, g->ldb, start, c, last); break;
        case 15: fnn_row_panel(15, g->k, g->a, b, g->ldb, start, c, last); break;
        case 16: fnn_row_panel(16, g->k, g->a, b, g->ldb, start, c, last); break;
#endif
        }
        if (g->epilogue == FNN_EPILOGUE_ACTIVATION) fnn_finish_activation(g, 0, j, 1, width, c, g->ldc);
        if (g->epilogue == FNN_EPILOGUE_DERIVATIVE) fnn_finish_derivative(g, 0, j, 1, width, c, g->ldc);
        j += width;
    }
}

/* The gate of the tile at row i, column j. */
FNN_INLINE fnn_gate fnn_gate_of(const fnn_product *g, size_t i, size_t j)
{
    if (g->activation != FNN_RELU || g->z) return (fnn_gate){.kind = FNN_GATE_OPEN};
    if (g->epilogue == FNN_EPILOGUE_ACTIVATION) return (fnn_gate){.kind = FNN_GATE_RELU};
    if (g->epilogue == FNN_EPILOGUE_DERIVATIVE)
        return (fnn_gate){FNN_GATE_RELU_DERIVATIVE, g->saved + i * g->ldsaved + j, g->ldsaved};
    return (fnn_gate){.kind = FNN_GATE_OPEN};
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

#if FNN_INTERLEAVE
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
#endif

/* The most k in a block of B. */
FNN_INLINE size_t fnn_most_depth(const fnn_product *g, bool packed)
{
    if (!packed && !g->a_transposed) return 2 * FNN_LONG_K; /* what all tiles read then stays in the L2 cache */
    if (!g->scratch) return FNN_KC;
    if (g->epilogue != FNN_EPILOGUE_UPDATE) return FNN_LONG_K;
    const size_t half = g->k / 2 + 1; /* of an update at least two: in the last but one, weights are asked for */
    return half < FNN_LONG_K / 2 ? half : FNN_LONG_K / 2;
}

/* Whether the tiles of C are to be asked for, where tiles ask. */
FNN_INLINE bool fnn_asks_c(const fnn_product *g) { return g->m * g->n >= FNN_ASK_C; }

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
static void fnn_gemm_rows(const fnn_product *g, size_t i0, size_t i1, float *gradient, struct fnn_pending *pending)
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
    const bool asks_c = !update && fnn_asks_c(g);
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
#if FNN_INTERLEAVE
            if (update && final && pending) {
                fnn_pending_tile(g, pending, &q, i, rows, a, b, ldb, start);
                if (pieces && more) fnn_pack_piece(g, &next, tiles, tile, other);
                i += rows;
                continue;
            }
#endif
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

/* A product with W^T over few k, as dX = dY W^T of a layer with few outputs: what it does is to read and write large matrices. It
 * goes through them one row of tiles after the other, with all that it needs of W^T, or as many panels of it as find room, packed
 * before. Its tiles are too short to ask line by line for where the next one stores. */
#define FNN_SHALLOW_K 16

static bool fnn_may_go_by_row(const fnn_product *g)
{
    return g->b_transposed && !g->a_transposed && g->k > 0 && g->k <= FNN_SHALLOW_K && !g->bias;
}

static void fnn_gemm_by_row(const fnn_product *g)
{
    float packed[FNN_KC * FNN_NR] __attribute__((aligned(64)));
    const size_t tiles = fnn_row_tiles(g->m), panels = (g->n + FNN_NR - 1) / FNN_NR, most = FNN_KC / g->k;
    const bool asks_c = fnn_asks_c(g);
    for (size_t from = 0; from < panels; from += most) {
        const size_t upto = from + most < panels ? from + most : panels;
        for (size_t panel = from; panel < upto; panel++) {
            const fnn_block q = fnn_block_of(g, panels, 1, panel);
            fnn_pack_transposed(g, &q, packed + (panel - from) * g->k * FNN_NR);
        }
        for (size_t tile = 0, i = 0; tile < tiles; tile++) {
            const size_t rows = g->m / tiles + (tile < g->m % tiles);
            for (size_t panel = from; panel < upto; panel++) {
                const fnn_block q = fnn_block_of(g, panels, 1, panel);
                const fnn_gate gate = fnn_gate_of(g, i, q.j);
                float *c = g->c + i * g->ldc + q.j;
                if (asks_c && panel + 1 < upto) {
                    const fnn_far next = fnn_far_tile(c + q.width, rows, q.width, g->ldc);
                    fnn_ask_to_write(&next);
                }
                fnn_tiles[0][q.vectors - 1][rows - 1](g->k, g->a + i * g->lda, g->lda, packed + (panel - from) * g->k * FNN_NR,
                                                      q.vectors * FNN_VF, g->accumulate ? c : NULL, g->ldc, c, g->ldc,
                                                      fnn_block_last(&q), &gate, NULL);
                if (gate.kind == FNN_GATE_OPEN) fnn_finish(g, i, q.j, rows, q.width, c, g->ldc);
            }
            i += rows;
        }
    }
}

/* dW = X^T dY with fewer columns than a vector has lanes: the transpose, dY^T X, fills the lanes. It is turned as it is done,
 * and w, which has no other columns, updated as one array. */
static bool fnn_may_turn(const fnn_product *g)
{
    if (!g->a_transposed || g->n >= FNN_VF) return false;
    return g->epilogue == FNN_EPILOGUE_UPDATE ? g->ldw == g->n : !g->accumulate && !g->penalized;
}

#define FNN_TURNED (2 * FNN_NR > 64 ? 2 * FNN_NR : 64) /* rows of C at a time */

/* C [rows, n], n up to 16, from its transpose, whose rows are FNN_TURNED apart. */
static void fnn_turn_back(size_t rows, size_t n, const float *turned, float *c, size_t ldc)
{
    const vt t = vt_first(n);
    for (size_t r = 0; r < rows; r += FNN_VF) {
        vf block[FNN_VF];
        for (size_t j = 0; j < FNN_VF; j++) block[j] = j < n ? vf_load(turned + j * FNN_TURNED + r) : vf_zero();
        vf_transpose(block);
        for (size_t j = 0; j < FNN_VF && r + j < rows; j++) vf_store_t(c + (r + j) * ldc, block[j], t);
    }
}

static void fnn_gemm_turned(const fnn_product *g)
{
    float turned[FNN_VF * FNN_TURNED] __attribute__((aligned(64))), gradient[FNN_VF * (FNN_TURNED + 1)];
    const bool update = g->epilogue == FNN_EPILOGUE_UPDATE;
    for (size_t i = 0; i < g->m; i += FNN_TURNED) {
        const size_t rows = g->m - i < FNN_TURNED ? g->m - i : FNN_TURNED;
        float *dw = update ? gradient : g->c + i * g->ldc;
        const size_t lddw = update ? g->n : g->ldc;
        fnn_gemm_rows(&(fnn_product){.m = g->n, .n = rows, .k = g->k, .a = g->b, .lda = g->ldb, .a_transposed = true,
                                     .b = g->a + i, .ldb = g->lda, .c = turned, .ldc = FNN_TURNED},
                      0, g->n, NULL, NULL);
        fnn_turn_back(rows, g->n, turned, dw, lddw);
        if (!update) continue;
        if (g->penalized) fnn_finish_penalty(g, 0, i * g->n, 1, rows * g->n, gradient, 0);
        fnn_finish_update(g, 0, i * g->n, 1, rows * g->n, gradient, 0);
    }
}

/* Y = bias + X W with very few columns: Y^T = W^T X^T in the same way. X must be transposed for it, which pays for this few. */
#define FNN_TURNED_COLUMNS 4

static bool fnn_may_turn_forward(const fnn_product *g)
{
    return !g->a_transposed && !g->b_transposed && !g->accumulate && g->n <= FNN_TURNED_COLUMNS && g->m >= FNN_VF &&
           (g->epilogue == FNN_EPILOGUE_NONE || g->epilogue == FNN_EPILOGUE_ACTIVATION);
}

static void fnn_gemm_turned_forward(const fnn_product *g)
{
    float turned[FNN_TURNED_COLUMNS * FNN_TURNED] __attribute__((aligned(64)));
    for (size_t i = 0; i < g->m; i += FNN_TURNED) {
        const size_t rows = g->m - i < FNN_TURNED ? g->m - i : FNN_TURNED;
        for (size_t j = 0; j < g->n; j++)
            for (size_t r = 0; r < FNN_TURNED; r += FNN_VF)
                vf_store(turned + j * FNN_TURNED + r, g->bias ? vf_set1(g->bias[j]) : vf_zero());
        fnn_gemm_rows(&(fnn_product){.m = g->n, .n = rows, .k = g->k, .a = g->b, .lda = g->ldb, .a_transposed = true,
                                     .b = g->a + i * g->lda, .ldb = g->lda, .b_transposed = true, .accumulate = true,
                                     .c = turned, .ldc = FNN_TURNED},
                      0, g->n, NULL, NULL);
        float *y = g->c + i * g->ldc;
        fnn_turn_back(rows, g->n, turned, y, g->ldc);
        if (g->epilogue == FNN_EPILOGUE_ACTIVATION) fnn_finish_activation(g, i, 0, rows, g->n, y, g->ldc);
    }
}

#if FNN_INTERLEAVE
/* The update of Adam or AdamW with no other option. */
static bool fnn_may_interleave(const fnn_product *g)
{
    return g->rule == FNN_ADAM && !g->penalized &&
           (g->scalars->options & ~(unsigned)FNN_DECAY) == 0;
}
#endif

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
static void fnn_gemm_deep(const fnn_product *g, struct fnn_pending *pending)
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
        fnn_gemm_rows(&q, 0, m, gradient, pending);
    }
}

static void fnn_gemm(const fnn_product *g)
{
    if (fnn_may_turn(g)) {
        fnn_gemm_turned(g);
        return;
    }
    if (g->epilogue != FNN_EPILOGUE_UPDATE) {
        if (g->m == 1 && !g->a_transposed && !g->b_transposed)
            fnn_gemm_row(g);
        else if (fnn_may_turn_forward(g))
            fnn_gemm_turned_forward(g);
        else if (fnn_may_go_by_row(g))
            fnn_gemm_by_row(g);
        else
            fnn_gemm_rows(g, 0, g->m, NULL, NULL);
        return;
    }
    struct fnn_pending *pending = NULL;
#if FNN_INTERLEAVE
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
#endif
    if (g->scratch) {
        fnn_gemm_deep(g, pending);
    } else {
        float gradient[FNN_UPDATE_ROWS * FNN_NR] __attribute__((aligned(64)));
        const size_t groups = fnn_groups(g->m, FNN_UPDATE_ROWS);
        for (size_t group = 0; group < groups; group++)
            fnn_gemm_rows(g, fnn_group_begin(g->m, groups, group), fnn_group_begin(g->m, groups, group + 1), gradient, pending);
    }
#if FNN_INTERLEAVE
    if (pending) fnn_pending_finish(pending);
#endif
}

#endif
