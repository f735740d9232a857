/* How a product is cut: C into panels of columns and tiles of rows, B into blocks of k. */
#ifndef FNN_GEMM_BLOCKING_H
#define FNN_GEMM_BLOCKING_H

#include "micro_kernel.h"

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
    const size_t vectors = (g->n + FNN_VR - 1) / FNN_VR, panel = stage / blocks, block = stage % blocks;
    const size_t v = fnn_part(vectors, panels, panel), p = fnn_part(g->k, blocks, block);
    fnn_block q = {.j = v * FNN_VR, .vectors = fnn_part(vectors, panels, panel + 1) - v, .p = p,
                   .depth = fnn_part(g->k, blocks, block + 1) - p};
    q.width = q.vectors * FNN_VR < g->n - q.j ? q.vectors * FNN_VR : g->n - q.j;
    return q;
}

FNN_INLINE const real *fnn_block_data(const fnn_product *g, const fnn_block *q)
{
    return g->b_transposed ? g->b + q->j * g->ldb + q->p : g->b + q->p * g->ldb + q->j;
}

FNN_INLINE vt fnn_block_last(const fnn_block *q) { return vt_first(q->width - (q->vectors - 1) * FNN_VR); }

#define FNN_LINE FNN_LANES /* elements of a cache line */
#define FNN_LARGE_C (1 << 16) /* a C of so many elements has left the caches nearby since it was last used */

#endif
