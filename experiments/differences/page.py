"""The page about what differs from the publications."""

from __future__ import annotations

import re
import textwrap

from experiments.differences import flows, inverse_flow, layers
from experiments.differences.difference import Chapter, Difference
from experiments.differences.figures import figures

CHAPTERS: tuple[Chapter, ...] = (*inverse_flow.CHAPTERS, *layers.CHAPTERS, *flows.CHAPTERS)
"""In the order of the page."""

_HEAD = """# What differs from the publications, and why

Each point says what is published, what is done here, why, and which tests or commands show it: `pytest NAME` runs a
test in a clone of the repository, a command runs wherever the package is installed. `inverseflow experiment page`
writes this page and computes every figure on it that is not printed in a publication, in float64; a test compares the
two. What was measured is in experiments.md beside it, which the same command writes."""
_WIDTH = 120


def differences_page() -> str:
    """Return the page in Markdown."""
    computed = figures()
    parts = [_HEAD, "\n".join(f"- [{chapter.title}](#{_anchor(chapter.title)})" for chapter in CHAPTERS)]
    for chapter in CHAPTERS:
        parts += [f"## {chapter.title}", _wrapped(chapter.about)]
        for difference in chapter.differences:
            parts += [f"### {difference.title}", _lines(difference, computed)]
    return "\n\n".join(parts) + "\n"


def _lines(difference: Difference, computed: dict[str, str]) -> str:
    texts = {
        f"**Published** ({difference.where}):": difference.published.format(**computed),
        "**Here:**": difference.here.format(**computed),
        "**Why:**": difference.why.format(**computed),
    }
    lines = [_wrapped(f"- {label} {text}", indent="  ") for label, text in texts.items()]
    shown = "\n".join(f"  - `{name}`" for name in difference.shown)
    return "\n".join([*lines, f"- **Shown by:**\n{shown}"])


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()), _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _anchor(title: str) -> str:
    """Return the name that a heading has in links."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
