# Optimizers: settings of groups, lists of tensors, and a step on them.

# The rules, by their codes: (name, how many state arrays).
UPDATE_RULES = [((<const char *>fnn_update_names[_i]).decode(), fnn_update_states[_i]) for _i in range(FNN_UPDATE_RULES)]

UPDATE_CHUNK = FNN_UPDATE_CHUNK

cdef uint64_t _groups_version = 1
cdef uint64_t _rates_version = 0


cdef class Settings(dict):
    """A dict that leaves a mark when it is changed, so that an optimizer need not look through its groups at every step; a mark
    of its own for a new "lr", which loops of one's own often set."""

    def __setitem__(self, key, value):
        global _groups_version, _rates_version
        if type(key) is str and key == "lr":
            _rates_version += 1
        else:
            _groups_version += 1
        dict.__setitem__(self, key, value)

    def __delitem__(self, key):
        global _groups_version
        _groups_version += 1
        dict.__delitem__(self, key)

    def update(self, *args, **kwargs):
        global _groups_version
        _groups_version += 1
        dict.update(self, *args, **kwargs)

    def __ior__(self, other):
        self.update(other)
        return self

    def setdefault(self, key, default=None):
        global _groups_version
        _groups_version += 1
        return dict.setdefault(self, key, default)

    def pop(self, *args):
        global _groups_version
        _groups_version += 1
        return dict.pop(self, *args)

    def popitem(self):
        global _groups_version
        _groups_version += 1
        return dict.popitem(self)

    def clear(self):
        global _groups_version
        _groups_version += 1
        dict.clear(self)

    def __reduce__(self):
        return Settings, (dict(self),)


def settings_version():
    """A number that changes whenever a Settings does, but for a new "lr"."""
    return _groups_version


def rates_version():
    """A number that changes whenever an "lr" is set."""
    return _rates_version


def settings_changed():
    """Leave the mark of a changed Settings, where something else has changed that a step depends on."""
    global _groups_version
    _groups_version += 1


_CHANGED = "expected the memory, dtype, shape and layout that it had, got an array that has been resized or changed"


cdef Operation _update = Operation("update", "", "size first last")

cdef struct Span:
    char *low
    char *high


cdef class Tensors:
    """Arrays with their states and groups, resolved to pointers once: what an optimizer updates.

    params: arrays; states: a tuple of arrays for each; group_of: a group number for each; averages: for each the array
    of its moving average, or None.
    """

    cdef fnn_tensor *tensors
    cdef size_t count
    cdef fnn_group *groups
    cdef fnn_update_rule *rules
    cdef fnn_update_scalars *scalars
    cdef double *rates
    cdef size_t n_groups
    cdef fnn_update update
    cdef fnn_autotune autotune
    cdef Span *spans  # of everything that is updated, by address
    cdef size_t n_spans
    cdef double work
    cdef list params, states, names, averages  # keeps the arrays alive
    cdef bint busy, trust, limits
    # the versions, added, of the settings for which a plain list of gradients is all that a step needs; 0: none
    cdef uint64_t ready
    cdef uint64_t armed  # the same for `NativePlan.again`
    cdef bint current  # since `begin` or `set_group` nobody has called `disarm`
    cdef readonly size_t done  # steps of the last run of a plan, and by `again` since; 0 after `begin` or `set_group`
    cdef readonly size_t skipped  # and those that were left out

    def __cinit__(self, list params, list states, list group_of, size_t n_groups, list names, list averages=None):
        cdef fnn_tensor *t
        cdef size_t i, elements = 0
        cdef cnp.ndarray p
        cdef fnn_op op
        self.params, self.states, self.names, self.averages = params, states, names, averages
        self.count, self.n_groups = len(params), n_groups
        self.tensors = <fnn_tensor *>calloc(max(self.count, 1), sizeof(fnn_tensor))
        self.groups = <fnn_group *>calloc(max(n_groups, 1), sizeof(fnn_group))
        self.rules = <fnn_update_rule *>calloc(max(n_groups, 1), sizeof(fnn_update_rule))
        self.scalars = <fnn_update_scalars *>calloc(max(n_groups, 1), sizeof(fnn_update_scalars))
        self.rates = <double *>calloc(max(n_groups, 1), sizeof(double))
        self.spans = <Span *>calloc(max((FNN_STATES + 1) * self.count, 1), sizeof(Span))
        if not (self.tensors and self.groups and self.rules and self.scalars and self.rates and self.spans):
            raise MemoryError
        spans = []
        for i in range(self.count):
            t = &self.tensors[i]
            p = params[i]
            t.w = cnp.PyArray_DATA(p)
            t.n = cnp.PyArray_SIZE(p)
            t.is_double = cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT64
            t.group = group_of[i]
            if cnp.PyArray_NDIM(p) > 1:
                t.units = cnp.PyArray_DIM(p, cnp.PyArray_NDIM(p) - 1)
                t.unit_together = not cnp.PyArray_IS_C_CONTIGUOUS(p) or t.units == 1
            if not (
                (t.is_double or cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT32)
                and cnp.PyArray_ISBEHAVED(p)
                and (cnp.PyArray_IS_C_CONTIGUOUS(p) or cnp.PyArray_IS_F_CONTIGUOUS(p))
            ):  # whatever a subclass says of itself
                raise ValueError(
                    f"{names[i]}: expected a writable, aligned, C- or F-contiguous float32 or float64 array, got another"
                )
            arrays = [p]
            for j, state in enumerate(states[i]):
                t.state[<int>j] = cnp.PyArray_DATA(state)
                arrays.append(state)
            if averages is not None and averages[i] is not None:
                t.state[FNN_AVERAGE] = cnp.PyArray_DATA(averages[i])
                arrays.append(averages[i])
            for array in arrays:
                if (
                    <size_t>cnp.PyArray_SIZE(array) != t.n
                    or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(p)
                    or not (cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array))
                ):
                    raise ValueError(f"{names[i]}: {_CHANGED}")
                if t.n:
                    spans.append((<size_t>cnp.PyArray_DATA(array), t.n * cnp.PyArray_ITEMSIZE(p)))
            elements += t.n
        for i, (low, size) in enumerate(sorted(spans)):
            self.spans[i].low = <char *><size_t>low
            self.spans[i].high = self.spans[i].low + <size_t>size
        self.n_spans = len(spans)
        _update.fill(&op, (elements, 0, self.count))
        self.work = fnn_op_kinds[op.kind].work(&op, 1)
        self.update.tensors, self.update.count = self.tensors, self.count
        self.update.rules, self.update.scalars, self.update.n_groups = self.rules, self.scalars, n_groups

    def __dealloc__(self):
        free(self.tensors)
        free(self.groups)
        free(self.rules)
        free(self.scalars)
        free(self.rates)
        free(self.spans)
        free(self.update.norms)
        free(self.update.trust)

    def set_group(self, size_t i, int rule, hyper, double weight_decay=0.0, bint decoupled=False, bint maximize=False,
                  double l1=0.0, double clip_value=0.0, double max_norm=0.0, double ema=0.0, uint64_t t=0,
                  memory=(0.0, 0.0)):
        """The hyper-parameters of a group, and how far it has come."""
        cdef size_t j
        cdef int k, states
        cdef fnn_group *g
        if i >= self.n_groups:
            raise ValueError(f"groups: expected {self.n_groups}, got more")
        if not 0 <= rule < FNN_UPDATE_RULES:
            raise ValueError(f"rule: expected a code below {FNN_UPDATE_RULES}, got {rule}; was the extension built again?")
        if len(hyper) > FNN_HYPER:
            raise ValueError(f"hyper: expected at most {FNN_HYPER} numbers, got {len(hyper)}")
        for j in range(self.count):
            if <size_t>self.tensors[j].group == i:
                states = 0
                while states < FNN_AVERAGE and self.tensors[j].state[states]:
                    states += 1
                if states != fnn_update_states[rule] or (ema > 0 and self.tensors[j].state[FNN_AVERAGE] == NULL):
                    raise ValueError(f"groups: expected a rule for which the parameters of group {i} have states, got "
                                     f"{fnn_update_names[rule].decode()}")
        self.begin()
        self.ready = 0
        g = &self.groups[i]
        memset(g, 0, sizeof(fnn_group))
        g.rule = self.rules[i] = rule
        for k, value in enumerate(hyper):
            g.hyper[k] = value
        g.weight_decay, g.decoupled, g.maximize = weight_decay, decoupled, maximize
        g.l1, g.clip_value, g.max_norm, g.ema = l1, clip_value, max_norm, ema
        g.t, g.memory[0], g.memory[1] = t, memory[0], memory[1]
        self.trust = self.limits = False
        for j in range(self.n_groups):
            self.trust = self.trust or self.groups[j].rule == FNN_LAMB
            self.limits = self.limits or self.groups[j].max_norm > 0
        return None

    def begin(self):
        """A run comes: none of its steps is done."""
        self.done = self.skipped = self.armed = 0
        self.current = True

    def disarm(self):
        """No `NativePlan.again`, now or after the step that is running: someone else leads now, or something has changed that leaves
        no mark."""
        self.armed = 0
        self.current = False

    def progress(self):
        """How far each group has come: its steps and its memory."""
        return [(self.groups[i].t, (self.groups[i].memory[0], self.groups[i].memory[1])) for i in range(self.n_groups)]

    def set_clipping(self, double clip_norm, bint skip_nonfinite):
        """For the plans that update these arrays: clip by the global norm (0: don't), leave out steps without a finite one."""
        self.update.clip_norm, self.update.skip_nonfinite = clip_norm, skip_nonfinite

    def set_rates(self, list rates):
        """From now on `quick_step` may be used, with these rates, until a Settings changes."""
        cdef size_t i
        for i in range(self.n_groups):
            self.rates[i] = rates[i]
        self.ready = _groups_version + _rates_version
        self.update.skip_nonfinite = False
        self.update.clip_norm = 0.0

    cdef bint _taken(self, char *low, char *high) noexcept nogil:
        """Whether an array between these addresses overlaps one that is updated."""
        cdef size_t begin = 0, end = self.n_spans, middle
        while begin < end:  # the first span that ends behind `low`
            middle = (begin + end) // 2
            if self.spans[middle].high <= low:
                begin = middle + 1
            else:
                end = middle
        return begin < self.n_spans and self.spans[begin].low < high

    cdef bint _as_given(self, size_t i) noexcept:
        """Whether array i is still what and where it was, and writable."""
        cdef cnp.ndarray p = <cnp.ndarray><void *>self.params[i]
        cdef fnn_tensor *t = &self.tensors[i]
        cdef int axes = cnp.PyArray_NDIM(p)
        return (
            cnp.PyArray_DATA(p) == t.w
            and <size_t>cnp.PyArray_SIZE(p) == t.n
            and cnp.PyArray_TYPE(p) == (cnp.NPY_FLOAT64 if t.is_double else cnp.NPY_FLOAT32)
            and t.units == <size_t>(cnp.PyArray_DIM(p, axes - 1) if axes > 1 else 0)
            and (cnp.PyArray_IS_C_CONTIGUOUS(p) or axes > 1 and t.unit_together and cnp.PyArray_IS_F_CONTIGUOUS(p))
            and cnp.PyArray_ISBEHAVED(p)
        )

    cdef bint _fits(self, size_t i, object g) noexcept:
        """Whether g is what the gradient of array i must be."""
        cdef cnp.ndarray p = <cnp.ndarray><void *>self.params[i], a
        cdef char *low
        if not cnp.PyArray_CheckExact(g):
            return False
        if not self._as_given(i):
            return False
        a = <cnp.ndarray>g
        if not (_alike(a, p) and cnp.PyArray_ISBEHAVED_RO(a)):
            return False
        low = cnp.PyArray_BYTES(a)
        return not self._taken(low, low + self.tensors[i].n * <size_t>cnp.PyArray_ITEMSIZE(p))

    cdef object _fitted(self, size_t i, object g):
        """What can be read in place of the gradient `g` of array i: of its numbers, a copy that lies as the array does. Raises
        where they are no gradient of it."""
        cdef cnp.ndarray p = self.params[i], a
        cdef char *low
        cdef char *high
        if not cnp.PyArray_ISWRITEABLE(p):
            raise ValueError(f"{self.names[i]}: expected a writable array, got a read-only one")
        if not self._as_given(i):
            raise ValueError(f"{self.names[i]}: {_CHANGED}")
        name = f"gradient of {self.names[i]}"
        if not cnp.PyArray_Check(g) and cnp.PyArray_NDIM(p) == 0:  # NumPy makes scalars of what has no dimensions
            if type(g) is float or type(g) is int:
                g = np.array(g, _dtype(p))
            elif isinstance(g, np.generic):
                g = np.asarray(g)
        if not cnp.PyArray_Check(g):
            raise TypeError(f"{name}: expected a NumPy array, got {type(g).__name__}")
        a = np.asarray(plain(g, name))
        if a.dtype != _dtype(p):
            raise TypeError(f"{name}: expected the parameter's dtype {_dtype(p)}, got {a.dtype}")
        if _shape(a) != _shape(p):
            raise ValueError(f"{name}: expected the parameter's shape {_shape(p)}, got {_shape(a)}")
        for other, array in zip(self.names, self.params):
            if _overlap(a, array):
                raise ValueError(f"{name}: expected memory of its own, got an array that overlaps {other}")
        _extent(a, &low, &high)
        if low < high and self._taken(low, high):
            raise ValueError(f"{name}: expected memory of its own, got an array that overlaps the optimizer's state")
        if _alike(a, p) and cnp.PyArray_ISBEHAVED_RO(a):
            return a
        fitted = np.empty_like(p, subok=False)  # in the order of p
        fitted[...] = a
        return fitted

    cdef int _make_room(self) except -1:
        """Before an update: for what the norms are summed up from."""
        cdef size_t chunks
        cdef bint needs_norm = self.update.clip_norm > 0 or self.update.skip_nonfinite
        if needs_norm and not self.update.norms or self.trust and not self.update.trust:
            chunks = max(fnn_update_chunks(self.tensors, self.count), 1)
            free(self.update.norms)
            self.update.norms = <double *>calloc(chunks, sizeof(double))
            free(self.update.trust)
            self.update.trust = <double *>calloc(2 * chunks, sizeof(double))
            if not self.update.norms or not self.update.trust:
                raise MemoryError
        return 0

    cdef int _run(self) except -1:
        """The update, once all gradients and scalars stand."""
        cdef size_t i
        self._make_room()
        self.busy = True
        with nogil:
            fnn_update_run(&self.update, self.trust, self.limits, &self.autotune, self.work)
        self.busy = False
        if not self.update.skip:
            for i in range(self.n_groups):
                fnn_update_commit(&self.groups[i], &self.scalars[i])
        return _warn_if_refused()

    cdef int _run_without(self, tuple flat) except -1:
        """The same where some arrays have no gradient, None: those stay as they are, and the groups that have none at all."""
        cdef size_t i
        cdef list sizes = [self.tensors[i].n for i in range(self.count)]
        cdef list idle = [True] * self.n_groups, before
        self._make_room()
        before = self.progress()
        for i in range(self.count):
            if flat[i] is None:
                self.tensors[i].n = 0
            else:
                idle[self.tensors[i].group] = False
        try:
            if not all(idle):
                self._run()
        finally:
            for i in range(self.count):
                self.tensors[i].n = sizes[i]
        for i in range(self.n_groups):
            if idle[i]:
                self.groups[i].t, (self.groups[i].memory[0], self.groups[i].memory[1]) = before[i]
        return 0

    def quick_step(self, grads):
        """A step with the rates of `set_rates`, if everything is as it was and every gradient fits; else False."""
        cdef size_t i
        cdef tuple flat
        if self.ready != _groups_version + _rates_version or self.ready == 0 or self.busy:
            return False
        if type(grads) is list:
            flat = tuple(<list>grads)  # they must live until the end, whoever changes the list meanwhile
        elif type(grads) is tuple:
            flat = <tuple>grads
        else:
            return False
        if <size_t>len(flat) != self.count:
            return False
        for i in range(self.count):
            if not self._fits(i, flat[i]):
                return False
        for i in range(self.count):
            self.tensors[i].g = cnp.PyArray_DATA(<cnp.ndarray>flat[i])
        for i in range(self.n_groups):
            self.scalars[i] = fnn_update_prepare(&self.groups[i], self.rates[i])
        self._run()
        return True

    def step(self, list grads, list rates, double clip_norm=0.0, bint skip_nonfinite=False):
        """One update of all arrays: a gradient for each array, or None, a rate for each group.

        With clip_norm > 0 the gradients are scaled as if by min(1, clip_norm / (norm + 1e-6)). Returns (their global norm,
        or 0 if nothing asked for it; whether the step was left out).
        """
        cdef size_t i
        cdef tuple flat = tuple(grads)
        if self.busy:  # it would exchange the gradients under the running call
            raise RuntimeError("this optimizer is in use: a second step was made while one was running")
        if <size_t>len(flat) != self.count:
            raise ValueError(f"grads: expected {self.count} gradients, one for each parameter, got {len(flat)}")
        flat = tuple([g if g is None or self._fits(i, g) else self._fitted(i, g) for i, g in enumerate(flat)])
        for i in range(self.count):
            self.tensors[i].g = NULL if flat[i] is None else cnp.PyArray_DATA(<cnp.ndarray>flat[i])
        for i in range(self.n_groups):
            self.scalars[i] = fnn_update_prepare(&self.groups[i], rates[i])
        self.update.clip_norm, self.update.skip_nonfinite, self.update.norm = clip_norm, skip_nonfinite, 0.0
        self.update.skip = False
        try:
            if any([g is None for g in flat]):
                self._run_without(flat)
            else:
                self._run()
            return self.update.norm, self.update.skip
        finally:
            self.update.clip_norm, self.update.skip_nonfinite = 0.0, False


cdef void _swap(char *a, char *b, size_t n) noexcept:
    cdef char held[4096]
    cdef size_t size
    while n > 0:
        size = min(n, sizeof(held))
        memcpy(held, a, size)
        memcpy(a, b, size)
        memcpy(b, held, size)
        a, b, n = a + size, b + size, n - size


cdef class Exchange:
    """Whether arrays have changed places with others. They do, and it is noted, within one call, so that no signal handler
    (Ctrl-C) finds some of them exchanged, or all of them and no note."""

    cdef readonly bint made

    def __cinit__(self, bint made=False):
        self.made = made

    def __reduce__(self):
        return Exchange, (self.made,)

    def swap(self, list arrays, list others):
        """Exchange the contents of each array with those of the other, where that is not None: of one dtype, shape, and order
        in memory without gaps."""
        cdef cnp.ndarray a, b
        pairs = [(x, y) for x, y in zip(arrays, others, strict=True) if y is not None]
        for a, b in pairs:
            if not (
                _alike(a, b)
                and cnp.PyArray_ISBEHAVED(a)
                and cnp.PyArray_ISBEHAVED(b)
                and (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a))
            ):
                raise ValueError("expected writable arrays that lie alike in memory")
        for a, b in pairs:
            _swap(<char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(b), cnp.PyArray_NBYTES(a))
        self.made = not self.made
        global _groups_version
        _groups_version += 1  # whoever steps next looks first whether it may
