import math
from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import (
    AdditiveCoupling,
    Affine,
    AffineCoupling,
    Compose,
    Coupling,
    Halves,
    Multiscale,
    RationalQuadratic,
    SplitPrior,
    Squeeze,
)
from inverseflow.nets import MLP, ConvNet, ResNet
from inverseflow.ops import rational_quadratic_spline
from tests.contracts.registry import perturb


class Constant(nn.Module):
    """A conditioner that always says the same, and remembers what it was asked."""

    def __init__(self, *prediction):
        super().__init__()
        self.prediction = torch.tensor(prediction)

    def forward(self, kept):
        self.asked = kept
        return self.prediction.expand(len(kept), -1)


def test_an_affine_coupling_scales_and_shifts_the_second_half():
    net = Constant(math.log(2), -math.log(2), 10.0, 20.0)  # two raw scales, then two shifts
    layer = AffineCoupling(4, net, max_log_scale=1e6)
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    z, log_det = layer(x)
    torch.testing.assert_close(z, torch.tensor([[1.0, 2.0, 16.0, 22.0]]))
    torch.testing.assert_close(log_det, torch.zeros(1))
    assert net.asked.tolist() == [[1.0, 2.0]]


def test_an_additive_coupling_shifts_the_second_half():
    z, log_det = AdditiveCoupling(4, Constant(10.0, 20.0))(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert z.tolist() == [[1.0, 2.0, 13.0, 24.0]]
    assert log_det.tolist() == [0.0]


def test_with_swap_the_first_half_is_changed_given_the_second():
    net = Constant(10.0, 20.0)
    z, _ = AdditiveCoupling(5, net, swap=True)(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert z.tolist() == [[11.0, 22.0, 3.0, 4.0, 5.0]]
    assert net.asked.tolist() == [[3.0, 4.0, 5.0]]


def test_of_an_odd_number_of_channels_the_smaller_half_is_kept():
    net = Constant(10.0, 20.0, 30.0)
    z, _ = AdditiveCoupling(5, net)(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert z.tolist() == [[1.0, 2.0, 13.0, 24.0, 35.0]]


def test_as_many_channels_are_kept_as_it_is_told():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    net = Constant(10.0)
    assert AdditiveCoupling(5, net, num_conditioning=4)(x)[0].tolist() == [[1.0, 2.0, 3.0, 4.0, 15.0]]
    assert net.asked.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    net = Constant(10.0, 20.0, 30.0, 40.0)
    assert AdditiveCoupling(5, net, num_conditioning=1, swap=True)(x)[0].tolist() == [[11.0, 22.0, 33.0, 44.0, 5.0]]
    assert net.asked.tolist() == [[5.0]]


@pytest.mark.parametrize("kept", [0, 4, -1, 7])
@pytest.mark.parametrize("swap", [False, True])
def test_a_coupling_that_keeps_or_changes_nothing_is_refused(kept, swap):
    with pytest.raises(ValueError, match=f"num_conditioning must be between 1 and 3, got {kept}"):
        AffineCoupling(4, nn.Identity(), num_conditioning=kept, swap=swap)


@pytest.mark.parametrize("bound", [0.1, 2.0])
def test_no_scale_leaves_the_bound_whatever_the_network_says(bound):
    for raw in (-1e30, 1e30):
        layer = AffineCoupling(2, Constant(raw, 0.0), max_log_scale=bound)
        z, log_det = layer(torch.tensor([[0.0, 1.0]]))
        assert log_det.item() == pytest.approx(math.copysign(bound, raw))
        assert z[0, 1].item() == pytest.approx(math.exp(math.copysign(bound, raw)))


def test_a_context_vector_is_spread_over_the_pixels_behind_the_kept_channels():
    asked = []
    net = nn.Conv2d(1 + 2, 2, 1)
    net.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[0]))
    layer = AdditiveCoupling(3, net, context_channels=2)
    x, context = torch.randn(2, 3, 4, 5), torch.randn(2, 2)
    of_vector = layer(x, context)[0]
    assert torch.equal(asked[0][:, :1], x[:, :1])
    assert torch.equal(asked[0][:, 1:], context[:, :, None, None].expand(2, 2, 4, 5))
    of_image = layer(x, context[:, :, None, None].expand(2, 2, 4, 5))[0]
    torch.testing.assert_close(of_image, of_vector, rtol=0, atol=0)


def test_a_builder_is_asked_for_the_network_that_fits():
    layer = Coupling(5, partial(MLP, width=4), map=RationalQuadratic(bins=3), context_channels=2)
    assert (layer.net[0].in_features, layer.net[-1].out_features) == (2 + 2, 8 * 3)
    assert AffineCoupling(5, partial(MLP, width=4), swap=True).net[-1].out_features == 2 * 2


def test_a_network_that_takes_a_context_gets_it_apart():
    layer = AffineCoupling(4, partial(ResNet, width=8, spatial_axes=0), context_channels=3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, context = torch.randn(2, 4), torch.randn(2, 3)
    z, _ = layer(x, context)
    raw_scale, shift = layer.net(x[:, :2], context).chunk(2, dim=1)
    torch.testing.assert_close(z[:, 2:], x[:, 2:] * (2 * torch.tanh(raw_scale / 2)).exp() + shift)


def test_a_spline_coupling_maps_by_the_spline_that_the_network_predicts():
    prediction = torch.randn(8 * 2)
    layer = Coupling(3, Constant(*prediction.tolist()), map=RationalQuadratic(bins=3, bound=2.0))
    x = torch.tensor([[0.3, -1.0, 1.2]])
    z, log_det = layer(x)
    widths, heights, derivatives = prediction.view(8, 2).T.split([3, 3, 2], dim=1)
    expected, log_derivative = rational_quadratic_spline(x[0, 1:, None], widths, heights, derivatives, bound=2.0)
    torch.testing.assert_close(z[0, 1:], expected[:, 0])
    torch.testing.assert_close(log_det, log_derivative.sum()[None])


def test_a_spatial_context_is_averaged_to_the_size_of_what_sees_it():
    layer = AffineCoupling(2, ConvNet(1 + 3, 2, 4), context_channels=3).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, context = torch.randn(2, 2, 4, 5).double(), torch.randn(2, 3, 8, 15).double()
    pooled = nn.functional.avg_pool2d(context, (2, 3))
    torch.testing.assert_close(layer(x, context), layer(x, pooled))
    torch.testing.assert_close(layer.inverse(x, context), layer.inverse(x, pooled))


def test_each_scale_sees_a_spatial_context_at_its_own_size():
    seen = []

    def coupling(channels):
        net = ConvNet(channels // 2 + 1, channels, 4)
        net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -1:]))
        return AffineCoupling(channels, net, context_channels=1)

    scales = [Compose(coupling(2), Squeeze(), coupling(8)), Compose(Squeeze(), coupling(16))]
    layer = Multiscale(scales, (2, 4, 8))
    x, context = torch.randn(3, 2, 4, 8), torch.randn(3, 1, 4, 8)
    z, _ = layer(x, context)
    layer.inverse(z, context)
    expected = [nn.functional.avg_pool2d(context, factor) for factor in (1, 2, 4)]
    torch.testing.assert_close(seen, expected + expected[::-1])


@pytest.mark.parametrize("size", [(6, 5), (2, 5), (4,), (4, 5, 1), (0, 5)])
def test_a_spatial_context_of_sizes_that_do_not_divide_is_refused(size):
    layer = AffineCoupling(2, ConvNet(1 + 3, 2, 4), context_channels=3)
    with pytest.raises(ValueError, match=r"\(2, 3\) or \(2, 3, 4, 5\), or of multiples of its sizes, got \(2, 3, "):
        layer(torch.randn(2, 2, 4, 5), torch.randn(2, 3, *size))


def test_an_integer_context_is_converted():
    layer = AdditiveCoupling(2, MLP(1 + 3, 1, width=4), context_channels=3)
    nn.init.normal_(layer.net[-1].weight)
    x, classes = torch.randn(4, 2), torch.eye(3, dtype=torch.int64)[[0, 2, 1, 1]]
    torch.testing.assert_close(layer(x, classes), layer(x, classes.float()))


@pytest.mark.parametrize("build", [AffineCoupling, AdditiveCoupling])
@pytest.mark.parametrize("channels", [1, 0])
def test_it_needs_two_channels(build, channels):
    with pytest.raises(ValueError, match=f"channel.*got {channels}"):
        build(channels, nn.Identity())


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    with pytest.raises(ValueError, match=f"max_log_scale must be finite and above 0, got {bound}"):
        AffineCoupling(2, nn.Identity(), max_log_scale=bound)


def test_a_network_of_the_wrong_size_is_named_with_both_shapes():
    x = torch.zeros(3, 4, 5, 5)
    with pytest.raises(ValueError, match=r"must return \(3, 4, 5, 5\), got \(3, 2, 5, 5\)"):
        AffineCoupling(4, ConvNet(2, 2, 3))(x)
    with pytest.raises(ValueError, match=r"changes \(3, 2, 5, 5\) must return \(3, 2, 5, 5\), got \(3, 4, 5, 5\)"):
        AdditiveCoupling(4, ConvNet(2, 4, 3)).inverse(x)
    with pytest.raises(ValueError, match=r"must return \(3, 4, 5, 5\), got \(3, 4, 3, 3\)"):
        AffineCoupling(4, nn.Conv2d(2, 4, 3))(x)


def test_a_learned_prior_gives_the_half_that_leaves_a_mean_and_a_deviation():
    prior = SplitPrior(4)
    with torch.no_grad():
        prior.net.bias.copy_(torch.tensor([math.log(2), math.log(2), 3.0, -3.0]))
    z, log_det = prior(torch.ones(1, 4, 2, 3))
    scale = math.exp(2 * math.tanh(math.log(2) / 2))
    torch.testing.assert_close(z[0, :, 0, 0], torch.tensor([1.0, 1.0, scale + 3, scale - 3]))
    assert log_det.item() == pytest.approx(2 * 6 * math.log(scale))


def test_a_learned_prior_starts_as_a_standard_normal():
    x = torch.randn(2, 5, 3, 4)
    z, log_det = SplitPrior(5)(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0, 0.0]


def test_couplings_may_share_one_network():
    net = MLP(2, 4, width=3)
    first, second = AffineCoupling(4, net), AffineCoupling(4, net, swap=True)
    assert first.net is second.net


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "spline"}, "map must be an instance of ElementwiseMap, got 'spline'"),
        ({"map": Affine}, "map must be an instance of ElementwiseMap, got <class"),
        ({"split": Halves}, "split must be an instance of Split, got <class"),
        ({"conditioner": 3}, "a conditioner is a network, or a function that builds one, got 3"),
        ({"conditioner": lambda seen, predicted: predicted}, "must return a torch.nn.Module, got 2"),
    ],
)
def test_what_is_no_map_split_or_conditioner_is_refused_when_the_coupling_is_built(options, message):
    with pytest.raises(TypeError, match=message):
        Coupling(2, **{"conditioner": partial(MLP, width=4), **options})


def test_a_context_of_whole_numbers_is_averaged_and_used_like_any_other():
    layer = perturb(Coupling(2, partial(ConvNet, width=4), context_channels=1))
    x, labels = torch.randn(2, 2, 2, 2), torch.randint(5, (2, 1, 4, 4))
    assert torch.equal(layer(x, labels)[0], layer(x, labels.float())[0])


def test_a_context_that_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="a context is a tensor, got list; convert with torch.as_tensor"):
        Coupling(2, partial(MLP, width=4), context_channels=1)(torch.randn(1, 2), [[1.0]])
