"""The flow of linear layers and splines."""

from typing import get_args

import pytest

from inverseflow.bijections import Compose, InverseConv2d, MintNet, SplineActivation, Squeeze
from inverseflow.flows import PlanarFlow, Step
from inverseflow.names import LayerName

EVENT = (1, 8, 12)


def parameters(flow):
    return sum(parameter.numel() for parameter in flow.parameters())


def test_it_is_nine_layers_with_splines_between_and_two_squeezes():
    flow = PlanarFlow(EVENT)
    assert isinstance(flow.bijection, Compose)
    parts = [
        [type(layer) for layer in part.layers] if isinstance(part, Step) else type(part)
        for part in flow.bijection.layers
    ]
    bent, last = [InverseConv2d, SplineActivation], [InverseConv2d]
    assert parts == [bent, bent, bent, Squeeze, bent, bent, bent, Squeeze, bent, bent, last]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"layer": "inverse"}, 95_179),
        ({"layer": "inverse", "kernel_size": 2}, 91_084),
        ({"layer": "exact"}, 95_242),  # without the unused inverse kernels that were counted with it
        ({"layer": "self-normalizing"}, 102_613),
    ],
)
def test_the_model_of_the_table_has_as_many_parameters_as_were_counted_in_the_published_one(options, count):
    assert parameters(PlanarFlow((1, 28, 28), **options)) == count


def test_splines_bend_every_element_between_any_two_layers():
    splines = [module for module in PlanarFlow(EVENT).modules() if isinstance(module, SplineActivation)]
    assert [(len(spline.widths), spline.bins, spline.bound) for spline in splines] == [(96, 5, 10.0)] * 8


def test_corners_cycle_through_the_whole_flow():
    flow = PlanarFlow(EVENT)
    corners = [module.corner for module in flow.modules() if isinstance(module, InverseConv2d)]
    assert corners == (["top_left", "top_right", "bottom_left", "bottom_right"] * 3)[:9]


@pytest.mark.parametrize("layer", get_args(LayerName))
def test_it_takes_any_layer(layer):
    flow = PlanarFlow((4, 4, 4), layer=layer, scales=1, steps=2)
    assert flow.bijection.output_shape((4, 4, 4)) == (4, 4, 4)


def test_the_width_is_that_of_mintnet():
    flow = PlanarFlow((2, 4, 4), layer="mintnet", scales=1, steps=1, width=10)
    assert {module.width // module.channels for module in flow.modules() if isinstance(module, MintNet)} == {5}


def test_blocks_and_layers_are_counted_as_asked():
    flow = PlanarFlow((1, 8, 8), scales=2, steps=4, spline="none")
    assert [type(part).__name__ for part in flow.bijection.layers] == ["Step"] * 4 + ["Squeeze"] + ["Step"] * 4
    assert not [module for module in flow.modules() if isinstance(module, SplineActivation)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": (8,)}, r"an image \(C, H, W\) and a volume \(C, D, H, W\), got \(8,\)"),
        ({"event_shape": (1, 8, 6)}, "the width 3 of an event .* pad it to 4, or use fewer scales"),
        ({"scales": 0}, "scales must be at least 1, got 0"),
        ({"steps": 0}, "steps must be between 1 and 10000, got 0"),
        ({"steps": 10**9, "layer": "none", "spline": "none"}, "steps must be between 1 and 10000, got 1000000000"),
        ({"layer": "finc"}, r"the layer 'finc' can't be built for an event of shape \(1, 8, 8\): .* multiple of 4"),
        ({"layer": "exact", "max_row_sum": 0.5}, "the layer 'exact' has no max_row_sum, got max_row_sum=0.5"),
        ({"layer": "linear"}, "unknown layer 'linear'"),
        ({"spline": "cubic"}, "unknown spline 'cubic'"),
    ],
)
def test_a_bad_option_is_named_with_its_remedy(options, message):
    with pytest.raises(ValueError, match=message):
        PlanarFlow(**{"event_shape": (1, 8, 8), **options})
