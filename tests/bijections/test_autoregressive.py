import math
from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import Additive, Affine, Autoregressive, Inverse, RationalQuadratic
from inverseflow.nets import MLP, MaskedMLP
from tests.contracts.registry import perturb

each_map = pytest.mark.parametrize(
    "map", [Affine(), Additive(), RationalQuadratic(4, 2.0)], ids=["affine", "add", "rq"]
)


def layer_of(channels, *, width=64, **options):
    torch.manual_seed(channels)
    return perturb(Autoregressive(channels, partial(MaskedMLP, width=width), **options).double())


def count_evaluations(net):
    counts = [0]
    net.register_forward_hook(lambda *_: counts.__setitem__(0, counts[0] + 1))
    return counts


class Unmasked(nn.Module):
    """A causal network that is no MaskedMLP: each output is a weighted sum of the earlier inputs."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels // in_channels, in_channels, in_channels))

    def forward(self, x):
        return torch.einsum("poi,bi->bpo", self.weight.tril(-1), x).flatten(1)


@each_map
@pytest.mark.parametrize("order", ["natural", "reversed", [2, 0, 3, 1]])
def test_the_jacobian_is_triangular_in_the_order_and_every_allowed_entry_is_there(order, map):
    layer = layer_of(4, map=map, order=order)
    places = {"natural": [0, 1, 2, 3], "reversed": [3, 2, 1, 0]}.get(order if isinstance(order, str) else "", order)
    x = torch.randn(100, 4, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: layer(row[None])[0][0]))(x)
    in_order = jacobian.abs().amax(0)[places][:, places]
    assert torch.equal(in_order != 0, torch.ones(4, 4).tril().bool())


@each_map
@pytest.mark.parametrize("channels", [1, 2, 63])
@pytest.mark.parametrize("context", [None, 3])
def test_both_solvers_undo_the_layer_and_agree(channels, context, map):
    layer = layer_of(channels, map=map, order="reversed", context_channels=context)
    x = 2 * torch.randn(6, channels, dtype=torch.float64)
    given = [] if context is None else [torch.randn(6, context, dtype=torch.float64)]
    z, log_det = layer(x, *given)
    for layer.solver in ("sequential", "parallel", "auto"):
        for mode in (torch.enable_grad, torch.no_grad):
            with mode():
                back, log_det_back = layer.inverse(z, *given)
            torch.testing.assert_close(back, x, rtol=0, atol=1e-9)  # splines of slope 1000 magnify rounding
            torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-8)


def test_a_linear_network_whitens_a_normal_by_the_cholesky_factor_of_its_precision():
    covariance = torch.randn(5, 5, dtype=torch.float64)
    covariance = covariance @ covariance.T + torch.eye(5)
    layer = Autoregressive(5, partial(MaskedMLP, width=1, depth=0), map=Affine(50.0)).double()
    # z = (x - its mean given those before) / its deviation given those before
    for i in range(5):
        before = covariance[:i, :i]
        slope = torch.linalg.solve(before, covariance[:i, i])
        deviation = (covariance[i, i] - covariance[i, :i] @ slope).sqrt()
        with torch.no_grad():
            layer.net.layers[0].weight[5 + i, :i] = -slope / deviation
            layer.net.layers[0].bias[i] = 50 * torch.atanh(-deviation.log() / 50)
    x = torch.randn(20, 5, dtype=torch.float64)
    z, log_det = layer(x)
    normal = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance)
    standard = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(standard.log_prob(z).sum(1) + log_det, normal.log_prob(x), rtol=0, atol=1e-8)


def test_forward_evaluates_the_network_once_and_the_parallel_inverse_at_most_once_a_channel():
    layer = layer_of(12, solver="parallel")
    counts = count_evaluations(layer.net)
    z, _ = layer(torch.randn(3, 12, dtype=torch.float64))
    assert counts == [1]
    with torch.no_grad():
        layer.inverse(z)
    assert 2 < counts[0] <= 1 + 12 + 1  # forward, passes, log-determinant


def test_the_parallel_inverse_of_a_weakly_coupled_layer_stops_early():
    torch.manual_seed(0)
    layer = Autoregressive(63, partial(MaskedMLP, width=64), solver="parallel").double()
    with torch.no_grad():
        layer.net.layers[-1].weight.normal_(std=0.02)
    x = torch.randn(50, 63, dtype=torch.float64)
    z, _ = layer(x)
    counts = count_evaluations(layer.net)
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-12)
    assert counts[0] < 25


@pytest.mark.parametrize(("coupling", "settles"), [(0.02, True), (1.0, False)])
def test_the_automatic_inverse_takes_few_passes_of_a_weakly_coupled_layer_and_goes_on_in_turn_of_another(
    coupling, settles
):
    torch.manual_seed(0)
    layer = Autoregressive(40, partial(MaskedMLP, width=64)).double()
    with torch.no_grad():
        layer.net.layers[-1].weight.normal_(std=coupling)
    x = torch.randn(8, 40, dtype=torch.float64)
    z, _ = layer(x)
    counts, in_turn = count_evaluations(layer.net), []
    unroll = layer.net.unroll
    layer.net.unroll = lambda *arguments: in_turn.append(1) or unroll(*arguments)
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-9)
    assert (len(in_turn) == 0) == settles
    assert counts[0] <= 12 if settles else counts[0] == 10
    with torch.no_grad():
        layer.inverse(z.repeat(3, 1))  # of more rows in turn at once
    assert len(in_turn) == 2 - settles


@each_map
def test_a_network_of_another_kind_is_inverted_with_one_evaluation_for_each_channel(map):
    layer = Autoregressive(5, Unmasked, map=map).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    z, _ = layer(x)
    counts = count_evaluations(layer.net)
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-9)
    assert counts == [5]


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_gradients_of_the_inverse_are_those_of_a_loop_over_channels(solver):
    layer = layer_of(5, width=8, map=RationalQuadratic(4, 2.0), solver=solver, context_channels=2)
    z = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    context = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    leaves = [z, context, *layer.parameters()]

    def looped():
        columns = torch.zeros(3, 0, dtype=torch.float64)
        for channel in range(5):
            x = torch.cat([columns, torch.zeros(3, 5 - channel, dtype=torch.float64)], 1)
            parameters = layer.net(x, context).unflatten(1, (-1, 5))[:, :, channel, None]
            columns = torch.cat([columns, layer.map.inverse(z[:, channel, None], parameters)[0]], 1)
        return columns

    expected = looped()
    actual, _ = layer.inverse(z, context)
    torch.testing.assert_close(actual, expected)
    weight = torch.randn_like(actual)
    torch.testing.assert_close(
        torch.autograd.grad((weight * actual.sin()).sum(), leaves),
        torch.autograd.grad((weight * expected.sin()).sum(), leaves),
    )


def test_a_third_derivative_of_the_inverse_is_refused():
    layer = layer_of(3, width=8)
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(layer.inverse(z)[0].pow(2).sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable twice, not three times"):
        torch.autograd.grad(first.pow(2).sum(), z, create_graph=True)


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_far_points_come_back_in_single_precision(solver):
    torch.manual_seed(0)
    layer = Autoregressive(6, partial(MaskedMLP, width=16), map=RationalQuadratic(), solver=solver)
    perturb(layer)
    z = (torch.rand(20_000, 6) - 0.5) * 2e4
    with torch.no_grad():
        x, _ = layer.inverse(z)
        again, _ = layer(x)
    assert ((again - z).abs().amax(1) / z.abs().amax(1)).max() < 1e-4


def test_the_inverse_layer_swaps_the_directions_to_the_bit():
    layer = layer_of(4)
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(Inverse(layer).inverse(x), layer(x), rtol=0, atol=0)
    torch.testing.assert_close(Inverse(layer)(x), layer.inverse(x), rtol=0, atol=0)


def test_a_density_of_two_columns_integrates_to_one():
    layer = layer_of(2, map=RationalQuadratic(5, 3.0))
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    with torch.no_grad():
        z, log_det = layer(torch.cartesian_prod(axis, axis))
    density = (-0.5 * z.square().sum(1) - math.log(2 * math.pi) + log_det).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-2)


def test_a_network_without_masks_is_refused_with_the_channels_that_show_it():
    with pytest.raises(ValueError, match=r"outputs for channel 0 depend on channel 0, which is not before it .*Masked"):
        Autoregressive(3, partial(MLP, width=8))


def test_a_network_of_another_order_is_refused():
    with pytest.raises(ValueError, match=r"channel 0 depend on channel 1, which is not before it in the order \(0, 1"):
        Autoregressive(3, MaskedMLP(3, 6, 8, order="reversed"), order=[0, 1, 2])
    Autoregressive(3, MaskedMLP(3, 6, 8, order="reversed"), order=[2, 1, 0])


@pytest.mark.parametrize("size", [3, 9])
def test_a_network_with_another_number_of_outputs_is_refused(size):
    with pytest.raises(ValueError, match=rf"3 channels with 2 parameters each must return \(4, 6\), got \(4, {size}\)"):
        Autoregressive(3, MaskedMLP(3, size, 8))


def test_a_network_that_takes_no_context_is_refused_in_a_conditional_layer():
    with pytest.raises(ValueError, match="takes no context"):
        Autoregressive(3, MaskedMLP(3, 6, 8), context_channels=2)


def test_bad_orders_and_solvers_are_refused():
    with pytest.raises(ValueError, match="order must hold each of 0 … 2 once, got"):
        Autoregressive(3, partial(MaskedMLP, width=8), order=[0, 1, 3])
    with pytest.raises(ValueError, match="unknown solver 'newton': choose 'auto', 'sequential' or 'parallel'"):
        Autoregressive(3, partial(MaskedMLP, width=8), solver="newton")


def test_images_are_refused():
    with pytest.raises(ValueError, match="needs 0 spatial axes"):
        Autoregressive(3, partial(MaskedMLP, width=8))(torch.zeros(2, 3, 4, 4))


def test_building_a_layer_draws_no_more_random_numbers_than_its_network():
    torch.manual_seed(0)
    MaskedMLP(3, 6, 8)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Autoregressive(3, partial(MaskedMLP, width=8))
    assert torch.equal(torch.rand(1), expected)
