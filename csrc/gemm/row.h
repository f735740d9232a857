/* The product of one row: a matrix times a vector. */
#ifndef FNN_GEMM_ROW_H
#define FNN_GEMM_ROW_H

#include "epilogues.h"

#define FNN_ROW_AHEAD 8 /* rows of B that are prefetched ahead, in pieces too short for the hardware to guess */

/* One row times B: every element of B is used once, so what counts is to read it as it lies. Panels are as wide as the
 * accumulators allow, in equal parts, and k runs through in one block. */
FNN_INLINE void fnn_row_panel(const int vectors, size_t k, const real *a, const real *b, size_t ldb, const real *start,
                              real *c, vt last)
{
    vec sum[FNN_ROW_NV];
    const real *ahead = b + FNN_ROW_AHEAD * ldb; /* one pointer for all vectors: of sums the compiler would keep one for each */
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        const real *from = start ? start + v * FNN_LANES : NULL;
        sum[v] = !start ? v_zero() : v == vectors - 1 ? v_load_t(from, last) : v_load(from);
    }
    for (size_t p = 0; p < k; p++, b += ldb, ahead += ldb) {
        const vec element = v_set1(a[p]);
        FNN_UNROLL
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(ahead + v * FNN_LANES);
            const vec row = v == vectors - 1 ? v_load_t(b + v * FNN_LANES, last) : v_load(b + v * FNN_LANES);
            sum[v] = v_fma(element, row, sum[v]);
        }
    }
    FNN_UNROLL
    for (int v = 0; v < vectors; v++) {
        if (v == vectors - 1)
            v_store_t(c + v * FNN_LANES, sum[v], last);
        else
            v_store(c + v * FNN_LANES, sum[v]);
    }
}

static void fnn_gemm_row(const fnn_product *g)
{
    const size_t vectors = (g->n + FNN_LANES - 1) / FNN_LANES, panels = (vectors + FNN_ROW_NV - 1) / FNN_ROW_NV;
    /* Where a layer's columns are shared by a team, other CPUs have just written most of A and have read C last: all lines of
     * both are prefetched at once, since the loop below would come upon them one after the other. */
    for (size_t p = 0; p < g->k; p += FNN_LINE) __builtin_prefetch(g->a + p);
    for (size_t j = 0; j < g->n; j += FNN_LINE) __builtin_prefetch(g->c + j, 1);
    for (size_t panel = 0, j = 0; panel < panels; panel++) {
        const size_t wide = vectors / panels + (panel < vectors % panels);
        const size_t width = wide * FNN_LANES < g->n - j ? wide * FNN_LANES : g->n - j;
        const vt last = vt_first(width - (wide - 1) * FNN_LANES);
        const real *b = g->b + j, *start = g->accumulate ? g->c + j : g->bias ? g->bias + j : NULL;
        real *c = g->c + j;
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

#endif
