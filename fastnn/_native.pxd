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
    int fnn_cpus()
    void fnn_team_configure(int threads, bint exact)
    int fnn_team_size()
    bint fnn_team_alone(bint from_now)
    int fnn_team_for(double work)
    double FNN_TEAM_WORK
    double fnn_team_force(double work)
    bint fnn_team_refused(int *threads)
    unsigned int fnn_forks()
    unsigned long fnn_fork_survivor()
    void fnn_nap()

    ctypedef struct fnn_autotune:
        double[2] cost
        bint team

    size_t fnn_autotune_piece(fnn_autotune *p, size_t steps, double rows) nogil
    void fnn_autotune_note(fnn_autotune *p, size_t steps, double rows, double seconds) nogil

    ctypedef struct fnn_status:
        pass

    fnn_problem fnn_status_problem(const fnn_status *s)
    size_t fnn_status_row(const fnn_status *s)
    fnn_problem FNN_OK, FNN_BAD_INDEX, FNN_BAD_LABEL, FNN_NOT_FINITE, FNN_BAD_RATE, FNN_BAD_CODE, FNN_BAD_LOSS

    ctypedef struct fnn_tensor:
        void *w
        const void *g
        void *state[4]
        size_t n
        bint is_double
        int group
        size_t matrices, rows, columns
        bint transposed
        size_t units
        bint unit_together
        const unsigned char *named
        size_t width

    ctypedef union fnn_number:
        int64_t i
        double d

    ctypedef struct fnn_group:
        fnn_update_rule rule
        fnn_number value[20]
        double max_norm, ema
        uint64_t t
        double memory[2]

    ctypedef struct fnn_scheduled:
        int group, place

    ctypedef struct fnn_update:
        const fnn_tensor *tensors
        size_t count
        const fnn_update_rule *rules
        fnn_update_scalars *scalars
        size_t n_groups
        const fnn_scheduled *scheduled
        size_t n_scheduled
        void *room
        double clip_norm
        bint skip_nonfinite
        double *norms
        double *trust
        double norm
        bint skip

    size_t fnn_penalty_chunks(size_t n)
    double fnn_penalty_total(const double *partial, size_t n)

    size_t fnn_update_chunks(const fnn_tensor *tensors, size_t count)
    void fnn_update_prepare(fnn_update *o, fnn_group *groups, const double *values)
    void fnn_update_commit(fnn_group *group, const fnn_update_scalars *scalars)
    size_t fnn_whole_room(const fnn_update *o, fnn_tensor *tensors)
    bint fnn_updates_whole(const fnn_update *o, const fnn_tensor *t)
    void fnn_update_run(fnn_update *o, bint trust, bint max_norm, fnn_autotune *tune, double work)

    ctypedef struct fnn_setting_info:
        const char *name
        bint whole
        double initial, least, below

    ctypedef struct fnn_update_rule_info:
        const char *name
        const char *states
        const char *matrix_states
        const char *memory
        const char *traits
        int n_states, n_matrix_states
        unsigned int flags
        const fnn_setting_info *hyper

    const char *const *fnn_momentum_forms
    const char *const *fnn_adjustments
    const fnn_setting_info *fnn_group_settings
    const fnn_update_rule_info *fnn_update_infos
    unsigned int FNN_TRAIT_trust
    fnn_update_rule FNN_MUON
    int FNN_FORMS, FNN_ADJUSTMENTS, FNN_STATES, FNN_AVERAGE, FNN_UPDATE_CHUNK
    double fnn_sum_rows(const double *loss, size_t rows)

    void fnn_random_bits(uint64_t seed, uint32_t stream, uint32_t step, uint64_t offset, size_t n, uint32_t *out)
    void fnn_permutation(uint64_t seed, uint32_t epoch, size_t n, int64_t *out)

    enum:  # as sizes of arrays
        FNN_OP_BUFFERS
        FNN_OP_PARAMETERS

    size_t FNN_NOT_NEAR
    int FNN_OP_KINDS, FNN_ACTIVATIONS, FNN_UPDATE_RULES, FNN_STREAM_INIT, FNN_STREAM_LAYERS

    ctypedef struct fnn_activation_info:
        const char *name
        const char *saves
        double alpha, lowest
        const char *init
        const char *layer

    const fnn_activation_info *fnn_activations
    const char *const *fnn_loss_names
    int FNN_LOSS_FORMS

    ctypedef struct fnn_op:
        fnn_op_kind kind
        bint by_rows, barrier, updates
        int buffer[FNN_OP_BUFFERS]
        size_t scratch, scratch_at, depth, few
        fnn_number value[FNN_OP_PARAMETERS]

    enum:
        FNN_AUGMENT_PARAMETERS
        FNN_QUANTILES

    int FNN_AUGMENTATIONS

    ctypedef enum fnn_augmentation_kind:
        pass

    ctypedef struct fnn_augmentation:
        fnn_augmentation_kind kind
        fnn_number value[FNN_AUGMENT_PARAMETERS]

    ctypedef struct fnn_augmentation_info:
        const char *name
        const char *parameters

    const fnn_augmentation_info *fnn_augmentations

    ctypedef struct fnn_augment:
        const fnn_augmentation *steps
        size_t count, mixup, first
        size_t height, width, channels
        size_t pixels, columns
        double work
        const double *quantiles
        uint64_t seed
        uint32_t epoch
        const int64_t *samples
        char *scratch
        size_t scratch_bytes

    bint fnn_augment_measure(fnn_augment *a)
    size_t fnn_augment_scratch(const fnn_augment *a, size_t item, size_t outputs)
    size_t fnn_loss_outputs(const fnn_op *ops, size_t count)

    size_t fnn_conv2d_chunk(const fnn_op *op)
    size_t fnn_conv2d_scratch(const fnn_op *op)

    ctypedef struct fnn_op_kind_info:
        const char *name
        const char *parameters
        const char *roles
        const char *writes
        const char *phase
        const char *traits
        double (*work)(const fnn_op *op, double rows) noexcept nogil

    const fnn_op_kind_info *fnn_op_kinds

    ctypedef struct fnn_buffer:
        void *data
        size_t ld

    ctypedef struct fnn_sparse:
        const char *indptr
        const char *indices
        bint wide
        size_t entries

    ctypedef struct fnn_source:
        const char *data
        fnn_dtype dtype
        Py_ssize_t stride
        size_t item, rows
        double scale, shift
        fnn_sparse sparse

    size_t fnn_product_scratch(bint update, size_t m, size_t n, size_t k) nogil

    ctypedef struct fnn_run:
        const fnn_op *ops
        size_t first_op, last_op
        fnn_dtype dtype
        fnn_buffer *buffers
        size_t n_buffers
        const size_t *near
        int output
        void *out
        size_t ldout
        const fnn_augment *augment
        fnn_source x, y, weight
        size_t weight_columns
        const int64_t *index
        size_t rows, batch, steps
        bint check_losses
        bint check_finite
        int64_t classes
        bint ignores
        int64_t ignore
        double seconds
        int threads
        double work
        fnn_autotune *autotune
        char *scratch
        size_t scratch_bytes
        fnn_update *update
        bint commits
        const double *shares
        size_t n_shares
        fnn_group *groups
        uint64_t seed, step0
        size_t row0
        const double *settings
        double *losses
        double loss_sum
        int64_t correct
        size_t steps_done, steps_skipped, rows_left_out
        fnn_status status

    void fnn_plan_run(fnn_run *run)
    void fnn_eager(const fnn_op *op, fnn_buffer *buffers, fnn_run *run, double work)
