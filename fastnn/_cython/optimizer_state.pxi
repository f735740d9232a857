# Where an optimizer stands, for everything that runs its updates: trainers' plans, and steps on gradients of one's own.

UPDATE_CHUNK = FNN_UPDATE_CHUNK


cdef list _settings_of(const fnn_setting_info *first):
    found = []
    while first.name:
        found.append((first.name.decode(), first.whole, first.initial, first.least, first.below))
        first += 1
    return found


def update_rules():
    """What the register (csrc/defs/update_rules.def) says: (settings of every group, rules by code, names by code of settings that are
    codes); of a setting (name, whether it is an integer, initial, least, below), of a rule (name, states, states of matrices, settings of
    its own, memory, traits)."""
    rules = []
    for i in range(FNN_UPDATE_RULES):
        states, matrix_states, memory, traits = (
            text.decode().split() for text in (fnn_update_infos[i].states, fnn_update_infos[i].matrix_states, fnn_update_infos[i].memory,
                                               fnn_update_infos[i].traits)
        )
        hyper = _settings_of(fnn_update_infos[i].hyper)
        rules.append((fnn_update_infos[i].name.decode(), states, matrix_states, hyper, memory, traits))
    codes = {"form": [fnn_momentum_forms[i].decode() for i in range(FNN_FORMS)],
             "adjust_lr_fn": [fnn_adjustments[i].decode() for i in range(FNN_ADJUSTMENTS)]}
    return _settings_of(fnn_group_settings), rules, codes


def _rule_places():
    """Of each rule its code and, by name, for each setting its place in a group and whether it is an integer."""
    everywhere, rules, _ = update_rules()
    return {
        rule: (code, {name: (place, whole) for place, (name, whole, *_) in enumerate([*everywhere, *hyper])})
        for code, (rule, _, _, hyper, *_) in enumerate(rules)
    }

cdef dict _RULES = _rule_places()

# By code, of which part of an array each state of a matrix is: "" of all, "row" or "column".
cdef list _MATRIX_STATES = [[state.partition("/")[2] for state in rule[2]] for rule in update_rules()[1]]

cdef class OptimizerState:
    """The groups' settings as the kernels take them, how far each group has come, and who may use them: one for each optimizer, for life.

    Steps of all plans and tensors that were made with it count here, within the call that does them, and nowhere else. Whatever a step
    depends on changes a number, the version (a new rate another one), so that steps that were found to be in order may be done again without
    a closer look while these stand.
    """

    cdef object __weakref__
    cdef fnn_group *groups
    cdef fnn_update_rule *rules
    cdef fnn_update_scalars *scalars
    cdef double *rates  # of the groups, then the settings that depend on the step
    cdef readonly size_t n_groups
    cdef fnn_scheduled *scheduled
    cdef readonly size_t n_scheduled
    cdef readonly Lock lock
    cdef public uint64_t skipped  # steps that were left out because their gradients were not finite
    cdef uint64_t version, rates_version  # of the settings
    cdef uint64_t compiled, rated  # those that `groups` and `rates` were made of; 0: none
    cdef bint constant  # `rates` hold for any step
    cdef bint trust, limits  # whether a rule takes norms of whole arrays, and a group has a largest norm of a unit
    cdef list settings  # for each group what `compile` was given
    cdef readonly list scheduled_settings  # (group, name) of those that depend on the step

    def __cinit__(self):
        self.version = self.rates_version = 1
        self.lock = Lock("this optimizer, or a Trainer that has it,")

    def __dealloc__(self):
        free(self.groups)
        free(self.rules)
        free(self.scalars)
        free(self.rates)
        free(self.scheduled)

    cdef int _grow(self, size_t n) except -1:
        """Room for n groups; new ones have done no step."""
        cdef size_t old = self.n_groups
        if n < old:
            raise ValueError(f"groups: expected {old}, got {n}")
        if n == old:
            return 0
        cdef fnn_group *groups = <fnn_group *>calloc(n, sizeof(fnn_group))
        cdef fnn_update_rule *rules = <fnn_update_rule *>calloc(n, sizeof(fnn_update_rule))
        cdef fnn_update_scalars *scalars = <fnn_update_scalars *>calloc(n, sizeof(fnn_update_scalars))
        if groups and rules and scalars:
            if old:
                memcpy(groups, self.groups, old * sizeof(fnn_group))
            self.groups, groups = groups, self.groups
            self.rules, rules = rules, self.rules
            self.scalars, scalars = scalars, self.scalars
            self.n_groups = n
        free(groups)
        free(rules)
        free(scalars)
        if self.n_groups != n:
            raise MemoryError
        return 0

    def invalidate(self):
        """Something that a step depends on has changed, or is about to: the next one has a closer look."""
        self.version += 1

    @property
    def versions(self):
        """(of the settings, of the rates): what `compile` and `set_rates` are to be told, read before the settings are."""
        return self.version, self.rates_version

    @property
    def is_current(self):
        """Whether the settings are those that `compile` was given."""
        return self.compiled == self.version

    @property
    def has_current_rates(self):
        return self.rated == self.rates_version

    def compile(self, list settings, uint64_t version):
        """The settings of all groups: for each (name of its rule, {name of a setting: number}), all that the register names and no
        other. In place of a number that is no integer there may be a function of the step: the numbers of these settings come with every step,
        behind the rates, in the order of `scheduled_settings`."""
        cdef size_t i, place, n
        cdef fnn_group g
        cdef list made = [], scheduled = []
        cdef double *rates
        cdef fnn_scheduled *places_of
        for number, (rule, values) in enumerate(settings):
            if rule not in _RULES:
                raise ValueError(f"rule: expected one of {', '.join(_RULES)}, got {rule!r}")
            code, places = _RULES[rule]
            if values.keys() != places.keys():
                raise TypeError(f"{rule}: expected the settings {sorted(places)}, got {sorted(values)}")
            memset(&g, 0, sizeof(g))
            g.rule = code
            for name, value in values.items():
                place, whole = places[name]
                if whole:
                    g.value[place].i = value
                elif callable(value):
                    g.value[place].d = NAN
                    scheduled.append((number, name, place))
                else:
                    g.value[place].d = value
            made.append((<char *>&g)[: sizeof(g)])
        self.lock.enter()
        try:
            self._grow(len(settings))
            n = len(scheduled)
            rates = <double *>calloc(max(self.n_groups + n, 1), sizeof(double))
            places_of = <fnn_scheduled *>calloc(max(n, 1), sizeof(fnn_scheduled))
            if not (rates and places_of):
                free(rates)
                free(places_of)
                raise MemoryError
            for i, (number, _, place) in enumerate(scheduled):
                places_of[i].group, places_of[i].place = number, <int>place
            self.rates, rates = rates, self.rates
            self.scheduled, places_of = places_of, self.scheduled
            free(rates)
            free(places_of)
            self.n_scheduled = n
            self.rated = 0
            self.trust = self.limits = False
            for i in range(self.n_groups):
                memcpy(&g, <char *><bytes>made[i], sizeof(g))
                g.t, g.memory[0], g.memory[1] = self.groups[i].t, self.groups[i].memory[0], self.groups[i].memory[1]
                self.groups[i], self.rules[i] = g, g.rule
                self.trust = self.trust or (fnn_update_infos[g.rule].flags & FNN_TRAIT_trust) != 0
                self.limits = self.limits or not g.max_norm == 0  # it may depend on the step
            self.settings, self.scheduled_settings = settings, [(number, name) for number, name, _ in scheduled]
            self.compiled = version
        finally:
            self.lock.leave()

    def set_rates(self, rates, uint64_t version):
        """The rates of all groups, for any number of steps; None: they, or other settings, depend on the step."""
        cdef size_t i
        self.constant = rates is not None
        if self.constant:
            for i in range(self.n_groups):
                self.rates[i] = rates[i]
        self.rated = version

    def groups_now(self):
        """For each group what `compile` was given, and its steps and memory."""
        return [(rule, dict(values), t, memory) for (rule, values), (t, memory) in zip(self.settings, self.progress(self.n_groups))]

    def steps_of(self, size_t group):
        """Steps that the group has done."""
        return self.groups[group].t if group < self.n_groups else 0

    def progress(self, size_t n):
        """How far each of n groups has come: its steps and its memory."""
        cdef size_t i
        if n < self.n_groups:
            raise ValueError(f"n: expected at least {self.n_groups}, got {n}")
        found = [(self.groups[i].t, (self.groups[i].memory[0], self.groups[i].memory[1])) for i in range(self.n_groups)]
        return found + [(0, (0.0, 0.0))] * (n - self.n_groups)

    def set_progress(self, list progress):
        """Go on from there, with as many groups."""
        cdef size_t i
        self.lock.enter()
        try:
            self._grow(len(progress))
            for i, (t, (one, two)) in enumerate(progress):
                self.groups[i].t, self.groups[i].memory[0], self.groups[i].memory[1] = t, one, two
        finally:
            self.lock.leave()

    def take(self, list settings, list progress, list arrays, uint64_t skipped):
        """Go on from a state, in one call, which no signal handler comes between: settings, pairs of a Settings and the dict that it is
        to be; arrays, pairs of one and the values that it is to have."""
        self.lock.enter()
        try:
            self.invalidate()
            for mine, given in settings:
                mine.update(given)
            for array, values in arrays:
                array[...] = values
            self.set_progress(progress)
            self.skipped = skipped
        finally:
            self.lock.leave()


cdef class Settings(dict):
    """A dict that tells the state of an optimizer when it is changed, so that this need not look through its groups at every step; apart
    for a new "lr", which loops of one's own often set. Copies and pickles of it are plain dicts."""

    cdef OptimizerState state

    def __init__(self, settings, OptimizerState state):
        dict.__init__(self, settings)
        self.state = state

    cdef int _change(self) noexcept:
        if self.state is not None:
            self.state.version += 1
        return 0

    def __setitem__(self, key, value):
        dict.__setitem__(self, key, value)
        if type(key) is str and key == "lr" and self.state is not None:
            self.state.rates_version += 1
        else:
            self._change()

    def __delitem__(self, key):
        dict.__delitem__(self, key)
        self._change()

    def update(self, *args, **kwargs):
        try:
            dict.update(self, *args, **kwargs)
        finally:
            self._change()

    def __ior__(self, other):
        self.update(other)
        return self

    def setdefault(self, key, default=None):
        self._change()
        return dict.setdefault(self, key, default)

    def pop(self, *args):
        self._change()
        return dict.pop(self, *args)

    def popitem(self):
        self._change()
        return dict.popitem(self)

    def clear(self):
        self._change()
        dict.clear(self)

    def __reduce__(self):
        return dict, (dict(self),)


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
    """Whether an optimizer's parameters have changed places with others. They do, and it is noted, within one call, so that no signal
    handler (Ctrl-C) finds some of them exchanged, or all of them and no note."""

    cdef readonly bint made
    cdef OptimizerState state

    def __cinit__(self, OptimizerState state, bint made=False):
        self.state, self.made = state, made

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
        self.state.lock.enter()
        self.state.invalidate()  # whoever steps next looks first whether it may
        for a, b in pairs:
            _swap(<char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(b), cnp.PyArray_NBYTES(a))
        self.made = not self.made
        self.state.lock.leave()

    def during(self, list arrays, list others, value=None):
        """A context in which they are exchanged; it gives `value`. Nothing happens where they are so already."""
        return _Exchanged(self, arrays, others, value)


cdef class _Exchanged:
    cdef Exchange exchange
    cdef list arrays, others
    cdef object value
    cdef bint mine

    def __cinit__(self, exchange, arrays, others, value):
        self.exchange, self.arrays, self.others, self.value = exchange, arrays, others, value

    def __enter__(self):
        if not self.exchange.made:
            self.exchange.swap(self.arrays, self.others)
            self.mine = True
        return self.value

    def __exit__(self, *error):
        cdef Lock lock = self.exchange.state.lock
        if self.mine and self.exchange.made:
            while not lock.take():  # another thread evaluates, say: the exchange must not be left standing
                with nogil:
                    fnn_nap()
            try:
                self.exchange.swap(self.arrays, self.others)
            finally:
                lock.leave()
        self.mine = False
