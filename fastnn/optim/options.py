"""Options of every optimizer."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypedDict

    from ..schedules import Schedule

    Rate = float | Schedule | Callable[[int], float]

    class Options(TypedDict, total=False):
        """What `**options` may be, for type checkers."""

        maximize: bool
        l1: float
        clip_value: float | None
        max_norm: float | None
        ema: float | None
        decoupled_weight_decay: bool
        skip_nonfinite: bool
