/* Vectors that are lists of arrays, each in one block of memory, and what L-BFGS does with them.
 *
 * A block holds its arrays one after the other, each from a cache line on and with zeros up to the next. Arrays of one type that
 * follow each other are one part. Sums are taken in double over fixed chunks of the parts and added in order, so that they do not
 * depend on the number of threads; nor do they on the instruction set, since this file is compiled for the least of them. */
#ifndef FNN_OPS_VECTORS_H
#define FNN_OPS_VECTORS_H

#include <stdbool.h>
#include <stddef.h>

#include "../runtime/autotune.h"

#define FNN_VECTOR_CHUNK 4096 /* elements */

typedef struct fnn_vector_part {
    size_t offset, n; /* bytes from the start of the block; elements */
    bool is_double;
} fnn_vector_part;

typedef struct fnn_vector_layout {
    const fnn_vector_part *parts;
    size_t count;
    double work;         /* of one pass; a barrier stands between those of the recursion */
    fnn_autotune *tunes; /* of each of the functions below */
} fnn_vector_layout;

/* Chunks of a vector: the size of `partial` below, FNN_VECTOR_SUMS doubles for each. */
size_t fnn_vector_chunks(const fnn_vector_layout *l);

/* out = a + t b, or t b where a is NULL. out may be a or b. */
void fnn_vector_combine(const fnn_vector_layout *l, void *out, const void *a, double t, const void *b);

/* Of two vectors: a b, a a, the sum of |a|, and the largest |a|, NaN where an element of a is. */
enum { FNN_VECTOR_DOT, FNN_VECTOR_SQUARES, FNN_VECTOR_SUM, FNN_VECTOR_LARGEST, FNN_VECTOR_SUMS };
void fnn_vector_measure(const fnn_vector_layout *l, const void *a, const void *b, double *partial, double *found);

/* The two-loop recursion (Nocedal 1980; Nocedal and Wright, Numerical Optimization, algorithm 7.4): d = -H g, where H is made of
 * `scale` times the identity by the pairs of steps s and changes of the gradient y, the oldest first, rho = 1 / (s y). `alpha` is
 * room for a number for each pair. */
typedef struct fnn_vector_recursion {
    void *d;
    const void *g;
    size_t pairs;
    const void *const *s, *const *y;
    const double *rho;
    double scale;
    double *alpha, *partial;
} fnn_vector_recursion;
void fnn_vector_two_loops(const fnn_vector_layout *l, const fnn_vector_recursion *r);

#endif
