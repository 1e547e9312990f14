"""The gallery of flows and densities: what each is, how fast it samples, and when to use it.

What it is comes from the docstring; the rest is in `USES`, by hand. The pictures are of flows that are trained for a
few seconds when the documentation is built.
"""

from __future__ import annotations

from pathlib import Path

import torch

import inverseflow
from docs.generators.layers import write_if_changed
from inverseflow import densities
from inverseflow.data import load_toy

USES: dict[str, dict[str, tuple[str, str]]] = {
    "Flows of vectors and tables": {
        "nsf": ("fast", "Start here: a good density, and fast in both directions."),
        "nsf-ar": ("D steps", "The density of a table matters most, and samples may take longer."),
        "maf": ("D steps", "As `nsf-ar`, with fewer parameters and smoother tails."),
        "iaf": (
            "fast",
            "Samples with their own density are wanted, as in variational inference. Training by likelihood is slow.",
        ),
        "realnvp": ("fast", "Many columns, or a density that must be sturdy rather than sharp."),
        "nice": ("fast", "Volume should be preserved but for one scale of each column."),
        "rosenblatt": ("a root for each column", "Columns are mixtures: several peaks, each given the columns before."),
        "iresnet": ("some 20 to 50 evaluations for each step", "No split and no order of the columns is natural."),
        "planar-flow": ("a root for each step", "Few dimensions; comparison with publications."),
        "radial-flow": ("a quadratic equation for each step", "Few dimensions; comparison with publications."),
    },
    "Flows of images, sequences and volumes": {
        "inverse-flow": ("convolutions only", "Start here: sampling takes no solve."),
        "glow": ("1×1 convolutions only", "The baseline: nothing but couplings mixes pixels."),
        "cinc": ("a solve for each step", "Densities are asked for more often than samples."),
        "finc": ("four small solves for each step", "As `cinc`, with many channels."),
        "emerging": ("two solves for each step", "Taps on all sides of a pixel, and fast densities."),
        "arma": ("a convolution and a solve for each step", "Both directions should cost the same."),
        "periodic": ("FFTs", "Opposite borders touch."),
        "exponential": (
            "some ten convolutions for each step",
            "Log-determinants that cost nothing, and no singular kernel.",
        ),
        "self-normalizing": ("an elimination for each step", "Approximate gradients are enough; images are small."),
        "woodbury": ("products of low rank", "Every pixel sees every other, at a fixed size."),
        "butterfly": ("2×2 blocks", "As `woodbury`, with fewer operations; sides are powers of two."),
        "macow": ("a network for each row and column", "Densities matter, samples hardly."),
        "mintnet": ("iterated to a tolerance", "No coupling is wanted."),
        "image": ("as its layer", "A layer of your choice, by name or of your own."),
        "planar": ("as its layer", "Layers should be compared, with nothing else that mixes."),
        "realnvp-image": ("fast", "Comparison with publications."),
        "iresnet-image": (
            "some 20 to 50 evaluations for each step",
            "No split is wanted; the likelihood is an estimate above 64 elements.",
        ),
    },
    "Densities without an inverse": {
        "made": ("one element after another", "Small images and rows, also as an ensemble of orders."),
        "pixelcnn": (
            "one pixel after another, from a cache",
            "The best exact likelihood of gray levels, and the rest of an image given a part.",
        ),
        "pixelrnn": ("one pixel after another, from states", "Small images, whose far pixels matter."),
        "wavenet": ("one element after another, from a cache", "Audio and other long sequences of whole numbers."),
    },
}
"""By heading and registered name: how samples are drawn, and when to take it."""

PICTURED = "Flows of vectors and tables"
STEPS = 200


def write(folder: Path) -> None:
    """Write the page and its pictures into ``folder/gallery``."""
    pictures = folder / "gallery" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    lines = ["All flows and densities", "=======================", "", _INTRODUCTION]
    for heading, uses in USES.items():
        lines += [heading, "-" * len(heading), ""]
        lines += [
            ".. list-table::",
            "   :header-rows: 1",
            "",
            "   * - name",
            "     - what it is",
            "     - samples",
            "     - when",
        ]
        for name, (samples, when) in uses.items():
            kind = densities.density_class(name)
            summary = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
            lines += [
                f"   * - ``{name}``, :py:obj:`{kind.__name__}`",
                f"     - {summary}",
                f"     - {samples}",
                f"     - {when}",
            ]
        lines.append("")
        if heading == PICTURED:
            path = pictures / "two-moons.png"
            if not path.exists():
                draw(list(uses), path)
            lines += [
                ".. image:: pictures/two-moons.png",
                "   :alt: Densities of two moons by every flow of vectors",
                "",
            ]
            lines += [
                f"Two moons after {STEPS} steps of training. Not a contest: some take more steps.",
                "",
            ]
    write_if_changed(folder / "gallery" / "flows.rst", "\n".join(lines))


def draw(names: list[str], path: Path) -> None:
    """Train a flow by each name for a moment, and draw its density of two moons into a file."""
    from matplotlib.figure import Figure

    torch.manual_seed(0)
    moons = torch.as_tensor(load_toy("two-moons").train.batch(range(4000)).x)
    low, high = moons.amin(0) - 0.5, moons.amax(0) + 0.5
    axes = [torch.linspace(float(low[d]), float(high[d]), 100) for d in (0, 1)]
    grid = torch.cartesian_prod(*axes)
    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    plots = list(figure.subplots(2, 6).flat)
    for plot in plots:
        plot.set_axis_off()
    for plot, name in zip(plots, ["data", *names], strict=False):
        plot.set_title(name, fontsize=9)
        if name == "data":
            plot.scatter(*moons[:800].T.numpy(), s=1)
            continue
        flow = densities.create(name, (2,))
        inverseflow.fit(flow, moons, max_steps=STEPS, learning_rate=3e-3, progress=False)
        with torch.no_grad():
            density = flow.log_prob(grid).exp().view(100, 100)
        plot.imshow(density.T, origin="lower", cmap="Blues", vmax=float(density.quantile(0.999)))
    figure.savefig(path)


_INTRODUCTION = """\
Any of them is built by its name: ``inverseflow.flows.create("nsf", (3,))`` or ``inverseflow.densities.create``, and
``--model NAME`` trains it on the command line. A likelihood is exact, but for discrete data of a flow, where it is a
bound, and for residual flows of more than 64 elements, where it is estimated. The pages :doc:`/experiments` and
:doc:`/performance` hold measured likelihoods and times, with the commands that measure them.
"""
