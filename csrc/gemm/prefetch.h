/* What tiles prefetch while they compute. */
#ifndef FNN_GEMM_PREFETCH_H
#define FNN_GEMM_PREFETCH_H

#include "blocking.h"

/* All `rows` rows of `width` columns, ld apart, to be written. */
FNN_INLINE void fnn_prefetch_to_write(const real *at, size_t rows, size_t width, size_t ld)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t x = 0; x < width; x += FNN_LINE) __builtin_prefetch(at + r * ld + x, 1);
}

#if FNN_NR > FNN_LANES
/* Lines that a tile prefetches now and then while it computes. Prefetched all at once they would take every place that the L1 cache
 * has for what it waits for, and the tile's own loads would queue up behind. */
typedef struct fnn_prefetch_region {
    const real *at[1 + FNN_STATES]; /* in each of these places ... */
    size_t places;
    size_t rows, lines, stride; /* ... so many rows, `stride` elements apart, of so many lines of 64 bytes */
} fnn_prefetch_region;

enum {
    FNN_PREFETCH_UPDATE, /* weights and states that are to be updated */
    FNN_PREFETCH_C,      /* where the next tile stores its sums */
    FNN_PREFETCH_SAVED,  /* what its derivative reads */
    FNN_PREFETCH_BLOCK,  /* a part of the next block of B, */
    FNN_PREFETCH_SECOND,  /* and of the one after it, if the next one's tiles do not ask */
    FNN_PREFETCH_REGIONS
};

typedef struct fnn_prefetch_list {
    const real *a; /* the next tile's A, of as many rows; not where A is transposed */
    fnn_prefetch_region region[FNN_PREFETCH_REGIONS];
} fnn_prefetch_list;

typedef struct fnn_prefetch_cursor {
    size_t region, row, line;
} fnn_prefetch_cursor;

/* The next line of `region`, in all of its places. */
FNN_INLINE void fnn_prefetch_next_line(const fnn_prefetch_list *ahead, fnn_prefetch_cursor *done)
{
    if (done->region == FNN_PREFETCH_REGIONS) return;
    const fnn_prefetch_region *f = &ahead->region[done->region];
    if (done->row < f->rows) {
        for (size_t q = 0; q < f->places; q++) __builtin_prefetch(f->at[q] + done->row * f->stride + done->line * FNN_LINE, 0, 2);
        if (++done->line < f->lines) return;
        done->line = 0;
        if (++done->row < f->rows) return;
    }
    done->row = 0;
    done->region++;
}

/* The part `tile` of `tiles` of a block of B. */
FNN_INLINE fnn_prefetch_region fnn_prefetch_of_block(const fnn_product *g, const fnn_block *q, size_t tiles, size_t tile)
{
    const size_t rows = g->b_transposed ? q->width : q->depth, length = g->b_transposed ? q->depth : q->width;
    const size_t from = fnn_part(rows, tiles, tile), end = fnn_part(rows, tiles, tile + 1);
    return (fnn_prefetch_region){{fnn_block_data(g, q) + from * g->ldb}, 1, end - from, (length + FNN_LINE - 1) / FNN_LINE, g->ldb};
}

/* Of a matrix with rows ld apart the tile at `at`. */
FNN_INLINE fnn_prefetch_region fnn_prefetch_of_tile(const real *at, size_t rows, size_t width, size_t ld)
{
    return (fnn_prefetch_region){{at}, 1, rows, (width + FNN_LINE - 1) / FNN_LINE, ld};
}

/* The weights and states that a tile at row i, column j updates. */
FNN_INLINE fnn_prefetch_region fnn_prefetch_of_update(const fnn_product *g, size_t i, size_t rows, size_t j, size_t width)
{
    const size_t at = i * g->ldw + j;
    fnn_prefetch_region region = fnn_prefetch_of_tile(g->w + at, rows, width, g->ldw);
    for (int q = 0; q < FNN_STATES; q++)
        if (g->state[q]) region.at[region.places++] = g->state[q] + at;
    return region;
}

/* All of it at once, to be written. */
FNN_INLINE void fnn_prefetch_whole_to_write(const fnn_prefetch_region *f)
{
    for (size_t r = 0; r < f->rows; r++)
        for (size_t x = 0; x < f->lines; x++)
            for (size_t q = 0; q < f->places; q++) __builtin_prefetch(f->at[q] + r * f->stride + x * FNN_LINE, 1);
}

/* What the tiles of a block ask for while they compute. */
typedef struct fnn_prefetch_plan {
    fnn_block block, next; /* the block itself, and the one whose tiles follow, if `more` do */
    bool more;
    size_t i0, tiles;   /* where the rows begin, and how many tiles they are */
    bool c, saved;      /* where the next tile stores, and what its derivative reads */
    bool packed, after; /* each tile a piece of the next block, to be packed; and of the one after it */
    fnn_block second;   /* that one */
    bool update;        /* the weights and states that the tile's rows and columns are of */
} fnn_prefetch_plan;

/* Those of the tile number `tile`, of `rows` rows from i on. */
FNN_INLINE void fnn_prefetch_list_of(const fnn_product *g, const fnn_prefetch_plan *w, size_t tile, size_t i, size_t rows,
                                     fnn_prefetch_list *ahead)
{
    const bool within = tile + 1 < w->tiles; /* the next tile is of this block */
    const fnn_block *q = &w->block, *then = within || !w->more ? q : &w->next;
    const size_t i2 = within ? i + rows : w->i0;
    *ahead = (fnn_prefetch_list){.a = g->a_transposed ? g->a : g->a + i2 * g->lda + then->p};
    if (w->c && (within || w->more)) {
        ahead->region[FNN_PREFETCH_C] = fnn_prefetch_of_tile(g->c + i2 * g->ldc + then->j, rows, q->width, g->ldc);
        if (w->saved)
            ahead->region[FNN_PREFETCH_SAVED] =
                fnn_prefetch_of_tile(g->saved + i2 * g->ldsaved + then->j, rows, q->width, g->ldsaved);
    }
    if (w->packed) ahead->region[FNN_PREFETCH_BLOCK] = fnn_prefetch_of_block(g, &w->next, w->tiles, tile);
    if (w->after) ahead->region[FNN_PREFETCH_SECOND] = fnn_prefetch_of_block(g, &w->second, w->tiles, tile);
    if (w->update) ahead->region[FNN_PREFETCH_UPDATE] = fnn_prefetch_of_update(g, i, rows, q->j, q->width);
}
#endif

#endif
