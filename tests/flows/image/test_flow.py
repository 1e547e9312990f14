"""The architecture of the image flow, of its presets, and what they refuse to be built with."""

import numpy as np
import pytest
import torch
from typing_extensions import Unpack

from inverseflow.bijections import (
    ActNorm,
    Additive,
    Affine,
    AffineCoupling,
    Compose,
    ComposedMap,
    Conv1x1,
    InverseConv2d,
    Logit,
    LUConv1x1,
    MixtureCDF,
    Multiscale,
    Permute,
    QuadCoupling,
    RationalQuadratic,
    Scale,
    SplineActivation,
    SplitPrior,
    Squeeze,
)
from inverseflow.densities import registry as registry_module
from inverseflow.flows import Glow, ImageFlow, InverseFlow, Step, create, flow_class, names, register
from inverseflow.flows.image.options import OneSidedFlowKwargs
from inverseflow.nets import ConvNet, GatedResNet, ResNet, ViT
from inverseflow.ops import CORNERS

EVENT = (1, 8, 16)


def layers_of(step):
    return [type(layer) for layer in step.layers]


def convolutions(flow):
    return [module for module in flow.modules() if isinstance(module, InverseConv2d)]


def test_a_step_is_convolution_spline_normalization_mixing_coupling():
    flow = InverseFlow(EVENT, scales=1, steps=1, width=4)
    (level,) = flow.bijection.scales
    assert isinstance(level, Compose)
    squeeze, step = level.layers
    assert isinstance(squeeze, Squeeze)
    assert isinstance(step, Step)
    assert layers_of(step) == [InverseConv2d, SplineActivation, ActNorm, LUConv1x1, AffineCoupling]


def test_glow_is_the_same_step_without_the_convolution():
    flow = Glow(EVENT, scales=1, steps=1, width=4)
    assert layers_of(flow.bijection.scales[0].layers[1]) == [SplineActivation, ActNorm, LUConv1x1, AffineCoupling]
    plain = Glow(EVENT, scales=1, steps=1, width=4, spline="none", conv1x1="dense")
    assert layers_of(plain.bijection.scales[0].layers[1]) == [ActNorm, Conv1x1, AffineCoupling]


def test_options_leave_out_the_spline_and_the_mixing():
    flow = InverseFlow(EVENT, scales=1, steps=1, width=4, spline="none", conv1x1="none")
    assert layers_of(flow.bijection.scales[0].layers[1]) == [InverseConv2d, ActNorm, AffineCoupling]


def test_the_coupling_has_two_blocks_or_four_or_is_left_out():
    def last(coupling):
        flow = ImageFlow(EVENT, scales=1, steps=1, width=4, coupling=coupling)
        return flow.bijection.scales[0].layers[1].layers[-1]

    assert isinstance(last("affine"), AffineCoupling)
    quad = last("quad")
    assert isinstance(quad, QuadCoupling)
    assert quad.blocks == 4
    assert {module[0].out_channels for module in quad.modules() if isinstance(module, ConvNet)} == {4}
    assert isinstance(last("none"), LUConv1x1)


def test_couplings_take_any_map_and_any_conditioner():
    maps = {
        "affine": Affine(),
        "additive": Additive(),
        "spline": RationalQuadratic(6, 3.0),
        "mixture": ComposedMap((MixtureCDF(5), Affine())),
    }
    networks = {"conv": ConvNet, "resnet": ResNet, "gated": GatedResNet, "vit": ViT}
    for (coupling, map), (conditioner, network) in zip(maps.items(), networks.items(), strict=True):
        flow = ImageFlow(
            (1, 8, 8), scales=1, steps=1, coupling=coupling, components=5, spline_bins=6, spline_bound=3.0,
            conditioner=conditioner, width=6, depth=3, patch_size=4, heads=2,
        )  # fmt: skip
        last = flow.bijection.scales[0].layers[1].layers[-1]
        assert last.map == map
        assert type(last.net) is network
        if conditioner != "conv":
            assert len(last.net.blocks) == 3
    assert last.net.position.shape == (1, 6)


def test_a_permutation_can_stand_for_the_mixing_and_is_drawn_once(tmp_path):
    flow = Glow(EVENT, scales=1, steps=2, width=4, conv1x1="permutation")
    permutations = [module.permutation.tolist() for module in flow.modules() if isinstance(module, Permute)]
    assert [sorted(permutation) for permutation in permutations] == [[0, 1, 2, 3]] * 2
    flow.save_pretrained(tmp_path)
    loaded = Glow.from_pretrained(tmp_path)
    assert [m.permutation.tolist() for m in loaded.modules() if isinstance(m, Permute)] == permutations


@pytest.mark.parametrize("model", [InverseFlow, Glow])
def test_every_scale_squeezes_and_all_but_the_last_end_in_a_learned_prior(model):
    flow = model(EVENT, scales=3, steps=2, width=4)
    assert isinstance(flow.bijection, Multiscale)
    kinds = [[type(layer) for layer in level.layers] for level in flow.bijection.scales]
    assert kinds == [[Squeeze, Step, Step, SplitPrior]] * 2 + [[Squeeze, Step, Step]]


def test_the_corners_cycle_from_step_to_step():
    flow = InverseFlow(EVENT, scales=1, steps=6, width=2)
    assert [layer.corner for layer in convolutions(flow)] == [*CORNERS, *CORNERS[:2]]


def test_options_reach_their_layers():
    flow = InverseFlow(
        EVENT, scales=2, steps=1, kernel_size=5, max_row_sum=0.8, spline_bins=6, spline_bound=3.0, width=7
    )
    assert {layer.kernel_size for layer in convolutions(flow)} == {(5, 5)}
    assert {layer.max_row_sum for layer in convolutions(flow)} == {0.8}
    splines = [module for module in flow.modules() if isinstance(module, SplineActivation)]
    assert {(layer.bins, layer.bound) for layer in splines} == {(6, 3.0)}
    couplings = [module for module in flow.modules() if type(module) is AffineCoupling]
    assert {layer.net[0].out_channels for layer in couplings} == {7}


@pytest.mark.parametrize(
    ("sharing", "functions"), [("shared", [1, 1]), ("channel", [4, 8]), ("element", [4 * 4 * 8, 8 * 2 * 4])]
)
def test_splines_are_shared_as_asked(sharing, functions):
    flow = InverseFlow(EVENT, scales=2, steps=1, width=2, spline=sharing)
    splines = [module for module in flow.modules() if isinstance(module, SplineActivation)]
    assert [len(layer.widths) for layer in splines] == functions


def test_preprocessing_is_the_logit_or_centering_and_only_for_gray_levels():
    assert isinstance(InverseFlow(EVENT, steps=1, width=2).preprocessing, Logit)
    assert InverseFlow(EVENT, steps=1, width=2, alpha=0.05).preprocessing.alpha == 0.05
    centering = InverseFlow(EVENT, steps=1, width=2, preprocessing="center").preprocessing
    assert isinstance(centering, Scale)
    assert centering(torch.tensor([[0.0, 1.0]]))[0].tolist() == [[-1.0, 1.0]]
    assert list(InverseFlow(EVENT, levels=None, steps=1, width=2).preprocessing.layers) == []


def test_a_fresh_flow_is_well_behaved():
    torch.manual_seed(0)
    flow = InverseFlow((3, 16, 16), width=8)
    x = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)
    flow.initialize(x)
    bits = flow.bits_per_dim(x)
    assert (bits > 4).all()
    assert (bits < 12).all()
    assert torch.equal(flow.decode(flow.encode(x)), x)
    assert flow.sample(4).shape == (4, 3, 16, 16)


def test_parameters_are_counted_by_hand():
    flow = InverseFlow((1, 2, 2), scales=1, steps=1, width=3, spline="shared", spline_bins=4)
    convolution, spline, norm, mixing = 4 * 4 * 9, 4 + 4 + 3, 2 * 4, 4 * 4 + 4 * 4 + 4
    coupling = (2 * 3 * 9 + 3) + (3 * 3 + 3) + (3 * 4 * 9 + 4 + 4)
    assert sum(parameter.numel() for parameter in flow.parameters()) == convolution + spline + norm + mixing + coupling


BAD_OPTIONS = {
    "an odd height": ({"event_shape": (1, 7, 8)}, r"the height 7 of an event .* pad it to 8, or use fewer scales"),
    "an odd width": ({"event_shape": (1, 8, 9)}, "the width 9 .* pad it to 10, or use fewer scales"),
    "too many scales": (
        {"event_shape": (1, 28, 28), "scales": 3},
        r"the height 7 of an event of shape \(4, 7, 7\) by 2: pad it to 8, or use fewer scales",
    ),
    "no channel axis": ({"event_shape": (28,)}, r"a sequence has the shape \(C, T\), .* got \(28,\)"),
    "a fourth axis": ({"event_shape": (1, 4, 4, 4, 4)}, r"and a volume \(C, D, H, W\), got \(1, 4, 4, 4, 4\)"),
    "an odd length": ({"event_shape": (1, 7)}, r"the length 7 of an event .* pad it to 8, or use fewer scales"),
    "an odd depth": ({"event_shape": (1, 3, 4, 4)}, r"the depth 3 of an event .* pad it to 4, or use fewer scales"),
    "no channels": ({"event_shape": (0, 4, 4)}, r"each at least 1, got \(0, 4, 4\)"),
    "no height": ({"event_shape": (1, 0, 4)}, r"each at least 1, got \(1, 0, 4\)"),
    "no scales": ({"scales": 0}, "scales must be at least 1, got 0"),
    "no steps": ({"steps": 0}, "steps must be between 1 and 10000, got 0"),
    "endless steps": ({"steps": 10**9}, "steps must be between 1 and 10000, got 1000000000"),
    "one level": ({"levels": 1}, "between 2 and 65536, got 1"),
    "an unknown spline": (
        {"spline": "cubic"},
        "unknown spline 'cubic': choose 'none', 'shared', 'channel' or 'el",
    ),
    "an unknown mixing": ({"conv1x1": "qr"}, "unknown conv1x1 'qr': choose 'lu', 'dense', 'permutation' or 'none'"),
    "an unknown preprocessing": ({"preprocessing": "none"}, "unknown preprocessing 'none': choose 'logit' or 'ce"),
    "one bin": ({"spline_bins": 1}, "bins must be at least 2, got 1"),
    "a spline without length": ({"spline_bound": 0.0}, "finite and above 0, got 0.0"),
    "an unknown coupling": (
        {"coupling": "cubic"},
        "unknown coupling 'cubic': choose 'affine', 'add.* 'autoregressive', 'quad' or 'none'",
    ),
    "an unknown conditioner": (
        {"conditioner": "mlp"},
        "unknown conditioner 'mlp': choose 'conv', 'resnet', 'gated' or 'vit'",
    ),
    "no components": ({"components": 0}, "components must be at least 1, got 0"),
    "patches that do not fit": (
        {"conditioner": "vit", "patch_size": 3},
        r"patch_size must divide the sides \(4, 4\), got 3; take one of 1, 2, 4",
    ),
    "heads that do not fit": (
        {"conditioner": "vit", "heads": 3},
        "width must be a multiple of heads 3, got 2",
    ),
    "an unknown noise": (
        {"dequantization": "normal"},
        "unknown dequantization 'normal': choose 'uniform' or 'variational'",
    ),
    "noise of continuous data": (
        {"dequantization": "variational", "levels": None},
        "dequantization='variational' is of gray levels, got levels=None; leave it out",
    ),
    "no width": ({"width": 0}, "width must be at least 1, got 0"),
    "a squash out of range": ({"alpha": 0.5}, r"at least 0 and below 0.5, got 0.5"),
    "no context channels": ({"context_channels": 0}, "context_channels must be at least 1, got 0"),
}


@pytest.mark.parametrize("model", [InverseFlow, Glow])
@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(model, bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        model(**{"event_shape": (1, 8, 8), "scales": 1, "steps": 1, "width": 2, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"max_row_sum": 1.0}, "strictly between 0 and 1, got 1.0"),
        ({"max_row_sum": -0.5}, "got -0.5"),
    ],
)
def test_a_bad_option_of_the_convolution_is_named_too(options, message):
    with pytest.raises(ValueError, match=message):
        InverseFlow((1, 8, 8), scales=1, steps=1, width=2, **options)


def test_a_context_acts_on_each_place_differently():
    flow = ImageFlow((1, 8, 8), levels=None, layer="none", scales=1, steps=1, coupling="none", context_channels=2)
    contexts, x = torch.eye(2), torch.randn(2, 1, 8, 8)
    assert torch.equal(flow.encode(x, contexts), flow.encode(x, contexts.flip(0))), "at first, a context has no effect"
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(3):  # the convolution of the maps starts at zero, too
        optimizer.zero_grad()
        (-flow.log_prob(x, contexts)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        moved = flow.encode(x[:1].expand(2, -1, -1, -1), contexts).diff(dim=0)

    assert moved.std() > 1e-3


@pytest.fixture
def own_registry(monkeypatch):
    """Lets a test register flows that the other tests don't see."""
    monkeypatch.setattr(registry_module, "_DENSITIES", dict(registry_module._DENSITIES))


def test_a_named_flow_of_ones_own_is_three_lines(own_registry):
    @register("mixed")
    class Mixed(ImageFlow):
        def __init__(self, event_shape, **options: Unpack[OneSidedFlowKwargs]):
            super().__init__(event_shape, layer="inverse", **{"conv1x1": "dense", **options})

    flow = Mixed((1, 4, 4), scales=1, steps=1, width=2, max_row_sum=0.5)
    assert flow.config["density"] == "mixed"
    assert flow.config["options"] == {
        "event_shape": (1, 4, 4), "levels": 256, "scales": 1, "steps": 1, "kernel_size": 3, "max_row_sum": 0.5,
        "spline": "channel", "spline_bins": 8, "spline_bound": 10.0, "conv1x1": "dense", "coupling": "affine",
        "components": 8, "conditioner": "conv", "depth": 2, "patch_size": 2, "heads": 4, "width": 2,
        "preprocessing": "logit", "alpha": 1e-6, "dequantization": "uniform", "context_channels": None,
    }  # fmt: skip
    assert repr(create("mixed", **flow.config["options"])) == repr(flow)
    for option in ("layer", "max_spectral_norm", "norm"):
        with pytest.raises(
            TypeError, match=f"Mixed has no option {option}; it has .*steps, .*kernel_size, max_row_sum"
        ):
            Mixed((1, 4, 4), **{option: "inverse"})


@pytest.mark.parametrize("name", sorted(name for name in names() if issubclass(flow_class(name), ImageFlow)))
def test_a_named_flow_has_the_options_of_its_layer_and_no_others(name):
    event_shape = (1, 12, 12)
    kernel = {"kernel_size": 3}
    expected = kernel
    if name in ("inverse-flow", "cinc", "finc", "emerging", "arma", "image"):
        expected = {**kernel, "max_row_sum": None}
    elif name == "exponential":
        expected = {**kernel, "max_spectral_norm": 0.9}
    elif name in ("glow", "woodbury", "butterfly"):
        expected = {}
    options = create(name, event_shape, scales=1, steps=1, width=4).config["options"]
    layer = ("kernel_size", "max_row_sum", "max_spectral_norm")
    assert {key: value for key, value in options.items() if key in layer} == expected
    for key in set(layer) - set(expected):
        with pytest.raises((TypeError, ValueError), match=f"has no (option )?{key}"):
            flow_class(name)(event_shape, scales=1, steps=1, width=4, **{key: 0.5})


def test_numbers_of_numpy_and_lists_build_the_same_flow_as_python_s(tmp_path):
    flow = InverseFlow(
        np.array([1, 8, 8]), levels=np.int16(17), scales=np.uint8(1), steps=torch.tensor(1), width=np.int64(8),
        alpha=np.float32(0.05), spline_bound=np.float64(2.0), max_row_sum=torch.tensor(0.5),
    )  # fmt: skip
    assert type(flow.levels) is int
    assert set(map(type, flow.event_shape)) == {int}
    flow.save_pretrained(tmp_path / "m")
    assert repr(InverseFlow.from_pretrained(tmp_path / "m")) == repr(flow)
    assert flow.sample(np.int64(2)).shape == (2, 1, 8, 8)
    for shape in ([1, 8, 8], torch.Size([1, 8, 8])):
        assert Glow(shape, scales=1, steps=1, width=2).event_shape == (1, 8, 8)


@pytest.mark.parametrize("option", ["width", "steps", "scales", "kernel_size", "spline_bins", "context_channels"])
@pytest.mark.parametrize("value", [2.0, "2", True])
def test_a_number_that_is_no_integer_is_refused_by_name(option, value):
    with pytest.raises(TypeError, match=f"{option} must be a whole number, got {value!r}"):
        InverseFlow((1, 8, 8), **{"scales": 1, "steps": 1, option: value})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
@pytest.mark.parametrize("option", ["spline_bound", "max_row_sum"])
def test_a_bound_that_is_not_a_positive_finite_number_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"{option} must be finite and above 0, got {value}"):
        InverseFlow((1, 8, 8), scales=1, steps=1, **{option: value})


@pytest.mark.parametrize("name", ["inverse-flow", "glow"])
def test_a_configuration_from_before_there_were_couplings_to_choose_from_builds_the_same_flow(name):
    layer = {"kernel_size": 3, "max_row_sum": None} if name == "inverse-flow" else {}
    old = {
        "event_shape": [1, 8, 8], "levels": 17, "scales": 2, "steps": 1, **layer, "spline": "channel",
        "spline_bins": 8, "spline_bound": 10.0, "conv1x1": "lu", "width": 4, "preprocessing": "logit",
        "alpha": 1e-6, "context_channels": None,
    }  # fmt: skip
    assert repr(create(name, **old)) == repr(create(name, (1, 8, 8), levels=17, steps=1, width=4))
