"""The gallery of applications, from the READMEs of `applications/`: what each does, how it is called, a picture."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.generators.layers import write_if_changed

REPOSITORY = Path(__file__).parents[2]
APPLICATIONS = REPOSITORY / "applications"

_INTRODUCTION = """\
# All applications

Uses of the library, in a clone of the repository: `python -m applications.NAME --help` lists the commands of each, and
its README says what it can't do. What others could use of them is in the package.
"""


def names() -> list[str]:
    """Return the names of the applications."""
    return sorted(path.parent.name for path in APPLICATIONS.glob("*/README.md"))


def write(folder: Path) -> None:
    """Write the page and its pictures into ``folder/gallery``."""
    pictures = folder / "gallery" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_INTRODUCTION, *(section(name, pictures) for name in names())]
    write_if_changed(folder / "gallery" / "applications.md", "\n".join(parts))


def section(name: str, pictures: Path) -> str:
    """Return the section about an application, and copy its picture, if it has one, into a folder."""
    readme = (APPLICATIONS / name / "README.md").read_text("utf-8")
    title, summary = re.findall(r"^# (.+)\n\n((?:.+\n)+)", readme)[0]
    lines = [f"## {title}", "", _without_links(summary)]
    if picture := _picture(name, readme):
        alternative, path = picture
        copied = pictures / f"{name}{path.suffix}"
        shutil.copyfile(path, copied)
        lines += [f"![{alternative}](pictures/{copied.name})", ""]
    commands = re.findall(r"^```\w*\n(.+?)^```", readme, re.MULTILINE | re.DOTALL)
    lines += ["```text", commands[0].rstrip(), "```", ""]
    measured = re.search(r"docs/experiments\.md#([\w-]+)", readme)
    if measured and measured[1] in measured_headings():
        lines += [f"[How well it works](../experiments.md#{measured[1]})", ""]
    return "\n".join(lines)


def measured_headings() -> set[str]:
    """Return the anchors of the page of experiments, which has no heading for what was not measured yet."""
    page = (REPOSITORY / "docs" / "experiments.md").read_text("utf-8")
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page, re.M)}


def _picture(name: str, readme: str) -> tuple[str, Path] | None:
    """Return caption and file of the first picture of a README, else of its experiment, None if there is none."""
    if found := re.search(r"!\[([^\]]*)\]\(([^)]+)\)", readme):
        return found[1], (APPLICATIONS / name / found[2]).resolve()
    measured = REPOSITORY / "docs" / "assets" / f"experiment-{name}-quick.png"
    return (f"What `python -m experiments {name}` measured", measured) if measured.is_file() else None


def _without_links(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
