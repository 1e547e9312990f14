import math

import numpy
import pytest
import torch
from scipy import interpolate, special

from inverseflow.bijections import (
    Additive,
    Affine,
    Bernstein,
    ComposedMap,
    MixtureCDF,
    MonotoneNetwork,
    RationalQuadratic,
)
from inverseflow.bijections.maps.mixture import mixture_parameters
from inverseflow.errors import ConvergenceError
from inverseflow.ops import rational_quadratic_spline

IDENTITIES = [Affine(0.7), Additive(), RationalQuadratic(bins=4, bound=1.5), Bernstein(degree=5, bound=1.5)]
ROOTS = [MixtureCDF(3), MixtureCDF(3, "gaussian"), MonotoneNetwork(width=3), Bernstein(degree=5, bound=1.5)]
FLOWPP = ComposedMap((MixtureCDF(3), Affine()))
MAPS = [*IDENTITIES[:3], *ROOTS, FLOWPP]
each_map = pytest.mark.parametrize("map", MAPS, ids=repr)
each_root = pytest.mark.parametrize("map", ROOTS, ids=repr)


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


@pytest.mark.parametrize("map", IDENTITIES, ids=repr)
def test_parameters_of_zero_are_the_identity(map):
    x, parameters = drawn(map)
    z, log_derivative = map.forward(x, torch.zeros_like(parameters))
    torch.testing.assert_close((z, log_derivative), (x, torch.zeros_like(x)))


def test_the_parameters_of_a_spline_are_its_widths_then_heights_then_derivatives():
    map = RationalQuadratic(bins=3, bound=2.0)
    x, parameters = torch.randn(1), torch.randn(1, 8)
    spline = rational_quadratic_spline(x, parameters[0, :3], parameters[0, 3:6], parameters[0, 6:], bound=2.0)
    torch.testing.assert_close(map.forward(x, parameters), spline)


def test_the_gain_of_a_spline_multiplies_its_parameters():
    x, parameters = torch.randn(5).double(), torch.randn(5, 8).double()
    by_gain = RationalQuadratic(bins=3, gain=4).forward(x, parameters)
    torch.testing.assert_close(by_gain, RationalQuadratic(bins=3).forward(x, 4 * parameters))
    torch.testing.assert_close(RationalQuadratic(bins=3, gain=4).inverse(by_gain[0], parameters)[0], x)


def test_equal_maps_are_equal_and_show_what_they_are():
    assert RationalQuadratic(8, 5) == RationalQuadratic() != RationalQuadratic(bins=7)
    assert repr(RationalQuadratic()) == "RationalQuadratic(bins=8, bound=5.0, gain=1.0)"


@pytest.mark.parametrize("bins", [1, 1000])
def test_a_spline_of_too_few_or_too_many_bins_is_refused(bins):
    with pytest.raises(ValueError, match=f"bins must be .*got {bins}"):
        RationalQuadratic(bins=bins)


@pytest.mark.parametrize("bound", [0.0, math.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    for build, name in ((Affine, "max_log_scale"), (RationalQuadratic, "bound")):
        with pytest.raises(ValueError, match=f"{name} must be finite and above 0, got {bound}"):
            build(**{name: bound})


def far_and_near(count, generator):
    """Half of the points around 0, half of them anywhere to ±1e4."""
    near = 3 * torch.randn(count // 2, generator=generator)
    return torch.cat([near, 2e4 * (torch.rand(count - count // 2, generator=generator) - 0.5)])


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("map", [*ROOTS, MixtureCDF(8), MonotoneNetwork(), Bernstein()], ids=repr)
def test_single_precision_comes_back_from_however_far_out(map, spread):
    generator = torch.Generator().manual_seed(0)
    x = far_and_near(4000, generator)
    parameters = spread * torch.randn(len(x), map.num_parameters, generator=generator)
    z, log_derivative = map.forward(x, parameters)
    back, log_derivative_back = map.inverse(z, parameters)
    assert ((back - x).abs() <= 1e-4 * x.abs().clamp_min(1)).all()
    torch.testing.assert_close(log_derivative_back, -log_derivative, rtol=0, atol=0.05)


def test_an_inverse_that_rounding_undoes_raises():
    map = MonotoneNetwork(width=2)
    parameters = torch.zeros(1, map.num_parameters)
    parameters[:, :1], parameters[:, 7:9] = -20, 1e5  # a flat line after two high steps
    z, _ = map.forward(torch.tensor([6.0]), parameters)
    with pytest.raises(ConvergenceError, match=r"rounding z in torch.float32 .* MonotoneNetwork.*compute in float64"):
        map.inverse(z, parameters)
    double = map.inverse(map.forward(torch.tensor([6.0]).double(), parameters.double())[0], parameters.double())
    assert double[0].item() == pytest.approx(6, rel=1e-6)


@each_root
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_does_not_come_back_finite(map, value):
    parameters = torch.randn(2, map.num_parameters)
    for direction in (map.forward, map.inverse):
        image, _ = direction(torch.tensor([value, 1.0]), parameters)
        assert not image[0].isfinite()
        assert image[1].isfinite()


@each_root
def test_gradients_of_an_inverse_are_those_of_the_implicit_function(map):
    z = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    parameters = torch.randn(2, map.num_parameters, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(map.inverse, (z, parameters))


def test_gradients_of_a_mixture_can_be_taken_twice():
    x = torch.tensor([-40.0, -12.0, -0.1, 0.0, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    for map in (MixtureCDF(2), MixtureCDF(2, "gaussian")):
        parameters = torch.randn(6, map.num_parameters, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(map.forward, (x, parameters))


@each_root
def test_a_map_is_close_to_the_identity_if_its_parameters_are_zero(map):
    x = torch.linspace(-3, 3, 50)
    z, log_derivative = map.forward(x, torch.zeros(50, map.num_parameters))
    torch.testing.assert_close(z, -z.flip(0), rtol=0, atol=1e-5)
    assert (z - x).abs().max() < 1.2
    assert log_derivative.abs().max() < 1.2


@pytest.mark.parametrize(("kind", "scale"), [("logistic", math.pi / 3**0.5), ("gaussian", 1.0)])
def test_the_mixture_of_zero_parameters_has_the_variance_of_its_kind(kind, scale):
    log_weights, means, scales = mixture_parameters(torch.zeros(12), kind)
    variance = (log_weights.exp() * (means**2 + (scale * scales) ** 2)).sum()
    assert variance.sqrt().item() == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "cdf", "quantile"), [("logistic", special.expit, special.logit), ("gaussian", special.ndtr, special.ndtri)]
)
def test_a_mixture_is_mapped_by_its_distribution_function(kind, cdf, quantile):
    map, x = MixtureCDF(3, kind), torch.linspace(-4, 4, 33, dtype=torch.float64)
    parameters = torch.randn(1, map.num_parameters, dtype=torch.float64).expand(33, -1)
    log_weights, means, scales = (tensor.numpy() for tensor in mixture_parameters(parameters.T, kind))
    probability = (numpy.exp(log_weights) * cdf((x.numpy() - means) / scales)).sum(0)
    z, _ = map.forward(x, parameters)
    torch.testing.assert_close((z - 0.02 * x) / 0.98, torch.from_numpy(quantile(probability)), rtol=1e-11, atol=1e-11)


def test_a_network_is_what_its_formula_says():
    map, x = MonotoneNetwork(width=3), torch.randn(7, dtype=torch.float64)
    parameters = torch.randn(7, map.num_parameters, dtype=torch.float64)
    linear, first, bias, hidden_bias, last, hidden = map._prepare(parameters.T)
    z, _ = map.forward(x, parameters)
    for row in range(7):
        units = (first[:, row] * x[row] + bias[:, row]).tanh()
        expected = linear[row] * x[row] + last[:, row] @ (hidden[:, :, row] @ units + hidden_bias[:, row]).tanh()
        torch.testing.assert_close(z[row], expected)


def test_a_bernstein_polynomial_is_that_of_scipy_with_straight_continuations():
    map, x = Bernstein(degree=4, bound=2.0), torch.linspace(-2, 2, 9, dtype=torch.float64)
    parameters = torch.randn(1, 5, dtype=torch.float64)
    first, increments = map._prepare(parameters.T)
    coefficients = torch.cat([first, (first + increments)[-1:]])
    expected = interpolate.BPoly(coefficients.numpy(), [-2.0, 2.0])(x.numpy())
    z, log_derivative = map.forward(x, parameters.expand(9, -1))
    torch.testing.assert_close(z, torch.from_numpy(expected))
    ends, slopes = z[[0, -1]], log_derivative[[0, -1]].exp()
    outside, log_slopes = map.forward(torch.tensor([-5.0, 1e4]).double(), parameters.expand(2, -1))
    torch.testing.assert_close(outside, ends + slopes * torch.tensor([-3.0, 9998.0]).double())
    torch.testing.assert_close(log_slopes.exp(), slopes)


def test_a_composed_map_is_that_of_flow_plus_plus():
    x, parameters = drawn(FLOWPP)
    affine = parameters[:, 9:].numpy()
    log_weights, means, scales = (
        tensor.numpy() for tensor in mixture_parameters(parameters[:, :9].movedim(1, 0), "logistic")
    )
    cdf = (numpy.exp(log_weights) * special.expit((x.numpy() - means) / scales)).sum(0)
    expected = (0.98 * special.logit(cdf) + 0.02 * x.numpy()) * numpy.exp(2 * numpy.tanh(affine[:, 0] / 2))
    z, _ = FLOWPP.forward(x, parameters)
    torch.testing.assert_close(z, torch.from_numpy(expected + affine[:, 1]), rtol=1e-10, atol=1e-10)


def test_maps_refuse_sizes_and_kinds_that_they_cannot_have():
    for build, message in (
        (lambda: MixtureCDF(0), "components must be at least 1, got 0"),
        (lambda: MixtureCDF(kind="cauchy"), "unknown kind 'cauchy': choose 'logistic' or 'gaussian'"),
        (lambda: ComposedMap(()), "maps must hold at least one map, got none"),
        (lambda: MonotoneNetwork(0), "width must be at least 1, got 0"),
        (lambda: Bernstein(1), "degree must be between 2 and 64, got 1"),
        (lambda: Bernstein(bound=0), "bound must be finite and above 0, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_what_is_no_map_can_not_be_composed():
    with pytest.raises(TypeError, match="maps must hold instances of ElementwiseMap, got 3"):
        ComposedMap((Affine(), 3))
