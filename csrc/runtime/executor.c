/* The executor: runs a plan's list of operations, for many batches, in one parallel region.
 *
 * There are barriers only where the plan says so. Between two of them each thread does its part of every operation: its rows
 * of the batch, or its range or chunk of a matrix. Nothing is allocated here and nothing can fail but a batch: a bad
 * label or index is seen by the whole team at the next barrier, before any update, and all leave together. */
#include "../fastnn.h"

#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One batch as a thread sees it. */
typedef struct {
    fnn_run *run;
    const fnn_kernels *k;
    fnn_buffer *buffers; /* this thread's table: input and output may point into the user's arrays */
    size_t step, begin, rows;
    float *scratch; /* this thread's */
} batch;

static fnn_buffer buffer(const batch *b, const fnn_op *op, int i)
{
    return op->buffer[i] < 0 ? (fnn_buffer){0} : b->buffers[op->buffer[i]];
}

static const int64_t *batch_index(const batch *b) { return b->run->index ? b->run->index + b->begin : NULL; }

static const char *batch_source(const batch *b, const fnn_source *s)
{
    return b->run->index ? s->data : s->data + (ptrdiff_t)b->begin * s->stride;
}

static size_t source_rows(const batch *b, const fnn_source *s) { return b->run->index ? s->rows : s->rows - b->begin; }

static float *scratch(const batch *b, const fnn_op *op) { return op->scratch ? b->scratch : NULL; }

/* Float rows in order need no copy: the operations that follow read the user's array. */
static bool in_place(const batch *b, const fnn_source *s)
{
    return !b->run->index && s->dtype == FNN_F32 && s->scale == 1.0 && s->shift == 0.0 && !b->run->check_finite &&
           s->stride % (ptrdiff_t)sizeof(float) == 0 && s->stride >= 0;
}

static void gather(const batch *b, const fnn_op *op, const fnn_source *s, fnn_split split)
{
    fnn_buffer *out = &b->buffers[op->buffer[0]];
    if (in_place(b, s)) {
        *out = (fnn_buffer){(void *)batch_source(b, s), (size_t)s->stride / sizeof(float)};
        return;
    }
    fnn_op_gather(b->k,
                  &(fnn_gather){
                      .source = batch_source(b, s),
                      .dtype = s->dtype,
                      .row_stride = s->stride,
                      .item = s->item,
                      .source_rows = source_rows(b, s),
                      .features = op->out,
                      .index = batch_index(b),
                      .scale = s->scale,
                      .shift = s->shift,
                      .check_finite = b->run->check_finite,
                      .out = out->data,
                      .ld = out->ld,
                      .status = &b->run->status,
                  },
                  split);
}

static void gather_labels(const batch *b, const fnn_op *op, fnn_split split)
{
    const fnn_source *s = &b->run->y;
    fnn_op_gather_labels(b->k,
                         &(fnn_gather_labels){
                             .source = batch_source(b, s),
                             .dtype = s->dtype,
                             .stride = s->stride,
                             .source_rows = source_rows(b, s),
                             .index = batch_index(b),
                             .classes = b->run->classes,
                             .out = buffer(b, op, 0).data,
                             .status = &b->run->status,
                         },
                         split);
}

/* buffers: x, w, b, y, z */
static void dense_forward(const batch *b, const fnn_op *op, fnn_split split)
{
    const fnn_buffer x = buffer(b, op, 0), y = buffer(b, op, 3), z = buffer(b, op, 4);
    fnn_op_dense_forward(b->k,
                         &(fnn_dense_forward){
                             .batch = b->rows,
                             .in = op->in,
                             .out = op->out,
                             .by_rows = op->by_rows,
                             .transposed = op->kind == FNN_OP_TIED_FORWARD,
                             .x = x.data,
                             .ldx = x.ld,
                             .w = buffer(b, op, 1).data,
                             .b = buffer(b, op, 2).data,
                             .y = y.data,
                             .ldy = y.ld,
                             .z = z.data,
                             .ldz = z.ld,
                             .activation = op->activation,
                             .alpha = op->alpha,
                             .scratch = scratch(b, op),
                         },
                         split);
}

/* buffers: dy, w, saved, dx */
static void dense_backward_input(const batch *b, const fnn_op *op, fnn_split split)
{
    const fnn_buffer dy = buffer(b, op, 0), saved = buffer(b, op, 2), dx = buffer(b, op, 3);
    fnn_op_dense_backward_input(b->k,
                                &(fnn_dense_backward_input){
                                    .batch = b->rows,
                                    .in = op->in,
                                    .out = op->out,
                                    .by_rows = op->by_rows,
                                    .transposed = op->kind == FNN_OP_TIED_BACKWARD_INPUT,
                                    .dy = dy.data,
                                    .lddy = dy.ld,
                                    .w = buffer(b, op, 1).data,
                                    .dx = dx.data,
                                    .lddx = dx.ld,
                                    .accumulate = op->accumulate,
                                    .saved = saved.data,
                                    .ldsaved = saved.ld,
                                    .activation = op->activation,
                                    .alpha = op->alpha,
                                    .scratch = scratch(b, op),
                                },
                                split);
}

/* buffers: x, dy, dw, db, w */
static void dense_backward_weights(const batch *b, const fnn_op *op, fnn_split split)
{
    const fnn_run *run = b->run;
    const fnn_buffer x = buffer(b, op, 0), dy = buffer(b, op, 1);
    fnn_op_dense_backward_weights(b->k,
                                  &(fnn_dense_backward_weights){
                                      .batch = b->rows,
                                      .in = op->in,
                                      .out = op->out,
                                      .x = x.data,
                                      .ldx = x.ld,
                                      .dy = dy.data,
                                      .lddy = dy.ld,
                                      .dw = buffer(b, op, 2).data,
                                      .db = buffer(b, op, 3).data,
                                      .accumulate = op->accumulate,
                                      .l1 = op->l1,
                                      .l2 = op->l2,
                                      .w = buffer(b, op, 4).data,
                                      .update_w = op->update_w < 0 ? NULL : &run->update->tensors[op->update_w],
                                      .update_b = op->update_b < 0 ? NULL : &run->update->tensors[op->update_b],
                                      .rules = run->update ? run->update->rules : NULL,
                                      .scalars = run->update ? run->update->scalars : NULL,
                                      .scratch = scratch(b, op),
                                  },
                                  split);
}

/* forward: x, y;  backward: dy, saved, dx */
static fnn_elementwise elementwise(const batch *b, const fnn_op *op, bool backward)
{
    const fnn_buffer x = buffer(b, op, 0), y = buffer(b, op, backward ? 2 : 1);
    fnn_elementwise o = {.columns = op->out, .activation = op->activation, .alpha = op->alpha,
                         .x = x.data, .ldx = x.ld, .y = y.data, .ldy = y.ld};
    if (backward) {
        o.saved = buffer(b, op, 1).data;
        o.ldsaved = buffer(b, op, 1).ld;
    }
    return o;
}

/* buffers: x, slope, y */
static fnn_prelu prelu_forward(const batch *b, const fnn_op *op)
{
    const fnn_buffer x = buffer(b, op, 0), y = buffer(b, op, 2);
    return (fnn_prelu){.rows = b->rows, .columns = op->out, .step = op->in > 1, .slope = buffer(b, op, 1).data,
                       .x = x.data, .ldx = x.ld, .out = y.data, .ldout = y.ld};
}

/* buffers: dy, x, slope, dx or (slope's gradient) dy, x, dslope */
static fnn_prelu prelu_backward(const batch *b, const fnn_op *op)
{
    const bool of_slope = op->kind == FNN_OP_PRELU_SLOPE_GRADIENT;
    const fnn_buffer dy = buffer(b, op, 0), x = buffer(b, op, 1), out = buffer(b, op, of_slope ? 2 : 3);
    return (fnn_prelu){.rows = b->rows, .columns = op->out, .step = op->in > 1,
                       .slope = of_slope ? NULL : buffer(b, op, 2).data, .x = x.data, .ldx = x.ld, .dy = dy.data,
                       .lddy = dy.ld, .out = out.data, .ldout = out.ld, .accumulate = op->accumulate};
}

/* buffers of the losses: logits, labels, targets, dlogits, row_loss, row_correct, weight, class_weight */
static fnn_loss loss_of(const batch *b, const fnn_op *op)
{
    const fnn_buffer logits = buffer(b, op, 0), targets = buffer(b, op, 2), dlogits = buffer(b, op, 3), weight = buffer(b, op, 6);
    return (fnn_loss){
        .form = op->form,
        .sum = op->sum,
        .full = op->full,
        .parameter = op->alpha,
        .classes = op->out,
        .logits = logits.data,
        .ldl = logits.ld,
        .labels = buffer(b, op, 1).data,
        .targets = targets.data,
        .ldt = targets.ld,
        .weight = weight.data,
        .ldw = weight.ld,
        .class_weight = buffer(b, op, 7).data,
        .scale = op->sum ? 1.0 : 1.0 / (double)b->rows,
        .dlogits = dlogits.data,
        .ldd = dlogits.ld,
        .loss = buffer(b, op, 4).data,
        .correct = buffer(b, op, 5).data,
    };
}

/* buffers: row_loss, row_correct. By one thread. */
static void reduce_loss(const batch *b, const fnn_op *op, fnn_split split)
{
    if (split.id != split.count - 1) return;
    fnn_run *run = b->run;
    const double sum = fnn_sum_rows(buffer(b, op, 0).data, b->rows);
    const uint32_t *correct = buffer(b, op, 1).data;
    run->loss_sum += sum;
    if (run->losses) run->losses[b->step] = op->sum ? sum : sum / (double)b->rows;
    for (size_t i = 0; i < b->rows; i++) run->correct += correct[i];
}

/* forward: w, sum;  backward: w, dw */
static fnn_penalty penalty(const batch *b, const fnn_op *op)
{
    void *second = buffer(b, op, 1).data;
    fnn_penalty o = {.n = op->out, .l1 = op->l1, .l2 = op->l2, .w = buffer(b, op, 0).data};
    if (op->kind == FNN_OP_PENALTY_FORWARD)
        o.partial = second;
    else
        o.dw = second;
    return o;
}

/* buffers: sum. By the thread that reduces the loss, after it: every row counts the penalty once, as it does a mean. */
static void reduce_penalty(const batch *b, const fnn_op *op, fnn_split split)
{
    if (split.id != split.count - 1) return;
    fnn_run *run = b->run;
    const double value = fnn_penalty_total(buffer(b, op, 0).data, op->out);
    run->loss_sum += op->sum ? value : value * (double)b->rows;
    if (run->losses) run->losses[b->step] += value;
}

/* Of the tensors [first, last). buffers: norms of the gradients' chunks; UPDATE and TRUST_UPDATE: those of the trust ratios. */
static void update(const batch *b, const fnn_op *op, fnn_split split)
{
    if (op->kind == FNN_OP_BEGIN_UPDATE && split.id != 0) return; /* it is done by one thread */
    fnn_update *all = b->run->update, o = *all;
    o.tensors += op->first;
    o.count = op->last - op->first;
    switch (op->kind) {
    case FNN_OP_BEGIN_UPDATE:
        o.norms = buffer(b, op, 0).data;
        fnn_op_begin_update(&o);
        all->norm = o.norm;
        all->skip = o.skip;
        break;
    case FNN_OP_NORM:
        o.norms = buffer(b, op, 0).data;
        fnn_op_norm(b->k, &o, split);
        break;
    case FNN_OP_UPDATE:
        o.trust = buffer(b, op, 0).data;
        fnn_op_update(b->k, &o, split);
        break;
    case FNN_OP_TRUST_UPDATE:
        o.trust = buffer(b, op, 0).data;
        fnn_op_trust_update(b->k, &o, split);
        break;
    default: fnn_op_max_norm(b->k, &o, split); break;
    }
}

/* buffers: training x, gamma, beta, y, statistics; inference x, gamma, beta, y, mean, var */
static fnn_batchnorm batchnorm_forward(const batch *b, const fnn_op *op)
{
    const fnn_buffer x = buffer(b, op, 0), y = buffer(b, op, 3), fifth = buffer(b, op, 4);
    fnn_batchnorm o = {.rows = b->rows, .columns = op->out, .x = x.data, .ldx = x.ld, .gamma = buffer(b, op, 1).data,
                       .beta = buffer(b, op, 2).data, .eps = op->eps, .activation = op->activation, .alpha = op->alpha,
                       .y = y.data, .ldy = y.ld, .lds = op->out};
    if (op->kind == FNN_OP_BATCHNORM_INFERENCE) {
        o.mean = fifth.data;
        o.var = buffer(b, op, 5).data;
    } else {
        o.statistics = fifth.data;
    }
    return o;
}

/* buffers: dy, x, gamma, statistics, dx, dgamma, dbeta */
static fnn_batchnorm batchnorm_backward(const batch *b, const fnn_op *op)
{
    const fnn_buffer dy = buffer(b, op, 0), x = buffer(b, op, 1), dx = buffer(b, op, 4);
    return (fnn_batchnorm){.rows = b->rows, .columns = op->out, .x = x.data, .ldx = x.ld, .gamma = buffer(b, op, 2).data,
                           .statistics = buffer(b, op, 3).data, .lds = op->out, .dy = dy.data, .lddy = dy.ld,
                           .dx = dx.data, .lddx = dx.ld, .dgamma = buffer(b, op, 5).data,
                           .dbeta = buffer(b, op, 6).data, .accumulate = op->accumulate};
}

/* buffers: statistics, mean, var */
static void batchnorm_running(const batch *b, const fnn_op *op, fnn_split split)
{
    if (b->run->update && b->run->update->skip) return; /* the step is left out */
    fnn_op_batchnorm_running(b->k,
                             &(fnn_running){
                                 .rows = b->rows,
                                 .columns = op->out,
                                 .statistics = buffer(b, op, 0).data,
                                 .lds = op->out,
                                 .momentum = op->rate,
                                 .mean = buffer(b, op, 1).data,
                                 .var = buffer(b, op, 2).data,
                             },
                             split);
}

/* buffers: forward x, gamma, beta, y, statistics; backward dy, x, gamma, statistics, dx; of the weights dy, x, statistics,
 * dgamma, dbeta */
static fnn_rownorm rownorm(const batch *b, const fnn_op *op)
{
    const bool forward = op->kind == FNN_OP_LAYERNORM_FORWARD || op->kind == FNN_OP_RMSNORM_FORWARD;
    const bool inward = op->kind == FNN_OP_LAYERNORM_BACKWARD_INPUT || op->kind == FNN_OP_RMSNORM_BACKWARD_INPUT;
    const fnn_buffer x = buffer(b, op, forward ? 0 : 1), statistics = buffer(b, op, forward ? 4 : inward ? 3 : 2);
    fnn_rownorm o = {.rows = b->rows, .columns = op->out, .x = x.data, .ldx = x.ld, .statistics = statistics.data,
                     .lds = statistics.ld, .eps = op->eps, .activation = op->activation, .alpha = op->alpha,
                     .accumulate = op->accumulate};
    o.centered = op->kind == FNN_OP_LAYERNORM_FORWARD || op->kind == FNN_OP_LAYERNORM_BACKWARD_INPUT ||
                 op->kind == FNN_OP_LAYERNORM_BACKWARD_WEIGHTS;
    if (forward) {
        o.gamma = buffer(b, op, 1).data;
        o.beta = buffer(b, op, 2).data;
        o.y = buffer(b, op, 3).data;
        o.ldy = buffer(b, op, 3).ld;
        return o;
    }
    o.dy = buffer(b, op, 0).data;
    o.lddy = buffer(b, op, 0).ld;
    if (inward) {
        o.gamma = buffer(b, op, 2).data;
        o.dx = buffer(b, op, 4).data;
        o.lddx = buffer(b, op, 4).ld;
    } else {
        o.dgamma = buffer(b, op, 3).data;
        o.dbeta = buffer(b, op, 4).data;
    }
    return o;
}

static float dropout_scale(uint32_t threshold) { return threshold < 65536 ? 65536.0f / (float)(65536 - threshold) : 0.0f; }

/* buffers: x, y */
static fnn_noise noise(const batch *b, const fnn_op *op)
{
    const fnn_buffer x = buffer(b, op, 0), y = buffer(b, op, 1);
    return (fnn_noise){.draw = {b->run->seed, (uint32_t)(b->run->step0 + b->step), op->stream},
                       .rows = b->rows,
                       .columns = op->out,
                       .threshold = op->threshold,
                       .scale = op->kind == FNN_OP_GAUSSIAN_NOISE ? op->rate : dropout_scale(op->threshold),
                       .x = x.data,
                       .ldx = x.ld,
                       .y = y.data,
                       .ldy = y.ld};
}

/* A whole matrix [in, out] in place of a batch. */
static void drop_weights(const batch *b, const fnn_op *op, fnn_split split)
{
    fnn_noise o = noise(b, op);
    o.rows = op->in;
    o.ldx = o.ldy = op->out;
    fnn_op_dropout(b->k, &o, fnn_split_of(split.id, split.count, op->in));
}

/* forward: x, y;  backward: dy, x, dx */
static fnn_maxout maxout(const batch *b, const fnn_op *op)
{
    const bool backward = op->kind == FNN_OP_MAXOUT_BACKWARD;
    const fnn_buffer x = buffer(b, op, backward ? 1 : 0), y = buffer(b, op, backward ? 2 : 1);
    fnn_maxout o = {.columns = op->out, .pieces = op->first, .x = x.data, .ldx = x.ld, .y = y.data, .ldy = y.ld};
    if (backward) {
        o.dy = buffer(b, op, 0).data;
        o.lddy = buffer(b, op, 0).ld;
    }
    return o;
}

static void run_op(const batch *b, const fnn_op *op, fnn_split split)
{
    switch (op->kind) {
    case FNN_OP_GATHER: gather(b, op, &b->run->x, split); break;
    case FNN_OP_GATHER_TARGETS: gather(b, op, &b->run->y, split); break;
    case FNN_OP_GATHER_LABELS: gather_labels(b, op, split); break;
    case FNN_OP_TIED_FORWARD:
    case FNN_OP_DENSE_FORWARD: dense_forward(b, op, split); break;
    case FNN_OP_ACTIVATION_FORWARD: {
        const fnn_elementwise o = elementwise(b, op, false);
        fnn_op_activation_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_SOFTMAX_FORWARD: {
        const fnn_elementwise o = elementwise(b, op, false);
        fnn_op_softmax_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_ACTIVATION_BACKWARD: {
        const fnn_elementwise o = elementwise(b, op, true);
        fnn_op_activation_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_SOFTMAX_BACKWARD: {
        const fnn_elementwise o = elementwise(b, op, true);
        fnn_op_softmax_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_LOG_SOFTMAX_FORWARD: {
        const fnn_elementwise o = elementwise(b, op, false);
        fnn_op_log_softmax_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_LOG_SOFTMAX_BACKWARD: {
        const fnn_elementwise o = elementwise(b, op, true);
        fnn_op_log_softmax_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_PRELU_FORWARD: {
        const fnn_prelu o = prelu_forward(b, op);
        fnn_op_prelu_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_PRELU_BACKWARD: {
        const fnn_prelu o = prelu_backward(b, op);
        fnn_op_prelu_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_PRELU_SLOPE_GRADIENT: {
        const fnn_prelu o = prelu_backward(b, op);
        fnn_op_prelu_slope_gradient(b->k, &o, split);
        break;
    }
    case FNN_OP_GATHER_WEIGHTS: gather(b, op, &b->run->weight, split); break;
    case FNN_OP_SOFTMAX_CROSS_ENTROPY: {
        const fnn_loss o = loss_of(b, op);
        fnn_op_softmax_cross_entropy(b->k, &o, split);
        break;
    }
    case FNN_OP_ELEMENTWISE_LOSS: {
        const fnn_loss o = loss_of(b, op);
        fnn_op_elementwise_loss(b->k, &o, split);
        break;
    }
    case FNN_OP_MULTICLASS_HINGE: {
        const fnn_loss o = loss_of(b, op);
        fnn_op_multiclass_hinge(b->k, &o, split);
        break;
    }
    case FNN_OP_TIED_BACKWARD_INPUT:
    case FNN_OP_DENSE_BACKWARD_INPUT: dense_backward_input(b, op, split); break;
    case FNN_OP_DENSE_BACKWARD_WEIGHTS: dense_backward_weights(b, op, split); break;
    case FNN_OP_REDUCE_LOSS: reduce_loss(b, op, split); break;
    case FNN_OP_PENALTY_FORWARD: {
        const fnn_penalty o = penalty(b, op);
        fnn_op_penalty_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_BATCHNORM_FORWARD: {
        const fnn_batchnorm o = batchnorm_forward(b, op);
        fnn_op_batchnorm_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_BATCHNORM_INFERENCE: {
        const fnn_batchnorm o = batchnorm_forward(b, op);
        fnn_op_batchnorm_inference(b->k, &o, split);
        break;
    }
    case FNN_OP_BATCHNORM_BACKWARD: {
        const fnn_batchnorm o = batchnorm_backward(b, op);
        fnn_op_batchnorm_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_BATCHNORM_RUNNING: batchnorm_running(b, op, split); break;
    case FNN_OP_LAYERNORM_FORWARD:
    case FNN_OP_RMSNORM_FORWARD: {
        const fnn_rownorm o = rownorm(b, op);
        fnn_op_rownorm_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_LAYERNORM_BACKWARD_INPUT:
    case FNN_OP_RMSNORM_BACKWARD_INPUT: {
        const fnn_rownorm o = rownorm(b, op);
        fnn_op_rownorm_backward_input(b->k, &o, split);
        break;
    }
    case FNN_OP_LAYERNORM_BACKWARD_WEIGHTS:
    case FNN_OP_RMSNORM_BACKWARD_WEIGHTS: {
        const fnn_rownorm o = rownorm(b, op);
        fnn_op_rownorm_backward_weights(b->k, &o, split);
        break;
    }
    case FNN_OP_DROPOUT: {
        const fnn_noise o = noise(b, op);
        fnn_op_dropout(b->k, &o, split);
        break;
    }
    case FNN_OP_DROP_WEIGHTS: drop_weights(b, op, split); break;
    case FNN_OP_GAUSSIAN_NOISE: {
        const fnn_noise o = noise(b, op);
        fnn_op_gaussian_noise(b->k, &o, split);
        break;
    }
    case FNN_OP_MAXOUT_FORWARD: {
        const fnn_maxout o = maxout(b, op);
        fnn_op_maxout_forward(b->k, &o, split);
        break;
    }
    case FNN_OP_MAXOUT_BACKWARD: {
        const fnn_maxout o = maxout(b, op);
        fnn_op_maxout_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_ADD: { /* a, b, y */
        const fnn_elementwise o = elementwise(b, op, true);
        fnn_op_add(b->k, &o, split);
        break;
    }
    case FNN_OP_PENALTY_BACKWARD: {
        const fnn_penalty o = penalty(b, op);
        fnn_op_penalty_backward(b->k, &o, split);
        break;
    }
    case FNN_OP_REDUCE_PENALTY: reduce_penalty(b, op, split); break;
    case FNN_OP_UPDATE:
    case FNN_OP_NORM:
    case FNN_OP_BEGIN_UPDATE:
    case FNN_OP_TRUST_UPDATE:
    case FNN_OP_MAX_NORM: update(b, op, split); break;
    default: break;
    }
}

/* The update's numbers for a step: before the team starts, and between two steps by its first thread. The others do not read them
 * there, since they have met after the step before, and a step that comes after another has a barrier before its updates. */
static void prepare_update(fnn_run *run, size_t step)
{
    if (!run->update) return;
    const double *lr = run->lr + (step - run->steps_skipped) * run->update->n_groups;
    run->update->skip = false;
    for (size_t g = 0; g < run->update->n_groups; g++)
        run->update->scalars[g] = fnn_update_prepare(&run->groups[g], lr[g]);
}

static void body(void *argument, int id, int count, fnn_barrier *barrier)
{
    fnn_run *run = argument;
    for (size_t i = 64; i < sizeof *run; i += 64) __builtin_prefetch((const char *)run + i); /* the caller has written to it */
    batch b = {.run = run, .k = fnn_active_kernels(), .buffers = run->buffers + (size_t)(id + 1) * run->n_buffers};
    if (run->scratch_floats) b.scratch = run->scratch + (size_t)id * run->scratch_floats;
    memcpy(b.buffers, run->buffers, run->n_buffers * sizeof(fnn_buffer));

    bool updates = false; /* a part of a plan may be run that has none */
    for (size_t i = run->first_op; i < run->last_op; i++)
        updates |= run->ops[i].kind == FNN_OP_UPDATE || run->ops[i].update_w >= 0 || run->ops[i].update_b >= 0;

    for (b.step = run->from; b.step < run->upto; b.step++) {
        b.begin = b.step * run->batch;
        b.rows = run->rows - b.begin < run->batch ? run->rows - b.begin : run->batch;
        const fnn_split split = fnn_split_of(id, count, b.rows);
        if (run->output >= 0) b.buffers[run->output] = (fnn_buffer){run->out + b.begin * run->ldout, run->ldout};
        if (id == 0 && b.step > run->from) prepare_update(run, b.step);
        bool written = false; /* anything since the last barrier? After nothing but a gather in place none is needed */
        for (size_t i = run->first_op; i < run->last_op; i++) {
            const fnn_op *op = &run->ops[i];
            run_op(&b, op, split);
            written |= op->kind != FNN_OP_GATHER || !in_place(&b, &run->x);
            if (!op->barrier || !written) continue;
            if (fnn_barrier_wait(barrier, id, count, &run->status.leave)) return;
            written = false;
        }
        if (id == 0) {
            run->steps_done = b.step + 1;
            if (run->update && run->update->skip)
                run->steps_skipped++;
            else if (run->update && updates)
                for (size_t g = 0; g < run->update->n_groups; g++)
                    fnn_update_commit(&run->groups[g], &run->update->scalars[g]);
            if (run->seconds > 0 && now() - run->begun >= run->seconds)
                atomic_store_explicit(&run->status.leave, true, memory_order_relaxed);
        }
        if (b.step + 1 < run->upto && fnn_barrier_wait(barrier, id, count, &run->status.leave)) return;
    }
}

static double rows_of(const fnn_run *run, size_t from, size_t upto)
{
    const size_t end = upto * run->batch < run->rows ? upto * run->batch : run->rows;
    return (double)(end - from * run->batch);
}

void fnn_plan_run(fnn_run *run)
{
    run->loss_sum = 0.0;
    run->correct = 0;
    run->steps_done = run->steps_skipped = 0;
    atomic_store(&run->status.first, 0);
    atomic_store(&run->status.leave, false);
    run->from = 0;
    if (!run->autotune || run->threads == 1) {
        run->begun = run->seconds > 0 ? now() : 0.0;
        run->upto = run->steps;
        prepare_update(run, 0);
        fnn_team_run(run->threads, body, run);
        return;
    }
    double before = run->begun = now();
    while (run->from < run->steps && !atomic_load_explicit(&run->status.leave, memory_order_relaxed)) {
        const size_t rows = run->rows < run->batch ? run->rows : run->batch;
        run->upto = run->from + fnn_autotune_piece(run->autotune, run->steps - run->from, (double)rows);
        prepare_update(run, run->from);
        fnn_team_run(run->autotune->team ? run->threads : 1, body, run);
        const double after = now();
        const size_t done = run->steps_done - run->from;
        if (done > 0) fnn_autotune_note(run->autotune, done, rows_of(run, run->from, run->steps_done), after - before);
        before = after;
        run->from = run->upto;
    }
}
