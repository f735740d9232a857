/* Losses by rows, and their sum. */
#include "step.h"

/* The loss of the rows of a split. */
static fnn_loss rows_of(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    fnn_loss part = *o;
    part.logits = fnn_at(k, o->logits, s.begin * o->ldl);
    if (o->labels) part.labels += s.begin;
    part.targets = fnn_at(k, o->targets, s.begin * o->ldt);
    part.weight = fnn_at(k, o->weight, s.begin * o->ldw);
    part.dlogits = fnn_at(k, o->dlogits, s.begin * o->ldd);
    part.loss += s.begin;
    part.correct += s.begin;
    return part;
}

void fnn_op_softmax_cross_entropy(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    const fnn_loss part = rows_of(k, o, s);
    if (s.begin < s.end) k->softmax_cross_entropy(s.end - s.begin, &part);
}

/* Poisson's rates below 0, which are a bad row's unless it counts for nothing. */
static void check_rates(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    for (size_t i = s.begin; i < s.end; i++) {
        bool good = true;
        for (size_t j = 0; j < o->classes; j++) {
            const bool left_out = o->weight && fnn_value(k, o->weight, i * o->ldw + (o->each ? j : 0)) == 0.0;
            good &= left_out || !(fnn_value(k, o->logits, i * o->ldl + j) + o->parameter < 0.0);
        }
        if (!good) fnn_report(o->status, i, FNN_BAD_RATE);
    }
}

void fnn_op_elementwise_loss(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    const fnn_loss part = rows_of(k, o, s);
    if (s.begin < s.end) k->elementwise_loss(s.end - s.begin, &part);
    if (o->form == FNN_POISSON && o->status) check_rates(k, o, s);
}

void fnn_op_multiclass_hinge(const fnn_kernels *k, const fnn_loss *o, fnn_split s)
{
    const fnn_loss part = rows_of(k, o, s);
    if (s.begin < s.end) k->multiclass_hinge(s.end - s.begin, &part);
}

double fnn_sum_rows(const double *loss, size_t rows)
{
    double total = 0.0;
    for (size_t i = 0; i < rows; i += 16) {
        const size_t end = rows - i < 16 ? rows : i + 16;
        double sum = 0.0;
        for (size_t r = i; r < end; r++) sum += loss[r];
        total += sum;
    }
    return total;
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

fnn_loss fnn_bind_loss(const fnn_step *s, const fnn_op *op)
{
    const fnn_buffer logits = fnn_buffer_of(s, op, 0), targets = fnn_buffer_of(s, op, 2), dlogits = fnn_buffer_of(s, op, 3), weight = fnn_buffer_of(s, op, 6);
    return (fnn_loss){
        .form = op->form,
        .sum = op->sum,
        .full = op->full,
        .parameter = op->alpha,
        .classes = op->out,
        .logits = logits.data,
        .ldl = logits.ld,
        .labels = fnn_buffer_of(s, op, 1).data,
        .ignores = s->run->ignores,
        .targets = targets.data,
        .ldt = targets.ld,
        .weight = weight.data,
        .ldw = weight.ld,
        .each = weight.data && s->run->weight_columns > 1,
        .class_weight = fnn_buffer_of(s, op, 7).data,
        .scale = op->sum ? 1.0 : 1.0 / (double)(s->counted ? s->counted : 1),
        .dlogits = dlogits.data,
        .ldd = dlogits.ld,
        .loss = fnn_buffer_of(s, op, 4).data,
        .correct = fnn_buffer_of(s, op, 5).data,
        .status = s->run->check_finite ? &s->run->status : NULL,
    };
}

/* By one thread. */
void fnn_run_reduce_loss(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.id != split.count - 1) return;
    fnn_run *run = s->run;
    const double sum = fnn_sum_rows(fnn_buffer_of(s, op, 0).data, s->rows);
    const uint32_t *correct = fnn_buffer_of(s, op, 1).data;
    run->loss_sum += sum;
    if (run->losses) run->losses[s->number] = op->sum ? sum : sum / (double)(s->counted ? s->counted : 1);
    for (size_t i = 0; i < s->rows; i++) run->correct += correct[i];
}
