"""Sampling given some elements: the conditional density, exactly, or a refusal."""

import pytest
import torch

from inverseflow.densities import MADE
from inverseflow.distributions import StandardNormal
from inverseflow.flows import IAF, MAF, NSF, AutoregressiveNSF
from tests.contracts.registry import perturb


def one_step(cls=MAF, dims=3, **options):
    return perturb(cls((dims,), steps=1, width=16, **options)).double().eval()


@pytest.mark.parametrize("cls", [MAF, IAF, AutoregressiveNSF])
def test_given_columns_keep_their_values_and_their_latents_while_the_others_are_drawn(cls):
    flow = one_step(cls)
    x = flow.sample_given(400, {0: 0.5, 1: -1.0}, generator=torch.Generator().manual_seed(0))
    z = flow.encode(x)
    assert x[:, :2].unique(dim=0).tolist() == [[0.5, -1.0]]
    assert z[:, :2].std(0).max() < 1e-9
    assert abs(z[:, 2].mean()) < 0.2 and abs(z[:, 2].std() - 1) < 0.15  # the conditional is φ⁻¹ of a standard normal


def test_the_conditional_of_two_columns_is_the_joint_density_over_its_integral():
    flow = one_step(AutoregressiveNSF, dims=2)
    x = flow.sample_given(4000, {0: 0.3}, generator=torch.Generator().manual_seed(0))[:, 1]
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    joint = flow.log_prob(torch.stack([torch.full_like(grid, 0.3), grid], 1)).exp()
    cdf = joint.cumsum(0) / joint.sum()
    found = cdf[torch.searchsorted(grid, x.sort().values).clamp_max(4000)]
    assert (found - torch.linspace(0, 1, 4000)).abs().max() < 1.95 / 4000**0.5  # Kolmogorov and Smirnov, 0.1 %


def test_an_autoregressive_density_of_integers_follows_its_conditional():
    density = perturb(MADE((3,), levels=3, width=16)).eval()
    x = density.sample_given(6000, {0: 2}, generator=torch.Generator().manual_seed(0))
    states = torch.cartesian_prod(torch.tensor([2]), torch.arange(3), torch.arange(3)).to(x.dtype)
    expected = density.log_prob(states).exp()
    expected = expected / expected.sum()
    counts = (x.long() @ torch.tensor([0, 3, 1])).bincount(minlength=9)
    chi_square = ((counts - 6000 * expected) ** 2 / (6000 * expected)).sum()
    assert (x[:, 0] == 2).all() and chi_square < 26.1  # 8 degrees of freedom, 0.1 %


def test_standardized_continuous_data_are_given_in_their_own_units():
    density = MADE((2,), width=16, components=2)
    density.initialize(100 + 10 * torch.randn(500, 2))
    x = density.eval().sample_given(50, {0: 123.0})
    assert x[:, 0].unique().tolist() == [123.0] and 50 < x[:, 1].mean() < 150


@pytest.mark.parametrize(
    ("density", "given", "message"),
    [
        (NSF((3,), steps=1), {0: 1.0}, "NSF can't be sampled given some of its elements: they must come first in one"),
        (MAF((3,), steps=2), {0: 1.0}, "MAF can't be sampled given"),
        (MADE((3,), levels=2, orders=2), {0: 1}, "MADE can't be sampled given"),
        (MAF((3,), steps=1), {1: 1.0}, r"if they come first in the order \[0, 1, 2\], got \[1\]; give all before"),
        (MAF((3,), steps=1), {7: 1.0}, r"got \[7\]"),
        (MAF((3,), steps=1, integer_columns=[0]), {0: 1.0}, "columns of whole numbers can't be given, got \\[0\\]"),
        (MAF((3,), steps=1), {0: float("nan")}, "the given element 0 must be finite, got nan"),
        (MADE((3,), levels=2), {0: 5}, "a given level must be a whole number from 0 to 1, got 5"),
        (MADE((3,), levels=256), {0: 300}, "from 0 to 255, got 300"),
        (MADE((3,), levels=256), {0: -1}, "got -1"),
        (MADE((3,), levels=4), {0: 1.7}, "got 1.7"),
    ],
)
def test_what_cannot_be_given_is_refused(density, given, message):
    with pytest.raises(ValueError, match=message):
        density.sample_given(2, given)


def test_a_base_that_is_no_product_has_no_order():
    flow = MAF((3,), steps=1)
    assert flow.given_order == (0, 1, 2)
    flow.base = flow  # a density of vectors as the base
    assert flow.given_order is None and not isinstance(flow.base, StandardNormal)
