import pytest
import torch

from inverseflow.bijections import ExactConv2d
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops.oracle import same_matrix


@pytest.mark.parametrize("kernel_size", [1, 3, 2, (1, 3), (5, 2)])
@pytest.mark.parametrize("size", [(3, 4), (1, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_convolution_of_the_definition(channels, size, kernel_size):
    layer = scrambled(ExactConv2d(channels, kernel_size), 0.5)
    torch.nn.init.zeros_(layer.bias)
    shape = (channels, *size)
    expected = same_matrix(layer.weight.detach(), *size)
    torch.testing.assert_close(matrix_of(layer, shape), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, shape) @ expected, torch.eye(len(expected)).double())
    log_det = torch.linalg.slogdet(expected).logabsdet.expand(2)
    z, forwards = layer(torch.randn(2, *shape).double())
    torch.testing.assert_close(forwards, log_det, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer.inverse(z)[1], -log_det, rtol=0, atol=1e-9)


def test_the_bias_is_added_to_each_channel():
    layer = scrambled(ExactConv2d(3), 0.3)
    x = torch.zeros(2, 3, 4, 4).double()
    torch.testing.assert_close(layer(x)[0], layer.bias[:, None, None].expand_as(x))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_gradient_of_the_log_determinant_gathers_the_inverse_transpose(kernel_size):
    layer = scrambled(ExactConv2d(2, kernel_size), 0.5)
    (actual,) = torch.autograd.grad(layer(torch.zeros(1, 2, 3, 4).double())[1].sum(), layer.weight)
    weight = layer.weight.detach().requires_grad_()
    matrix = same_matrix(weight, 3, 4)
    (expected,) = torch.autograd.grad(matrix, weight, torch.linalg.inv(matrix.detach()).T)
    torch.testing.assert_close(actual, expected)


def test_a_pointwise_kernel_has_no_limit_on_the_size_of_the_image():
    layer = ExactConv2d(3, 1)
    x = torch.randn(2, 3, 100, 100)
    z, log_det = layer(x)
    torch.testing.assert_close(layer.inverse(z)[0], x)
    torch.testing.assert_close(log_det, 10_000 * torch.linalg.slogdet(layer.weight[:, :, 0, 0]).logabsdet.expand(2))


def test_images_whose_factors_are_too_large_are_refused_before_any_are_computed():
    layer = ExactConv2d(3)
    assert layer.output_shape((3, 100, 100)) == (3, 100, 100)
    message = r"factors have 603979776 entries for an event of shape \(3, 256, 256\), more than 268435456; take smaller"
    with pytest.raises(ValueError, match=message):
        layer.output_shape((3, 256, 256))


def test_both_directions_are_exact_where_elimination_goes_by_blocks():
    layer = scrambled(ExactConv2d(4), 0.2)
    x = torch.randn(3, 4, 14, 12).double()
    expected = torch.linalg.slogdet(same_matrix(layer.weight.detach(), 14, 12)).logabsdet.expand(3)
    z, forwards = layer(x)
    back, backwards = layer.inverse(z)
    torch.testing.assert_close((back, forwards, backwards), (x, expected, -expected))


def test_a_singular_convolution_has_no_inverse_and_says_so():
    layer = ExactConv2d(1)
    torch.nn.init.zeros_(layer.weight)
    with pytest.raises(ValueError, match="1 of 1 matrices of size 16 are singular"):
        layer.inverse(torch.ones(1, 1, 4, 4))


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (12, 3), (16, 5)])
def test_it_starts_near_the_identity(channels, kernel_size):
    x = torch.randn(2, channels, 6, 6)
    z, log_det = ExactConv2d(channels, kernel_size)(x)
    assert (z - x).std() < 0.1
    assert log_det.abs().max() < 0.1 * 36 * channels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be at least 1"),
        ({"channels": 2, "kernel_size": 0}, "kernel_size must be at least 1, got 0"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        ExactConv2d(**options)
