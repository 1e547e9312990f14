import math

import pytest
import torch

from inverseflow.nets import ConvNet, ZeroConv2d


def test_both_start_at_zero():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(ZeroConv2d(3, 6)(x), torch.zeros(2, 6, 4, 5))
    assert torch.equal(ConvNet(3, 6, width=8)(x), torch.zeros(2, 6, 4, 5))


def test_the_gain_scales_each_output_channel_by_the_exponential_of_three_times_itself():
    layer = ZeroConv2d(2, 3)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 4, 5)
    before = layer(x)
    with torch.no_grad():
        layer.gain[1] = math.log(2) / 3
    torch.testing.assert_close(layer(x), before * torch.tensor([1.0, 2.0, 1.0]).view(3, 1, 1))


def test_it_is_a_same_padded_convolution():
    layer = ZeroConv2d(2, 3, kernel_size=5)
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(2, 2, 4, 5)
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, layer.weight, padding=2))


@pytest.mark.parametrize("kernel_size", [2, 4, 0])
def test_an_even_kernel_is_refused_for_it_would_change_the_size(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size must be .* got {kernel_size}"):
        ZeroConv2d(2, 3, kernel_size=kernel_size)


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
