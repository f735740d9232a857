"""Schedules from plain dicts."""

from typing import TYPE_CHECKING

from .base import Constant, Product
from .combined import PerEpoch, Sequence, WarmUp
from .cosine import CosLog, Cosine, CosineRestarts, OneCycle
from .decay import Exponential, InverseTime, Linear, MultiStep, Polynomial, Step
from .plateau import ReduceOnPlateau

if TYPE_CHECKING:
    from .base import Schedule

_KINDS = {
    kind.__name__: kind
    for kind in (
        Constant, Step, MultiStep, Exponential, InverseTime, Cosine, CosineRestarts, CosLog, Linear, Polynomial, OneCycle, WarmUp,
        Sequence, Product, PerEpoch, ReduceOnPlateau,
    )
}  # fmt: skip


def from_config(config) -> "Schedule":
    """The schedule that `Schedule.config` described.

    Parameters
    ----------
    config : dict

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError, ValueError
        If it is not a configuration, or a setting does not fit.

    Examples
    --------
    >>> schedules.from_config({"kind": "Constant", "lr": 0.1})
    Constant(lr=0.1)
    """
    if not isinstance(config, dict):
        raise TypeError(f"config: expected a dict, got {type(config).__name__}")
    kind = _KINDS.get(config["kind"]) if isinstance(config.get("kind"), str) else None
    if kind is None:
        raise ValueError(f"config['kind']: expected one of {sorted(_KINDS)}, got {config.get('kind')!r:.60}")
    settings = {}
    for name, value in config.items():
        if isinstance(value, dict) and name != "state":
            value = from_config(value)
        elif isinstance(value, (list, tuple)):
            value = [from_config(v) if isinstance(v, dict) else v for v in value]
        settings[name] = value
    del settings["kind"]
    state = settings.pop("state", None) if kind is ReduceOnPlateau else None
    try:
        if kind is Product:
            parts = settings.pop("schedules")
            if settings or not isinstance(parts, list):
                raise TypeError("expected a list 'schedules' alone")
            schedule = Product(*parts)
        else:
            schedule = kind(**settings)
    except KeyError:
        raise ValueError(f"config: expected an entry 'schedules' for {kind.__name__}, got {sorted(config)}") from None
    except TypeError as error:
        raise TypeError(f"config: expected the settings of {kind.__name__}; {error}") from None
    if state is not None:
        schedule.restore(state)
    return schedule
