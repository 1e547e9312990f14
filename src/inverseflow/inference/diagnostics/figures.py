"""Pictures of a posterior: its calibration, and its draws for an observation."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.inference.diagnostics.coverage import coverage_of
from inverseflow.inference.diagnostics.diagnosis import DENSITY, Diagnosis, p_text
from inverseflow.inference.diagnostics.sbc import ranks_of_counts
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 12  # histograms, at most
_BAND = 0.995  # quantile of a standard normal above which one bar in 200 lies


def calibration_figure(diagnosis: Diagnosis, *, title: str = "Calibration") -> "Figure":
    """Return a picture of the coverage of credible regions and of the histograms of ranks, above them the verdict.

    The bands hold 99 % of the values of an exact posterior. Of more than 12 quantities, those with the smallest
    p-values are shown.

    Args:
        diagnosis: of `diagnose`.
        title: first line of the picture.

    Raises:
        DataError: if nothing was measured, because the posterior could not be judged.
        MissingPackageError: if matplotlib is not installed.
    """
    with packages_for("the calibration figure"):
        from matplotlib.figure import Figure
    if diagnosis.sbc is None:
        raise DataError(f"there is nothing to draw: {diagnosis.verdict}")
    p_values = diagnosis.sbc.p_values
    ranks = ranks_of_counts(diagnosis.rank_counts)
    by_p_value = sorted(range(ranks.shape[1]), key=lambda quantity: p_values[quantity])
    chosen = sorted(by_p_value[:_PANELS])
    columns = next(c for c in (2, 3, 4) if 3 * c >= len(chosen) or c == 4)
    rows = max(2, -(-len(chosen) // columns))
    figure = Figure(figsize=(5.2 + 2.4 * columns, 2 + 2 * rows))
    figure.set_layout_engine("constrained", h_pad=0.08)
    verdict = textwrap.fill(diagnosis.verdict, round(20 * float(figure.get_figwidth()) / 1.35))
    figure.suptitle(title, fontsize=14)
    figure.supxlabel(verdict, fontsize=9)
    halves: Any = figure.subfigures(1, 2, width_ratios=(5.2, 2.4 * columns))
    left, right = halves
    _draw_coverage(left.subplots(), diagnosis, ranks, chosen)
    panels = right.subplots(rows, columns, sharex=True, squeeze=False).flat
    bins, count = diagnosis.sbc.bins, len(ranks)
    expected = count / bins
    spread = _z(_BAND) * (expected * (1 - 1 / bins)) ** 0.5
    edges = torch.linspace(0, 1, bins + 1).numpy()
    for place, axes in enumerate(panels):
        if place >= len(chosen):
            axes.set_axis_off()
            continue
        quantity = chosen[place]
        bars = torch.bincount(ranks[:, quantity] * bins // (diagnosis.draws + 1), minlength=bins)
        color = _color(diagnosis, quantity)
        axes.stairs(bars.numpy(), edges, color=color, fill=True, alpha=0.3, linewidth=0)
        axes.axhspan(max(0, expected - spread), expected + spread, color="gray", alpha=0.25, linewidth=0)
        axes.axhline(expected, color="gray", linewidth=0.8)
        axes.stairs(bars.numpy(), edges, color=color, linewidth=1.2)
        axes.set_title(textwrap.fill(diagnosis.quantities[quantity], 28), fontsize=9)
        text = p_text(p_values[quantity])
        axes.text(0.98, 0.95, text, transform=axes.transAxes, fontsize=8, ha="right", va="top")
        axes.set(xlim=(0, 1), ylim=(0, max(float(bars.max()), expected + spread) * 1.25))
        axes.tick_params(labelsize=8, labelbottom=place + columns >= len(chosen))
    right.supxlabel(f"rank of the truth among {diagnosis.draws} draws, as a share", fontsize=9)
    right.supylabel("simulations", fontsize=9)
    return figure


def corner_figure(
    samples: Tensor,
    names: Sequence[str] = (),
    *,
    truth: Tensor | None = None,
    reference: Tensor | None = None,
    title: str = "Posterior",
) -> "Figure":
    """Return a picture of posterior draws: a histogram of each parameter and a scatter plot of each pair.

    Exact samples, if there are some, are above the diagonal. Of more than 8 parameters, the first 8 are shown.

    Args:
        samples: draws ``(N, D)``.
        names: names of the parameters, with units; by default x0, x1, and so on.
        truth: true parameters ``(D,)``, drawn as lines.
        reference: exact samples ``(M, D)``.
        title: title of the picture.

    Raises:
        DataError: if samples, truth and reference don't have the same number of parameters.
        MissingPackageError: if matplotlib is not installed.
    """
    with packages_for("the corner figure"):
        from matplotlib.figure import Figure

        from inverseflow.training.report.pictures import CORNER, axis_bounds, draw_corner
    size = samples.shape[-1]
    for name, values, axes in (("samples", samples, 2), ("truth", truth, 1), ("reference", reference, 2)):
        if values is not None and (values.ndim != axes or values.shape[-1] != size or not values.numel()):
            expected = f"(N, {size})" if axes == 2 else f"({size},)"
            raise DataError(f"{name} must have shape {expected}, got {tuple(values.shape)}")
    names = [names[place] if place < len(names) else f"x{place}" for place in range(size)][:CORNER]
    shown = {"posterior": samples} if reference is None else {"reference": reference, "posterior": samples}
    shown = {name: points[:, :CORNER].detach().cpu().double() for name, points in shown.items()}
    point = None if truth is None else truth[:CORNER].tolist()
    bounds = []
    for column in range(len(names)):
        ends = [axis_bounds(points[:, column]) for points in shown.values()]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if point is not None:  # a truth outside the draws is seen
            margin = 0.05 * (high - low)
            low, high = min(low, point[column] - margin), max(high, point[column] + margin)
        bounds.append((low, high))
    figure = Figure(figsize=(max(5, 2 + 1.7 * len(names)), 2 + 1.6 * len(names)), layout="constrained")
    figure.suptitle(title)
    draw_corner(figure, shown, names, bounds, point)
    return figure


def _draw_coverage(axes: Any, diagnosis: Diagnosis, ranks: Tensor, chosen: Sequence[int]) -> None:
    """Draw the observed over the nominal probability of credible regions."""
    levels = torch.linspace(0.01, 0.99, 99).tolist()
    nominal = torch.tensor([0.0, *levels, 1.0])
    band = _z(_BAND) * (nominal * (1 - nominal) / len(ranks)).sqrt()
    low, high = (nominal - band).clamp_min(0), (nominal + band).clamp_max(1)
    axes.fill_between(nominal, low, high, color="gray", alpha=0.25, linewidth=0, label="99 % of exact ones")
    axes.plot([0, 1], [0, 1], color="gray", linewidth=0.8)
    for quantity in chosen:
        name, extra = diagnosis.quantities[quantity], quantity >= len(diagnosis.parameters)
        if extra and name != DENSITY:
            continue  # regions around a prediction are no credible regions
        rates = coverage_of(ranks[:, [quantity]], diagnosis.draws, levels, density=extra).rates[0]
        label = "highest density, all" if extra else textwrap.shorten(name, 30, placeholder=" …")
        color = _color(diagnosis, quantity)
        axes.plot(nominal, [0.0, *rates, 1.0], label=label, color=color, linewidth=2 if extra else 1.3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal probability", ylabel="share of true parameters inside")
    axes.set_title("coverage of credible regions", fontsize=11)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _color(diagnosis: Diagnosis, quantity: int) -> str:
    if quantity >= len(diagnosis.parameters):
        return "black" if diagnosis.quantities[quantity] == DENSITY else "dimgray"
    return f"C{quantity % 10}"


def _z(quantile: float) -> float:
    return float(torch.special.ndtri(torch.tensor(quantile, dtype=torch.float64)))
