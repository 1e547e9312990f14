"""Missing elements drawn given the others: closed forms, and refusals."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from inverseflow.densities import MADE, VAE, GaussianMixture, impute
from inverseflow.flows import MAF, ImageFlow
from tests.contracts.registry import perturb

WHITENING = torch.tensor([[1.0, 0.0, 0.0], [-0.8, 1.2, 0.0], [0.5, -0.7, 0.9]], dtype=torch.float64)
PRECISION = WHITENING.T @ WHITENING
NAN = math.nan


def gaussian(**options) -> MAF:
    """The normal density of mean 0 with this precision, as a flow whose one layer is linear."""
    flow = MAF((3,), steps=1, depth=0, standardize=False, zero_start=True, **options).double().eval()
    layer = flow.bijection.layers[0].layers[0].net.layers[0]
    with torch.no_grad():
        layer.bias[:3] = 2 * (WHITENING.diagonal().log() / 2).atanh()  # scales are bounded
        layer.weight[3:] = WHITENING.tril(-1)
    return flow


def conditional(lost: list[int], known: list[int], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    covariance = PRECISION[lost][:, lost].inverse()
    return -covariance @ PRECISION[lost][:, known] @ x[known], covariance


@pytest.mark.parametrize(
    "density",
    [gaussian(), GaussianMixture(torch.ones(1).double(), torch.zeros(1, 3).double(), PRECISION.inverse()[None])],
    ids=["autoregressive", "without an order"],
)
def test_the_draws_of_a_normal_table_have_the_conditional_mean_and_covariance(density):
    x = torch.tensor([[0.7, NAN, NAN], [NAN, -0.5, NAN], [NAN, 1.0, 0.3], [0.2, -1.0, NAN], [0.1, 0.2, 0.3]]).double()
    reference = torch.distributions.MultivariateNormal(torch.zeros(3).double(), precision_matrix=PRECISION)
    torch.testing.assert_close(density.log_prob(torch.eye(3).double()), reference.log_prob(torch.eye(3).double()))
    drawn = impute(density, x, n=3000, candidates=3000, generator=torch.Generator().manual_seed(0))
    ordered = density.given_order is not None
    assert drawn.exact.tolist() == [ordered, False, False, ordered, True]
    assert drawn.x.shape == (3000, 5, 3) and not drawn.x.isnan().any()
    for row, values in enumerate(drawn.x.unbind(1)[:4]):
        lost, known = (part.nonzero().flatten().tolist() for part in (x[row].isnan(), ~x[row].isnan()))
        mean, covariance = conditional(lost, known, x[row])
        assert (values[:, known] == x[row, known]).all()
        count = min(3000.0, float(drawn.effective[row]))
        assert count > 1000
        error = (values[:, lost].mean(0) - mean) / (covariance.diagonal() / count).sqrt()
        assert error.abs().max() < 6
        torch.testing.assert_close(values[:, lost].T.cov().reshape(covariance.shape), covariance, atol=0.08, rtol=0.1)
    assert torch.equal(drawn.x[:, 4], x[4].expand(3000, 3))


def test_whole_numbers_are_imputed_and_condition_by_the_interval_that_they_stand_for():
    flow = gaussian(integer_columns=[1])
    x = torch.tensor([[0.7, NAN, 0.1], [NAN, 1.0, 0.3]]).double()
    drawn = impute(flow, x, n=4000, candidates=4000, generator=torch.Generator().manual_seed(0))
    assert drawn.exact.tolist() == [False, False] and drawn.effective.min() > 500
    mean, variance = conditional([1], [0, 2], x[0])
    for whole in (-1, 0, 1):
        mass = norm.cdf(whole + 1, mean, variance.sqrt()).item() - norm.cdf(whole, mean, variance.sqrt()).item()
        assert abs((drawn.x[:, 0, 1] == whole).double().mean() - mass) < 0.05

    covariance = PRECISION.inverse()
    slope = covariance[0, 2] / covariance[2, 2]
    deviation = (covariance[0, 0] - slope * covariance[0, 2]).sqrt()

    def joint(a: float) -> float:  # density of the first column, and probability that the second one is in [1, 2)
        mean, variance = conditional([1], [0, 2], torch.tensor([a, NAN, 0.3]).double())
        mass = norm.cdf([1, 2], mean, variance.sqrt()).reshape(-1)
        return float((mass[1] - mass[0]) * norm.pdf(a, slope * 0.3, deviation))

    expected = quad(lambda a: a * joint(a), -8, 8)[0] / quad(joint, -8, 8)[0]
    assert drawn.x[:, 1, 0].mean().item() == pytest.approx(expected, abs=0.1)


def test_levels_are_completed_in_their_order_row_by_row():
    density = perturb(MADE((3,), levels=3, width=16)).eval()
    x = torch.tensor([[2.0, NAN, NAN], [0.0, 1.0, NAN]])
    drawn = impute(density, x, n=4000, generator=torch.Generator().manual_seed(0))
    states = torch.tensor([[0, 1, k] for k in range(3)]).to(torch.uint8)
    expected = density.log_prob(states).softmax(0)
    found = torch.stack([(drawn.x[:, 1, 2] == k).float().mean() for k in range(3)])
    assert drawn.exact.all() and (drawn.x[:, 0, 0] == 2).all() and (drawn.x[:, 1, :2] == torch.tensor([0.0, 1.0])).all()
    assert (found - expected).abs().max() < 4 * (0.25 / 4000) ** 0.5


def test_each_row_keeps_its_context():
    flow = perturb(MAF((2,), steps=2, width=16, context_channels=1)).eval()
    x, context = torch.tensor([[NAN, 0.3]] * 2), torch.tensor([[-1.5], [1.5]])
    drawn = impute(flow, x, context, n=2000, candidates=2000, generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(-20, 20, 8001)
    points = torch.stack([grid, torch.full_like(grid, 0.3)], 1)
    for row in range(2):
        with torch.no_grad():
            weights = flow.log_prob(points, context[row].expand(len(grid), -1)).softmax(0)
        mean = (weights * grid).sum()
        deviation = (weights * (grid - mean) ** 2).sum().sqrt()
        assert abs(drawn.x[:, row, 0].mean() - mean) < 6 * deviation / drawn.effective[row].clamp_max(2000).sqrt()


@pytest.mark.parametrize(
    ("density", "x", "message"),
    [
        (MADE((3,), levels=3), [[NAN, 1.0, 2.0]], r"MADE has levels, so that only the last .* not \[0\]"),
        (MADE((3,), levels=3), [[5.0, NAN, NAN]], "a given level must be a whole number from 0 to 2, got 5"),
        (VAE((3,), 2), [[NAN, 1.0, 2.0]], "the likelihood of VAE is no exact one"),
        (MAF((3,)), [[NAN, math.inf, 2.0]], "a known element is infinite"),
        (MAF((3,)), [[NAN, 1.0]], r"takes batches of shape \(B, 3\)"),
        (ImageFlow((1, 4, 4), scales=1, steps=1, width=4), [[NAN]], r"only vectors \(D,\) can be imputed"),
        (MAF((3,)), [[NAN, 1e30, 2.0]], "no candidate for a missing element has a positive density"),
    ],
)
def test_what_cannot_be_imputed_is_refused(density, x, message):
    with pytest.raises(ValueError, match=message):
        impute(density.eval(), torch.tensor(x))


def test_whole_numbers_that_cannot_be_missing_are_refused():
    with pytest.raises(TypeError, match=r"missing elements are NaN, which torch.int64 has not: convert x"):
        impute(MADE((3,), levels=3), torch.tensor([[0, 1, 2]]))
