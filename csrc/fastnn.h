/* The C API: what the Cython extension sees. Callers have checked every shape, dtype and range; C only computes.
 *
 * Arrays are row-major. Activations are [batch, features] with `ld*` elements between rows; weights are [in, out] without
 * gaps. Sizes are element counts. Inputs must not overlap outputs except where a comment allows it. No function here
 * needs the GIL, and none allocates inside a parallel region. */
#ifndef FASTNN_H
#define FASTNN_H

#include "kernels/kernels.h"
#include "runtime/team.h"

/* ---- instruction sets (runtime/dispatch.c) ; for threads see runtime/team.h ---- */

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

/* Makes it hold a number. */
static inline void fnn_set_value(const fnn_kernels *k, void *array, size_t i, double value)
{
    if (k->dtype == FNN_F64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

/* As fnn_at, of a parameter's states. */
static inline void fnn_states_at(const fnn_kernels *k, void *to[FNN_STATES], void *const state[FNN_STATES], size_t at)
{
    for (int i = 0; i < FNN_STATES; i++) to[i] = fnn_at(k, state[i], at);
}

/* ---- what went wrong inside a batch; the first problem by row is kept ---- */

typedef enum { FNN_OK, FNN_BAD_INDEX, FNN_BAD_LABEL, FNN_NOT_FINITE, FNN_BAD_RATE, FNN_BAD_CODE, FNN_BAD_LOSS } fnn_problem;

typedef struct fnn_status {
    atomic_uint_fast64_t first; /* row << 8 | problem, or 0 */
    atomic_bool leave;          /* the team leaves at its next barrier: a problem, or time is up */
} fnn_status;

/* Keeps the problem of the lowest row, whichever thread meets which first. */
void fnn_report(fnn_status *status, size_t row, fnn_problem problem);

/* ---- optimizers (ops/optimizer.c) ---- */

/* A parameter (or any array) with its gradient and the states of its optimizer. */
typedef struct fnn_tensor {
    void *w;
    const void *g;
    void *state[FNN_STATES]; /* NULL where the rule has fewer */
    size_t n;
    bool is_double;
    int group;
    size_t matrices, rows, columns; /* of an array of two axes or more: how many matrices, which are [rows, columns], lie one behind the
                                       other; or */
    bool transposed;                /* the one [columns, rows] does, which is all other axes by the last */
    size_t room;                    /* bytes before its own in the room for whole arrays */
    size_t units;       /* for max-norm: how many units there are (0: the array has none) ... */
    bool unit_together; /* ... and whether the weights of one lie side by side, or in a column */
    const unsigned char *named; /* of a table whose rows are updated alone: a flag for each, whether it is; else NULL */
    size_t width;               /* elements of such a row */
} fnn_tensor;

#define FNN_UPDATE_CHUNK 4096 /* elements dealt out at a time: 16 KB an array, a few microseconds */

typedef union fnn_number {
    int64_t i;
    double d;
} fnn_number;

typedef enum {
#define FNN_FORM(code, name) code,
#include "defs/update_rules.def"
#undef FNN_FORM
    FNN_FORMS
} fnn_momentum_form;

typedef enum {
#define FNN_ADJUST(code, name) code,
#include "defs/update_rules.def"
#undef FNN_ADJUST
    FNN_ADJUSTMENTS
} fnn_adjustment;

#define FNN_INT(name, initial, least, below) int64_t name;
#define FNN_DOUBLE(name, initial, least, below) double name;
#define FNN_HYPER(name, settings) \
    typedef struct {              \
        settings                  \
    } fnn_##name##_hyper;
#include "defs/update_rules.def"
#undef FNN_HYPER

#define FNN_GROUP_VALUES 20

/* A parameter group: its rule, its settings, which are `value` in the order of their lists, and how far it has come. */
typedef struct fnn_group {
    fnn_update_rule rule;
    union {
        fnn_number value[FNN_GROUP_VALUES];
        struct {
            FNN_SETTINGS
            union { /* of the rule */
#define FNN_HYPER(name, settings) fnn_##name##_hyper name;
#include "defs/update_rules.def"
#undef FNN_HYPER
            };
        };
    };
    uint64_t t;       /* steps done */
    double memory[2]; /* numbers that the rule keeps from step to step */
} fnn_group;
#undef FNN_INT
#undef FNN_DOUBLE

/* A setting of a group that depends on the step: value[place]. */
typedef struct fnn_scheduled {
    int group, place;
} fnn_scheduled;

/* The update of many arrays in one call. */
typedef struct fnn_update {
    const fnn_tensor *tensors;
    size_t count;
    const fnn_update_rule *rules;
    fnn_update_scalars *scalars; /* by group */
    size_t n_groups;
    const fnn_scheduled *scheduled;
    size_t n_scheduled;
    const fnn_group *groups; /* once the update is prepared */
    void *room;              /* fnn_whole_room bytes, for rules that work on whole arrays; else NULL */
    double clip_norm; /* 0: none */
    bool skip_nonfinite;
    double *norms; /* [fnn_update_chunks]: sums of squares of the gradients, to be added in order; may be NULL */
    double *trust; /* [2 fnn_update_chunks]: the same of what a trust ratio is made of; may be NULL */
    double norm;   /* of all gradients, once BEGIN_UPDATE has run */
    bool skip;     /* and whether the step is left out */
} fnn_update;

/* Terms of the penalty of n elements, and their sum in order. */
size_t fnn_penalty_chunks(size_t n);
double fnn_penalty_total(const double *partial, size_t n);

/* Chunks into which an update or a norm cuts these arrays. */
size_t fnn_update_chunks(const fnn_tensor *tensors, size_t count);

/* The scalars of the next step, in double: `values` are the rates of the groups, then the settings that depend on the step. */
void fnn_update_prepare(fnn_update *o, fnn_group *groups, const double *values);
/* A step has been done. */
void fnn_update_commit(fnn_group *group, const fnn_update_scalars *scalars);

/* Bytes that the arrays need which are updated as wholes, 0 where there are none; notes each one's place in `tensors`, which are o's. */
size_t fnn_whole_room(const fnn_update *o, fnn_tensor *tensors);
bool fnn_updates_whole(const fnn_update *o, const fnn_tensor *t);
/* A thread's part of their update; all of the team call it. */
void fnn_whole_update(const fnn_update *o, int id, int count, fnn_barrier *barrier);

/* The whole of an update by a team, from the norm to max-norm. */
void fnn_update_run(fnn_update *o, bool trust, bool max_norm, fnn_autotune *tune, double work);

/* By code: what defs/activations.def and defs/losses.def say. */
extern const fnn_activation_info fnn_activations[FNN_ACTIVATIONS];
extern const char *const fnn_loss_names[FNN_LOSS_FORMS];

/* What defs/update_rules.def says of a setting, and of a rule. Lists end with a name that is NULL; in each string are words with spaces
 * between them. */
typedef struct fnn_setting_info {
    const char *name;
    bool whole; /* an int64_t */
    double initial, least, below;
} fnn_setting_info;

typedef struct fnn_update_rule_info {
    const char *name, *states, *matrix_states, *memory, *traits;
    int n_states, n_matrix_states;
    unsigned flags; /* its traits */
    const fnn_setting_info *hyper;
} fnn_update_rule_info;

extern const char *const fnn_momentum_forms[FNN_FORMS];
extern const char *const fnn_adjustments[FNN_ADJUSTMENTS];
extern const fnn_setting_info fnn_group_settings[];
extern const fnn_update_rule_info fnn_update_infos[FNN_UPDATE_RULES];

/* Sum of per-row losses, in chunks of 16 rows added in order. */
double fnn_sum_rows(const double *loss, size_t rows);

/* ---- random numbers (ops/random.c) ---- */

enum {
    FNN_STREAM_INIT = 0,
    FNN_STREAM_SHUFFLE = 1,
    FNN_STREAM_AUGMENT = 2, /* what members of a chain draw; */
    FNN_STREAM_NOISE = 3,   /* and of those that draw for every pixel each its own, 2^24 apart */
    FNN_STREAM_LAYERS = 16  /* from there on, one for each layer that draws */
};

/* One block of the generator of kernels/random.h. */
void fnn_philox(const uint32_t counter[4], uint64_t seed, uint32_t word[4]);

void fnn_random_bits(uint64_t seed, uint32_t stream, uint32_t step, uint64_t offset, size_t n, uint32_t *out);
void fnn_permutation(uint64_t seed, uint32_t epoch, size_t n, int64_t *out);

/* ---- the plan (runtime/executor.c) ---- */

typedef enum {
#define FNN_OP(name, parameters, roles, writes, phase, traits, work) FNN_OP_##name,
#include "defs/ops.def"
#undef FNN_OP
    FNN_OP_KINDS
} fnn_op_kind;

#define FNN_INT(name) int64_t name;
#define FNN_DOUBLE(name) double name;
#define FNN_PARAMETERS(name, fields) \
    typedef struct {                 \
        fields                       \
    } fnn_##name##_parameters;
#include "defs/ops.def"
#undef FNN_INT
#undef FNN_DOUBLE
#undef FNN_PARAMETERS

#define FNN_OP_BUFFERS 8
#define FNN_OP_PARAMETERS 20

/* One operation of a plan: what all have in common, then the parameters of its kind, which are `value` in the order of their list. */
typedef struct fnn_op {
    fnn_op_kind kind;
    bool by_rows; /* split by rows of the batch; else by tiles, chunks, or done by one thread */
    bool barrier; /* a barrier stands after it */
    bool updates; /* it changes parameters: the step counts as one of the optimizer's */
    int buffer[FNN_OP_BUFFERS]; /* positions in the workspace's table, in the order of the roles; -1 where there is none */
    size_t scratch; /* bytes of each thread's own that it may use for any batch up to the plan's; 0: none */
    size_t scratch_at; /* where they begin in the thread's scratch */
    size_t depth; /* so many operations begin with this one that each thread takes a few of its rows through before the next few; 0: none */
    size_t few; /* how many rows, at most */
    union {
        fnn_number value[FNN_OP_PARAMETERS];
#define FNN_PARAMETERS(name, fields) fnn_##name##_parameters name;
#include "defs/ops.def"
#undef FNN_PARAMETERS
    };
} fnn_op;

/* ---- augmentation (ops/augment.c) ---- */

typedef enum {
#define FNN_AUGMENTATION(name, fields) FNN_AUGMENT_##name,
#include "defs/augment.def"
#undef FNN_AUGMENTATION
    FNN_AUGMENTATIONS
} fnn_augmentation_kind;

#define FNN_INT(name) int64_t name;
#define FNN_DOUBLE(name) double name;
#define FNN_AUGMENTATION(name, fields) \
    typedef struct {                   \
        fields                         \
    } fnn_augment_##name##_parameters;
#include "defs/augment.def"
#undef FNN_INT
#undef FNN_DOUBLE
#undef FNN_AUGMENTATION

#define FNN_AUGMENT_PARAMETERS 4

/* One member of a chain: its kind and that one's parameters, which are `value` in the order of their list. */
typedef struct fnn_augmentation {
    fnn_augmentation_kind kind;
    union {
        fnn_number value[FNN_AUGMENT_PARAMETERS];
#define FNN_AUGMENTATION(name, fields) fnn_augment_##name##_parameters name;
#include "defs/augment.def"
#undef FNN_AUGMENTATION
    };
} fnn_augmentation;

typedef struct fnn_augmentation_info {
    const char *name, *parameters; /* as of fnn_op_kind_info */
} fnn_augmentation_info;
extern const fnn_augmentation_info fnn_augmentations[FNN_AUGMENTATIONS];

#define FNN_QUANTILES 1024 /* stretches of the table of a Mixup's distribution */
#define FNN_MIXED_ROWS 16  /* rows whose losses are mixed at a time */

/* A chain, and what it draws from. */
typedef struct fnn_augment {
    const fnn_augmentation *steps;
    size_t count, mixup;            /* the number of the member that is a Mixup; `count` where none is */
    size_t first;                   /* the number of the first member, which its draws hang on */
    size_t height, width, channels; /* of the images, and */
    size_t pixels;                  /* of the largest that they become on the way, with a ring about it */
    size_t columns;                 /* elements of what they become in the end */
    double work;                    /* of a row, as that of operations */
    const double *quantiles;        /* [FNN_QUANTILES + 1] */
    uint64_t seed;
    uint32_t epoch;
    const int64_t *samples; /* the number of each row of the source, which its draws hang on; NULL: the rows' own */
    char *scratch;          /* fnn_augment_scratch bytes for each thread, in whole cache lines */
    size_t scratch_bytes;
} fnn_augment;

/* Works out what hangs on members and sizes alone; false where they do not fit. */
bool fnn_augment_measure(fnn_augment *a);

/* Bytes that a thread needs. outputs: of a row of the loss, where there is a Mixup; and those of them that its loss needs (ops/loss.c). */
size_t fnn_augment_scratch(const fnn_augment *a, size_t item, size_t outputs);
size_t fnn_mixed_loss_bytes(size_t outputs);
size_t fnn_loss_outputs(const fnn_op *ops, size_t count); /* the most of a loss of these operations */

/* Images whose part of a convolution's gradient of the weights is one sum; and the elements that a thread needs for its windows. */
size_t fnn_conv2d_chunk(const fnn_op *op);
size_t fnn_conv2d_scratch(const fnn_op *op);

typedef struct fnn_buffer {
    void *data;
    size_t ld; /* elements between rows */
} fnn_buffer;

/* Where the elements of sparse rows (CSR) belong: those of row r are number indptr[r] to indptr[r + 1], in columns indices[...]. None of
 * these numbers is trusted. */
typedef struct fnn_sparse {
    const char *indptr, *indices; /* int64 where wide, else int32; indptr NULL: the rows are dense */
    bool wide;
    size_t entries; /* how many there are of indices and elements */
} fnn_sparse;

/* The user's data of one call. */
typedef struct fnn_source {
    const char *data;
    fnn_dtype dtype;
    ptrdiff_t stride; /* bytes between rows */
    size_t item, rows;
    double scale, shift;
    fnn_sparse sparse; /* of which `data` are the elements */
} fnn_source;

#define FNN_NOT_NEAR SIZE_MAX

/* One call: the ops [first_op, last_op) of a plan, for each of `steps` batches of at most `batch` of `rows` rows. */
typedef struct fnn_run {
    const fnn_op *ops;
    size_t first_op, last_op;
    fnn_dtype dtype;     /* that the model computes in, FNN_F32 or FNN_F64 */
    fnn_buffer *buffers; /* (threads + 1) tables of n_buffers: the first is read, the others are the threads' own copies */
    size_t n_buffers;    /* rounded up so that a table fills whole cache lines, at which it begins */
    const size_t *near;  /* of each buffer: where in a thread's scratch it has the few rows that it is at, or FNN_NOT_NEAR */
    int output;        /* the buffer that lands in `out`, or -1 */
    void *out;
    size_t ldout;
    const fnn_augment *augment; /* what is done to the rows of x; NULL: nothing */
    fnn_source x, y, weight; /* weight: of the rows, one value each, or one for each output */
    size_t weight_columns;
    const int64_t *index; /* [rows], or NULL: rows in order */
    size_t rows, batch, steps;
    bool check_losses; /* a row whose loss is not finite is a problem, before anything changes */
    bool check_finite;
    int64_t classes;
    bool ignores;
    int64_t ignore; /* the label of rows that are in no mean and no sum */
    double seconds; /* stop between two steps once this has passed; 0: never */
    int threads;
    double work;            /* of a batch; see fnn_team_for */
    fnn_autotune *autotune; /* chooses between one thread and `threads` */
    uint64_t seed, step0; /* of what is drawn at random; step0: the number of the call's first step */
    size_t row0;          /* where the batch is a part of a larger one: how many of its rows come before */
    fnn_update *update; /* scalars are filled by the call */
    bool commits;       /* a step is done at the end of these ops; else it goes on */
    fnn_group *groups;  /* t and memory move on by every step that is done */
    const double *settings; /* [steps, groups + scheduled], see fnn_update_prepare: a step that is left out leaves its own to the next */
    const double *shares; /* [steps, n_shares]: what is dropped, where that depends on the step, by the number of the plan's schedule */
    size_t n_shares;
    char *scratch;       /* scratch_bytes for each thread */
    size_t scratch_bytes;
    /* results */
    double *losses; /* the loss of each step; may be NULL */
    double loss_sum; /* of the rows, added to what stood there: the same bits, however many calls an epoch is made of */
    int64_t correct;
    size_t steps_done, steps_skipped;
    size_t rows_left_out; /* ignored ones, and those of the steps that were skipped: they are not in loss_sum and correct */
    fnn_status status;
    /* for the executor itself */
    size_t from, end; /* the steps of a piece */
    double begun;      /* when the call began */
} fnn_run;

void fnn_plan_run(fnn_run *run);

/* The register of operations by code (defs/ops.def, ops/table.c). In each string are words with spaces between them; one of
 * `parameters` begins with the letter of its kind, i or d. */
struct fnn_step;
typedef struct fnn_op_kind_info {
    const char *name, *parameters, *roles, *writes, *phase, *traits;
    double (*work)(const fnn_op *op, double rows);
    void (*run)(const struct fnn_step *s, const fnn_op *op, fnn_split split);
} fnn_op_kind_info;
extern const fnn_op_kind_info fnn_op_kinds[FNN_OP_KINDS];

/* One operation by at most run->threads threads, 0: as many as its work is worth, on the buffers of its roles, without a plan around
 * it. Of the run it has the rows, scratch for so many threads if it needs any, and what else it reads. */
void fnn_eager(const fnn_op *op, fnn_buffer *buffers, fnn_run *run, double work);

/* The problem of a finished run and its row within the batch. */
static inline fnn_problem fnn_status_problem(const fnn_status *s) { return (fnn_problem)(atomic_load(&s->first) & 0xFF); }
static inline size_t fnn_status_row(const fnn_status *s) { return (size_t)(atomic_load(&s->first) >> 8); }

#endif
