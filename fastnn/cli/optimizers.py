"""The optimizer and the schedule that options say."""

OPTIMIZERS = {  # name: class, learning rate for small networks, momentum (None: it has no such argument)
    "adadelta": ("Adadelta", 1.0, None),
    "adafactor": ("Adafactor", 0.02, None),
    "adagrad": ("Adagrad", 0.02, None),
    "adam": ("Adam", 0.001, None),
    "adamax": ("Adamax", 0.005, None),
    "adamw": ("AdamW", 0.001, None),
    "lamb": ("LAMB", 0.002, None),
    "lion": ("Lion", 0.0003, None),
    "muon": ("Muon", 0.003, 0.95),
    "nadam": ("NAdam", 0.002, None),
    "radam": ("RAdam", 0.002, None),
    "rmsprop": ("RMSprop", 0.001, 0.0),
    "schedulefreeadamw": ("ScheduleFreeAdamW", 0.0025, None),
    "sgd": ("SGD", 0.05, 0.9),
}
SCHEDULES = ("constant", "cosine", "linear", "step", "onecycle")


def make_optimizer(args, model, steps):
    """The optimizer for epochs of so many steps, and what it is in words."""
    from .. import optim, schedules

    kind, lr, momentum = OPTIMIZERS[args.optimizer]
    lr = lr if args.lr is None else args.lr
    rule = f"{args.optimizer}, learning rate {lr:g}"
    warmup = round(args.warmup * steps)
    total = max(args.epochs * steps - warmup, 1)
    if args.schedule != "constant":
        rule += f" {args.schedule}"
        lr = {
            "cosine": lambda: schedules.Cosine(lr, T_max=total),
            "linear": lambda: schedules.Linear(lr, 1.0, 0.0, total),
            "step": lambda: schedules.Step(lr, -(-total // 3)),
            "onecycle": lambda: schedules.OneCycle(lr, total),
        }[args.schedule]()
    if warmup:
        rule += f" after a warm-up of {args.warmup:g} epoch{'s' if args.warmup != 1 else ''}"
        lr = schedules.WarmUp(lr, warmup, 1 / warmup)
    settings = {"lr": lr}
    if momentum is not None:
        settings["momentum"] = momentum if args.momentum is None else args.momentum
        rule += f", momentum {settings['momentum']:g}"
    if args.weight_decay is not None:
        settings["weight_decay"] = args.weight_decay
        rule += f", weight decay {args.weight_decay:g}"
    if args.clip_norm is not None:
        rule += f", gradients clipped to {args.clip_norm:g}"
    return getattr(optim, kind)(model.parameters(), **settings), rule
