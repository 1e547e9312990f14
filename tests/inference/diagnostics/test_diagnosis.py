import json

import pytest
import torch

from inverseflow.errors import DataError
from inverseflow.inference import Pairs
from inverseflow.inference.diagnostics import diagnose
from tests.inference.diagnostics.linear_gaussian import COVARIANCE, PARAMETERS, Posterior, Prior, Samples, problem


@pytest.fixture(scope="module")
def exact():
    return diagnose(Posterior(), problem(reference=True), simulations=300)


def test_the_exact_posterior_is_trusted(exact):
    assert exact.trusted
    assert exact.verdict.startswith("Calibrated: ranks of 300 simulations are uniform (p = ")
    assert exact.sbc.p_value > 0.01 and exact.c2st_p_value > 0.01 and exact.resimulation.p_value > 0.01
    assert abs(exact.mismatch.mean) < 4 * exact.mismatch.standard_error
    assert exact.quantities == (*PARAMETERS, "density", "distance to a linear prediction")
    assert exact.density_coverage.rates[0][2] == pytest.approx(0.95, abs=0.05)


@pytest.mark.slow
def test_the_exact_posterior_is_trusted_for_other_seeds():
    trusted = [diagnose(Posterior(), problem(), simulations=300, seed=seed).trusted for seed in range(1, 21)]
    assert sum(trusted) >= 18  # each fails with probability 0.01: three or more with 0.001


@pytest.mark.parametrize(
    ("posterior", "words"),
    [
        (Posterior(scale=0.7), ["too narrow in radius [m], mass [kg], spin (ranks pile up at both ends, p "]),
        (Posterior(scale=0.5**0.5), ["too narrow in radius [m], mass [kg], spin (ranks pile up at both ends, p "]),
        (Posterior(scale=2**0.5), ["too wide in ", " (ranks pile up in the middle, p ", "95 % intervals hold 9"]),
        (Posterior(shift=0.3), ["too high in ", " (ranks pile up at the lower end, p "]),
        (Posterior(shift=-0.3), ["too low in ", " (ranks pile up at the upper end, p "]),
        (
            Prior(),
            [
                "no information about radius [m] (contraction ",
                "its draws are farther from a linear prediction than the truth (p < 1e-12)",
                "a classifier tells its pairs from the simulator's (accuracy 0.",
                "re-simulated draws miss the observation (relative error ",
            ],
        ),
    ],
)
def test_a_wrong_posterior_is_caught_and_said_to_be_wrong_in_its_way(posterior, words):
    diagnosis = diagnose(posterior, problem(), simulations=300)
    assert not diagnosis.trusted
    assert diagnosis.verdict.startswith("Not calibrated: ")
    assert [word for word in words if word not in diagnosis.verdict] == []


def test_the_prior_passes_the_ranks_of_its_parameters_but_is_caught_without_a_simulator_too():
    x, y = problem().simulate(300, seed=5)
    diagnosis = diagnose(Samples(Prior()), (x, y))
    assert not diagnosis.trusted and diagnosis.resimulation is None
    assert min(diagnosis.sbc.p_values[:3]) > 0.001 > diagnosis.c2st_p_value
    assert diagnosis.parameters == ("x0", "x1", "x2")


def test_a_parameter_that_the_solver_ignores_is_named():
    class Partial(Posterior):
        def sample(self, y, n):
            samples = super().sample(y, n).clone()
            samples[..., 1] = torch.randn(len(y), n)
            return samples

    diagnosis = diagnose(Samples(Partial()), problem(), simulations=400)
    assert not diagnosis.trusted
    assert "no information about mass [kg] (contraction " in diagnosis.verdict
    assert "radius" not in diagnosis.verdict


def test_a_posterior_that_is_too_wide_is_not_said_to_ignore_the_observation():
    class Wide:
        """Of x ~ N(0, 1), y = x + N(0, 1), almost as wide as the prior."""

        def sample(self, y, n):
            return y[:, None] / 2 + 1.38 * torch.randn(len(y), n, 1) / 2**0.5

    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    y = x + torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    diagnosis = diagnose(Wide(), (x, y))
    assert "too wide in x0" in diagnosis.verdict and diagnosis.contraction[0] < 0.1
    assert "no information" not in diagnosis.verdict


def test_a_linear_problem_is_explained_by_its_linear_prediction(exact):
    for linear, full in zip(exact.linear_contraction, 1 - COVARIANCE.diagonal(), strict=True):
        assert linear == pytest.approx(float(full), abs=0.15)


def test_a_parameter_that_nothing_is_known_about_is_not_held_against_a_posterior_that_uses_the_observation():
    class Narrow(Posterior):
        def sample(self, y, n):
            return torch.cat([super().sample(y, n), torch.randn(len(y), n, 1)], -1)

    x, y = problem().simulate(300, seed=5)
    diagnosis = diagnose(Samples(Narrow(scale=0.5)), (torch.cat([x, torch.randn(300, 1)], 1), y))
    assert "no information" not in diagnosis.verdict
    assert "not narrower than the prior in x3 (contraction " in diagnosis.verdict


def test_the_exact_posterior_of_parameters_that_nothing_is_known_about_is_trusted():
    x, _ = problem().simulate(300, seed=5)
    diagnosis = diagnose(Prior(), Pairs(x, torch.randn(300, 2), PARAMETERS, ()))
    assert diagnosis.trusted
    assert "not narrower than the prior in " in diagnosis.verdict


def test_an_observation_that_the_simulator_could_not_have_made_is_not_trusted(exact):
    class Watchful(Posterior):
        def surprise(self, y):
            return torch.where(y.abs().max(-1).values > 10, 1e-9, 0.3)

    posterior, pairs = Watchful(), problem().simulate(200, seed=5)
    seen = diagnose(posterior, pairs, observation=torch.tensor([0.5, 0.5]))
    assert seen.trusted and seen.surprise == pytest.approx((0.3,))
    unseen = diagnose(posterior, pairs, observation=torch.tensor([[0.5, 0.5], [50.0, 0.5]]))
    assert not unseen.trusted and unseen.surprise == pytest.approx((0.3, 1e-9))
    assert unseen.verdict.startswith("The simulator could not have made 1 of the observations (p = 1e-09), so ")
    assert "For observations of the simulator: Calibrated: " in unseen.verdict


def test_nothing_is_judged_by_few_pairs_or_draws_that_are_not_finite():
    class Broken:
        def sample(self, y, n):
            return torch.full((len(y), n, 3), torch.nan)

    few = diagnose(Posterior(), problem(), simulations=99)
    assert not few.trusted and few.verdict == "Cannot be judged: 99 pairs are too few, take 100 or more."
    broken = diagnose(Broken(), problem(), simulations=100)
    assert not broken.trusted and broken.sbc is None
    assert broken.verdict.startswith("Cannot be judged: 100 % of the draws of the posterior are not finite")


def test_a_diagnosis_is_reproducible_and_goes_through_json(exact):
    first, second = (diagnose(Posterior(), problem(), simulations=100, seed=2) for _ in range(2))
    assert first == second
    again = json.loads(json.dumps(exact.as_dict(), allow_nan=False))
    assert again["verdict"] == exact.verdict
    assert again["sbc"]["p_values"] == list(exact.sbc.p_values)
    assert again["seconds"].keys() == {"drawing", "densities", "classifier", "re-simulation", "exact samples"}


def test_bad_input_is_refused():
    x, y = problem().simulate(200)
    with pytest.raises(TypeError, match="problem must be a Problem, Pairs or a tuple .x, y., got int"):
        diagnose(Posterior(), 7)
    with pytest.raises(DataError, match="pairs are parameters"):
        diagnose(Posterior(), (x, y[:100]))
    with pytest.raises(DataError, match="parameter 1 of the pairs is constant"):
        diagnose(Posterior(), (x * torch.tensor([1, 0, 1]), y))
    with pytest.raises(DataError, match="cannot be tested"):
        diagnose(Posterior(), (x, y), draws=22)
    with pytest.raises(ValueError, match="simulations must be at least 1, got 0"):
        diagnose(Posterior(), problem(), simulations=0)
