/* Optimizer updates over many arrays, and the numbers of a step that are the same for all their elements. */
#include "step.h"

#include <math.h>

const char *const fnn_update_names[FNN_UPDATE_RULES] = {
#define FNN_UPDATE(code, name, states) [code] = #name,
#include "../defs/kernels.def"
#undef FNN_UPDATE
};

const int fnn_update_states[FNN_UPDATE_RULES] = {
#define FNN_UPDATE(code, name, states) [code] = states,
#include "../defs/kernels.def"
#undef FNN_UPDATE
};

/* ---- scalars ---- */

/* momentum, dampening, form: 0 PyTorch's, 1 classic, 2 average, 3 average with bias correction */
static void prepare_momentum(fnn_update_scalars *s, const double *h, double lr, uint64_t t)
{
    const double beta = h[0];
    s->beta1 = beta;
    switch ((int)h[2]) {
    case 0: /* the first step starts from the gradient itself, undampened */ s->one_beta1 = t == 1 ? 1.0 : 1.0 - h[1]; break;
    case 1: /* v <- momentum v - lr g;  w <- w + v */
        s->one_beta1 = -lr;
        s->lr = -1.0;
        break;
    default:
        s->one_beta1 = 1.0 - beta;
        if (h[2] == 3) s->lr = lr / (1.0 - pow(beta, (double)t));
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

/* beta1, beta2, eps, momentum_decay. Memory: the product of the momenta so far. */
static void prepare_nadam(fnn_update_scalars *s, const double *h, double lr, uint64_t t, double product)
{
    const double mu = h[0] * (1.0 - 0.5 * pow(0.96, (double)t * h[3]));
    const double next = h[0] * (1.0 - 0.5 * pow(0.96, ((double)t + 1.0) * h[3]));
    prepare_moments(s, h[0], h[1], h[2], t);
    product = (t == 1 ? 1.0 : product) * mu;
    s->second_lr = lr * (1.0 - mu) / (1.0 - product);
    s->lr = lr * next / (1.0 - product * next);
    s->memory[0] = product;
}

/* beta1, beta2, eps */
static void prepare_radam(fnn_update_scalars *s, const double *h, double lr, uint64_t t)
{
    prepare_moments(s, h[0], h[1], h[2], t);
    const double bc1 = 1.0 - pow(h[0], (double)t), power = pow(h[1], (double)t), bc2 = 1.0 - power;
    const double rho_inf = 2.0 / (1.0 - h[1]) - 1.0, rho = rho_inf - 2.0 * (double)t * power / bc2;
    s->first = !(rho > 5.0);
    s->lr = lr / bc1;
    if (!s->first) s->lr *= sqrt((rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)) * sqrt(bc2);
}

/* beta1, beta2, eps, weight_decay, warmup_steps, r, weight_lr_power. Memory: the sum of the weights, the largest rate. */
static void prepare_schedule_free(fnn_update_scalars *s, const double *h, double lr, uint64_t t, const double memory[2])
{
    prepare_moments(s, h[0], h[1], h[2], t);
    if ((double)t <= h[4]) lr *= (double)t / h[4];
    const double largest = lr > memory[1] ? lr : memory[1];
    const double weight = pow((double)t, h[5]) * pow(largest, h[6]), sum = memory[0] + weight;
    s->mix = sum > 0.0 ? weight / sum : 0.0;
    s->lr = lr;
    s->second_lr = lr * (1.0 - h[0] * (1.0 - s->mix));
    s->decay = h[3];
    s->first = t == 1;
    s->memory[0] = sum;
    s->memory[1] = largest;
}

/* Scalars in double; the kernels round each once to the arrays' type. */
fnn_update_scalars fnn_update_prepare(const fnn_group *g, double lr)
{
    const uint64_t t = g->t + 1;
    const double *h = g->hyper;
    fnn_update_scalars s = {.lr = lr, .start = t == 1, .gradient_scale = 1.0, .max_norm = g->max_norm};
    switch (g->rule) {
    case FNN_MOMENTUM:
    case FNN_NESTEROV: prepare_momentum(&s, h, lr, t); break;
    case FNN_ADAGRAD: /* lr_decay, eps */
        s.lr = lr / (1.0 + (double)g->t * h[0]);
        s.eps = h[1];
        break;
    case FNN_ADADELTA: /* rho, eps */ prepare_moments(&s, 0.0, h[0], h[1], t); break;
    case FNN_RMSPROP: /* alpha, eps, momentum */
    case FNN_RMSPROP_MOMENTUM:
    case FNN_RMSPROP_CENTERED:
    case FNN_RMSPROP_CENTERED_MOMENTUM: prepare_moments(&s, h[2], h[0], h[1], t); break;
    case FNN_ADAM: /* beta1, beta2, eps, whether eps is the paper's eps hat */
    case FNN_AMSGRAD:
        prepare_moments(&s, h[0], h[1], h[2], t);
        s.lr = lr / (1.0 - pow(h[0], (double)t));
        if (h[3] != 0.0) {
            s.lr *= sqrt(1.0 - pow(h[1], (double)t));
            s.inverse_sqrt_bc2 = 1.0;
        }
        break;
    case FNN_NADAM: prepare_nadam(&s, h, lr, t, g->memory[0]); break;
    case FNN_ADAMAX: /* beta1, beta2, eps */
        prepare_moments(&s, h[0], h[1], h[2], t);
        s.lr = lr / (1.0 - pow(h[0], (double)t));
        break;
    case FNN_RADAM: prepare_radam(&s, h, lr, t); break;
    case FNN_LION: /* beta1, beta2, weight_decay */
        prepare_moments(&s, h[0], h[1], 0.0, t);
        s.decay = h[2];
        break;
    case FNN_SCHEDULE_FREE: prepare_schedule_free(&s, h, lr, t, g->memory); break;
    case FNN_LAMB: /* beta1, beta2, eps, weight_decay */
        prepare_moments(&s, h[0], h[1], h[2], t);
        s.mix = 1.0 / (1.0 - pow(h[0], (double)t));
        s.decay = h[3];
        break;
    default: break; /* SGD: the rate alone */
    }

    if (g->maximize) {
        s.gradient_scale = -1.0;
        s.options |= FNN_SCALE;
    }
    if (g->clip_value > 0) {
        s.clip_value = g->clip_value;
        s.options |= FNN_CLIP;
    }
    if (g->weight_decay != 0) {
        s.weight_decay = g->weight_decay;
        s.keep = 1.0 - lr * g->weight_decay;
        s.options |= g->decoupled ? FNN_DECAY : FNN_L2;
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

static void update_part(const fnn_kernels *k, const fnn_update *o, const fnn_tensor *t, size_t from, size_t upto, size_t chunk,
                        size_t first)
{
    (void)first;
    const fnn_update_rule rule = o->rules[t->group];
    const bool trusted = rule == FNN_LAMB;
    const fnn_update_scalars *scalars = &o->scalars[t->group];
    fnn_update_scalars moments;
    if (trusted) { /* the moments now, the weights later */
        moments = *scalars;
        moments.options &= FNN_SCALE | FNN_CLIP;
        scalars = &moments;
    }
    const size_t step = trusted ? FNN_TRUST_BLOCK : upto - from;
    for (const size_t begin = from; from < upto; from += step) {
        const size_t n = upto - from < step ? upto - from : step;
        double part[2] = {0.0, 0.0}, *sums = trusted ? &o->trust[2 * (chunk + (from - begin) / FNN_UPDATE_CHUNK)] : NULL;
        void *w = fnn_at(k, t->w, from), *state[FNN_STATES];
        fnn_states_at(k, state, t->state, from);
        k->update[rule](1, n, scalars, w, n, fnn_at(k, t->g, from), n, state);
        if (trusted) k->trust_norms(n, scalars, w, state[0], state[1], part);
        for (int i = 0; trusted && i < 2; i++) sums[i] = (from - begin) % FNN_UPDATE_CHUNK ? sums[i] + part[i] : part[i];
    }
}

static void trust_part(const fnn_kernels *k, const fnn_update *o, const fnn_tensor *t, size_t from, size_t upto, size_t chunk,
                       size_t first)
{
    (void)chunk;
    if (o->rules[t->group] != FNN_LAMB) return;
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

void fnn_run_update(const fnn_step *s, const fnn_op *op, fnn_split split) { visit_tensors(s, op, split, update_part); }
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
