/* How a team splits a matrix [m, n] into one range of rows and columns a thread. The cut may depend on the team: what is in a range never does. */
#ifndef FNN_OPS_GRID_H
#define FNN_OPS_GRID_H

#include "../fastnn.h"

typedef struct fnn_tile_range {
    size_t i0, i1, j0, j1;
} fnn_tile_range;

static inline size_t fnn_divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/* Of the grids down x across = count, one whose largest range has few tiles of 6 rows x 16 columns; rows are cut anywhere,
 * columns only between vectors. Within a part in sixteen of the fewest it is the grid whose ranges reach over the fewest rows
 * and columns: that much of the operands a thread reads, and so takes from the caches of those that wrote it. Among equals
 * the one with the most columns of ranges, since each thread then packs its own part of B. What cannot be cut evenly makes the
 * first threads' ranges the larger, the only one thread 0's if there is but one: that thread need not be woken, and begins
 * before the others. */
static inline size_t fnn_grid_tiles(size_t m, size_t n, size_t count, size_t across)
{
    return fnn_divide_up(fnn_divide_up(m, count / across), 6) * fnn_divide_up(fnn_divide_up(n, 16), across);
}

static inline fnn_tile_range fnn_grid_tile(size_t m, size_t n, fnn_split s)
{
    const size_t count = (size_t)s.count, vectors = fnn_divide_up(n, 16);
    size_t across = 1, fewest = SIZE_MAX, least = SIZE_MAX;
    for (size_t c = 1; c <= count; c++) {
        const size_t tiles = count % c ? SIZE_MAX : fnn_grid_tiles(m, n, count, c);
        if (tiles < fewest) fewest = tiles;
    }
    for (size_t c = 1; c <= count; c++) {
        const size_t reach = fnn_divide_up(m, count / c) + fnn_divide_up(n, c);
        if (count % c || reach > least || fnn_grid_tiles(m, n, count, c) > fewest + fewest / 16) continue;
        least = reach;
        across = c;
    }
    const size_t down = count / across, i = (size_t)s.id / across, j = (size_t)s.id % across;
    fnn_tile_range range = {fnn_divide_up(m * i, down), fnn_divide_up(m * (i + 1), down), fnn_divide_up(vectors * j, across) * 16,
                     fnn_divide_up(vectors * (j + 1), across) * 16};
    if (range.j0 > n) range.j0 = n;
    if (range.j1 > n) range.j1 = n;
    return range;
}

/* The range of a split: its rows, where the plan runs by rows, else that of the grid. */
static inline fnn_tile_range fnn_tile_range_of(bool by_rows, size_t m, size_t n, fnn_split s)
{
    return by_rows ? (fnn_tile_range){s.begin, s.end, 0, n} : fnn_grid_tile(m, n, s);
}

static inline bool fnn_tile_range_is_empty(fnn_tile_range c) { return c.i0 >= c.i1 || c.j0 >= c.j1; }

#endif
