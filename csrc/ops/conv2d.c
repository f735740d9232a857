/* Convolutions of images [height, width, channels] and their gradients: which part of each a thread does.
 *
 *   forward           Y [pixels out, filters]  = bias + windows of X [pixels out, k] W [k, filters]      k in the order (ky, kx, channel)
 *   backward, input   dX [pixels in, channels] = windows of dY [pixels in, k'] W' [k', channels]         k' in the order (ky, kx, filter)
 *   backward, weights dW [k, filters]          = sum over pixels of windows of X^T dY
 *
 * Products by the kernel of matrices, whose A is a block of windows, copied together in this thread's scratch; windows of one pixel
 * are read where they are. So each output is one chain of fused multiply-adds. Zeros stand where a window reaches beyond the image.
 * The gradient of the weights is one chain for each chunk of fnn_conv2d_chunk images, which the shape alone decides; chunks are
 * added in order. Groups of channels and filters are products of their own. */
#include "step.h"

#include <string.h>

/* A convolution and its gradients; weights [kernel_height, kernel_width, channels / groups, filters]. Arrays of the compute type. */
typedef struct conv2d {
    size_t batch, filters;
    fnn_window window;
    const void *x;
    size_t ldx; /* here and below from one image to the next */
    const void *w, *b; /* b may be NULL */
    void *y; /* forward: receives the outputs; backward: holds their gradient */
    size_t ldy;
    void *z; /* forward: receives the pre-activation; may be NULL */
    size_t ldz;
    const void *saved; /* backward: of the activation that made x, whose derivative is applied to dx */
    size_t ldsaved;
    void *dx;
    size_t lddx;
    bool accumulate; /* add to what dx, or dw and db, hold */
    fnn_activation activation;
    double alpha;
    void *partial; /* of the weights' gradient: for each chunk of images dw, and behind it db */
    void *dw, *db; /* either may be NULL */
    void *scratch; /* this thread's own, fnn_conv2d_scratch elements */
} conv2d;

#define BLOCK 32768     /* elements of windows that are copied together: 128 KB of the L2 cache, or twice that of doubles */
#define CHUNK_PIXELS 1024 /* in a chunk of images, at least */

static size_t pixels_in(const fnn_window *w) { return w->height * w->width; }
static size_t pixels_out(const fnn_window *w) { return w->out_height * w->out_width; }
static size_t taps(const fnn_window *w) { return w->kernel_height * w->kernel_width; }

static size_t chunk_of(const fnn_window *w)
{
    const size_t images = CHUNK_PIXELS / pixels_out(w);
    return images ? images : 1;
}

/* Pixels of a block whose windows have k elements. */
static size_t block_pixels(size_t k, size_t pixels)
{
    const size_t most = fnn_max(BLOCK / k, 16);
    return most < pixels ? most : pixels;
}

size_t fnn_conv2d_chunk(const fnn_op *op)
{
    const fnn_window w = fnn_window_of(op);
    return chunk_of(&w);
}

size_t fnn_conv2d_scratch(const fnn_op *op)
{
    const bool backward_input = op->kind == FNN_OP_conv2d_backward_input;
    const fnn_window window = fnn_window_of(op), *w = &window;
    const size_t filters = (size_t)op->conv.filters, depth = w->channels / w->groups, wide = filters / w->groups;
    const size_t k = taps(w) * (backward_input ? wide : depth);
    const size_t windows = block_pixels(k, backward_input ? pixels_in(w) : pixels_out(w)) * k;
    return windows + (backward_input ? k * depth : 0);
}

/* Elements are moved as words, of which a float is one and a double two. */
typedef uint32_t __attribute__((may_alias)) word;

static size_t words(const fnn_kernels *k) { return k->item / sizeof(word); }

static word *copy(word *to, const word *from, size_t n)
{
    if (n < 16)
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    else
        memcpy(to, from, n * sizeof(word));
    return to + n;
}

static word *zero(word *to, size_t n)
{
    if (n) memset(to, 0, n * sizeof(word));
    return to + n;
}

/* The windows of the output pixels [begin, end): of `depth` words each, from the first that x points to; a pixel of the
 * image has `channels` words. */
static void windows_of_input(const fnn_window *w, size_t channels, const word *x, size_t depth, size_t begin, size_t end, word *to)
{
    for (size_t p = begin; p < end; p++) {
        const ptrdiff_t top = (ptrdiff_t)(p / w->out_width * w->stride_y) - (ptrdiff_t)w->pad_top;
        const ptrdiff_t left = (ptrdiff_t)(p % w->out_width * w->stride_x) - (ptrdiff_t)w->pad_left;
        for (size_t ky = 0; ky < w->kernel_height; ky++) {
            const ptrdiff_t row = top + (ptrdiff_t)(ky * w->dilation_y);
            if (row < 0 || row >= (ptrdiff_t)w->height) {
                to = zero(to, w->kernel_width * depth);
                continue;
            }
            const word *line = x + (size_t)row * w->width * channels;
            if (w->dilation_x == 1 && depth == channels) { /* the pixels of a row of the window lie side by side */
                const ptrdiff_t end_x = left + (ptrdiff_t)w->kernel_width;
                const ptrdiff_t from = left < 0 ? 0 : left, until = end_x > (ptrdiff_t)w->width ? (ptrdiff_t)w->width : end_x;
                if (from >= until) {
                    to = zero(to, w->kernel_width * depth);
                    continue;
                }
                to = zero(to, (size_t)(from - left) * depth);
                to = copy(to, line + (size_t)from * depth, (size_t)(until - from) * depth);
                to = zero(to, (size_t)(end_x - until) * depth);
                continue;
            }
            for (size_t kx = 0; kx < w->kernel_width; kx++) {
                const ptrdiff_t column = left + (ptrdiff_t)(kx * w->dilation_x);
                const bool inside = column >= 0 && column < (ptrdiff_t)w->width;
                to = inside ? copy(to, line + (size_t)column * channels, depth) : zero(to, depth);
            }
        }
    }
}

/* Which output pixel's window has the input pixel `at` at its tap, along one side; -1: none. */
static ptrdiff_t output_at(size_t at, size_t pad, size_t tap, size_t dilation, size_t stride, size_t size)
{
    const ptrdiff_t from = (ptrdiff_t)(at + pad) - (ptrdiff_t)(tap * dilation);
    if (from < 0 || from % (ptrdiff_t)stride) return -1;
    return from / (ptrdiff_t)stride < (ptrdiff_t)size ? from / (ptrdiff_t)stride : -1;
}

/* For the input pixels [begin, end) and each tap the gradients of the output pixel that reads them there: of `wide` words, where a
 * pixel has `filters` of them. */
static void windows_of_output(const fnn_window *w, const word *dy, size_t filters, size_t wide, size_t begin, size_t end, word *to)
{
    for (size_t p = begin; p < end; p++)
        for (size_t ky = 0; ky < w->kernel_height; ky++) {
            const ptrdiff_t row = output_at(p / w->width, w->pad_top, ky, w->dilation_y, w->stride_y, w->out_height);
            if (row < 0) {
                to = zero(to, w->kernel_width * wide);
                continue;
            }
            for (size_t kx = 0; kx < w->kernel_width; kx++) {
                const ptrdiff_t column = output_at(p % w->width, w->pad_left, kx, w->dilation_x, w->stride_x, w->out_width);
                to = column < 0 ? zero(to, wide)
                                : copy(to, dy + ((size_t)row * w->out_width + (size_t)column) * filters, wide);
            }
        }
}

/* Whether the windows of the output pixels are the pixels themselves. */
static bool in_place(const fnn_window *w)
{
    return taps(w) == 1 && w->stride_y == 1 && w->stride_x == 1 && pixels_in(w) == pixels_out(w) && !w->pad_top && !w->pad_left;
}

static void forward(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t depth = w->channels / w->groups, wide = o->filters / w->groups, k = taps(w) * depth, pixels = pixels_out(w);
    const size_t block = in_place(w) ? pixels : block_pixels(k, pixels), unit = words(kernels);
    for (size_t r = s.begin; r < s.end; r++)
        for (size_t g = 0; g < w->groups; g++)
            for (size_t p = 0; p < pixels; p += block) {
                const void *x = fnn_at(kernels, o->x, r * o->ldx + g * depth);
                const size_t end = fnn_min(p + block, pixels), at = p * o->filters + g * wide;
                if (!in_place(w)) windows_of_input(w, w->channels * unit, x, depth * unit, p, end, o->scratch);
                kernels->gemm(&(fnn_product){
                    .m = end - p,
                    .n = wide,
                    .k = k,
                    .a = in_place(w) ? x : o->scratch,
                    .lda = in_place(w) ? w->channels : k,
                    .b = fnn_at(kernels, o->w, g * wide),
                    .ldb = o->filters,
                    .bias = fnn_at(kernels, o->b, g * wide),
                    .c = fnn_at(kernels, o->y, r * o->ldy + at),
                    .ldc = o->filters,
                    .epilogue = o->activation == FNN_IDENTITY && !o->z ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_ACTIVATION,
                    .activation = o->activation,
                    .alpha = o->alpha,
                    .z = fnn_at(kernels, o->z, r * o->ldz + at),
                    .ldz = o->filters,
                });
            }
}

/* to [columns, rows] = from [rows, columns], whose rows are ld apart. */
#define TRANSPOSE(type, from, ld, rows, columns, to)     \
    for (size_t i = 0; i < (rows); i++)                  \
        for (size_t j = 0; j < (columns); j++)           \
            ((type *)(to))[j * (rows) + i] = ((const type *)(from))[i * (ld) + j]

static void backward_input(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t depth = w->channels / w->groups, wide = o->filters / w->groups, k = taps(w) * wide, pixels = pixels_in(w);
    const size_t block = block_pixels(k, pixels), unit = words(kernels);
    void *turned = fnn_at(kernels, o->scratch, block * k); /* the group's weights [ky, kx, filter, channel] */
    if (s.begin >= s.end) return;
    for (size_t g = 0; g < w->groups; g++) {
        for (size_t t = 0; t < taps(w); t++) {
            const void *from = fnn_at(kernels, o->w, t * depth * o->filters + g * wide);
            void *to = fnn_at(kernels, turned, t * wide * depth);
            if (kernels->dtype == FNN_F64)
                TRANSPOSE(double, from, o->filters, depth, wide, to);
            else
                TRANSPOSE(float, from, o->filters, depth, wide, to);
        }
        for (size_t r = s.begin; r < s.end; r++)
            for (size_t p = 0; p < pixels; p += block) {
                const size_t end = fnn_min(p + block, pixels), at = p * w->channels + g * depth;
                windows_of_output(w, fnn_at(kernels, o->y, r * o->ldy + g * wide), o->filters * unit, wide * unit, p, end, o->scratch);
                kernels->gemm(&(fnn_product){
                    .m = end - p,
                    .n = depth,
                    .k = k,
                    .a = o->scratch,
                    .lda = k,
                    .b = turned,
                    .ldb = depth,
                    .accumulate = o->accumulate,
                    .c = fnn_at(kernels, o->dx, r * o->lddx + at),
                    .ldc = w->channels,
                    .epilogue = o->activation == FNN_IDENTITY ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_DERIVATIVE,
                    .activation = o->activation,
                    .alpha = o->alpha,
                    .saved = fnn_at(kernels, o->saved, r * o->ldsaved + at),
                    .ldsaved = w->channels,
                });
            }
    }
}

/* The partial sums of dw, and behind them those of db, of the thread's chunks of images. */
static void backward_weights(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t depth = w->channels / w->groups, wide = o->filters / w->groups, k = taps(w) * depth, pixels = pixels_out(w);
    const size_t chunk = chunk_of(w), block = in_place(w) ? pixels : block_pixels(k, pixels), unit = words(kernels);
    const fnn_split mine = fnn_split_of(s.id, s.count, (o->batch + chunk - 1) / chunk);
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t end = fnn_min((i + 1) * chunk, o->batch);
        void *partial = fnn_at(kernels, o->partial, i * (k + 1) * o->filters);
        for (size_t r = i * chunk; r < end; r++) {
            const void *dy = fnn_at(kernels, o->y, r * o->ldy);
            kernels->bias_gradient(pixels, o->filters, dy, o->filters, r > i * chunk, fnn_at(kernels, partial, k * o->filters));
            for (size_t g = 0; g < w->groups; g++)
                for (size_t p = 0; p < pixels; p += block) {
                    const void *x = fnn_at(kernels, o->x, r * o->ldx + g * depth);
                    const size_t until = fnn_min(p + block, pixels);
                    if (!in_place(w)) windows_of_input(w, w->channels * unit, x, depth * unit, p, until, o->scratch);
                    kernels->gemm(&(fnn_product){
                        .m = k,
                        .n = wide,
                        .k = until - p,
                        .a = in_place(w) ? x : o->scratch,
                        .lda = in_place(w) ? w->channels : k,
                        .a_transposed = true,
                        .b = fnn_at(kernels, dy, p * o->filters + g * wide),
                        .ldb = o->filters,
                        .accumulate = p > 0 || r > i * chunk,
                        .c = fnn_at(kernels, partial, g * wide),
                        .ldc = o->filters,
                    });
                }
        }
    }
}

/* dw and db: the partial sums in order, each thread its range of elements. */
static void combine_weights(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const size_t k = taps(&o->window) * o->window.channels / o->window.groups, n = k * o->filters, all = n + o->filters;
    const size_t chunk = chunk_of(&o->window), chunks = (o->batch + chunk - 1) / chunk;
    const fnn_split mine = fnn_split_of(s.id, s.count, (all + 15) / 16);
    for (size_t part = 0; part < 2; part++) { /* weights, then biases */
        void *to = part ? o->db : o->dw;
        const size_t from = fnn_max(mine.begin * 16, part ? n : 0), until = fnn_min(mine.end * 16, part ? all : n);
        if (!to || from >= until) continue;
        to = fnn_at(kernels, to, from - (part ? n : 0));
        const void *first = fnn_at(kernels, o->partial, from);
        if (o->accumulate)
            kernels->add(until - from, to, first, to);
        else
            memcpy(to, first, (until - from) * kernels->item);
        for (size_t i = 1; i < chunks; i++) kernels->add(until - from, to, fnn_at(kernels, first, i * all), to);
    }
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

static conv2d bind(const fnn_step *s, const fnn_op *op)
{
    return (conv2d){.batch = s->rows, .window = fnn_window_of(op), .filters = (size_t)op->conv.filters, .scratch = s->scratch};
}

void fnn_run_conv2d_forward(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), y = fnn_buffer_of(s, op, 3), z = fnn_buffer_of(s, op, 4);
    conv2d o = bind(s, op);
    o.x = x.data;
    o.ldx = x.ld;
    o.w = fnn_buffer_of(s, op, 1).data;
    o.b = fnn_buffer_of(s, op, 2).data;
    o.y = y.data;
    o.ldy = y.ld;
    o.z = z.data;
    o.ldz = z.ld;
    o.activation = (fnn_activation)op->conv.activation;
    o.alpha = op->conv.alpha;
    forward(s->kernels, &o, split);
}

void fnn_run_conv2d_backward_input(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer dy = fnn_buffer_of(s, op, 0), saved = fnn_buffer_of(s, op, 2), dx = fnn_buffer_of(s, op, 3);
    conv2d o = bind(s, op);
    o.y = dy.data;
    o.ldy = dy.ld;
    o.w = fnn_buffer_of(s, op, 1).data;
    o.saved = saved.data;
    o.ldsaved = saved.ld;
    o.dx = dx.data;
    o.lddx = dx.ld;
    o.activation = (fnn_activation)op->conv_input_gradient.activation;
    o.alpha = op->conv_input_gradient.alpha;
    o.accumulate = op->conv_input_gradient.accumulate;
    backward_input(s->kernels, &o, split);
}

void fnn_run_conv2d_backward_weights(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    const fnn_buffer x = fnn_buffer_of(s, op, 0), dy = fnn_buffer_of(s, op, 1);
    conv2d o = bind(s, op);
    o.x = x.data;
    o.ldx = x.ld;
    o.y = dy.data;
    o.ldy = dy.ld;
    o.partial = fnn_buffer_of(s, op, 2).data;
    backward_weights(s->kernels, &o, split);
}

void fnn_run_conv2d_combine_weights(const fnn_step *s, const fnn_op *op, fnn_split split)
{
    conv2d o = bind(s, op);
    o.partial = fnn_buffer_of(s, op, 0).data;
    o.dw = fnn_buffer_of(s, op, 1).data;
    o.db = fnn_buffer_of(s, op, 2).data;
    o.accumulate = op->conv_weight_gradient.accumulate;
    combine_weights(s->kernels, &o, split);
}
