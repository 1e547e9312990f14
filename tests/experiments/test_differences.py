"""docs/differences.md is written by people: what it names exists, and the numbers in it are current."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import benchmarks.__main__
import experiments.__main__
from experiments.differences import numbers
from inverseflow.cli.main import COMMANDS

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "differences.md").read_text("utf-8")
POINTS = PAGE.split("\n### ")[1:]
SHOWN = re.findall(r"^  - `(.*)`$", PAGE, re.MULTILINE)


@cache
def named_tests(path):
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.splitlines()[0])
def test_every_point_says_what_why_and_what_shows_it(point):
    assert all(
        label in point for label in ("- **Published** (", "- **Here:** ", "- **Why:** ", "- **Shown by:**\n  - `")
    )


def test_every_named_test_exists():
    tests = [shown.partition("::")[::2] for shown in set(SHOWN) if shown.startswith("tests/")]
    assert [name for name in tests if name[1] not in named_tests(name[0])] == []


def test_every_named_command_exists():
    for shown in {shown for shown in SHOWN if not shown.startswith("tests/")}:
        match shown.split():
            case ["python", "-m", "experiments", *words]:
                experiments.__main__._parser().parse_args(words)
            case ["python", "-m", "benchmarks", *words]:
                benchmarks.__main__._parser().parse_args(words)
            case [program, command, *_]:
                assert program == "inverseflow" and command in COMMANDS, shown


def test_every_computed_number_is_used_and_current():
    text = " ".join(PAGE.split())
    assert set(re.findall(r"<!-- (\w+) -->", text)) == set(numbers())
    for name, value in numbers().items():
        assert f"<!-- {name} -->{value}" in text, f"{name} is {value}"


def test_headings_are_unique_and_every_link_leads_to_one():
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(headings) == len(anchors)
    assert set(re.findall(r"\]\(#(.*?)\)", PAGE)) <= anchors
