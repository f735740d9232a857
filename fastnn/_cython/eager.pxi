# Eager kernels: each checks its arrays and has a team do one operation. fastnn.kernels documents them.

def dense_forward(x, w, b, int activation, float alpha, out, z):
    cdef fnn_dense_forward o
    memset(&o, 0, sizeof(o))
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(w, "w", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n_in = cnp.PyArray_DIM(x, 1), n_out = cnp.PyArray_DIM(w, 1)
    _check_shape(w, "w", n_in, n_out)
    if b is not None:
        _check(b, "b", cnp.NPY_FLOAT32, 1, False)
        _check_shape(b, "b", n_out)
    cdef cnp.ndarray y = _out_f32(out, "out", batch, n_out)
    inputs = ((x, "x"), (w, "w"), (b, "b"))
    if out is not None:
        _check_apart(y, "out", inputs)
    if z is not None:
        _out_f32(z, "z", batch, n_out)
        _check_apart(z, "z", inputs + ((y, "out"),))
    o.batch, o.n_in, o.n_out = batch, n_in, n_out
    o.x, o.ldx = _f32(x), n_in
    o.w, o.b = _f32(w), _f32(b)
    o.y, o.ldy = _f32(y), n_out
    o.z, o.ldz = _f32(z), n_out
    o.activation, o.alpha = activation, alpha
    cdef int threads = _team_for(2.0 * batch * n_in * n_out)
    with nogil:
        fnn_eager(FNN_OP_DENSE_FORWARD, &o, batch, threads)
    return y


cdef _differentiate(cnp.ndarray dy, cnp.ndarray saved, cnp.ndarray out, int activation, float alpha):
    """out = dy f'(saved) for arrays of one shape, seen as rows of a vector each."""
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef size_t n = cnp.PyArray_SIZE(dy), columns = 4096 if n > 4096 else n
    o.columns = columns
    o.ldx = o.ldsaved = o.ldy = columns
    o.activation, o.alpha = activation, alpha
    o.x, o.saved, o.y = _f32(dy), _f32(saved), _f32(out)
    cdef int threads = _team_for(10.0 * n)
    with nogil:
        fnn_eager(FNN_OP_ACTIVATION_BACKWARD, &o, n // columns, threads)
        if n % columns:
            o.x += n - n % columns
            o.saved += n - n % columns
            o.y += n - n % columns
            o.columns = n % columns
            fnn_eager(FNN_OP_ACTIVATION_BACKWARD, &o, 1, 1)


def dense_backward(dy, x, w, saved, int activation, float alpha, dx, dw, db, bint need_dx):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(w, "w", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n_in = cnp.PyArray_DIM(x, 1), n_out = cnp.PyArray_DIM(w, 1)
    _check_shape(w, "w", n_in, n_out)
    _check_shape(dy, "dy", batch, n_out)
    if activation != 0:
        if saved is None:
            raise ValueError("saved: expected the output of the activation, got None")
        _check(saved, "saved", cnp.NPY_FLOAT32, 2, False)
        _check_shape(saved, "saved", batch, n_out)
    if not need_dx and dx is not None:
        raise ValueError("out: expected no dx where need_dx is False, got an array")
    new_dx = _out_f32(dx, "dx", batch, n_in) if need_dx else None
    new_dw = _out_f32(dw, "dw", n_in, n_out)
    new_db = _out_f32(db, "db", n_out)
    inputs = ((dy, "dy"), (x, "x"), (w, "w"), (saved, "saved"))
    if dx is not None:
        _check_apart(dx, "dx", inputs)
    if dw is not None:
        _check_apart(dw, "dw", inputs + ((dx, "dx"),))
    if db is not None:
        _check_apart(db, "db", inputs + ((dx, "dx"), (dw, "dw")))

    dz = dy
    if activation != 0:
        dz = _new_f32(batch, n_out)
        _differentiate(dy, saved, dz, activation, alpha)
    cdef int threads = _team_for(2.0 * batch * n_in * n_out)
    cdef fnn_dense_backward_weights weights
    memset(&weights, 0, sizeof(weights))
    weights.batch, weights.n_in, weights.n_out = batch, n_in, n_out
    weights.x, weights.ldx = _f32(x), n_in
    weights.dy, weights.lddy = _f32(dz), n_out
    weights.dw, weights.db = _f32(new_dw), _f32(new_db)
    cdef fnn_dense_backward_input inward
    memset(&inward, 0, sizeof(inward))
    inward.batch, inward.n_in, inward.n_out = batch, n_in, n_out
    inward.dy, inward.lddy = _f32(dz), n_out
    inward.w = _f32(w)
    inward.dx, inward.lddx = _f32(new_dx), n_in
    with nogil:
        fnn_eager(FNN_OP_DENSE_BACKWARD_WEIGHTS, &weights, batch, threads)
        if need_dx:
            fnn_eager(FNN_OP_DENSE_BACKWARD_INPUT, &inward, batch, threads)
    return new_dx, new_dw, new_db


def bias_gradient(dy, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(dy, 0), n = cnp.PyArray_DIM(dy, 1)
    db = _out_f32(out, "out", n)
    if out is not None:
        _check_apart(db, "out", ((dy, "dy"),))
    cdef fnn_dense_backward_weights o
    memset(&o, 0, sizeof(o))
    o.batch, o.n_in, o.n_out = batch, 1, n
    o.dy, o.lddy = _f32(dy), n
    o.db = _f32(db)
    cdef int threads = _team_for(1.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_DENSE_BACKWARD_WEIGHTS, &o, batch, threads)
    return db


cdef cnp.ndarray _like_f32(object out, str name, cnp.ndarray x):
    """`out` once it fits x's shape, or a new array of it. It may be x itself, but not a part of it."""
    if out is None:
        return cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.NPY_FLOAT32)
    _check(out, name, cnp.NPY_FLOAT32, cnp.PyArray_NDIM(x), True)
    if _shape(out) != _shape(x):
        raise ValueError(f"{name}: expected shape {_shape(x)}, got {_shape(out)}")
    return out


cdef int _check_same_or_apart(cnp.ndarray out, cnp.ndarray x, str name) except -1:
    if cnp.PyArray_DATA(out) != cnp.PyArray_DATA(x) and _overlap(out, x):
        raise ValueError(f"out: expected {name} itself or memory of its own, got an array that overlaps {name}")
    return 0


def activation_forward(x, int activation, float alpha, out):
    _check(x, "x", cnp.NPY_FLOAT32, cnp.PyArray_NDIM(x) if cnp.PyArray_Check(x) else -1, False)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef size_t n = cnp.PyArray_SIZE(x), columns = 4096 if n > 4096 else n
    o.columns = columns
    o.ldx = o.ldy = columns
    o.activation, o.alpha = activation, alpha
    o.x, o.y = _f32(x), _f32(y)
    cdef int threads = _team_for(20.0 * n)
    with nogil:
        fnn_eager(FNN_OP_ACTIVATION_FORWARD, &o, n // columns, threads)
        if n % columns:
            o.x += n - n % columns
            o.y += n - n % columns
            o.columns = n % columns
            fnn_eager(FNN_OP_ACTIVATION_FORWARD, &o, 1, 1)
    return y


def activation_backward(dy, saved, int activation, float alpha, out):
    check_array(dy, "dy", np.float32)
    check_array(saved, "saved", np.float32)
    if _shape(saved) != _shape(dy):
        raise ValueError(f"saved: expected dy's shape {_shape(dy)}, got {_shape(saved)}")
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_same_or_apart(dx, saved, "saved")
    _differentiate(dy, saved, dx, activation, alpha)
    return dx


def softmax_forward(x, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0)
    o.columns = o.ldx = o.ldy = cnp.PyArray_DIM(x, 1)
    o.x, o.y = _f32(x), _f32(y)
    cdef int threads = _team_for(20.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_SOFTMAX_FORWARD, &o, batch, threads)
    return y


cdef _by_rows(fnn_op_kind op, cnp.ndarray x, cnp.ndarray saved, cnp.ndarray y):
    """A row operation with its rows shared out: x (dy), what was saved, and the result, of one shape."""
    cdef fnn_elementwise o
    memset(&o, 0, sizeof(o))
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0)
    o.columns = o.ldx = o.ldy = o.ldsaved = cnp.PyArray_DIM(x, 1)
    o.x, o.saved, o.y = _f32(x), _f32(saved), _f32(y)
    cdef int threads = _team_for(20.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(op, &o, batch, threads)
    return y


def log_softmax_forward(x, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    return _by_rows(FNN_OP_LOG_SOFTMAX_FORWARD, x, x, y)


cdef _softmax_backward(fnn_op_kind op, dy, y, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(y, "y", cnp.NPY_FLOAT32, 2, False)
    _check_shape(y, "y", cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1))
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_same_or_apart(dx, y, "y")
    return _by_rows(op, dy, y, dx)


def softmax_backward(dy, y, out):
    return _softmax_backward(FNN_OP_SOFTMAX_BACKWARD, dy, y, out)


def log_softmax_backward(dy, y, out):
    return _softmax_backward(FNN_OP_LOG_SOFTMAX_BACKWARD, dy, y, out)


cdef int _check_slope(object slope, cnp.npy_intp columns) except -1:
    _check(slope, "slope", cnp.NPY_FLOAT32, 1, False)
    if cnp.PyArray_SIZE(slope) != 1 and cnp.PyArray_SIZE(slope) != columns:
        raise ValueError(f"slope: expected shape (1,) or ({columns},), got {_shape(slope)}")
    return 0


def prelu_forward(x, slope, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check_slope(slope, cnp.PyArray_DIM(x, 1))
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((slope, "slope"),))
    cdef fnn_prelu o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    o.step = cnp.PyArray_SIZE(slope) > 1
    o.slope, o.x, o.out = _f32(slope), _f32(x), _f32(y)
    o.ldx = o.ldout = o.columns
    cdef int threads = _team_for(5.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_PRELU_FORWARD, &o, o.rows, threads)
    return y


def prelu_backward(dy, x, slope, out_dx, out_dslope):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check_shape(x, "x", cnp.PyArray_DIM(dy, 0), cnp.PyArray_DIM(dy, 1))
    _check_slope(slope, cnp.PyArray_DIM(dy, 1))
    cdef cnp.ndarray dx = _like_f32(out_dx, "dx", dy)
    cdef cnp.ndarray dslope = _out_f32(out_dslope, "dslope", cnp.PyArray_SIZE(slope))
    if out_dx is not None:
        for other, name in ((dy, "dy"), (x, "x")):
            if cnp.PyArray_DATA(dx) != cnp.PyArray_DATA(<cnp.ndarray>other):
                _check_apart(dx, "dx", ((other, name),))
        _check_apart(dx, "dx", ((slope, "slope"),))
    if out_dslope is not None:
        _check_apart(dslope, "dslope", ((dy, "dy"), (x, "x"), (slope, "slope"), (dx, "dx")))
    cdef fnn_prelu o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    o.step = cnp.PyArray_SIZE(slope) > 1
    o.slope, o.x, o.dy, o.out = _f32(slope), _f32(x), _f32(dy), _f32(dslope)
    o.ldx = o.lddy = o.ldout = o.columns
    cdef float *dx_data = _f32(dx)
    cdef int threads = _team_for(5.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_PRELU_SLOPE_GRADIENT, &o, o.rows, threads)
        o.out = dx_data
        fnn_eager(FNN_OP_PRELU_BACKWARD, &o, o.rows, threads)
    return dx, dslope


def loss(str kind, str name, logits, targets, out, sample_weight, class_weight, int form, float parameter, bint total, bint full,
         counted=None):
    """One loss of a batch: kind names the operation, name its first argument; targets: int32 labels that have been checked, or
    float32 [batch, classes]; class_weight: float32 [classes] ([2, classes] of the binary ones) or None; counted: how many labels
    are not -1, if there may be such. Returns (row losses, gradient, correct)."""
    cdef fnn_op_kind op = {"softmax_cross_entropy": FNN_OP_SOFTMAX_CROSS_ENTROPY, "elementwise_loss": FNN_OP_ELEMENTWISE_LOSS,
                           "multiclass_hinge": FNN_OP_MULTICLASS_HINGE}[kind]
    _check(logits, name, cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(logits, 0), classes = cnp.PyArray_DIM(logits, 1)
    cdef fnn_loss o
    memset(&o, 0, sizeof(o))
    if cnp.PyArray_TYPE(targets) == cnp.NPY_INT32:
        _check(targets, "targets", cnp.NPY_INT32, 1, False)
        _check_shape(targets, "targets", batch)
        o.labels = <int32_t *>cnp.PyArray_DATA(targets)
    else:
        _check(targets, "targets", cnp.NPY_FLOAT32, 2, False)
        _check_shape(targets, "targets", batch, classes)
        o.targets, o.ldt = _f32(targets), classes
    if sample_weight is not None:
        o.each = op == FNN_OP_ELEMENTWISE_LOSS and cnp.PyArray_Check(sample_weight) and cnp.PyArray_NDIM(sample_weight) == 2
        _check(sample_weight, "sample_weight", cnp.NPY_FLOAT32, 2 if o.each else 1, False)
        if o.each:
            _check_shape(sample_weight, "sample_weight", batch, classes)
        else:
            _check_shape(sample_weight, "sample_weight", batch)
        o.weight, o.ldw = _f32(sample_weight), classes if o.each else 1
    cdef cnp.ndarray dlogits = _out_f32(out, "out", batch, classes)
    _check_same_or_apart(dlogits, logits, name)
    if out is not None:
        _check_apart(dlogits, "out", ((targets, "targets"), (sample_weight, "sample_weight"), (class_weight, "class_weight")))
    loss, correct = np.empty(batch, np.float64), np.empty(batch, np.uint32)
    o.form, o.sum, o.full, o.parameter = form, total, full, parameter
    o.classes = classes
    o.logits, o.ldl = _f32(logits), classes
    o.class_weight = _f32(class_weight)
    o.ignores = counted is not None
    o.scale = 1.0 if total else 1.0 / (batch if counted is None else max(counted, 1))
    o.dlogits, o.ldd = _f32(dlogits), classes
    o.loss = <double *>cnp.PyArray_DATA(loss)
    o.correct = <uint32_t *>cnp.PyArray_DATA(correct)
    cdef int threads = _team_for(50.0 * batch * classes)
    with nogil:
        fnn_eager(op, &o, batch, threads)
    return loss, dlogits, correct


def sum_rows(loss):
    """The sum of per-row losses in the order that the plan's reduction has."""
    _check(loss, "loss", cnp.NPY_FLOAT64, 1, False)
    return fnn_sum_rows(<double *>cnp.PyArray_DATA(loss), cnp.PyArray_SIZE(loss))


def penalty_chunks(size_t n):
    """Terms of the penalty of n elements: what the buffer of its forward operation has room for."""
    return fnn_penalty_chunks(n)


def penalty_forward(w, double l1, double l2):
    check_array(w, "w", np.float32)
    cdef fnn_penalty o
    memset(&o, 0, sizeof(o))
    o.n, o.l1, o.l2, o.w = cnp.PyArray_SIZE(w), l1, l2, _f32(w)
    partial = np.empty(fnn_penalty_chunks(o.n), np.float64)
    o.partial = <double *>cnp.PyArray_DATA(partial)
    cdef int threads = _team_for(4.0 * o.n)
    with nogil:
        fnn_eager(FNN_OP_PENALTY_FORWARD, &o, 1, threads)
    return fnn_penalty_total(o.partial, o.n)


def penalty_backward(w, dw, double l1, double l2):
    check_array(w, "w", np.float32)
    check_array(dw, "dw", np.float32, writable=True)
    if _shape(dw) != _shape(w):
        raise ValueError(f"dw: expected w's shape {_shape(w)}, got {_shape(dw)}")
    _check_apart(dw, "dw", ((w, "w"),))
    cdef fnn_penalty o
    memset(&o, 0, sizeof(o))
    o.n, o.l1, o.l2, o.w, o.dw = cnp.PyArray_SIZE(w), l1, l2, _f32(w), _f32(dw)
    cdef int threads = _team_for(4.0 * o.n)
    with nogil:
        fnn_eager(FNN_OP_PENALTY_BACKWARD, &o, 1, threads)
    return dw


# ---- normalisation, noise, maxout ----

cdef int _check_optional(object a, str name, cnp.npy_intp n) except -1:
    """A float32 vector of n, or None."""
    if a is not None:
        _check(a, name, cnp.NPY_FLOAT32, 1, False)
        _check_shape(a, name, n)
    return 0


def batchnorm_forward(x, weight, bias, float eps, int activation, float alpha, out):
    """Returns (y, statistics [4, features]: mean, what it lacks of the true one, 1 / deviation, variance)."""
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_optional(weight, "weight", n)
    _check_optional(bias, "bias", n)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((weight, "weight"), (bias, "bias")))
    cdef cnp.ndarray statistics = _new_f32(4, n)
    cdef fnn_batchnorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.eps, o.activation, o.alpha = batch, n, eps, activation, alpha
    o.x, o.ldx, o.gamma, o.beta = _f32(x), n, _f32(weight), _f32(bias)
    o.statistics, o.lds, o.y, o.ldy = _f32(statistics), n, _f32(y), n
    cdef int threads = _team_for(10.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_BATCHNORM_FORWARD, &o, batch, threads)
    return y, statistics


def batchnorm_inference(x, mean, var, weight, bias, float eps, int activation, float alpha, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    for a, name in ((mean, "mean"), (var, "var")):
        _check(a, name, cnp.NPY_FLOAT32, 1, False)
        _check_shape(a, name, n)
    _check_optional(weight, "weight", n)
    _check_optional(bias, "bias", n)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((weight, "weight"), (bias, "bias"), (mean, "mean"), (var, "var")))
    cdef fnn_batchnorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.eps, o.activation, o.alpha = batch, n, eps, activation, alpha
    o.x, o.ldx, o.gamma, o.beta = _f32(x), n, _f32(weight), _f32(bias)
    o.mean, o.var, o.y, o.ldy = _f32(mean), _f32(var), _f32(y), n
    cdef fnn_batchnorm_inference rows
    rows.of, rows.pixels = o, 0
    cdef int threads = _team_for(4.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_BATCHNORM_INFERENCE, &rows, batch, threads)
    return y


def batchnorm_backward(dy, x, statistics, weight, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(statistics, "statistics", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_shape(dy, "dy", batch, n)
    _check_shape(statistics, "statistics", 4, n)
    _check_optional(weight, "weight", n)
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_apart(dx, "out", ((x, "x"), (statistics, "statistics"), (weight, "weight")))
    cdef cnp.ndarray dweight = _new_f32(n), dbias = _new_f32(n)
    cdef fnn_batchnorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = batch, n
    o.x, o.ldx, o.gamma = _f32(x), n, _f32(weight)
    o.statistics, o.lds = _f32(statistics), n
    o.dy, o.lddy, o.dx, o.lddx, o.dgamma, o.dbeta = _f32(dy), n, _f32(dx), n, _f32(dweight), _f32(dbias)
    cdef int threads = _team_for(15.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_BATCHNORM_BACKWARD, &o, batch, threads)
    return dx, dweight, dbias


def rownorm_forward(x, weight, bias, bint centered, float eps, int activation, float alpha, out):
    """Returns (y, statistics [batch, 3]: mean, what it lacks of the true one, 1 / deviation)."""
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_optional(weight, "weight", n)
    _check_optional(bias, "bias", n)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    _check_apart(y, "out", ((weight, "weight"), (bias, "bias")))
    cdef cnp.ndarray statistics = _new_f32(batch, 3)
    cdef fnn_rownorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.centered, o.eps, o.activation, o.alpha = batch, n, centered, eps, activation, alpha
    o.x, o.ldx, o.gamma, o.beta = _f32(x), n, _f32(weight), _f32(bias)
    o.statistics, o.lds, o.y, o.ldy = _f32(statistics), 3, _f32(y), n
    cdef int threads = _team_for(10.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_LAYERNORM_FORWARD, &o, batch, threads)
    return y, statistics


def rownorm_backward(dy, x, statistics, weight, bint centered, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    _check(statistics, "statistics", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    _check_shape(dy, "dy", batch, n)
    _check_shape(statistics, "statistics", batch, 3)
    _check_optional(weight, "weight", n)
    cdef cnp.ndarray dx = _like_f32(out, "out", dy)
    _check_same_or_apart(dx, dy, "dy")
    _check_apart(dx, "out", ((x, "x"), (statistics, "statistics"), (weight, "weight")))
    cdef cnp.ndarray dweight = _new_f32(n), dbias = _new_f32(n)
    cdef fnn_rownorm o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns, o.centered = batch, n, centered
    o.x, o.ldx, o.gamma = _f32(x), n, _f32(weight)
    o.statistics, o.lds = _f32(statistics), 3
    o.dy, o.lddy, o.dx, o.lddx, o.dgamma, o.dbeta = _f32(dy), n, _f32(dx), n, _f32(dweight), _f32(dbias)
    cdef int threads = _team_for(15.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_LAYERNORM_BACKWARD_WEIGHTS, &o, batch, threads)
        fnn_eager(FNN_OP_LAYERNORM_BACKWARD_INPUT, &o, batch, threads)
    return dx, dweight, dbias


def noise(x, uint32_t threshold, float scale, bint gaussian, uint64_t seed, uint32_t step, uint32_t stream, out):
    """Dropout of `threshold` in 65536 elements, the others times scale; or x + scale times a normal number."""
    check_array(x, "x", np.float32)
    cdef cnp.ndarray y = _like_f32(out, "out", x)
    _check_same_or_apart(y, x, "x")
    cdef size_t columns = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1) if cnp.PyArray_NDIM(x) else 1
    cdef fnn_noise o
    memset(&o, 0, sizeof(o))
    o.rows, o.columns = <size_t>cnp.PyArray_SIZE(x) // columns, columns
    o.draw.seed, o.draw.step, o.draw.stream = seed, step, stream
    o.threshold, o.scale = threshold, scale
    o.x, o.ldx, o.y, o.ldy = _f32(x), columns, _f32(y), columns
    cdef int threads = _team_for(10.0 * cnp.PyArray_SIZE(x))
    with nogil:
        fnn_eager(FNN_OP_GAUSSIAN_NOISE if gaussian else FNN_OP_DROPOUT, &o, o.rows, threads)
    return y


def maxout_forward(x, size_t pieces, out):
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    if n % <cnp.npy_intp>pieces:
        raise ValueError(f"x: expected {pieces} pieces of one width in a row, got shape {_shape(x)}")
    cdef cnp.ndarray y = _out_f32(out, "out", batch, n // <cnp.npy_intp>pieces)
    _check_apart(y, "out", ((x, "x"),))
    cdef fnn_maxout o
    memset(&o, 0, sizeof(o))
    o.columns, o.pieces = n // <cnp.npy_intp>pieces, pieces
    o.x, o.ldx, o.y, o.ldy = _f32(x), n, _f32(y), o.columns
    cdef int threads = _team_for(5.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_MAXOUT_FORWARD, &o, batch, threads)
    return y


def maxout_backward(dy, x, size_t pieces, out):
    _check(dy, "dy", cnp.NPY_FLOAT32, 2, False)
    _check(x, "x", cnp.NPY_FLOAT32, 2, False)
    cdef cnp.npy_intp batch = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    if n % <cnp.npy_intp>pieces:
        raise ValueError(f"x: expected {pieces} pieces of one width in a row, got shape {_shape(x)}")
    _check_shape(dy, "dy", batch, n // <cnp.npy_intp>pieces)
    cdef cnp.ndarray dx = _out_f32(out, "out", batch, n)
    _check_apart(dx, "out", ((x, "x"), (dy, "dy")))
    cdef fnn_maxout o
    memset(&o, 0, sizeof(o))
    o.columns, o.pieces = n // <cnp.npy_intp>pieces, pieces
    o.x, o.ldx, o.dy, o.lddy, o.y, o.ldy = _f32(x), n, _f32(dy), o.columns, _f32(dx), n
    cdef int threads = _team_for(5.0 * batch * n)
    with nogil:
        fnn_eager(FNN_OP_MAXOUT_BACKWARD, &o, batch, threads)
    return dx
