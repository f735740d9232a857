"""Options of every optimizer, and names that differ from those of the kernels."""

from . import checks

# What each group may have for itself: default and check.
OPTIONS = {
    "maximize": (False, checks.flag),
    "l1": (0.0, checks.setting),
    "clip_value": (None, checks.positive),
    "max_norm": (None, checks.positive),
    "ema": (None, checks.share),
}
PAIRS = {"beta1": ("betas", 0), "beta2": ("betas", 1)}  # of a setting of the register: the pair that it is in, and its place there
SWITCHES = ("max_norm", "ema")  # of these, what decides on the arrays that there are: they stay on, or off
