import pytest
import torch
from scipy import stats

from inverseflow.errors import DataError
from inverseflow.inference.diagnostics import c2st, joint_c2st, posterior_mismatch
from tests.inference.diagnostics.linear_gaussian import Posterior, Prior, exact_samples, problem


def normal_points(start):
    """Return 150 points ``(150, 2)`` that are spread as a standard normal is, made without a random generator."""
    steps = torch.arange(start, start + 150, dtype=torch.float64)[:, None]
    return torch.special.ndtri((0.5 + steps * torch.tensor([0.7548776662466927, 0.5698402909980532])) % 1).float()


FIRST, SECOND = normal_points(1), normal_points(151)
CASES = {  # accuracies of sbi 0.27 with the settings of sbibm 1.1 and scikit-learn 1.9
    "moved": (SECOND + 0.5, 0.62),
    "narrow": (0.5 * SECOND, 0.7233),
}


@pytest.mark.parametrize("case", ["moved", pytest.param("narrow", marks=pytest.mark.slow)])
def test_the_accuracy_is_that_of_the_benchmark(case):
    samples, accuracy = CASES[case]
    assert c2st(FIRST, samples) == pytest.approx(accuracy, abs=0.005)


def test_a_single_wide_shift_gives_the_accuracy_of_the_best_classifier():
    p, q = torch.randn(100, 1), torch.randn(100, 1) + 2
    assert c2st(p, q) == pytest.approx(stats.norm.cdf(1), abs=4 * (0.13 / 200) ** 0.5)


def test_units_do_not_matter_and_a_constant_column_is_harmless():
    scale = torch.tensor([1e-6, 1e5])
    changed = [torch.cat([points.double() * scale, torch.ones(40, 1)], 1) for points in (FIRST[:40], FIRST[:40] + 9)]
    assert c2st(*changed) == 1


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (torch.zeros(100), torch.zeros(100), "two sets of 10 or more vectors"),
        (torch.zeros(100, 2), torch.zeros(100, 3), "two sets of 10 or more vectors"),
        (torch.zeros(100, 2), torch.zeros(9, 2), "two sets of 10 or more vectors"),
        (torch.zeros(100, 2), torch.full((100, 2), torch.nan), "needs finite samples"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(p, q, message):
    with pytest.raises(DataError, match=message):
        c2st(p, q)


def test_pairs_of_a_wrong_posterior_are_told_from_those_of_the_simulator():
    accuracy, p_value = joint_c2st(Posterior(scale=0.5), *problem().simulate(300))
    assert accuracy > 0.57 and p_value < 1e-3


def test_pairs_of_the_exact_posterior_are_not():
    accuracy, p_value = joint_c2st(Posterior(), *problem().simulate(300))
    assert accuracy < 0.56 and p_value > 1e-3


def test_observations_with_many_numbers_are_seen_by_their_principal_components():
    class OfLong:
        def sample(self, y, n):
            return Prior().sample(y, n)

    x, y = problem().simulate(300)
    long = torch.cat([y, y.repeat(1, 200) + 0.01 * torch.randn(300, 400)], 1).reshape(300, 2, 201)
    assert joint_c2st(OfLong(), x, long)[1] < 1e-6


def test_the_mismatch_of_exact_samples_is_at_its_floor_and_that_of_others_above():
    x, y = problem().simulate(20)
    exact = posterior_mismatch(Posterior(), exact_samples, x, y, n=300)
    assert abs(exact.mean) < 4 * exact.standard_error and abs(exact.floor) < 4 * exact.floor_error
    assert exact.observations == 20
    for wrong in (Posterior(scale=0.5**0.5), Prior()):
        assert posterior_mismatch(wrong, exact_samples, x, y, n=300).mean > 20 * exact.standard_error


def test_observations_without_exact_samples_are_left_out_of_the_mismatch():
    def reference(y, n, generator):
        if y[0] > 0:
            raise ValueError("no samples")
        return exact_samples(y, n, generator)

    x, y = problem().simulate(30)
    mismatch = posterior_mismatch(Posterior(), reference, x, y, n=20)
    assert mismatch.observations == int((y[:, 0] <= 0).sum()) < 30
    with pytest.raises(ValueError, match="no samples"):
        posterior_mismatch(Posterior(), reference, x, y.abs(), n=20)


def test_the_mismatch_does_not_depend_on_the_units_of_the_parameters():
    scale = torch.tensor([1e-3, 1.0, 1e4], dtype=torch.float64)

    class Scaled:
        def sample(self, y, n):
            return scale * Posterior(shift=0.2).sample(y, n)

    def scaled_samples(y, n, generator):
        return scale * exact_samples(y, n, generator)

    x, y = problem().simulate(10)
    plain = posterior_mismatch(Posterior(shift=0.2), exact_samples, x, y, n=50)
    assert posterior_mismatch(Scaled(), scaled_samples, scale * x, y, n=50).mean == pytest.approx(plain.mean)
