import math

import pytest
import torch
import torch.nn.functional as F

from inverseflow.bijections import ActNorm, MaCow, MaskedConvFlow, initialize_from_data
from inverseflow.bijections.convolution.macow import ORDERS
from tests.contracts.registry import perturb

# The tap in row a and column b of a kernel of depth d and half-width m reads at this offset (rows, columns).
OFFSETS = {
    "A": lambda a, b, d, m: (a - d, b - m),
    "B": lambda a, b, d, m: (d - a, b - m),
    "C": lambda a, b, d, m: (b - m, a - d),
    "D": lambda a, b, d, m: (b - m, d - a),
}
each_order = pytest.mark.parametrize("order", ORDERS)
each_kernel = pytest.mark.parametrize("kernel_size", [(2, 3), (1, 1), (3, 5)])


def by_loops(layer, x):
    """Apply the layer to one event pixel by pixel, from the definition."""
    channels, height, width = x.shape
    depth, side = layer.kernel_size
    kernel = layer.conv.weight
    z, log_det = torch.zeros_like(x), 0.0
    for h in range(height):
        for w in range(width):
            hidden = layer.conv.bias.clone()
            for a in range(depth):
                for b in range(side):
                    rows, columns = OFFSETS[layer.order](a, b, depth, side // 2)
                    if 0 <= h + rows < height and 0 <= w + columns < width:
                        hidden = hidden + kernel[:, :, a, b] @ x[:, h + rows, w + columns]
            prediction = layer.head.weight[:, :, 0, 0] @ F.elu(hidden) + layer.head.bias
            prediction = prediction * (3 * layer.head.gain).exp()
            scale = (layer.max_raw_scale * (prediction[:channels] / layer.max_raw_scale).tanh() + 2).sigmoid()
            z[:, h, w] = scale * x[:, h, w] + prediction[channels:]
            log_det = log_det + scale.log().sum()
    return z, log_det


@torch.no_grad()
@each_order
@each_kernel
def test_it_is_what_the_definition_says_pixel_by_pixel(order, kernel_size):
    layer = perturb(MaskedConvFlow(2, order=order, kernel_size=kernel_size, width=3, max_raw_scale=1.5).double())
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    z, log_det = layer(x)
    for i in range(3):
        torch.testing.assert_close((z[i], log_det[i]), by_loops(layer, x[i]))


@each_order
@each_kernel
def test_a_pixel_sees_itself_and_all_of_its_window_before_it_and_nothing_else(order, kernel_size):
    layer = perturb(MaskedConvFlow(2, order=order, kernel_size=kernel_size).double())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0][0], x)
    depth, side = kernel_size
    window = {OFFSETS[order](a, b, depth, side // 2) for a in range(depth) for b in range(side)}
    assert not any(rows == 0 if order in "AB" else columns == 0 for rows, columns in window)
    for h in range(5):
        for w in range(6):
            for h_seen in range(5):
                for w_seen in range(6):
                    block = jacobian[:, h, w, :, h_seen, w_seen] != 0
                    if (h_seen, w_seen) == (h, w):
                        assert torch.equal(block, torch.eye(2, dtype=torch.bool))
                    else:
                        assert bool(block.all()) == bool(block.any()) == ((h_seen - h, w_seen - w) in window)


@each_order
def test_it_starts_as_a_multiplication(order):
    x = torch.randn(2, 3, 4, 5)
    z, log_det = MaskedConvFlow(3, order=order)(x)
    scale = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(z, scale * x)
    torch.testing.assert_close(log_det, torch.full((2,), 60 * math.log(scale)))


@pytest.mark.parametrize(("raw", "scale"), [(-1e6, 0.5), (1e6, 1 / (1 + math.exp(-4)))])
def test_the_scale_stays_between_bounds_whatever_the_parameters(raw, scale):
    layer = MaskedConvFlow(1).double()
    torch.nn.init.constant_(layer.head.bias[:1], raw)
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    z, log_det = layer(x)
    torch.testing.assert_close(z, scale * x)
    assert log_det.tolist() == pytest.approx([9 * math.log(scale)] * 2)
    torch.testing.assert_close(layer.inverse(z)[0], x)


@pytest.mark.parametrize(("channels", "hidden"), [(3, 12), (96, 384), (97, 194), (300, 512)])
def test_the_width_is_that_of_the_publication_unless_given(channels, hidden):
    layer = MaskedConvFlow(channels)
    assert layer.conv.out_channels == hidden
    count = sum(parameter.numel() for parameter in layer.parameters())
    assert count == 8 * channels * hidden + hidden + 4 * channels
    assert MaskedConvFlow(channels, width=7).conv.out_channels == 7


def test_a_unit_is_two_normalizations_each_before_two_opposite_orders():
    unit = MaCow(4, kernel_size=(1, 5), width=6)
    assert [getattr(layer, "order", None) for layer in unit.layers] == [None, "A", "B", None, "C", "D"]
    assert isinstance(unit.layers[0], ActNorm)
    assert isinstance(unit.layers[3], ActNorm)
    assert {layer.kernel_size for layer in unit.layers if isinstance(layer, MaskedConvFlow)} == {(1, 5)}


def test_a_unit_is_initialized_from_data():
    unit, x = MaCow(2), 5 + 3 * torch.randn(32, 2, 4, 4)
    initialize_from_data(unit, x)
    z, _ = unit(x)
    scale = 1 / (1 + math.exp(-2))
    assert z.mean().item() == pytest.approx(0, abs=1e-5)
    assert z.std().item() == pytest.approx(scale**2, rel=1e-2)


BAD_OPTIONS = {
    "an even side": (
        {"kernel_size": (2, 2)},
        r"of kernel_size must be odd, got \(2, 2\); choose 1 or 3",
    ),
    "another even side": ({"kernel_size": (3, 4)}, r"got \(3, 4\); choose 3 or 5"),
    "a side of zero": ({"kernel_size": (2, 0)}, r"kernel_size must be at least 1, got \(2, 0\)"),
    "no rows": ({"kernel_size": (0, 3)}, r"kernel_size must be at least 1, got \(0, 3\)"),
    "no width": ({"width": 0}, "at least 1, got 0"),
    "no channels": ({"channels": 0}, "channels must be at least 1, got 0"),
}


@pytest.mark.parametrize("build", [MaskedConvFlow, MaCow])
@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(build, bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        build(**{"channels": 3, **options})


def test_a_bound_of_zero_is_refused():
    with pytest.raises(ValueError, match="max_raw_scale must be finite and above 0, got 0.0"):
        MaskedConvFlow(3, max_raw_scale=0.0)


def test_an_unknown_order_is_refused_with_the_choice():
    with pytest.raises(ValueError, match="unknown order 'E': choose 'A', 'B', 'C' or 'D'"):
        MaskedConvFlow(3, order="E")
