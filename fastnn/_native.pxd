# The C API (csrc/fastnn.h) as Cython sees it: only what the extension uses.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "fastnn.h" nogil:
    ctypedef int fnn_activation
    ctypedef int fnn_update_rule
    ctypedef int fnn_dtype
    fnn_dtype FNN_F32, FNN_F64
    ctypedef int fnn_math
    ctypedef int fnn_problem
    ctypedef int fnn_op_kind
    ctypedef int fnn_loss_form

    ctypedef struct fnn_update_scalars:
        pass

    ctypedef struct fnn_kernels:
        const char *isa
        size_t item
        void (*math_map)(fnn_math f, size_t n, const void *x, void *y) noexcept nogil
        size_t (*fma_peak)(size_t n, double *sum) noexcept nogil
        size_t (*fma_literal)(size_t n, double *sum) noexcept nogil
        void (*streams)(size_t count, size_t n, void *const *arrays) noexcept nogil

    size_t fnn_available_isas(const char **names)
    bint fnn_use_isa(const char *name)
    const fnn_kernels *fnn_active_kernels(fnn_dtype dtype)
    int fnn_omp_max_threads()
    int fnn_omp_version()
    bint fnn_team_is_lost()

    ctypedef struct fnn_status:
        pass

    fnn_problem fnn_status_problem(const fnn_status *s)
    size_t fnn_status_row(const fnn_status *s)
    fnn_problem FNN_OK, FNN_BAD_INDEX, FNN_BAD_LABEL, FNN_NOT_FINITE, FNN_BAD_RATE

    fnn_op_kind FNN_OP_GATHER, FNN_OP_GATHER_LABELS, FNN_OP_DENSE_FORWARD, FNN_OP_ACTIVATION_FORWARD
    fnn_op_kind FNN_OP_SOFTMAX_FORWARD, FNN_OP_SOFTMAX_CROSS_ENTROPY, FNN_OP_ACTIVATION_BACKWARD
    fnn_op_kind FNN_OP_DENSE_BACKWARD_INPUT, FNN_OP_DENSE_BACKWARD_WEIGHTS, FNN_OP_TIED_FORWARD, FNN_OP_TIED_BACKWARD_INPUT
    fnn_op_kind FNN_OP_BATCHNORM_FORWARD, FNN_OP_BATCHNORM_INFERENCE, FNN_OP_BATCHNORM_BACKWARD
    fnn_op_kind FNN_OP_LAYERNORM_FORWARD, FNN_OP_LAYERNORM_BACKWARD_INPUT, FNN_OP_LAYERNORM_BACKWARD_WEIGHTS
    fnn_op_kind FNN_OP_DROPOUT, FNN_OP_GAUSSIAN_NOISE, FNN_OP_MAXOUT_FORWARD, FNN_OP_MAXOUT_BACKWARD
    fnn_op_kind FNN_OP_SOFTMAX_BACKWARD, FNN_OP_LOG_SOFTMAX_FORWARD, FNN_OP_LOG_SOFTMAX_BACKWARD
    fnn_op_kind FNN_OP_PRELU_FORWARD, FNN_OP_PRELU_BACKWARD, FNN_OP_PRELU_SLOPE_GRADIENT
    fnn_op_kind FNN_OP_ELEMENTWISE_LOSS, FNN_OP_MULTICLASS_HINGE
    void fnn_eager(fnn_op_kind op, const void *arguments, size_t rows, int threads)

    ctypedef struct fnn_gather:
        const char *source
        fnn_dtype dtype
        Py_ssize_t row_stride
        size_t item, source_rows, features
        const int64_t *index
        double scale, shift
        bint check_finite
        float *out
        size_t ld
        fnn_status *status

    ctypedef struct fnn_gather_labels:
        const char *source
        fnn_dtype dtype
        Py_ssize_t stride
        size_t source_rows
        const int64_t *index
        int64_t classes
        int32_t *out
        fnn_status *status

    ctypedef struct fnn_dense_forward:
        size_t batch
        size_t n_in "in"
        size_t n_out "out"
        bint by_rows
        bint transposed
        const float *x
        size_t ldx
        const float *w
        const float *b
        float *y
        size_t ldy
        float *z
        size_t ldz
        fnn_activation activation
        float alpha

    ctypedef struct fnn_dense_backward_input:
        size_t batch
        size_t n_in "in"
        size_t n_out "out"
        bint by_rows
        bint transposed
        const float *dy
        size_t lddy
        const float *w
        float *dx
        size_t lddx
        bint accumulate
        const float *saved
        size_t ldsaved
        fnn_activation activation
        float alpha

    ctypedef struct fnn_tensor:
        void *w
        const void *g
        void *state[4]
        size_t n
        bint is_double
        int group
        size_t units
        bint unit_together

    ctypedef struct fnn_dense_backward_weights:
        size_t batch
        size_t n_in "in"
        size_t n_out "out"
        const float *x
        size_t ldx
        const float *dy
        size_t lddy
        float *dw
        float *db
        bint accumulate

    ctypedef struct fnn_elementwise:
        size_t columns
        fnn_activation activation
        float alpha
        const float *x
        size_t ldx
        const float *saved
        size_t ldsaved
        float *y
        size_t ldy

    ctypedef struct fnn_batchnorm:
        size_t rows, columns
        const float *x
        size_t ldx
        const float *gamma
        const float *beta
        float eps
        float *statistics
        size_t lds
        const float *mean
        const float *var
        fnn_activation activation
        float alpha
        float *y
        size_t ldy
        const float *dy
        size_t lddy
        float *dx
        size_t lddx
        float *dgamma
        float *dbeta
        bint accumulate

    ctypedef struct fnn_batchnorm_inference:
        fnn_batchnorm of
        size_t pixels

    ctypedef struct fnn_rownorm:
        size_t rows, columns
        bint centered
        const float *x
        size_t ldx
        const float *gamma
        const float *beta
        float eps
        float *statistics
        size_t lds
        fnn_activation activation
        float alpha
        float *y
        size_t ldy
        const float *dy
        size_t lddy
        float *dx
        size_t lddx
        float *dgamma
        float *dbeta
        bint accumulate

    ctypedef struct fnn_random:
        uint64_t seed
        uint32_t step, stream

    ctypedef struct fnn_noise:
        fnn_random draw
        size_t rows, columns
        uint64_t first_row
        uint32_t threshold
        float scale
        const float *x
        size_t ldx
        float *y
        size_t ldy

    ctypedef struct fnn_maxout:
        size_t columns, pieces
        const float *x
        size_t ldx
        const float *dy
        size_t lddy
        float *y
        size_t ldy

    ctypedef struct fnn_prelu:
        size_t rows, columns, step
        const float *slope
        const float *x
        size_t ldx
        const float *dy
        size_t lddy
        float *out
        size_t ldout
        bint accumulate

    ctypedef struct fnn_loss:
        fnn_loss_form form
        bint sum, full
        float parameter
        size_t classes
        const float *logits
        size_t ldl
        const int32_t *labels
        bint ignores
        const float *targets
        size_t ldt
        const float *weight
        size_t ldw
        bint each
        const float *class_weight
        double scale
        float *dlogits
        size_t ldd
        double *loss
        uint32_t *correct

    ctypedef struct fnn_group:
        fnn_update_rule rule
        double hyper[8]
        double weight_decay
        bint decoupled, maximize
        double l1, clip_value, max_norm, ema
        uint64_t t
        double memory[2]

    ctypedef struct fnn_update:
        const fnn_tensor *tensors
        size_t count
        const fnn_update_rule *rules
        fnn_update_scalars *scalars
        size_t n_groups
        double clip_norm
        bint skip_nonfinite
        double *norms
        double *trust
        double norm
        bint skip

    fnn_op_kind FNN_OP_PENALTY_FORWARD, FNN_OP_PENALTY_BACKWARD

    ctypedef struct fnn_penalty:
        size_t n
        double l1, l2
        const float *w
        double *partial
        float *dw

    size_t fnn_penalty_chunks(size_t n)
    double fnn_penalty_total(const double *partial, size_t n)

    size_t fnn_update_chunks(const fnn_tensor *tensors, size_t count)
    fnn_update_scalars fnn_update_prepare(const fnn_group *group, double lr)
    void fnn_update_commit(fnn_group *group, const fnn_update_scalars *scalars)
    void fnn_update_run(fnn_update *o, bint trust, bint max_norm, int threads)
    const char *const *fnn_update_names
    const int *fnn_update_states
    fnn_update_rule FNN_LAMB
    int FNN_HYPER, FNN_STATES, FNN_AVERAGE, FNN_UPDATE_CHUNK
    double fnn_sum_rows(const double *loss, size_t rows)

    void fnn_random_bits(uint64_t seed, uint32_t stream, uint32_t step, uint64_t offset, size_t n, uint32_t *out)
    void fnn_permutation(uint64_t seed, uint32_t epoch, size_t n, int64_t *out)

    int FNN_OP_BUFFERS, FNN_OP_KINDS, FNN_ACTIVATIONS, FNN_UPDATE_RULES, FNN_LOSS_FORMS

    ctypedef struct fnn_activation_info:
        const char *name
        const char *saves
        double alpha, lowest

    const fnn_activation_info *fnn_activations

    ctypedef struct fnn_op_kind_info:
        const char *name
        const char *roles
        const char *writes
        const char *phase
        const char *traits

    const fnn_op_kind_info *fnn_op_kinds

    ctypedef struct fnn_window:
        size_t height, width, channels, out_height, out_width
        size_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x
        size_t pad_top, pad_left, pad_bottom, pad_right
        size_t groups

    size_t fnn_conv2d_chunk(const fnn_window *w) nogil
    size_t fnn_conv2d_scratch(const fnn_window *w, size_t filters, bint backward_input) nogil

    ctypedef struct fnn_op:
        fnn_op_kind kind
        bint by_rows, barrier
        int buffer[8]
        size_t n_in "in"
        size_t n_out "out"
        fnn_activation activation
        float alpha
        bint accumulate
        int update_w, update_b
        size_t first, last
        float eps, rate
        uint32_t threshold, stream
        double l1, l2
        fnn_loss_form form
        bint sum, full
        fnn_window window
        size_t scratch

    ctypedef struct fnn_buffer:
        void *data
        size_t ld

    ctypedef struct fnn_source:
        const char *data
        fnn_dtype dtype
        Py_ssize_t stride
        size_t item, rows
        double scale, shift

    size_t fnn_product_scratch(bint update, size_t m, size_t n, size_t k) nogil

    ctypedef struct fnn_autotune:
        double[2] cost
        bint team

    size_t fnn_autotune_piece(fnn_autotune *p, size_t steps, double rows) nogil
    void fnn_autotune_note(fnn_autotune *p, size_t steps, double rows, double seconds) nogil

    ctypedef struct fnn_run:
        const fnn_op *ops
        size_t first_op, last_op
        fnn_buffer *buffers
        size_t n_buffers
        int output
        float *out
        size_t ldout
        fnn_source x, y, weight
        size_t weight_columns
        const int64_t *index
        size_t rows, batch, steps
        bint check_finite
        int64_t classes
        bint ignores
        int64_t ignore
        double seconds
        int threads
        fnn_autotune *autotune
        float *scratch
        size_t scratch_floats
        fnn_update *update
        fnn_group *groups
        uint64_t seed, step0
        const double *lr
        double *losses
        double loss_sum
        int64_t correct
        size_t steps_done, steps_skipped, rows_left_out
        fnn_status status

    void fnn_plan_run(fnn_run *run)
