/* Updates of whole arrays: rules whose step of one element depends on all others, or on those of its row and column.
 *
 * A large array is shared by the team, in phases between which it meets; a small one is one thread's. What is computed depends on
 * neither: sums over elements are over fixed chunks, rows or columns, added in the order of their numbers. */
#include "../fastnn.h"

#include <float.h>
#include <math.h>

#define FNN_WHOLE_LARGE 8192 /* elements from which on an array is shared */

static const atomic_bool never; /* nothing here can fail, so nobody leaves */

typedef struct {
    const fnn_kernels *k;
    const fnn_update *o;
    const fnn_tensor *t;
    const fnn_group *g; /* for its settings; what depends on the number of the step is in s */
    fnn_update_scalars s;
    int id, count;
    fnn_barrier *barrier;    /* NULL: alone */
    double *part;            /* in the room: sums of chunks or rows, twice as many as there are of either, */
    void *u, *x, *a, *b, *c; /* and matrices: the prepared gradient; for Newton-Schulz another, and three of the smaller side squared */
} whole;

static void meet(const whole *o)
{
    if (o->barrier) fnn_barrier_wait(o->barrier, o->id, o->count, &never);
}

static fnn_split share(const whole *o, size_t n) { return fnn_split_of(o->id, o->count, n); }

static size_t chunks(size_t n) { return (n + FNN_UPDATE_CHUNK - 1) / FNN_UPDATE_CHUNK; }

static size_t chunk_size(size_t n, size_t i) { return fnn_min(FNN_UPDATE_CHUNK, n - i * FNN_UPDATE_CHUNK); }

static double sum(const double *part, size_t n)
{
    double found = 0.0;
    for (size_t i = 0; i < n; i++) found += part[i];
    return found;
}

static bool is_matrix(const fnn_update *o, const fnn_tensor *t) { return t->rows && fnn_update_infos[o->rules[t->group]].n_matrix_states; }

bool fnn_updates_whole(const fnn_update *o, const fnn_tensor *t)
{
    const unsigned flags = fnn_update_infos[o->rules[t->group]].flags;
    if (t->n == 0) return false; /* there is nothing to do, and no row to take a mean of */
    return flags & FNN_TRAIT_whole || (flags & FNN_TRAIT_matrices && is_matrix(o, t));
}

/* Sums, then matrices, each at a multiple of 64 bytes. */
static size_t parts(const fnn_tensor *t) { return 2 * fnn_max(chunks(t->n), t->rows ? t->n / fnn_min(t->rows, t->columns) : 0); }
static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }
static size_t side(const fnn_tensor *t) { return fnn_min(t->rows * t->matrices, t->columns); }

static size_t room(const fnn_update *o, const fnn_tensor *t)
{
    const size_t item = t->is_double ? 8 : 4, n = padded(t->n * item);
    size_t bytes = padded(parts(t) * sizeof(double)) + n;
    if (o->rules[t->group] == FNN_MUON) bytes += n + 3 * padded(side(t) * side(t) * item);
    return bytes;
}

size_t fnn_whole_room(const fnn_update *o, fnn_tensor *tensors)
{
    size_t shared = 0, total = 0;
    for (size_t i = 0; i < o->count; i++)
        if (fnn_updates_whole(o, &tensors[i]) && tensors[i].n >= FNN_WHOLE_LARGE) shared = fnn_max(shared, room(o, &tensors[i]));
    total = shared;
    for (size_t i = 0; i < o->count; i++) {
        tensors[i].room = 0;
        if (!fnn_updates_whole(o, &tensors[i]) || tensors[i].n >= FNN_WHOLE_LARGE) continue;
        tensors[i].room = total;
        total += room(o, &tensors[i]);
    }
    return total;
}

/* The gradient as the options say, in u; part[i] = the sum of squares of chunk i of it, or of the weights. */
static void prepare(const whole *o, bool of_weights)
{
    const fnn_split mine = share(o, chunks(o->t->n));
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t at = i * FNN_UPDATE_CHUNK, n = chunk_size(o->t->n, i);
        const void *w = fnn_at(o->k, o->t->w, at);
        void *u = fnn_at(o->k, o->u, at);
        o->k->prepared_gradient(n, &o->s, w, fnn_at(o->k, o->t->g, at), u);
        if (of_weights) o->part[i] = o->k->sum_squares(n, w);
    }
}

/* w <- w - lr x, with what else an update does to weights: the loop of SGD, for which x is the gradient. */
static void finish(const whole *o, const void *x, double lr)
{
    fnn_update_scalars s = o->s;
    s.lr = lr;
    s.options &= FNN_DECAY | FNN_THRESHOLD | FNN_EMA;
    const fnn_split mine = share(o, chunks(o->t->n));
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t at = i * FNN_UPDATE_CHUNK, n = chunk_size(o->t->n, i);
        void *state[FNN_STATES] = {0};
        state[FNN_AVERAGE] = fnn_at(o->k, o->t->state[FNN_AVERAGE], at);
        o->k->update[FNN_SGD](1, n, &s, fnn_at(o->k, o->t->w, at), n, fnn_at(o->k, x, at), n, state);
    }
}

/* ---- Adafactor (Shazeer and Stern 2018), as PyTorch has it ---- */

static void put(const fnn_kernels *k, void *array, size_t i, double value)
{
    if (k->dtype == FNN_F64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

/* state[i] <- state[i] + weight (mean - state[i]) */
static void move(const fnn_kernels *k, void *state, size_t i, double mean, double weight)
{
    const double held = fnn_value(k, state, i);
    put(k, state, i, held + weight * (mean - held));
}

/* The means of squares of rows and of columns, of each matrix as it lies in memory; the sums of squares of what the gradient becomes, by
 * row, in part + parts. Returns how many these are. */
static size_t factored(const whole *o, double weight, double eps, double *squares)
{
    const fnn_kernels *k = o->k;
    const fnn_tensor *t = o->t;
    const size_t rows = t->transposed ? t->columns : t->rows, columns = t->transposed ? t->rows : t->columns, all = t->matrices * rows;
    void *by_row = t->state[t->transposed], *by_column = t->state[!t->transposed];
    fnn_split mine = share(o, all);
    for (size_t r = mine.begin; r < mine.end; r++)
        move(k, by_row, r, k->sum_squares(columns, fnn_at(k, o->u, r * columns)) / (double)columns, weight);
    const size_t lanes = 64 / k->item, blocks = (columns + lanes - 1) / lanes;
    mine = share(o, t->matrices * blocks);
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t matrix = i / blocks, j = i % blocks * lanes, n = fnn_min(lanes, columns - j);
        double sums[16];
        k->square_columns(rows, n, fnn_at(k, o->u, matrix * rows * columns + j), columns, sums);
        for (size_t h = 0; h < n; h++) move(k, by_column, matrix * columns + j + h, sums[h] / (double)rows, weight);
    }
    meet(o);
    mine = share(o, all);
    double mean = 0.0;
    for (size_t r = mine.begin, last = (size_t)-1; r < mine.end; r++) {
        const size_t matrix = r / rows;
        if (matrix != last) { /* the mean of PyTorch's row_var, which are columns of what is transposed */
            mean = 0.0;
            for (size_t i = 0; i < t->rows; i++) mean += fnn_value(k, t->state[0], matrix * t->rows + i);
            mean = fmax(mean / (double)t->rows, eps);
            last = matrix;
        }
        void *u = fnn_at(k, o->u, r * columns);
        k->divided_by_root(columns, fnn_value(k, by_row, r) / mean, fnn_at(k, by_column, matrix * columns), NULL, eps * eps, u);
        squares[r] = k->sum_squares(columns, u);
    }
    return all;
}

static size_t unfactored(const whole *o, double weight, double eps, double *squares)
{
    const fnn_split mine = share(o, chunks(o->t->n));
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t at = i * FNN_UPDATE_CHUNK, n = chunk_size(o->t->n, i);
        void *u = fnn_at(o->k, o->u, at), *variance = fnn_at(o->k, o->t->state[0], at);
        o->k->variance_of(n, weight, u, variance);
        o->k->divided_by_root(n, 0.0, NULL, variance, eps * eps, u);
        squares[i] = o->k->sum_squares(n, u);
    }
    return chunks(o->t->n);
}

static void adafactor(whole *o)
{
    const fnn_adafactor_hyper *h = &o->g->adafactor;
    const fnn_tensor *t = o->t;
    const double weight = o->s.mix, n = (double)t->n;
    const double eps = h->eps1 >= 0 ? h->eps1 : t->is_double ? DBL_EPSILON : (double)FLT_EPSILON;
    double *squares = o->part + parts(t) / 2;
    prepare(o, true);
    meet(o);
    const size_t count = is_matrix(o->o, t) ? factored(o, weight, eps, squares) : unfactored(o, weight, eps, squares);
    meet(o);
    const double alpha = fmax(h->eps2, sqrt(sum(o->part, chunks(t->n)) / n)) * o->s.second_lr;
    if (o->s.decay != 0) {
        o->s.keep = 1.0 - o->s.lr * o->s.decay;
        o->s.options |= FNN_DECAY;
    }
    finish(o, o->u, alpha / fmax(1.0, sqrt(sum(squares, count) / n) / h->d));
}

/* ---- Muon (Jordan et al. 2024), as PyTorch has it ---- */

/* Rows [begin, end) of C = A B, or of C + A B. */
static void product(const whole *o, size_t n, size_t k, const void *a, size_t lda, bool a_transposed, const void *b,
                    size_t ldb, bool b_transposed, void *c, bool accumulate, fnn_split rows)
{
    const fnn_product g = {
        .m = rows.end - rows.begin,
        .n = n,
        .k = k,
        .a = fnn_at(o->k, a, a_transposed ? rows.begin : rows.begin * lda),
        .lda = lda,
        .a_transposed = a_transposed,
        .b = b,
        .ldb = ldb,
        .b_transposed = b_transposed,
        .c = fnn_at(o->k, c, rows.begin * n),
        .ldc = n,
        .accumulate = accumulate,
    };
    if (g.m) o->k->gemm(&g);
}

/* X <- a X + (b G + c G G) X with G = X X^T, or the same transposed where X has more rows than columns; returns where X is. */
static void *orthogonalized(whole *o)
{
    const fnn_muon_hyper *h = &o->g->muon;
    const fnn_kernels *k = o->k;
    const size_t user_rows = o->t->rows * o->t->matrices;
    const size_t m = o->t->transposed ? o->t->columns : user_rows, n = o->t->transposed ? user_rows : o->t->columns, small = fnn_min(m, n);
    const bool tall = m > n;
    const fnn_split square = share(o, small), rows = share(o, m);
    const size_t at = square.begin * small, count = (square.end - square.begin) * small;
    void *x = o->u, *next = o->x;
    for (int64_t i = 0; i < h->ns_steps; i++) {
        product(o, small, tall ? m : n, x, n, tall, x, n, !tall, o->a, false, square);
        k->scaled(count, h->ns_b, fnn_at(k, o->a, at), fnn_at(k, o->b, at));
        k->scaled(count, h->ns_c, fnn_at(k, o->a, at), fnn_at(k, o->c, at));
        meet(o);
        product(o, small, small, o->c, small, false, o->a, small, false, o->b, true, square);
        meet(o);
        k->scaled((rows.end - rows.begin) * n, h->ns_a, fnn_at(k, x, rows.begin * n), fnn_at(k, next, rows.begin * n));
        if (tall)
            product(o, n, n, x, n, false, o->b, n, false, next, true, rows);
        else
            product(o, n, m, o->b, m, false, x, n, false, next, true, rows);
        meet(o);
        void *held = x;
        x = next;
        next = held;
    }
    return x;
}

static void muon(whole *o)
{
    const fnn_muon_hyper *h = &o->g->muon;
    const fnn_tensor *t = o->t;
    const fnn_split mine = share(o, chunks(t->n));
    prepare(o, false);
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t from = i * FNN_UPDATE_CHUNK, n = chunk_size(t->n, i);
        void *u = fnn_at(o->k, o->u, from);
        o->k->momentum_of(n, 1.0 - h->momentum, h->nesterov, h->momentum, fnn_at(o->k, t->state[0], from), u);
        o->part[i] = o->k->sum_squares(n, u);
    }
    meet(o);
    const double norm = sqrt(sum(o->part, chunks(t->n)));
    for (size_t i = mine.begin; i < mine.end; i++) {
        void *u = fnn_at(o->k, o->u, i * FNN_UPDATE_CHUNK);
        o->k->scaled(chunk_size(t->n, i), 1.0 / fmax(norm, h->eps), u, u);
    }
    meet(o);
    const void *x = orthogonalized(o);
    const double out = (double)t->columns, in = (double)(t->rows * t->matrices);
    finish(o, x, o->s.second_lr * (h->adjust_lr_fn == FNN_ADJUST_ORIGINAL ? sqrt(fmax(1.0, out / in)) : 0.2 * sqrt(fmax(out, in))));
}

/* ---- all arrays ---- */

static void update_one(const fnn_update *o, const fnn_tensor *t, int id, int count, fnn_barrier *barrier)
{
    whole w = {.k = fnn_active_kernels(t->is_double ? FNN_F64 : FNN_F32), .o = o, .t = t, .g = &o->groups[t->group],
               .s = o->scalars[t->group], .id = id, .count = count, .barrier = barrier};
    char *at = (char *)o->room + t->room;
    const size_t n = padded(t->n * w.k->item), square = padded(side(t) * side(t) * w.k->item);
    w.part = (double *)at;
    w.u = at += padded(parts(t) * sizeof(double));
    w.x = at += n;
    w.a = at += n;
    w.b = at += square;
    w.c = at + square;
    if (o->rules[t->group] == FNN_ADAFACTOR)
        adafactor(&w);
    else
        muon(&w);
}

void fnn_whole_update(const fnn_update *o, int id, int count, fnn_barrier *barrier)
{
    size_t small = 0;
    for (size_t i = 0; i < o->count; i++) {
        const fnn_tensor *t = &o->tensors[i];
        if (!fnn_updates_whole(o, t)) continue;
        if (t->n < FNN_WHOLE_LARGE) {
            if (small++ % (size_t)count == (size_t)id) update_one(o, t, 0, 1, NULL);
            continue;
        }
        update_one(o, t, id, count, count > 1 ? barrier : NULL);
        if (count > 1) fnn_barrier_wait(barrier, id, count, &never); /* the room is the next one's */
    }
}
