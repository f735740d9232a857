"""The arithmetic of the comparison's tables, on samples whose answers are known, and what holds libraries to an ISA."""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest

import fastnn

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
    assert report.fastest_peer(e, ["jax"]) == ("torch", 9.0)
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


def results(**more):
    return {
        "date": "2000-01-01T00:00:00+00:00", "machine": {"CPU": "c", "CPUs usable": 2}, "versions": {"fastnn": "1"},
        "isa": {"name": "avx2", "best": "avx2"}, "held": {"fastnn": {"held": True, "how": "a"}, "torch": {"held": False, "how": "b"}},
        "threads": [1, 2], "rounds": 2, "labels": {"fastnn": "fastnn", "torch": "PyTorch"}, "notes": ["a note"],
        "works": [entry(fastnn={"1": [[1e-4], [1e-4]], "2": [[2e-4], [2e-4]]}, torch={"1": [[3e-4], [3e-4]]})],
        "watch": {"taken": 4, "again": 0, "kept": 0, "idle": 0.001},
    } | more  # fmt: skip


def test_markdown():
    lines = report.markdown(results()).splitlines()
    row = next(line for line in lines if line.startswith("| net"))
    assert row == "| net | 100 (100–100; 1) | 300 (300–300; 1) | 3.00 (torch) | 10000 | 10000 | 12500 |"
    assert "| net | 100 | 200 | 2.000 (2.000–2.000) | 2.000 (2) | – | slower than one |" in lines
    assert "- a note" in lines
    headings = [line for line in lines if line.startswith("### ")]
    assert headings[:2] == ["### Training step: c, avx2, 1 or 2 threads", "### Threads: c, avx2, 1 or 2 threads"]
    assert "- PyTorch: b" in lines  # nothing was to be held
    assert report.where(results(threads=[1])) == "c, avx2, 1 thread"


def test_markdown_of_a_lower_isa_counts_only_what_was_held_to_it():
    lower = {"name": "avx2", "best": "avx512"}
    lines = report.markdown(results(isa=lower)).splitlines()
    header, row = (next(line for line in lines if line.startswith(start)) for start in ("| work", "| net"))
    assert "| PyTorch (not held to avx2) | fastest peer held to avx2 ÷ fastnn |" in header
    assert row == "| net | 100 (100–100; 1) | 300 (300–300; 1) | – | 10000 | 10000 | 12500 |"
    assert "- PyTorch: not held to avx2, and no rival in the tables: b" in lines and "- fastnn: held to avx2: a" in lines
    held = {"fastnn": {"held": True, "how": "a"}, "torch": {"held": True, "how": "b"}}
    lines = report.markdown(results(isa=lower, held=held)).splitlines()
    assert any("| PyTorch | fastest peer ÷ fastnn |" in line for line in lines)
    assert any(line.startswith("| net") and "3.00 (torch)" in line for line in lines)


@pytest.fixture
def bench(monkeypatch):
    """bench(name): a module of the bench, from the sources."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    return lambda name: importlib.import_module(f"bench.{name}")


def test_isa_to_hold_to(bench, monkeypatch):
    compare, isas = bench("compare"), fastnn.available_isas()
    monkeypatch.delenv("FASTNN_ISA", raising=False)
    options = compare.parse([])
    assert options.isa == options.best_isa == isas[-1]
    assert compare.holding("fastnn", options) == compare.holding("machine", options) == isas[-1]
    assert compare.holding("torch", options) is None  # as it comes
    monkeypatch.setenv("FASTNN_ISA", "generic")
    assert compare.parse([]).isa == "generic" and compare.parse(["--isa", isas[-1]]).isa == isas[-1]
    for name in bench("peers").NAMES if len(isas) > 1 else ():
        assert compare.holding(name, compare.parse([])) == "generic"


def test_isa_that_the_cpu_lacks(bench, capsys):
    with pytest.raises(SystemExit):
        bench("compare").parse(["--isa", "avx1024"])
    assert "argument --isa: invalid choice: 'avx1024'" in capsys.readouterr().err


def test_environments(bench):
    peers = bench("peers")
    for name in peers.NAMES:
        peer = peers.load(name)
        plain = peer.environment(1)
        assert plain["OMP_NUM_THREADS"] == "1" and not {"FASTNN_ISA", *peers.load("torch").SWITCHES["avx2"]} & set(plain)
        for isa in peers.ISAS:
            assert set(plain) <= set(peer.environment(1, isa))
    assert peers.load("fastnn_call").environment(2, "avx2")["FASTNN_ISA"] == "avx2"
    assert peers.load("jax").environment(1, "avx2")["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=false --xla_cpu_max_isa=AVX2"
    assert "XLA_FLAGS" not in peers.load("jax").environment(2)
    assert peers.load("torch_compile").environment(2, "avx2")["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert peers.load("sklearn").environment(2, "avx2")["OPENBLAS_CORETYPE"] == "Haswell"


@pytest.mark.parametrize(
    "words, isa",
    [("Intel AVX-512 with Intel DL Boost", "avx512"), ("AVX512", "avx512"), ("Intel AVX2", "avx2"), ("Intel SSE4.1", "generic"),
     ("DEFAULT", "generic"), ("INVALID_VEC_ISA", "generic"), ("unknown", None)],
)  # fmt: skip
def test_level(bench, words, isa):
    assert bench("peers").level(words) == isa


def test_within(bench):
    within = bench("peers").within
    assert within("generic", "avx2") and within("avx2", "avx2") and not within("avx512", "avx2")
    assert not within(None, "avx512") and not within("avx2", "neon")


@pytest.mark.parametrize(
    "processors, cnr, isa",
    [("Intel(R) Advanced Vector Extensions 512 (Intel(R) AVX-512) enabled processors", "OFF", "avx512"),
     ("Intel(R) Advanced Vector Extensions 2 (Intel(R) AVX2) enabled processors", "OFF", "avx2"),
     ("Intel(R) Architecture processors", "OFF", "avx2"), ("Intel(R) Architecture processors", "COMPATIBLE", "generic")],
)  # fmt: skip
def test_mkl_level(bench, processors, cnr, isa):
    text = f"MKL_VERBOSE oneMKL 2024.0 Product build 20240605 for Intel(R) 64 architecture {processors}, Lnx 2.45GHz lp64\n"
    mkl_level = bench("peers.torch").mkl_level
    assert mkl_level(f"{text}MKL_VERBOSE SGEMM(N,N) 16.01ms CNR:{cnr} Dyn:1\n")[0] == isa
    assert mkl_level("")[0] is None


@pytest.mark.parametrize(
    "core, features, generic, avx2",
    [("Haswell", ["X86_V3"], False, True), ("SkylakeX", ["X86_V3"], False, False), ("Haswell", ["X86_V3", "X86_V4"], False, False),
     ("Haswell", ["AVX512_SKX"], False, False), ("Nehalem", [], True, True), ("of a new kind", [], False, False)],
)  # fmt: skip
def test_numpy_and_openblas(bench, monkeypatch, core, features, generic, avx2):
    peer = bench("peers.numpy")
    pools = [{"user_api": "blas", "architecture": core}, {"user_api": "openmp"}]
    monkeypatch.setitem(sys.modules, "threadpoolctl", types.SimpleNamespace(threadpool_info=lambda: pools))
    monkeypatch.setattr(peer, "_dispatched", lambda: features)
    assert (peer.held("generic")[0], peer.held("avx2")[0]) == (generic, avx2)
    wide = [f for f in features if f != "X86_V3"]
    assert peer.environment(1, "avx2").get("NPY_DISABLE_CPU_FEATURES", "").split() == wide
    pools.clear()
    assert not peer.held("avx2")[0]


def test_options_go_into_the_report_as_they_are(capsys, bench):
    compare = bench("compare")
    options = compare.parse(["--only", "784-100", "--only", "20-64", "--quick"])
    assert json.loads(json.dumps(vars(options)))["only"] == ["784-100", "20-64"]
    for wrong in (["--only", "784-100", "--only", "no such work"], ["--quick", "--only", "4096"]):
        with pytest.raises(SystemExit):
            compare.parse(wrong)
        assert "argument --only: expected a part of a work's name, got" in capsys.readouterr().err
