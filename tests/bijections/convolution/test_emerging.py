import pytest
import torch

from inverseflow.bijections import CausalConv2d, Conv1x1, EmergingConv2d, LUConv1x1
from tests.bijections.convolution.matrices import matrix_of, scrambled
from tests.ops import oracle


def causal_matrix(convolution, height, width):
    """Return the dense matrix of a causal convolution from its taps and its diagonal."""
    diagonal = convolution.log_diagonal.detach().exp().repeat_interleave(height * width)
    unit = oracle.dense_matrix(convolution.taps.detach(), height, width, corner=convolution.corner, unitriangular=True)
    return diagonal[:, None] * unit


@pytest.mark.parametrize("kernel_size", [3, (5, 1), (3, 5)])
def test_it_is_the_product_of_two_opposed_convolutions_and_a_matrix_at_every_pixel(kernel_size):
    layer = scrambled(EmergingConv2d(3, kernel_size, conv1x1="dense"), 0.3)
    mix, first, second = layer.layers
    assert (first.corner, second.corner) == ("top_left", "bottom_right")
    at_every_pixel = torch.kron(mix.weight.detach().contiguous(), torch.eye(12, dtype=torch.float64))
    expected = causal_matrix(second, 3, 4) @ causal_matrix(first, 3, 4) @ at_every_pixel
    torch.testing.assert_close(matrix_of(layer, (3, 3, 4)), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, (3, 3, 4)), torch.linalg.inv(expected))


@pytest.mark.parametrize(("kernel_size", "rows", "columns"), [(1, 0, 0), (3, 1, 1), (5, 2, 2), ((3, 5), 1, 2)])
@pytest.mark.parametrize("conv1x1", ["lu", "dense"])
def test_each_channel_reaches_the_window_around_its_pixel_and_no_more(kernel_size, rows, columns, conv1x1):
    layer = scrambled(EmergingConv2d(3, kernel_size, conv1x1=conv1x1), 0.3)
    window = torch.zeros(7, 9, dtype=torch.bool)
    window[3 - rows : 4 + rows, 4 - columns : 5 + columns] = True
    for channel in range(3):
        impulse = torch.zeros(1, 3, 7, 9, dtype=torch.float64)
        impulse[:, channel, 3, 4] = 1
        reached = layer(impulse)[0][0] != 0
        assert torch.equal(reached, window.expand(3, -1, -1))


def test_there_are_no_biases():
    layer, nothing = scrambled(EmergingConv2d(3), 0.3), torch.zeros(2, 3, 4, 5).double()
    assert torch.equal(layer(nothing)[0], nothing)
    assert torch.equal(layer.inverse(nothing)[0], nothing)


def test_the_log_determinant_counts_both_diagonals_and_the_mixing_at_every_pixel():
    layer = scrambled(EmergingConv2d(3, 3, conv1x1="dense"), 0.3)
    mix, first, second = layer.layers
    diagonals = first.log_diagonal.sum() + second.log_diagonal.sum()
    expected = 20 * (diagonals + mix.weight.det().abs().log()).item()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert layer(x)[1].tolist() == pytest.approx([expected, expected])
    assert layer.inverse(x)[1].tolist() == pytest.approx([-expected, -expected])


@pytest.mark.parametrize(("conv1x1", "kinds"), [("lu", [LUConv1x1]), ("dense", [Conv1x1]), ("none", [])])
def test_the_mixing_comes_first_in_the_form_asked_for(conv1x1, kinds):
    layers = EmergingConv2d(4, conv1x1=conv1x1).layers
    assert [type(layer) for layer in layers] == [*kinds, CausalConv2d, CausalConv2d]


def test_a_bound_holds_for_the_inverse_of_the_product():
    layer = scrambled(EmergingConv2d(2, 3, conv1x1="none", max_row_sum=0.7))
    smallest = [convolution.log_diagonal.exp().min().item() for convolution in layer.layers]
    inverse = matrix_of(layer.inverse, (2, 4, 5))
    assert inverse.abs().sum(1).max() <= (1 + 1e-9) / smallest[0] / smallest[1] / (1 - 0.7) ** 2


def test_it_starts_near_a_rotation():
    x = torch.randn(4, 12, 16, 16)
    z, log_det = EmergingConv2d(12)(x)
    assert z.square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.1)
    assert log_det.abs().max() < 1e-2


@pytest.mark.parametrize("kernel_size", [2, (3, 4), (4, 3)])
def test_an_even_side_is_refused_with_the_remedy(kernel_size):
    with pytest.raises(ValueError, match="kernel_size must be odd, got .*; its middle tap lies on the pixel itself"):
        EmergingConv2d(4, kernel_size)


def test_other_bad_options_are_named():
    with pytest.raises(ValueError, match="unknown conv1x1 'qr': choose 'lu', 'dense' or 'none'"):
        EmergingConv2d(4, conv1x1="qr")
    with pytest.raises(ValueError, match="strictly between 0 and 1, got 2"):
        EmergingConv2d(4, max_row_sum=2)
    with pytest.raises(ValueError, match="kernel_size must be at least 1, got -1"):
        EmergingConv2d(4, -1)
    with pytest.raises(TypeError, match="kernel_size must be a whole number, got 3.0"):
        EmergingConv2d(4, 3.0)
