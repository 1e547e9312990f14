"""The gallery of layers: formula, cost, picture of the Jacobian, and when to use each.

The formula and the first sentence come from the docstring, the small layer from the registry of the contract suites.
Cost and use are in `USES`, by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from docs.generators import api
from inverseflow.bijections import Bijection
from tests.contracts.registry import LAYERS, Case


@dataclass(frozen=True)
class Use:
    """What a reader who chooses a layer wants to know of it."""

    forward: str
    """What an event costs from data to latent, beside reading it."""
    inverse: str
    """And from latent to data."""
    when: str
    """When to take it."""


SAME = "the same"

USES: dict[str, dict[str, Use]] = {
    "Convolutions that mix pixels": {
        "InverseConv2d": Use(
            "a triangular solve: as many operations as the convolution, pixel after pixel",
            "one convolution",
            "Sampling must be fast, and training can afford the solve.",
        ),
        "CausalConv2d": Use(
            "one convolution", "a triangular solve", "Densities are asked for more often than samples."
        ),
        "RationalConv2d": Use(
            "a convolution and a solve", SAME, "Both directions matter equally, and taps should lie on all sides."
        ),
        "EmergingConv2d": Use(
            "two convolutions and a 1×1", "two solves and a 1×1", "Taps should lie on all sides, and densities be fast."
        ),
        "FInCConv2d": Use(
            "four convolutions of a quarter of the channels",
            "four solves of a quarter of the channels",
            "There are many channels: groups cost a quarter. Put a 1×1 behind it.",
        ),
        "PeriodicConv2d": Use(
            "two FFTs, a C×C product and determinant for each frequency",
            "two FFTs, a C×C solve for each frequency",
            "Opposite borders touch: textures, angles, simulations in a periodic box.",
        ),
        "ExponentialConv2d": Use(
            "some ten convolutions, for a spectral norm of 1",
            SAME,
            "No kernel may be singular, and the log-determinant should cost nothing.",
        ),
        "ExactConv2d": Use(
            "about 8 m²W³C³H operations, for a kernel that reaches m rows far",
            SAME,
            "Images are small, and the ordinary convolution itself is wanted: the yardstick of the others.",
        ),
        "SelfNormalizingConv2d": Use(
            "as `ExactConv2d`; two convolutions for its gradient",
            "as `ExactConv2d`",
            "Training on images too large to differentiate an elimination, with approximate gradients.",
        ),
        "Woodbury": Use(
            "products with matrices of C·d and HW·d numbers, for the rank d",
            SAME,
            "Every pixel should see every other, at one fixed image size.",
        ),
        "MemoryEfficientWoodbury": Use(
            "products with matrices of (C + H + W)·d numbers", SAME, "As `Woodbury`, with fewer parameters."
        ),
        "MaskedConvFlow": Use(
            "one masked convolutional network",
            "the network once for each row or column",
            "Densities matter, samples hardly: the map is not linear, and stronger than a convolution.",
        ),
        "MaCow": Use(
            "four `MaskedConvFlow`", "four sweeps of rows and columns", "As `MaskedConvFlow`, in all four orders."
        ),
        "MintNet": Use(
            "three masked convolutions", "iterated to a tolerance", "No coupling is wanted: one layer is a whole step."
        ),
        "Butterfly": Use(
            "O(CHW) for each factor", SAME, "Far apart elements should meet in few operations; sides are powers of two."
        ),
    },
    "Linear maps of the channels": {
        "LUConv1x1": Use(
            "C² for each pixel", "two triangular solves", "The default between couplings; never singular."
        ),
        "Conv1x1": Use(
            "C² for each pixel, and a determinant of C³",
            "a solve of C³, then C² for each pixel",
            "The matrix itself matters.",
        ),
        "Householder": Use(
            "2CK for each pixel, for K reflections", SAME, "Nothing may be stretched; C is large and K small."
        ),
        "Permute": Use("a copy", SAME, "Couplings should take turns, and nothing be learned."),
        "Whiten": Use(
            "C² for each pixel", SAME, "Channels are correlated in the data; or color transfer, with its inverse."
        ),
        "ActNorm": Use(
            "one multiply-add", SAME, "Before every learned layer: numbers stay near one, in any batch size."
        ),
        "BatchNorm": Use(
            "one multiply-add, and the statistics of the batch",
            "one multiply-add",
            "A published model has it; else `ActNorm`.",
        ),
    },
    "Couplings": {
        "Coupling": Use(
            "one evaluation of the network",
            SAME,
            "The workhorse: any split, any map, any network; both directions fast.",
        ),
        "AffineCoupling": Use("one evaluation of the network", SAME, "Images, and whatever should be fast and sturdy."),
        "AdditiveCoupling": Use(
            "one evaluation of the network", SAME, "Volume must be preserved; rounding must be tiny."
        ),
        "QuadCoupling": Use(
            "three networks of blocks of the channels",
            SAME,
            "One layer should transform three quarters of the channels.",
        ),
        "TwoBranch": Use("two networks", SAME, "Two images become one and come apart again; learned wavelets."),
        "ContextAffine": Use(
            "one convolution of the context", SAME, "A prior for each class or condition, at the end of a flow."
        ),
        "SplitPrior": Use("one convolution", SAME, "Where channels leave a scale of a `Multiscale` flow."),
    },
    "Triangular maps": {
        "Autoregressive": Use(
            "one masked network",
            "C steps, together the products of one evaluation with `MaskedMLP`",
            "The best density of a table; samples may take longer. Its `Inverse` swaps the costs.",
        ),
        "PatchAutoregressive": Use(
            "one causal transformer",
            "a step for each patch, together the products of one evaluation",
            "The density of an image matters most: no split, and every patch sees all before it.",
        ),
        "Rosenblatt": Use(
            "K normal densities for each element",
            "a root for each element in turn",
            "The distribution is a known mixture of normals.",
        ),
        "CDFTransform": Use(
            "K terms for each element",
            "a root for each element",
            "Numbers in (0, 1) are wanted: copulas, probability integral transforms.",
        ),
    },
    "Residual maps": {
        "Residual": Use(
            "D derivatives up to 64 elements; above, an estimate of some ten",
            "some 20 to 50 evaluations of the network",
            "The map should be free of splits and orders. Its likelihood is an estimate above 64 elements.",
        ),
        "Planar": Use("O(D)", "one root", "Variational inference in few dimensions."),
        "Radial": Use("O(D)", "a quadratic equation", "Variational inference in few dimensions."),
    },
    "Maps of single elements": {
        "SplineActivation": Use(
            "a search among the bins", "a search and a square root", "A nonlinearity between linear layers."
        ),
        "Logit": Use("a logarithm", "an exponential", "Data lie between 0 and 1."),
        "Scale": Use("one multiply-add", SAME, "Units should change, by a known factor."),
        "Standardize": Use("one multiply-add", SAME, "First in a flow of a table, which then keeps the table's units."),
        "Dequantize": Use("a random number", "rounding", "Data are gray levels; the likelihood becomes a bound."),
        "VariationalDequantize": Use(
            "four networks on all pixels",
            "rounding; the networks for the log-determinant",
            "As `Dequantize`, with a tighter bound for longer training.",
        ),
        "DequantizeColumns": Use("a random number", "rounding", "Some columns of a table are whole numbers."),
    },
    "Changes of shape": {
        "Squeeze": Use("a copy", SAME, "A scale ends: half the side, four times the channels."),
        "WaveletSqueeze": Use(
            "a few operations for each element", SAME, "As `Squeeze`, with coarse and fine kept apart."
        ),
        "Multiscale": Use(
            "its layers", SAME, "Images: half of the channels leave after each scale, and cost nothing more."
        ),
    },
    "Combinators": {
        "Compose": Use("its layers", SAME, "Always."),
        "CheckpointedCompose": Use(
            "its layers", SAME, "Memory is short: activations are computed again, for a third more time."
        ),
        "ReversibleCompose": Use(
            "its layers", SAME, "Training is deep and memory short: it does not grow with the number of layers."
        ),
        "Inverse": Use("the inverse of the layer", "the layer", "The other direction should be the fast one."),
    },
}
"""By heading and name. The layers for sequences and volumes stand with the one for images."""

PIXELS_FIRST = "Convolutions that mix pixels"
"""The pictures below this heading have the channels of a pixel side by side; the others the pixels of a channel."""


def write(folder: Path) -> None:
    """Write the page and its pictures into ``folder/gallery``."""
    pictures = folder / "gallery" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    names = {name.name: name for name in api.public_names("inverseflow.bijections")}
    lines = [":tocdepth: 2", "", "All layers", "==========", "", _INTRODUCTION]
    for heading, uses in USES.items():
        lines += [heading, "-" * len(heading), ""]
        for layer, use in uses.items():
            name = names[layer]
            lines += [layer, "~" * len(layer), "", " ".join(name.doc.partition("\n\n")[0].split()), ""]
            lines += [*formula(name.doc), ""]
            case = case_of(layer)
            if case.continuous:
                path = pictures / f"{layer}.png"
                if not path.exists():
                    draw(jacobian(case, pixels_first=heading == PIXELS_FIRST), path)
                lines += [
                    f".. image:: pictures/{layer}.png",
                    f"   :alt: Jacobian of {layer}",
                    "   :class: jacobian",
                    "",
                ]
            others = [f"{layer[:-2]}{axes}d" for axes in (1, 3) if f"{layer[:-2]}{axes}d" in names]
            lines += [f"* Data to latent: {use.forward}.", f"* Latent to data: {use.inverse}.", f"* When: {use.when}"]
            lines += [f"* Reference: {', '.join(f'`{other}`' for other in [layer, *others])}.", ""]
    write_if_changed(folder / "gallery" / "layers.rst", "\n".join(lines))


def formula(doc: str) -> list[str]:
    """Return the lines of the first formula of a docstring, none if it has none."""
    found = re.search(r"^\.\. math::.*\n(?: +\S.*\n)*", doc, re.MULTILINE)
    return found[0].splitlines() if found else []


def case_of(layer: str) -> Case:
    """Return the small layer of the contract suites of that class, one that can be differentiated if there is one."""
    cases = [case for case in LAYERS if case.name.partition("-")[0] == layer]
    return max(cases, key=lambda case: (case.continuous, len(case.shape) == 3, case.shape == (4, 3, 5)))


def jacobian(case: Case, *, pixels_first: bool) -> Tensor:
    """Return the absolute derivatives of a layer with random parameters, ``(D, D)``."""
    torch.manual_seed(0)
    layer = case.perturbed("cpu", torch.float64)
    assert isinstance(layer, Bijection)
    layer.eval()
    x, context = case.data(1, "cpu", torch.float64)[0], case.draw_context(1, "cpu", torch.float64)

    def flat(event: Tensor) -> Tensor:
        return (event.movedim(0, -1) if pixels_first else event).flatten()

    def image(event: Tensor) -> Tensor:
        return flat(layer(event[None], context)[0][0])

    rows = torch.autograd.functional.jacobian(image, x)
    assert isinstance(rows, Tensor)
    return torch.stack([flat(row) for row in rows]).abs()


def draw(matrix: Tensor, path: Path) -> None:
    """Draw the size of every derivative into a file, zero as white."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2, 2.2), dpi=150)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    shades = (matrix / matrix.max()).pow(0.4).masked_fill(matrix == 0, 0)
    axes.imshow(shades.numpy(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    figure.savefig(path)


def write_if_changed(path: Path, text: str) -> None:
    """Write a page, unless it holds this text: an unchanged page is not built again."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


_INTRODUCTION = """\
Every picture is the Jacobian of a small layer with random parameters: a row for each number that comes out, a column
for each that goes in, dark where the derivative is large, white where it is zero. Below the first heading the channels
of a pixel stand side by side, and pixels in raster order; elsewhere the pixels of a channel stand side by side. A
triangle can be inverted by substitution, a band of a few diagonals is local, and a full square sees everything.

Costs are for one event of C channels on H×W pixels, D numbers in all. ``python -m experiments speedup`` and
``python -m benchmarks op``, whose figures are on the pages :doc:`/experiments` and :doc:`/performance`, measure them.
What mixes, splits or maps is a part of a `Coupling`: splits are `Halves`, `Channels`, `Checkerboard` and `Mask`, and
elementwise maps `Affine`, `Additive`, `RationalQuadratic`, `Bernstein`, `MixtureCDF`, `MonotoneNetwork`, and
`ComposedMap` of several. Its networks are in `inverseflow.nets`: `ConvNet`, `ResNet`, `GatedResNet`, `ViT` and `MLP`.
"""
