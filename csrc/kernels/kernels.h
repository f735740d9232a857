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

/* Elementwise activations y = f(z). Each derivative is a function of y. */
typedef enum {
    FNN_IDENTITY,
    FNN_SIGMOID,
    FNN_TANH,
    FNN_RELU,
    FNN_LEAKY_RELU, /* alpha: the slope for z <= 0, at least 0 */
    FNN_ACTIVATIONS
} fnn_activation;

/* Update rules of the optimizers. */
typedef enum { FNN_SGD, FNN_ADAM, FNN_UPDATE_RULES } fnn_update_rule;

/* Numbers of an update that are the same for all elements, hoisted out of the loop, in double (ops/optimizer.c). */
typedef struct fnn_update_scalars {
    double lr;           /* the step's rate; for Adam lr / (1 - beta1^t) */
    double gradient_scale; /* the gradient is first multiplied by this: clipping */
    double weight_decay;   /* coupled: added to the gradient as weight_decay * w; 0: w is not read for it */
    double beta1;        /* momentum, beta1 */
    double one_beta1;    /* 1 - dampening (1 in the first step), 1 - beta1 */
    double beta2;
    double one_beta2;        /* 1 - beta2 */
    double inverse_sqrt_bc2; /* 1 / sqrt(1 - beta2^t) */
    double eps;
    bool nesterov;
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
    const float *a; /* a_transposed: stored [k, m] */
    size_t lda;
    bool a_transposed;
    const float *b; /* b_transposed: stored [n, k] */
    size_t ldb;
    bool b_transposed;
    const float *bias; /* start: this row [n], or */
    bool accumulate;   /* what C holds, or (neither) zero */
    float *c;
    size_t ldc;
    fnn_epilogue epilogue;
    fnn_activation activation;
    float alpha;
    float *z; /* ACTIVATION: receives the pre-activation; may be NULL */
    size_t ldz;
    const float *saved; /* DERIVATIVE: the activation's output */
    size_t ldsaved;
    fnn_update_rule rule; /* UPDATE: w and states, each [m, n] with rows ldw apart; unused states are NULL */
    const fnn_update_scalars *scalars;
    float *w, *state[2];
    size_t ldw;
} fnn_product;

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

typedef void fnn_update_f32(size_t n, const fnn_update_scalars *s, float *w, const float *g, float *s0, float *s1);
typedef void fnn_update_f64(size_t n, const fnn_update_scalars *s, double *w, const double *g, double *s0, double *s1);

typedef struct fnn_kernels {
    const char *isa;
    fnn_update_f32 *update_f32[FNN_UPDATE_RULES];
    fnn_update_f64 *update_f64[FNN_UPDATE_RULES];
#define FNN_KERNEL(name, result, arguments) result(*name) arguments;
#include "../kernels.def"
#undef FNN_KERNEL
} fnn_kernels;

#endif
