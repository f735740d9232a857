"""What `Sequential.summary` shows: a table of a model's layers and what each costs."""

from ..plan import Builder

_SHOWN = ("activation", "name", "p", "std", "pieces", "scale", "offset", "kernel_size")  # settings that stand behind a layer's name


def _label(layer):
    config = layer.config()
    settings = [config[k] for k in _SHOWN if config.get(k) not in (None, "identity", 0.0) and not isinstance(config[k], list)]
    settings = [v["kind"] if isinstance(v, dict) else v for v in settings]  # of a schedule
    return " ".join([type(layer).__name__, *(f"{v:.4g}" if isinstance(v, float) else str(v) for v in settings)])


def _short(n, unit=""):
    """A count in three digits and a letter."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        value = n / 10**power
        if value >= 0.9995:
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}{unit}"
    return f"{n} {unit}".rstrip()


def _touched(ops, rows):
    """Bytes that operations read and write at least: each operand of each operation once, without padding."""
    total = 0
    for op in ops:
        for b in {id(b): b for b in [*op.reads(), *op.writes()]}.values():
            total += b.array.nbytes if b.array is not None else rows * b.columns * b.itemsize
    return total


def table(model, rows):
    """The lines of the summary. A chain's own row shows what it does beyond the layers in it, which follow indented."""
    builder = Builder(rows, dtype=model.dtype)
    model.emit_whole(builder)
    paths = {id(layer): path for path, layer in model.walk()}
    lines, seen, flops, moved = [], set(), 0, 0
    for i, (layer, first, end, y) in enumerate(builder.layers):
        inside = [(a, b) for inner, a, b, _ in builder.layers[i + 1 :] if any(inner is child for _, child in layer.children())]
        ops = [op for n, op in enumerate(builder.ops[first:end], first) if not any(a <= n < b for a, b in inside)]
        costs = sum(op.flops(rows) for op in ops), _touched(ops, rows)
        flops, moved = flops + costs[0], moved + costs[1]
        within = {id(p) for _, child in layer.children() for p in child.parameters()} if inside else set()
        new = [p for p in layer.parameters() if id(p) not in seen | within]
        seen.update(id(p) for p in new)
        path = paths[id(layer)]
        count = sum(p.size for p in new)
        label = "  " * path.count(".") + _label(layer)
        lines.append((path, label, f"(None, {', '.join(map(str, y.shape))})", f"{count:,}", _short(costs[0]), _short(costs[1], "B")))
    count = model.num_parameters()
    total = ("", "total", "", f"{count:,}", _short(flops), _short(moved, "B"))
    header = ("", "layer", "output shape", "parameters", "flops", "bytes")
    widths = [max(len(line[c]) for line in (header, *lines, total)) for c in range(len(header))]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)

    def joined(line):
        return "  ".join(v.rjust(w) if c > 2 else v.ljust(w) for c, (v, w) in enumerate(zip(line, widths))).rstrip()

    beside = sum(p.size for _, p in model.named_buffers())
    kept = f"parameters: {count:,}" + (f" trained and {beside:,} beside them (running statistics)" if beside else "")
    what = "flops, bytes: of an inference of " + ("1 row" if rows == 1 else f"{rows:,} rows")
    kept += f", {_short(model.dtype.itemsize * (count + beside), 'B')} in {model.dtype}"
    return [joined(header), rule, *map(joined, lines), rule, joined(total), kept, what]
