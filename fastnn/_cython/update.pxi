# Lists of tensors that an optimizer updates, and a step on gradients for them.

_CHANGED = "expected the memory, dtype, shape and layout that it had, got an array that has been resized or changed"


cdef Operation _update = Operation("update", "", "size first last")

cdef struct Span:
    char *low
    char *high


cdef class Tensors:
    """Arrays with their states and groups, resolved to pointers once: what an optimizer updates.

    params: arrays; states: a tuple of arrays for each; group_of: a group number for each; state: where the optimizer stands; averages: for
    each the array of its moving average, or None.
    """

    cdef readonly OptimizerState state
    cdef fnn_tensor *tensors
    cdef size_t count
    cdef fnn_update update
    cdef fnn_autotune autotune
    cdef Span *spans  # of everything that is updated, by address
    cdef size_t n_spans
    cdef double work
    cdef list params, states, names, averages  # keeps the arrays alive
    cdef size_t room  # bytes of the update's
    cdef uint64_t fits  # the version of the settings whose rules have been seen to fit the states; 0: none
    cdef uint64_t valid  # both versions, added, for which a plain list of gradients is all that a step needs; 0: none

    def __cinit__(self, list params, list states, list group_of, OptimizerState state not None, list names, list averages=None):
        cdef fnn_tensor *t
        cdef size_t i
        cdef cnp.ndarray p
        self.params, self.states, self.names, self.averages = params, states, names, averages
        self.count, self.state = len(params), state
        self.tensors = <fnn_tensor *>calloc(max(self.count, 1), sizeof(fnn_tensor))
        self.spans = <Span *>calloc(max((FNN_STATES + 1) * self.count, 1), sizeof(Span))
        if not (self.tensors and self.spans):
            raise MemoryError
        spans = []
        for i in range(self.count):
            t = &self.tensors[i]
            p = params[i]
            t.w = cnp.PyArray_DATA(p)
            t.n = cnp.PyArray_SIZE(p)
            t.is_double = cnp.PyArray_TYPE(p) == cnp.NPY_FLOAT64
            t.group = group_of[i]
            if t.group < 0:
                raise ValueError(f"{names[i]}: expected a group's number, got {t.group}")
            if cnp.PyArray_NDIM(p) > 1:
                shape = _shape(p)
                t.transposed = not cnp.PyArray_IS_C_CONTIGUOUS(p)
                t.columns, t.rows, t.matrices = shape[-1], math.prod(shape[:-1]) if t.transposed else shape[-2], 1
                if not t.transposed:
                    t.matrices = math.prod(shape[:-2])
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
            for j, moment in enumerate(states[i]):
                t.state[<int>j] = cnp.PyArray_DATA(moment)
                arrays.append(moment)
            if averages is not None and averages[i] is not None:
                t.state[FNN_AVERAGE] = cnp.PyArray_DATA(averages[i])
                arrays.append(averages[i])
            sizes = {t.n}
            if t.rows and t.columns:
                sizes |= {t.n // t.columns, t.n // t.rows}  # of rows and columns of a matrix, see `_has_states`
            for array in arrays:
                if (
                    t.n and <size_t>cnp.PyArray_SIZE(array) not in sizes
                    or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(p)
                    or not (cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array))
                ):
                    raise ValueError(f"{names[i]}: {_CHANGED}")
                if cnp.PyArray_SIZE(array):
                    spans.append((<size_t>cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array)))
            if averages is not None and averages[i] is not None and <size_t>cnp.PyArray_SIZE(averages[i]) != t.n:
                raise ValueError(f"{names[i]}: {_CHANGED}")
        for i, (low, size) in enumerate(sorted(spans)):
            self.spans[i].low = <char *><size_t>low
            self.spans[i].high = self.spans[i].low + <size_t>size
        self.n_spans = len(spans)
        self.update.tensors, self.update.count = self.tensors, self.count

    def __dealloc__(self):
        free(self.tensors)
        free(self.spans)
        free(self.update.norms)
        free(self.update.trust)
        fnn_aligned_free(self.update.room)

    cdef bint _has_states(self, size_t j, fnn_update_rule rule) except -1:
        """Whether array j has the state arrays of a rule."""
        cdef fnn_tensor *t = &self.tensors[j]
        cdef size_t size
        cdef cnp.ndarray state
        kinds = [""] * fnn_update_infos[rule].n_states
        if fnn_update_infos[rule].n_matrix_states and cnp.PyArray_NDIM(self.params[j]) > 1:
            kinds = _MATRIX_STATES[rule]
        if len(kinds) != len(self.states[j]):
            return False
        for state, kind in zip(self.states[j], kinds):
            size = t.n
            if kind:
                size = 0 if t.n == 0 else t.n // (t.columns if kind == "row" else t.rows)
            if <size_t>cnp.PyArray_SIZE(state) != size and (t.n or not kind):
                return False
        return True

    cdef int _make_whole_room(self) except -1:
        """For rules that work on whole arrays."""
        cdef size_t bytes = fnn_whole_room(&self.update, self.tensors), j, elements = 0
        cdef fnn_tensor *t
        cdef double more = 0
        cdef fnn_op op
        if bytes > self.room:
            fnn_aligned_free(self.update.room)
            self.room, self.update.room = 0, fnn_aligned_alloc(bytes)
            if not self.update.room:
                raise MemoryError
            self.room = bytes
        for j in range(self.count):
            t = &self.tensors[j]
            elements += t.n
            if t.rows and fnn_updates_whole(&self.update, t) and self.update.rules[t.group] == FNN_MUON:
                more += 30.0 * t.n * min(t.rows * t.matrices, t.columns)
        _update.fill(&op, (elements, 0, self.count))
        self.work = fnn_op_kinds[op.kind].work(&op, 1) + more
        return 0

    cdef int bind(self) except -1:
        """Before an update: what it takes of the optimizer's state, whose rules must be those that the tensors have states for."""
        cdef size_t j
        cdef fnn_group *g
        cdef bint new = False
        if self.fits != self.state.compiled or self.fits == 0:
            if self.state.compiled == 0:
                raise RuntimeError("groups: expected settings, got none; the optimizer's `prepare` hands them over")
            for j in range(self.count):
                if <size_t>self.tensors[j].group >= self.state.n_groups:
                    raise ValueError(f"groups: expected more than {self.tensors[j].group}, got {self.state.n_groups}")
                g = &self.state.groups[self.tensors[j].group]
                if not self._has_states(j, g.rule) or (g.ema > 0 and self.tensors[j].state[FNN_AVERAGE] == NULL):
                    raise ValueError(f"groups: expected a rule for which the parameters of group {self.tensors[j].group} have states, "
                                     f"got {fnn_update_infos[g.rule].name.decode()}")
            new = True
        self.update.rules, self.update.scalars, self.update.n_groups = self.state.rules, self.state.scalars, self.state.n_groups
        self.update.scheduled, self.update.n_scheduled = self.state.scheduled, self.state.n_scheduled
        if new:
            self._make_whole_room()
            self.fits = self.state.compiled
        return 0

    def set_clipping(self, double clip_norm, bint skip_nonfinite):
        """For the plans that update these arrays: clip by the global norm (0: don't), leave out steps without a finite one."""
        self.update.clip_norm, self.update.skip_nonfinite = clip_norm, skip_nonfinite

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
        if needs_norm and not self.update.norms or self.state.trust and not self.update.trust:
            chunks = max(fnn_update_chunks(self.tensors, self.count), 1)
            free(self.update.norms)
            self.update.norms = <double *>calloc(chunks, sizeof(double))
            free(self.update.trust)
            self.update.trust = <double *>calloc(2 * chunks, sizeof(double))
            if not self.update.norms or not self.update.trust:
                raise MemoryError
        return 0

    cdef int _run(self, tuple flat, double *rates) except -1:
        """The update with these gradients, which fit; None: that array stays as it is, and a group that has none at all."""
        cdef size_t i
        cdef OptimizerState state = self.state
        cdef list sizes = None, idle = None
        self.bind()
        self._make_room()
        for i in range(self.count):
            if flat[i] is None:
                if sizes is None:
                    sizes, idle = [self.tensors[i].n for i in range(self.count)], [True] * state.n_groups
                self.tensors[i].n = 0
            else:
                self.tensors[i].g = cnp.PyArray_DATA(<cnp.ndarray>flat[i])
        fnn_update_prepare(&self.update, state.groups, rates)
        with nogil:
            fnn_update_run(&self.update, state.trust, state.limits, &self.autotune, self.work)
        if sizes is not None:
            for i in range(self.count):
                self.tensors[i].n = sizes[i]
                if flat[i] is not None:
                    idle[self.tensors[i].group] = False
        if self.update.skip:
            state.skipped += 1
        else:
            for i in range(state.n_groups):
                if idle is None or not idle[i]:
                    fnn_update_commit(&state.groups[i], &state.scalars[i])
        return _warn_if_refused()

    def cached_step(self, grads):
        """A step like the last one, if everything is as it was and every gradient fits; else False."""
        cdef size_t i
        cdef tuple flat
        cdef OptimizerState state = self.state
        if self.valid != state.version + state.rates_version:
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
        if not state.lock.take():
            return False
        try:
            self._run(flat, state.rates)
        finally:
            state.lock.leave()
        return True

    def step(self, list grads, list rates, double clip_norm=0.0, bint skip_nonfinite=False):
        """One update of all arrays: a gradient for each array, or None; the rates of the groups, then the settings that depend on the step.

        With clip_norm > 0 the gradients are scaled as if by min(1, clip_norm / (norm + 1e-6)). Returns (their global norm,
        or 0 if nothing asked for it; whether `cached_step` may do the steps that follow).
        """
        cdef size_t i
        cdef OptimizerState state = self.state
        cdef tuple flat = tuple(grads)
        if <size_t>len(flat) != self.count:
            raise ValueError(f"grads: expected {self.count} gradients, one for each parameter, got {len(flat)}")
        if <size_t>len(rates) != state.n_groups + state.n_scheduled:
            raise ValueError(f"rates: expected {state.n_groups + state.n_scheduled}, got {len(rates)}")
        flat = tuple([g if g is None or self._fits(i, g) else self._fitted(i, g) for i, g in enumerate(flat)])
        state.lock.enter()
        try:
            for i in range(state.n_groups + state.n_scheduled):
                state.rates[i] = rates[i]
            self.update.clip_norm, self.update.skip_nonfinite, self.update.norm = clip_norm, skip_nonfinite, 0.0
            self._run(flat, state.rates)
            self.valid = 0
            if state.constant and clip_norm == 0 and not skip_nonfinite:
                self.valid = state.compiled + state.rated
            return self.update.norm, self.valid != 0
        finally:
            self.update.clip_norm, self.update.skip_nonfinite = 0.0, False
            state.lock.leave()
