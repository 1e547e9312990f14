"""The README is true: its Python and its commands run."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.__main__ import main as benchmark
from experiments.registry import experiment_named
from inverseflow.cli.main import COMMANDS, main

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()

# These run everything that the commands do, and learn nothing.
SHORTER = {
    "train": ["--max-steps", "2", "--evaluation-draws", "1", "--model.width", "8"],
    "evaluate": ["-n", "20"],
    "infer": ["--simulations", "300", "--max-steps", "2", "--method.width", "8"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The words after `program` of each line of the README's bash blocks that calls it."""
    lines = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == [program]]


@pytest.mark.timeout(300)
def test_the_python_of_the_readme_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        shorter = block.replace("range(500)", "range(2)").replace("width=128", "width=8")
        shorter = re.sub(r"max_steps=\d+", "max_steps=2", shorter)
        shorter = shorter.replace("diagnose(posterior, problem)", "diagnose(posterior, problem, simulations=100)")
        exec(compile(shorter, "README.md", "exec"), namespace)


def test_the_experiments_and_benchmarks_of_the_readme_are_there() -> None:
    experiments = re.findall(r"^\| `([\w-]+)`", README.partition("## Experiments")[2], re.MULTILINE)
    assert len(experiments) > 5
    for name in experiments:
        assert experiment_named(name).name == name
    for name in re.findall(r"`python -m benchmarks (\w+)`", README):
        with pytest.raises(SystemExit, match="0"):
            benchmark([name, "--help"])


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
    on_digits = [words for words in commands("inverseflow") if "--data-dir" not in words]
    assert on_digits
    for words in on_digits:
        assert main(words + SHORTER.get(words[0], [])) == 0, words


def test_the_commands_of_the_readme_on_other_data_are_understood() -> None:
    on_other_data = [words for words in commands("inverseflow") if "--data-dir" in words]
    assert on_other_data
    for words in on_other_data:
        assert main([*words, "--print-config"]) == 0, words


def test_the_contributing_guide_explains_every_contract_suite() -> None:
    suites = {path.name for path in (REPOSITORY / "tests" / "contracts").glob("test_*.py")}

    assert set(re.findall(r"^\| `(test_\w+\.py)`", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.MULTILINE)) == (
        suites - {"test_registry.py"}
    )


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    text = (REPOSITORY / document).read_text()
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?)`", text))
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    roots = (REPOSITORY, REPOSITORY / "src" / "inverseflow")
    ours = {name for name in named if not name.startswith(("runs/", "mnist/", "cifar10-jpeg/"))}

    assert [name for name in ours if not any((root / name).exists() for root in roots)] == []
    assert [link for link in links if not (REPOSITORY / document).parent.joinpath(link).exists()] == []
