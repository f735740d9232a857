"""The arithmetic of the comparison's tables, on samples whose answers are known."""

import importlib
import importlib.util
import json
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("bench_report", Path(__file__).parents[1] / "bench" / "report.py")
report = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(report)


def entry(**samples):
    """An entry of two rounds or more: fastnn={"1": [[seconds ...] ...]}; nothing disturbed, the peak 100 GFLOP/s."""
    rounds = max(len(r) for by_threads in samples.values() for r in by_threads.values())
    return {
        "name": "net",
        "kind": "train",
        "flops": 1e9,
        "samples": samples,
        "disturbed": {p: {t: [False] * len(r) for t, r in by.items()} for p, by in samples.items()},
        "peaks": {
            t: [{"gflops": 100.0, "sustained": 80.0, "copy": 1.0, "add": 1.0, "disturbed": False}] * rounds for t in ("1", "2")
        },
        "check": {p: {"difference": 1e-7, "agrees": True} for p in samples},
    }


def test_quartiles():
    assert report.quartiles([4, 1, 3, 2, 5]) == (2, 3, 4)
    assert report.quartiles([7]) == (7, 7, 7)


def test_best_takes_the_number_of_threads_with_the_lower_median():
    e = entry(fastnn={"1": [[3, 3], [3, 3]], "2": [[2, 2], [2, 90]]})
    assert report.best(e, "fastnn") == (2, (2, 2, 24.0))


def test_fastest_peer_is_no_form_of_fastnn():
    e = entry(fastnn={"1": [[1.0]]}, fastnn_call={"1": [[0.5]]}, torch={"1": [[9.0]]}, jax={"1": [[8.0]], "2": [[7.0]]})
    assert report.fastest_peer(e) == ("jax", 7.0)
    assert report.fastest_peer(entry(fastnn={"1": [[1.0]]})) is None


def test_share_of_peak_compares_within_a_round():
    e = entry(fastnn={"1": [[0.02], [0.04], [0.02]]})  # 50, 25, 50 GFLOP/s
    e["peaks"]["1"] = [{"gflops": g, "sustained": g / 2, "disturbed": False} for g in (100, 50, 200)]
    gflops, share = report.share_of_peak(e)
    assert gflops == pytest.approx(50) and share == pytest.approx(0.5)
    assert report.share_of_peak(e, peak="sustained")[1] == pytest.approx(1.0)


def test_paired_ratio_is_of_rounds_not_of_medians():
    median, low, high = report.paired([[2], [20], [8]], [[1], [10], [2]])
    assert (median, low, high) == (2, 2, 4)


def test_disturbed_rounds_are_left_out_while_three_remain():
    assert report.chosen([False, True, False, False]) == [0, 2, 3]
    assert report.chosen([False, True, True, False]) == [0, 1, 2, 3]
    assert report.chosen([True]) == [0]
    e = entry(fastnn={"1": [[1], [50], [1], [1]]})
    e["disturbed"]["fastnn"]["1"][1] = True
    assert report.best(e, "fastnn") == (1, (1, 1, 1)) and not report.doubtful(e, "fastnn", 1)
    e["disturbed"]["fastnn"]["1"] = [True, True, False, False]
    assert report.doubtful(e, "fastnn", 1) and report.cell(e, "fastnn").startswith("~")


def test_apart_is_where_more_threads_copy_faster():
    e = entry(fastnn={"1": [[1], [1]]})
    e["peaks"] = {"1": [{"copy": 40}, {"copy": 40}], "2": [{"copy": 45}, {"copy": 75}]}
    assert report.apart(e, 2) == [False, True]


@pytest.mark.parametrize("us, text", [(12.34, "12.3"), (99.94, "99.9"), (99.96, "100"), (1234.5, "1234")])
def test_micro(us, text):
    assert report.micro(us * 1e-6) == text


def test_markdown():
    results = {
        "date": "2000-01-01T00:00:00+00:00", "machine": {"CPU": "c", "CPUs usable": 2}, "versions": {"fastnn": "1"},
        "threads": [1, 2], "rounds": 2, "labels": {"fastnn": "fastnn", "torch": "PyTorch"}, "notes": ["a note"],
        "works": [entry(fastnn={"1": [[1e-4], [1e-4]], "2": [[2e-4], [2e-4]]}, torch={"1": [[3e-4], [3e-4]]})],
        "watch": {"taken": 4, "again": 0, "kept": 0, "idle": 0.001},
    }  # fmt: skip
    lines = report.markdown(results).splitlines()
    row = next(line for line in lines if line.startswith("| net"))
    assert row == "| net | 100 (100–100; 1) | 300 (300–300; 1) | 3.00 (torch) | 10000 | 10000 | 12500 |"
    assert "| net | 100 | 200 | 2.000 (2.000–2.000) | 2.000 (2) | – | slower than one |" in lines
    assert "- a note" in lines


def test_options_go_into_the_report_as_they_are(capsys, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    compare = importlib.import_module("bench.compare")
    options = compare.parse(["--only", "784-100", "--only", "20-64", "--quick"])
    assert json.loads(json.dumps(vars(options)))["only"] == ["784-100", "20-64"]
    for wrong in (["--only", "784-100", "--only", "no such work"], ["--quick", "--only", "4096"]):
        with pytest.raises(SystemExit):
            compare.parse(wrong)
        assert "argument --only: expected a part of a work's name, got" in capsys.readouterr().err
