/* Losses by rows, and their sum. */
#include "step.h"

#include <math.h>
#include <string.h>

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

/* ---- losses of rows that a Mixup has mixed ---- */

typedef void loss_kernel(size_t rows, const fnn_loss *o);

size_t fnn_mixed_loss_bytes(size_t outputs)
{
    return (5 * FNN_MIXED_ROWS * outputs * sizeof(double) + 63) / 64 * 64;
}

size_t fnn_loss_outputs(const fnn_op *ops, size_t count)
{
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        const bool loss = ops[i].kind == FNN_OP_softmax_cross_entropy || ops[i].kind == FNN_OP_elementwise_loss ||
                          ops[i].kind == FNN_OP_multiclass_hinge;
        if (loss) most = fnn_max(most, (size_t)ops[i].loss.columns);
    }
    return most;
}

/* share l(z, target) + (1 - share) l(z, target of the other): the loss twice, with these weights, each times that of the row that the
 * target belongs to. Of right answers those count that the larger share has. */
static void mixed_loss(const fnn_step *s, const fnn_loss *o, fnn_split split, loss_kernel *kernel)
{
    const fnn_run *run = s->run;
    const fnn_kernels *k = s->kernels;
    const fnn_augment *a = run->augment;
    const size_t n = o->classes, each = o->each ? n : 1, span = FNN_MIXED_ROWS * n * sizeof(double);
    char *logits = a->scratch + ((size_t)split.id + 1) * a->scratch_bytes - fnn_mixed_loss_bytes(n);
    char *gradient = logits + span, *targets = gradient + span, *mine = targets + span, *others = mine + span;
    for (size_t i0 = 0; i0 < split.end - split.begin; i0 += FNN_MIXED_ROWS) {
        const size_t rows = fnn_min(FNN_MIXED_ROWS, split.end - split.begin - i0);
        bool larger[FNN_MIXED_ROWS]; /* is the other's share */
        int32_t labels[FNN_MIXED_ROWS];
        double loss[FNN_MIXED_ROWS];
        uint32_t correct[FNN_MIXED_ROWS];
        for (size_t i = 0; i < rows; i++) {
            const fnn_mixture m = fnn_mixture_of(s, fnn_row_number(s, split.begin + i0 + i));
            const char *target = run->y.data + (ptrdiff_t)m.other * run->y.stride;
            larger[i] = m.share < 0.5;
            memcpy(fnn_at(k, logits, i * n), fnn_at(k, o->logits, (i0 + i) * o->ldl), n * k->item);
            if (o->labels) {
                const int64_t label = fnn_label_value(target, run->y.dtype);
                const bool good = label >= 0 && label < run->classes;
                if (!good) fnn_report(&s->run->status, split.begin + i0 + i, FNN_BAD_LABEL);
                labels[i] = good ? (int32_t)label : 0;
            } else {
                k->convert(run->y.dtype, n, target, 1.0, 0.0, fnn_at(k, targets, i * n));
            }
            for (size_t j = 0; j < each; j++) {
                double weight; /* or a float */
                fnn_set_value(k, &weight, 0, 1.0);
                if (run->weight.data)
                    k->convert(run->weight.dtype, 1, run->weight.data + (ptrdiff_t)m.other * run->weight.stride + j * run->weight.item, 1.0,
                               0.0, &weight);
                const double own = o->weight ? fnn_value(k, o->weight, (i0 + i) * o->ldw + j) : 1.0;
                fnn_set_value(k, mine, i * each + j, m.share * own);
                fnn_set_value(k, others, i * each + j, (1.0 - m.share) * fnn_value(k, &weight, 0));
            }
        }
        fnn_loss part = *o;
        part.logits = logits;
        part.ldl = n;
        part.labels = o->labels ? o->labels + i0 : NULL;
        part.targets = fnn_at(k, o->targets, i0 * o->ldt);
        part.weight = mine;
        part.ldw = each;
        part.dlogits = fnn_at(k, o->dlogits, i0 * o->ldd);
        part.loss = o->loss + i0;
        part.correct = o->correct + i0;
        kernel(rows, &part);
        part.labels = o->labels ? labels : NULL;
        part.targets = targets;
        part.ldt = n;
        part.weight = others;
        part.dlogits = o->dlogits ? gradient : NULL;
        part.ldd = n;
        part.loss = loss;
        part.correct = correct;
        kernel(rows, &part);
        for (size_t i = 0; i < rows; i++) {
            void *d = fnn_at(k, o->dlogits, (i0 + i) * o->ldd);
            o->loss[i0 + i] += loss[i];
            if (larger[i]) o->correct[i0 + i] = correct[i];
            if (d) k->add(n, d, fnn_at(k, gradient, i * n), d);
        }
    }
}

static void run_loss(const fnn_step *s, const fnn_loss *o, fnn_split split, loss_kernel *kernel)
{
    const fnn_augment *a = s->run->augment;
    if (split.begin == split.end) return;
    if (a && a->mixup < a->count)
        mixed_loss(s, o, split, kernel);
    else
        kernel(split.end - split.begin, o);
    check_losses(s, o, split);
}

void fnn_run_softmax_cross_entropy(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_loss part = loss_of(s, op, split);
    run_loss(s, &part, split, s->kernels->softmax_cross_entropy);
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
    run_loss(s, &part, split, s->kernels->elementwise_loss);
    if (part.form == FNN_POISSON && s->run->check_finite) check_rates(s, &part, split);
}

void fnn_run_multiclass_hinge(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_loss part = loss_of(s, op, split);
    run_loss(s, &part, split, s->kernels->multiclass_hinge);
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
