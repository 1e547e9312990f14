import itertools
import operator
import time

import numpy as np
import pytest
import torch

from inverseflow import fit
from inverseflow.data import load_images
from inverseflow.densities import MADE, AutoregressiveDensity, PixelCNN
from inverseflow.errors import OptionError
from tests.contracts.registry import perturb

SMALL = {"levels": 4, "width": 12, "depth": 2, "kernel_size": 3, "first_kernel_size": 3}


def build(event_shape, **options):
    torch.manual_seed(0)
    return perturb(PixelCNN(event_shape, **{**SMALL, **options}).double()).eval()


def found_dependencies(density):
    """Return which elements each element's parameters depend on, by gradients: a matrix over rows, columns, colors."""
    colors, *spatial = density.event_shape
    x = torch.rand(20, *density.event_shape, dtype=torch.float64) * (density.levels - 1)
    parameters = lambda event: density.parameters_of(event[None])[0].sum(0)  # noqa: E731
    jacobian = torch.func.vmap(torch.func.jacrev(parameters))(x).abs().amax(0)
    order = jacobian.permute(1, 2, 0, 4, 5, 3)
    return (order.reshape(colors * spatial[0] * spatial[1], -1) != 0).numpy()


def reach(density, offsets, own):
    """Return which elements see which through one kernel: pixels at these offsets, and at offset 0 by a rule of colors.

    A matrix over rows, columns, colors, as that of `found_dependencies`.
    """
    colors, height, width = density.event_shape
    elements = list(itertools.product(range(height), range(width), range(colors)))
    seen = np.zeros((len(elements), len(elements)), dtype=bool)
    for (to, (i, j, c)), (of, (a, b, d)) in itertools.product(enumerate(elements), repeat=2):
        seen[to, of] = (a - i, b - j) in offsets or ((a, b) == (i, j) and own(d, c))
    return seen


ROW_ABOVE = [(-1, -1), (-1, 0), (-1, 1)]
TWO_ROWS_ABOVE = [*ROW_ABOVE, (-2, -1), (-2, 0), (-2, 1)]
SIDES = [(0, -1), (0, 0), (0, 1)]
LEFT = [(0, -1)]


@pytest.mark.parametrize("event_shape", [(1, 4, 6), (3, 3, 4)])
def test_the_plain_network_sees_the_dilation_of_its_masks(event_shape):
    density = build(event_shape, gated=False)
    seen = reach(density, ROW_ABOVE + LEFT, operator.lt)
    for _ in density.blocks:
        seen = reach(density, ROW_ABOVE + LEFT, operator.le) @ seen
    seen = reach(density, [], operator.le) @ seen
    assert np.array_equal(found_dependencies(density), seen)


@pytest.mark.parametrize("event_shape", [(1, 5, 8), (3, 3, 5)])
def test_the_gated_network_sees_the_dilation_of_the_kernels_of_both_stacks(event_shape):
    density = build(event_shape)
    above = reach(density, TWO_ROWS_ABOVE, lambda d, c: False)
    seen = reach(density, LEFT, operator.lt)
    for _ in density.blocks:
        above = reach(density, ROW_ABOVE + SIDES, lambda d, c: True) @ above
        seen = reach(density, LEFT, operator.le) @ seen | above
    seen = reach(density, [], operator.le) @ seen
    assert np.array_equal(found_dependencies(density), seen)


def test_the_plain_network_is_blind_to_a_wedge_on_the_right():
    density = build((1, 4, 9), gated=False, depth=8)
    row, column = 3, 3
    seen = found_dependencies(density).reshape(4, 9, 4, 9)[row, column]
    expected = np.array(
        [[(a < row and b - column <= row - a) or (a == row and b < column) for b in range(9)] for a in range(4)]
    )
    assert np.array_equal(seen, expected)


def test_the_gated_network_sees_every_earlier_pixel_and_no_other():
    assert np.array_equal(found_dependencies(build((1, 5, 5), depth=4)), np.tri(25, k=-1, dtype=bool))


@pytest.mark.parametrize("gated", [True, False])
def test_colors_of_a_pixel_see_those_before_them(gated):
    pixel = found_dependencies(build((3, 2, 2), gated=gated))[3:6, 3:6]
    assert np.array_equal(pixel, np.tri(3, k=-1, dtype=bool))


def drawn(sample, density, n, context):
    """Return samples by a sampler, and the parameters that it drew each element from."""
    generator, told = torch.Generator().manual_seed(2), []

    def choose(parameters):
        told.append(parameters.clone())
        return density.head.sample(parameters, generator=generator)

    with torch.no_grad():
        return sample(density, n, context, choose), torch.stack(told)


VARIANTS = [
    ((1, 5, 6), {"depth": 3, "kernel_size": 5}, None),
    ((1, 5, 6), {"gated": False, "first_kernel_size": 7}, None),
    ((3, 3, 4), {"context_channels": 2}, (2,)),
    ((3, 3, 4), {"gated": False, "context_channels": 2, "components": 2}, (2, 3, 4)),
    ((2, 4, 3), {"context_channels": 2, "levels": None}, (2, 4, 3)),
]


@torch.no_grad()
@pytest.mark.parametrize(("event_shape", "options", "context"), VARIANTS)
def test_cached_sampling_is_sampling_by_the_whole_network(event_shape, options, context):
    density = build(event_shape, **options)
    given = None if context is None else torch.randn(3, *context, dtype=torch.float64)
    x, parameters = drawn(PixelCNN._draw, density, 3, given)
    expected, expected_parameters = drawn(AutoregressiveDensity._draw, density, 3, given)
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(parameters, expected_parameters, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("gated", [True, False])
def test_cached_sampling_in_single_precision_has_the_parameters_of_the_whole_network(gated):
    density = build((1, 12, 12), gated=gated, levels=16, width=16, depth=4).float()
    x, parameters = drawn(PixelCNN._draw, density, 4, None)
    expected = density.parameters_of(x).flatten(2).permute(2, 0, 1)
    torch.testing.assert_close(parameters, expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("gated", [True, False])
def test_a_context_vector_is_a_spatial_context_that_is_the_same_everywhere(gated):
    density = build((1, 3, 4), gated=gated, context_channels=2)
    x, context = torch.randint(4, (5, 1, 3, 4)), torch.randn(5, 2, dtype=torch.float64)
    everywhere = context[..., None, None].expand(-1, -1, 3, 4)
    torch.testing.assert_close(density.log_prob(x, context), density.log_prob(x, everywhere))
    assert (density.log_prob(x, context) - density.log_prob(x, context.flip(0))).abs().max() > 0.01


def test_it_is_fitted_to_labels_and_told_of_their_number():
    density = PixelCNN((1, 3, 3), levels=4, width=4, depth=1, context_channels=3)
    x, labels = torch.randint(4, (40, 1, 3, 3), dtype=torch.uint8), torch.arange(40) % 3
    assert fit(density, x, labels, max_steps=2, progress=False).steps == 2
    with pytest.raises(OptionError, match="takes contexts of length 3: give one context for each example"):
        fit(density, x, max_steps=2, progress=False)


@pytest.mark.parametrize(
    ("event_shape", "options", "message"),
    [
        ((3, 4, 4), {"width": 8}, "width must be a multiple of the 3 colors of a pixel, got 8"),
        ((1, 16), {}, r"PixelCNN models images \(C, H, W\), got event_shape=\(1, 16\)"),
        ((1, 4, 4), {"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ((1, 4, 4), {"first_kernel_size": 2}, "first_kernel_size must be odd, got 2"),
        ((1, 4, 4), {"depth": 0}, "depth must be at least 1, got 0"),
        ((1, 4, 4), {"components": 0}, "components must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(event_shape, options, message):
    with pytest.raises(ValueError, match=message):
        PixelCNN(event_shape, **options)


@pytest.mark.slow
@torch.no_grad()
def test_sampling_with_caches_is_20_times_as_fast_as_without():
    torch.manual_seed(0)
    density = PixelCNN((1, 28, 28))
    x = density.sample(16)  # warms up, too
    began = time.process_time()
    density.sample(16)
    cached = time.process_time() - began
    began = time.process_time()
    for _ in range(8):
        density.parameters_of(x)
    naive = (time.process_time() - began) / 8 * density.dims
    assert naive > 20 * cached


def learned(density):
    """Train on digits; return bits per dimension of the test images."""
    digits = load_images("digits")
    fit(
        density,
        digits,
        max_steps=200,
        batch_size=32,
        validate_every=200,
        learning_rate=5e-3,
        clip_norm=1.0,
        progress=False,
    )
    with torch.no_grad():
        return density.bits_per_dim(digits.test.tensor()).mean().item()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_learns_digits_better_than_made_and_better_with_gates_than_without():
    torch.manual_seed(0)
    gated = PixelCNN((1, 8, 8), levels=17, width=18, depth=2)
    plain = PixelCNN((1, 8, 8), levels=17, width=28, depth=2, gated=False)
    made = MADE((1, 8, 8), levels=17, width=11)
    sizes = [sum(parameter.numel() for parameter in density.parameters()) for density in (gated, plain, made)]
    assert max(sizes[:2]) < 1.05 * min(sizes[:2]) < sizes[2]
    assert learned(gated) < learned(plain) < learned(made) - 0.2
