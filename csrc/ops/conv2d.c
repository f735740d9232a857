/* Convolutions of images [height, width, channels] and their gradients: which part of each a thread does.
 *
 *   forward           Y [pixels out, filters]  = bias + windows of X [pixels out, k] W [k, filters]      k in the order (ky, kx, channel)
 *   backward, input   dX [pixels in, channels] = windows of dY [pixels in, k'] W' [k', channels]         k' in the order (ky, kx, filter)
 *   backward, weights dW [k, filters]          = sum over pixels of windows of X^T dY
 *
 * Products by the kernels of windows, which read an image where it lies, or lines of it copied between zeros where windows reach
 * beyond it; for few columns or narrow images by the kernel of matrices, whose A is then a block of windows, copied together in this
 * thread's scratch. So each output is one chain of fused multiply-adds, the same by either way. Where each channel has filters of
 * its own the windows are those of all channels at once, whose products stand side by side.
 * The gradient of the weights is one chain for each chunk of fnn_conv2d_chunk images, which the shape alone decides; chunks are
 * added in order. Groups of channels and filters are products of their own. */
#include "conv2d_frames.h"

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
    bool again; /* forward: scratch holds what the images before left there */
} conv2d;

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

/* ---- windows that are read where they lie (gemm/windows.h) ----
 *
 * With windows of at least LEAST pixels in a line and as many columns, the kernel jumps from tap to tap in the image itself or,
 * where windows reach beyond it, in a copy of some of its lines between zeros. Other shapes have their windows copied. */
#define LEAST 4

/* Whether each channel has filters of its own, which see no other. */
static bool depthwise(const fnn_window *w, size_t filters) { return own_filters(w, filters) > 0; }

static bool in_lines(size_t width, size_t columns) { return width >= LEAST && columns >= LEAST; }
static bool forward_in_lines(const fnn_window *w, size_t filters)
{
    return depthwise(w, filters) || in_lines(w->out_width, filters / w->groups);
}
static bool backward_in_lines(const fnn_window *w, size_t filters)
{
    const bool strides = w->stride_y * w->stride_x > 1; /* most of copied windows would be zeros */
    return depthwise(w, filters) || in_lines(w->width / w->stride_x, strides ? LEAST : w->channels / w->groups);
}

static size_t packed(size_t k, size_t n) { return (n + FNN_PACKED_COLUMNS - 1) / FNN_PACKED_COLUMNS * FNN_PACKED_COLUMNS * k; }

/* The windows of one group of the inputs; `lines` are of the frame. */
static fnn_windows windows_of(const fnn_window *w, const frame *f, size_t depth)
{
    const bool side_by_side = w->dilation_x == 1 && w->groups == 1; /* the pixels of a row of a window */
    return (fnn_windows){
        .width = w->out_width,
        .step = w->stride_x * f->channels,
        .line = w->stride_y * pitch(f),
        .taps_y = w->kernel_height,
        .taps_x = side_by_side ? 1 : w->kernel_width,
        .depth = side_by_side ? w->kernel_width * depth : depth,
        .tap_y = (ptrdiff_t)(w->dilation_y * pitch(f)),
        .tap_x = (ptrdiff_t)(w->dilation_x * f->channels),
    };
}

/* Where a product's outputs go, and through which epilogue: those of image r from element `at` on, the filters from `filter` on. */
static fnn_product outputs_of(const fnn_kernels *kernels, const conv2d *o, size_t r, size_t at, size_t filter)
{
    return (fnn_product){
        .bias = fnn_at(kernels, o->b, filter),
        .c = fnn_at(kernels, o->y, r * o->ldy + at),
        .ldc = o->filters,
        .epilogue = o->activation == FNN_IDENTITY && !o->z ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_ACTIVATION,
        .activation = o->activation,
        .alpha = o->alpha,
        .z = fnn_at(kernels, o->z, r * o->ldz + at),
        .ldz = o->filters,
    };
}

static void forward_lines(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const bool alone = depthwise(w, o->filters);
    const size_t groups = alone ? 1 : w->groups, depth = w->channels / w->groups, wide = o->filters / groups, k = taps(w) * depth;
    const frame f = frame_of_input(w, o->filters);
    const size_t most = lines_of(&f, w->out_height);
    void *weights = o->scratch, *room = fnn_at(kernels, o->scratch, packed(k, o->filters / w->groups));
    if (s.begin >= s.end) return;
    for (size_t g = 0; g < groups; g++) {
        fnn_windows q = windows_of(w, &f, depth);
        q.n = wide;
        q.b = fnn_at(kernels, o->w, g * wide);
        q.b_tap = q.depth * o->filters;
        q.b_line = q.taps_x * q.b_tap;
        q.b_row = o->filters;
        q.b_column = 1;
        q.packed = weights;
        q.line_c = q.line_saved = w->out_width * o->filters;
        if (!alone && !(o->again && groups == 1)) kernels->windows_pack(&q, weights);
        for (size_t r = s.begin; r < s.end; r++)
            for (size_t y = 0; y < w->out_height; y += most) {
                const size_t end = fnn_min(y + most, w->out_height), at = y * q.line_c + g * wide;
                q.lines = end - y;
                q.a = fnn_at(kernels, lines_at(kernels, &f, fnn_at(kernels, o->x, r * o->ldx), y, end, room), g * depth);
                q.out = outputs_of(kernels, o, r, at, g * wide);
                (alone ? kernels->depthwise_product : kernels->windows_product)(&q);
            }
    }
}

/* The weights [taps, channel, filter of its own] as [taps, filter of its own, channel]. */
static void turn_weights(const fnn_kernels *kernels, const conv2d *o, size_t own, void *to)
{
    const size_t unit = words(kernels), n = taps(&o->window) * o->filters;
    word *turned = to;
    for (size_t tap = 0; tap < n; tap += o->filters)
        for (size_t first = 0; first < own; first++)
            for (size_t f = first; f < o->filters; f += own) turned = copy(turned, (const word *)o->w + (tap + f) * unit, unit);
}

/* The windows of the outputs' gradient for the inputs of these sides, which stand `down` and `across` pixels apart. */
static fnn_windows windows_of_output_sides(const fnn_window *w, const frame *f, const side *y, const side *x, size_t filters)
{
    const size_t tap = w->channels / w->groups * filters;
    return (fnn_windows){
        .width = x->pixels,
        .step = filters,
        .line = pitch(f),
        .taps_y = y->taps,
        .taps_x = x->taps,
        .tap_y = -(ptrdiff_t)(y->back * pitch(f)),
        .tap_x = -(ptrdiff_t)(x->back * filters),
        .b_line = y->step * w->kernel_width * tap,
        .b_tap = x->step * tap,
        .b_row = 1,
        .b_column = filters,
        .line_c = w->stride_y * w->width * w->channels,
        .line_saved = w->stride_y * w->width * w->channels,
    };
}

static void backward_input_lines(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const bool alone = depthwise(w, o->filters);
    const size_t groups = alone ? 1 : w->groups, depth = w->channels / groups, wide = o->filters / groups;
    const size_t tap = w->channels / w->groups * o->filters; /* weights of one */
    const size_t k = taps(w) * (o->filters / w->groups);
    const frame f = frame_of_output(w, o->filters);
    const size_t lines = side_y(w, 0).pixels, most = lines_of(&f, lines);
    const size_t own = own_filters(w, o->filters);
    void *room = fnn_at(kernels, o->scratch, alone ? taps(w) * o->filters : packed(k, depth));
    if (s.begin >= s.end) return;
    if (alone) turn_weights(kernels, o, own, o->scratch);
    for (size_t g = 0; g < groups; g++)
        for (size_t r = s.begin; r < s.end; r++)
            for (size_t begin = 0; begin < lines; begin += most) {
                const void *image = lines_at(kernels, &f, fnn_at(kernels, o->y, r * o->ldy), begin, fnn_min(begin + most, lines), room);
                void *weights = o->scratch;
                for (size_t i = 0; i < w->stride_y * w->stride_x; i++) {
                    const size_t pixel_y = i / w->stride_x, pixel_x = i % w->stride_x;
                    const side y = side_y(w, pixel_y), x = side_x(w, pixel_x);
                    const size_t at = ((begin * w->stride_y + pixel_y) * w->width + pixel_x) * w->channels + g * depth;
                    const size_t end = fnn_min(begin + most, y.pixels);
                    const bool inside = y.taps && x.taps; /* else nothing of the outputs' gradient is read */
                    const ptrdiff_t row = y.from - f.top + (ptrdiff_t)((y.taps - 1) * y.back);
                    const ptrdiff_t column = x.from - f.left + (ptrdiff_t)((x.taps - 1) * x.back);
                    fnn_windows q = windows_of_output_sides(w, &f, &y, &x, o->filters);
                    q.n = depth;
                    q.depth = alone ? own : wide;
                    q.b = fnn_at(kernels, alone ? o->scratch : o->w, (y.first * w->kernel_width + x.first) * tap + g * wide);
                    q.packed = weights;
                    if (!alone && r == s.begin && begin == 0) kernels->windows_pack(&q, weights);
                    weights = fnn_at(kernels, weights, packed(y.taps * x.taps * wide, depth));
                    if (begin >= end || !x.pixels) continue;
                    q.lines = end - begin;
                    q.a = inside ? fnn_at(kernels, image, (size_t)row * q.line + (size_t)column * o->filters + g * wide) : image;
                    q.out = (fnn_product){
                        .accumulate = o->accumulate,
                        .c = fnn_at(kernels, o->dx, r * o->lddx + at),
                        .ldc = w->stride_x * w->channels,
                        .epilogue = o->activation == FNN_IDENTITY ? FNN_EPILOGUE_NONE : FNN_EPILOGUE_DERIVATIVE,
                        .activation = o->activation,
                        .alpha = o->alpha,
                        .saved = fnn_at(kernels, o->saved, r * o->ldsaved + at),
                        .ldsaved = w->stride_x * w->channels,
                    };
                    (alone ? kernels->depthwise_product : kernels->windows_product)(&q);
                }
            }
}

/* The sum over the pixels of one image, added to dw where there is one. */
static void weights_of_lines(const fnn_kernels *kernels, const conv2d *o, const void *x, const void *dy, bool accumulate, void *dw)
{
    const fnn_window *w = &o->window;
    const bool alone = depthwise(w, o->filters);
    const size_t groups = alone ? 1 : w->groups, depth = w->channels / w->groups, wide = o->filters / groups;
    const frame f = frame_of_input(w, o->filters);
    const size_t most = lines_of(&f, w->out_height);
    for (size_t y = 0; y < w->out_height; y += most) {
        const size_t end = fnn_min(y + most, w->out_height);
        const void *lines = lines_at(kernels, &f, x, y, end, o->scratch);
        for (size_t g = 0; g < groups; g++) {
            fnn_windows q = windows_of(w, &f, depth);
            q.lines = end - y;
            q.n = wide;
            q.a = fnn_at(kernels, lines, g * depth);
            q.b = fnn_at(kernels, dy, y * w->out_width * o->filters + g * wide);
            q.b_row = o->filters;
            q.out = (fnn_product){.accumulate = accumulate || y > 0, .c = fnn_at(kernels, dw, g * wide), .ldc = o->filters};
            (alone ? kernels->depthwise_gradient : kernels->windows_gradient)(&q);
        }
    }
}

static void forward(const fnn_kernels *kernels, const conv2d *o, fnn_split s)
{
    const fnn_window *w = &o->window;
    const size_t depth = w->channels / w->groups, wide = o->filters / w->groups, k = taps(w) * depth, pixels = pixels_out(w);
    const size_t block = in_place(w) ? pixels : block_pixels(k, pixels), unit = words(kernels);
    if (forward_in_lines(w, o->filters)) {
        forward_lines(kernels, o, s);
        return;
    }
    for (size_t r = s.begin; r < s.end; r++)
        for (size_t g = 0; g < w->groups; g++)
            for (size_t p = 0; p < pixels; p += block) {
                const void *x = fnn_at(kernels, o->x, r * o->ldx + g * depth);
                const size_t end = fnn_min(p + block, pixels), at = p * o->filters + g * wide;
                if (!in_place(w)) windows_of_input(w, w->channels * unit, x, depth * unit, p, end, o->scratch);
                fnn_product q = outputs_of(kernels, o, r, at, g * wide);
                q.m = end - p, q.n = wide, q.k = k;
                q.a = in_place(w) ? x : o->scratch;
                q.lda = in_place(w) ? w->channels : k;
                q.b = fnn_at(kernels, o->w, g * wide);
                q.ldb = o->filters;
                kernels->gemm(&q);
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
    if (backward_in_lines(w, o->filters)) {
        backward_input_lines(kernels, o, s);
        return;
    }
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
            if (forward_in_lines(w, o->filters)) {
                weights_of_lines(kernels, o, fnn_at(kernels, o->x, r * o->ldx), dy, r > i * chunk, partial);
                continue;
            }
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

size_t fnn_conv2d_scratch(const fnn_op *op)
{
    const bool backward_input = op->kind == FNN_OP_conv2d_backward_input;
    const fnn_window window = fnn_window_of(op), *w = &window;
    const size_t filters = (size_t)op->conv.filters, depth = w->channels / w->groups, wide = filters / w->groups;
    const size_t k = taps(w) * (backward_input ? wide : depth);
    if (backward_input && backward_in_lines(w, filters)) {
        const frame f = frame_of_output(w, filters);
        return (depthwise(w, filters) ? taps(w) * filters : packed(k, depth)) + copied(&f, side_y(w, 0).pixels);
    }
    if (!backward_input && forward_in_lines(w, filters)) {
        const frame f = frame_of_input(w, filters);
        return packed(k, wide) + copied(&f, w->out_height);
    }
    const size_t windows = block_pixels(k, backward_input ? pixels_in(w) : pixels_out(w)) * k;
    return windows + (backward_input ? k * depth : 0);
}

/* ---- arguments, of a plan's operation and a step's buffers ---- */

static conv2d bind(const fnn_step *s, const fnn_op *op)
{
    return (conv2d){.batch = s->rows, .window = fnn_window_of(op), .filters = (size_t)op->conv.filters, .scratch = s->scratch,
                    .again = s->again};
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
