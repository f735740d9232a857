"""Sequential.summary and num_parameters."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastnn import nn
from fastnn.nn.summary import _short

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def lines_of(model, *arguments):
    lines = []
    assert model.summary(*arguments, print_fn=lines.append) is None
    return lines


def rows_of(lines):
    """The table's cells, by layer."""
    rules = [i for i, line in enumerate(lines) if set(line) == {"-"}]
    assert len(rules) == 2 and rules[0] == 1
    return [re.split(r"\s{2,}", line.strip()) for line in lines[2 : rules[1]]]


def test_the_columns_add_up():
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 255), nn.Dense(784, 100), nn.Activation("tanh"), nn.Dense(100, 10, bias=False))
    lines = lines_of(model)
    assert rows_of(lines) == [
        ["0", "Flatten", "(None, 784)", "0", "0", "0 B"],
        ["1", "Rescaling 0.003922", "(None, 784)", "0", "0", "0 B"],
        ["2", "Dense", "(None, 100)", "78,500", "157 k", "318 kB"],  # 2 · 784 · 100; 4 · (784 · 101 + 100 + 100)
        ["3", "Activation tanh", "(None, 100)", "0", "0", "0 B"],
        ["4", "Dense", "(None, 10)", "1,000", "2.00 k", "4.44 kB"],
    ]
    assert lines[-3].split() == ["total", "79,500", "159", "k", "322", "kB"]
    assert lines[-2] == "parameters: 79,500, 318 kB in float32" and lines[-1] == "flops, bytes: of an inference of 1 row"
    assert model.num_parameters() == 79500 == sum(p.size for p in model.parameters())


def test_blocks_shared_weights_and_statistics():
    encoder = nn.Dense(8, 8, activation="relu")
    model = nn.Sequential(
        encoder, nn.BatchNorm(8), nn.Residual(nn.LayerNorm(8), nn.Residual(nn.Dense(8, 8))), nn.Dropout(0.25), nn.Tied(encoder),
        nn.DropConnect(nn.Dense(8, 6), 0.5), nn.Sequential(nn.Maxout(6, 4, pieces=3)),
    )  # fmt: skip
    lines = lines_of(model)
    found = [row[:4] for row in rows_of(lines)]
    assert found == [
        ["0", "Dense relu", "(None, 8)", "72"],
        ["1", "BatchNorm", "(None, 8)", "16"],
        ["2", "Residual", "(None, 8)", "0"],
        ["2.0", "LayerNorm", "(None, 8)", "16"],
        ["2.1", "Residual", "(None, 8)", "0"],
        ["2.1.0", "Dense", "(None, 8)", "72"],
        ["3", "Dropout 0.25", "(None, 8)", "0"],
        ["4", "Tied", "(None, 8)", "8"],  # its bias: the weights are the encoder's
        ["5", "DropConnect 0.5", "(None, 6)", "54"],
        ["6", "Sequential", "(None, 4)", "0"],
        ["6.0", "Maxout 3", "(None, 4)", "84"],
    ]
    assert model.num_parameters() == 322 == sum(int(row[3]) for row in found)
    assert lines[-2] == "parameters: 322 trained and 16 beside them (running statistics), 1.35 kB in float32"
    assert [lines[i].index(name) - lines[2].index("Dense") for i, name in ((4, "Residual"), (6, "Residual"), (7, "Dense"))] == [0, 2, 4]


def test_batches():
    model = nn.Sequential(nn.Dense(16, 16, bias=False))
    assert rows_of(lines_of(model, 100))[0][4:] == ["51.2 k", "13.8 kB"]
    assert lines_of(model, np.int64(2000))[-1] == "flops, bytes: of an inference of 2,000 rows"


def test_it_prints_lines_that_fit_a_terminal(capsys):
    model = nn.Sequential(nn.Dense(784, 1000, activation="leaky_relu"), *(nn.Dense(1000, 1000) for _ in range(9)), nn.Dense(1000, 10))
    assert model.summary() is None
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines == lines_of(model) and text.isascii()
    assert max(map(len, lines)) <= 80
    table = lines[:-2]
    assert len({len(line) for line in table}) == 1  # the last column is aligned to the right


def test_it_changes_nothing():
    model = nn.Sequential(nn.Dense(5, 4, activation="relu"), nn.Dense(4, 3))
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    lines_of(model, 7)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before and not model._idle


@pytest.mark.skipif(not PAGE.exists(), reason="needs the sources")
def test_the_one_in_the_docs():
    block = re.search(r"^```text\n(   layer .*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S).group(1)
    model = nn.mlp([784, 100, 50, 10], activation="gelu", batchnorm="before", dropout=0.2)
    assert lines_of(model) == block.splitlines()


@pytest.mark.parametrize("value, error", [(0, ValueError), (1.5, TypeError), ("x", TypeError)])
def test_refusals(value, error):
    with pytest.raises(error, match="batch_size: expected an integer"):
        nn.Sequential(nn.Dense(2, 2)).summary(value)


def test_short_numbers():
    found = [_short(n, "B") for n in (0, 999, 1000, 9994, 9996, 99949, 99951, 999499, 999500, 10**9, 123456789012, 10**13)]
    assert found == ["0 B", "999 B", "1.00 kB", "9.99 kB", "10.0 kB", "99.9 kB", "100 kB", "999 kB", "1.00 MB", "1.00 GB", "123 GB", "10.0 TB"]
    assert _short(5) == "5" and _short(5000) == "5.00 k"
