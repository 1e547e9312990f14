import json

import pytest

from experiments.__main__ import main
from experiments.result import Result, Row
from experiments.sbibm.experiment import EXPERIMENTS
from experiments.sbibm.published import TASKS, observations_and_references
from experiments.sbibm.report import draw, parts
from inverseflow.inference.problems import create, problem_names


def row(task, method, values, simulations=10_000, seed=0):
    settings = {"task": task, "method": method, "simulations": simulations, "seed": seed, "observations": len(values)}
    settings |= {"samples": 10_000}
    measured = {"c2st": values, "seconds": 60.0, "steps": 100, "parameters": 1000}
    return Row(f"{task}, {method}", f"{simulations} simulations, seed {seed}", settings, measured)


def test_the_report_averages_observations_and_seeds_and_judges_the_goals():
    rows = (
        row("two-moons", "nsf", [0.5, 0.6]),
        row("two-moons", "nsf", [0.5, 0.52], seed=1),
        row("slcp", "nsf", [0.8, 0.9]),
        row("slcp", "nsf", [0.9, 0.96], seed=1),
        row("sir", "nsf", [0.7], simulations=1000),
    )
    result = Result("sbibm", "quick", 2, {}, True, rows)
    printed = "\n".join(parts(result))
    assert "| Two moons | 10,000 | nsf | 0.530 ± 0.028 | 0.600 | 0.606 | 0.56 | 60 ± 0 | 100 | 1,000 |" in printed
    assert "| SIR | 1,000 | nsf | 0.700 | 0.700 | – | – |" in printed
    assert "Two moons: nsf reaches the goal of 0.56 with 0.530." in printed
    assert "SLCP: nsf does NOT reach the goal of 0.80 with 0.890." in printed
    assert len(draw(result).axes[0].lines) == 4  # observations of two tasks, means, published values


def test_every_published_task_is_a_problem_of_the_same_shapes(shared_data):
    folder = shared_data("sbibm")
    for name in TASKS:
        observations, references = observations_and_references(name, folder)
        problem = create(name)
        x, y = problem.simulate(20)
        assert name in problem_names()
        assert observations.shape == (10, *y.shape[1:])
        assert references.shape == (10, 10_000, x.shape[1])
        assert problem.support.contains(references[0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "moons"], "there is no task 'moons'; there are gaussian-linear, "),
        (["--methods", "npe"], "unknown method 'npe': choose one of "),
        (["--simulations", "many"], "--simulations takes whole numbers of at least 100, got 'many'"),
        (["--simulations", "20"], "--simulations takes whole numbers of at least 100, got '20'"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_measured(arguments, message, tmp_path, capsys):
    assert main(["sbibm", "--budget", "smoke", "-o", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_smallest_budget_runs_and_chooses_tasks(shared_data, tmp_path):
    arguments = ["--budget", "smoke", "-o", str(tmp_path), "--data-dir", str(shared_data("sbibm").parent)]
    assert main(["sbibm", *arguments, "--tasks", "two-moons,sir", "--methods", "maf"]) == 0
    result = Result.from_json(json.loads((tmp_path / "sbibm.json").read_text()))
    assert [row.name for row in result.rows] == ["two-moons, maf", "sir, maf"]
    assert all(0.5 < row.values["c2st"][0] <= 1 for row in result.rows)


@pytest.mark.slow
def test_the_neural_posterior_estimation_of_sbi_is_a_contender(shared_data, tmp_path):
    pytest.importorskip("sbi")
    arguments = ["--budget", "smoke", "-o", str(tmp_path), "--data-dir", str(shared_data("sbibm").parent)]
    assert main(["sbibm", *arguments, "--tasks", "two-moons", "--methods", "sbi"]) == 0
    assert EXPERIMENTS[0].name in (tmp_path / "sbibm.md").name
