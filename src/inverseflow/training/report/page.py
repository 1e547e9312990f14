"""Pages about runs: one HTML file each that holds its pictures and needs no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inverseflow.utils.files import write_text

_GRAY = "#808080"  # can be read on white and on black
_WIDE = 2.0  # pictures that are wider, relative to their height, scroll on a narrow screen
_MARKED = 40  # points of a curve that are marked, at most


@dataclass(frozen=True)
class Row:
    """A row of the table of figures."""

    name: str
    """Name of the figure."""
    values: Sequence[str]
    """Its value of each run."""
    meaning: str
    """What it says."""


@dataclass(frozen=True)
class Picture:
    """A picture with its caption."""

    title: str
    """Its heading."""
    source: str
    """A data URL."""
    caption: str
    """What there is to see."""
    kind: str = "photo"
    """Its class in the page's style."""

    @classmethod
    def of_file(cls, path: Path, title: str, caption: str) -> "Picture":
        """Embed a PNG file."""
        from PIL import Image

        with Image.open(path) as image:
            kind = "photo wide" if image.width > _WIDE * image.height else "photo"
        return cls(title, _url("image/png", path.read_bytes()), caption, kind)

    @classmethod
    def of_curves(cls, curves: Mapping[str, Sequence[tuple[float, float]]], unit: str, caption: str) -> "Picture":
        """Draw curves over the steps, to be read on a light and on a dark page."""
        return cls("Curves", _url("image/svg+xml", curves_svg(curves, unit)), caption, "curves")


@dataclass(frozen=True)
class Page:
    """Content of a page. All texts are escaped when it is written."""

    title: str
    """Title of the page."""
    subtitle: str
    """What the page is about."""
    headline: str = ""
    """The figure that matters most."""
    meaning: str = ""
    """What the headline means."""
    problems: Sequence[str] = ()
    """Sentences about what does not work, or what can't be compared."""
    columns: Sequence[str] = ()
    """Names of the runs if there are several."""
    rows: Sequence[Row] = ()
    """The table of figures."""
    pictures: Sequence[Picture] = ()
    """The pictures in their order."""
    commands: Sequence[str] = ()
    """Commands that go on from here."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Long texts by their titles, which are shown folded."""


def write_page(path: Path, page: Page) -> None:
    """Write a page as one HTML file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_page(file, Page("a < b", "of points"))
        >>> "a &lt; b" in file.read_text("utf-8")
        True
    """
    from jinja2 import Environment

    source = Path(__file__).with_name("page.html").read_text("utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    text = template.render(page=page)
    write_text(path, text.encode("utf-8", "replace").decode())  # the name of a file may be no UTF-8


def curves_svg(curves: Mapping[str, Sequence[tuple[float, float]]], unit: str) -> bytes:
    """Return curves over the steps as SVG, without a background."""
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context({"svg.hashsalt": "inverseflow", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(6.5, 4), layout="constrained", facecolor="none")
        axes = figure.subplots()
        axes.set_facecolor("none")
        values = []
        for name, points in curves.items():
            axes.plot(
                *zip(*points, strict=True), label=name, linewidth=1.5, markersize=4,
                marker="o" if len(points) < _MARKED else None,
            )  # fmt: skip
            values += [value for _, value in points]
        low, high = min(values), float(np.quantile(values, 0.98))  # the first steps can be far above all others
        margin = 0.05 * (high - low) + 0.01
        axes.set(xlabel="step", ylabel=unit, ylim=(low - margin, high + margin))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=_GRAY, alpha=0.3)
        axes.tick_params(colors=_GRAY)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set_color(_GRAY)
        for spine in axes.spines.values():
            spine.set_color(_GRAY)
        axes.legend(labelcolor=_GRAY, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
