/* One step of a plan as a thread sees it, and what the operations need of it. */
#ifndef FNN_OPS_STEP_H
#define FNN_OPS_STEP_H

#include "../fastnn.h"

typedef struct fnn_step {
    fnn_run *run;
    const fnn_kernels *kernels;
    fnn_buffer *buffers; /* this thread's table: input and output may point into the user's arrays */
    size_t number, begin, rows; /* which step of the call, and its rows of the user's data */
    size_t counted; /* rows that are not to be ignored */
    void *scratch; /* this thread's, of the operation that it does */
    bool again; /* it did the same operation just before, for other rows of the step: what that left in scratch is still there */
    fnn_barrier *barrier; /* of the team, for operations in which it meets */
} fnn_step;

/* The buffer of the operation's role number i, all zero where it has none. */
static inline fnn_buffer fnn_buffer_of(const fnn_step *s, const fnn_op *op, int i)
{
    return op->buffer[i] < 0 ? (fnn_buffer){0} : s->buffers[op->buffer[i]];
}

/* The same from the split's first row on. */
static inline fnn_buffer fnn_rows_of(const fnn_step *s, const fnn_op *op, int i, fnn_split split)
{
    fnn_buffer b = fnn_buffer_of(s, op, i);
    b.data = fnn_at(s->kernels, b.data, split.begin * b.ld);
    return b;
}

/* The array of the operation's role number i from an element on, NULL where it has none. */
static inline void *fnn_array_of(const fnn_step *s, const fnn_op *op, int i, size_t from)
{
    return fnn_at(s->kernels, fnn_buffer_of(s, op, i).data, from);
}

/* Rows of the compute type in order need no copy: the operations that follow read the user's array. With weights the inputs do, since rows of
 * weight 0 may have to be replaced. */
static inline bool fnn_gather_in_place(const fnn_step *s, const fnn_op *op, const fnn_source *source)
{
    const ptrdiff_t item = (ptrdiff_t)s->kernels->item;
    if (source == &s->run->x && s->run->augment) return false;
    if (op->gather.copies || op->gather.planes > 1 || source->sparse.indptr || (source == &s->run->x && s->run->weight.data)) return false;
    if (op->gather.planes == 1 && source->stride != op->gather.columns * item) return false; /* images leave no gaps */
    return !s->run->index && source->dtype == s->kernels->dtype && source->scale == 1.0 && source->shift == 0.0 &&
           !s->run->check_finite && source->stride % item == 0 && source->stride >= 0;
}

/* Whether all the weights of row `row` of the source are 0. */
bool fnn_no_weight(const fnn_step *s, size_t row);

/* What a Mixup makes of a row: so large a share of the row itself, the rest of another. Numbers of rows are the source's; both are those
 * of rows that there are. */
typedef struct fnn_mixture {
    size_t row, other;
    double share;
} fnn_mixture;

fnn_mixture fnn_mixture_of(const fnn_step *s, size_t row);

/* Row `row` of the source, an image, as the chain has it: an array of the compute type, good until the next call with that split's id. */
const void *fnn_augmented(const fnn_step *s, const fnn_source *source, size_t row, int id);

/* Row r of the batch as a row of x; 0 where there is none, which `gather` reports. */
static inline size_t fnn_row_number(const fnn_step *s, size_t r)
{
    const uint64_t row = s->run->index ? (uint64_t)s->run->index[s->begin + r] : s->begin + r;
    return row < s->run->x.rows ? (size_t)row : 0;
}

/* A label as int64; a uint64 beyond its range becomes -1, which no class is. */
int64_t fnn_label_value(const char *p, fnn_dtype dtype);

/* How many rows of the step are to be ignored. */
size_t fnn_ignored_rows(const fnn_step *s);

/* The windows of a convolution or a pooling. */
static inline fnn_window fnn_window_of(const fnn_op *op)
{
#define FNN_INT(name) .name = (size_t)op->window.name,
    return (fnn_window){FNN_WINDOW};
#undef FNN_INT
}

/* The thread's share of so many columns, in whole vectors of 16. */
static inline fnn_split fnn_columns_of(size_t columns, fnn_split split)
{
    fnn_split mine = fnn_split_of(split.id, split.count, (columns + 15) / 16);
    mine.begin *= 16;
    mine.end = mine.end * 16 < columns ? mine.end * 16 : columns;
    return mine;
}

/* What a thread does of each operation: its rows of the batch, its tile of a matrix, or its chunks of an array. */
#define FNN_OP(name, parameters, roles, writes, phase, traits, work) \
    void fnn_run_##name(const fnn_step *s, const fnn_op *op, fnn_split split);
#include "../defs/ops.def"
#undef FNN_OP

#endif
