import itertools

import pytest
import torch

from inverseflow.data import load_images
from inverseflow.densities import PixelCNN, PixelRNN
from inverseflow.densities.autoregressive import Choose
from inverseflow.densities.autoregressive.pixelrnn import _DiagonalLSTM, _RowLSTM, _TwoDiagonals, skew, unskew
from tests.contracts.registry import perturb
from tests.densities.autoregressive.fitting import fit

HEIGHT, WIDTH, FEATURES = 4, 6, 2


def dependencies(layer, u):
    """Return by gradients which pixel of the output ``(H, W, H, W)`` depends on which of the input."""
    h, seen = layer(u).sum((0, 1)), torch.zeros(*u.shape[2:], *u.shape[2:], dtype=torch.bool)
    for i, j in itertools.product(*map(range, h.shape)):
        (gradient,) = torch.autograd.grad(h[i, j], u, retain_graph=True)
        seen[i, j] = (gradient != 0).any(0).any(0)
    return seen


def expected(rule, height=HEIGHT, width=WIDTH):
    """Return the same for a rule that says whether the output (i, j) depends on the input (a, b)."""
    places = itertools.product(range(height), range(width), range(height), range(width))
    return torch.tensor([rule(*place) for place in places]).reshape(height, width, height, width)


def cell_by_hand(activation, cell):
    """Return the cell and the state of one pixel from its activations ``(4 width,)`` and the cell before."""
    out, forget, write, value = activation.chunk(4)
    cell = forget.sigmoid() * cell + write.sigmoid() * value.tanh()
    return cell, out.sigmoid() * cell.tanh()


@pytest.fixture
def u():
    return torch.randn(3, 2 * FEATURES, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 1), (2, 3, 4, 2)])
def test_unskewing_undoes_skewing(shape):
    x = torch.randn(shape)
    assert torch.equal(unskew(skew(x)), x)
    assert skew(x).shape == (*shape[:-1], shape[-1] + shape[-2] - 1)


def test_skewing_makes_columns_of_diagonals():
    x, skewed = torch.randn(3, 4), skew(torch.ones(3, 4))
    assert torch.equal(skewed.sum(1), torch.full((3,), 4.0))
    for i, j in itertools.product(range(3), range(4)):
        assert skew(x)[i, i + j] == x[i, j]


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_row_layer_is_the_loop_over_pixels(u, kernel_size):
    layer, reach = perturb(_RowLSTM(FEATURES, kernel_size, 1).double()), kernel_size // 2
    inputs, weight = layer.of_input(u)[1], layer.of_state.weight  # of one image
    cells = {(-1, j): u.new_zeros(FEATURES) for j in range(WIDTH)}
    states = {(-1, j): u.new_zeros(FEATURES) for j in range(-reach, WIDTH + reach)}
    for i, j in itertools.product(range(HEIGHT), range(WIDTH)):
        activation = inputs[:, i, j]
        for tap in range(kernel_size):
            activation = activation + weight[:, :, tap] @ states.get((i - 1, j + tap - reach), u.new_zeros(FEATURES))
        cells[i, j], states[i, j] = cell_by_hand(activation, cells[i - 1, j])
    h = layer(u)[1]
    by_hand = torch.stack([torch.stack([states[i, j] for j in range(WIDTH)], 1) for i in range(HEIGHT)], 1)
    torch.testing.assert_close(h, by_hand, rtol=0, atol=1e-10)


def test_a_diagonal_layer_is_the_loop_over_pixels(u):
    layer = perturb(_DiagonalLSTM(FEATURES, 1).double())
    inputs, weight, zero = layer.of_input(u)[1], layer.of_state.weight, u.new_zeros(FEATURES)
    cells, states = {}, {}
    for i, j in itertools.product(range(HEIGHT), range(WIDTH)):
        above, left = states.get((i - 1, j), zero), states.get((i, j - 1), zero)
        activation = inputs[:, i, j] + weight[:, :, 0] @ above + weight[:, :, 1] @ left
        cells[i, j], states[i, j] = cell_by_hand(activation, cells.get((i, j - 1), zero))
    by_hand = torch.stack([torch.stack([states[i, j] for j in range(WIDTH)], 1) for i in range(HEIGHT)], 1)
    torch.testing.assert_close(layer(u)[1], by_hand, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_row_layer_sees_a_triangle(u, kernel_size):
    reach = kernel_size // 2
    seen = dependencies(perturb(_RowLSTM(FEATURES, kernel_size, 1).double()), u)
    assert torch.equal(
        seen, expected(lambda i, j, a, b: a <= i and -(i - a) * reach - reach <= b - j <= (i - a) * reach)
    )


def test_a_diagonal_layer_sees_all_above_and_to_the_left(u):
    seen = dependencies(perturb(_DiagonalLSTM(FEATURES, 1).double()), u)
    assert torch.equal(seen, expected(lambda i, j, a, b: a <= i and b <= j))


def test_both_diagonals_see_all_rows_above_and_the_left_of_their_own_row(u):
    seen = dependencies(perturb(_TwoDiagonals(FEATURES, 1).double()), u)
    assert torch.equal(seen, expected(lambda i, j, a, b: a < i or (a == i and b <= j)))


@pytest.mark.parametrize("cell", ["diagonal", "row"])
def test_the_network_sees_every_earlier_pixel_or_part_of_them_and_no_other(cell):
    density = perturb(PixelRNN((1, 3, 7), levels=5, cell=cell, width=3, depth=1, first_kernel_size=3).double())
    x = torch.randint(5, (2, 1, 3, 7)).double().requires_grad_()
    seen = dependencies(lambda x: density.parameters_of(x).flatten(1, 2), x)
    before = expected(lambda i, j, a, b: a < i or (a == i and b < j), 3, 7)
    if cell == "diagonal":
        assert torch.equal(seen, before)
    else:
        assert not (seen & ~before).any()
        assert not seen[1, 0, 0, 3]  # right of the triangle


def test_colors_see_those_before_them_at_their_own_pixel():
    density = perturb(PixelRNN((3, 2, 2), levels=5, width=6, depth=1, first_kernel_size=3).double())
    x = torch.randint(5, (2, 3, 2, 2)).double().requires_grad_()
    parameters = density.parameters_of(x)
    for color in range(3):
        (gradient,) = torch.autograd.grad(parameters[:, :, color, 1, 0].sum(), x, retain_graph=True)
        assert (gradient[:, :, 1, 0] != 0).any(0).tolist() == [other < color for other in range(3)]


def test_a_spatial_context_is_seen_where_it_lies():
    density = perturb(PixelRNN((1, 2, 3), levels=2, width=3, depth=1, context_channels=2).double())
    x, context = torch.randint(2, (4, 1, 2, 3)), torch.randn(4, 2, dtype=torch.float64)
    everywhere = context[:, :, None, None].expand(-1, -1, 2, 3).clone()
    assert density.log_prob(x, everywhere).shape == density.log_prob(x, context).shape == (4,)
    other = everywhere.clone()
    other[:, :, 1, 2] += 1
    changed = density.parameters_of(x, other) - density.parameters_of(x, everywhere)
    assert (changed != 0).any(0).flatten().tolist() == [False] * 5 + [True]


@torch.no_grad()
@pytest.mark.parametrize("cell", ["diagonal", "row"])
def test_sampling_keeps_the_states_of_all_rows(cell):
    density = PixelRNN((2, 4, 3), levels=7, cell=cell, width=4, depth=2, first_kernel_size=5, context_channels=2)
    density, context = perturb(density.double()), torch.randn(3, 2, 4, 3, dtype=torch.float64)
    told = []

    def choose(parameters):
        told.append(parameters)
        return Choose(density.head)(parameters)

    x = density._draw(3, context, choose)
    places = density.element_order
    expected = density.parameters_of(x, context).flatten(2)[:, :, places]
    torch.testing.assert_close(torch.stack(told, 2), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "column"}, "unknown cell 'column': choose 'diagonal' or 'row'"),
        ({"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ({"width": 4}, "width must be a multiple of the 3 colors of a pixel, got 4"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"levels": 1}, "levels must be between 2 and 65536, got 1"),
        ({"event_shape": (3,)}, r"PixelRNN models images \(C, H, W\), got event_shape=\(3,\)"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PixelRNN(**{"event_shape": (3, 4, 4), "width": 3, **options})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_diagonal_layers_learn_digits_nearly_as_well_as_a_pixelcnn_of_equal_size():
    splits = load_images("digits")
    train, test = (images.tensor() // 5 for images in (splits.train, splits.test))  # 4 levels
    bits = {}
    for name, density in (
        ("pixelrnn", PixelRNN((1, 8, 8), levels=4, width=16, depth=2)),
        ("pixelcnn", PixelCNN((1, 8, 8), levels=4, width=16, depth=4)),
    ):
        fit(density, train, 300, batch=64)
        with torch.no_grad():
            bits[name] = density.bits_per_dim(test).mean().item()
    assert bits["pixelrnn"] < 1.05 * bits["pixelcnn"]
