"""What `dir` shows of models, optimizers and trainers."""

import inspect

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim


def things():
    model = nn.Sequential(nn.Dense(3, 2), nn.Dropout(0.5))
    opt = optim.Adam(model.parameters())
    yield from (model, model[0], opt, fastnn.Trainer(model, losses.MeanSquaredError(), opt))
    yield from (getattr(optim, name)([np.ones(2)]) for name in ("SGD", "ScheduleFreeAdamW", "LBFGS"))


@pytest.mark.parametrize("thing", list(things()), ids=lambda t: type(t).__name__)
def test_no_internals(thing):
    shown = [name for name in dir(thing) if not name.startswith("__")]
    assert not [name for name in shown if name.startswith("_")]
    assert all(hasattr(thing, name) for name in shown) and vars(thing)
    for name in shown:
        attribute = inspect.getattr_static(type(thing), name, None)
        if inspect.isfunction(attribute) or isinstance(attribute, property):
            documented = any(inspect.getdoc(vars(kind).get(name)) for kind in type(thing).__mro__ if name in vars(kind))
            described = any(name in (kind.__doc__ or "") for kind in type(thing).__mro__)
            assert documented or described, name


def test_what_users_call_is_there():
    model, _, adam, trainer, _, free, _ = things()
    assert {"predict", "summary", "save", "parameters", "freeze", "layers", "emit", "config", "plan"} <= set(dir(model))
    assert {"step", "state_dict", "load_state_dict", "param_groups", "add_param_group", "averaged", "rates", "skipped"} <= set(dir(adam))
    assert {"fit", "evaluate", "step", "history", "save_checkpoint", "find_lr", "optimizer", "model", "plan"} <= set(dir(trainer))
    assert {"eval", "train", "train_mode"} <= set(dir(free))
    for name in ("kernel_state", "rules", "update_tensors"):
        assert name not in dir(adam) and hasattr(adam, name)
