"""Every block of Python in the documentation runs, a page from top to bottom; trainings take two steps here.

`make docs` executes the tutorials in full. The README, which several pages include, has tests of its own.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TUTORIALS = sorted(path for path in (DOCS / "tutorials").glob("*.md") if path.name != "index.md")
COMING_FROM = (DOCS / "coming-from.md").read_text("utf-8")
PACKAGES = {"zuko": "zuko", "normflows": "normflows", "nflows": "nflows", "FrEIA": "FrEIA", "sbi": "sbi"}
SLOW = ("many-devices",)  # starts processes
# Sketches of contracts, not programs.
SKETCHES = {"architecture.md"}


def shorter(code: str) -> str:
    code = re.sub(r"max_steps(\"?[=:] ?)\d+", r"max_steps\g<1>2", code)
    return re.sub(r"in range\(\d{2,}\)", "in range(2)", code).replace("simulations=300", "simulations=100")


def blocks(text: str) -> list[str]:
    return re.findall(r"^```\{?(?:python|code-cell)\}?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def side(library: str, package: str) -> str:
    section = COMING_FROM.partition(f"\n## {library}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(rf"^```{{code-block}} python\n:caption: {package}\n\n(.*?)^```$", section, re.M | re.DOTALL)
    return code


def execute(code: str, name: str, namespace: dict[str, object]) -> None:
    exec(compile(code, name, "exec"), namespace)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")


@pytest.mark.filterwarnings("ignore")  # of what two steps of training leave
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in TUTORIALS],
)
def test_a_tutorial_runs_from_top_to_bottom(path: Path) -> None:
    cells = blocks(path.read_text("utf-8"))
    assert cells
    namespace: dict[str, object] = {"__name__": "tutorial"}
    for cell in cells:
        execute(shorter(cell), path.name, namespace)


def test_every_tutorial_is_listed() -> None:
    listed = re.findall(r"^([\w-]+)$", (DOCS / "tutorials" / "index.md").read_text("utf-8"), re.MULTILINE)
    assert set(listed) == {path.stem for path in TUTORIALS}


@pytest.mark.parametrize("library", PACKAGES)
def test_our_side_of_a_comparison_runs(library: str) -> None:
    execute(shorter(side(library, "inverseflow")), library, {})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", PACKAGES)
def test_their_side_of_a_comparison_runs(library: str) -> None:
    try:
        importlib.import_module(PACKAGES[library])
    except ImportError:
        pytest.skip(f"{library} is not installed: make test-interop")
    execute(shorter(side(library, library)), library, {})


def test_the_answers_run_from_top_to_bottom() -> None:
    namespace: dict[str, object] = {}
    answers = blocks((DOCS / "faq.md").read_text("utf-8"))
    assert answers
    for answer in answers:
        execute(shorter(answer), "faq.md", namespace)


def test_no_other_page_holds_python_that_nobody_runs() -> None:
    run = {*TUTORIALS, DOCS / "faq.md", DOCS / "coming-from.md"}
    others = [path for path in DOCS.rglob("*.md") if path not in run and path.name not in SKETCHES]
    assert [path.name for path in others if blocks(path.read_text("utf-8"))] == []
