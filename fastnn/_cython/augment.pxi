# Augmentation: a chain of the register's members, ready to be run on rows as they are gathered.

# name -> names of parameters, each after the letter of its kind, i or d
AUGMENTATIONS = {fnn_augmentations[_i].name.decode(): tuple(fnn_augmentations[_i].parameters.decode().split()) for _i in range(FNN_AUGMENTATIONS)}
MIXUP_QUANTILES = FNN_QUANTILES + 1


cdef class AugmentChain:
    """Members of csrc/defs/augment.def, for images of one shape.

    steps: (name, {parameter: value}) each, at most 256; shape: (height, width, channels) of the images; quantiles: float64
    [MIXUP_QUANTILES] of a Mixup's distribution, or None; first: the number of the first, which its draws hang on. ValueError where they do not fit together.
    """

    cdef fnn_augment a
    cdef fnn_augmentation *members
    cdef readonly list steps
    cdef readonly tuple shape
    cdef readonly object quantiles

    def __cinit__(self, list steps, tuple shape, quantiles=None, size_t first=0):
        cdef size_t i
        cdef int j, kind
        if len(steps) > 256:
            raise ValueError(f"steps: expected at most 256, got {len(steps)}")
        self.members = <fnn_augmentation *>calloc(max(len(steps), 1), sizeof(fnn_augmentation))
        if not self.members:
            raise MemoryError
        names = list(AUGMENTATIONS)
        for i in range(<size_t>len(steps)):
            name, values = steps[i]
            kind = names.index(name)
            needed = AUGMENTATIONS[name]
            if sorted(values) != sorted([p[1:] for p in needed]):
                raise TypeError(f"{name}: expected the parameters {needed}, got {sorted(values)}")
            self.members[i].kind = <fnn_augmentation_kind>kind
            for j in range(<int>len(needed)):
                if needed[j][0] == "d":
                    self.members[i].value[j].d = values[needed[j][1:]]
                else:
                    self.members[i].value[j].i = values[needed[j][1:]]
        if quantiles is not None:
            _check(quantiles, "quantiles", cnp.NPY_FLOAT64, 1, False)
            _check_shape(quantiles, "quantiles", MIXUP_QUANTILES)
            self.a.quantiles = <double *>cnp.PyArray_DATA(quantiles)
        self.steps, self.shape, self.quantiles = steps, shape, quantiles
        self.a.steps, self.a.count, self.a.first = self.members, len(steps), first
        self.a.height, self.a.width, self.a.channels = shape
        if not fnn_augment_measure(&self.a):
            raise ValueError(f"steps: expected such as images of {shape} can go through, got {steps}")

    def __dealloc__(self):
        free(self.members)

    @property
    def mixes(self):
        """Whether one of them is a Mixup, which the loss must know of."""
        return self.a.mixup < self.a.count


cdef object _fill_augment(fnn_augment *a, AugmentChain chain, uint64_t seed, uint32_t epoch, size_t item, size_t outputs, int threads):
    """What a run needs of the chain; `threads` threads' memory, which is returned."""
    a[0] = chain.a
    a.seed, a.epoch = seed, epoch
    a.scratch_bytes = fnn_augment_scratch(a, item, outputs)
    memory = aligned_zeros((threads * a.scratch_bytes,), np.uint8)
    a.scratch = <char *>cnp.PyArray_DATA(memory)
    return memory


def augmented(images, AugmentChain chain not None, uint64_t seed, uint32_t epoch, samples, bint double=False):
    """The images of an epoch, [n, elements], as `gather` would take them. samples: int64 [n], what the draws of each hang on."""
    cdef fnn_source s
    cdef fnn_run run
    cdef fnn_augment a
    cdef fnn_op op
    cdef fnn_buffer buffers[FNN_OP_BUFFERS]
    cdef size_t features = chain.a.height * chain.a.width * chain.a.channels
    _fill_source(&s, images, "images", features, 1.0, 0.0)
    memset(&run, 0, sizeof(run))
    run.x, run.rows = s, s.rows
    cdef cnp.ndarray result = _new_real(s.rows, chain.a.columns, _LIKE[double])
    _check(samples, "samples", cnp.NPY_INT64, 1, False)
    _check_shape(samples, "samples", s.rows)
    if s.rows >= <size_t>1 << 32:
        raise ValueError(f"images: expected fewer than 2**32, got {s.rows}")
    cdef double work = chain.a.work * s.rows
    run.threads = fnn_team_for(work)
    memory = _fill_augment(&a, chain, seed, epoch, 8 if double else 4, 0, run.threads)
    a.samples = <int64_t *>cnp.PyArray_DATA(samples)
    run.augment = &a
    _gather.fill(&op, (features, 1, True))
    _gather.bind(&run, &op, buffers, (result,))
    with nogil:
        fnn_eager(&op, buffers, &run, work)
    _warn_if_refused()
    del memory
    return result
