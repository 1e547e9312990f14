import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from inverseflow import fit
from inverseflow.bijections import Compose, Householder
from inverseflow.errors import LayerError
from inverseflow.flows import MAF, NSF, Flow, ManifoldFlow, RealNVP
from inverseflow.training import ReconstructionLoss


def random_chart(dims: int) -> Flow:
    torch.manual_seed(0)
    chart = RealNVP((dims,), steps=3, width=16, standardize=False, zero_start=False).double()
    with torch.no_grad():
        for parameter in chart.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return chart


def test_a_linear_chart_has_the_normal_density_of_its_plane():
    torch.manual_seed(1)
    rotation = Householder(4).double()
    torch.nn.init.normal_(next(rotation.parameters()))
    manifold = ManifoldFlow(Flow(rotation, (4,)), Flow(Compose(), (2,)).double())
    basis = manifold.decode(torch.eye(2, dtype=torch.float64))
    x = manifold.sample(20)
    # Two orthonormal directions, in which x is standard normal.
    torch.testing.assert_close(basis @ basis.T, torch.eye(2, dtype=torch.float64))
    expected = multivariate_normal(np.zeros(2)).logpdf((x @ basis.T).detach().numpy())
    torch.testing.assert_close(manifold.log_prob(x), torch.from_numpy(expected))
    beside = x + 3 * torch.linalg.svd(basis).Vh[2]
    torch.testing.assert_close(manifold.project(beside), x)
    torch.testing.assert_close(manifold.reconstruction_error(beside), torch.full((20,), 9.0, dtype=torch.float64))


def test_the_area_is_that_of_finite_differences():
    manifold = ManifoldFlow(random_chart(4), Flow(Compose(), (2,)).double())
    u, h = torch.randn(6, 2, dtype=torch.float64), 1e-5
    steps = h * torch.eye(2, dtype=torch.float64)
    jacobian = torch.stack([(manifold.decode(u + s) - manifold.decode(u - s)) / (2 * h) for s in steps], -1)
    expected = 0.5 * torch.linalg.det(jacobian.mT @ jacobian).log()
    torch.testing.assert_close(manifold.log_area(u), expected, rtol=1e-7, atol=1e-7)


def test_the_density_of_a_curve_integrates_to_one_over_its_length():
    manifold = ManifoldFlow(random_chart(3), Flow(Compose(), (1,)).double())
    points = manifold.decode(torch.linspace(-8, 8, 20_001, dtype=torch.float64)[:, None])
    lengths = (points[1:] - points[:-1]).norm(dim=1)
    density = manifold.log_prob((points[1:] + points[:-1]) / 2).exp()
    assert float((density * lengths).sum().detach()) == pytest.approx(1, abs=1e-4)


def test_a_chart_without_area_is_refused():
    manifold = ManifoldFlow(random_chart(2), Flow(Compose(), (1,)).double())
    manifold.decode = lambda u: torch.cat([u**3, -(u**3)], 1)
    with pytest.raises(LayerError, match="singular"):
        manifold.log_area(torch.zeros(3, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("chart", "density", "error", "words"),
    [
        (torch.nn.Identity(), MAF((1,)), TypeError, "must be a Flow"),
        (NSF((2,), context_channels=1), MAF((1,)), ValueError, "without context"),
        (NSF((3,)), NSF((3,)), ValueError, "d < 3"),
    ],
)
def test_what_does_not_fit_is_refused(chart, density, error, words):
    with pytest.raises(error, match=words):
        ManifoldFlow(chart, density)


@pytest.mark.slow
def test_a_rolled_sheet_is_charted_and_its_density_found():
    generator = torch.Generator().manual_seed(0)
    share, height = torch.rand(2, 4000, generator=generator)
    angle = math.pi * (1.5 + 3 * share)
    x = torch.stack([angle * angle.cos(), 21 * height, angle * angle.sin()], 1)
    truth = -(3 * math.pi * 21 * (1 + angle.square()).sqrt()).log()  # by area
    about = {"learning_rate": 3e-3, "schedule": "cosine", "progress": False}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        manifold = ManifoldFlow(NSF((3,)), NSF((2,), steps=3))
        fit(manifold, x[:3000], objective=ReconstructionLoss(), max_steps=800, **about)
        fit(manifold.density, manifold.encode(x[:3000]).detach(), max_steps=500, **about)
    manifold.eval()
    with torch.no_grad():
        assert manifold.reconstruction_error(x[3000:]).mean() < 0.05 * x.var(0).sum()
        gap = (truth[3000:] - manifold.log_prob(x[3000:])).mean()
    assert abs(gap) < 0.3  # nats; twice the true density everywhere would be 0.69
