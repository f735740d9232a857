/* Batches out of the user's arrays: rows by index, converted as they are copied. What is wrong with a row is noted in
 * the status, and the batch is refused before anything has changed. */
#include "step.h"

#include <string.h>

void fnn_report(fnn_status *status, size_t row, fnn_problem problem)
{
    const uint_fast64_t mine = (uint_fast64_t)row << 8 | (uint_fast64_t)problem;
    uint_fast64_t seen = atomic_load_explicit(&status->first, memory_order_relaxed);
    while ((seen == 0 || mine < seen) &&
           !atomic_compare_exchange_weak_explicit(&status->first, &seen, mine, memory_order_relaxed, memory_order_relaxed))
        ;
    atomic_store_explicit(&status->leave, true, memory_order_relaxed);
}

/* The rows of the user's array that a step takes. */
typedef struct rows {
    const char *data; /* of row 0 of the source, or, where there is no index, of the batch */
    size_t count;
    const int64_t *index; /* row r of the batch is row index[r] of the source; NULL: r itself */
    const fnn_source *source;
} rows;

static rows rows_of(const fnn_step *s, const fnn_source *source)
{
    if (s->run->index) return (rows){source->data, source->rows, s->run->index + s->begin, source};
    return (rows){source->data + (ptrdiff_t)s->begin * source->stride, source->rows - s->begin, NULL, source};
}

/* The number of the row that is row r of the batch, counted from `data` on; 0 and a report where there is none. */
static size_t number_of(const rows *o, size_t r, fnn_status *status)
{
    const uint64_t row = o->index ? (uint64_t)o->index[r] : r;
    if (row < o->count) return (size_t)row;
    fnn_report(status, r, FNN_BAD_INDEX);
    return 0;
}

static const char *row_at(const rows *o, size_t r, fnn_status *status)
{
    return o->data + (ptrdiff_t)number_of(o, r, status) * o->source->stride;
}

#define AHEAD 8192 /* bytes of rows that are prefetched before they are read */
#define PAGE 4096  /* of longer rows the beginning: from there on the hardware sees where it goes */

/* Rows at random places come from memory, and each begins with a wait that the hardware cannot foresee. */
static void prefetch_row(const rows *o, size_t r, size_t bytes)
{
    if ((uint64_t)o->index[r] >= o->count) return;
    const char *row = o->data + (ptrdiff_t)o->index[r] * o->source->stride;
    for (size_t i = 0; i < bytes && i < PAGE; i += 64) __builtin_prefetch(row + i);
}

bool fnn_no_weight(const fnn_step *s, size_t row)
{
    const fnn_source *weight = &s->run->weight;
    const char *first = weight->data + (ptrdiff_t)row * weight->stride;
    for (size_t j = 0; j < s->run->weight_columns; j++) {
        double value; /* or a float */
        s->kernels->convert(weight->dtype, 1, first + j * weight->item, 1.0, 0.0, &value);
        if (fnn_value(s->kernels, &value, 0) != 0.0) return false;
    }
    return true;
}

/* Inputs of this size leave room for what layers make of them. */
#define ORDINARY(k) ((k)->dtype == FNN_F64 ? 1e150 : (double)1e18f)

/* Whether a row that is left out could still do harm: a gradient of 0 times a hidden value that overflowed is NaN. */
static bool may_do_harm(const fnn_kernels *k, const void *row, size_t n)
{
    for (size_t j = 0; j < n; j++)
        if (!(fnn_value(k, row, j) >= -ORDINARY(k) && fnn_value(k, row, j) <= ORDINARY(k))) return true;
    return false;
}

/* A row of planes into one whose elements alternate: by way of the stack. */
static void convert_planes(const fnn_kernels *k, const fnn_source *source, size_t columns, size_t planes, const char *row, void *out)
{
    const size_t n = columns / planes;
    double some[256]; /* or floats */
    for (size_t c = 0; c < planes; c++)
        for (size_t i = 0; i < n; i += 256) {
            const size_t count = n - i < 256 ? n - i : 256;
            k->convert(source->dtype, count, row + (c * n + i) * source->item, source->scale, source->shift, some);
            if (k->dtype == FNN_F64)
                for (size_t j = 0; j < count; j++) ((double *)out)[(i + j) * planes + c] = some[j];
            else
                for (size_t j = 0; j < count; j++) ((float *)out)[(i + j) * planes + c] = ((const float *)some)[j];
        }
}

static int64_t sparse_number(const fnn_sparse *s, const char *numbers, size_t i)
{
    return s->wide ? ((const int64_t *)numbers)[i] : ((const int32_t *)numbers)[i];
}

/* A sparse row: what becomes of 0, and its elements where they belong. Nothing is read or written for a number that is out of range;
 * returns whether there was none. */
static bool scatter_row(const fnn_kernels *k, const fnn_source *source, size_t row, size_t columns, void *out)
{
    const fnn_sparse *s = &source->sparse;
    const int64_t begin = sparse_number(s, s->indptr, row), end = sparse_number(s, s->indptr, row + 1);
    for (size_t j = 0; j < columns; j++) fnn_set_value(k, out, j, source->shift);
    if (begin < 0 || begin > end || (uint64_t)end > s->entries) return false;
    bool good = true;
    double some[256]; /* or floats */
    for (int64_t i = begin; i < end; i += 256) {
        const size_t count = end - i < 256 ? (size_t)(end - i) : 256;
        k->convert(source->dtype, count, source->data + (size_t)i * source->item, source->scale, source->shift, some);
        for (size_t j = 0; j < count; j++) {
            const uint64_t column = (uint64_t)sparse_number(s, s->indices, (size_t)i + j);
            if (column < columns)
                memcpy(fnn_at(k, out, column), fnn_at(k, some, j), k->item);
            else
                good = false;
        }
    }
    return good;
}

/* Rows in the compute type: out = (real)((double)value * scale + shift). Where no copy is needed the buffer becomes the user's array. With
 * weights, a row all of whose weights are 0 becomes one of zeros, if it may do harm. */
static void gather(const fnn_step *s, const fnn_op *op, fnn_split split, const fnn_source *source, const fnn_source *weight)
{
    const rows o = rows_of(s, source);
    const fnn_augment *augment = source == &s->run->x ? s->run->augment : NULL;
    fnn_buffer *out = &s->buffers[op->buffer[0]];
    if (fnn_gather_in_place(s, op, source)) {
        *out = (fnn_buffer){(void *)o.data, (size_t)source->stride / s->kernels->item};
        return;
    }
    fnn_status *status = &s->run->status;
    const size_t columns = augment ? augment->columns : (size_t)op->gather.columns, planes = (size_t)op->gather.planes;
    const size_t bytes = columns * source->item, ahead = 1 + AHEAD / bytes;
    const bool sparse = source->sparse.indptr, prefetch = o.index && !sparse;
    const size_t first = o.index ? 0 : s->begin; /* of the rows that are counted from there on */
    if (prefetch)
        for (size_t r = split.begin; r < split.end && r < split.begin + ahead; r++) prefetch_row(&o, r, bytes);
    for (size_t r = split.begin; r < split.end; r++) {
        if (prefetch && split.end - r > ahead) prefetch_row(&o, r + ahead, bytes);
        void *to = fnn_at(s->kernels, out->data, r * out->ld);
        const size_t number = first + number_of(&o, r, status); /* of the row in the source */
        if (augment) {
            const void *image = fnn_augmented(s, source, number, split.id);
            s->kernels->convert(s->kernels->dtype, columns, image, source->scale, source->shift, to);
        } else if (sparse) {
            if (!scatter_row(s->kernels, source, number, columns, to)) fnn_report(status, r, FNN_BAD_INDEX);
        } else if (planes > 1)
            convert_planes(s->kernels, source, columns, planes, row_at(&o, r, status), to);
        else
            s->kernels->convert(source->dtype, columns, row_at(&o, r, status), source->scale, source->shift, to);
        if (s->run->check_finite && !s->kernels->all_finite(columns, to)) fnn_report(status, r, FNN_NOT_FINITE);
        if (weight && fnn_no_weight(s, number) &&
            may_do_harm(s->kernels, to, columns))
            memset(to, 0, columns * s->kernels->item);
    }
}

void fnn_run_gather(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    gather(s, op, split, &s->run->x, s->run->weight.data ? &s->run->weight : NULL);
}

void fnn_run_gather_targets(const fnn_step *s, const fnn_op *op, fnn_split split) { gather(s, op, split, &s->run->y, NULL); }
void fnn_run_gather_weights(const fnn_step *s, const fnn_op *op, fnn_split split) { gather(s, op, split, &s->run->weight, NULL); }

/* A label as int64; a uint64 beyond its range becomes -1, which no class is. */
int64_t fnn_label_value(const char *p, fnn_dtype dtype)
{
    switch (dtype) {
    case FNN_U8: return *(const uint8_t *)p;
    case FNN_I8: return *(const int8_t *)p;
    case FNN_U16: return *(const uint16_t *)p;
    case FNN_I16: return *(const int16_t *)p;
    case FNN_U32: return *(const uint32_t *)p;
    case FNN_I32: return *(const int32_t *)p;
    case FNN_U64: return *(const uint64_t *)p > INT64_MAX ? -1 : (int64_t)*(const uint64_t *)p;
    default: return *(const int64_t *)p;
    }
}

/* Integer labels as int32, each checked against the number of classes. A bad one is stored as 0 and reported, but one that says to
 * ignore its row as -1. */
void fnn_run_gather_labels(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_run *run = s->run;
    const rows o = rows_of(s, &run->y);
    int32_t *out = fnn_buffer_of(s, op, 0).data;
    for (size_t r = split.begin; r < split.end; r++) {
        const int64_t label = fnn_label_value(row_at(&o, r, &s->run->status), run->y.dtype);
        if (run->ignores && label == run->ignore) {
            out[r] = -1;
            continue;
        }
        const bool good = label >= 0 && label < run->classes;
        if (!good) fnn_report(&s->run->status, r, FNN_BAD_LABEL);
        out[r] = good ? (int32_t)label : 0;
    }
}

size_t fnn_ignored_rows(const fnn_step *s)
{
    size_t found = 0;
    const rows o = rows_of(s, &s->run->y);
    for (size_t r = 0; s->run->ignores && r < s->rows; r++) {
        const uint64_t row = o.index ? (uint64_t)o.index[r] : r;
        if (row < o.count) found += fnn_label_value(o.data + (ptrdiff_t)row * o.source->stride, o.source->dtype) == s->run->ignore;
    }
    return found;
}
