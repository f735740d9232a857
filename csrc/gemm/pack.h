/* Copies of blocks of A and B, in the order in which tiles read them. */
#ifndef FNN_GEMM_PACK_H
#define FNN_GEMM_PACK_H

#include "blocking.h"

/* The distance of two rows of a block that is packed, in floats: whole vectors. */
FNN_INLINE size_t fnn_packed_ld(const fnn_block *q) { return (q->vectors * FNN_VR + FNN_LANES - 1) / FNN_LANES * FNN_LANES; }

/* B, stored transposed, [n, k], to rows of whole vectors, zero beyond the width: squares as wide as a vector, transposed in
 * registers. */
static void fnn_pack_transposed(const fnn_product *g, const fnn_block *q, real *packed)
{
    const size_t ldp = fnn_packed_ld(q);
    const real *b = fnn_block_data(g, q);
    for (size_t j0 = 0; j0 < q->width; j0 += FNN_LANES) {
        const size_t width = q->width - j0 < FNN_LANES ? q->width - j0 : FNN_LANES;
        for (size_t p = 0; p < q->depth; p += FNN_LANES) {
            const size_t depth = q->depth - p < FNN_LANES ? q->depth - p : FNN_LANES;
            const vt t = vt_first(depth);
            vec square[FNN_LANES];
            FNN_UNROLL
            for (size_t j = 0; j < FNN_LANES; j++)
                square[j] = j < width ? v_load_t(b + (j0 + j) * g->ldb + p, t) : v_zero();
            v_transpose(square);
            FNN_UNROLL
            for (size_t r = 0; r < FNN_LANES; r++)
                if (r < depth) v_store(packed + (p + r) * ldp + j0, square[r]);
        }
    }
}

#if FNN_NR > FNN_LANES
/* To rows of full vectors, zero beyond the width: those of k [from, end). */
static void fnn_pack(const fnn_product *g, const fnn_block *q, size_t from, size_t end, real *packed)
{
    const vt last = fnn_block_last(q);
    const real *b = fnn_block_data(g, q) + from * g->ldb;
    packed += from * q->vectors * FNN_LANES;
    for (size_t p = from; p < end; p++, b += g->ldb, packed += q->vectors * FNN_LANES) {
        for (size_t v = 0; v + 1 < q->vectors; v++) v_store(packed + v * FNN_LANES, v_load(b + v * FNN_LANES));
        v_store(packed + (q->vectors - 1) * FNN_LANES, v_load_t(b + (q->vectors - 1) * FNN_LANES, last));
    }
}

/* The part `tile` of `tiles` of it. */
static void fnn_pack_piece(const fnn_product *g, const fnn_block *q, size_t tiles, size_t tile, real *packed)
{
    fnn_pack(g, q, fnn_part(q->depth, tiles, tile), fnn_part(q->depth, tiles, tile + 1), packed);
}
#else
#define FNN_ROWS_OF_B_AHEAD 16 /* prefetched while B is packed */

/* m columns of A, stored [k, lda], in strips [k, rows] of as many columns as a tile has rows. */
static void fnn_pack_strips(size_t m, size_t k, const real *a, size_t lda, real *strips)
{
    const size_t tiles = fnn_row_tiles(m), few = m / tiles, more = m % tiles;
    for (size_t p = 0; p < k; p++, a += lda) {
        const real *from = a;
        real *to = strips;
        for (size_t tile = 0; tile < tiles; tile++) {
            const size_t rows = few + (tile < more);
            if (rows == 6)
                memcpy(to + p * rows, from, 6 * sizeof(real));
            else if (rows == 5)
                memcpy(to + p * rows, from, 5 * sizeof(real));
            else
                for (size_t r = 0; r < rows; r++) to[p * rows + r] = from[r];
            from += rows;
            to += rows * k;
        }
    }
}

/* All k of a panel of B, in rows of FNN_NR. */
static void fnn_pack_panel(const fnn_product *g, const fnn_block *q, real *packed)
{
    const vt t = vt_first(q->width);
    const real *b = fnn_block_data(g, q);
    for (size_t p = 0; p < q->depth; p++, b += g->ldb, packed += FNN_NR) {
        __builtin_prefetch(b + FNN_ROWS_OF_B_AHEAD * g->ldb);
        v_store(packed, q->width == FNN_LANES ? v_load(b) : v_load_t(b, t));
    }
}

/* The blocks q of `panels` panels that lie one after the other, each in rows of FNN_NR, one after the other: those of k [from, end). */
static void fnn_pack_panels(const fnn_product *g, const fnn_block *q, size_t panels, size_t from, size_t end, real *packed)
{
    const vt t = vt_first(q[panels - 1].width);
    const real *b = fnn_block_data(g, q) + from * g->ldb;
    const size_t apart = q->depth * FNN_NR;
    packed += from * FNN_NR;
    for (size_t p = from; p < end; p++, b += g->ldb, packed += FNN_NR) {
        for (size_t panel = 0; panel < panels; panel++) {
            const real *at = b + (q[panel].j - q->j);
            v_store(packed + panel * apart, panel + 1 < panels || q[panel].width == FNN_LANES ? v_load(at) : v_load_t(at, t));
        }
    }
}
#endif

#endif
