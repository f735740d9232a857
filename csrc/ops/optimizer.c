/* Optimizer updates over many arrays, and the numbers of a step that are the same for all their elements. */
#include "step.h"

#include <math.h>

/* ---- the register ---- */

const char *const fnn_momentum_forms[FNN_FORMS] = {
#define FNN_FORM(code, name) [code] = #name,
#include "../defs/update_rules.def"
#undef FNN_FORM
};

const char *const fnn_adjustments[FNN_ADJUSTMENTS] = {
#define FNN_ADJUST(code, name) [code] = #name,
#include "../defs/update_rules.def"
#undef FNN_ADJUST
};

#define FNN_INT(name, initial, least, below) {#name, true, initial, least, below},
#define FNN_DOUBLE(name, initial, least, below) {#name, false, initial, least, below},
const fnn_setting_info fnn_group_settings[] = {FNN_SETTINGS{NULL, false, 0, 0, 0}};
static const fnn_setting_info none_settings[] = {{NULL, false, 0, 0, 0}};
#define FNN_HYPER(name, settings)                                                                            \
    static const fnn_setting_info name##_settings[] = {settings{NULL, false, 0, 0, 0}};                      \
    _Static_assert(sizeof(name##_settings) / sizeof(fnn_setting_info) + sizeof(fnn_group_settings) / sizeof(fnn_setting_info) - 2 <= \
                       FNN_GROUP_VALUES, #name ": more hyper-parameters than fnn_group has room for");
#include "../defs/update_rules.def"
#undef FNN_HYPER
#undef FNN_INT
#undef FNN_DOUBLE

#define FNN_STATE(name) +1
#define FNN_ROW_STATE(name) +1
#define FNN_COLUMN_STATE(name) +1
#define FNN_TRAIT(name) | FNN_TRAIT_##name
enum {
#define FNN_UPDATE(code, name, states, matrix_states, hyper, memory, traits, ...) \
    name##_states = 0 states, name##_matrix_states = 0 matrix_states, name##_flags = 0 traits,
#include "../defs/update_rules.def"
#undef FNN_UPDATE
};
#undef FNN_STATE
#undef FNN_ROW_STATE
#undef FNN_COLUMN_STATE
#undef FNN_TRAIT

#define FNN_STATE(name) #name " "
#define FNN_ROW_STATE(name) #name "/row "
#define FNN_COLUMN_STATE(name) #name "/column "
#define FNN_TRAIT(name) #name " "
const fnn_update_rule_info fnn_update_infos[FNN_UPDATE_RULES] = {
#define FNN_UPDATE(code, name, states, matrix_states, hyper, memory, traits, ...)                                              \
    [code] = {#name,         "" states,           "" matrix_states, memory,          "" traits,                                \
              name##_states, name##_matrix_states, name##_flags,     hyper##_settings},
#include "../defs/update_rules.def"
#undef FNN_UPDATE
};
#undef FNN_STATE
#undef FNN_ROW_STATE
#undef FNN_COLUMN_STATE
#undef FNN_TRAIT

static bool trusted(fnn_update_rule rule) { return fnn_update_infos[rule].flags & FNN_TRAIT_trust; }

/* ---- scalars ---- */

static void prepare_momentum(fnn_update_scalars *s, const fnn_momentum_hyper *h, double lr, uint64_t t)
{
    s->beta1 = h->momentum;
    switch ((fnn_momentum_form)h->form) {
    case FNN_FORM_TORCH: /* the first step starts from the gradient itself, undampened */
        s->one_beta1 = t == 1 ? 1.0 : 1.0 - h->dampening;
        break;
    case FNN_FORM_CLASSIC: /* v <- momentum v - lr g;  w <- w + v */
        s->one_beta1 = -lr;
        s->lr = -1.0;
        break;
    default:
        s->one_beta1 = 1.0 - h->momentum;
        if (h->form == FNN_FORM_CORRECTED) s->lr = lr / (1.0 - pow(h->momentum, (double)t));
        break;
    }
}

static void prepare_moments(fnn_update_scalars *s, double beta1, double beta2, double eps, uint64_t t)
{
    s->beta1 = beta1;
    s->one_beta1 = 1.0 - beta1;
    s->beta2 = beta2;
    s->one_beta2 = 1.0 - beta2;
    s->eps = eps;
    s->inverse_sqrt_bc2 = 1.0 / sqrt(1.0 - pow(beta2, (double)t));
}

/* And the rate that corrects the first moment's start. */
static void prepare_corrected(fnn_update_scalars *s, double beta1, double beta2, double eps, double lr, uint64_t t)
{
    prepare_moments(s, beta1, beta2, eps, t);
    s->lr = lr / (1.0 - pow(beta1, (double)t));
}

static void prepare_adam(fnn_update_scalars *s, const fnn_adam_hyper *h, double lr, uint64_t t)
{
    prepare_corrected(s, h->beta1, h->beta2, h->eps, lr, t);
    if (h->epsilon_hat) {
        s->lr *= sqrt(1.0 - pow(h->beta2, (double)t));
        s->inverse_sqrt_bc2 = 1.0;
    }
}

/* Memory: the product of the momenta so far. */
static void prepare_nadam(fnn_update_scalars *s, const fnn_nadam_hyper *h, double lr, uint64_t t, double product)
{
    const double mu = h->beta1 * (1.0 - 0.5 * pow(0.96, (double)t * h->momentum_decay));
    const double next = h->beta1 * (1.0 - 0.5 * pow(0.96, ((double)t + 1.0) * h->momentum_decay));
    prepare_moments(s, h->beta1, h->beta2, h->eps, t);
    product = (t == 1 ? 1.0 : product) * mu;
    s->second_lr = lr * (1.0 - mu) / (1.0 - product);
    s->lr = lr * next / (1.0 - product * next);
    s->memory[0] = product;
}

static void prepare_radam(fnn_update_scalars *s, const fnn_moments_hyper *h, double lr, uint64_t t)
{
    prepare_moments(s, h->beta1, h->beta2, h->eps, t);
    const double bc1 = 1.0 - pow(h->beta1, (double)t), power = pow(h->beta2, (double)t), bc2 = 1.0 - power;
    const double rho_inf = 2.0 / (1.0 - h->beta2) - 1.0, rho = rho_inf - 2.0 * (double)t * power / bc2;
    s->first = !(rho > 5.0);
    s->lr = lr / bc1;
    if (!s->first) s->lr *= sqrt((rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)) * sqrt(bc2);
}

/* Memory: the sum of the weights, the largest rate. */
static void prepare_schedule_free(fnn_update_scalars *s, const fnn_schedule_free_hyper *h, double lr, uint64_t t,
                                  const double memory[2])
{
    prepare_moments(s, h->beta1, h->beta2, h->eps, t);
    if (t <= (uint64_t)h->warmup_steps) lr *= (double)t / (double)h->warmup_steps;
    const double largest = lr > memory[1] ? lr : memory[1];
    const double weight = pow((double)t, h->r) * pow(largest, h->weight_lr_power), sum = memory[0] + weight;
    s->mix = sum > 0.0 ? weight / sum : 0.0;
    s->lr = lr;
    s->second_lr = lr * (1.0 - h->beta1 * (1.0 - s->mix));
    s->first = t == 1;
    s->memory[0] = sum;
    s->memory[1] = largest;
}

static void prepare_adagrad(fnn_update_scalars *s, const fnn_adagrad_hyper *h, double lr, uint64_t t)
{
    s->lr = lr / (1.0 + (double)(t - 1) * h->lr_decay);
    s->eps = h->eps;
}

static void prepare_lamb(fnn_update_scalars *s, const fnn_lamb_hyper *h, uint64_t t)
{
    prepare_moments(s, h->beta1, h->beta2, h->eps, t);
    s->mix = 1.0 / (1.0 - pow(h->beta1, (double)t));
}

/* The weight of the newest squares, and the relative rate. */
static void prepare_adafactor(fnn_update_scalars *s, const fnn_adafactor_hyper *h, double lr, uint64_t t)
{
    s->mix = pow((double)t, h->beta2_decay);
    s->second_lr = fmin(lr, 1.0 / sqrt((double)t));
}

/* AdamW's; the rate of matrices apart. */
static void prepare_muon(fnn_update_scalars *s, const fnn_muon_hyper *h, double lr, uint64_t t)
{
    prepare_corrected(s, h->beta1, h->beta2, h->adamw_eps, lr, t);
    s->second_lr = lr;
}

/* What the register says of the group's rule. */
static void prepare(fnn_update_scalars *s, const fnn_group *g, double lr, uint64_t t)
{
    switch (g->rule) {
#define FNN_UPDATE(code, name, states, matrix_states, hyper, memory, traits, scalars) \
    case code: scalars; break;
#include "../defs/update_rules.def"
#undef FNN_UPDATE
    default: break;
    }
}

/* Scalars in double; the kernels round each once to the arrays' type. */
static fnn_update_scalars scalars_of(const fnn_group *g, double lr)
{
    const uint64_t t = g->t + 1;
    const bool own_decay = fnn_update_infos[g->rule].flags & FNN_TRAIT_own_decay;
    fnn_update_scalars s = {.lr = lr, .start = t == 1, .gradient_scale = 1.0, .max_norm = g->max_norm};
    prepare(&s, g, lr, t);
    if (g->maximize) {
        s.gradient_scale = -1.0;
        s.options |= FNN_SCALE;
    }
    if (g->clip_value > 0) {
        s.clip_value = g->clip_value;
        s.options |= FNN_CLIP;
    }
    if (own_decay) {
        s.decay = g->weight_decay;
    } else if (g->weight_decay != 0) {
        s.weight_decay = g->weight_decay;
        s.keep = 1.0 - lr * g->weight_decay;
        s.options |= g->decoupled_weight_decay ? FNN_DECAY : FNN_L2;
    }
    if (g->l1 > 0) {
        s.threshold = lr * g->l1;
        s.options |= FNN_THRESHOLD;
    }
    if (g->ema > 0) {
        s.one_ema = 1.0 - g->ema;
        if (!(g->max_norm > 0)) s.options |= FNN_EMA; /* else the pass that limits the norm does it, the last over the weights */
    }
    return s;
}

void fnn_update_prepare(fnn_update *o, fnn_group *groups, const double *values)
{
    o->groups = groups;
    for (size_t i = 0; i < o->n_scheduled; i++)
        groups[o->scheduled[i].group].value[o->scheduled[i].place].d = values[o->n_groups + i];
    for (size_t i = 0; i < o->n_groups; i++) o->scalars[i] = scalars_of(&groups[i], values[i]);
}

void fnn_update_commit(fnn_group *group, const fnn_update_scalars *scalars)
{
    group->t++;
    group->memory[0] = scalars->memory[0];
    group->memory[1] = scalars->memory[1];
}

/* ---- how a team shares it ---- */

static size_t chunks_of(const fnn_tensor *t) { return (t->n + FNN_UPDATE_CHUNK - 1) / FNN_UPDATE_CHUNK; }

size_t fnn_update_chunks(const fnn_tensor *tensors, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) total += chunks_of(&tensors[i]);
    return total;
}

/* The arrays of a call may be of either type; an operation's own kernels are not used here. */
static const fnn_kernels *kernels_of(const fnn_tensor *t) { return fnn_active_kernels(t->is_double ? FNN_F64 : FNN_F32); }

/* Chunks of all arrays in a row, dealt out in equal runs; visit(argument, tensor, from, upto, number of the chunk at
 * `from`, number of the tensor's first chunk) for each array's part of this thread's run. */
typedef void visitor(const fnn_kernels *k, const fnn_update *o, const fnn_tensor *t, size_t from, size_t upto, size_t chunk,
                     size_t first);

static void visit_split(const fnn_update *o, fnn_split s, visitor *visit)
{
    const fnn_split mine = fnn_split_of(s.id, s.count, fnn_update_chunks(o->tensors, o->count));
    size_t first = 0; /* number of the array's first chunk */
    for (size_t i = 0; i < o->count && first < mine.end; i++) {
        const fnn_tensor *t = &o->tensors[i];
        const size_t end = first + chunks_of(t);
        if (end > mine.begin) {
            const size_t begin = mine.begin > first ? mine.begin : first;
            const size_t upto = mine.end < end ? (mine.end - first) * FNN_UPDATE_CHUNK : t->n;
            visit(kernels_of(t), o, t, (begin - first) * FNN_UPDATE_CHUNK, upto, begin, first);
        }
        first = end;
    }
}

static void norm_part(const fnn_kernels *k, const fnn_update *o, const fnn_tensor *t, size_t from, size_t upto, size_t chunk,
                      size_t first)
{
    (void)first;
    for (; from < upto; from += FNN_UPDATE_CHUNK, chunk++) {
        const size_t n = upto - from < FNN_UPDATE_CHUNK ? upto - from : FNN_UPDATE_CHUNK;
        o->norms[chunk] = k->sum_squares(n, fnn_at(k, t->g, from));
    }
}

/* Behind all parts of the norm and before those of the update, by one thread. */
static void begin_update(fnn_update *o)
{
    const size_t chunks = fnn_update_chunks(o->tensors, o->count);
    double sum = 0.0;
    for (size_t i = 0; i < chunks; i++) sum += o->norms[i];
    o->norm = sqrt(sum);
    o->skip = o->skip_nonfinite && !isfinite(o->norm);
    if (!(o->clip_norm > 0)) return;
    const double scale = o->clip_norm / (o->norm + 1e-6);
    if (scale >= 1) return; /* a NaN norm scales: the update shows it */
    for (size_t i = 0; i < o->n_groups; i++) {
        o->scalars[i].gradient_scale *= scale;
        o->scalars[i].options |= FNN_SCALE;
    }
}

#define FNN_TRUST_BLOCK 1024 /* elements that stay in the nearest cache from LAMB's moments to its norms; divides a chunk */

/* Of a table whose rows are updated alone: those that the batch names. */
static void update_rows(const fnn_kernels *k, fnn_update_rule rule, const fnn_update_scalars *scalars, const fnn_tensor *t, size_t from,
                        size_t upto)
{
    for (size_t row = from / t->width; from < upto; row++) {
        const size_t end = (row + 1) * t->width < upto ? (row + 1) * t->width : upto, n = end - from;
        void *state[FNN_STATES];
        fnn_states_at(k, state, t->state, from);
        if (t->named[row]) k->update[rule](1, n, scalars, fnn_at(k, t->w, from), n, fnn_at(k, t->g, from), n, state);
        from = end;
    }
}

static void update_part(const fnn_kernels *k, const fnn_update *o, const fnn_tensor *t, size_t from, size_t upto, size_t chunk,
                        size_t first)
{
    (void)first;
    if (fnn_updates_whole(o, t)) return;
    const fnn_update_rule rule = o->rules[t->group];
    const bool later = trusted(rule);
    const fnn_update_scalars *scalars = &o->scalars[t->group];
    if (t->named) {
        update_rows(k, rule, scalars, t, from, upto);
        return;
    }
    fnn_update_scalars moments;
    if (later) { /* the moments now, the weights later */
        moments = *scalars;
        moments.options &= FNN_SCALE | FNN_CLIP;
        scalars = &moments;
    }
    const size_t step = later ? FNN_TRUST_BLOCK : upto - from;
    for (const size_t begin = from; from < upto; from += step) {
        const size_t n = upto - from < step ? upto - from : step;
        double part[2] = {0.0, 0.0}, *sums = later ? &o->trust[2 * (chunk + (from - begin) / FNN_UPDATE_CHUNK)] : NULL;
        void *w = fnn_at(k, t->w, from), *state[FNN_STATES];
        fnn_states_at(k, state, t->state, from);
        k->update[rule](1, n, scalars, w, n, fnn_at(k, t->g, from), n, state);
        if (later) k->trust_norms(n, scalars, w, state[0], state[1], part);
        for (int i = 0; later && i < 2; i++) sums[i] = (from - begin) % FNN_UPDATE_CHUNK ? sums[i] + part[i] : part[i];
    }
}

static void trust_part(const fnn_kernels *k, const fnn_update *o, const fnn_tensor *t, size_t from, size_t upto, size_t chunk,
                       size_t first)
{
    (void)chunk;
    if (!trusted(o->rules[t->group])) return;
    double w2 = 0.0, d2 = 0.0;
    for (size_t i = first; i < first + chunks_of(t); i++) {
        w2 += o->trust[2 * i];
        d2 += o->trust[2 * i + 1];
    }
    const double ratio = w2 == 0.0 || d2 == 0.0 ? 1.0 : sqrt(w2) / sqrt(d2);
    const fnn_update_scalars *s = &o->scalars[t->group];
    k->trust_update(upto - from, s, ratio, fnn_at(k, t->w, from), fnn_at(k, t->state[0], from), fnn_at(k, t->state[1], from),
                    fnn_at(k, t->state[FNN_AVERAGE], from));
}

/* The units [begin, end) of an array, or (units 0) its elements. */
static void limit_units(const fnn_kernels *k, const fnn_tensor *t, const fnn_update_scalars *s, size_t begin, size_t end)
{
    const size_t columns = t->units ? t->units : t->n, rows = t->n / columns, vector = 64 / k->item;
    for (size_t j = begin; j < end; j += t->unit_together ? 1 : vector) {
        const size_t at = t->unit_together ? j * rows : j, n = end - j < vector ? end - j : vector;
        void *w = fnn_at(k, t->w, at), *mean = fnn_at(k, t->state[FNN_AVERAGE], at);
        if (t->unit_together)
            k->max_norm_unit(rows, s, w, mean);
        else
            k->max_norm(rows, n, t->units > 0, s, w, mean, columns);
    }
}

static void limit_norms(const fnn_update *o, fnn_split s)
{
    for (size_t i = 0; i < o->count; i++) {
        const fnn_tensor *t = &o->tensors[i];
        const fnn_update_scalars *scalars = &o->scalars[t->group];
        if (!(scalars->max_norm > 0) || t->n == 0) continue;
        const size_t units = t->units ? t->units : t->n, vectors = (units + 15) / 16; /* every array is cut for the team */
        const fnn_split mine = fnn_split_of(s.id, s.count, vectors);
        limit_units(kernels_of(t), t, scalars, mine.begin * 16, mine.end * 16 < units ? mine.end * 16 : units);
    }
}

typedef struct {
    fnn_update *o;
    bool norm, trust, max_norm;
    atomic_bool leave; /* never: nothing here can fail */
} update_call;

static void body(void *argument, int id, int count, fnn_barrier *barrier)
{
    update_call *c = argument;
    const fnn_split s = {id, count, 0, 0};
    if (c->norm) {
        visit_split(c->o, s, norm_part);
        fnn_barrier_wait(barrier, id, count, &c->leave);
        if (id == 0) begin_update(c->o);
        fnn_barrier_wait(barrier, id, count, &c->leave);
    }
    if (c->o->skip) return;
    visit_split(c->o, s, update_part);
    if (c->o->room) fnn_whole_update(c->o, id, count, barrier);
    if (c->trust) {
        fnn_barrier_wait(barrier, id, count, &c->leave);
        visit_split(c->o, s, trust_part);
    }
    if (c->max_norm) {
        fnn_barrier_wait(barrier, id, count, &c->leave);
        limit_norms(c->o, s);
    }
}

void fnn_update_run(fnn_update *o, bool trust, bool max_norm, fnn_autotune *tune, double work)
{
    update_call c = {.o = o, .norm = o->clip_norm > 0 || o->skip_nonfinite, .trust = trust, .max_norm = max_norm};
    o->skip = false;
    fnn_team_call(tune, fnn_team_for(work), work, body, &c);
}

/* ---- operations of a plan ---- */

/* The update of the operation's tensors; its buffer holds norms of the gradients' chunks, or what trust ratios are made of. */
static fnn_update tensors_of(const fnn_step *s, const fnn_op *op)
{
    fnn_update o = *s->run->update;
    o.tensors += op->update.first;
    o.count = (size_t)(op->update.last - op->update.first);
    o.norms = o.trust = fnn_buffer_of(s, op, 0).data;
    return o;
}

static void visit_tensors(const fnn_step *s, const fnn_op *op, fnn_split split, visitor *visit)
{
    const fnn_update o = tensors_of(s, op);
    if (!o.skip) visit_split(&o, split, visit);
}

void fnn_run_gradient_norm(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_update o = tensors_of(s, op); /* whose `skip` is not known yet */
    visit_split(&o, split, norm_part);
}

void fnn_run_update(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_update o = tensors_of(s, op);
    if (o.skip) return;
    visit_split(&o, split, update_part);
    if (o.room) fnn_whole_update(&o, split.id, split.count, s->barrier);
}

void fnn_run_trust_update(const fnn_step *s, const fnn_op *op, fnn_split split) { visit_tensors(s, op, split, trust_part); }

void fnn_run_max_norm(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_update o = tensors_of(s, op);
    if (!o.skip) limit_norms(&o, split);
}

/* By one thread, which writes down what all others read behind the next barrier. */
void fnn_run_begin_update(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    if (split.id != 0) return;
    fnn_update o = tensors_of(s, op);
    begin_update(&o);
    s->run->update->norm = o.norm;
    s->run->update->skip = o.skip;
}
