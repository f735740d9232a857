/* The C API: what the Cython extension sees. Callers have checked every shape, dtype and range; C only computes.
 *
 * Arrays are row-major. Activations are [batch, features] with `ld*` elements between rows; weights are [in, out] without
 * gaps. Sizes are element counts. Inputs must not overlap outputs except where a comment allows it. No function here
 * needs the GIL, and none allocates inside a parallel region. */
#ifndef FASTNN_H
#define FASTNN_H

#include "kernels/kernels.h"
#include "runtime/autotune.h"
#include "runtime/team.h"

/* ---- instruction sets (runtime/dispatch.c) and threads (runtime/team.c) ---- */

#define FNN_MAX_ISAS 4

size_t fnn_available_isas(const char *names[FNN_MAX_ISAS]); /* slowest first; returns how many */
bool fnn_use_isa(const char *name);                         /* false: this machine lacks it */
const fnn_kernels *fnn_active_kernels(fnn_dtype dtype);     /* of that in use, for FNN_F32 or FNN_F64 */

/* Element i of an array of k's compute type; NULL where there is no array. */
static inline void *fnn_at(const fnn_kernels *k, const void *array, size_t i)
{
    return array ? (char *)array + i * k->item : NULL;
}

/* What it holds. */
static inline double fnn_value(const fnn_kernels *k, const void *array, size_t i)
{
    return k->dtype == FNN_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

/* As fnn_at, of a parameter's states. */
static inline void fnn_states_at(const fnn_kernels *k, void *to[FNN_STATES], void *const state[FNN_STATES], size_t at)
{
    for (int i = 0; i < FNN_STATES; i++) to[i] = fnn_at(k, state[i], at);
}

int fnn_omp_max_threads(void);
int fnn_omp_version(void); /* _OPENMP, or 0 in a build without */
bool fnn_team_is_lost(void); /* a forked process has one thread */

/* ---- what went wrong inside a batch; the first problem by row is kept ---- */

typedef enum { FNN_OK, FNN_BAD_INDEX, FNN_BAD_LABEL, FNN_NOT_FINITE, FNN_BAD_RATE } fnn_problem;

typedef struct fnn_status {
    atomic_uint_fast64_t first; /* row << 8 | problem, or 0 */
    atomic_bool leave;          /* the team leaves at its next barrier: a problem, or time is up */
} fnn_status;

/* Keeps the problem of the lowest row, whichever thread meets which first. */
void fnn_report(fnn_status *status, size_t row, fnn_problem problem);

/* ---- operations: their kinds, arguments, and what a thread of a team does (ops/) ---- */

typedef enum {
#define FNN_OP(code, name, arguments, bind, split, roles, writes, phase, traits) FNN_OP_##code,
#define FNN_PLAN_OP(code, name, run, roles, writes, phase, traits) FNN_OP_##code,
#include "defs/ops.def"
#undef FNN_OP
#undef FNN_PLAN_OP
    FNN_OP_KINDS
} fnn_op_kind;

/* Rows of the user's array, taken by index, as floats: out = (float)((double)value * scale + shift). */
typedef struct fnn_gather {
    const char *source; /* [source_rows, features], rows row_stride bytes apart, elements adjacent */
    fnn_dtype dtype;
    ptrdiff_t row_stride;
    size_t item, source_rows, features;
    const int64_t *index; /* row r of the batch is row index[r] of the source; NULL: r itself */
    double scale, shift;
    size_t planes; /* more than 1: a row is so many planes, whose elements are to alternate: images with the channels first */
    bool check_finite;
    const char *weight; /* of the source's rows, in a dtype of their own; NULL: none. A row of weight 0 with what is not finite, */
    fnn_dtype weight_dtype; /* or so large that layers may overflow, becomes one of zeros */
    ptrdiff_t weight_stride;
    size_t weight_columns, weight_item; /* of several weights all are to be 0 */
    float *out;
    size_t ld;
    fnn_status *status;
} fnn_gather;

/* Integer labels by index, as int32, each checked against [0, classes). A bad one is stored as 0 and reported, but one that says
 * to ignore its row as -1. */
typedef struct fnn_gather_labels {
    const char *source;
    fnn_dtype dtype; /* an integer one */
    ptrdiff_t stride;
    size_t source_rows;
    const int64_t *index;
    int64_t classes;
    bool ignores;
    int64_t ignore; /* the label of rows to be ignored */
    int32_t *out;
    fnn_status *status;
} fnn_gather_labels;

/* y = f(bias + x w), by rows or by tiles. */
typedef struct fnn_dense_forward {
    size_t batch, in, out;
    bool by_rows;    /* take the rows of the split through all columns; else a tile of a grid over [batch, out] */
    bool transposed; /* w is stored [out, in]: the weights of another layer, transposed */
    const float *x;
    size_t ldx;
    const float *w, *b; /* b may be NULL */
    float *y;
    size_t ldy;
    float *z; /* receives the pre-activation; may be NULL */
    size_t ldz;
    fnn_activation activation;
    float alpha;
    float *scratch; /* this thread's own, for the product, or NULL */
} fnn_dense_forward;

/* dx = (dy w^T) f'(saved), f the activation that made x and saved its output (x itself) or its input. */
typedef struct fnn_dense_backward_input {
    size_t batch, in, out;
    bool by_rows, transposed; /* as above */
    const float *dy;
    size_t lddy;
    const float *w;
    float *dx;
    size_t lddx;
    bool accumulate; /* add to what dx holds, before the derivative */
    const float *saved;
    size_t ldsaved;
    fnn_activation activation;
    float alpha;
    float *scratch; /* this thread's own, for the product, or NULL */
} fnn_dense_backward_input;

/* A parameter (or any array) with its gradient and the states of its optimizer. */
typedef struct fnn_tensor {
    void *w;
    const void *g;
    void *state[FNN_STATES]; /* NULL where the rule has fewer */
    size_t n;
    bool is_double;
    int group;
    size_t units;       /* for max-norm: how many units there are (0: the array has none) ... */
    bool unit_together; /* ... and whether the weights of one lie side by side, or in a column */
} fnn_tensor;

/* dw = x^T dy and db = the sum of dy's rows; with `update`, w and b are updated instead of dw and db being stored. */
typedef struct fnn_dense_backward_weights {
    size_t batch, in, out;
    const float *x;
    size_t ldx;
    const float *dy;
    size_t lddy;
    float *dw, *db; /* either may be NULL: not wanted */
    bool accumulate;
    double l1, l2;                         /* penalty on w, added to dw before it is stored or used */
    const float *w;                        /* NULL: no penalty */
    const fnn_tensor *update_w, *update_b; /* NULL: no update */
    const fnn_update_rule *rules;          /* by group */
    const fnn_update_scalars *scalars;     /* by group */
    float *scratch; /* this thread's own, for the product of an update, or NULL */
} fnn_dense_backward_weights;

/* Batch normalisation by running statistics, by rows of the batch. */
typedef struct fnn_batchnorm_inference {
    fnn_batchnorm of;
    size_t pixels; /* more than 1: a row of the batch is so many rows */
} fnn_batchnorm_inference;

/* Windows over an image [height, width, channels]: of a convolution or a pooling. */
typedef struct fnn_window {
    size_t height, width, channels, out_height, out_width;
    size_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x;
    size_t pad_top, pad_left, pad_bottom, pad_right;
    size_t groups; /* of channels and filters */
} fnn_window;

/* A convolution and its gradients; weights [kernel_height, kernel_width, channels / groups, filters]. */
typedef struct fnn_conv2d {
    size_t batch, filters;
    fnn_window window;
    const float *x;
    size_t ldx; /* here and below from one image to the next */
    const float *w, *b; /* b may be NULL */
    float *y; /* forward: receives the outputs; backward: holds their gradient */
    size_t ldy;
    float *z; /* forward: receives the pre-activation; may be NULL */
    size_t ldz;
    const float *saved; /* backward: of the activation that made x, whose derivative is applied to dx */
    size_t ldsaved;
    float *dx;
    size_t lddx;
    bool accumulate; /* add to what dx, or dw and db, hold */
    fnn_activation activation;
    float alpha;
    float *partial;  /* of the weights' gradient: for each chunk of images dw, and behind it db */
    float *dw, *db;  /* either may be NULL */
    float *scratch;  /* this thread's own, fnn_conv2d_scratch floats */
} fnn_conv2d;

size_t fnn_conv2d_chunk(const fnn_window *w); /* images whose gradients are one sum */
size_t fnn_conv2d_scratch(const fnn_window *w, size_t filters, bool backward_input);

/* A pooling: y from x, or dx from y's gradient, which stands in y. */
typedef struct fnn_pool2d {
    fnn_window window;
    bool count_padding; /* of an average: the padding counts */
    const float *x;
    size_t ldx; /* here and below from one image to the next */
    float *y;
    size_t ldy;
    float *dx;
    size_t lddx;
} fnn_pool2d;

/* y = f(x), or dx = dy f'(saved), over [rows, columns]. In place is allowed. */
typedef struct fnn_elementwise {
    size_t columns;
    fnn_activation activation;
    float alpha;
    const float *x; /* forward: x; backward: dy */
    size_t ldx;
    const float *saved; /* backward only */
    size_t ldsaved;
    float *y;
    size_t ldy;
} fnn_elementwise;

/* PReLU over [rows, columns]: forward, backward, and the gradient of its slopes (by one thread where there is one slope). */
typedef struct fnn_prelu {
    size_t rows, columns;
    size_t step;        /* 1: a slope for every column; 0: one */
    const float *slope;
    const float *x;
    size_t ldx;
    const float *dy;
    size_t lddy;
    float *out; /* y, dx or the slopes' gradient */
    size_t ldout;
    bool accumulate; /* the slopes' gradient: add to what out holds */
} fnn_prelu;

/* y [rows, columns] = the largest of x's pieces; backward: y is dx [rows, pieces columns]. */
typedef struct fnn_maxout {
    size_t columns, pieces;
    const float *x;
    size_t ldx;
    const float *dy;
    size_t lddy;
    float *y;
    size_t ldy;
} fnn_maxout;

/* The penalty l1 sum |w| + l2 / 2 sum w^2 of an array. */
typedef struct fnn_penalty {
    size_t n;
    double l1, l2;
    const float *w;
    double *partial; /* forward: the terms of its value, [fnn_penalty_chunks(n)] */
    float *dw;       /* backward: its gradient is added to this */
} fnn_penalty;

#define FNN_UPDATE_CHUNK 4096 /* elements dealt out at a time: 16 KB an array, a few microseconds */
#define FNN_HYPER 8 /* hyper-parameters of a rule at most */

/* A parameter group: its rule, hyper-parameters and options, and how far it has come. */
typedef struct fnn_group {
    fnn_update_rule rule;
    double hyper[FNN_HYPER]; /* the rule's own, in the order that ops/optimizer.c takes them */
    double weight_decay;
    bool decoupled; /* weights decay by themselves; else the decay is part of the gradient */
    bool maximize;
    double l1, clip_value, max_norm, ema; /* 0: none */
    uint64_t t;                           /* steps done */
    double memory[2];                     /* numbers that the rule keeps from step to step */
} fnn_group;

/* The update of many arrays in one call. */
typedef struct fnn_update {
    const fnn_tensor *tensors;
    size_t count;
    const fnn_update_rule *rules;
    fnn_update_scalars *scalars; /* by group */
    size_t n_groups;
    double clip_norm; /* 0: none */
    bool skip_nonfinite;
    double *norms; /* [fnn_update_chunks]: sums of squares of the gradients, to be added in order; may be NULL */
    double *trust; /* [2 fnn_update_chunks]: the same of what a trust ratio is made of; may be NULL */
    double norm;   /* of all gradients, once BEGIN_UPDATE has run */
    bool skip;     /* and whether the step is left out */
} fnn_update;

/* What one thread does of an operation; `add` has y = x + saved. */
#define FNN_OP(code, name, arguments, bind, split, roles, writes, phase, traits) \
    void split(const fnn_kernels *k, const arguments *o, fnn_split s);
#define FNN_PLAN_OP(code, name, run, roles, writes, phase, traits)
#include "defs/ops.def"
#undef FNN_OP
#undef FNN_PLAN_OP
void fnn_op_begin_update(fnn_update *o); /* by one thread, behind all parts of the norm and before those of the update */
size_t fnn_ignored_labels(const fnn_gather_labels *o, size_t rows); /* how many of the batch's rows are to be ignored */

/* Terms of the penalty of n elements, and their sum in order. */
size_t fnn_penalty_chunks(size_t n);
double fnn_penalty_total(const double *partial, size_t n);

/* Chunks into which an update or a norm cuts these arrays. */
size_t fnn_update_chunks(const fnn_tensor *tensors, size_t count);

/* The numbers that the group's next step needs, in double; and once it has been done, note that. */
fnn_update_scalars fnn_update_prepare(const fnn_group *group, double lr);
void fnn_update_commit(fnn_group *group, const fnn_update_scalars *scalars);

/* The whole of an update by a team, from the norm to max-norm. */
void fnn_update_run(fnn_update *o, bool trust, bool max_norm, int threads);

/* By code: what defs/activations.def says. */
extern const fnn_activation_info fnn_activations[FNN_ACTIVATIONS];

/* By code: the names of the rules and how many state arrays each has. */
extern const char *const fnn_update_names[FNN_UPDATE_RULES];
extern const int fnn_update_states[FNN_UPDATE_RULES];

/* Sum of per-row losses, in chunks of 16 rows added in order. */
double fnn_sum_rows(const double *loss, size_t rows);

/* ---- eager calls: one operation, a team of `threads` (ops/table.c) ---- */

/* `arguments` is the operation's own struct above (for the gathers: fnn_gather, fnn_gather_labels). */
void fnn_eager(fnn_op_kind op, const void *arguments, size_t rows, int threads);

/* ---- random numbers (ops/random.c) ---- */

enum { FNN_STREAM_INIT = 0, FNN_STREAM_SHUFFLE = 1, FNN_STREAM_LAYERS = 16 }; /* from there on, one for each layer that draws */

void fnn_random_bits(uint64_t seed, uint32_t stream, uint32_t step, uint64_t offset, size_t n, uint32_t *out);
void fnn_permutation(uint64_t seed, uint32_t epoch, size_t n, int64_t *out);

/* ---- the plan (runtime/executor.c) ---- */

#define FNN_OP_BUFFERS 8

/* One operation of a plan. Buffers are positions in the workspace's table, in the order of the roles in defs/ops.def; -1 where there
 * is none. */
typedef struct fnn_op {
    fnn_op_kind kind;
    bool by_rows;      /* split by rows of the batch; else by tiles, chunks, or done by one thread */
    bool barrier;      /* a barrier stands after it */
    int buffer[FNN_OP_BUFFERS];
    size_t in, out;    /* columns of input and output */
    fnn_activation activation;
    float alpha;
    bool accumulate;
    int update_w, update_b; /* tensors that the op updates; -1: none */
    size_t first, last;     /* UPDATE: the tensors; MAXOUT: first is the number of pieces; GATHER: of an image's
                             * planes, 1 if its channels come last; BATCHNORM_*: of an image's pixels, or 0 */
    float eps;              /* normalisations */
    float rate;             /* the running statistics' momentum; the deviation of noise */
    uint32_t threshold;     /* dropout: of 65536 elements so many are dropped */
    uint32_t stream;        /* of the random numbers that the op draws */
    double l1, l2;          /* PENALTY_*, and DENSE_BACKWARD_WEIGHTS with a w: of w */
    fnn_loss_form form;     /* of a loss; its parameter is alpha */
    bool sum, full;         /* of a loss: the sum instead of the mean; Poisson's full form. DROPOUT: full: whole rows */
    fnn_window window;      /* of a convolution or a pooling */
    size_t scratch;         /* a product's: floats of each thread's own that it may use for any batch up to the plan's; 0: none */
} fnn_op;

typedef struct fnn_buffer {
    void *data;
    size_t ld; /* elements between rows */
} fnn_buffer;

/* The user's data of one call. */
typedef struct fnn_source {
    const char *data;
    fnn_dtype dtype;
    ptrdiff_t stride; /* bytes between rows */
    size_t item, rows;
    double scale, shift;
} fnn_source;

/* One call: the ops [first_op, last_op) of a plan, for each of `steps` batches of at most `batch` of `rows` rows. */
typedef struct fnn_run {
    const fnn_op *ops;
    size_t first_op, last_op;
    fnn_buffer *buffers; /* (threads + 1) tables of n_buffers: the first is read, the others are the threads' own copies */
    size_t n_buffers;    /* rounded up so that a table fills whole cache lines, at which it begins */
    int output;        /* the buffer that lands in `out`, or -1 */
    float *out;
    size_t ldout;
    fnn_source x, y, weight; /* weight: of the rows, one value each, or one for each output */
    size_t weight_columns;
    const int64_t *index; /* [rows], or NULL: rows in order */
    size_t rows, batch, steps;
    bool check_finite;
    int64_t classes;
    bool ignores;
    int64_t ignore; /* the label of rows that are in no mean and no sum */
    double seconds; /* stop between two steps once this has passed; 0: never */
    int threads;
    fnn_autotune *autotune; /* chooses between one thread and `threads`; NULL: always `threads` */
    uint64_t seed, step0; /* of what is drawn at random; step0: the number of the call's first step */
    fnn_update *update; /* scalars are filled by the call */
    fnn_group *groups;  /* t and memory move on by every step that is done */
    const double *lr;   /* [steps, groups]: a step that is left out leaves its rate to the next */
    float *scratch;      /* scratch_floats for each thread */
    size_t scratch_floats;
    /* results */
    double *losses; /* the loss of each step; may be NULL */
    double loss_sum;
    int64_t correct;
    size_t steps_done, steps_skipped;
    size_t rows_left_out; /* ignored ones, and those of the steps that were skipped: they are not in loss_sum and correct */
    fnn_status status;
    /* for the executor itself */
    size_t from, end; /* the steps of a piece */
    double begun;      /* when the call began */
} fnn_run;

void fnn_plan_run(fnn_run *run);

/* The register of operations (defs/ops.def, ops/table.c): words are separated by spaces. eager NULL: it needs a plan. */
struct fnn_step;
typedef struct fnn_op_kind_info {
    const char *name, *roles, *writes, *phase, *traits;
    void (*run)(const struct fnn_step *s, const fnn_op *op, fnn_split split);
    void (*eager)(const fnn_kernels *k, const void *arguments, fnn_split split);
} fnn_op_kind_info;
extern const fnn_op_kind_info fnn_op_kinds[FNN_OP_KINDS];

/* The problem of a finished run and its row within the batch. */
static inline fnn_problem fnn_status_problem(const fnn_status *s) { return (fnn_problem)(atomic_load(&s->first) & 0xFF); }
static inline size_t fnn_status_row(const fnn_status *s) { return (size_t)(atomic_load(&s->first) >> 8); }

#endif
