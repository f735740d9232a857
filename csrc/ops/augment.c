/* Images made anew as their rows are gathered, each thread those of its own rows: the members of a chain in turn, on an array of the
 * compute type. fastnn/reference/augment.py has the same bits, but for noise, whose logarithms are a kernel's.
 *
 * What member `position` draws for a sample is a block of the generator: the counter is (sample low, position + 2^8 sample high, epoch,
 * stream 2), u_i = word_i / 2^32. Noise has a stream of its own, where samples are rows.
 *
 * Members that move pixels (flip, shift, crop, rotation, zoom) and follow one another with one fill are one affine map: each pixel of
 * the last finds its place in the first image, which is read once. So an image is interpolated once, and what one member moves out of
 * the frame another may bring back. A map that takes whole pixels to whole pixels copies. */
#include "step.h"

#include <math.h>
#include <string.h>

#define FNN_INT(name) "i" #name " "
#define FNN_DOUBLE(name) "d" #name " "
#define FNN_AUGMENTATION(name, fields) \
    _Static_assert(sizeof(fnn_augment_##name##_parameters) <= 8 * FNN_AUGMENT_PARAMETERS, #name ": more parameters than there is room for");
#include "../defs/augment.def"
#undef FNN_AUGMENTATION

const fnn_augmentation_info fnn_augmentations[FNN_AUGMENTATIONS] = {
#define FNN_AUGMENTATION(name, fields) [FNN_AUGMENT_##name] = {#name, fields},
#include "../defs/augment.def"
#undef FNN_AUGMENTATION
#undef FNN_INT
#undef FNN_DOUBLE
};

/* ---- sizes ---- */

#define LONGEST 65536 /* pixels of a side, a shift or a padding */

static bool is_length(int64_t n, int64_t least) { return n >= least && n <= LONGEST; }

bool fnn_augment_measure(fnn_augment *a)
{
    size_t h = a->height, w = a->width;
    if (!is_length((int64_t)h, 1) || !is_length((int64_t)w, 1) || !is_length((int64_t)a->channels, 1)) return false;
    a->pixels = 0;
    a->work = 0;
    a->mixup = a->count;
    for (size_t i = 0; i <= a->count; i++) {
        const size_t pixels = (h + 2) * (w + 2);
        if (pixels > INT32_MAX / a->channels) return false;
        if (pixels > a->pixels) a->pixels = pixels;
        if (i == a->count) break;
        const fnn_augmentation *step = &a->steps[i];
        double each = 2.0; /* operations for an element, roughly */
        switch (step->kind) {
        case FNN_AUGMENT_shift:
            if (!is_length(step->shift.pixels, 0)) return false;
            break;
        case FNN_AUGMENT_crop: {
            const int64_t padding = step->crop.padding, height = step->crop.height, width = step->crop.width;
            if (!is_length(padding, 0) || !is_length(height, 1) || !is_length(width, 1)) return false;
            if (height > (int64_t)h + 2 * padding || width > (int64_t)w + 2 * padding) return false;
            h = (size_t)height;
            w = (size_t)width;
            break;
        }
        case FNN_AUGMENT_rotation:
        case FNN_AUGMENT_zoom: each = 15.0; break;
        case FNN_AUGMENT_color_jitter:
            if (step->color_jitter.saturation > 0.0 && a->channels != 3) return false;
            each = 10.0;
            break;
        case FNN_AUGMENT_noise: each = 30.0; break;
        case FNN_AUGMENT_cutout:
            if (!is_length(step->cutout.pixels, 1)) return false;
            break;
        case FNN_AUGMENT_mixup:
            if (a->mixup < a->count || !a->quantiles) return false;
            a->mixup = i;
            a->work *= 2; /* of the other as well */
            break;
        default: break;
        }
        a->work += each * (double)(h * w * a->channels);
    }
    a->columns = h * w * a->channels;
    return true;
}

static size_t lines(size_t bytes) { return (bytes + 63) / 64 * 64; }
static size_t image_bytes(const fnn_augment *a, size_t item) { return lines(a->pixels * a->channels * item); }

enum { IMAGES = 5 }; /* two of the row's own, two of the other of a Mixup, and one with a ring */

size_t fnn_augment_scratch(const fnn_augment *a, size_t item, size_t outputs)
{
    return IMAGES * image_bytes(a, item) + (a->mixup < a->count ? fnn_mixed_loss_bytes(outputs) : 0);
}

/* ---- draws ---- */

static void draw(const fnn_augment *a, uint64_t sample, size_t position, uint32_t word[4])
{
    const uint32_t counter[4] = {(uint32_t)sample, (uint32_t)(sample >> 32) * 256 + (uint32_t)(a->first + position), a->epoch, FNN_STREAM_AUGMENT};
    fnn_philox(counter, a->seed, word);
}

static double uniform(uint32_t word, double low, double high) { return low + (high - low) * ((double)word * 0x1p-32); }

/* An integer from 0 to n - 1. */
static double below(uint32_t word, int64_t n) { return (double)((uint64_t)word * (uint64_t)n >> 32); }

/* By quarters of a turn and Taylor's series: of basic operations only, so that NumPy has the same bits. */
static void sine_and_cosine(double angle, double *sine, double *cosine)
{
    static const double s[] = {1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};
    static const double c[] = {1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200,
                               1.0 / 20922789888000};
    const double quarters = floor(angle * 0.6366197723675814 + 0.5);
    const double r = (angle - quarters * 1.5707963267948966) - quarters * 6.123233995736766e-17, z = r * r;
    double sum_s = s[7], sum_c = c[8];
    for (int i = 6; i >= 0; i--) sum_s = sum_s * z + s[i];
    for (int i = 7; i >= 0; i--) sum_c = sum_c * z + c[i];
    const double sin_r = r * sum_s, cos_r = sum_c;
    switch ((int)quarters & 3) {
    case 0: *sine = sin_r, *cosine = cos_r; break;
    case 1: *sine = cos_r, *cosine = -sin_r; break;
    case 2: *sine = -sin_r, *cosine = -cos_r; break;
    default: *sine = -cos_r, *cosine = sin_r; break;
    }
}

/* ---- an image on its way through the chain ---- */

typedef struct picture {
    const fnn_augment *a;
    const fnn_kernels *k;
    uint64_t sample;
    size_t height, width;
    void *image, *spare, *ring;
} picture;

/* Members that are one map so far. */
typedef struct pending {
    double m[6];
    size_t height, width; /* of what they make */
    double fill;
    bool any, filled; /* filled: one of them has a fill */
} pending;

static pending nothing_pending(const picture *p) { return (pending){{1, 0, 0, 0, 1, 0}, p->height, p->width, 0.0, false, false}; }

/* Places of an image that is made by s of what the map so far makes. */
static void follow(double m[6], const double s[6])
{
    for (int i = 0; i < 6; i += 3) {
        const double y = m[i], x = m[i + 1];
        m[i] = y * s[0] + x * s[3];
        m[i + 1] = y * s[1] + x * s[4];
        m[i + 2] = (y * s[2] + x * s[5]) + m[i + 2];
    }
}

static bool takes_whole_pixels(const double m[6])
{
    return m[1] == 0 && m[3] == 0 && fabs(m[0]) == 1 && fabs(m[4]) == 1 && floor(m[2]) == m[2] && floor(m[5]) == m[5];
}

static void flush(picture *p, pending *g)
{
    if (!g->any) return;
    fnn_map map = {.height = p->height, .width = p->width, .channels = p->a->channels, .out_height = g->height, .out_width = g->width,
                   .fill = g->fill, .x = p->image, .ring = p->ring, .y = p->spare};
    memcpy(map.m, g->m, sizeof map.m);
    if (takes_whole_pixels(map.m))
        p->k->augment_pixels(&map);
    else
        p->k->augment_sample(&map);
    p->spare = p->image;
    p->image = map.y;
    p->height = g->height;
    p->width = g->width;
    *g = nothing_pending(p);
}

/* Room in the map for a member with this fill. */
static void join(picture *p, pending *g, double fill)
{
    if (g->filled && g->fill != fill) flush(p, g);
    g->fill = fill;
    g->filled = true;
}

/* A map about the centre: a y + b x and c y + d x from there. */
static void about_centre(pending *g, double a, double b, double c, double d)
{
    const double cy = (double)(g->height - 1) / 2, cx = (double)(g->width - 1) / 2;
    const double s[6] = {a, b, cy - (a * cy + b * cx), c, d, cx - (c * cy + d * cx)};
    follow(g->m, s);
}

/* Adds a member that moves pixels to the map; false for any other. */
static bool moves(picture *p, pending *g, const fnn_augmentation *step, const uint32_t word[4])
{
    switch (step->kind) {
    case FNN_AUGMENT_flip: {
        if (!(uniform(word[0], 0.0, 1.0) < step->flip.p)) return true; /* nothing to do */
        double s[6] = {1, 0, 0, 0, 1, 0};
        const int i = step->flip.vertical ? 0 : 4;
        s[i] = -1;
        s[i + (step->flip.vertical ? 2 : 1)] = (double)(step->flip.vertical ? g->height : g->width) - 1;
        follow(g->m, s);
        break;
    }
    case FNN_AUGMENT_shift: {
        const int64_t most = step->shift.pixels;
        join(p, g, step->shift.fill);
        const double s[6] = {1, 0, (double)most - below(word[0], 2 * most + 1), 0, 1, (double)most - below(word[1], 2 * most + 1)};
        follow(g->m, s);
        break;
    }
    case FNN_AUGMENT_crop: {
        const int64_t padding = step->crop.padding;
        join(p, g, step->crop.fill);
        const double top = below(word[0], (int64_t)g->height + 2 * padding - step->crop.height + 1) - (double)padding;
        const double left = below(word[1], (int64_t)g->width + 2 * padding - step->crop.width + 1) - (double)padding;
        const double s[6] = {1, 0, top, 0, 1, left};
        follow(g->m, s);
        g->height = (size_t)step->crop.height;
        g->width = (size_t)step->crop.width;
        break;
    }
    case FNN_AUGMENT_rotation: {
        double sine, cosine;
        join(p, g, step->rotation.fill);
        sine_and_cosine(uniform(word[0], -1.0, 1.0) * (step->rotation.degrees * 0.017453292519943295), &sine, &cosine);
        about_centre(g, cosine, -sine, sine, cosine);
        break;
    }
    case FNN_AUGMENT_zoom: {
        join(p, g, step->zoom.fill);
        const double scale = 1.0 / uniform(word[0], 1.0 - step->zoom.share, 1.0 + step->zoom.share);
        about_centre(g, scale, 0.0, 0.0, scale);
        break;
    }
    default: return false;
    }
    g->any = true;
    return true;
}

static double factor(double share, uint32_t word)
{
    if (share == 0.0) return -1.0; /* not at all */
    const double found = 1.0 + share * uniform(word, -1.0, 1.0);
    return found > 0.0 ? found : 0.0;
}

/* [top, top + n) within [0, size): where it begins, and how much there is of it. */
static size_t overlap(int64_t top, int64_t n, size_t size, size_t *count)
{
    const int64_t first = top > 0 ? top : 0, last = top + n < (int64_t)size ? top + n : (int64_t)size;
    *count = last > first ? (size_t)(last - first) : 0;
    return (size_t)first;
}

/* Members [from, end) of the chain. */
static void apply(picture *p, size_t from, size_t end)
{
    const fnn_augment *a = p->a;
    pending g = nothing_pending(p);
    for (size_t i = from; i < end; i++) {
        const fnn_augmentation *step = &a->steps[i];
        uint32_t word[4];
        draw(a, p->sample, i, word);
        if (moves(p, &g, step, word)) continue;
        flush(p, &g);
        const size_t columns = p->height * p->width * a->channels;
        if (step->kind == FNN_AUGMENT_color_jitter) {
            p->k->augment_colors(p->height * p->width, a->channels, factor(step->color_jitter.brightness, word[0]),
                                 factor(step->color_jitter.contrast, word[1]), factor(step->color_jitter.saturation, word[2]), p->image);
        } else if (step->kind == FNN_AUGMENT_noise) {
            const fnn_noise noise = {.draw = {a->seed, a->epoch, FNN_STREAM_NOISE + ((uint32_t)(a->first + i) << 24)}, .rows = 1, .columns = columns,
                                     .first_row = p->sample, .scale = step->noise.std, .x = p->image, .ldx = columns, .y = p->image,
                                     .ldy = columns};
            p->k->gaussian_noise(&noise);
        } else if (step->kind == FNN_AUGMENT_cutout) {
            const int64_t side = step->cutout.pixels;
            size_t rows, columns_of;
            const size_t top = overlap((int64_t)below(word[0], (int64_t)p->height) - side / 2, side, p->height, &rows);
            const size_t left = overlap((int64_t)below(word[1], (int64_t)p->width) - side / 2, side, p->width, &columns_of);
            p->k->augment_fill(rows, columns_of * a->channels, p->width * a->channels, step->cutout.fill,
                               fnn_at(p->k, p->image, (top * p->width + left) * a->channels));
        }
    }
    flush(p, &g);
}

static uint64_t sample_of(const fnn_augment *a, size_t row) { return a->samples ? (uint64_t)a->samples[row] : row; }

/* A row of the source as it is, in two of the thread's arrays. */
static picture picture_of(const fnn_step *s, const fnn_source *source, size_t row, char *room)
{
    const fnn_augment *a = s->run->augment;
    const size_t bytes = image_bytes(a, s->kernels->item);
    s->kernels->convert(source->dtype, a->height * a->width * a->channels, source->data + (ptrdiff_t)row * source->stride, 1.0, 0.0, room);
    return (picture){.a = a, .k = s->kernels, .sample = sample_of(a, row), .height = a->height, .width = a->width, .image = room,
                     .spare = room + bytes};
}

const void *fnn_augmented(const fnn_step *s, const fnn_source *source, size_t row, int id)
{
    const fnn_augment *a = s->run->augment;
    const size_t bytes = image_bytes(a, s->kernels->item);
    char *room = a->scratch + (size_t)id * a->scratch_bytes;
    picture mine = picture_of(s, source, row, room);
    mine.ring = room + 4 * bytes;
    apply(&mine, 0, a->mixup);
    if (a->mixup == a->count) return mine.image;
    const fnn_mixture mixture = fnn_mixture_of(s, row);
    if (mixture.share < 1.0) {
        picture other = picture_of(s, source, mixture.other, room + 2 * bytes);
        other.ring = mine.ring;
        apply(&other, 0, a->mixup);
        s->kernels->augment_mix(mine.height * mine.width * a->channels, mixture.share, other.image, mine.image);
    }
    apply(&mine, a->mixup + 1, a->count);
    return mine.image;
}

/* ---- Mixup ---- */

fnn_mixture fnn_mixture_of(const fnn_step *s, size_t row)
{
    const fnn_augment *a = s->run->augment;
    uint32_t word[4];
    draw(a, sample_of(a, row), a->mixup, word);
    const size_t other = (size_t)((uint64_t)word[0] * s->run->x.rows >> 32), i = word[1] >> 22;
    const double share = a->quantiles[i] + (double)(word[1] & 0x3FFFFF) * 0x1p-22 * (a->quantiles[i + 1] - a->quantiles[i]);
    /* a row that is left out is neither mixed nor mixed in */
    const bool alone = s->run->weight.data && (fnn_no_weight(s, row) || fnn_no_weight(s, other));
    return (fnn_mixture){row, other, alone ? 1.0 : share};
}
