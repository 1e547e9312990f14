import math
from functools import partial

import pytest
import torch
from scipy.optimize import brentq

from inverseflow.bijections import Planar, Radial
from inverseflow.nets import MLP
from tests.contracts.registry import perturb

both = pytest.mark.parametrize("build", [Planar, Radial])


def scattered(layer, scale):
    """Move parameters far off, so that the layer bends strongly."""
    with torch.no_grad():
        layer.raw.add_(scale * torch.randn_like(layer.raw))
    return layer.double()


def published(layer):
    """Return w, û and b by the formulas of the appendix, with the published m moved to zero at zero."""
    w, u, b = layer.raw.detach().split([layer.channels, layer.channels, 1])
    m = -1 + math.log(1 + (math.e - 1) * math.exp(w @ u))
    return w, u + (m - w @ u) * w / (w @ w), b


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_planar_layer_is_its_formula_and_its_determinant_that_of_the_lemma(scale):
    layer, x = scattered(Planar(5), scale), torch.randn(7, 5, dtype=torch.float64)
    w, u, b = published(layer)
    z, log_det = layer(x)
    torch.testing.assert_close(z, x + torch.outer((x @ w + b).tanh(), u))
    jacobians = torch.eye(5) + u[:, None] * w * (1 - (x @ w + b).tanh() ** 2)[:, None, None]
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobians).logabsdet)
    assert (torch.linalg.det(jacobians) > 0).all()


def test_a_strong_planar_layer_comes_back_from_far_away():
    layer = scattered(Planar(3), 30.0)
    x = 10.0 ** torch.arange(-8, 9, dtype=torch.float64)[:, None] * torch.randn(17, 3, dtype=torch.float64)
    back, log_det = layer.inverse(layer(x)[0])
    assert ((back - x).norm(dim=1) <= 1e-10 * (1 + x.norm(dim=1))).all()
    assert log_det.isfinite().all()


def test_a_planar_layer_that_folds_almost_is_still_invertible():
    layer = Planar(2).double()
    with torch.no_grad():
        layer.raw.copy_(torch.tensor([1.0, 0.0, -12.0, 0.0, 0.0]))  # 1 + wᵀû is about 1e-5
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None] * torch.ones(2, dtype=torch.float64)
    z, log_det = layer(x)
    assert (z[1:, 0] > z[:-1, 0]).all()
    torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-8)
    assert log_det.isfinite().all()


@pytest.mark.parametrize("scale", [0.5, 5.0])
def test_the_inverse_of_a_radial_layer_is_the_root_of_a_scalar_equation(scale):
    layer = scattered(Radial(3), scale)
    center, raw_alpha, raw_beta = layer.raw.detach().split([3, 1, 1])
    alpha, total = (torch.nn.functional.softplus(raw).item() for raw in (raw_alpha, raw_alpha + raw_beta))
    z = center + 3 * torch.randn(8, 3, dtype=torch.float64)
    distances = (z - center).norm(dim=1).tolist()
    roots = [
        brentq(lambda r, R=R: r * (1 + (total - alpha) / (alpha + r)) - R, 0, R + total, xtol=1e-14) for R in distances
    ]
    torch.testing.assert_close((layer.inverse(z)[0] - center).norm(dim=1).tolist(), roots, rtol=0, atol=1e-10)


def test_the_center_of_a_radial_layer_stays_where_it_is():
    layer = scattered(Radial(4), 1.0)
    center = layer.raw[None, :4].detach().requires_grad_()
    for direction in (layer, layer.inverse):
        z, log_det = direction(center)
        assert torch.equal(z, center)
        assert log_det.isfinite().all()
        assert all(part.isfinite().all() for part in torch.autograd.grad(z.sum() + log_det.sum(), [center, layer.raw]))


def test_a_radial_layer_maps_points_whose_squares_overflow():
    layer = scattered(Radial(3), 1.0).float()
    x = torch.tensor([1e4, 1e19, 1e20, -1e38])[:, None].expand(4, 3)
    z, log_det = layer(x)
    torch.testing.assert_close(z, x, rtol=1e-3, atol=0)  # the identity far out
    torch.testing.assert_close(layer.inverse(z)[0], x, rtol=1e-6, atol=0)
    torch.testing.assert_close(log_det[1:], torch.zeros(3))


@both
def test_it_starts_at_the_identity(build):
    x = torch.randn(5, 3)
    for layer, context in ((build(3), None), (build(3, context_channels=2), torch.randn(5, 2))):
        z, log_det = layer(x, context)
        torch.testing.assert_close(z, x)
        torch.testing.assert_close(log_det, torch.zeros(5))


@both
@pytest.mark.parametrize("conditioner", [None, partial(MLP, width=4), MLP(2, 100, width=4)])
def test_a_context_changes_its_parameters(build, conditioner):
    if isinstance(conditioner, MLP):
        conditioner = MLP(2, len(build(3).raw), width=4)
    layer = perturb(build(3, context_channels=2, conditioner=conditioner))
    x = torch.randn(1, 3).expand(4, 3)
    z, _ = layer(x, torch.randn(4, 2))
    assert len(z.unique(dim=0)) == 4


def test_a_direction_of_length_zero_is_refused():
    layer = Planar(2)
    torch.nn.init.zeros_(layer.raw)
    for direction in (layer, layer.inverse):
        with pytest.raises(ValueError, match="w is zero in a Planar layer and gives no direction; start it away from"):
            direction(torch.zeros(1, 2))
