/* Copies of blocks of A and B, in the order in which tiles read them. */
#ifndef FNN_GEMM_PACK_H
#define FNN_GEMM_PACK_H

#include "blocking.h"

/* The distance of two rows of a block that is packed, in floats: whole vectors. */
FNN_INLINE size_t fnn_packed_ld(const fnn_block *q) { return (q->vectors * FNN_VR + FNN_VF - 1) / FNN_VF * FNN_VF; }

/* B, stored transposed, [n, k], to rows of whole vectors, zero beyond the width: squares of 16 x 16 transposed in registers. */
static void fnn_pack_transposed(const fnn_product *g, const fnn_block *q, float *packed)
{
    const size_t ldp = fnn_packed_ld(q);
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

#if FNN_NR > FNN_VF
/* To rows of full vectors, zero beyond the width: those of k [from, end). */
static void fnn_pack(const fnn_product *g, const fnn_block *q, size_t from, size_t end, float *packed)
{
    const vt last = fnn_block_last(q);
    const float *b = fnn_block_data(g, q) + from * g->ldb;
    packed += from * q->vectors * FNN_VF;
    for (size_t p = from; p < end; p++, b += g->ldb, packed += q->vectors * FNN_VF) {
        for (size_t v = 0; v + 1 < q->vectors; v++) vf_store(packed + v * FNN_VF, vf_load(b + v * FNN_VF));
        vf_store(packed + (q->vectors - 1) * FNN_VF, vf_load_t(b + (q->vectors - 1) * FNN_VF, last));
    }
}

/* The part `tile` of `tiles` of it. */
static void fnn_pack_piece(const fnn_product *g, const fnn_block *q, size_t tiles, size_t tile, float *packed)
{
    fnn_pack(g, q, fnn_part(q->depth, tiles, tile), fnn_part(q->depth, tiles, tile + 1), packed);
}
#else
#define FNN_ROWS_OF_B_AHEAD 16 /* prefetched while B is packed */

/* m columns of A, stored [k, lda], in strips [k, rows] of as many columns as a tile has rows. */
static void fnn_pack_strips(size_t m, size_t k, const float *a, size_t lda, float *strips)
{
    const size_t tiles = fnn_row_tiles(m), few = m / tiles, more = m % tiles;
    for (size_t p = 0; p < k; p++, a += lda) {
        const float *from = a;
        float *to = strips;
        for (size_t tile = 0; tile < tiles; tile++) {
            const size_t rows = few + (tile < more);
            if (rows == 6)
                memcpy(to + p * rows, from, 6 * sizeof(float));
            else if (rows == 5)
                memcpy(to + p * rows, from, 5 * sizeof(float));
            else
                for (size_t r = 0; r < rows; r++) to[p * rows + r] = from[r];
            from += rows;
            to += rows * k;
        }
    }
}

/* All k of a panel of B, in rows of FNN_NR. */
static void fnn_pack_panel(const fnn_product *g, const fnn_block *q, float *packed)
{
    const vt t = vt_first(q->width);
    const float *b = fnn_block_data(g, q);
    for (size_t p = 0; p < q->depth; p++, b += g->ldb, packed += FNN_NR) {
        __builtin_prefetch(b + FNN_ROWS_OF_B_AHEAD * g->ldb);
        vf_store(packed, q->width == FNN_VF ? vf_load(b) : vf_load_t(b, t));
    }
}
#endif

#endif
