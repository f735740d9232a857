/* Sums, differences and products of vectors that are lists of arrays, and the two-loop recursion of L-BFGS. */
#include "vectors.h"

#include <math.h>

#include "../runtime/team.h"

static size_t chunks_of(const fnn_vector_part *p) { return (p->n + FNN_VECTOR_CHUNK - 1) / FNN_VECTOR_CHUNK; }

size_t fnn_vector_chunks(const fnn_vector_layout *l)
{
    size_t chunks = 0;
    for (size_t i = 0; i < l->count; i++) chunks += chunks_of(&l->parts[i]);
    return chunks;
}

/* ---- on a chunk ---- */

#define FNN_LANES 8 /* running sums side by side: enough for the widest registers, and a fixed order of adding */

/* One pass of the recursion: d = (start ? -start : d) + c v, times scale; returns d w. v and w may be NULL. */
#define FNN_VECTOR_KERNELS(T, suffix)                                                                                    \
    static void combine_##suffix(size_t n, T *out, const T *a, T t, const T *b)                                          \
    {                                                                                                                    \
        if (a)                                                                                                           \
            for (size_t i = 0; i < n; i++) out[i] = a[i] + t * b[i];                                                     \
        else                                                                                                             \
            for (size_t i = 0; i < n; i++) out[i] = t * b[i];                                                            \
    }                                                                                                                    \
                                                                                                                         \
    static double dot_##suffix(size_t n, const T *a, const T *b)                                                         \
    {                                                                                                                    \
        double sums[FNN_LANES] = {0.0}, total = 0.0;                                                                     \
        size_t i = 0;                                                                                                    \
        for (; i + FNN_LANES <= n; i += FNN_LANES)                                                                       \
            for (int j = 0; j < FNN_LANES; j++) sums[j] += (double)a[i + j] * (double)b[i + j];                          \
        for (int j = 0; i + j < n; j++) sums[j] += (double)a[i + j] * (double)b[i + j];                                  \
        for (int j = 0; j < FNN_LANES; j++) total += sums[j];                                                            \
        return total;                                                                                                    \
    }                                                                                                                    \
                                                                                                                         \
    static void sizes_##suffix(size_t n, const T *a, double *found)                                                      \
    {                                                                                                                    \
        double sums[FNN_LANES] = {0.0}, largest[FNN_LANES] = {0.0};                                                      \
        size_t i = 0;                                                                                                    \
        for (; i + FNN_LANES <= n; i += FNN_LANES)                                                                       \
            for (int j = 0; j < FNN_LANES; j++) {                                                                        \
                const double size = fabs((double)a[i + j]);                                                              \
                sums[j] += size;                                                                                         \
                largest[j] = size > largest[j] ? size : largest[j];                                                      \
            }                                                                                                            \
        for (int j = 0; i + j < n; j++) {                                                                                \
            const double size = fabs((double)a[i + j]);                                                                  \
            sums[j] += size;                                                                                             \
            largest[j] = size > largest[j] ? size : largest[j];                                                          \
        }                                                                                                                \
        for (int j = 0; j < FNN_LANES; j++) {                                                                            \
            found[FNN_VECTOR_SUM] += sums[j];                                                                            \
            if (largest[j] > found[FNN_VECTOR_LARGEST]) found[FNN_VECTOR_LARGEST] = largest[j];                          \
        }                                                                                                                \
    }                                                                                                                    \
                                                                                                                         \
    static double pass_##suffix(size_t n, T *d, const T *start, T c, const T *v, T scale, const T *w)                    \
    {                                                                                                                    \
        if (start)                                                                                                       \
            for (size_t i = 0; i < n; i++) d[i] = -start[i];                                                             \
        if (v) combine_##suffix(n, d, d, c, v);                                                                          \
        if (scale != 1)                                                                                                  \
            for (size_t i = 0; i < n; i++) d[i] *= scale;                                                                \
        return w ? dot_##suffix(n, d, w) : 0.0;                                                                          \
    }

FNN_VECTOR_KERNELS(float, f32)
FNN_VECTOR_KERNELS(double, f64)

/* ---- on a vector, by a team ---- */

/* What one thread does of an operation's chunk: elements [from, from + n) of a part. */
typedef void chunk_work(void *call, const fnn_vector_part *p, size_t from, size_t n, size_t chunk);

static void visit(const fnn_vector_layout *l, int id, int count, chunk_work *work, void *call)
{
    const fnn_split mine = fnn_split_of(id, count, fnn_vector_chunks(l));
    size_t first = 0; /* number of the part's first chunk */
    for (size_t i = 0; i < l->count && first < mine.end; i++) {
        const fnn_vector_part *p = &l->parts[i];
        const size_t end = first + chunks_of(p);
        for (size_t c = mine.begin > first ? mine.begin : first; c < end && c < mine.end; c++) {
            const size_t from = (c - first) * FNN_VECTOR_CHUNK, left = p->n - from;
            work(call, p, from, left < FNN_VECTOR_CHUNK ? left : FNN_VECTOR_CHUNK, c);
        }
        first = end;
    }
}

#define F32(block) ((float *)((char *)(block) + p->offset) + from)
#define F64(block) ((double *)((char *)(block) + p->offset) + from)
#define OR_NULL(pointer, block) ((block) ? pointer(block) : NULL)

typedef struct {
    const fnn_vector_layout *l;
    void *out;
    const void *a, *b;
    double t;
    double *partial;
} plain_call;

static void combine_chunk(void *call, const fnn_vector_part *p, size_t from, size_t n, size_t chunk)
{
    const plain_call *c = call;
    (void)chunk;
    if (p->is_double)
        combine_f64(n, F64(c->out), OR_NULL(F64, c->a), c->t, F64(c->b));
    else
        combine_f32(n, F32(c->out), OR_NULL(F32, c->a), (float)c->t, F32(c->b));
}

static void combine_body(void *call, int id, int count, fnn_barrier *barrier)
{
    (void)barrier;
    visit(((plain_call *)call)->l, id, count, combine_chunk, call);
}

void fnn_vector_combine(const fnn_vector_layout *l, void *out, const void *a, double t, const void *b)
{
    plain_call call = {.l = l, .out = out, .a = a, .b = b, .t = t};
    fnn_team_call(&l->tunes[0], fnn_team_for(l->work), l->work, combine_body, &call);
}

static void measure_chunk(void *call, const fnn_vector_part *p, size_t from, size_t n, size_t chunk)
{
    const plain_call *c = call;
    double *found = c->partial + FNN_VECTOR_SUMS * chunk;
    for (int i = 0; i < FNN_VECTOR_SUMS; i++) found[i] = 0.0;
    if (p->is_double) {
        found[FNN_VECTOR_DOT] = dot_f64(n, F64(c->a), F64(c->b));
        found[FNN_VECTOR_SQUARES] = dot_f64(n, F64(c->a), F64(c->a));
        sizes_f64(n, F64(c->a), found);
    } else {
        found[FNN_VECTOR_DOT] = dot_f32(n, F32(c->a), F32(c->b));
        found[FNN_VECTOR_SQUARES] = dot_f32(n, F32(c->a), F32(c->a));
        sizes_f32(n, F32(c->a), found);
    }
}

static void measure_body(void *call, int id, int count, fnn_barrier *barrier)
{
    (void)barrier;
    visit(((plain_call *)call)->l, id, count, measure_chunk, call);
}

void fnn_vector_measure(const fnn_vector_layout *l, const void *a, const void *b, double *partial, double *found)
{
    plain_call call = {.l = l, .a = a, .b = b, .partial = partial};
    fnn_team_call(&l->tunes[1], fnn_team_for(l->work), l->work, measure_body, &call);
    const size_t chunks = fnn_vector_chunks(l);
    for (int i = 0; i < FNN_VECTOR_SUMS; i++) found[i] = 0.0;
    for (size_t c = 0; c < chunks; c++, partial += FNN_VECTOR_SUMS) {
        for (int i = 0; i < FNN_VECTOR_LARGEST; i++) found[i] += partial[i];
        if (partial[FNN_VECTOR_LARGEST] > found[FNN_VECTOR_LARGEST]) found[FNN_VECTOR_LARGEST] = partial[FNN_VECTOR_LARGEST];
    }
    if (isnan(found[FNN_VECTOR_SUM])) found[FNN_VECTOR_LARGEST] = found[FNN_VECTOR_SUM]; /* a comparison passes NaN over */
}

/* ---- the two loops ---- */

typedef struct {
    const fnn_vector_layout *l;
    const fnn_vector_recursion *r;
    atomic_bool leave; /* never */
} recursion_call;

typedef struct {
    void *d;
    const void *start, *v, *w;
    double c, scale;
    double *partial;
} pass_call;

static void pass_chunk(void *call, const fnn_vector_part *p, size_t from, size_t n, size_t chunk)
{
    const pass_call *c = call;
    if (p->is_double)
        c->partial[chunk] = pass_f64(n, F64(c->d), OR_NULL(F64, c->start), c->c, OR_NULL(F64, c->v), c->scale, OR_NULL(F64, c->w));
    else
        c->partial[chunk] = pass_f32(n, F32(c->d), OR_NULL(F32, c->start), (float)c->c, OR_NULL(F32, c->v), (float)c->scale,
                                     OR_NULL(F32, c->w));
}

/* Each pass adds a vector to d and multiplies the sum by the next, so that every vector is read once for both. Every thread adds
 * up all chunks itself; two sets of them take turns, so that one barrier a pass is enough. */
static void recursion_body(void *argument, int id, int count, fnn_barrier *barrier)
{
    recursion_call *call = argument;
    const fnn_vector_recursion *r = call->r;
    const size_t chunks = fnn_vector_chunks(call->l), m = r->pairs;
    pass_call pass = {.d = r->d, .start = r->g, .scale = 1.0};
    for (size_t k = 0; k <= 2 * m; k++) {
        const bool back = k < m; /* the first loop, from the newest pair to the oldest, which is number m - 1 - k */
        pass.w = k == 2 * m ? NULL : back ? r->s[m - 1 - k] : r->y[k - m];
        if (k == m) pass.scale = r->scale; /* d holds all of the first loop once its last vector has been added */
        pass.partial = r->partial + (k % 2) * chunks;
        visit(call->l, id, count, pass_chunk, &pass);
        pass.start = NULL;
        pass.scale = 1.0;
        if (k == 2 * m) break;
        fnn_barrier_wait(barrier, id, count, &call->leave);
        double dot = 0.0;
        for (size_t i = 0; i < chunks; i++) dot += pass.partial[i];
        if (back) {
            const size_t i = m - 1 - k;
            pass.c = -r->rho[i] * dot;
            pass.v = r->y[i];
            if (id == 0) r->alpha[i] = -pass.c; /* read behind at least one more barrier */
        } else {
            const size_t i = k - m;
            pass.c = r->alpha[i] - r->rho[i] * dot;
            pass.v = r->s[i];
        }
    }
}

void fnn_vector_two_loops(const fnn_vector_layout *l, const fnn_vector_recursion *r)
{
    recursion_call call = {.l = l, .r = r};
    const double passes = 4.0 * (double)r->pairs + 1.0;
    fnn_team_call(&l->tunes[2], fnn_team_for(l->work), passes * l->work, recursion_body, &call);
}
