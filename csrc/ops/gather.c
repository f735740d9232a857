/* Batches out of the user's arrays: rows by index, converted as they are copied. What is wrong with a row is noted in
 * the status, and the batch is refused before anything has changed. */
#include "../fastnn.h"

/* Keeps the problem of the lowest row, whichever thread meets which first. */
static void report(fnn_status *status, size_t row, fnn_problem problem)
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
    report(status, r, FNN_BAD_INDEX);
    return 0;
}

#define AHEAD 8192 /* bytes of rows that are asked for before they are read */
#define PAGE 4096  /* of longer rows the beginning: from there on the hardware sees where it goes */

/* Rows at random places come from memory, and each begins with a wait that the hardware cannot foresee. */
static void ask(const fnn_gather *o, size_t r)
{
    if ((uint64_t)o->index[r] >= o->source_rows) return;
    const char *row = o->source + (ptrdiff_t)o->index[r] * o->row_stride;
    const size_t bytes = o->features * o->item;
    for (size_t i = 0; i < bytes && i < PAGE; i += 64) __builtin_prefetch(row + i);
}

void fnn_op_gather(const fnn_kernels *k, const fnn_gather *o, fnn_split s)
{
    const size_t ahead = 1 + AHEAD / (o->features * o->item);
    if (o->index)
        for (size_t r = s.begin; r < s.end && r < s.begin + ahead; r++) ask(o, r);
    for (size_t r = s.begin; r < s.end; r++) {
        if (o->index && s.end - r > ahead) ask(o, r + ahead);
        const size_t row = source_row(o->index, o->source_rows, r, o->status);
        float *out = o->out + r * o->ld;
        k->convert(o->dtype, o->features, o->source + (ptrdiff_t)row * o->row_stride, o->scale, o->shift, out);
        if (o->check_finite && !k->all_finite(o->features, out)) report(o->status, r, FNN_NOT_FINITE);
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
        const bool good = label >= 0 && label < o->classes;
        if (!good) report(o->status, r, FNN_BAD_LABEL);
        o->out[r] = good ? (int32_t)label : 0;
    }
}
