import copy

import numpy as np
import pytest
import torch

from inverseflow.nets import MaskedConv


def order_of(colors, spatial):
    """Return the place of each element ``(colors, *spatial)`` in the order: pixel after pixel, color after color."""
    return np.moveaxis(np.arange(np.prod(spatial) * colors).reshape(*spatial, colors), -1, 0)


def dependencies(layer, channels, spatial):
    """Return which output depends on which input, ``(out, *spatial, in, *spatial)``."""
    x = torch.randn(channels, *spatial, dtype=torch.float64)
    return torch.func.jacrev(lambda event: layer(event[None])[0])(x).detach().numpy() != 0


@pytest.mark.parametrize(
    ("colors", "kernel_size", "spatial"),
    [(1, 3, (4, 5)), (3, 3, (3, 4)), (2, (1, 5), (2, 4)), (3, 1, (2, 2)), (2, 5, (6,)), (2, 3, (2, 3, 3))],
)
@pytest.mark.parametrize("strict", [True, False])
def test_an_output_sees_the_taps_before_it_and_no_others(colors, kernel_size, spatial, strict):
    layer = MaskedConv(
        colors, 2 * colors, kernel_size, colors=colors, strict=strict, spatial_axes=len(spatial)
    ).double()
    found = dependencies(layer, colors, spatial)
    order, half = order_of(colors, spatial), np.broadcast_to(kernel_size, len(spatial)) // 2
    expected = np.zeros_like(found)
    axes = len(spatial)
    for index in np.ndindex(found.shape):
        (out, *here), (color, *there) = index[: axes + 1], index[axes + 1 :]
        own, other = order[(out % colors, *here)], order[(color, *there)]
        near = (np.abs(np.subtract(there, here)) <= half).all()
        expected[index] = near and (other < own if strict else other <= own)
    assert np.array_equal(found, expected)


def test_taps_that_no_output_sees_are_not_stored():
    assert MaskedConv(1, 1, 5).weight.shape == (1, 1, 3, 5)
    assert MaskedConv(1, 1, (1, 5)).weight.shape == (1, 1, 1, 3)
    assert MaskedConv(1, 1, 5, spatial_axes=1).weight.shape == (1, 1, 3)


def test_masks_are_not_saved_and_survive_an_empty_copy():
    layer = MaskedConv(2, 4, 3, colors=2, strict=True)
    assert set(layer.state_dict()) == {"weight", "bias"}
    empty = copy.deepcopy(layer).to("meta").to_empty(device="cpu")
    assert torch.equal(empty.mask, layer.mask)


def test_outputs_keep_the_spread_of_the_inputs_whatever_the_mask_leaves():
    torch.manual_seed(0)
    x = torch.randn(20, 3, 9, 9)
    for layer in (MaskedConv(3, 300, 3, colors=3, strict=True), MaskedConv(3, 300, 1, colors=3)):
        assert 0.4 < layer(x)[:, :, 1:, 1:-1].std() < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 8, 3), "out_channels must be a multiple of the 3 colors of a pixel, got 8"),
        ((4, 6, 3), "in_channels must be a multiple of the 3 colors of a pixel, got 4"),
        ((3, 6, 4), "kernel_size must be odd, got 4"),
        ((3, 6, (3, 3, 3)), "kernel_size must have a size for each of the 2 spatial axes"),
        ((3, 6, 0), "kernel_size must be at least 1, got 0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaskedConv(*arguments, colors=3)
