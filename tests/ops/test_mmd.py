import math

import pytest
import torch
from torch import nn

from inverseflow.ops import median_width, mmd, multiquadric_kernel


def by_double_loop(x, y, widths, exponent, unbiased):
    """Return MMD² from the definition, pair by pair."""

    def kernel(a, b):
        squared = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
        return sum(exponent**exponent * (1 + squared / h) ** -exponent for h in widths)

    def within(points):
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j or not unbiased]
        return sum(kernel(points[i], points[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * between


@pytest.mark.parametrize("distance", [0.0, 1e-3, 0.7, 30.0])
def test_one_point_each_gives_the_closed_form(distance):
    x = torch.tensor([[5.0, 1.0]], dtype=torch.float64)
    y = x + torch.tensor([0.6, 0.8], dtype=torch.float64) * distance
    expected = 2 * distance**2 / (0.3 + distance**2)
    assert mmd(x, y, widths=[0.3]).item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("exponent", [1.0, 0.5, 2.0])
def test_it_equals_a_double_loop_over_all_pairs(unbiased, exponent):
    x, y = torch.randn(6, 3, dtype=torch.float64), 1 + torch.randn(4, 3, dtype=torch.float64)
    widths = [0.1, 2.0]
    expected = by_double_loop(x.tolist(), y.tolist(), widths, exponent, unbiased)
    found = mmd(x, y, widths=widths, exponent=exponent, unbiased=unbiased)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_identical_sets_have_no_discrepancy():
    x = torch.randn(50, 3)
    assert mmd(x, x[torch.randperm(50)]).item() == pytest.approx(0, abs=1e-6)


def test_the_unbiased_estimate_has_mean_zero_for_equal_distributions_and_the_other_one_does_not():
    draws = torch.stack([mmd(torch.randn(20, 2), torch.randn(30, 2), unbiased=True) for _ in range(200)])
    error = draws.std().item() / math.sqrt(200)
    assert abs(draws.mean().item()) < 3 * error
    assert mmd(torch.randn(20, 2), torch.randn(30, 2)).item() > 10 * error


def test_the_kernel_is_positive_definite():
    x = torch.randn(40, 2, dtype=torch.float64)
    assert torch.linalg.eigvalsh(multiquadric_kernel(x, x)).min() > 0


@pytest.mark.parametrize("unbiased", [False, True])
def test_gradients_are_those_of_finite_differences(unbiased):
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: mmd(x, y, exponent=2.0, unbiased=unbiased), (x, y))


def test_equal_samples_have_a_finite_gradient():
    x = torch.zeros(3, 2, requires_grad=True)
    mmd(x, torch.ones(2, 2)).backward()
    assert x.grad.isfinite().all() and x.grad.norm() > 0


def test_single_precision_keeps_small_distances_far_from_the_origin():
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 4, dtype=torch.float64)
    x, y = ((1000 + 0.1 * set).float() for set in (x, y))
    exact = mmd(x.double(), y.double())
    assert mmd(x, y).item() == pytest.approx(exact.item(), rel=1e-4)


def test_half_precision_is_computed_in_single():
    x, y = torch.randn(5, 2).bfloat16(), torch.randn(5, 2).bfloat16()
    assert mmd(x, y).item() == mmd(x.float(), y.float()).item()


def test_the_median_width_is_the_median_of_the_squared_distances():
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    expected = (x[:, None] - y).square().sum(-1).median().item()
    assert median_width(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), torch.zeros(3)), r"vectors \(N, D\)"),
        ((torch.zeros(3, 2), torch.zeros(3, 1)), r"got shapes \(3, 2\) and \(3, 1\)"),
        ((torch.zeros(0, 2), torch.zeros(3, 2)), "1 or more samples"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mmd(*arguments)


def test_what_is_no_kernel_or_no_estimate_is_refused():
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="2 or more samples in each set, got 1 and 3"):
        mmd(x[:1], x, unbiased=True)
    with pytest.raises(ValueError, match="each width must be finite and above 0, got 0"):
        mmd(x, x, widths=[0])
    with pytest.raises(ValueError, match="widths must have at least one width"):
        mmd(x, x, widths=[])
    with pytest.raises(ValueError, match="exponent must be finite and above 0"):
        mmd(x, x, exponent=-1.0)
    with pytest.raises(ValueError, match="more than half of the distances are zero"):
        median_width(torch.zeros(3, 2), torch.zeros(3, 2))


@pytest.mark.slow
def test_particles_that_follow_the_gradient_reach_both_modes_of_a_mixture():
    torch.manual_seed(0)
    target = torch.randn(400, 2) * 0.3 + torch.where(torch.rand(400, 1) < 0.5, -1.5, 1.5)
    particles = nn.Parameter(0.1 * torch.randn(200, 2))
    optimizer = torch.optim.Adam([particles], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        mmd(particles, target).backward()
        optimizer.step()
    x = particles.detach()
    assert mmd(x, target, unbiased=True) < 0.01
    assert 0.4 < (x[:, 0] > 0).double().mean() < 0.6


def permutation_p_value(kernel, n, permutations):
    """Return the share of random divisions of a pooled set whose MMD² is at least that of the first n against the rest.

    Divisions are signs s / n: MMD² is the quadratic form of the kernel.
    """
    signs = torch.cat([torch.ones(n), -torch.ones(len(kernel) - n)]) / n
    shuffled = torch.stack([signs, *(signs[torch.randperm(len(kernel))] for _ in range(permutations))])
    statistics = ((shuffled @ kernel) * shuffled).sum(1)
    return (statistics >= statistics[0]).double().mean().item()


@pytest.mark.slow
def test_a_permutation_test_finds_a_shift_of_half_a_deviation():
    n, level = 500, 0.05

    def rejections(shift, repeats):
        found = 0
        for _ in range(repeats):
            pooled = torch.cat([torch.randn(n, 4), torch.randn(n, 4)])
            pooled[n:, 0] += shift
            found += permutation_p_value(multiquadric_kernel(pooled, pooled), n, 200) <= level
        return found / repeats

    assert rejections(0.5, 30) > 0.9
    assert rejections(0.0, 60) < 0.15
