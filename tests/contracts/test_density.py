"""Small densities sum to one, and their samples follow them.

Integrals over the plane are sums over a fine grid. In four dimensions they are means over random points, and a test
allows four standard errors; seeds are fixed, and a standard error is itself asserted to be small.
"""

import itertools
import math

import pytest
import torch

from inverseflow.bijections import (
    ActNorm,
    AffineCoupling,
    CausalConv2d,
    Compose,
    Conv1x1,
    InverseConv2d,
    LUConv1x1,
    Permute,
    SplineActivation,
    Squeeze,
)
from inverseflow.flows import Flow, Glow, InverseFlow
from inverseflow.nets import MLP
from tests.contracts.registry import perturb

TINY = {"scales": 1, "steps": 2, "width": 4, "spline_bins": 3, "spline_bound": 3.0}


def vector_flow():
    coupling = AffineCoupling(2, MLP(1, 2, width=8)), AffineCoupling(2, MLP(1, 2, width=8), swap=True)
    return Flow(Compose(coupling[0], SplineActivation(2, bins=4, bound=2.0), LUConv1x1(2), coupling[1]), (2,))


def row_of_two_pixels():
    """A flow of two pixels side by side, so that the k×k layers couple them."""
    layers = [
        InverseConv2d(1, (1, 2), diagonal="free"),
        SplineActivation(bins=3, bound=2.0),
        CausalConv2d(1, (2, 3), corner="bottom_right"),
        ActNorm(1),
    ]
    return Flow(Compose(*layers), (1, 1, 2))


def pixel_of_two_channels():
    layers = [CausalConv2d(2, 2, diagonal="free"), Conv1x1(2), SplineActivation(2, bins=3), Permute.reverse(2)]
    return Flow(Compose(*layers, InverseConv2d(2, max_row_sum=0.5)), (2, 1, 1))


def prepared(flow):
    return perturb(flow.double()).eval()


SIDE, CELLS = 12.0, 720


def grid():
    """Return the middles of the cells of a square, (CELLS, CELLS, 2), and the area of a cell."""
    step = 2 * SIDE / CELLS
    axis = torch.arange(CELLS, dtype=torch.float64) * step + (step / 2 - SIDE)
    return torch.cartesian_prod(axis, axis).view(CELLS, CELLS, 2), step**2


each_planar_flow = pytest.mark.parametrize("build", [vector_flow, row_of_two_pixels, pixel_of_two_channels])


@torch.no_grad()
@each_planar_flow
def test_a_density_on_the_plane_integrates_to_one(build):
    flow = prepared(build())
    points, area = grid()
    mass = flow.log_prob(points.view(-1, *flow.event_shape)).exp().sum() * area
    assert mass.item() == pytest.approx(1, abs=1e-3)


@torch.no_grad()
@each_planar_flow
def test_samples_fall_where_the_density_says(build):
    flow = prepared(build())
    points, area = grid()
    density = flow.log_prob(points.view(-1, *flow.event_shape)).exp().view(CELLS, CELLS)
    blocks = 60  # cells a side of one bin of the histogram
    expected = density.view(CELLS // blocks, blocks, CELLS // blocks, blocks).sum((1, 3)).flatten() * area

    n = 50_000
    sample = flow.sample(n, generator=torch.Generator().manual_seed(1)).view(n, 2)
    bin_numbers = ((sample + SIDE) / (2 * SIDE) * (CELLS // blocks)).floor().long().clamp(0, CELLS // blocks - 1)
    counts = torch.bincount(bin_numbers @ torch.tensor([CELLS // blocks, 1]), minlength=len(expected))
    assert_counts_fit(counts, n * expected)


def assert_counts_fit(counts, expected, variance_of_expected=0.0):
    """Pearson's test, rare bins put together: five standard deviations of chi-square are allowed."""
    many = expected >= 10
    counts, expected, variance = (
        torch.cat([values[many], values[~many].sum()[None]])
        for values in (counts, expected, expected.clamp_min(1) + variance_of_expected)
    )
    statistic = ((counts - expected).square() / variance).sum().item()
    freedom = len(expected) - 1
    assert freedom >= 5
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def assert_mean_is_one(values, *, standard_error):
    error = values.std() / math.sqrt(len(values))
    assert error < standard_error
    assert abs(values.mean() - 1) < 4 * error


SMALL_FLOWS = [
    lambda: InverseFlow((1, 2, 2), levels=None, **TINY),
    lambda: InverseFlow((1, 2, 2), levels=None, **TINY, context_channels=2),
    lambda: Glow((1, 2, 2), levels=None, **TINY, spline="element", conv1x1="dense"),
    lambda: Flow(Compose(InverseConv2d(1, 2), CausalConv2d(1, 2, corner="top_right"), Squeeze()), (1, 2, 2)),
]
CONTEXT = torch.tensor([[0.5, -1.0]], dtype=torch.float64)


def fitted_normals(flow, scales):
    """Return normals around samples of the flow, with the samples' deviations times each scale."""
    x = flow.sample(4000, CONTEXT, generator=torch.Generator().manual_seed(2)).flatten(1)
    return [torch.distributions.MultivariateNormal(x.mean(0), scale**2 * x.T.cov()) for scale in scales]


@torch.no_grad()
@pytest.mark.parametrize("build", SMALL_FLOWS)
def test_a_density_of_four_pixels_integrates_to_one(build):
    flow = prepared(build())
    normals = fitted_normals(flow, (1, 2, 4))
    x = torch.cat([normal.sample((15_000,)) for normal in normals])
    log_mixture = torch.stack([normal.log_prob(x) for normal in normals]).logsumexp(0) - math.log(len(normals))
    log_prob = flow.log_prob(x.view(-1, 1, 2, 2), CONTEXT.expand(len(x), -1))
    assert_mean_is_one((log_prob - log_mixture).exp(), standard_error=0.02)


@torch.no_grad()
@pytest.mark.parametrize("build", SMALL_FLOWS)
def test_samples_of_four_pixels_have_the_density_that_log_prob_tells(build):
    flow = prepared(build())
    (narrow,) = fitted_normals(flow, (0.5,))
    x = flow.sample(40_000, CONTEXT, generator=torch.Generator().manual_seed(1))
    log_prob = flow.log_prob(x, CONTEXT.expand(len(x), -1))
    assert_mean_is_one((narrow.log_prob(x.flatten(1)) - log_prob).exp(), standard_error=0.02)


# Gray levels. The mean over the noise of exp(log_prob) is the probability that the flow gives to the cell of the image.
# The logit maps [0, 1) onto (nearly) all of the real line, so nothing is lost; centering leaves mass outside.

IMAGES = torch.tensor(list(itertools.product([0, 1], repeat=4)), dtype=torch.uint8).view(16, 1, 2, 2)


def cell_probabilities(flow, draws=4096):
    """Return estimates ``(draws, 16)`` of the probability of each black-and-white image."""
    batches = [flow.log_prob(IMAGES.repeat(512, 1, 1, 1)).view(512, 16) for _ in range(draws // 512)]
    return torch.cat(batches).exp()


@torch.no_grad()
@pytest.mark.parametrize("model", [InverseFlow, Glow])
def test_the_probabilities_of_all_images_sum_to_one(model):
    flow = prepared(model((1, 2, 2), levels=2, **TINY))
    assert_mean_is_one(cell_probabilities(flow).sum(1), standard_error=0.04)


@torch.no_grad()
def test_without_a_logit_they_sum_to_the_mass_that_lies_on_images():
    flow = prepared(InverseFlow((1, 2, 2), levels=2, **TINY, preprocessing="center"))
    sums = cell_probabilities(flow).sum(1)
    z = flow.base.sample(40_000, generator=torch.Generator().manual_seed(1))
    point = flow.preprocessing.inverse(flow.bijection.inverse(z)[0])[0]
    on_images = ((point >= 0) & (point < 1)).flatten(1).all(1).double()
    standard_error = math.hypot(sums.std() / math.sqrt(len(sums)), on_images.std() / math.sqrt(len(on_images)))
    assert standard_error < 0.02
    assert sums.mean() < 1
    assert abs(sums.mean() - on_images.mean()) < 4 * standard_error


@torch.no_grad()
@pytest.mark.parametrize("model", [InverseFlow, Glow])
def test_images_are_sampled_as_often_as_they_are_probable(model):
    flow = prepared(model((1, 2, 2), levels=2, **TINY))
    n = 2000
    sample = flow.sample(n, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount((sample.flatten(1).long() @ torch.tensor([8, 4, 2, 1])), minlength=16)
    estimates = n * cell_probabilities(flow, 8192)
    assert_counts_fit(counts, estimates.mean(0), estimates.var(0) / len(estimates))


@torch.no_grad()
@pytest.mark.parametrize("model", [InverseFlow, Glow])
def test_sampled_log_densities_are_those_of_the_points_before_rounding(model, monkeypatch):
    flow = prepared(model((1, 2, 4), levels=5, **TINY))
    images, log_prob = flow.sample_with_log_prob(50, generator=torch.Generator().manual_seed(1))
    z = flow.base.sample(50, generator=torch.Generator().manual_seed(1))
    point = flow.levels * flow.preprocessing.inverse(flow.bijection.inverse(z)[0])[0]
    inside = ((point >= 0) & (point < flow.levels)).flatten(1).all(1)
    assert inside.any()
    assert torch.equal(images[inside], point[inside].floor().to(torch.uint8))
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: (point - point.floor())[inside])
    torch.testing.assert_close(log_prob[inside], flow.log_prob(images[inside]))
