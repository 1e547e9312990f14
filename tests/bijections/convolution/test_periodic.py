import pytest
import torch

from inverseflow.bijections import PeriodicConv2d
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops.oracle import same_matrix


def without_bias(layer):
    torch.nn.init.zeros_(layer.bias)
    return layer


@pytest.mark.parametrize("size", [(4, 5), (5, 4), (6, 6), (5, 5), (4, 3)])
@pytest.mark.parametrize("kernel_size", [1, 3, 2, (1, 3), (2, 3), (4, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_circular_convolution_of_the_definition(channels, kernel_size, size):
    layer = without_bias(scrambled(PeriodicConv2d(channels, kernel_size), 0.5))
    assert_is_circular(layer, (channels, *size))


@pytest.mark.parametrize(("kernel_size", "size"), [((3, 1), (3, 1)), ((1, 2), (1, 2)), (1, (1, 1)), (2, (3, 2))])
def test_it_is_so_too_where_the_kernel_fills_the_image(kernel_size, size):
    assert_is_circular(without_bias(scrambled(PeriodicConv2d(2, kernel_size), 0.5)), (2, *size))


def assert_is_circular(layer, shape):
    size = shape[1:]
    expected = same_matrix(layer.weight.detach(), *size, periodic=True)
    torch.testing.assert_close(matrix_of(layer, shape), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, shape) @ expected, torch.eye(len(expected)).double())
    log_det = torch.linalg.slogdet(expected).logabsdet
    z, forwards = layer(torch.randn(2, *shape).double())
    torch.testing.assert_close(forwards, log_det.expand(2), rtol=0, atol=1e-9)
    torch.testing.assert_close(layer.inverse(z)[1], -log_det.expand(2), rtol=0, atol=1e-9)


def test_the_bias_is_added_to_each_channel():
    layer = scrambled(PeriodicConv2d(3), 0.5)
    x = torch.randn(2, 3, 4, 4).double()
    with_bias, bias = layer(x)[0], layer.bias.detach()
    torch.testing.assert_close(with_bias - bias[:, None, None], without_bias(layer)(x)[0])


def test_log_determinants_in_single_precision_have_no_error_but_that_of_the_weight():
    layer = PeriodicConv2d(16)
    x = torch.randn(1, 16, 16, 16)
    _, log_det = layer(x)
    expected = layer.double()(x.double())[1]
    torch.testing.assert_close(log_det, expected.float(), rtol=1e-7, atol=0)


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (12, 3), (48, 5), (4, (1, 7))])
def test_it_starts_well_conditioned(channels, kernel_size):
    layer = PeriodicConv2d(channels, kernel_size)
    x = torch.randn(2, channels, 16, 16)
    z, _ = layer(x)
    assert 0.8 * x.std() < z.std() < 1.25 * x.std()
    torch.testing.assert_close(layer.inverse(z)[0], x, rtol=0, atol=1e-5)


def test_an_image_smaller_than_the_kernel_is_refused_with_both():
    layer = PeriodicConv2d(2, (3, 5))
    for bad in ((2, 4), (5, 4)):
        with pytest.raises(ValueError, match=rf"kernel of \(3, 5\) around an event of shape \(2, {bad[0]}, {bad[1]}\)"):
            layer.output_shape((2, *bad))


def test_a_singular_frequency_has_no_inverse_and_says_so():
    layer = PeriodicConv2d(1, (1, 2))
    torch.nn.init.ones_(layer.weight)  # the sum of two neighbors: zero at the highest frequency
    x = torch.randn(1, 1, 1, 4)
    assert layer(x)[1] == -torch.inf
    with pytest.raises(ValueError, match="1 of 3 matrices of size 1 are singular, so the map has no inverse"):
        layer.inverse(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be at least 1"),
        ({"channels": 2, "kernel_size": 0}, "kernel_size must be at least 1, got 0"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        PeriodicConv2d(**options)
