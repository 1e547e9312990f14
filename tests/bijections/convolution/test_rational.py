import pytest
import torch

from inverseflow.bijections import RationalConv2d
from inverseflow.ops import CORNERS
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops import oracle


@pytest.mark.parametrize("inverse_corner", CORNERS)
@pytest.mark.parametrize("corner", ["top_left", "bottom_left"])
def test_the_autoregressive_part_of_z_is_the_moving_average_of_x(corner, inverse_corner):
    layer = scrambled(RationalConv2d(3, (2, 3), corner=corner, inverse_corner=inverse_corner, diagonal="free"), 0.3)
    average, solve = layer.layers
    denominator = solve.taps.detach()
    x = torch.randn(4, 3, 3, 4, dtype=torch.float64)
    z, _ = layer(x)
    scale = average.log_diagonal.detach().exp().view(-1, 1, 1)
    moving_average = scale * oracle.convolve(x, average.taps.detach(), corner=corner, unitriangular=True)
    autoregressive = oracle.convolve(z, denominator, corner=inverse_corner, unitriangular=True)
    torch.testing.assert_close(autoregressive, moving_average)
    expected = torch.linalg.inv(matrix_of(layer, (3, 3, 4)))
    torch.testing.assert_close(matrix_of(layer.inverse, (3, 3, 4)), expected)


def test_its_impulse_response_is_the_series_of_the_quotient():
    layer = RationalConv2d(1, (1, 2), inverse_corner="top_left").double()
    a, b = -0.5, 0.25  # (1 + b s) / (1 + a s), with s a step to the right
    with torch.no_grad():
        layer.layers[0].taps[..., 0] = b
        layer.layers[1].taps[..., 0] = a
    impulse = torch.zeros(1, 1, 1, 6, dtype=torch.float64)
    impulse[..., 0] = 1
    expected = [1.0] + [(b - a) * (-a) ** (n - 1) for n in range(1, 6)]
    assert layer(impulse)[0].flatten().tolist() == pytest.approx(expected)


def test_from_one_corner_equal_parts_cancel():
    layer = scrambled(RationalConv2d(3, 2, corner="top_right", inverse_corner="top_right"), 0.3)
    with torch.no_grad():
        layer.layers[1].taps.copy_(layer.layers[0].taps)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], x)


def test_a_unit_diagonal_has_no_log_determinant_and_a_free_one_counts_every_pixel():
    x = torch.randn(2, 3, 4, 5).double()
    assert scrambled(RationalConv2d(3), 0.1)(x)[1].tolist() == [0.0, 0.0]
    layer = scrambled(RationalConv2d(3, diagonal="free"), 0.1)
    expected = 20 * layer.layers[0].log_diagonal.sum().item()
    assert layer(x)[1].tolist() == pytest.approx([expected, expected])
    assert layer.inverse(x)[1].tolist() == pytest.approx([-expected, -expected])


@pytest.mark.parametrize("brutality", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("inverse_corner", ["top_left", "bottom_right"])
def test_with_a_bound_neither_direction_grows(inverse_corner, brutality):
    layer = scrambled(RationalConv2d(2, 3, inverse_corner=inverse_corner, max_row_sum=0.6), brutality)
    for direction in (layer, layer.inverse):
        assert matrix_of(direction, (2, 5, 6)).abs().sum(1).max() <= (1 + 1e-9) * (1 + 0.6) / (1 - 0.6)


def test_the_bound_scales_with_the_diagonal():
    layer = scrambled(RationalConv2d(3, 2, diagonal="free", max_row_sum=0.6))
    diagonal = layer.layers[0].log_diagonal.detach().exp()
    limit = (1 + 1e-9) * (1 + 0.6) / (1 - 0.6)
    assert matrix_of(layer, (3, 4, 5)).abs().sum(1).max() <= limit * diagonal.max()
    assert matrix_of(layer.inverse, (3, 4, 5)).abs().sum(1).max() <= limit / diagonal.min()


def test_it_starts_near_the_identity():
    x = torch.randn(4, 12, 16, 16)
    z, _ = RationalConv2d(12)(x)
    assert 0 < (z - x).std() < 0.2


def test_both_corners_are_checked():
    with pytest.raises(ValueError, match="unknown corner 'left'"):
        RationalConv2d(3, corner="left")
    with pytest.raises(ValueError, match="unknown corner 'right'"):
        RationalConv2d(3, inverse_corner="right")
