import math

import pytest
import torch

from inverseflow.bijections import Additive, Affine, RationalQuadratic
from inverseflow.ops import rational_quadratic_spline

MAPS = [Affine(0.7), Additive(), RationalQuadratic(bins=4, bound=1.5)]
each_map = pytest.mark.parametrize("map", MAPS, ids=lambda map: type(map).__name__)


def drawn(map):
    return torch.randn(3, 2, 5, dtype=torch.float64), torch.randn(3, map.num_parameters, 2, 5, dtype=torch.float64)


@each_map
def test_the_log_derivative_is_that_of_automatic_differentiation(map):
    x, parameters = drawn(map)
    x.requires_grad_()
    z, log_derivative = map.forward(x, parameters)
    (slope,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_derivative, slope.log())


@each_map
def test_the_inverse_takes_value_and_log_derivative_back(map):
    x, parameters = drawn(map)
    z, log_derivative = map.forward(x, parameters)
    torch.testing.assert_close(map.inverse(z, parameters), (x, -log_derivative))


@each_map
def test_every_element_has_its_own_parameters(map):
    x, parameters = drawn(map)
    z, _ = map.forward(x, parameters)
    alone, _ = map.forward(x[1:2, 1, 3], parameters[1:2, :, 1, 3])
    torch.testing.assert_close(alone, z[1:2, 1, 3])


@each_map
def test_parameters_of_zero_are_the_identity(map):
    x, parameters = drawn(map)
    z, log_derivative = map.forward(x, torch.zeros_like(parameters))
    torch.testing.assert_close((z, log_derivative), (x, torch.zeros_like(x)))


def test_the_parameters_of_a_spline_are_its_widths_then_heights_then_derivatives():
    map = RationalQuadratic(bins=3, bound=2.0)
    x, parameters = torch.randn(1), torch.randn(1, 8)
    spline = rational_quadratic_spline(x, parameters[0, :3], parameters[0, 3:6], parameters[0, 6:], bound=2.0)
    torch.testing.assert_close(map.forward(x, parameters), spline)


def test_equal_maps_are_equal_and_show_what_they_are():
    assert RationalQuadratic(8, 5) == RationalQuadratic() != RationalQuadratic(bins=7)
    assert repr(RationalQuadratic()) == "RationalQuadratic(bins=8, bound=5.0)"


@pytest.mark.parametrize("bins", [1, 1000])
def test_a_spline_of_too_few_or_too_many_bins_is_refused(bins):
    with pytest.raises(ValueError, match=f"bins must be .*got {bins}"):
        RationalQuadratic(bins=bins)


@pytest.mark.parametrize("bound", [0.0, math.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    for build, name in ((Affine, "max_log_scale"), (RationalQuadratic, "bound")):
        with pytest.raises(ValueError, match=f"{name} must be finite and above 0, got {bound}"):
            build(**{name: bound})
