"""The rational-quadratic spline against its definition, point by point."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverseflow.ops import rational_quadratic_spline

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)
LEAST = 1e-3  # share of the interval of a bin, and derivative of a knot


def knots(widths, heights, derivatives, bound):
    """Return the knots and their derivatives in numpy, from unnormalised parameters of one function."""

    def edges(unnormalised):
        shares = np.exp(unnormalised - unnormalised.max())
        shares = LEAST + (1 - LEAST * len(shares)) * shares / shares.sum()
        return bound * (2 * np.concatenate([[0], shares.cumsum()]) - 1)

    shift = math.log(math.exp(1 - LEAST) - 1)
    inner = LEAST + np.logaddexp(0, derivatives + shift)
    return edges(widths), edges(heights), np.concatenate([[1], inner, [1]])


def at(x, knots_x, knots_y, slopes):
    """Evaluate the spline and its derivative at one point: Durkan et al. 2019, equations 4 and 5."""
    if not knots_x[0] < x < knots_x[-1]:
        return x, 1.0
    k = max(i for i in range(len(knots_x) - 1) if knots_x[i] <= x)
    width, height = knots_x[k + 1] - knots_x[k], knots_y[k + 1] - knots_y[k]
    s, xi, d0, d1 = height / width, (x - knots_x[k]) / width, slopes[k], slopes[k + 1]
    denominator = s + (d1 + d0 - 2 * s) * xi * (1 - xi)
    y = knots_y[k] + height * (s * xi**2 + d0 * xi * (1 - xi)) / denominator
    derivative = s**2 * (d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2) / denominator**2
    return y, derivative


def parameters(bins, functions=(), scale=1.0, dtype=torch.float64):
    sizes = (bins, bins, bins - 1)
    return [scale * torch.randn(*functions, size, dtype=dtype) for size in sizes]


@st.composite
def splines(draw):
    """Draw points, unnormalised parameters and a bound, for none, one or two axes of functions."""
    functions = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    bins, bound = draw(st.integers(1, 8)), draw(st.sampled_from([0.5, 1.0, 10.0]))
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 3.0]))
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 2**32)))
        points = draw(st.integers(0, 20))
        x = 0.8 * bound * torch.randn(*functions, points, dtype=torch.float64)
        return x, parameters(bins, functions, scale), bound


@EXAMPLES
@given(splines())
def test_values_and_derivatives_are_those_of_the_definition(spline):
    x, unnormalised, bound = spline
    y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=bound)
    assert y.shape == log_derivative.shape == x.shape
    functions = math.prod(x.shape[:-1])
    of_functions = [parameter.reshape(functions, parameter.shape[-1]).numpy() for parameter in unnormalised]
    for f in range(functions):
        table = knots(*(parameter[f] for parameter in of_functions), bound)
        points = x.reshape(functions, x.shape[-1])[f]
        expected = [at(point.item(), *table) for point in points]
        for index, (value, derivative) in enumerate(expected):
            assert y.reshape(functions, len(points))[f, index].item() == pytest.approx(value, rel=1e-9, abs=1e-9)
            found = log_derivative.reshape(functions, len(points))[f, index].exp().item()
            assert found == pytest.approx(derivative, rel=1e-8)


@EXAMPLES
@given(splines())
def test_the_inverse_undoes_it_and_its_log_derivative(spline):
    x, unnormalised, bound = spline
    y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=bound)
    back, log_derivative_back = rational_quadratic_spline(y, *unnormalised, bound=bound, inverse=True)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_derivative_back, -log_derivative, rtol=0, atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
@EXAMPLES
@given(splines())
def test_log_derivatives_are_those_of_autograd(inverse, spline):
    x, unnormalised, bound = spline
    x.requires_grad_()
    y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=bound, inverse=inverse)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope.log(), log_derivative, rtol=0, atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 100.0])
def test_it_rises_and_stays_within_its_interval(scale, inverse):
    unnormalised = parameters(8, scale=scale)
    x = torch.linspace(-1.2, 1.2, 4001, dtype=torch.float64)
    y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)
    assert (y.diff() > 0).all()
    assert log_derivative.isfinite().all()
    inside = x.abs() < 1
    assert (y[inside].abs() <= 1).all()
    assert torch.equal(y[~inside], x[~inside])
    assert (log_derivative[~inside] == 0).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_values_and_slopes_do_not_jump_at_knots_nor_at_the_ends(inverse):
    unnormalised = parameters(6)
    knots_x, knots_y, slopes = knots(*(parameter.numpy() for parameter in unnormalised), 2.0)
    places, images = (knots_y, knots_x) if inverse else (knots_x, knots_y)
    signs = -1 if inverse else 1
    for side in (-1e-9, 0, 1e-9):
        x = torch.from_numpy(places) + side
        y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=2.0, inverse=inverse)
        torch.testing.assert_close(y, torch.from_numpy(images), rtol=0, atol=1e-6)
        torch.testing.assert_close(log_derivative, signs * torch.from_numpy(slopes).log(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_agree_with_finite_differences(inverse):
    x = torch.tensor([[-1.7, -0.31, 0.02, 0.9, 1.2], [-0.99, -0.5, 0.11, 0.44, 0.98]], dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (x, *parameters(4, (2,)))]

    def function(*leaves):
        return rational_quadratic_spline(*leaves, bound=1.0, inverse=inverse)

    assert torch.autograd.gradcheck(function, leaves)


def test_zeros_everywhere_give_the_identity():
    zeros = [torch.zeros(n, dtype=torch.float64) for n in (5, 5, 4)]
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    y, log_derivative = rational_quadratic_spline(x, *zeros, bound=2.0)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_derivative, torch.zeros_like(x))


HARD = [-math.inf, -1e38, -1e4, -1.0 - 1e-7, -1.0, -1.0 + 1e-7, 0.0, -0.0, 1e-45, 1.0 - 1e-7, 1.0, 1e4, 1e38, math.inf]


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_gradient_is_nan_however_far_outside_or_at_the_edge_a_point_lies(dtype, inverse):
    x = torch.tensor(HARD, dtype=dtype, requires_grad=True)
    unnormalised = [parameter.requires_grad_() for parameter in parameters(5, dtype=dtype)]
    y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)
    outside = x.abs() >= 1
    assert torch.equal(y[outside], x[outside])
    assert not y.isnan().any()
    gradients = torch.autograd.grad(y[y.isfinite()].sum() + log_derivative.sum(), [x, *unnormalised])
    assert all(gradient.isfinite().all() for gradient in gradients)
    (slope,) = torch.autograd.grad(
        rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)[0], x, torch.ones_like(x)
    )
    assert (slope[outside] == 1).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_a_nan_stays_where_it_is(inverse):
    unnormalised = parameters(5)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected, expected_log_derivative = rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)
    x[3] = torch.nan
    y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)
    others = torch.arange(9) != 3
    assert y[3].isnan()
    assert torch.equal(y[others], expected[others])
    assert torch.equal(log_derivative[others], expected_log_derivative[others])


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float32, 1e2), (torch.float32, 1e4), (torch.float64, 1e4), (torch.float64, 1e8)]
)
def test_brutal_parameters_leave_all_finite(dtype, scale):
    unnormalised = [parameter.requires_grad_() for parameter in parameters(8, (50,), scale, dtype)]
    x = torch.linspace(-1.1, 1.1, 200, dtype=dtype).expand(50, 200).clone().requires_grad_()
    for inverse in (False, True):
        y, log_derivative = rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)
        assert y.isfinite().all()
        assert log_derivative.isfinite().all()
        gradients = torch.autograd.grad(y.sum() + log_derivative.sum(), [x, *unnormalised])
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_in_single_precision_the_inverse_is_a_point_that_the_spline_maps_back(scale):
    unnormalised = parameters(8, (200,), scale, torch.float32)
    y = torch.linspace(-1.05, 1.05, 301).expand(200, 301)
    x, _ = rational_quadratic_spline(y, *unnormalised, bound=1.0, inverse=True)
    back, _ = rational_quadratic_spline(x, *unnormalised, bound=1.0)
    torch.testing.assert_close(back, y, rtol=0, atol=1e-4)  # the steepest slope, 500, times a few roundings of x


@pytest.mark.parametrize("inverse", [False, True])
def test_many_bins_are_as_good_as_few(inverse):
    unnormalised = parameters(500)
    x = torch.linspace(-1, 1, 100, dtype=torch.float64)
    y, _ = rational_quadratic_spline(x, *unnormalised, bound=1.0, inverse=inverse)
    back, _ = rational_quadratic_spline(y, *unnormalised, bound=1.0, inverse=not inverse)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)


def test_the_layout_in_memory_does_not_matter():
    unnormalised = [parameter.T.contiguous().T for parameter in parameters(4, (3,))]
    x = torch.randn(7, 3, dtype=torch.float64).T
    of_views = rational_quadratic_spline(x, *unnormalised, bound=1.0)
    of_copies = rational_quadratic_spline(x.contiguous(), *(p.contiguous() for p in unnormalised), bound=1.0)
    torch.testing.assert_close(of_views, of_copies, rtol=0, atol=0)


X, W, H, D = torch.zeros(2, 5), torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 3)

BAD_ARGUMENTS = {
    "other functions": ((X, W[:1], H, D), {}, ValueError, r"\(2, 5\) need .* \(2, 3\)\), got \(\(1, 4"),
    "more heights than widths": ((X, W[:, :3], H, D), {}, ValueError, r"got \(\(2, 3\), \(2, 4\), \(2, 3\)\)"),
    "as many derivatives as bins": ((X, W, H, W), {}, ValueError, r"got \(\(2, 4\), \(2, 4\), \(2, 4\)\)"),
    "too many bins": (
        (X, *(torch.zeros(2, n) for n in (1000, 1000, 999))),
        {},
        ValueError,
        "fewer than 1000, got 1000",
    ),
    "no bins": ((X, W[:, :0], H[:, :0], D[:, :0]), {}, ValueError, "at least one bin"),
    "integer points": ((X.int(), W, H, D), {}, TypeError, r"got torch.int32, torch.float32, .* convert with .to\(\)"),
    "points of another dtype": (
        (X.double(), W, H, D),
        {},
        TypeError,
        r"one floating-point dtype, got torch.float64, torch.float32",
    ),
    "heights of another dtype": ((X, W, H.double(), D), {}, TypeError, "torch.float32, torch.float64"),
    "a bound of zero": ((X, W, H, D), {"bound": 0.0}, ValueError, "positive and finite, got 0.0"),
    "a negative bound": ((X, W, H, D), {"bound": -1.0}, ValueError, "positive and finite, got -1.0"),
    "a bound that is no number": ((X, W, H, D), {"bound": math.nan}, ValueError, "positive and finite, got nan"),
    "an infinite bound": ((X, W, H, D), {"bound": math.inf}, ValueError, "positive and finite, got inf"),
}


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("bad", BAD_ARGUMENTS)
def test_a_bad_argument_is_named_with_its_remedy(bad, inverse):
    arguments, options, error, message = BAD_ARGUMENTS[bad]
    with pytest.raises(error, match=message):
        rational_quadratic_spline(*arguments, **{"bound": 1.0, "inverse": inverse, **options})


@pytest.mark.parametrize("inverse", [False, True])
def test_it_maps_over_functions_without_a_warning(inverse):
    x, knots = torch.randn(5, 4, 1), torch.randn(5, 4, 3 * 4 - 1)

    def spline(x, knots):
        return rational_quadratic_spline(x, *knots.split([4, 4, 3], dim=-1), bound=2.0, inverse=inverse)

    torch.testing.assert_close(torch.func.vmap(spline)(x, knots), spline(x, knots))
