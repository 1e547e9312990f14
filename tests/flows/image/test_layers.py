"""The table of k×k layers: what each name builds, and what each refuses."""

from typing import get_args

import pytest

from inverseflow.bijections import (
    Butterfly,
    CausalConv1d,
    CausalConv2d,
    CausalConv3d,
    Compose,
    EmergingConv1d,
    EmergingConv2d,
    EmergingConv3d,
    ExactConv2d,
    ExponentialConv2d,
    FInCConv1d,
    FInCConv2d,
    FInCConv3d,
    InverseConv1d,
    InverseConv2d,
    InverseConv3d,
    MaCow,
    MemoryEfficientWoodbury,
    MintNet,
    PeriodicConv2d,
    RationalConv1d,
    RationalConv2d,
    RationalConv3d,
    SelfNormalizingConv2d,
    Woodbury,
)
from inverseflow.flows.image.layers import build_layer
from inverseflow.flows.image.options import StepOptions
from inverseflow.names import LayerName
from inverseflow.ops import CORNERS, corners

SHAPE = (4, 6, 8)
ONE_SIDED = (CausalConv2d, InverseConv2d, FInCConv2d)
KINDS = {
    "none": type(None),
    "inverse": InverseConv2d,
    "cinc": CausalConv2d,
    "finc": FInCConv2d,
    "emerging": EmergingConv2d,
    "arma": RationalConv2d,
    "arma-adjacent": RationalConv2d,
    "arma-same": RationalConv2d,
    "periodic": PeriodicConv2d,
    "exponential": ExponentialConv2d,
    "exact": ExactConv2d,
    "self-normalizing": SelfNormalizingConv2d,
    "woodbury": Woodbury,
    "memory-efficient-woodbury": MemoryEfficientWoodbury,
    "butterfly": Butterfly,
    "macow": Compose,
    "mintnet": Compose,
}
BOUNDED = ("inverse", "cinc", "finc", "emerging", "arma", "arma-adjacent", "arma-same")
UNBOUNDED = [name for name in KINDS if name not in BOUNDED]
KERNELLESS = ["none", "woodbury", "memory-efficient-woodbury", "butterfly"]


def build(name, shape, *, index=0, conv1x1="none", **options):
    return build_layer(StepOptions(name, conv1x1=conv1x1, **options), shape, index=index)


@pytest.mark.parametrize("name", get_args(LayerName))
def test_a_name_builds_its_layer(name):
    assert type(build(name, SHAPE)) is KINDS[name]


OF_ANY_AXES = {
    "none": (type(None), type(None)),
    "inverse": (InverseConv1d, InverseConv3d),
    "cinc": (CausalConv1d, CausalConv3d),
    "finc": (FInCConv1d, FInCConv3d),
    "emerging": (EmergingConv1d, EmergingConv3d),
    **dict.fromkeys(("arma", "arma-adjacent", "arma-same"), (RationalConv1d, RationalConv3d)),
}


@pytest.mark.parametrize("name", get_args(LayerName))
def test_sequences_and_volumes_have_the_layers_made_of_one_sided_convolutions(name):
    shapes = (8, 6), (8, 2, 4, 6)
    if name in OF_ANY_AXES:
        assert tuple(type(build(name, shape)) for shape in shapes) == OF_ANY_AXES[name]
        return
    able = ", ".join(map(repr, OF_ANY_AXES))
    for shape in shapes:
        with pytest.raises(ValueError, match=f"the layer '{name}' can't be built .*: it works on images .* {able}$"):
            build(name, shape)


def test_every_name_has_its_layer():
    assert set(get_args(LayerName)) == set(KINDS)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown layer 'fourier': choose 'none', 'inverse', 'cinc'"):
        build("fourier", SHAPE)


def sides(layer):
    return {
        tuple(module.kernel_size)
        for module in layer.modules()
        if isinstance(module, (*ONE_SIDED, ExactConv2d, SelfNormalizingConv2d))
    }


@pytest.mark.parametrize("name", ["inverse", "cinc", "finc", "arma", "exact", "self-normalizing"])
def test_a_kernel_has_the_side_that_is_asked_for_or_3(name):
    assert sides(build(name, SHAPE)) == {(3, 3)}
    assert sides(build(name, SHAPE, kernel_size=5)) == {(5, 5)}


def test_kernels_of_other_layers_have_their_own_meaning():
    assert sides(build("emerging", SHAPE, kernel_size=5)) == {(3, 3)}
    assert build("periodic", SHAPE, kernel_size=5).kernel_size == (5, 5)
    assert build("exponential", SHAPE, kernel_size=5).kernel_size == (5, 5)
    flows = [m for m in build("macow", SHAPE, kernel_size=5).modules() if hasattr(m, "order")]
    assert {flow.kernel_size for flow in flows} == {(2, 5)}
    assert {block.kernel_size for block in build("mintnet", SHAPE, kernel_size=5).layers} == {5}


@pytest.mark.parametrize("name", ["inverse", "cinc", "finc", "emerging", "arma", "arma-adjacent", "arma-same"])
def test_the_bound_on_row_sums_reaches_every_one_sided_convolution(name):
    for bound in (None, 0.5):
        layer = build(name, SHAPE, max_row_sum=bound)
        found = {module.max_row_sum for module in layer.modules() if hasattr(module, "max_row_sum")}
        assert found == {bound}


def test_the_exponential_has_a_bound_on_its_spectral_norm():
    assert build("exponential", SHAPE).max_spectral_norm == 0.9
    assert build("exponential", SHAPE, max_spectral_norm=2.5).max_spectral_norm == 2.5


@pytest.mark.parametrize("name", UNBOUNDED)
def test_a_bound_that_a_layer_does_not_have_is_refused_with_the_layers_that_have_it(name):
    message = (
        f"the layer '{name}' has no max_row_sum, got max_row_sum=0.5; leave it out, or choose one of "
        "'inverse', 'cinc', 'finc', 'emerging', 'arma', 'arma-adjacent', 'arma-same'$"
    )
    with pytest.raises(ValueError, match=message):
        build(name, SHAPE, max_row_sum=0.5)
    if name != "exponential":
        with pytest.raises(ValueError, match="has no max_spectral_norm, .* choose one of 'exponential'$"):
            build(name, SHAPE, max_spectral_norm=0.5)


@pytest.mark.parametrize("name", KERNELLESS)
def test_a_kernel_that_a_layer_does_not_have_is_refused_with_the_layers_that_have_one(name):
    with pytest.raises(ValueError, match=f"the layer '{name}' has no kernel_size, got kernel_size=5; leave it out, or"):
        build(name, SHAPE, kernel_size=5)


@pytest.mark.parametrize("name", ["emerging", "exponential", "self-normalizing", "macow", "mintnet"])
def test_an_even_kernel_is_refused_where_the_definition_needs_an_odd_one(name):
    message = rf"the layer '{name}' can't be built for an event of shape \(4, 6, 8\): .*kernel_size must be odd, got"
    with pytest.raises(ValueError, match=message):
        build(name, SHAPE, kernel_size=2)


def test_an_event_that_a_layer_cannot_take_is_named_with_the_layer():
    with pytest.raises(ValueError, match=r"the layer 'finc' can't be built .*\(6, 4, 4\): .* multiple of 4, .* got 6"):
        build("finc", (6, 4, 4))
    with pytest.raises(
        ValueError, match=r"the layer 'periodic' can't be built .*\(8, 2, 2\): .* take a smaller kernel"
    ):
        build("periodic", (8, 2, 2))
    with pytest.raises(ValueError, match=r"the layer 'exact' can't be built .*\(4, 256, 256\): .* take smaller images"):
        build("exact", (4, 256, 256))


def test_corners_cycle_from_step_to_step():
    walks = [build("cinc", SHAPE, index=index).corner for index in range(5)]
    assert walks == [*CORNERS, CORNERS[0]]
    assert [build("inverse", SHAPE, index=index).corner for index in range(5)] == walks
    assert [build("inverse", (2, 6), index=index).corner for index in range(3)] == ["left", "right", "left"]
    assert [build("cinc", (2, 4, 4, 4), index=index).corner for index in range(8)] == list(corners(3))


@pytest.mark.parametrize(("name", "rows", "columns"), [("arma", -1, -1), ("arma-adjacent", 1, -1), ("arma-same", 1, 1)])
def test_the_two_corners_of_a_rational_convolution(name, rows, columns):
    side = {"top": 1, "bottom": -1, "left": 1, "right": -1}
    for index in range(5):
        ahead, back = build(name, SHAPE, index=index).layers
        assert ahead.corner == CORNERS[index % 4]
        both = zip(ahead.corner.split("_"), back.corner.split("_"), strict=True)
        assert [side[one] * side[other] for one, other in both] == [rows, columns]


def test_the_levels_of_a_butterfly_cycle_through_all_that_the_event_has():
    levels = [build("butterfly", (4, 6, 2), index=index).factor_indices for index in range(6)]
    assert levels == [(0,), (1,), (2,), (3,), (0,), (1,)]  # 48 elements are 3 times 2 to the power of 4


@pytest.mark.parametrize("name", ["woodbury", "memory-efficient-woodbury"])
def test_ranks_are_16_or_what_the_axis_has(name):
    def ranks(shape):
        return [update.right.shape[0] for update in build(name, shape).updates]

    assert ranks((4, 2, 3)) == ([4, 6] if name == "woodbury" else [4, 2, 2])
    assert ranks((32, 20, 18)) == ([16, 16] if name == "woodbury" else [16, 16, 16])


def test_emerging_brings_a_1x1_only_where_the_step_has_none():
    assert len(build("emerging", SHAPE).layers) == 3
    assert len(build("emerging", SHAPE, conv1x1="lu").layers) == 2


def test_a_macow_step_is_two_units():
    assert [type(layer) for layer in build("macow", SHAPE).layers] == [MaCow, MaCow]


def test_a_mintnet_step_is_a_block_of_either_order_with_the_hidden_channels_that_are_asked_for():
    blocks = build("mintnet", SHAPE, width=13).layers
    assert [(type(block), block.order, block.width) for block in blocks] == [(MintNet, "A", 12), (MintNet, "B", 12)]
    assert {block.width for block in build("mintnet", SHAPE, width=2).layers} == {SHAPE[0]}


@pytest.mark.parametrize("name", ["woodbury", "memory-efficient-woodbury", "butterfly", "mintnet"])
def test_a_layer_tied_to_a_size_gets_that_of_the_event(name):
    layer = build(name, SHAPE)
    tied = [module.size for module in layer.modules() if getattr(module, "size", None) is not None]
    assert set(tied) == {SHAPE[1:]}
