"""From options to a flow."""

import pytest

from inverseflow.data import Lattice
from inverseflow.errors import OptionError
from inverseflow.flows import CInCFlow, PlanarFlow
from inverseflow.training.model import build_density
from inverseflow.training.options import ModelOptions
from inverseflow.training.run.description import Description

SMALL = {"scales": 1, "steps": 1, "width": 4}


def build(**options):
    return build_density(ModelOptions(**{**SMALL, **options}), Description("digits", (1, 8, 8), levels=17), seed=0)


def test_what_is_given_reaches_the_flow():
    flow = build(name="planar", layer="exact", kernel_size=5)
    assert isinstance(flow, PlanarFlow)
    assert (flow.config["options"]["layer"], flow.config["options"]["kernel_size"]) == ("exact", 5)


def test_the_architecture_of_the_paper_is_a_ground_that_other_options_stand_on():
    plain, paper = build(name="cinc"), build(name="cinc", paper_options=True)
    mixed = build(name="cinc", paper_options=True, conv1x1="dense")
    options = [
        [flow.config["options"][name] for name in ("coupling", "conv1x1", "spline")] for flow in (plain, paper, mixed)
    ]
    assert options == [["affine", "lu", "channel"], ["quad", "none", "none"], ["quad", "dense", "none"]]
    assert isinstance(paper, CInCFlow)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("realnvp", "it models vectors; take realnvp-image"),
        ("nsf", "it models real numbers, not 17 levels; take pixelcnn, or a flow such as inverse-flow"),
    ],
)
def test_a_model_of_vectors_refuses_images_and_names_a_model_of_them(name, message):
    digits = Description("digits", (1, 8, 8), levels=17)
    with pytest.raises(OptionError, match=f"cannot build {name} for images .*: {message}$"):
        build_density(ModelOptions(name=name), digits, seed=0)


@pytest.mark.parametrize("name", ["arma", "image"])
def test_a_flow_without_a_publication_has_no_architecture_of_the_paper(name):
    message = f"cannot build {name} for images .* it has no steps of a publication, so paper_options has no effect"
    with pytest.raises(OptionError, match=message):
        build(name=name, paper_options=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "woodbury", "kernel_size": 5},
            "'woodbury' has no option kernel_size; it has levels, scales",
        ),
        ({"name": "periodic", "max_row_sum": 0.5}, "'periodic' has no option max_row_sum"),
        ({"name": "finc", "layer": "cinc"}, "'finc' has no option layer"),
        ({"name": "planar", "coupling": "quad"}, "'planar' has no option coupling"),
        ({"name": "image", "layer": "butterfly", "kernel_size": 3}, "the layer 'butterfly' has no kernel_size"),
        (
            {"name": "emerging", "kernel_size": 4},
            "the layer 'emerging' can't be built .* kernel_size must be odd, got 4",
        ),
    ],
)
def test_an_option_that_a_flow_cannot_honour_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        build(**options)


def test_a_density_without_dequantization_refuses_columns_of_whole_numbers():
    data = Description("table", (2,), None, columns=("a", "b"), lattices={"b": Lattice(0.5)})
    with pytest.raises(
        OptionError, match=r"cannot build made for rows \(2,\): it can't dequantize .* \('b'\); take a fl"
    ):
        build_density(ModelOptions(name="made"), data, seed=0)
    assert build_density(ModelOptions(name="nsf"), data, seed=0).integer_columns == (1,)
    texts = Description("table", (1,), None, columns=("a",), categories={"a": ("x", "y")})
    with pytest.raises(OptionError, match=r"\('a'\); take a flow such as nsf, or .* context \(--context-columns\)$"):
        build_density(ModelOptions(name="made"), texts, seed=0)


@pytest.mark.parametrize("name", ["pixelcnn", "pixelrnn", "wavenet", "glow"])
def test_a_model_of_images_or_audio_refuses_rows_and_names_a_model_of_them(name):
    points = Description("points", (2,), None, columns=("x", "y"))
    with pytest.raises(OptionError, match=rf"cannot build {name} for rows \(2,\): .*(MADE|nsf)"):
        build_density(ModelOptions(name=name), points, seed=0)
