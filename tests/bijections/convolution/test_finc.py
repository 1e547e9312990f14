import math

import pytest
import torch

from inverseflow.bijections import FInCConv2d
from inverseflow.ops import CORNERS
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops import oracle


@pytest.mark.parametrize(("channels", "kernel_size"), [(4, 3), (8, (2, 3)), (12, (1, 2))])
def test_each_quarter_of_the_channels_is_convolved_from_its_own_corner(channels, kernel_size):
    layer = scrambled(FInCConv2d(channels, kernel_size), 0.3)
    kernels = layer.taps.detach().chunk(4)
    quarters = [
        oracle.dense_matrix(kernel, 3, 4, corner=corner, unitriangular=True)
        for kernel, corner in zip(kernels, ("top_left", "top_right", "bottom_left", "bottom_right"), strict=True)
    ]
    expected = torch.block_diag(*quarters)
    torch.testing.assert_close(matrix_of(layer, (channels, 3, 4)), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, (channels, 3, 4)), torch.linalg.inv(expected))


def test_an_impulse_spreads_away_from_the_corner_of_its_group():
    layer = FInCConv2d(4, 2)
    torch.nn.init.ones_(layer.taps)
    impulse = torch.zeros(1, 4, 3, 3)
    impulse[:, :, 1, 1] = 1
    reached = layer(impulse)[0][0].nonzero().tolist()
    spread = {"top": (1, 2), "bottom": (0, 1), "left": (1, 2), "right": (0, 1)}
    expected = [
        [channel, row, column]
        for channel, (vertical, horizontal) in enumerate(corner.split("_") for corner in CORNERS)
        for row in spread[vertical]
        for column in spread[horizontal]
    ]
    assert reached == expected


def test_a_unit_diagonal_has_no_log_determinant_and_a_free_one_counts_every_pixel():
    x = torch.randn(2, 8, 3, 5).double()
    assert scrambled(FInCConv2d(8))(x)[1].tolist() == [0.0, 0.0]
    layer = scrambled(FInCConv2d(8, diagonal="free"), 0.1)
    expected = 15 * layer.log_diagonal.sum().item()
    assert layer(x)[1].tolist() == pytest.approx([expected, expected])


def test_the_bound_on_the_inverse_holds():
    inverse = matrix_of(scrambled(FInCConv2d(4, 3, max_row_sum=0.8), 1e3).inverse, (4, 4, 5))
    assert inverse.abs().sum(1).max() <= (1 + 1e-9) / (1 - 0.8)


def test_it_starts_near_the_identity():
    x = torch.randn(4, 12, 16, 16)
    z, _ = FInCConv2d(12)(x)
    assert 0 < (z - x).std() < 0.2


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_channels_that_four_corners_do_not_divide_are_refused_with_the_remedy(channels):
    with pytest.raises(ValueError, match=f"multiple of 4, .* got {channels}; put Squeeze before it"):
        FInCConv2d(channels)


def test_other_bad_options_are_refused_as_by_the_causal_convolution():
    for options, message in (
        ({"diagonal": "zero"}, "unknown diagonal 'zero'"),
        ({"max_row_sum": math.nan}, "strictly between 0 and 1, got nan"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            FInCConv2d(4, **options)
