import math

import pytest
import torch

from inverseflow.bijections import ExponentialConv2d
from inverseflow.bijections.convolution.exponential import series_terms
from inverseflow.ops import conv2d_spectral_norm
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops.oracle import same_matrix

SIZE = (4, 5)


def exponent(layer, size=SIZE):
    return same_matrix(layer.kernel(size).detach().double(), *size)


def matrix_exp(matrix):
    """Return the exponential to rounding; torch 2.13 is off by up to 1e-12 for matrices of small norm."""
    total = term = torch.eye(len(matrix)).double()
    for j in range(1, 60):
        term = term @ matrix / j
        total = total + term
    return total


@pytest.mark.parametrize(("channels", "kernel_size"), [(3, 3), (1, (5, 3)), (2, (1, 3)), (3, 1)])
@pytest.mark.parametrize("bound", [0.1, 0.9, 3.0, 8.0])
@pytest.mark.parametrize("deviation", [0.01, 1.0])
def test_it_is_the_matrix_exponential_of_the_convolution(channels, kernel_size, bound, deviation):
    layer = scrambled(ExponentialConv2d(channels, kernel_size, max_spectral_norm=bound), deviation)
    matrix = exponent(layer)
    scale = math.exp(bound)
    torch.testing.assert_close(matrix_of(layer, (channels, *SIZE)), matrix_exp(matrix), rtol=0, atol=1e-14 * scale)
    torch.testing.assert_close(
        matrix_of(layer.inverse, (channels, *SIZE)), matrix_exp(-matrix), rtol=0, atol=1e-14 * scale
    )
    log_det = torch.linalg.slogdet(matrix_exp(matrix)).logabsdet
    assert layer(torch.zeros(1, channels, *SIZE).double())[1].item() == pytest.approx(float(log_det), abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (12, 9)])
@pytest.mark.parametrize("bound", [0.2, 0.9, 4.0])
@pytest.mark.parametrize("deviation", [1e-4, 0.1, 1e3, 1e20])
def test_the_spectral_norm_never_exceeds_the_bound(deviation, bound, size):
    layer = ExponentialConv2d(3, max_spectral_norm=bound)
    torch.nn.init.normal_(layer.weight, std=deviation)
    norm = conv2d_spectral_norm(layer.kernel(size), size, tolerance=1e-4).value
    assert norm <= bound * (1 + 1e-6)
    if deviation >= 1e3 and size == (12, 9):
        assert norm >= 0.85 * bound  # little is given away


def test_a_weight_within_the_bound_is_left_alone():
    layer = scrambled(ExponentialConv2d(2, max_spectral_norm=0.9), 1e-3)
    assert torch.equal(layer.kernel(SIZE), layer.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tolerance", [0.1, 1e-2, 1e-4, 1e-6, None])
@pytest.mark.parametrize("bound", [0.9, 3.0])
def test_both_directions_err_by_less_than_the_tolerance(bound, tolerance, dtype):
    layer = ExponentialConv2d(2, max_spectral_norm=bound, tolerance=tolerance)
    torch.nn.init.constant_(layer.weight, 1.0)  # all of one sign: it stretches one image nearly by its norm
    layer = layer.to(dtype)
    matrix = exponent(layer)
    largest = torch.linalg.svd(matrix).Vh[0].view(1, 2, *SIZE)  # the image at which the series errs most
    allowed = tolerance or torch.finfo(dtype).eps
    rounding = 8 * math.exp(bound) * torch.finfo(dtype).eps
    for x in (largest, torch.randn(1, 2, *SIZE).double()):
        x = x / x.norm()
        for sign, function in ((1, layer), (-1, layer.inverse)):
            expected = (matrix_exp(sign * matrix) @ x.flatten()).view(x.shape)
            error = (function(x.to(dtype))[0].double() - expected).norm()
            assert error <= allowed + rounding
        back = layer.inverse(layer(x.to(dtype))[0])[0].double()
        assert (back - x).norm() <= (2 * math.exp(bound) + 1) * allowed + math.exp(bound) * rounding


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_stated_error_is_attained_within_two_orders_of_magnitude(tolerance):
    layer = ExponentialConv2d(1, 1, max_spectral_norm=0.9, tolerance=tolerance).double()
    torch.nn.init.constant_(layer.weight, 0.9)
    error = abs(layer(torch.ones(1, 1, 1, 1).double())[0].item() - math.exp(0.9))
    assert 0.01 * tolerance < error <= tolerance


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_log_determinant_of_the_truncated_series_is_as_close_as_promised(tolerance):
    layer = scrambled(ExponentialConv2d(2, tolerance=tolerance))
    exact = layer(torch.zeros(1, 2, *SIZE).double())[1].item()
    truncated = torch.linalg.slogdet(matrix_of(layer, (2, *SIZE))).logabsdet.item()
    assert 0 < abs(exact - truncated) <= 2 * 40 * math.exp(0.9) * tolerance


@pytest.mark.parametrize("norm", [0.01, 0.9, 2.5, 20.0])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-7, 1e-16])
def test_the_series_stops_at_the_first_remainder_below_the_tolerance(norm, tolerance):
    def bound_on_remainder(n):
        return norm ** (n + 1) / math.factorial(n + 1) / (1 - norm / (n + 2)) if n + 2 > norm else math.inf

    n = series_terms(norm, tolerance)
    assert bound_on_remainder(n) <= tolerance * (1 + 1e-12)
    assert n == 0 or bound_on_remainder(n - 1) > tolerance


def test_the_number_of_terms_follows_the_dtype_unless_a_tolerance_is_given():
    layer = ExponentialConv2d(2)
    assert layer.terms(torch.float32) == 9
    assert layer.terms(torch.float64) == 17
    assert ExponentialConv2d(2, tolerance=1.2e-4).terms(torch.float64) == 6


def test_it_starts_near_the_identity():
    for channels in (1, 12, 48):
        x = torch.randn(2, channels, 8, 8)
        z, log_det = ExponentialConv2d(channels)(x)
        assert 0.8 * x.std() < z.std() < 1.5 * x.std()
        assert log_det.abs().max() < 1.5 * 64


BAD_OPTIONS = {
    "an even side": ({"kernel_size": (3, 2)}, r"kernel_size must be odd, got \(3, 2\)"),
    "no side": ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
    "a bound of zero": ({"max_spectral_norm": 0.0}, "finite and above 0, got 0.0"),
    "an infinite bound": ({"max_spectral_norm": math.inf}, "finite and above 0, got inf"),
    "a tolerance of zero": ({"tolerance": 0.0}, "strictly between 0 and 1, got 0.0"),
    "a tolerance that is no number": ({"tolerance": math.nan}, "got nan"),
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        ExponentialConv2d(2, **options)
