"""Options of every optimizer."""

from . import checks

# What each group may have for itself: default and check.
OPTIONS = {
    "maximize": (False, checks.flag),
    "l1": (0.0, checks.setting),
    "clip_value": (None, checks.positive),
    "max_norm": (None, checks.positive),
    "ema": (None, checks.share),
}
SWITCHES = ("max_norm", "ema")  # of these, what decides on the arrays that there are: they stay on, or off
