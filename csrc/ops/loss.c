/* Losses by rows, and their sum. */
#include "step.h"

#include <math.h>

const char *const fnn_loss_names[FNN_LOSS_FORMS] = {
#define FNN_LOSS(code, name) [code] = #name,
#include "../defs/losses.def"
#undef FNN_LOSS
};

/* The loss of the rows of a split. */
static fnn_loss loss_of(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_loss_parameters *p = &op->loss;
    const fnn_buffer logits = fnn_rows_of(s, op, 0, split), targets = fnn_rows_of(s, op, 2, split);
    const fnn_buffer dlogits = fnn_rows_of(s, op, 3, split), weight = fnn_rows_of(s, op, 6, split);
    const int32_t *labels = fnn_buffer_of(s, op, 1).data;
    return (fnn_loss){
        .form = (fnn_loss_form)p->form,
        .sum = p->sum,
        .full = p->full,
        .parameter = p->parameter,
        .classes = (size_t)p->columns,
        .logits = logits.data,
        .ldl = logits.ld,
        .labels = labels ? labels + split.begin : NULL,
        .ignores = s->run->ignores,
        .targets = targets.data,
        .ldt = targets.ld,
        .weight = weight.data,
        .ldw = weight.ld,
        .each = weight.data && s->run->weight_columns > 1,
        .class_weight = fnn_buffer_of(s, op, 7).data,
        .scale = p->sum ? 1.0 : 1.0 / (double)(s->counted ? s->counted : 1),
        .dlogits = dlogits.data,
        .ldd = dlogits.ld,
        .loss = (double *)fnn_buffer_of(s, op, 4).data + split.begin,
        .correct = (uint32_t *)fnn_buffer_of(s, op, 5).data + split.begin,
    };
}

/* Rows whose loss is not finite, where they are looked for. */
static void check_losses(const fnn_step *s, const fnn_loss *o, fnn_split split)
{
    if (!s->run->check_losses) return;
    for (size_t i = 0; split.begin + i < split.end; i++)
        if (!isfinite(o->loss[i])) fnn_report(&s->run->status, split.begin + i, FNN_BAD_LOSS);
}

void fnn_run_softmax_cross_entropy(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_loss part = loss_of(s, op, split);
    if (split.begin < split.end) s->kernels->softmax_cross_entropy(split.end - split.begin, &part);
    check_losses(s, &part, split);
}

/* Poisson's rates below 0, which are a bad row's unless it counts for nothing. */
static void check_rates(const fnn_step *s, const fnn_loss *o, fnn_split split)
{
    for (size_t i = 0; split.begin + i < split.end; i++) {
        bool good = true;
        for (size_t j = 0; j < o->classes; j++) {
            const bool left_out = o->weight && fnn_value(s->kernels, o->weight, i * o->ldw + (o->each ? j : 0)) == 0.0;
            good &= left_out || !(fnn_value(s->kernels, o->logits, i * o->ldl + j) + o->parameter < 0.0);
        }
        if (!good) fnn_report(&s->run->status, split.begin + i, FNN_BAD_RATE);
    }
}

void fnn_run_elementwise_loss(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_loss part = loss_of(s, op, split);
    if (split.begin < split.end) s->kernels->elementwise_loss(split.end - split.begin, &part);
    check_losses(s, &part, split);
    if (part.form == FNN_POISSON && s->run->check_finite) check_rates(s, &part, split);
}

void fnn_run_multiclass_hinge(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_loss part = loss_of(s, op, split);
    if (split.begin < split.end) s->kernels->multiclass_hinge(split.end - split.begin, &part);
    check_losses(s, &part, split);
}

void fnn_run_host_loss(const fnn_step *s, const fnn_op *op, fnn_split split) { (void)s, (void)op, (void)split; }

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

/* By one thread. */
void fnn_run_reduce_loss(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.id != split.count - 1) return;
    fnn_run *run = s->run;
    const double sum = fnn_sum_rows(fnn_buffer_of(s, op, 0).data, s->rows);
    const uint32_t *correct = fnn_buffer_of(s, op, 1).data;
    run->loss_sum += sum;
    if (run->losses) run->losses[s->number] = op->reduce.sum ? sum : sum / (double)(s->counted ? s->counted : 1);
    for (size_t i = 0; i < s->rows; i++) run->correct += correct[i];
}
