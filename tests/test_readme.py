"""The README keeps its word: its Python runs, and so do its commands."""

import re
import shlex
from pathlib import Path

import pytest

from inverseflow.cli.main import COMMANDS, main

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()

# Runs everything that a training run does, and learns nothing.
SHORT_TRAINING = ["--max-steps", "2", "--evaluation-draws", "1"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The words after `program` of each line of the README's bash blocks that calls it."""
    lines = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == [program]]


def test_the_python_of_the_readme_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)


def test_every_make_target_of_the_readme_is_in_the_makefile() -> None:
    targets = re.findall(r"^(\w+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    named = {target for words in commands("make") for target in words}
    assert named
    assert named <= set(targets)


def test_the_table_of_the_readme_lists_every_command() -> None:
    assert set(re.findall(r"^\| `(\w+)[^`]*` \|", README, re.MULTILINE)) >= set(COMMANDS)


@pytest.mark.timeout(300)
def test_the_commands_of_the_readme_on_digits_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    on_digits = [words for words in commands("inverseflow") if "mnist" not in words]
    assert on_digits
    for words in on_digits:
        assert main(words + SHORT_TRAINING * (words[0] == "train")) == 0, words


def test_the_commands_of_the_readme_on_mnist_are_understood() -> None:
    on_mnist = [words for words in commands("inverseflow") if "mnist" in words]
    assert on_mnist
    for words in on_mnist:
        assert main([*words, "--print-config"]) == 0, words
