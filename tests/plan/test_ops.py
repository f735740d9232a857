"""The register of operations (csrc/defs/ops.def) and what Python adds to it."""

from pathlib import Path

import numpy as np
import pytest

from fastnn import _native
from fastnn.core.activations import ACTIVATIONS
from fastnn.ops import op as ops

TRAITS = {
    "by_rows", "is_product", "is_activation", "fuses_activation", "fuses_derivative", "fuses_update", "updates", "accumulates", "by_one",
    "in_python", "windows",
}
REGISTER = Path(__file__).parents[2] / "csrc/defs/ops.def"


def test_every_kind_is_whole():
    kinds = _native.op_kinds()
    assert len({name for name, *_ in kinds}) == len(kinds) == len(ops.KINDS) > 40
    for name, parameters, roles, writes, phase, traits in kinds:
        assert 0 < len(set(parameters)) == len(parameters), name
        assert not set(parameters) & set(dir(ops.Op)), name  # they are attributes of an Op
        assert ("windows" in traits) == (set(ops.Window._fields) <= set(parameters)), name
        assert len(set(roles)) == len(roles) <= 8, name
        assert set(writes) <= set(roles), name
        assert phase in ("chain", "weights", "last"), name
        assert traits <= TRAITS, name
        assert all(set(ops.UNFUSED[trait]) <= set(parameters) for trait in traits & set(ops.UNFUSED)), name


def test_parameters_are_all_there_and_known():
    fields = {"columns": 3, "activation": "relu", "alpha": 0.0}
    assert ops.Op("activation_forward", {}, **fields).native() == (ops.KINDS["activation_forward"].code, [-1, -1], [3, 3, 0.0])
    with pytest.raises(TypeError, match="activation_forward: expected the parameters .*alpha.*got .*columns"):
        ops.Op("activation_forward", {}, **{k: fields[k] for k in ("columns", "activation")})
    with pytest.raises(TypeError, match="expected the parameters .*, got .*n_in"):
        ops.Op("activation_forward", {}, **fields, n_in=3)
    with pytest.raises(TypeError, match="buffers of the roles .*x.*y.*got .*dy"):
        ops.Op("activation_forward", {"dy": ops.Buffer("dy", 3)}, **fields)
    with pytest.raises(KeyError):
        ops.Op("activation_forward", {}, **{**fields, "activation": "relus"}).native()


def test_parameters_get_to_their_places():
    """Of both kinds, with values that the other kind would make another number of."""
    x = np.float32([[-1, 2, -3, 4]])
    forward = _native.Operation("activation_forward", "y x", "alpha activation columns")
    y = np.empty_like(x)
    forward.run(1, (y, x), (0.5, ACTIVATIONS["leaky_relu"].code, 4))
    assert y.tolist() == [[-0.5, 2, -1.5, 4]]
    for roles, parameters in (("x y", "columns activation"), ("x y", "columns activation alpha eps"), ("x z", "columns activation alpha")):
        with pytest.raises(TypeError, match="activation_forward: expected roles"):
            _native.Operation("activation_forward", roles, parameters)
    with pytest.raises(ValueError, match="'activation'"):
        _native.Operation("activation", "", "")
    for arrays, values in (((x,), (1.0, 0, 4)), ((y, x), (1.0, 0))):
        with pytest.raises(TypeError, match="^expected [23] (arrays|parameters), got"):
            forward.run(1, arrays, values)


def test_costs_are_of_the_register():
    """The same numbers choose between one thread and a team for a plan and for an eager call."""
    op = ops.Op("dense_backward_weights", {"dw": ops.Buffer("dw", 5, index=2)}, n_in=4, n_out=5, accumulate=False)
    assert op.flops(7) == 2 * 7 * 4 * 5 + 7 * 5
    assert ops.Op("dense_backward_weights", {}, n_in=4, n_out=5, accumulate=False).flops(7) == 7 * 5
    assert ops.Op("maxout_forward", {}, columns=3, pieces=2).flops(7) == 5 * 7 * 3 * 2


@pytest.mark.skipif(not REGISTER.exists(), reason="the tests run without the sources")
def test_each_kind_has_one_line():
    text = REGISTER.read_text()
    for name in ops.KINDS:
        assert text.count(f"FNN_OP({name},") == 1


def test_update_stands_behind_what_it_waits_for():
    """The last operations run in the order of the register."""
    last = [name for name, kind in ops.KINDS.items() if kind.when == "last"]
    for first, then in (
        ("penalty_backward", "gradient_norm"),
        ("reduce_loss", "reduce_penalty"),
        ("gradient_norm", "begin_update"),
        ("begin_update", "batchnorm_running"),
        ("begin_update", "update"),
        ("update", "trust_update"),
        ("trust_update", "max_norm"),
    ):
        assert last.index(first) < last.index(then)
