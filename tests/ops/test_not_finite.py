"""Values that are not finite: what a pixel does not depend on cannot harm it, in any backend, batch and width."""

import math

import pytest
import torch

from inverseflow.ops import CORNERS, available_backends, backend, causal_conv2d, inv_conv2d

BACKENDS = [name for name in ("native", "blocked", "dense") if available_backends()[name] is None]
SIZES = [(1, 1, 1, 1), (7, 1, 1, 1), (8, 1, 1, 1), (1, 2, 3, 2), (7, 3, 4, 5), (9, 12, 3, 4), (2, 70, 2, 3)]


@pytest.fixture(params=BACKENDS)
def forced_backend(request):
    with backend(request.param):
        yield


def problem(images, channels, rows, columns):
    x = torch.randn(images, channels, rows, columns)
    weight = 0.3 / channels * torch.randn(channels, channels, 2, 3)
    weight[:, :, -1, -1] += torch.eye(channels)
    return x, weight


def sees(shape, corner, a, b):
    """Return the pixels for which the tap `a` rows and `b` columns before them is inside the image."""
    h = torch.arange(shape[2]).view(-1, 1)
    w = torch.arange(shape[3])
    h = shape[2] - 1 - h if "bottom" in corner else h
    w = shape[3] - 1 - w if "right" in corner else w
    return (h >= a) & (w >= b)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("corner", CORNERS)
def test_a_tap_outside_of_the_image_contributes_nothing_to_the_convolution(forced_backend, corner, shape, value):
    x, weight = problem(*shape)
    finite = causal_conv2d(x, weight, corner=corner)
    weight[0, -1, 0, 1] = value  # one row up and one column to the left, into the first channel
    y = causal_conv2d(x, weight, corner=corner)
    harmed = sees(shape, corner, 1, 1)
    assert not y[:, 0][:, harmed].isfinite().any()
    torch.testing.assert_close(y[:, 0][:, ~harmed], finite[:, 0][:, ~harmed])
    torch.testing.assert_close(y[:, 1:], finite[:, 1:])


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("corner", CORNERS)
def test_a_tap_outside_of_the_image_contributes_nothing_to_the_inverse(forced_backend, corner, shape):
    y, weight = problem(*shape)
    finite = inv_conv2d(y, weight, corner=corner)
    weight[0, -1, 0, 1] = math.nan
    x = inv_conv2d(y, weight, corner=corner)
    reached = sees(shape, corner, 1, 1)
    assert not x[:, 0][:, reached].isfinite().any()
    torch.testing.assert_close(x[:, :, ~reached], finite[:, :, ~reached])


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("operator", [causal_conv2d, inv_conv2d])
def test_gradients_of_taps_outside_of_the_image_are_zero_whatever_arrives(forced_backend, operator, shape):
    x, weight = problem(*shape)
    weight.requires_grad_()
    gradient = torch.full(shape, math.inf)
    (of_weight,) = torch.autograd.grad(operator(x, weight, unitriangular=True), weight, gradient)
    outside = torch.ones(2, 3, dtype=torch.bool)
    for a in range(min(2, shape[2])):
        for b in range(min(3, shape[3])):
            outside[1 - a, 2 - b] = False
    assert (of_weight[:, :, outside] == 0).all()


@pytest.mark.parametrize("channels", [1, 3, 8, 16])
def test_the_gradient_of_a_weight_is_finite_where_its_pixels_are_at_any_width(forced_backend, channels):
    x, weight = problem(2, channels, 4, 4)
    weight.requires_grad_()
    gradient = torch.ones_like(x)
    gradient[0, :, 0, 0] = math.inf  # the first pixel is seen by the last tap alone
    (of_weight,) = torch.autograd.grad(causal_conv2d(x, weight), weight, gradient)
    assert of_weight.flatten(2)[:, :, :-1].isfinite().all()
    read = torch.ones(channels, channels, dtype=torch.bool).tril()
    assert not of_weight[:, :, -1, -1][read].isfinite().any()
