"""The named flows: the same steps but for the layer, and the steps of their publications."""

import re

import pytest
import torch

from inverseflow.bijections import ActNorm, AffineCoupling, Conv1x1, LUConv1x1, MintNet, QuadCoupling, SplineActivation
from inverseflow.flows import ImageFlow, create, flow_class, names
from inverseflow.training.options import ModelOptions

EVENT = (1, 8, 16)
NAMES = set(names())  # before other tests and doctests register theirs
NAMED = [
    name for name in sorted(NAMES) if issubclass(flow_class(name), ImageFlow) and flow_class(name) is not ImageFlow
]
COMMON = [name for name in NAMED if name not in ("glow", "mintnet")]
ASKED_FOR = {
    *("inverse-flow", "glow", "cinc", "finc", "emerging", "periodic", "exponential", "self-normalizing", "woodbury"),
    *("macow", "butterfly", "mintnet", "arma", "planar"),
}
OF_VECTORS = {"nice", "nsf", "realnvp", "maf", "iaf", "nsf-ar", "iresnet", "planar-flow", "radial-flow", "rosenblatt"}


def step(name, **options):
    """Return the layers of a step of a flow."""
    flow = create(name, EVENT, **{"scales": 1, "steps": 1, "width": 4, **options})
    return list(flow.bijection.scales[0].layers[1].layers)


def kinds(layers):
    return [type(layer) for layer in layers]


def test_every_flow_that_was_asked_for_has_its_name():
    assert ASKED_FOR | OF_VECTORS | {"image", "realnvp-image", "iresnet-image"} == NAMES


def test_the_help_of_the_command_line_lists_the_same_names():
    help_of_name = re.search(r"name: (.*?)layer:", ModelOptions.__doc__, re.DOTALL)[1]

    assert {word for word in re.findall(r"[\w-]+", help_of_name) if word in NAMES} == NAMES


@pytest.mark.parametrize("name", COMMON)
def test_the_flows_differ_in_the_layer_alone(name):
    layer, *rest = step(name)
    assert kinds(rest) == [SplineActivation, ActNorm, LUConv1x1, AffineCoupling]
    torch.manual_seed(0)
    assert repr(rest) == repr(step("glow"))
    assert not [module for module in layer.modules() if isinstance(module, (Conv1x1, LUConv1x1))]


def test_mintnet_is_its_blocks_and_an_activation_normalization():
    blocks, norm = step("mintnet")
    assert kinds(blocks.layers) == [MintNet, MintNet]
    assert isinstance(norm, ActNorm)


PAPER_STEPS = {
    "inverse-flow": [SplineActivation, ActNorm, LUConv1x1, AffineCoupling],
    "cinc": [ActNorm, QuadCoupling],
    "finc": [ActNorm, LUConv1x1, AffineCoupling],
    "emerging": [ActNorm, AffineCoupling],
    "periodic": [ActNorm, AffineCoupling],
    "exponential": [ActNorm, LUConv1x1, AffineCoupling],
    "self-normalizing": [ActNorm, AffineCoupling],
    "woodbury": [ActNorm, AffineCoupling],
    "macow": [ActNorm, LUConv1x1, AffineCoupling],
    "butterfly": [ActNorm, LUConv1x1, AffineCoupling],
    "mintnet": [ActNorm],
}


@pytest.mark.parametrize("name", PAPER_STEPS)
def test_the_step_of_the_publication_is_that_of_its_specification(name):
    assert kinds(step(name, **flow_class(name).paper_options)[1:]) == PAPER_STEPS[name]


def test_the_emerging_convolution_of_the_publication_has_its_1x1_right_before_it():
    layer, *_ = step("emerging", **flow_class("emerging").paper_options)
    assert isinstance(layer.layers[0], LUConv1x1)


def test_every_named_flow_but_ours_has_the_options_of_a_publication():
    assert {name for name in NAMES if getattr(flow_class(name), "paper_options", None) is not None} == (
        ASKED_FOR - {"arma"} | {"realnvp-image"}
    )


@pytest.mark.parametrize("name", ["inverse-flow", "self-normalizing", "exponential", "woodbury"])
def test_a_flow_trains_a_little_and_gives_the_images_back(name):
    torch.manual_seed(0)
    flow = create(name, (1, 8, 8), levels=17, scales=1, steps=2, width=8)
    x = (17 * torch.rand(32, 1, 8, 8).square()).to(torch.uint8)
    flow.initialize(x)
    before = flow.bits_per_dim(x).mean()
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        flow.bits_per_dim(x).mean().backward()
        optimizer.step()
    assert flow.bits_per_dim(x).mean() < before - 0.02
    assert torch.equal(flow.decode(flow.encode(x)), x)
