/* Products and updates by tiles of at most 6 rows x 64 bytes, for registers of 32 bytes or fewer (AVX2, NEON, generic).
 *
 * The five loops of Goto & van de Geijn 2008, for matrices of which one or two dimensions are small: groups of rows, blocks of k,
 * panels of 64 bytes of columns, tiles of rows, k. A block of B of one panel comes from the L2 cache, packed, as fast as tiles
 * read it, and is long, so that few tiles begin and end. Where B's rows lie apart, the panel's first tile packs the block while it
 * computes with it, and the others prefetch the next panel's.
 * An update goes through W in the order in which it lies in memory. */
#ifndef FNN_GEMM_NARROW_H
#define FNN_GEMM_NARROW_H

#include "epilogues.h"
#include "pack.h"
#include "prefetch.h"

#define FNN_KC 1056            /* k in a block of B: 66 KB, which the L2 cache serves as fast as tiles read it */
#define FNN_GROUP_ROWS 1024    /* rows of a group of a product */
#define FNN_AHEAD_STEPS 4      /* steps of k between two lines that a tile prefetches */
#define FNN_PACK_TILES 4       /* B is packed if at least so many tiles use it, ... */
#define FNN_PACK_B_LD 256      /* ... and its rows are so long, or not whole lines of the caches, or more of a panel's rows than */
#define FNN_PACK_B_SETS 65536  /* half of the L2 cache's ways lie in the same sets: k times the power of two in their length */

#define FNN_FAR_B_LD 512       /* B is far if its rows are so long, it is so large, and so many tiles use it: */
#define FNN_FAR_B_BYTES (1 << 18)
#define FNN_FAR_B_TILES 12
#define FNN_FAR_B_PANELS 4     /* panels that are packed together, ... */
#define FNN_FAR_B_KC 528       /* ... over so many k: twice 132 KB of the L2 cache, and C is seldom read and written again */
#define FNN_FAR_B_ROOM (FNN_FAR_B_PANELS * FNN_FAR_B_KC * FNN_NR)

/* What a tile is given. B is [k, vectors * FNN_VR], of which the last register may have fewer lanes. */
typedef struct fnn_tile_task {
    size_t k;
    const real *a;
    size_t lda;
    const real *b;
    size_t ldb;
    real *packed; /* where B is packed, in rows of FNN_NR, by tiles that pack */
    const real *start;
    size_t start_ld;
    real *c;
    size_t ldc;
    vt last;
    fnn_tile_epilogue epilogue;
    const real *ahead; /* rows of B that a tile prefetches to the L2 cache, if it does not pack, one in FNN_AHEAD_STEPS of k */
    size_t ldahead, ahead_rows;
} fnn_tile_task;

/* C = start + A B over one block of k, through the epilogue. */
FNN_INLINE void fnn_tile(const int rows, const int vectors, const bool a_transposed, const bool packs, const fnn_tile_task *t)
{
    vr sum[FNN_MR_NARROW][FNN_NV];
    const bool whole = vt_count(t->last) == FNN_VR;
    const size_t masked = fnn_tile_masked_steps(t->k, t->ldb, t->last), lda = t->lda, ldb = t->ldb;
    const real *a = t->a, *b = t->b;
    real *packed = t->packed;
    if (whole)
        fnn_tile_start(rows, vectors, true, sum, t->start, t->start_ld, t->last);
    else
        fnn_tile_start(rows, vectors, false, sum, t->start, t->start_ld, t->last);
    size_t k = t->k - masked;
    if (!packs) {
        const real *ahead = t->ahead;
        for (size_t r = t->ahead_rows; r > 0 && k >= FNN_AHEAD_STEPS; r--, k -= FNN_AHEAD_STEPS, ahead += t->ldahead) {
            __builtin_prefetch(ahead, 0, 2);
            FNN_ROLLED for (int step = 0; step < FNN_AHEAD_STEPS; step++) {
                fnn_tile_step(rows, vectors, true, a_transposed, sum, a, lda, b, NULL, t->last);
                a += a_transposed ? lda : 1;
                b += ldb;
            }
        }
    }
    for (; k > 0; k--) {
        if (packs) __builtin_prefetch(b + FNN_ROWS_OF_B_AHEAD * ldb);
        fnn_tile_step(rows, vectors, true, a_transposed, sum, a, lda, b, packs ? packed : NULL, t->last);
        a += a_transposed ? lda : 1;
        b += ldb;
        if (packs) packed += FNN_NR;
    }
    for (k = masked; k > 0; k--) {
        fnn_tile_step(rows, vectors, false, a_transposed, sum, a, lda, b, packs ? packed : NULL, t->last);
        a += a_transposed ? lda : 1;
        b += ldb;
        if (packs) packed += FNN_NR;
    }
    if (whole) {
        fnn_tile_apply(rows, vectors, true, sum, &t->epilogue, t->last);
        fnn_tile_store(rows, vectors, true, sum, t->c, t->ldc, t->last);
    } else {
        fnn_tile_apply(rows, vectors, false, sum, &t->epilogue, t->last);
        fnn_tile_store(rows, vectors, false, sum, t->c, t->ldc, t->last);
    }
}

typedef void fnn_tile_fn(const fnn_tile_task *t);

/* The tiles: for A as it lies and transposed, plain and packing, by registers in a row and by rows. */
#define FNN_TILE(rows, vectors, transposed, packs)                                                          \
    static void fnn_tile_##rows##_##vectors##_##transposed##_##packs(const fnn_tile_task *t)                \
    {                                                                                                       \
        fnn_tile(rows, vectors, transposed, packs, t);                                                      \
    }
#define FNN_TILE_ROWS(f, v, t, p) f(1, v, t, p) f(2, v, t, p) f(3, v, t, p) f(4, v, t, p) f(5, v, t, p) f(6, v, t, p)
#define FNN_TILES_NARROW(f, t, p) \
    FNN_TILE_ROWS(f, 1, t, p) f(7, 1, t, p) f(8, 1, t, p) f(9, 1, t, p) f(10, 1, t, p) f(11, 1, t, p) f(12, 1, t, p)
#if FNN_NV == 4
#define FNN_TILES(f, t, p) \
    FNN_TILE_ROWS(f, 4, t, p) FNN_TILE_ROWS(f, 3, t, p) FNN_TILE_ROWS(f, 2, t, p) FNN_TILES_NARROW(f, t, p)
#elif FNN_NV == 2
#define FNN_TILES(f, t, p) FNN_TILE_ROWS(f, 2, t, p) FNN_TILES_NARROW(f, t, p)
#else
#define FNN_TILES(f, t, p) f(1, 1, t, p) f(2, 1, t, p)
#endif
FNN_TILES(FNN_TILE, 0, 0) FNN_TILES(FNN_TILE, 0, 1) FNN_TILES(FNN_TILE, 1, 0) FNN_TILES(FNN_TILE, 1, 1)

#define FNN_TILE_ENTRY(rows, vectors, transposed, packs) \
    [transposed][packs][vectors - 1][rows - 1] = fnn_tile_##rows##_##vectors##_##transposed##_##packs,
static fnn_tile_fn *const fnn_tiles[2][2][FNN_NV][FNN_MR_NARROW] = {FNN_TILES(FNN_TILE_ENTRY, 0, 0) FNN_TILES(FNN_TILE_ENTRY, 0, 1)
                                                                   FNN_TILES(FNN_TILE_ENTRY, 1, 0) FNN_TILES(FNN_TILE_ENTRY, 1, 1)};

FNN_INLINE void fnn_gemm_tile(size_t rows, size_t vectors, size_t k, const real *a, size_t lda, const real *b, size_t ldb,
                              const real *start, size_t start_ld, real *c, size_t ldc, vt last, const fnn_tile_epilogue *epilogue)
{
    const fnn_tile_task t = {.k = k, .a = a, .lda = lda, .b = b, .ldb = ldb, .start = start, .start_ld = start_ld, .c = c,
                             .ldc = ldc, .last = last, .epilogue = *epilogue};
    fnn_tiles[0][0][vectors - 1][rows - 1](&t);
}

/* What the tile number `tile` of `tiles` prefetches of the next block of B: its part of the rows of k, or where B is transposed one
 * of the n rows, line after line. The first tile does not, since it may pack. */
FNN_INLINE void fnn_tile_looks_ahead(fnn_tile_task *t, const fnn_product *g, const fnn_block *next, size_t tiles, size_t tile)
{
    t->ahead_rows = 0;
    if (!next || tile == 0) return;
    const size_t rows = g->b_transposed ? next->width : next->depth;
    const size_t from = fnn_part(rows, tiles - 1, tile - 1), end = fnn_part(rows, tiles - 1, tile);
    t->ahead = fnn_block_data(g, next) + from * g->ldb;
    t->ldahead = g->b_transposed ? FNN_LINE : g->ldb;
    t->ahead_rows = g->b_transposed && end > from ? (next->depth + FNN_LINE - 1) / FNN_LINE : end - from;
}

/* One block of k of one panel, for the m rows from i on. */
typedef struct fnn_block_task {
    fnn_block block;
    bool first, final;       /* of its panel */
    size_t i, m;
    const real *a;
    size_t lda;
    bool strips;             /* a: strips of all k */
    const real *b;
    size_t ldb;
    real *pack;             /* where the first tile packs it, or NULL */
    const fnn_block *next;   /* the block to be prefetched meanwhile, or NULL */
    real *c;
    size_t ldc;
} fnn_block_task;

static void fnn_gemm_block(const fnn_product *g, const fnn_block_task *o)
{
    const fnn_block *q = &o->block;
    const bool resume = !o->first || g->accumulate, update = g->epilogue == FNN_EPILOGUE_UPDATE;
    const size_t max = q->vectors == 1 && !o->strips ? FNN_MR_NARROW : FNN_MR, tiles = (o->m + max - 1) / max;
    const size_t each = o->m / tiles, more = o->m % tiles;
    const bool finish = o->final && !update && fnn_tiles_need_finish(g), prefetches_c = !update && g->m * g->n >= FNN_LARGE_C;
    fnn_tile_task t = {.k = q->depth, .a = o->a, .lda = o->lda, .b = o->b, .ldb = o->ldb, .packed = o->pack,
                       .start = resume ? o->c : g->bias ? g->bias + q->j : NULL, .start_ld = resume ? o->ldc : 0, .c = o->c,
                       .ldc = o->ldc, .last = fnn_block_last(q),
                       .epilogue = {.kind = o->final ? fnn_tile_epilogue_of(g) : FNN_TILE_EPILOGUE_NONE, .ldsaved = g->ldsaved}};
    for (size_t tile = 0, r = 0; tile < tiles; tile++) {
        const size_t rows = each + (tile < more), i = o->i + r;
        if (o->strips) {
            t.a = o->a + r * g->k + q->p * rows;
            t.lda = rows;
        }
        if (prefetches_c && tile + 1 < tiles) fnn_prefetch_to_write(t.c + rows * t.ldc, rows, 1, t.ldc);
        fnn_tile_looks_ahead(&t, g, o->next, tiles, tile);
        fnn_tile_epilogue_at(&t.epilogue, g, i, q->j);
        fnn_tiles[g->a_transposed][t.packed != NULL][q->vectors - 1][rows - 1](&t);
        if (t.packed) {
            t.b = t.packed;
            t.ldb = FNN_NR;
            t.packed = NULL;
        }
        if (finish) fnn_finish(g, i, q->j, rows, q->width, t.c, t.ldc);
        t.a += g->a_transposed ? rows : rows * t.lda;
        t.c += rows * t.ldc;
        if (resume) t.start = t.c;
        r += rows;
    }
}

static bool fnn_has_far_b(const fnn_product *g)
{
    return !g->b_transposed && g->ldb >= FNN_FAR_B_LD && g->n * g->k * sizeof(real) >= FNN_FAR_B_BYTES &&
           g->n > FNN_NR && g->m > (FNN_FAR_B_TILES - 1) * FNN_MR;
}

/* The blocks of B in one stage of such a product: the panels of one part that are packed together, over one block of k. */
typedef struct fnn_far_stage {
    fnn_block q[FNN_FAR_B_PANELS];
    size_t panels;
    bool first, final; /* of the part's blocks */
} fnn_far_stage;

static fnn_far_stage fnn_far_stage_of(const fnn_product *g, size_t stage, size_t parts, size_t blocks)
{
    const size_t panels = (g->n + FNN_NR - 1) / FNN_NR, part = stage / blocks, block = stage % blocks;
    const size_t from = fnn_part(panels, parts, part), end = fnn_part(panels, parts, part + 1);
    fnn_far_stage s = {.panels = end - from, .first = block == 0, .final = block + 1 == blocks};
    for (size_t panel = from; panel < end; panel++) s.q[panel - from] = fnn_block_of(g, panels, blocks, panel * blocks + block);
    return s;
}

/* A product whose B is far from the CPU, as long rows of it: several panels are packed together, whole lines of B that lie one
 * after the other, since of one panel's lines alone each is on a page of its own, and rows a power of two apart share a few sets of
 * the caches. Each tile of A, near once it has been read, then meets all of them. Each also brings near, and then packs, a few rows
 * of what is to be packed next, so that nobody waits for memory. */
static void fnn_gemm_far_b(const fnn_product *g)
{
    real room[2][FNN_FAR_B_ROOM] __attribute__((aligned(64)));
    const size_t panels = (g->n + FNN_NR - 1) / FNN_NR, tiles = fnn_row_tiles(g->m);
    const size_t blocks = (g->k + FNN_FAR_B_KC - 1) / FNN_FAR_B_KC, parts = (panels + FNN_FAR_B_PANELS - 1) / FNN_FAR_B_PANELS;
    fnn_far_stage now, next = fnn_far_stage_of(g, 0, parts, blocks);
    fnn_pack_panels(g, next.q, next.panels, 0, next.q[0].depth, room[0]);
    for (size_t stage = 0; stage < parts * blocks; stage++) {
        const real *packed = room[stage % 2];
        const bool more = stage + 1 < parts * blocks;
        now = next;
        if (more) next = fnn_far_stage_of(g, stage + 1, parts, blocks);
        const bool resume = !now.first || g->accumulate;
        const size_t depth = now.q[0].depth, last = now.panels - 1;
        const bool finish = now.final && fnn_tiles_need_finish(g);
        const fnn_tile_epilogue_kind epilogue = now.final ? fnn_tile_epilogue_of(g) : FNN_TILE_EPILOGUE_NONE;
        for (size_t tile = 0, i = 0; tile < tiles; tile++) {
            const size_t rows = g->m / tiles + (tile < g->m % tiles);
            const size_t from = fnn_part(next.q[0].depth, tiles, tile), end = fnn_part(next.q[0].depth, tiles, tile + 1);
            const real *a = g->a_transposed ? g->a + now.q[0].p * g->lda + i : g->a + i * g->lda + now.q[0].p;
            for (size_t panel = 0; panel <= last; panel++) {
                const size_t j = now.q[panel].j, width = now.q[panel].width;
                real *c = g->c + i * g->ldc + j;
                fnn_tile_task t = {.k = depth, .a = a, .lda = g->lda, .b = packed + panel * depth * FNN_NR, .ldb = FNN_NR,
                                   .start = resume ? c : g->bias ? g->bias + j : NULL, .start_ld = resume ? g->ldc : 0, .c = c,
                                   .ldc = g->ldc, .last = fnn_block_last(&now.q[panel]),
                                   .epilogue = {.kind = epilogue, .ldsaved = g->ldsaved}};
                if (more && panel < next.panels) {
                    t.ahead = fnn_block_data(g, &next.q[panel]) + from * g->ldb;
                    t.ldahead = g->ldb;
                    t.ahead_rows = end - from;
                }
                if (panel < last) fnn_prefetch_to_write(c + width, rows, width, g->ldc);
                fnn_tile_epilogue_at(&t.epilogue, g, i, j);
                fnn_tiles[g->a_transposed][0][now.q[panel].vectors - 1][rows - 1](&t);
                if (finish) fnn_finish(g, i, j, rows, width, c, g->ldc);
            }
            if (more) fnn_pack_panels(g, next.q, next.panels, from, end, room[(stage + 1) % 2]);
            i += rows;
        }
    }
}

static void fnn_gemm_rows(const fnn_product *g)
{
    if (fnn_has_far_b(g)) {
        fnn_gemm_far_b(g);
        return;
    }
    real packed[FNN_KC * FNN_NR] __attribute__((aligned(64)));
    const size_t groups = (g->m + FNN_GROUP_ROWS - 1) / FNN_GROUP_ROWS, panels = (g->n + FNN_NR - 1) / FNN_NR;
    const bool collide = g->ldb > FNN_NR && g->k * (g->ldb & -g->ldb) > FNN_PACK_B_SETS;
    const bool pack = g->m > (FNN_PACK_TILES - 1) * FNN_MR && (g->ldb >= FNN_PACK_B_LD || g->ldb % FNN_LINE != 0 || collide);
    const bool cut = pack || g->b_transposed || g->m > 2 * FNN_MR; /* else nothing is used so often that it should stay near */
    const size_t blocks = cut && g->k > 0 ? (g->k + FNN_KC - 1) / FNN_KC : 1;
    for (size_t group = 0; group < groups; group++) {
        const size_t i = fnn_part(g->m, groups, group), m = fnn_part(g->m, groups, group + 1) - i;
        for (size_t block = 0; block < blocks; block++) {
            const size_t p = fnn_part(g->k, blocks, block);
            const real *a = g->a_transposed ? g->a + p * g->lda + i : g->a + i * g->lda + p;
            for (size_t panel = 0; panel < panels; panel++) {
                const fnn_block q = fnn_block_of(g, panels, blocks, panel * blocks + block);
                const fnn_block next = panel + 1 < panels ? fnn_block_of(g, panels, blocks, (panel + 1) * blocks + block) : q;
                fnn_block_task o = {.block = q, .first = block == 0, .final = block + 1 == blocks, .i = i, .m = m, .a = a,
                                    .lda = g->lda, .b = fnn_block_data(g, &q), .ldb = g->ldb,
                                    .c = g->c + i * g->ldc + q.j, .ldc = g->ldc};
                if (g->b_transposed) {
                    fnn_pack_transposed(g, &q, packed);
                    o.b = packed;
                    o.ldb = FNN_NR;
                } else if (pack) {
                    o.pack = packed;
                }
                if ((pack || g->b_transposed) && panel + 1 < panels) o.next = &next;
                fnn_gemm_block(g, &o);
            }
        }
    }
}

/* dW = X^T dY, and the update of W by it: all columns of some rows of dW, and then these rows of W and its states, as they lie in
 * memory: a line here and a line there would take three times as long. With scratch B is packed whole before, and strips of A as
 * they are needed. */
static void fnn_gemm_update_columns(const fnn_product *g)
{
    real little[FNN_UPDATE_LITTLE] __attribute__((aligned(64))), *gradient = little, *strips = NULL, *packed = NULL;
    const size_t panels = (g->n + FNN_NR - 1) / FNN_NR, blocks = g->k == 0 ? 1 : (g->k + FNN_KC - 1) / FNN_KC;
    const size_t max = fnn_update_rows(g->scratch, g->m, g->n), groups = (g->m + max - 1) / max;
    if (g->scratch) {
        packed = g->scratch;
        strips = packed + panels * FNN_NR * g->k;
        gradient = strips + max * g->k;
        for (size_t panel = 0; panel < panels; panel++) {
            const fnn_block q = fnn_block_of(g, panels, 1, panel);
            fnn_pack_panel(g, &q, packed + panel * g->k * FNN_NR);
        }
    }
    for (size_t group = 0; group < groups; group++) {
        const size_t i = fnn_part(g->m, groups, group), m = fnn_part(g->m, groups, group + 1) - i;
        if (strips) fnn_pack_strips(m, g->k, g->a + i, g->lda, strips);
        for (size_t panel = 0; panel < panels; panel++) {
            for (size_t block = 0; block < blocks; block++) {
                const fnn_block q = fnn_block_of(g, panels, blocks, panel * blocks + block);
                fnn_gemm_block(g, &(fnn_block_task){.block = q, .first = block == 0, .final = block + 1 == blocks, .i = i, .m = m,
                                                    .a = strips ? strips : g->a + q.p * g->lda + i, .lda = g->lda,
                                                    .strips = strips != NULL,
                                                    .b = packed ? packed + (panel * g->k + q.p) * FNN_NR : fnn_block_data(g, &q),
                                                    .ldb = packed ? FNN_NR : g->ldb, .c = gradient + q.j, .ldc = g->n});
            }
        }
        if (g->ldw == g->n)
            fnn_finish(g, 0, i * g->n, 1, m * g->n, gradient, 0);
        else
            fnn_finish(g, i, 0, m, g->n, gradient, g->n);
    }
}

static void fnn_gemm_update(const fnn_product *g)
{
    const size_t max = fnn_update_columns(g->scratch, g->k), parts = (g->n + max - 1) / max;
    for (size_t part = 0; part < parts; part++) {
        const size_t panels = (g->n + FNN_NR - 1) / FNN_NR, j = fnn_part(panels, parts, part) * FNN_NR;
        const size_t end = fnn_part(panels, parts, part + 1) * FNN_NR;
        fnn_product q = *g;
        q.n = (end < g->n ? end : g->n) - j;
        q.b += j;
        q.w += j;
        fnn_states_at(q.state, g->state, j);
        if (q.penalized) q.penalized += j;
        fnn_gemm_update_columns(&q);
    }
}

#endif
