import json

import pytest
import torch

from benchmarks import OP_BUDGETS, OpBenchmark
from benchmarks.__main__ import main
from benchmarks.cases import GRID, SWEEPS, Case
from benchmarks.contenders import contenders, convolution, problem, residual, training_step, unitriangular
from inverseflow.ops import backend, causal_conv2d, explain


def every_row(benchmark):
    return benchmark.one_pixel + benchmark.rows + [row for sweep in benchmark.sweeps for row in sweep.rows]


def test_every_method_solves_what_it_is_timed_on(op_benchmark):
    errors = {row.method: row.error for row in every_row(op_benchmark) if row.method != "conv2d"}
    assert {"blocked", "dense", "jacobi"} <= set(errors)
    assert all(error < 1e-5 for error in errors.values())


def test_every_method_that_trains_has_the_gradient_of_the_dense_oracle():
    case = Case(3, 2, 6, 3)
    y, weight = problem(case, torch.device("cpu"))
    methods = contenders(case, y, weight)
    expected = training_step(methods["dense"], weight)()
    for name, method in methods.items():
        if method.trains and name != "conv2d":
            for gradient, oracle in zip(training_step(method, weight)(), expected, strict=True):
                torch.testing.assert_close(gradient, oracle, rtol=1e-4, atol=1e-4)


def test_every_case_stands_beside_the_convolution_and_has_one_default(op_benchmark):
    rows = every_row(op_benchmark)
    for case in {row.case for row in rows}:
        assert {"conv2d", "blocked"} <= {row.method for row in rows if row.case == case}
    for row in op_benchmark.rows:
        y, weight = problem(row.case, torch.device("cpu"))
        assert row.default == (explain(y, weight).partition(":")[0] == row.method)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_the_convolution_keeps_the_size_of_the_image(kernel):
    case = Case(2, 3, 6, kernel)
    y, weight = problem(case, torch.device("cpu"))
    method = contenders(case, y, weight)["conv2d"]
    assert method.function(method.image, weight).shape == y.shape


def test_the_residual_of_another_image_is_not_small():
    y, weight = problem(Case(1, 2, 6, 3), torch.device("cpu"))
    assert residual(y, y, weight) > 1e-2
    assert torch.equal(unitriangular(weight)[:, :, -1, -1].diagonal(), torch.ones(2))


def test_the_grid_covers_its_ranges():
    assert len(GRID) >= 20 and len(set(GRID)) == len(GRID)
    ranges = {"batch": (1, 256), "channels": (1, 96), "side": (7, 256), "kernel": (2, 7)}
    for axis, ends in ranges.items():
        values = [getattr(case, axis) for case in GRID]
        assert (min(values), max(values)) == ends


def test_the_sweeps_cover_their_ranges():
    ranges = {"batch": (1, 256), "channels": (1, 512), "side": (8, 512), "kernel": (2, 11)}
    assert {sweep.axis for sweep in SWEEPS} == set(ranges)
    assert all((min(sweep.values), max(sweep.values)) == ranges[sweep.axis] for sweep in SWEEPS)


def test_measurements_survive_json(op_benchmark):
    assert OpBenchmark.from_json(json.loads(json.dumps(op_benchmark.to_json()))) == op_benchmark


def test_the_command_prints_ratios_and_writes_json(tmp_path, capsys, monkeypatch, op_benchmark):
    monkeypatch.setattr("benchmarks.bench_op", lambda budget, device, on_case: op_benchmark)
    assert main(["op", "--budget", "smoke", "-o", str(tmp_path / "op.json")]) == 0
    printed = capsys.readouterr().out
    assert "geometric mean" in printed and "exponent" in printed
    written = json.loads((tmp_path / "op.json").read_text())
    assert written["machine"]["torch"] == torch.__version__
    assert written["rows"][0]["forward"]["median"] > 0


def test_a_budget_counts_its_cases(op_benchmark):
    rows = [op_benchmark.rows, *(sweep.rows for sweep in op_benchmark.sweeps)]
    assert sum(len({row.case for row in some}) for some in rows) == OP_BUDGETS["smoke"].cases


@pytest.mark.parametrize("case", [Case(1, 2, 5, 3), Case(2, 3, 2, 5), Case(1, 2, 4, 2), Case(1, 3, 1, 1)], ids=str)
def test_operations_are_those_of_the_products_inside_the_image(case):
    y, weight = torch.ones(case.batch, case.channels, case.side, case.side), torch.ones(case.channels, case.channels)
    kernel = weight[:, :, None, None].expand(-1, -1, case.kernel, case.kernel)
    contender = convolution(y, kernel)
    padded = contender.image if case.kernel % 2 else torch.ones_like(contender.image)
    assert case.flops == 2 * contender.function(padded, kernel).sum()
    with backend("dense"):
        products = causal_conv2d(y, kernel, unitriangular=True).sum() - y.sum()  # the diagonal takes none
    assert case.solve_flops == 2 * products
