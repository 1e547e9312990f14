"""The architecture of the image flow, of its presets, and what they refuse to be built with."""

import inspect

import pytest
import torch

from inverseflow.bijections import (
    ActNorm,
    AffineCoupling,
    Compose,
    Conv1x1,
    InverseConv2d,
    Logit,
    LUConv1x1,
    Multiscale,
    QuadCoupling,
    Scale,
    SplineActivation,
    SplitPrior,
    Squeeze,
)
from inverseflow.flows import Glow, ImageFlow, InverseFlow, Step, create
from inverseflow.flows import registry as registry_module
from inverseflow.flows.image.flow import preset
from inverseflow.nets import ConvNet
from inverseflow.ops import CORNERS

EVENT = (1, 8, 16)


def layers_of(step):
    return [type(layer) for layer in step.layers]


def convolutions(flow):
    return [module for module in flow.modules() if isinstance(module, InverseConv2d)]


def test_a_step_is_convolution_spline_normalisation_mixing_coupling():
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
    flow = InverseFlow(EVENT, scales=2, steps=1, kernel_size=5, bound=0.8, spline_bins=6, spline_bound=3.0, width=7)
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


def test_preprocessing_is_the_logit_or_centring_and_only_for_grey_levels():
    assert isinstance(InverseFlow(EVENT, steps=1, width=2).preprocessing, Logit)
    assert InverseFlow(EVENT, steps=1, width=2, alpha=0.05).preprocessing.alpha == 0.05
    centring = InverseFlow(EVENT, steps=1, width=2, preprocessing="centre").preprocessing
    assert isinstance(centring, Scale)
    assert centring(torch.tensor([[0.0, 1.0]]))[0].tolist() == [[-1.0, 1.0]]
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
    "no channel axis": ({"event_shape": (28, 28)}, r"Squeeze needs 2 spatial axes .* got an event of shape \(28, 28\)"),
    "a volume": ({"event_shape": (1, 4, 4, 4)}, "needs 2 spatial axes"),
    "no channels": ({"event_shape": (0, 4, 4)}, r"at least one channel, row and column, got shape \(0, 4, 4\)"),
    "no height": ({"event_shape": (1, 0, 4)}, r"got shape \(1, 0, 4\)"),
    "no scales": ({"scales": 0}, "scales is at least 1, got 0"),
    "no steps": ({"steps": 0}, "steps is at least 1, got 0"),
    "one level": ({"levels": 1}, "between 2 and 65536, got 1"),
    "an unknown spline": (
        {"spline": "cubic"},
        "unknown spline 'cubic': choose one of 'none', 'shared', 'channel', 'el",
    ),
    "an unknown mixing": ({"conv1x1": "qr"}, "unknown conv1x1 'qr': choose one of 'none', 'dense', 'lu'"),
    "an unknown preprocessing": ({"preprocessing": "none"}, "unknown preprocessing 'none': choose one of 'logit', 'ce"),
    "one bin": ({"spline_bins": 1}, "at least 2 bins, got bins=1"),
    "a spline without length": ({"spline_bound": 0.0}, "positive, got 0.0"),
    "an unknown coupling": ({"coupling": "cubic"}, "unknown coupling 'cubic': choose one of 'affine', 'quad', 'none'"),
    "no width": ({"width": 0}, "width .* at least 1, got 0"),
    "a squash out of range": ({"alpha": 0.5}, r"lies in \[0, 0.5\), got 0.5"),
    "no context channels": ({"context_channels": 0}, "context_channels=0; pass None for no context"),
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
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"bound": 1.0}, "strictly between 0 and 1, got 1.0"),
        ({"bound": -0.5}, "got -0.5"),
    ],
)
def test_a_bad_option_of_the_convolution_is_named_too(options, message):
    with pytest.raises(ValueError, match=message):
        InverseFlow((1, 8, 8), scales=1, steps=1, width=2, **options)


def test_a_context_that_nothing_would_look_at_is_refused():
    with pytest.raises(
        ValueError, match=r"context_channels=2 conditions the couplings .* take a coupling or more scales"
    ):
        ImageFlow((1, 8, 8), scales=1, steps=1, coupling="none", context_channels=2)
    ImageFlow((1, 8, 8), scales=2, steps=1, coupling="none", context_channels=2)


@pytest.fixture
def own_registry(monkeypatch):
    """Lets a test register flows that the other tests don't see."""
    monkeypatch.setattr(registry_module, "_FLOWS", dict(registry_module._FLOWS))


def test_a_preset_has_the_arguments_of_the_image_flow_without_those_that_its_layer_lacks(own_registry):
    @preset("mixed", layer="none", conv1x1="dense", paper={"steps": 7})
    class Mixed(ImageFlow):
        pass

    full, own = (inspect.signature(cls).parameters for cls in (ImageFlow, Mixed))
    assert list(own) == [name for name in full if name not in ("layer", "kernel_size", "bound")]
    assert (own["conv1x1"].default, own["width"].default) == ("dense", full["width"].default)
    assert Mixed.paper_architecture == {"steps": 7}
    with pytest.raises(TypeError, match="unexpected keyword argument 'layer'"):
        Mixed((1, 4, 4), layer="inverse")


def test_a_preset_remembers_what_it_was_built_with_and_nothing_of_its_parent(own_registry):
    @preset("mixed", layer="inverse", conv1x1="dense")
    class Mixed(ImageFlow):
        pass

    flow = Mixed((1, 4, 4), scales=1, steps=1, width=2, bound=0.5)
    assert flow.config["flow"] == "mixed"
    assert flow.config["options"] == {
        "event_shape": (1, 4, 4), "levels": 256, "scales": 1, "steps": 1, "kernel_size": 3, "bound": 0.5,
        "spline": "channel", "spline_bins": 8, "spline_bound": 10.0, "conv1x1": "dense", "coupling": "affine",
        "width": 2, "preprocessing": "logit", "alpha": 1e-6, "context_channels": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["inverse-flow", "glow"])
def test_a_configuration_from_before_there_were_couplings_to_choose_from_builds_the_same_flow(name):
    layer = {"kernel_size": 3, "bound": None} if name == "inverse-flow" else {}
    old = {
        "event_shape": [1, 8, 8], "levels": 17, "scales": 2, "steps": 1, **layer, "spline": "channel",
        "spline_bins": 8, "spline_bound": 10.0, "conv1x1": "lu", "width": 4, "preprocessing": "logit",
        "alpha": 1e-6, "context_channels": None,
    }  # fmt: skip
    assert repr(create(name, **old)) == repr(create(name, (1, 8, 8), levels=17, steps=1, width=4))
