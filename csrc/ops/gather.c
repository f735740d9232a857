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

/* The source row of batch row r; 0 and a report where there is none. */
static size_t source_row(const int64_t *index, size_t source_rows, size_t r, fnn_status *status)
{
    const uint64_t row = index ? (uint64_t)index[r] : r;
    if (row < source_rows) return (size_t)row;
    fnn_report(status, r, FNN_BAD_INDEX);
    return 0;
}

#define AHEAD 8192 /* bytes of rows that are prefetched before they are read */
#define PAGE 4096  /* of longer rows the beginning: from there on the hardware sees where it goes */

/* Rows at random places come from memory, and each begins with a wait that the hardware cannot foresee. */
static void prefetch_row(const fnn_gather *o, size_t r)
{
    if ((uint64_t)o->index[r] >= o->source_rows) return;
    const char *row = o->source + (ptrdiff_t)o->index[r] * o->row_stride;
    const size_t bytes = o->features * o->item;
    for (size_t i = 0; i < bytes && i < PAGE; i += 64) __builtin_prefetch(row + i);
}

/* Whether all the weights of a row are 0. */
static bool no_weight(const fnn_kernels *k, const fnn_gather *o, size_t row)
{
    const char *weight = o->weight + (ptrdiff_t)row * o->weight_stride;
    for (size_t j = 0; j < o->weight_columns; j++) {
        float value;
        k->convert(o->weight_dtype, 1, weight + j * o->weight_item, 1.0, 0.0, &value);
        if (value != 0.0f) return false;
    }
    return true;
}

#define ORDINARY 1e18f /* inputs of this size leave room for what layers make of them */

/* Whether a row that is left out could still do harm: a gradient of 0 times a hidden value that overflowed is NaN. */
static bool may_do_harm(const float *row, size_t n)
{
    for (size_t j = 0; j < n; j++)
        if (!(row[j] >= -ORDINARY && row[j] <= ORDINARY)) return true;
    return false;
}

/* A row of planes into one whose elements alternate: by way of the stack. */
static void convert_planes(const fnn_kernels *k, const fnn_gather *o, const char *row, float *out)
{
    const size_t n = o->features / o->planes;
    float some[256];
    for (size_t c = 0; c < o->planes; c++)
        for (size_t i = 0; i < n; i += 256) {
            const size_t count = n - i < 256 ? n - i : 256;
            k->convert(o->dtype, count, row + (c * n + i) * o->item, o->scale, o->shift, some);
            for (size_t j = 0; j < count; j++) out[(i + j) * o->planes + c] = some[j];
        }
}

void fnn_op_gather(const fnn_kernels *k, const fnn_gather *o, fnn_split s)
{
    if (!o->out) return; /* read in place */
    const size_t ahead = 1 + AHEAD / (o->features * o->item);
    if (o->index)
        for (size_t r = s.begin; r < s.end && r < s.begin + ahead; r++) prefetch_row(o, r);
    for (size_t r = s.begin; r < s.end; r++) {
        if (o->index && s.end - r > ahead) prefetch_row(o, r + ahead);
        const size_t row = source_row(o->index, o->source_rows, r, o->status);
        float *out = o->out + r * o->ld;
        const char *source = o->source + (ptrdiff_t)row * o->row_stride;
        if (o->planes > 1)
            convert_planes(k, o, source, out);
        else
            k->convert(o->dtype, o->features, source, o->scale, o->shift, out);
        if (o->check_finite && !k->all_finite(o->features, out)) fnn_report(o->status, r, FNN_NOT_FINITE);
        if (!o->weight) continue;
        if (no_weight(k, o, row) && may_do_harm(out, o->features)) memset(out, 0, o->features * sizeof(float));
    }
}

/* A label as int64; a uint64 beyond its range becomes -1, which no class is. */
static int64_t label_value(const char *p, fnn_dtype dtype)
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

void fnn_op_gather_labels(const fnn_kernels *k, const fnn_gather_labels *o, fnn_split s)
{
    (void)k;
    for (size_t r = s.begin; r < s.end; r++) {
        const size_t row = source_row(o->index, o->source_rows, r, o->status);
        const int64_t label = label_value(o->source + (ptrdiff_t)row * o->stride, o->dtype);
        if (o->ignores && label == o->ignore) {
            o->out[r] = -1;
            continue;
        }
        const bool good = label >= 0 && label < o->classes;
        if (!good) fnn_report(o->status, r, FNN_BAD_LABEL);
        o->out[r] = good ? (int32_t)label : 0;
    }
}

size_t fnn_ignored_labels(const fnn_gather_labels *o, size_t rows)
{
    size_t found = 0;
    for (size_t r = 0; o->ignores && r < rows; r++) {
        const uint64_t row = o->index ? (uint64_t)o->index[r] : r;
        if (row < o->source_rows) found += label_value(o->source + (ptrdiff_t)row * o->stride, o->dtype) == o->ignore;
    }
    return found;
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

static const int64_t *batch_index(const fnn_step *s) { return s->run->index ? s->run->index + s->begin : NULL; }

static const char *batch_source(const fnn_step *s, const fnn_source *source)
{
    return s->run->index ? source->data : source->data + (ptrdiff_t)s->begin * source->stride;
}

static size_t source_rows(const fnn_step *s, const fnn_source *source)
{
    return s->run->index ? source->rows : source->rows - s->begin;
}

/* Where no copy is needed the buffer becomes the user's array, and nothing is left to do. */
static fnn_gather bind(const fnn_step *s, const fnn_op *op, const fnn_source *source)
{
    fnn_buffer *out = &s->buffers[op->buffer[0]];
    if (fnn_gather_in_place(s, op, source)) {
        *out = (fnn_buffer){(void *)batch_source(s, source), (size_t)source->stride / sizeof(float)};
        return (fnn_gather){0};
    }
    const fnn_source *weight = source == &s->run->x && s->run->weight.data ? &s->run->weight : NULL;
    return (fnn_gather){
        .source = batch_source(s, source),
        .dtype = source->dtype,
        .row_stride = source->stride,
        .item = source->item,
        .source_rows = source_rows(s, source),
        .features = op->out,
        .index = batch_index(s),
        .scale = source->scale,
        .shift = source->shift,
        .planes = op->first,
        .check_finite = s->run->check_finite,
        .weight = weight ? batch_source(s, weight) : NULL,
        .weight_dtype = weight ? weight->dtype : FNN_F32,
        .weight_stride = weight ? weight->stride : 0,
        .weight_columns = s->run->weight_columns,
        .weight_item = weight ? weight->item : 0,
        .out = out->data,
        .ld = out->ld,
        .status = &s->run->status,
    };
}

fnn_gather fnn_bind_gather(const fnn_step *s, const fnn_op *op) { return bind(s, op, &s->run->x); }
fnn_gather fnn_bind_gather_targets(const fnn_step *s, const fnn_op *op) { return bind(s, op, &s->run->y); }
fnn_gather fnn_bind_gather_weights(const fnn_step *s, const fnn_op *op) { return bind(s, op, &s->run->weight); }

fnn_gather_labels fnn_labels_of(const fnn_step *s)
{
    const fnn_source *y = &s->run->y;
    return (fnn_gather_labels){
        .source = batch_source(s, y),
        .dtype = y->dtype,
        .stride = y->stride,
        .source_rows = source_rows(s, y),
        .index = batch_index(s),
        .classes = s->run->classes,
        .ignores = s->run->ignores,
        .ignore = s->run->ignore,
        .status = &s->run->status,
    };
}

fnn_gather_labels fnn_bind_gather_labels(const fnn_step *s, const fnn_op *op)
{
    fnn_gather_labels o = fnn_labels_of(s);
    o.out = fnn_buffer_of(s, op, 0).data;
    return o;
}
