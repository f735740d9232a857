"""The shared argument checks: what they return, what they refuse, and that the message names all three parts."""

import numpy as np
import pytest

from fastnn.reference._check import check_array, check_integers, check_out


def test_what_fits_is_returned_as_it_is():
    array = np.ones((2, 3), np.float32)
    assert check_array(array, "a") is array
    assert check_array(array, "a", np.float32, (2, None), writable=True) is array
    assert check_out(array, "a", (2, 3), np.float32) is array
    labels = np.ones(3, np.uint16)
    assert check_integers(labels, "labels", (3,)) is labels


def test_a_missing_out_is_made():
    made = check_out(None, "a", (2, 3), np.int32)
    assert made.shape == (2, 3) and made.dtype == np.int32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_array(1.0, "a"), TypeError, "a must be a NumPy array, got float"),
        (lambda: check_array(np.ones(2, "f2"), "a"), TypeError, "a must be float32 or float64, got float16"),
        (lambda: check_array(np.ones(2), "a", np.int32), TypeError, "a must be int32, got float64"),
        (lambda: check_array(np.ones(2), "a", shape=(None, 3)), ValueError, "a must have shape [any, 3], got [2]"),
        (lambda: check_array(np.ones((2, 4)), "a", shape=(None, 3)), ValueError, "a must have shape [any, 3], got [2, 4]"),
        (lambda: check_out(np.broadcast_to(1.0, 2), "a", (2,), "f8"), ValueError, "a must be writable, got a read-only array"),
        (lambda: check_integers(np.ones(2, ">i4"), "a", (2,)), TypeError, "a must be of an integer dtype, got >i4"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
