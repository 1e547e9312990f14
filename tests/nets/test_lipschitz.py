import math

import pytest
import torch
from torch import nn

from inverseflow.nets import LipschitzConv, LipschitzLinear, LipschitzNet, LipSwish
from inverseflow.nets.lipschitz import lipschitz_constant

SIZES = {0: (), 1: (5,), 2: (4, 3), 3: (2, 3, 2)}


def jacobian(function, x):
    """Return the dense Jacobian of a function of a batch at one event."""
    dense = torch.autograd.functional.jacobian(lambda event: function(event[None])[0].flatten(), x)
    return dense.reshape(-1, x.numel())


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("axes", SIZES)
def test_no_singular_value_of_a_scaled_operator_exceeds_the_bound(axes, scale):
    layer = LipschitzConv(3, 4, 3 if axes else 1, max_lipschitz=0.7, spatial_axes=axes).double()
    layer.weight.data.mul_(scale)
    largest = torch.linalg.matrix_norm(jacobian(layer, torch.zeros(3, *SIZES[axes], dtype=torch.float64)), 2)
    assert largest <= 0.7 * (1 + 1e-12)
    if scale == 100:
        assert largest > 0.7 / 1.8  # what is given away is most in a volume of 2×3×2


def test_a_small_weight_is_not_scaled_up():
    layer = LipschitzLinear(3, 4, max_lipschitz=0.9)
    layer.weight.data.mul_(1e-3)
    assert torch.equal(layer.scaled_weight(), layer.weight)


def test_the_bound_is_that_of_the_size_at_hand():
    layer = LipschitzConv(1, 1, max_lipschitz=1.0)
    nn.init.ones_(layer.weight)
    assert float(layer.scaled_weight((1, 1)).detach()[0, 0, 1, 1]) == pytest.approx(
        1 / 9, rel=1e-4
    )  # 3 · 3, the norm on the torus


def test_training_evaluation_and_loading_see_the_same_scale():
    layer, other = LipschitzConv(2, 3).train(), LipschitzConv(2, 3).eval()
    layer.weight.data.mul_(10)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 5, 4)
    assert torch.equal(other(x), layer(x))
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_the_activation_has_slopes_of_at_most_one_and_tells_them():
    x = torch.linspace(-80, 80, 4001, dtype=torch.float64, requires_grad=True)
    for beta in (0.05, 1.0, 3.0):
        activation = LipSwish(beta).double()
        assert nn.functional.softplus(activation.raw_beta).item() == pytest.approx(beta, rel=1e-6)
        (slope,) = torch.autograd.grad(activation(x).sum(), x)
        value, told = activation.with_slope(x)
        torch.testing.assert_close((value, told), (activation(x), slope))
        assert -0.1 < slope.min() < slope.max() <= 1


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("axes", SIZES)
def test_the_jacobian_of_a_network_has_the_norm_that_it_promises_and_its_linearization_is_that_jacobian(axes, depth):
    net = LipschitzNet(2, 2, width=5, depth=depth, max_lipschitz=0.8, spatial_axes=axes).double()
    for parameter in net.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    x = 3 * torch.randn(2, *SIZES[axes], dtype=torch.float64)
    dense = jacobian(net, x)
    assert torch.linalg.matrix_norm(dense, 2) <= 0.8 * (1 + 1e-12)
    value, push = net.bind(SIZES[axes]).linearize(x[None])
    columns = push(torch.eye(x.numel(), dtype=torch.float64).view(-1, 1, *x.shape))
    torch.testing.assert_close(columns.flatten(1).T, dense)
    torch.testing.assert_close(value, net(x[None]))


def test_a_network_starts_at_zero_with_hidden_layers_of_flat_spectra():
    net = LipschitzNet(3, 3, width=8, max_lipschitz=0.9)
    assert torch.equal(net(torch.randn(2, 3)), torch.zeros(2, 3))
    for layer in [*net.layers][:2]:
        values = torch.linalg.svdvals(layer.scaled_weight().detach())
        torch.testing.assert_close(values, values[:1].expand_as(values))
        assert 0.9 ** (1 / 3) / 1.01 < values[0] <= 0.9 ** (1 / 3) * (1 + 1e-6)


def test_a_context_moves_the_network_without_limit_but_not_its_constant():
    net = LipschitzNet(3, 3, width=6, max_lipschitz=0.5, context_channels=2).double()
    for parameter in net.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    x, context = torch.randn(3, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    far = net(x[None], 1000 * context) - net(x[None], context)
    assert far.norm() > 10
    dense = jacobian(lambda event: net(event, 1000 * context), x)
    assert torch.linalg.matrix_norm(dense, 2) <= 0.5


def test_a_spatial_context_acts_on_each_place():
    net = LipschitzNet(1, 1, width=4, spatial_axes=2, context_channels=1, kernel_size=1)
    nn.init.ones_(net.layers[-1].weight)
    context = torch.zeros(1, 1, 3, 3)
    context[..., 1, 2] = 1
    changed = net(torch.zeros(1, 1, 3, 3), context) != net(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3))
    assert changed[0, 0].nonzero().tolist() == [[1, 2]]


def test_a_sequential_has_the_product_of_the_constants_of_its_parts():
    net = nn.Sequential(LipschitzLinear(2, 3, max_lipschitz=0.5), nn.ELU(), nn.Sequential(LipSwish(), nn.Softplus()))
    net.append(LipschitzLinear(3, 2, max_lipschitz=3.0))
    assert lipschitz_constant(net) == pytest.approx(1.5)


@pytest.mark.parametrize("net", [nn.Linear(2, 2), nn.ELU(alpha=2), nn.Sequential(nn.ReLU())], ids=repr)
def test_a_part_of_unknown_constant_is_refused_with_what_to_take(net):
    with pytest.raises(TypeError, match="constant of (Linear|ELU|ReLU) is not known; take LipschitzNet"):
        lipschitz_constant(net)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel_size must be odd, got 2"):
        LipschitzConv(2, 2, 2)


def test_a_context_that_the_network_is_not_built_for_is_refused():
    with pytest.raises(ValueError, match=r"built with context_channels=None, got one of shape \(1, 2\)"):
        LipschitzNet(1, 1, width=2)(torch.zeros(1, 1), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="built with context_channels=2, got none"):
        LipschitzNet(1, 1, width=2, context_channels=2)(torch.zeros(1, 1))


def test_input_of_other_axes_is_refused():
    with pytest.raises(ValueError, match="build it with spatial_axes=1"):
        LipschitzNet(2, 2, width=2)(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="build it with spatial_axes=0"):
        LipschitzConv(2, 2)(torch.zeros(1, 2))


def test_the_kernels_at_both_ends_are_wide_and_those_between_pointwise():
    net = LipschitzNet(2, 3, width=4, depth=3, max_lipschitz=0.5, spatial_axes=1, kernel_size=5)
    assert [tuple(layer.weight.shape) for layer in net.layers] == [(4, 2, 5), (4, 4, 1), (4, 4, 1), (3, 4, 5)]
    assert math.prod(layer.max_lipschitz for layer in net.layers) == pytest.approx(0.5)
