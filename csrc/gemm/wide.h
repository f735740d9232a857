/* Products and updates by tiles of 6 rows x 4 registers, for 32 registers of 64 bytes (AVX-512).
 *
 * Panels of C are 4 registers wide, equal to within a vector (100 columns of floats: 64 + 36); tiles have 6 rows, or 12 where C is
 * one vector wide, equal to within a row. Blocks of B have some KC of k, and the L2 cache serves them. A is not packed, except for
 * an update over many k: tiles broadcast single elements of it. B is packed where it must be transposed, or where its rows are
 * used often and lie far apart (TLB, set conflicts). A tile prefetches what the tiles after it need from beyond the L2 cache, and
 * Adam's update of a tile is done between the steps of the next one's product. */
#ifndef FNN_GEMM_WIDE_H
#define FNN_GEMM_WIDE_H

#include "pack.h"
#include "pipelined_update.h"

#define FNN_KC 144               /* k in a block of B that is packed on the stack, 36 KB; in scratch FNN_KC_SCRATCH */
#define FNN_PACK_TILES 32        /* pack B from a row length of FNN_PACK_LD on if at least this many tiles of rows use it, ... */
#define FNN_PACK_PAGES 16        /* ... or this many where its rows are whole pages, and so lie in few sets of the caches, ... */
#define FNN_PACK_TILES_LARGE_K 8 /* ... or this many in an update over more than FNN_KC_SCRATCH, whose B the L2 cache does not hold */
#define FNN_PREFETCH_K 400       /* over so many k, or with scratch, tiles prefetch what the next one needs if B is packed ... */
#define FNN_PREFETCH_TILES 16    /* ... or there are so many tiles */
#define FNN_UPDATE_ROWS 96       /* an update goes through all columns of so many rows of w: their pages stay in the TLB */

#define FNN_PREFETCH_STEPS 2     /* steps of k between two lines; in FNN_LINE, a line of A, each of FNN_MR rows of A once */
#define FNN_PREFETCH_A 192       /* k of the next tile's A: what follows in its rows the hardware fetches by itself */

/* One tile over one block of k: C = start + A B, through the epilogue. */
FNN_INLINE void fnn_tile(const int rows, const int vectors, const bool a_transposed, size_t k, const real *a,
                         size_t lda, const real *b, size_t ldb, const real *start, size_t start_ld, real *c,
                         size_t ldc, vt last, const fnn_tile_epilogue *epilogue, const fnn_prefetch_list *ahead)
{
    vr sum[FNN_MR_NARROW][FNN_NV];
    fnn_prefetch_cursor cursor = {0};
    fnn_tile_start(rows, vectors, false, sum, start, start_ld, last);
    if (ahead) {
        for (size_t p = 0; k >= FNN_LINE && (p < FNN_PREFETCH_A || cursor.region < FNN_PREFETCH_REGIONS);
             k -= FNN_LINE, p += FNN_LINE) {
            const real *near = ahead->a + p;
            FNN_ROLLED
            for (int i = 0; i < FNN_LINE / FNN_PREFETCH_STEPS; i++) {
                if (!a_transposed && i < rows && i < FNN_MR && p < FNN_PREFETCH_A) {
                    __builtin_prefetch(near);
                    near += lda;
                } else {
                    fnn_prefetch_next_line(ahead, &cursor);
                }
                FNN_UNROLL
                for (int step = 0; step < FNN_PREFETCH_STEPS; step++) {
                    fnn_tile_step(rows, vectors, false, a_transposed, sum, a, lda, b, NULL, last);
                    a += a_transposed ? lda : 1;
                    b += ldb;
                }
            }
        }
        while (cursor.region < FNN_PREFETCH_REGIONS) fnn_prefetch_next_line(ahead, &cursor);
    }
    for (; k > 0; k--) {
        fnn_tile_step(rows, vectors, false, a_transposed, sum, a, lda, b, NULL, last);
        a += a_transposed ? lda : 1;
        b += ldb;
    }
    fnn_tile_apply(rows, vectors, false, sum, epilogue, last);
    fnn_tile_store(rows, vectors, false, sum, c, ldc, last);
}

typedef void fnn_tile_fn(size_t k, const real *a, size_t lda, const real *b, size_t ldb, const real *start,
                         size_t start_ld, real *c, size_t ldc, vt last, const fnn_tile_epilogue *epilogue, const fnn_prefetch_list *ahead);

#define FNN_TILE(rows, vectors, transposed)                                                                         \
    static void fnn_tile_##rows##_##vectors##_##transposed(size_t k, const real *a, size_t lda, const real *b,    \
                                                           size_t ldb, const real *start, size_t start_ld,         \
                                                           real *c, size_t ldc, vt last, const fnn_tile_epilogue *epilogue,     \
                                                           const fnn_prefetch_list *ahead)                                  \
    {                                                                                                               \
        fnn_tile(rows, vectors, transposed, k, a, lda, b, ldb, start, start_ld, c, ldc, last, epilogue, ahead);         \
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
static fnn_tile_fn *const fnn_narrow_tiles[FNN_MR_NARROW - FNN_MR] = {fnn_tile_7_1_0,  fnn_tile_8_1_0,  fnn_tile_9_1_0,
                                                               fnn_tile_10_1_0, fnn_tile_11_1_0, fnn_tile_12_1_0};

FNN_INLINE fnn_tile_fn *fnn_tile_of(bool a_transposed, size_t vectors, size_t rows)
{
    if (rows > FNN_MR) return fnn_narrow_tiles[rows - FNN_MR - 1];
    return fnn_tiles[a_transposed][vectors - 1][rows - 1];
}

/* The most k in a block of B. */
FNN_INLINE size_t fnn_max_depth(const fnn_product *g, bool packed)
{
    if (!packed && !g->a_transposed) return 2 * FNN_KC_SCRATCH; /* what all tiles read then stays in the L2 cache */
    if (!g->scratch) return FNN_KC;
    if (g->epilogue != FNN_EPILOGUE_UPDATE) return FNN_KC_SCRATCH;
    const size_t half = g->k / 2 + 1; /* of an update at least two: in the last but one, weights are prefetched */
    return half < FNN_KC_SCRATCH / 2 ? half : FNN_KC_SCRATCH / 2;
}

/* The rows [i0, i1) of the product, all columns. An update needs room for gradients, [i1 - i0, FNN_NR]; its last tile is left in
 * `deferred`, if that is not NULL. */
static void fnn_gemm_range(const fnn_product *g, size_t i0, size_t i1, real *gradient, fnn_deferred_update *deferred)
{
    real little[FNN_KC * FNN_NR] __attribute__((aligned(64))), *packed = g->scratch ? g->scratch : little;
    const bool update = g->epilogue == FNN_EPILOGUE_UPDATE;
    const size_t max_rows = g->n <= FNN_LANES && !g->a_transposed ? FNN_MR_NARROW : FNN_MR;
    const size_t m = i1 - i0, tiles = (m + max_rows - 1) / max_rows, panels = (g->n + FNN_NR - 1) / FNN_NR;
    const size_t many = g->ldb % (4096 / sizeof(real)) == 0 ? FNN_PACK_PAGES : FNN_PACK_TILES;
    const size_t worth = update && g->k > FNN_KC_SCRATCH ? FNN_PACK_TILES_LARGE_K : many;
    const bool pack = g->b_transposed || ((!update || g->k > FNN_UPDATE_DEPTH) && g->ldb >= FNN_PACK_LD && tiles >= worth);
    const size_t max = fnn_max_depth(g, pack), blocks = g->k == 0 ? 1 : (g->k + max - 1) / max;
    const bool long_k = (g->scratch || g->k >= FNN_PREFETCH_K) && (pack || (!g->a_transposed && tiles >= FNN_PREFETCH_TILES));
    /* With room for two blocks each tile packs a piece of the next one, which it has prefetched. Of a whole block, prefetched at
     * once, the caches keep only a part if its rows lie a power of two apart. */
    const bool pieces = pack && g->scratch && !g->b_transposed;
    const bool prefetches_c = !update && g->m * g->n >= FNN_LARGE_C;
    const size_t each = m / tiles, odd = m % tiles;
    real *other = pieces ? packed + max * FNN_NR : NULL; /* the next block */

    for (size_t stage = 0; stage < panels * blocks; stage++) {
        const fnn_block q = fnn_block_of(g, panels, blocks, stage);
        const bool first = stage % blocks == 0, final = (stage + 1) % blocks == 0, more = stage + 1 < panels * blocks;
        const bool weights = update && (deferred ? (stage + 2) % blocks == 0 : final); /* prefetched, before they are updated */
        const bool prefetches = long_k || weights;
        const fnn_block next = more ? fnn_block_of(g, panels, blocks, stage + 1) : q;
        fnn_prefetch_plan prefetch = {.block = q, .next = next, .more = more, .i0 = i0, .tiles = tiles, .c = prefetches_c,
                             .saved = final && g->epilogue == FNN_EPILOGUE_DERIVATIVE, .packed = pack && more, .update = weights,
                             .after = pieces && weights && deferred && stage + 2 < panels * blocks};
        if (prefetch.after) prefetch.second = fnn_block_of(g, panels, blocks, stage + 2);
        const vt last = fnn_block_last(&q);
        const real *b = fnn_block_data(g, &q);
        size_t ldb = g->ldb;
        if (pack) {
            if (g->b_transposed)
                fnn_pack_transposed(g, &q, packed);
            else if (!pieces || stage == 0)
                fnn_pack(g, &q, 0, q.depth, packed);
            b = packed;
            ldb = q.vectors * FNN_LANES;
        }
        const bool finish = final && fnn_tiles_need_finish(g);
        fnn_tile_epilogue epilogue = {.kind = final ? fnn_tile_epilogue_of(g) : FNN_TILE_EPILOGUE_NONE, .ldsaved = g->ldsaved};
        for (size_t tile = 0, i = i0; tile < tiles; tile++) {
            const size_t rows = each + (tile < odd), ldc = update ? FNN_NR : g->ldc;
            real *c = update ? gradient + (i - i0) * ldc : g->c + i * g->ldc + q.j;
            const bool resume = !first || g->accumulate;
            const real *start = resume ? c : g->bias ? g->bias + q.j : NULL;
            const real *a = g->a_transposed ? g->a + q.p * g->lda + i : g->a + i * g->lda + q.p;
            if (update && final && deferred) {
                fnn_deferred_update_tile(g, deferred, &q, i, rows, a, b, ldb, start);
                if (pieces && more) fnn_pack_piece(g, &next, tiles, tile, other);
                i += rows;
                continue;
            }
            fnn_prefetch_list ahead;
            if (prefetches) fnn_prefetch_list_of(g, &prefetch, tile, i, rows, &ahead);
            fnn_tile_epilogue_at(&epilogue, g, i, q.j);
            fnn_tile_of(g->a_transposed, q.vectors, rows)(q.depth, a, g->lda, b, ldb, start, resume ? ldc : 0, c, ldc, last, &epilogue,
                                                          prefetches ? &ahead : NULL);
            if (finish) fnn_finish(g, i, q.j, rows, q.width, c, ldc);
            if (pieces && more) fnn_pack_piece(g, &next, tiles, tile, other);
            i += rows;
        }
        if (pieces) {
            real *done = packed;
            packed = other;
            other = done;
        }
    }
}

/* The rows of an update go in groups of at most `max`. Cut between tiles that are equal over all rows, they have no more tiles
 * than those; each group for itself would have one that is partly empty. */
FNN_INLINE size_t fnn_groups(size_t m, size_t max) { return (fnn_row_tiles(m) + max / FNN_MR - 1) / (max / FNN_MR); }
FNN_INLINE size_t fnn_group_begin(size_t m, size_t groups, size_t group)
{
    const size_t tiles = fnn_row_tiles(m);
    return fnn_part(m, tiles, fnn_part(tiles, groups, group));
}

/* An update over many k: the columns of A that a group of rows needs lie a row of A apart, each on a page of its own. They
 * are copied together once, and the group is large, for B, where it is packed, is packed anew for each. */
static void fnn_gemm_large_k(const fnn_product *g, fnn_deferred_update *deferred)
{
    const size_t max = fnn_large_k_rows(g->k), groups = fnn_groups(g->m, max);
    real *gradient = g->scratch + FNN_PACKED_ROOM, *columns = gradient + max * FNN_NR;
    for (size_t group = 0; group < groups; group++) {
        const size_t i0 = fnn_group_begin(g->m, groups, group), m = fnn_group_begin(g->m, groups, group + 1) - i0;
        fnn_product q = *g;
        for (size_t p = 0; p < g->k; p++) memcpy(columns + p * m, g->a + p * g->lda + i0, m * sizeof(real));
        q.a = columns;
        q.lda = m;
        q.m = m;
        q.w += i0 * g->ldw;
        fnn_states_at(q.state, g->state, i0 * g->ldw);
        if (q.penalized) q.penalized += i0 * g->ldw;
        fnn_gemm_range(&q, 0, m, gradient, deferred);
    }
}

FNN_INLINE void fnn_gemm_tile(size_t rows, size_t vectors, size_t k, const real *a, size_t lda, const real *b, size_t ldb,
                              const real *start, size_t start_ld, real *c, size_t ldc, vt last, const fnn_tile_epilogue *epilogue)
{
    fnn_tiles[0][vectors - 1][rows - 1](k, a, lda, b, ldb, start, start_ld, c, ldc, last, epilogue, NULL);
}

static void fnn_gemm_rows(const fnn_product *g) { fnn_gemm_range(g, 0, g->m, NULL, NULL); }

static void fnn_gemm_update(const fnn_product *g)
{
    fnn_product shallow = *g;
    fnn_deferred_update *deferred = NULL;
    fnn_scalars scalars;
    fnn_deferred_update room __attribute__((aligned(64)));
    if (fnn_may_interleave(g)) {
        scalars = fnn_splat(g->scalars);
        room.s = &scalars;
        room.decay = g->scalars->options & FNN_DECAY;
        room.rows = room.vectors = 0;
        room.turn = 0;
        deferred = &room;
    }
    if (g->scratch && g->large_k) {
        fnn_gemm_large_k(g, deferred);
    } else {
        shallow.scratch = NULL;
        real gradient[FNN_UPDATE_ROWS * FNN_NR] __attribute__((aligned(64)));
        const size_t groups = fnn_groups(g->m, FNN_UPDATE_ROWS);
        for (size_t group = 0; group < groups; group++)
            fnn_gemm_range(&shallow, fnn_group_begin(g->m, groups, group), fnn_group_begin(g->m, groups, group + 1), gradient, deferred);
    }
    if (deferred) fnn_deferred_update_finish(deferred);
}

#endif
