import json

import pytest
import torch

from inverseflow.benchmarks import OpBenchmark, bench_op
from inverseflow.benchmarks.timing import time_in_turn
from inverseflow.cli.main import main


@pytest.fixture(scope="module")
def benchmark() -> OpBenchmark:
    return bench_op("smoke")


def test_every_method_solves_what_it_is_timed_on(benchmark):
    errors = {(row.case.name, row.method): row.error for row in benchmark.rows if row.method != "conv2d"}
    assert {method for _, method in errors} == {"blocked", "rows", "sweeps", "dense"}
    assert all(error < 1e-5 for error in errors.values())


def test_every_case_stands_beside_the_convolution(benchmark):
    for case in {row.case for row in benchmark.rows}:
        assert {"conv2d", "blocked"} <= {row.method for row in benchmark.rows if row.case == case}


def test_the_command_prints_ratios_and_writes_json(tmp_path, capsys):
    assert main(["bench", "op", "--budget", "smoke", "-o", str(tmp_path / "op.json")]) == 0
    assert "Geometric mean of blocked over conv2d" in capsys.readouterr().out
    written = json.loads((tmp_path / "op.json").read_text())
    assert written["machine"]["torch"] == torch.__version__
    assert written["rows"][0]["forward"]["median"] > 0


def test_functions_take_turns_after_a_warm_up():
    calls = []
    time_in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        rounds=3,
        at_least_ms=0.0,
        device=torch.device("cpu"),
    )
    assert "".join(calls) == "aabb" + "ab" * 3
