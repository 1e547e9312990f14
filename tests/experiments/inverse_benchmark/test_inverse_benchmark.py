"""The matched comparison of methods of inference, as far as it needs no training; its command is run by test_smoke."""

import pytest
import torch

from experiments.inverse_benchmark.measuring import EXACT, NEAREST, PRIOR, Effort, matched_width, measure_solver
from experiments.inverse_benchmark.report import parts
from experiments.result import Result, Row
from inverseflow.inference import method_names

EFFORT = Effort(simulations=100, steps=1, weights=5_000, observations=4, samples=200, judged=100, nearest=100_000)


@pytest.fixture(scope="module")
def solvers() -> dict[str, dict[str, object]]:
    return {name: measure_solver(name, "ballistics", EFFORT, 0) for name in (EXACT, NEAREST, PRIOR)}


def test_the_exact_sampler_is_at_the_floor_and_the_prior_far_above(solvers):
    exact, prior = solvers[EXACT], solvers[PRIOR]

    assert abs(exact["mismatch"]) < 4 * exact["floor_error"] + 1e-3
    assert prior["mismatch"] > 10 * abs(exact["mismatch"])
    assert exact["resimulation"] < 1e-6 and prior["resimulation"] > 1
    assert exact["sbc_p"] > 0.01


def test_the_nearest_simulations_lie_between_the_exact_sampler_and_the_prior(solvers):
    assert solvers[EXACT]["resimulation"] < solvers[NEAREST]["resimulation"] < solvers[PRIOR]["resimulation"]
    assert 0 < solvers[NEAREST]["tolerance"] < 0.1


@pytest.mark.parametrize("method", ["cinn", "inn", "cvae", "autoencoder"])
def test_methods_are_given_as_many_weights_as_wanted_within_ten_percent(method):
    assert method in method_names()
    assert abs(matched_width(method, 4, 2, 60_000)[1] - 60_000) < 6_000


def test_the_page_orders_the_methods_and_marks_those_that_learned_nothing(solvers):
    def row(name, mismatch):
        values = {
            **solvers[PRIOR],
            "mismatch": mismatch,
            "mismatch_error": 0.001,
            "weights": 5_000,
            "training_seconds": 1,
        }
        return Row(name, "ballistics, seed 0", vars(EFFORT), values)

    learned = [row("cinn", 0.003), row("maf", 0.02), row("vae", solvers[PRIOR]["mismatch"])]
    known = [
        Row(name, "ballistics, seed 0", vars(EFFORT), {**values, "mismatch_error": 0.001})
        for name, values in solvers.items()
    ]
    text = "\n".join(parts(Result("inverse-benchmark", "smoke", 1, {}, True, (*learned, *known))))

    assert "cinn < maf < vae" in text
    assert "The publication's order holds here: its best families come in cinn 1." in text
    assert "Not learned: vae." in text and "| vae (*not learned*) |" in text and "| maf |" in text


def test_exact_samples_are_the_same_for_every_method():
    first, again = (measure_solver(PRIOR, "ballistics", EFFORT, 0) for _ in range(2))

    assert (first["mismatch"], first["floor"]) == (again["mismatch"], again["floor"])
    assert torch.isfinite(torch.tensor(first["floor"]))
