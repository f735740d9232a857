"""fastnn.checks: what counts as a number, a number in a range, a truth value; and what is said of the rest."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from fastnn import checks
from fastnn.optim import checks as settings

NUMBERS = [0, 1, 0.5, -2.0, np.float32(0.25), np.float64(3), np.int8(3), Fraction(1, 4), 1e-320]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_number_becomes_a_float(value):
    found = checks.number(value, "x")
    assert type(found) is float and found == value
    assert checks.real(value, "x") is value


@pytest.mark.parametrize("check", [checks.real, checks.number, settings.number, settings.any_number])
@pytest.mark.parametrize("value", [True, np.bool_(True), None, "1", 1j, [1], np.array(1.0)], ids=repr)
def test_what_is_no_number(check, value):
    with pytest.raises(TypeError) as error:
        check(value, "x")
    assert str(error.value) == f"x: expected a number, got {value!r}"


@pytest.mark.parametrize(("limits", "fine", "bad", "words"), [
    ({}, [-1e308, 0, 1e308], [math.inf, -math.inf, 10**400], ""),
    ({"least": 0.0}, [0.0, -0.0, 1e308], [-1e-320, math.inf], " >= 0"),
    ({"least": -1}, [-1], [-2], " >= -1"),
    ({"least": 0.0, "most": 0.5}, [0, 0.5], [-0.1, 0.6, math.inf], " in [0, 0.5]"),
    ({"least": 0.0, "below": 0.5}, [0, 0.4], [-0.1, 0.5, -math.inf], " in [0, 0.5)"),
])  # fmt: skip
def test_ranges(limits, fine, bad, words):
    kinds = [checks.number] + ([settings.number] if "least" in limits and "most" not in limits else [])
    for check in kinds:
        for value in fine:
            assert check(value, "x", **limits) == value
        for value in [*bad, math.nan]:
            with pytest.raises(ValueError) as error:
                check(value, "x", **limits)
            assert str(error.value) == f"x: expected a finite number{words}, got {math.inf if value == 10**400 else float(value)}"


@pytest.mark.parametrize("check", [settings.any_number, lambda v, name: settings.number(v, name, -math.inf)])
def test_any_number_of_an_optimizer_is_finite(check):
    assert check(-2, "x") == -2.0
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^x: expected a finite number, got {value}$"):
            check(value, "x")


def test_flags():
    for value in (True, False, np.True_, np.False_):
        assert checks.flag(value, "x") is bool(value)
    for value in (0, 1, None, "True", np.array(True)):
        with pytest.raises(TypeError, match="^x: expected True or False, got "):
            checks.flag(value, "x")


def test_checks_of_an_optimizer_can_be_pickled():
    for check in (settings.number, settings.any_number, settings.beta, settings.rate, settings.flag):
        assert pickle.loads(pickle.dumps(check)) is check
    assert pickle.loads(pickle.dumps(settings.choice("a", "b")))("b", "x") == "b"
