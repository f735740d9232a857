"""Orders the operations of a step, places the barriers, and lets buffers share memory.

Two schedules, which give the same bits:

rows    each thread takes its rows of the batch through all forward layers, the loss and all dX without waiting for the
        others; then the team shares the weights' gradients and updates, layer after layer. Two barriers a step. For
        small and medium networks.
layers  the team shares every product by tiles; dW of a layer, with its update, stands beside the dX of the layer below.
        For weights much larger than a cache.

In both a convolution's dW, which needs images and their gradients, stands where these are, before its dX, so that nobody keeps them.

A barrier stands where an operation touches what another of the same phase has written, or writes what it has read,
unless both go by rows, when each thread meets only its own rows; and behind the sum of the parts of a convolution's dW, whose
memory its dX may then have.
"""

from collections import Counter

UPDATES = ("gradient_norm", "begin_update", "update", "trust_update", "max_norm")  # operations of an optimizer's step, from the first on


def _order(ops, schedule, apart):
    """The operations in an order that the schedule likes; every dependency still points backwards. apart: the optimizer's step comes
    behind everything else."""
    weights = [op for op in ops if op.spec.when == "weights"]
    last = sorted((op for op in ops if op.spec.when == "last"), key=lambda op: (apart and op.kind in UPDATES, op.spec.code))
    writers = Counter(id(b) for op in weights for b in op.writes())
    # what several operations add up keeps its order, at the end
    sole = {id(op) for op in weights if all(writers[id(b)] == 1 for b in op.writes())}
    of_images = {id(op) for op in weights if op.has("windows") and id(op) in sole}
    chain = [op for op in ops if op.spec.when == "chain" or id(op) in of_images]
    weights = [op for op in weights if id(op) not in of_images]
    if schedule == "rows":
        return [*chain, *weights, *last]
    ordered, pending = [], []
    for op in chain:
        if id(op) in of_images:
            ordered += pending
            pending = []
        ordered.append(op)
        if op.has("fuses_derivative") and op.buffers["dx"].role == "gradient":
            # dX of a layer, then the dW of the layer above, whose weights nobody reads any more
            ordered += pending
            pending = [w for w in weights if w.has("fuses_update") and w.buffers["dy"] is op.buffers["dy"] and id(w) in sole]
    done = {id(op) for op in [*ordered, *pending]}
    return [*ordered, *pending, *(w for w in weights if id(w) not in done), *last]


def _split(ops, schedule):
    for op in ops:
        op.by_rows = op.spec.by_rows and (schedule == "rows" or not op.has("is_product"))


def _conflict(a, b):
    """Whether two operations must not run at the same time, so that a barrier stands between them."""
    writes_a, writes_b = a.writes(), b.writes()
    shared = [x for x in writes_a if any(x is y for y in [*b.reads(), *writes_b])]
    shared += [x for x in a.reads() if any(x is y for y in writes_b)]
    return any(not (a.by_rows and b.by_rows and not x.is_whole) for x in shared)


def _place_barriers(ops):
    """Greedily: a phase goes on until an operation must not run beside one of it. Returns the phase of each."""
    phases, start = [], 0
    for i, op in enumerate(ops):
        op.barrier = False
        summed = i > 0 and ops[i - 1].kind == "conv2d_combine_weights" and op.spec.when == "chain"
        if summed or any(_conflict(op, earlier) for earlier in ops[start:i]):
            ops[i - 1].barrier = True
            start = i
        phases.append(phases[-1] + (start == i and i > 0) if phases else 0)
    return phases


def _lives(ops, phases, buffers, kept):
    """For each buffer its first and last (phase, operation), and by phase whether all that use it there go by rows; kept ones live to the
    end."""
    lives = {}
    for i, (op, phase) in enumerate(zip(ops, phases)):
        for b in [*op.reads(), *op.writes()]:
            first, _, rows = lives.get(id(b), ((phase, i), None, {}))
            rows[phase] = rows.get(phase, True) and op.by_rows
            lives[id(b)] = (first, (phase, i), rows)
    end = (len(ops), len(ops))
    for b in buffers:
        if id(b) in kept and id(b) in lives:
            first, _, rows = lives[id(b)]
            lives[id(b)] = (first, end, rows)
    return lives


def _may_share(a, b, lives):
    """Whether two buffers are never needed at the same time.

    Within a phase threads are at different operations. Two buffers may then share memory only if both go by rows there and
    have rows of one length in bytes, so that a thread's rows of one lie where its rows of the other do.
    """
    (a_first, a_last, a_rows), (b_first, b_last, b_rows) = lives[id(a)], lives[id(b)]
    if a_last[0] < b_first[0] or b_last[0] < a_first[0]:
        return True
    same_rows = a.ld * a.itemsize == b.ld * b.itemsize and not a.whole and not b.whole
    if not same_rows or not (a_last[1] < b_first[1] or b_last[1] < a_first[1]):
        return False
    phase = a_last[0] if a_last[1] < b_first[1] else b_last[0]  # the one in which one's life ends and the other's begins
    return a_rows[phase] and b_rows[phase]


def _allocate(buffers, lives, batch):
    """First fit, largest first, of one size the longest-lived. Returns the bytes of the workspace."""
    placed, total = [], 0
    mine = [b for b in buffers if b.array is None and id(b) in lives]

    def order(b):
        (first, _), (last, _), _ = lives[id(b)]
        return -b.nbytes(batch), first - last, b.index

    for b in sorted(mine, key=order):
        size = b.nbytes(batch)
        taken = sorted((o.offset, o.offset + o.nbytes(batch)) for o in placed if not _may_share(b, o, lives))
        exact = [o for o in placed if o.nbytes(batch) == size and _may_share(b, o, lives)]
        at = 0
        for o in exact:  # the very place of another: sharing by rows needs it, and it fits best
            if all(o.offset + size <= begin or end <= o.offset for begin, end in taken):
                at = o.offset
                break
        else:
            # any gap will do, but memory shared within a phase must be shared exactly: keep off those buffers too
            blocked = sorted(
                (o.offset, o.offset + o.nbytes(batch))
                for o in placed
                if not (_may_share(b, o, lives) and _apart(b, o, lives))
            )
            for begin, end in blocked:
                if at + size <= begin:
                    break
                at = max(at, end)
        b.offset = at
        placed.append(b)
        total = max(total, at + size)
    return total


def _apart(a, b, lives):
    """Whether the phases of two buffers do not touch."""
    (a_first, a_last, _), (b_first, b_last, _) = lives[id(a)], lives[id(b)]
    return a_last[0] < b_first[0] or b_last[0] < a_first[0]


def _side_by_side(buffers, batch):
    """Memory of its own for every buffer. Returns the bytes of the workspace."""
    total = 0
    for b in buffers:
        if b.array is None:
            b.offset, total = total, total + b.nbytes(batch)
    return total


_NEAR = 320 << 10  # bytes of activations that a thread's L2 cache holds beside weights


def _depth_first(ops):
    """Runs of operations that a thread may take a few of its rows through before the next few, as (first, behind the last): those by
    rows, without a barrier between them, up to the last that has windows; a convolution among them. Products of matrices are better
    off with all their rows."""
    fits = [op.by_rows and op.spec.when == "chain" and not op.has("is_product") for op in ops]
    found, first = [], 0
    for i in range(len(ops) + 1):
        if i == len(ops) or not fits[i] or (i > first and ops[i - 1].barrier):
            windows = [j for j in range(first, i) if ops[j].has("windows")]
            if any(ops[j].get("filters") for j in windows) and windows[-1] > first:
                found.append((first, windows[-1] + 1))
            first = i if i < len(ops) and fits[i] else i + 1
    return found


def _near(ops, first, end, kept):
    """Of the buffers that the operations [first, end) alone use: [(buffer, first, last of them that do)]."""
    users = {}
    for i, op in enumerate(ops):
        for b in [*op.reads(), *op.writes()]:
            users.setdefault(id(b), (b, []))[1].append(i)
    return [
        (b, seen[0], seen[-1])
        for b, seen in users.values()
        if first <= seen[0] and seen[-1] < end and not b.is_whole and b.real and id(b) not in kept
    ]


def _place_near(lives, rows, begin):
    """First fit, largest first, of so many rows of buffers from a place in scratch on. Returns the bytes in use, up to which place."""
    total = begin
    placed = []
    for b, first, last in sorted(lives, key=lambda o: -o[0].nbytes(rows)):
        b.near = begin
        for begins, ends in sorted((o.near, o.near + o.nbytes(rows)) for o, f, l in placed if f <= last and first <= l):
            if b.near + b.nbytes(rows) <= begins:
                break
            b.near = max(b.near, ends)
        placed.append((b, first, last))
        total = max(total, b.near + b.nbytes(rows))
    return total


def _take_near(ops, batch, kept):
    """Let threads take a few rows at a time through what allows it: so few that what they write meanwhile stays in the L2 cache, where it
    is scratch of theirs. Returns the bytes of scratch that they need."""
    scratch = 0
    for first, end in _depth_first(ops):
        lives, at = _near(ops, first, end, kept), 0
        few = max(1, _NEAR // max(_place_near(lives, 1, 0), 1))
        if few >= batch:  # all of it stays there as it is
            for b, _, _ in lives:
                b.near = -1
            continue
        ops[first].depth = end - first
        for op in ops[first:end]:
            op.few, op.scratch_at = few, at  # scratch of its own, since what is packed there serves until the last rows
            at += -(-op.scratch_bytes(batch) // 64) * 64
        scratch = max(scratch, _place_near(lives, few, at))
    return scratch


def arrange(ops, buffers, batch, schedule, kept, apart=False, depth_first=False):
    """Order `ops`, place barriers, give every buffer its place; kept: ids of buffers that live to the end, or None for all;
    depth_first: let threads take a few rows at a time through convolutions and what follows them. Returns (operations, bytes of the
    workspace, bytes of each thread's scratch)."""
    if schedule not in ("rows", "layers"):
        raise ValueError(f"schedule: expected 'rows' or 'layers', got {schedule!r}")
    ordered = _order(ops, schedule, apart)
    _split(ordered, schedule)
    phases = _place_barriers(ordered)
    scratch = _take_near(ordered, batch, kept) if depth_first else 0
    scratch = max([scratch, *(op.scratch_at + op.scratch_bytes(batch) for op in ordered)])
    if kept is None:
        return ordered, _side_by_side(buffers, batch), scratch
    far = [b for b in buffers if b.near < 0]
    return ordered, _allocate(far, _lives(ordered, phases, far, kept), batch), scratch


_ROWS_BYTES = 1 << 20  # up to this size of the weights, by rows
_BARRIER = 0.7e-6  # seconds that a barrier between two threads takes
_BANDWIDTH = 20e9  # bytes a second that a thread gets out of another's cache
_CLEARLY = 2.0  # by layers only where that saves so many times what its barriers cost


def _saved_by_layers(shape, batch, threads):
    """Bytes of a layer [in, out] that a thread need not fetch from the other threads' caches where each owns some columns.

    By rows every thread reads all weights, of which the others have just updated their parts; by columns it reads its own, and
    the others' parts of the activations. A layer whose vectors of 16 columns cannot be dealt out evenly is cut by rows all the same.
    """
    vectors = -(-shape[1] // 16)
    return 4 * (shape[0] - batch) * shape[1] * (threads - 1) / threads if vectors % threads == 0 else 0.0


def choose_schedule(parameters, batch, threads, updates=False):
    """The schedule for a step: by rows while each thread has rows enough and the weights, which every thread then reads
    in full, stay in its cache's reach, and, where the step updates them, while fetching what others have just written
    costs less than the barriers between layers; else by layers."""
    if sum(p.data.nbytes for p in parameters) > _ROWS_BYTES or batch < 6 * threads:
        return "layers"
    if not updates:
        return "rows"
    shapes = [p.data.shape for p in parameters if p.data.ndim == 2]
    saved = sum(_saved_by_layers(shape, batch, threads) for shape in shapes) / _BANDWIDTH
    return "layers" if saved > _CLEARLY * 2 * len(shapes) * _BARRIER else "rows"
