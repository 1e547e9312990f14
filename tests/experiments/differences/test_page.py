"""The page about differences is what the command writes, and every point of it can be checked."""

import ast
import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path
from string import Formatter

import pytest

from experiments.differences import CHAPTERS, differences_page
from experiments.differences.figures import figures

REPOSITORY = Path(__file__).parents[3]
POINTS = [point for chapter in CHAPTERS for point in chapter.differences]
SHOWN = sorted({name for point in POINTS for name in point.shown})
TESTS = [name for name in SHOWN if name.startswith("tests/")]
EACH_POINT = pytest.mark.parametrize("point", POINTS, ids=lambda point: point.title)


def texts(point):
    return point.published, point.here, point.why


@cache
def names_in(path):
    """Return the names of the tests of a file without importing it."""
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_the_committed_page_is_what_the_command_writes():
    assert (REPOSITORY / "docs" / "differences.md").read_text("utf-8") == differences_page()


@EACH_POINT
def test_every_point_is_shown_by_a_test_or_a_command(point):
    assert point.shown
    assert all(texts(point)) and point.where


@pytest.mark.parametrize("name", TESTS)
def test_every_named_test_exists(name):
    path, _, test = name.partition("::")
    assert test in names_in(path)


@pytest.mark.parametrize("line", [name for name in SHOWN if name not in TESTS])
def test_every_named_command_is_understood(line):
    program, command, *words = shlex.split(line)
    assert program == "inverseflow"
    import_module(f"inverseflow.cli.{command}").COMMAND.arguments(words)


@EACH_POINT
def test_no_figure_is_written_by_hand(point):
    for text in texts(point):
        assert not re.search(r"\d[.,]\d|\d{3}|\de-?\d|\d ?%", text), text


def test_every_figure_is_used():
    used = {name for point in POINTS for text in texts(point) for _, name, _, _ in Formatter().parse(text) if name}
    assert used == set(figures())


def test_headings_are_unique_and_every_chapter_is_linked():
    page = differences_page()
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    assert len(headings) == len(set(headings)) == 1 + len(CHAPTERS) + len(POINTS)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#(.*)\)", page)
    assert len(links) == len(CHAPTERS)
    assert set(links) <= anchors
