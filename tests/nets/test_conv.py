import math
from functools import partial

import pytest
import torch

from inverseflow.nets import ConvNet, ZeroConv


@pytest.mark.parametrize("size", [(4,), (4, 5), (4, 5, 2)])
def test_both_start_at_zero(size):
    x = torch.randn(2, 3, *size)
    assert torch.equal(ZeroConv(3, 6, spatial_axes=len(size))(x), torch.zeros(2, 6, *size))
    assert torch.equal(ConvNet(3, 6, width=8, spatial_axes=len(size))(x), torch.zeros(2, 6, *size))


def test_on_a_line_of_pixels_more_axes_change_nothing():
    line, plane, volume = (ConvNet(2, 3, width=4, spatial_axes=axes) for axes in (1, 2, 3))
    for parameter in line.parameters():
        torch.nn.init.normal_(parameter)
    for net in (plane, volume):
        for parameter, of_line in zip(net.parameters(), line.parameters(), strict=True):
            torch.nn.init.normal_(parameter)  # its outer taps meet the padding alone
            middle = parameter
            while middle.ndim > of_line.ndim:
                middle = middle[:, :, middle.shape[2] // 2]
            middle.data.copy_(of_line)
    x = torch.randn(2, 2, 7)
    torch.testing.assert_close(plane(x[:, :, None])[:, :, 0], line(x))
    torch.testing.assert_close(volume(x[:, :, None, None])[:, :, 0, 0], line(x))


@pytest.mark.parametrize("axes", [0, 4])
def test_there_are_convolutions_over_one_to_three_axes(axes):
    for build in (ZeroConv, partial(ConvNet, width=4)):
        with pytest.raises(ValueError, match=f"spatial_axes must be between 1 and 3, got {axes}"):
            build(2, 3, spatial_axes=axes)


def test_a_seed_gives_the_weights_that_it_always_gave():
    torch.manual_seed(3)
    net, after = ConvNet(2, 3, width=4), torch.rand(())
    torch.manual_seed(3)
    layers = torch.nn.Conv2d(2, 4, 3), torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 3, 3)
    assert torch.equal(net[0].weight, layers[0].weight)
    assert torch.equal(net[2].weight, layers[1].weight)
    assert torch.equal(after, torch.rand(()))


def test_the_gain_scales_each_output_channel_by_the_exponential_of_three_times_itself():
    layer = ZeroConv(2, 3)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 4, 5)
    before = layer(x)
    with torch.no_grad():
        layer.gain[1] = math.log(2) / 3
    torch.testing.assert_close(layer(x), before * torch.tensor([1.0, 2.0, 1.0]).view(3, 1, 1))


def test_it_is_a_same_padded_convolution():
    layer = ZeroConv(2, 3, kernel_size=5)
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(2, 2, 4, 5)
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, layer.weight, padding=2))


@pytest.mark.parametrize("kernel_size", [2, 4, 0])
def test_an_even_kernel_is_refused_for_it_would_change_the_size(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size must be .* got {kernel_size}"):
        ZeroConv(2, 3, kernel_size=kernel_size)


def test_the_first_gradient_reaches_the_last_layer():
    net = ConvNet(2, 3, width=4)
    net(torch.randn(2, 2, 4, 4)).sum().backward()
    assert net[-1].weight.grad.any()


def test_the_network_sees_two_pixels_far_and_no_further():
    net = ConvNet(1, 1, width=4)
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)
    x = torch.zeros(1, 1, 7, 7)
    spike = x.clone()
    spike[0, 0, 3, 3] = 1.0
    reach = (net(spike) != net(x))[0, 0].nonzero()
    assert reach.amin(0).tolist() == [1, 1]
    assert reach.amax(0).tolist() == [5, 5]


@pytest.mark.parametrize("width", [0, -1])
def test_a_network_without_hidden_channels_is_refused(width):
    with pytest.raises(ValueError, match=f"width.* at least 1, got {width}"):
        ConvNet(2, 3, width=width)
