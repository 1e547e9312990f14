import math

import pytest
import torch

from inverseflow.bijections import SplineActivation
from inverseflow.ops import rational_quadratic_spline


def bumpy(layer):
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer.double()


def one_function(layer, number, x):
    parameters = [parameter[number] for parameter in (layer.widths, layer.heights, layer.derivatives)]
    return rational_quadratic_spline(x.flatten(), *parameters, bound=layer.bound)[0].view(x.shape)


def test_a_shared_spline_is_the_same_for_all_elements():
    layer, x = bumpy(SplineActivation(bins=4, bound=2.0)), torch.randn(2, 3, 4, 5).double()
    torch.testing.assert_close(layer(x)[0], one_function(layer, 0, x))
    assert layer.widths.shape == (1, 4)


def test_each_channel_may_have_its_own():
    layer, x = bumpy(SplineActivation(3, bins=4, bound=2.0)), torch.randn(2, 3, 4, 5).double()
    z, _ = layer(x)
    for channel in range(3):
        torch.testing.assert_close(z[:, channel], one_function(layer, channel, x[:, channel]))


def test_each_element_may_have_its_own():
    layer, x = bumpy(SplineActivation(2, size=(3, 4), bins=4, bound=2.0)), torch.randn(5, 2, 3, 4).double()
    z, _ = layer(x)
    for number in range(24):
        c, h, w = number // 12, number // 4 % 3, number % 4
        torch.testing.assert_close(z[:, c, h, w], one_function(layer, number, x[:, c, h, w]))


@pytest.mark.parametrize("options", [{}, {"channels": 3}, {"channels": 3, "size": (4, 5)}])
def test_it_starts_near_the_identity(options):
    x = 3 * torch.randn(2, 3, 4, 5)
    z, log_det = SplineActivation(**options)(x)
    torch.testing.assert_close(z, x, rtol=0, atol=0.3)  # the interval is 20 long
    torch.testing.assert_close(log_det, torch.zeros(2), rtol=0, atol=1.5)


def test_what_lies_outside_is_left_alone():
    layer = bumpy(SplineActivation(bins=3, bound=1.0))
    x = torch.tensor([[-5.0, -1.0, 1.0, 1e30]], dtype=torch.float64)
    z, log_det = layer(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0]


def test_a_batch_wholly_outside_has_finite_gradients():
    layer = bumpy(SplineActivation(bins=3, bound=1.0))
    x = torch.full((4, 2), 50.0, dtype=torch.float64, requires_grad=True)
    z, log_det = layer(x)
    (z.sum() + log_det.sum()).backward()
    assert (x.grad == 1).all()
    assert all((parameter.grad == 0).all() for parameter in layer.parameters())


def test_images_of_any_size_are_taken_unless_every_element_has_its_own():
    for size in ((2, 2), (7, 1)):
        assert SplineActivation(3)(torch.zeros(2, 3, *size))[0].shape == (2, 3, *size)
    layer = SplineActivation(3, size=(2, 2))
    with pytest.raises(
        ValueError, match=r"tied to the size \(2, 2\) .* event of shape \(3, 2, 3\); build one with size=\(2, 3\)"
    ):
        layer(torch.zeros(1, 3, 2, 3))
    with pytest.raises(ValueError, match=r"needs 2 spatial axes .* \(3, 2\)"):
        layer(torch.zeros(1, 3, 2))


BAD_OPTIONS = {
    "one bin": ({"bins": 1}, "bins must be at least 2, got 1"),
    "a bound of zero": ({"bound": 0.0}, "bound must be finite and above 0, got 0.0"),
    "a bound that is no number": ({"bound": math.nan}, "bound must be finite and above 0, got nan"),
    "an infinite bound": ({"bound": math.inf}, "bound must be finite and above 0, got inf"),
    "a size without channels": ({"size": (2, 2)}, r"needs channels too, got size=\(2, 2\)"),
    "more bins than fit": ({"bins": 1000}, "bins must be below 1000"),
    "no channels": ({"channels": 0}, "channels must be at least 1, got 0"),
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_options_that_do_not_fit_are_refused_when_it_is_built(bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        SplineActivation(**options)
