import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution

from inverseflow.bijections import AffineCoupling, BijectionTransform, Compose, InverseConv2d, LUConv1x1, Squeeze
from inverseflow.nets import MLP
from tests.contracts.registry import perturb

SHAPE = (2, 4, 4)


def layer():
    return perturb(Compose(LUConv1x1(2), Squeeze(), InverseConv2d(8, diagonal="free")).double())


@pytest.mark.parametrize("batch", [(), (3,), (0,), (2, 3), (2, 1, 3)])
def test_any_batch_shape_is_taken_event_by_event(batch):
    bijection = layer()
    transform = BijectionTransform(bijection, SHAPE)
    x = torch.randn(*batch, *SHAPE, dtype=torch.float64)
    y = transform(x)
    assert y.shape == transform.forward_shape(x.shape) == (*batch, 8, 2, 2)
    assert transform.inverse_shape(y.shape) == x.shape
    log_det = transform.log_abs_det_jacobian(x, y)
    assert log_det.shape == batch
    expected, expected_log_det = bijection(x.reshape(-1, *SHAPE) if x.numel() else torch.zeros(0, *SHAPE).double())
    torch.testing.assert_close((y.flatten(), log_det.flatten()), (expected.flatten(), expected_log_det))
    torch.testing.assert_close(transform.inv(y.clone()), x)
    torch.testing.assert_close(transform.inv.log_abs_det_jacobian(y, x), -log_det)


def test_the_log_determinant_of_other_values_than_the_last_is_computed():
    transform = BijectionTransform(layer(), SHAPE)
    first, second = torch.randn(2, *SHAPE, dtype=torch.float64)
    of_first = transform.log_abs_det_jacobian(first, transform(first))
    transform(second)
    torch.testing.assert_close(transform.log_abs_det_jacobian(first, torch.zeros(())), of_first)


def test_a_distribution_transformed_by_it_has_the_density_of_the_change_of_variables():
    bijection = layer()
    base = Independent(Normal(torch.zeros(8, 2, 2).double(), 1), 3)
    density = TransformedDistribution(base, [BijectionTransform(bijection, SHAPE).inv])
    assert density.event_shape == SHAPE
    x = density.rsample((3, 2))
    z, log_det = bijection(x.flatten(0, 1))
    torch.testing.assert_close(density.log_prob(x), (base.log_prob(z) + log_det).view(3, 2))


def test_a_distribution_and_its_samples_have_gradients():
    bijection = layer()
    base = Independent(Normal(torch.zeros(SHAPE).double(), 1), 3)
    x = TransformedDistribution(base, [BijectionTransform(bijection, SHAPE)]).rsample((2,))
    x.square().sum().backward()
    assert all(parameter.grad is not None for parameter in bijection.layers[0].parameters())


@pytest.mark.parametrize("batch", [(), (5,)])
def test_a_context_is_given_once_or_for_each_event(batch):
    bijection = perturb(AffineCoupling(4, MLP(2 + 3, 4, 5), context_channels=3))
    context = torch.randn(*batch, 3)
    x = torch.randn(2, 5, 4)
    y = BijectionTransform(bijection, (4,), context=context)(x)
    expected, _ = bijection(x.flatten(0, 1), context.expand(2, 5, 3).flatten(0, 1))
    torch.testing.assert_close(y, expected.view(2, 5, 4))


def test_events_of_another_shape_are_refused_with_both_shapes():
    transform = BijectionTransform(layer(), SHAPE)
    with pytest.raises(ValueError, match=r"event shape \(2, 4, 4\), got shape \(3, 2, 4, 5\)"):
        transform(torch.zeros(3, 2, 4, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"event shape \(8, 2, 2\), got shape \(2,\)"):
        transform.inv(torch.zeros(2, dtype=torch.float64))


def test_a_view_without_a_cache_keeps_nothing():
    transform = BijectionTransform(layer(), SHAPE).with_cache(0)
    x = torch.randn(SHAPE, dtype=torch.float64)
    y = transform(x)
    assert transform._last is None
    assert transform.log_abs_det_jacobian(x, y).shape == ()
