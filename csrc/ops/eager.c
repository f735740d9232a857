/* One operation by a team, without a plan around it. */
#include "../fastnn.h"

typedef struct {
    fnn_op_kind op;
    const void *arguments;
    const fnn_kernels *kernels;
    size_t rows;
} call;

static void body(void *argument, int id, int count, fnn_barrier *barrier)
{
    (void)barrier;
    const call *c = argument;
    const fnn_kernels *k = c->kernels;
    const fnn_split s = fnn_split_of(id, count, c->rows);
    switch (c->op) {
    case FNN_OP_GATHER: fnn_op_gather(k, c->arguments, s); break;
    case FNN_OP_GATHER_LABELS: fnn_op_gather_labels(k, c->arguments, s); break;
    case FNN_OP_DENSE_FORWARD: fnn_op_dense_forward(k, c->arguments, s); break;
    case FNN_OP_ACTIVATION_FORWARD: fnn_op_activation_forward(k, c->arguments, s); break;
    case FNN_OP_SOFTMAX_FORWARD: fnn_op_softmax_forward(k, c->arguments, s); break;
    case FNN_OP_SOFTMAX_CROSS_ENTROPY: fnn_op_softmax_cross_entropy(k, c->arguments, s); break;
    case FNN_OP_ACTIVATION_BACKWARD: fnn_op_activation_backward(k, c->arguments, s); break;
    case FNN_OP_DENSE_BACKWARD_INPUT: fnn_op_dense_backward_input(k, c->arguments, s); break;
    case FNN_OP_DENSE_BACKWARD_WEIGHTS: fnn_op_dense_backward_weights(k, c->arguments, s); break;
    case FNN_OP_BATCHNORM_FORWARD: fnn_op_batchnorm_forward(k, c->arguments, s); break;
    case FNN_OP_BATCHNORM_INFERENCE: fnn_op_batchnorm_inference(k, c->arguments, s); break;
    case FNN_OP_BATCHNORM_BACKWARD: fnn_op_batchnorm_backward(k, c->arguments, s); break;
    case FNN_OP_LAYERNORM_FORWARD: fnn_op_rownorm_forward(k, c->arguments, s); break;
    case FNN_OP_LAYERNORM_BACKWARD_INPUT: fnn_op_rownorm_backward_input(k, c->arguments, s); break;
    case FNN_OP_LAYERNORM_BACKWARD_WEIGHTS: fnn_op_rownorm_backward_weights(k, c->arguments, s); break;
    case FNN_OP_DROPOUT: fnn_op_dropout(k, c->arguments, s); break;
    case FNN_OP_GAUSSIAN_NOISE: fnn_op_gaussian_noise(k, c->arguments, s); break;
    case FNN_OP_MAXOUT_FORWARD: fnn_op_maxout_forward(k, c->arguments, s); break;
    case FNN_OP_MAXOUT_BACKWARD: fnn_op_maxout_backward(k, c->arguments, s); break;
    case FNN_OP_PENALTY_FORWARD: fnn_op_penalty_forward(k, c->arguments, s); break;
    case FNN_OP_PENALTY_BACKWARD: fnn_op_penalty_backward(k, c->arguments, s); break;
    case FNN_OP_SOFTMAX_BACKWARD: fnn_op_softmax_backward(k, c->arguments, s); break;
    case FNN_OP_LOG_SOFTMAX_FORWARD: fnn_op_log_softmax_forward(k, c->arguments, s); break;
    case FNN_OP_LOG_SOFTMAX_BACKWARD: fnn_op_log_softmax_backward(k, c->arguments, s); break;
    case FNN_OP_PRELU_FORWARD: fnn_op_prelu_forward(k, c->arguments, s); break;
    case FNN_OP_PRELU_BACKWARD: fnn_op_prelu_backward(k, c->arguments, s); break;
    case FNN_OP_PRELU_SLOPE_GRADIENT: fnn_op_prelu_slope_gradient(k, c->arguments, s); break;
    case FNN_OP_ELEMENTWISE_LOSS: fnn_op_elementwise_loss(k, c->arguments, s); break;
    case FNN_OP_MULTICLASS_HINGE: fnn_op_multiclass_hinge(k, c->arguments, s); break;
    default: break; /* the others need a plan, or are an optimizer's (fnn_update_run) */
    }
}

void fnn_eager(fnn_op_kind op, const void *arguments, size_t rows, int threads)
{
    call c = {op, arguments, fnn_active_kernels(), rows};
    fnn_team_run(threads, body, &c);
}
