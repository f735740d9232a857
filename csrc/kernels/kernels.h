/* What a kernel is given, and the table of kernels that each ISA fills.
 *
 * A kernel is what one thread does to one slice: plain pointers and sizes, no threads, no allocation, no failure.
 * Sizes are element counts. `ld` is the distance between the starts of two rows, in elements. Pointers need only the
 * alignment of their type. Outputs may be the same array as an input only where it says so. */
#ifndef FNN_KERNELS_H
#define FNN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What arrays of a model hold: float or double in the kernels, which are compiled once for each (simd/real.h); void for all others,
 * who only hand arrays on. Scalars are doubles; the kernels round each once. */
#ifndef FNN_REAL
#define FNN_REAL void
#endif
typedef FNN_REAL real;

/* Elementwise activations y = f(z). */
typedef enum {
#define FNN_ACTIVATION(code, name, ...) code,
#include "../defs/activations.def"
#undef FNN_ACTIVATION
    FNN_ACTIVATIONS
} fnn_activation;

typedef struct fnn_activation_info {
    const char *name, *saves;
    double alpha, lowest;
    const char *init, *layer;
} fnn_activation_info;

/* Update rules of the optimizers, and what some need beside their loop over the elements. */
typedef enum {
#define FNN_UPDATE(code, name, ...) code,
#include "../defs/update_rules.def"
#undef FNN_UPDATE
    FNN_UPDATE_RULES
} fnn_update_rule;

enum { FNN_TRAIT_own_decay = 1, FNN_TRAIT_trust = 2, FNN_TRAIT_whole = 4, FNN_TRAIT_matrices = 8, FNN_TRAIT_every_step = 16 };

#define FNN_STATES 4  /* arrays beside a parameter: at most three of its rule's own, then */
#define FNN_AVERAGE 3 /* the moving average of the parameter, where one is kept */

/* What is done around the rule, to any optimizer's gradients and weights. */
enum {
    FNN_SCALE = 1,      /* g = gradient_scale g: clipping by the global norm; a minus sign to maximize */
    FNN_CLIP = 2,       /* g into [-clip_value, clip_value] */
    FNN_L2 = 4,         /* g += weight_decay w */
    FNN_DECAY = 8,      /* w *= keep, before the rule */
    FNN_THRESHOLD = 16, /* after the rule: w towards 0 by threshold, and no further (the proximal step of L1) */
    FNN_EMA = 32        /* average += one_ema (w - average); in the first step average = w */
};

/* Numbers of an update that are the same for all elements, hoisted out of the loop, in double (ops/optimizer.c). What the
 * rule's own mean, each rule says in kernels/optimizer.h. */
typedef struct fnn_update_scalars {
    double lr;        /* the step's rate, with any factors that are the same for all elements */
    double second_lr; /* of rules that take two directions */
    double beta1, one_beta1, beta2, one_beta2;
    double inverse_sqrt_bc2; /* 1 / sqrt(1 - beta2^t) */
    double eps, mix, decay;
    bool first; /* what the rule does in its first step or steps only */

    unsigned options; /* of the above; 0: the rule alone */
    bool start;       /* the group's first step */
    double gradient_scale, clip_value, weight_decay, keep, threshold, one_ema;
    double max_norm;  /* of a unit's weights, by a pass of its own; 0: any */
    double memory[2]; /* the group's, once this step has been done */
} fnn_update_scalars;

/* What a matrix product does to a finished tile of C while it is in cache. */
typedef enum {
    FNN_EPILOGUE_NONE,
    FNN_EPILOGUE_ACTIVATION, /* z = C where z is wanted, then C = f(C) */
    FNN_EPILOGUE_DERIVATIVE, /* C = C * f'(saved) */
    FNN_EPILOGUE_UPDATE      /* C is a gradient: w and its states are updated from it; C is not stored */
} fnn_epilogue;

/* C [m, n] = start + A [m, k] B [k, n]: one fused multiply-add chain an element, in the order of k, from `start`. */
typedef struct fnn_product {
    size_t m, n, k;
    const real *a; /* a_transposed: stored [k, m] */
    size_t lda;
    bool a_transposed;
    const real *b; /* b_transposed: stored [n, k] */
    size_t ldb;
    bool b_transposed;
    const real *bias; /* start: this row [n], or */
    bool accumulate;   /* what C holds, or (neither) zero */
    real *c;
    size_t ldc;
    fnn_epilogue epilogue;
    fnn_activation activation;
    double alpha;
    real *z; /* ACTIVATION: receives the pre-activation; may be NULL */
    size_t ldz;
    const real *saved; /* DERIVATIVE: the activation's output or input, as it saves */
    size_t ldsaved;
    fnn_update_rule rule; /* UPDATE: w and states, each [m, n] with rows ldw apart; unused states are NULL */
    const fnn_update_scalars *scalars;
    real *w, *state[FNN_STATES];
    size_t ldw;
    double l1, l2; /* penalty on weights [m, n] with rows ldw apart, whose gradient is added to C before the epilogue */
    const real *penalized; /* NULL: none */
    real *scratch; /* room for fnn_product_scratch elements, or NULL */
    bool large_k;    /* an update of which fnn_product_has_large_k */
} fnn_product;

#define FNN_UPDATE_DEPTH 256 /* k up to which an update never packs B */
#define FNN_PACK_LD 512 /* a row of B of 2 KB: from here on rows lie too far apart to be read as they are by many tiles */
#define FNN_LARGE_K_MIN_ROWS 384 /* an update over many k, see below, goes through at least so many rows of w at a time, ... */
#define FNN_LARGE_K_MAX_ROWS 768 /* ... at most so many, for all of which B is packed once, ... */
#define FNN_LARGE_K_ROOM (FNN_LARGE_K_MAX_ROWS * (1024 + 64)) /* ... and more than the least only where this holds what they need */
#define FNN_KC_SCRATCH 1056   /* k in a block of B where there is scratch to pack it in: 264 KB, of which the L2 cache holds two */
#define FNN_PACKED_ROOM (FNN_KC_SCRATCH * 64) /* elements, for panels of at most 64 columns */

#define FNN_SUM_BLOCK 65536 /* terms of a sum in one chain; see sums.h */

static inline size_t fnn_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t fnn_max(size_t a, size_t b) { return a > b ? a : b; }

/* Rows of w that such an update goes through at a time: each needs k floats for its column of A and 64 for gradients. */
static inline size_t fnn_large_k_rows(size_t k)
{
    return fnn_max(FNN_LARGE_K_MIN_ROWS, fnn_min(FNN_LARGE_K_MAX_ROWS, FNN_LARGE_K_ROOM / (k + 64)));
}

/* The floats for them: for all k up to this one, since the last batch may be a shorter one. */
static inline size_t fnn_large_k_room(size_t k)
{
    return fnn_max(fnn_min(FNN_LARGE_K_MAX_ROWS * (k + 64), FNN_LARGE_K_ROOM), FNN_LARGE_K_MIN_ROWS * (k + 64));
}

/* An update over so many k that its columns of A are copied together by the kernels that do not pack strips. */
static inline bool fnn_product_has_large_k(size_t m, size_t n, size_t k)
{
    return k > FNN_UPDATE_DEPTH && k <= 4096 && m >= FNN_LARGE_K_MIN_ROWS && n >= FNN_PACK_LD;
}

/* An update by kernels that go through W in the order of its memory (gemm/narrow.h): so many columns at most, of so many
 * rows at a time, whose gradient is kept meanwhile; on the stack, where it has no scratch. */
#define FNN_UPDATE_LITTLE 6144
#define FNN_UPDATE_GRADIENT 24576 /* floats: 96 KB of the L2 cache */
#define FNN_UPDATE_ROWS_MOST 96
#define FNN_UPDATE_B (1 << 19) /* floats of B that are packed */
#define FNN_UPDATE_N 192 /* scratch is worth it for so many columns, */
#define FNN_UPDATE_K 4096 /* and given for batches of so many rows */

static inline size_t fnn_update_columns(bool scratch, size_t k)
{
    return scratch ? fnn_min(1024, FNN_UPDATE_B / fnn_max(k, 1) / 16 * 16) : FNN_UPDATE_LITTLE / 6;
}

static inline size_t fnn_update_rows(bool scratch, size_t m, size_t n)
{
    const size_t most = fnn_min(FNN_UPDATE_ROWS_MOST, (scratch ? FNN_UPDATE_GRADIENT : FNN_UPDATE_LITTLE) / n / 6 * 6);
    return fnn_min(most, m);
}

/* The floats of scratch for it, for all m, n and k up to these: B, strips of A, the gradient. */
static inline size_t fnn_update_room(size_t m, size_t n, size_t k)
{
    const size_t rows = fnn_min(FNN_UPDATE_ROWS_MOST, m);
    return fnn_min((n + 15) / 16 * 16 * k, FNN_UPDATE_B) + rows * k + fnn_min(rows * n, FNN_UPDATE_GRADIENT);
}

/* Elements of scratch with which a product [m, k] [k, n] runs faster, 0 where it needs none: room for two packed blocks of B (one
 * would do for a transposed B, but a plan has one scratch for all its products), and in updates over many k, at which large
 * matrices leave the reach of the caches and the TLB, for columns of A and for gradients. */
static inline size_t fnn_product_scratch(bool update, size_t m, size_t n, size_t k)
{
    if (update) {
        const size_t room = n >= FNN_UPDATE_N && k <= FNN_UPDATE_K ? fnn_update_room(m, n, k) : 0;
        return fnn_max(room, fnn_product_has_large_k(m, n, k) ? FNN_PACKED_ROOM + fnn_large_k_room(k) : 0);
    }
    return k > 256 && m >= 64 && n >= 256 ? 2 * FNN_PACKED_ROOM : 0;
}

/* Windows over an image [height, width, channels]: of a convolution or a pooling. */
#include "../defs/window.def"
#define FNN_INT(name) size_t name;
typedef struct fnn_window {
    FNN_WINDOW
} fnn_window;
#undef FNN_INT

/* Products with the windows of an image: of `lines` lines of `width` pixels, with n columns; see gemm/windows.h. */
typedef struct fnn_windows {
    size_t lines, width, n;
    const real *a;     /* what the first pixel's window has at its first tap */
    size_t step, line; /* from there to the next pixel's, and to the next line's */
    size_t taps_y, taps_x, depth; /* k: at each tap so many elements side by side */
    ptrdiff_t tap_y, tap_x;       /* from a tap to the next one */
    const real *b;     /* weights: at each tap [depth, n]; of a gradient [pixels, n] */
    size_t b_line, b_tap, b_row, b_column; /* elements from a line of taps to the next one, from tap to tap, and so on */
    const real *packed; /* of a product: what fnn_windows_pack has made of b */
    size_t line_c, line_saved; /* from a line of C to the next one, and of z and `saved` */
    fnn_product out;    /* what is said of C there, and of the epilogue; a row of C, z and `saved` is a pixel of a line */
} fnn_windows;

#define FNN_PACKED_COLUMNS 16 /* packed weights have so many columns or a multiple: room for any number of them */

/* A pooling; see pool2d.h. */
typedef struct fnn_pool2d {
    fnn_window window;
    bool count_padding; /* of an average: the padding counts */
    const real *x;
    size_t ldx; /* here and below from one image to the next */
    real *y; /* backward: holds its gradient */
    size_t ldy;
    real *dx;
    size_t lddx;
    uint8_t *winner; /* of a maximum: forward notes there which tap it is, and backward reads it in place of x; or NULL */
    size_t ldwinner;
    const real *saved; /* backward of a maximum: what came out of it, where x was made by ReLU, whose derivative is applied; or NULL */
    size_t ldsaved;
} fnn_pool2d;

/* Batch normalisation over the rows of these columns; see batchnorm.h. */
typedef struct fnn_batchnorm {
    size_t rows, columns;
    const real *x;
    size_t ldx;
    const real *gamma, *beta; /* either may be NULL: 1 and 0 */
    double eps;
    real *statistics; /* training: mean, rest, rstd, var, lds apart */
    size_t lds;
    const real *mean, *var; /* inference */
    fnn_activation activation; /* forward */
    double alpha;
    real *y;
    size_t ldy;
    const real *dy; /* backward */
    size_t lddy;
    real *dx;
    size_t lddx;
    real *dgamma, *dbeta;
    bool accumulate; /* add to what dgamma and dbeta hold */
} fnn_batchnorm;

/* Running mean and variance of a batch normalisation, after a step of `rows` rows. */
typedef struct fnn_running {
    size_t rows, columns;
    const real *statistics;
    size_t lds;
    double momentum;
    real *mean, *var;
    real *count; /* of the steps so far, where the mean is over all of them; or NULL */
} fnn_running;

/* Layer normalisation, or root mean square normalisation where not centered; see rownorm.h. */
typedef struct fnn_rownorm {
    size_t rows, columns;
    bool centered;
    const real *x;
    size_t ldx;
    const real *gamma, *beta; /* either may be NULL: 1 and 0 */
    double eps;
    real *statistics; /* of each row: mean, rest, rstd */
    size_t lds;
    fnn_activation activation; /* forward */
    double alpha;
    real *y;
    size_t ldy;
    const real *dy; /* backward */
    size_t lddy;
    real *dx;
    size_t lddx;
    real *dgamma, *dbeta;
    bool accumulate; /* add to what dgamma and dbeta hold */
} fnn_rownorm;

/* Normalisation of groups of channels of images; see groupnorm.h. */
typedef struct fnn_groupnorm {
    size_t rows, pixels, groups, width; /* width: channels of a group */
    const real *x;
    size_t ldx; /* here and below from one image to the next */
    double eps;
    real *statistics; /* of each row and group: mean, rest, rstd */
    size_t lds;
    real *y; /* forward */
    size_t ldy;
    const real *dy; /* backward */
    size_t lddy;
    real *dx;
    size_t lddx;
} fnn_groupnorm;

/* Periodic embeddings of numbers; see pbld.h. */
typedef struct fnn_pbld {
    size_t rows, columns, embedded, frequencies, dim;
    const real *x;
    size_t ldx;
    const real *w, *b; /* [embedded, frequencies] */
    const real *v, *c; /* [embedded, dim, frequencies], [embedded, dim] */
    real *y; /* forward */
    size_t ldy;
    const real *dy; /* backward */
    size_t lddy;
    real *dx;
    size_t lddx;
    real *dw, *db, *dv, *dc; /* any may be NULL */
    bool accumulate; /* add to what they hold */
} fnn_pbld;

/* Where random draws come from: draw i is a function of these and i. */
typedef struct fnn_random {
    uint64_t seed;
    uint32_t step, stream;
} fnn_random;

/* A stochastic pooling; see stochastic_pool2d.h. */
typedef struct fnn_stochastic_pool2d {
    fnn_pool2d pool;
    fnn_random draw;
    uint64_t first_row; /* number of the batch's first row, for the draws */
} fnn_stochastic_pool2d;

/* Dropout and Gaussian noise; see noise.h. */
typedef struct fnn_noise {
    fnn_random draw;
    size_t rows, columns;
    size_t pixels; /* dropout of channels: of a row, side by side, all of which have the same draws */
    uint64_t first_row; /* number of the first of the rows, for the draws */
    uint32_t threshold; /* dropout: of 65536 elements so many are dropped */
    bool whole_rows;    /* dropout: a row stays or goes as a whole, by one draw */
    double scale;       /* dropout: of those that stay; noise: the standard deviation */
    const real *x;
    size_t ldx;
    real *y;
    size_t ldy;
} fnn_noise;

/* An image to be made of another by an affine map of places: pixel (y, x) of the one takes what lies at
 * (m0 y + m1 x + m2, m3 y + m4 x + m5) of the other; see augment.h. */
typedef struct fnn_map {
    double m[6];
    size_t height, width, channels; /* of the other */
    size_t out_height, out_width;
    double fill; /* what lies outside */
    const real *x;
    real *ring; /* room for the other with a ring about it, one pixel wide */
    real *y;
} fnn_map;

/* Dtypes that `gather` reads. */
typedef enum {
    FNN_U8, /* also bool */
    FNN_I8,
    FNN_U16,
    FNN_I16,
    FNN_U32,
    FNN_I32,
    FNN_U64,
    FNN_I64,
    FNN_F16,
    FNN_F32,
    FNN_F64,
    FNN_DTYPES
} fnn_dtype;

#define FNN_STREAMS 6 /* arrays at most that the loop of nothing but memory goes through */

typedef enum { FNN_MATH_EXP, FNN_MATH_LOG, FNN_MATH_SIGMOID, FNN_MATH_TANH } fnn_math;

typedef void fnn_update_rule_fn(size_t rows, size_t n, const fnn_update_scalars *s, real *w, size_t ldw, const real *g, size_t ldg,
                                real *const state[FNN_STATES]);

/* Losses that are sums over the elements (kernels/loss.h). */
typedef enum {
#define FNN_LOSS(code, name) code,
#include "../defs/losses.def"
#undef FNN_LOSS
    FNN_LOSS_FORMS
} fnn_loss_form;

/* A loss over rows of outputs, and its gradient. */
typedef struct fnn_loss {
    fnn_loss_form form; /* of the elementwise losses; the multi-class hinge is FNN_HINGE or FNN_SQUARED_HINGE */
    bool sum;           /* over the outputs of a row; else their mean (elementwise losses) */
    bool full;          /* Poisson: with the terms that do not depend on the outputs */
    double parameter;   /* softmax cross-entropy: the label smoothing */
    size_t classes;     /* outputs of a row */
    const real *logits;
    size_t ldl;
    const int32_t *labels; /* [rows] or, when NULL, */
    bool ignores;          /* labels below 0 may be among them, of rows that are left out */
    const real *targets;  /* [rows, classes] */
    size_t ldt;
    const real *weight; /* of the rows; NULL: 1 */
    size_t ldw;
    bool each; /* weight [rows, classes] is of each output (elementwise losses) */
    const real *class_weight; /* [classes]; of the binary losses [2, classes], those of class 0, then of class 1; may be NULL */
    double scale;              /* of the gradient: 1 / rows that count, or 1 for a sum */
    real *dlogits;            /* may be NULL (evaluation), may be logits */
    size_t ldd;
    double *loss;      /* per row, weighted */
    uint32_t *correct; /* per row: 0 or 1; of the binary losses the number of outputs on the right side */
    struct fnn_status *status; /* Poisson: where rates below 0 are reported; NULL: nowhere */
} fnn_loss;

/* The kernels of one instruction set for one compute type. */
typedef struct fnn_kernels {
    const char *isa;
    fnn_dtype dtype; /* FNN_F32 or FNN_F64, */
    size_t item;     /* and the bytes of an element */
    fnn_update_rule_fn *update[FNN_UPDATE_RULES];
#define FNN_KERNEL(name, result, arguments) result(*name) arguments;
#include "../defs/kernels.def"
#undef FNN_KERNEL
} fnn_kernels;

#endif
