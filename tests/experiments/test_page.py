import re
from pathlib import Path
from typing import get_args

import pytest
from inverseflow.cli.experiment import Name

from experiments import EXPERIMENTS
from experiments.differences import differences_page
from experiments.page import page, read_results
from inverseflow.cli.main import main
from inverseflow.errors import OptionError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "quick"
    assert main(["experiment", "bijectivity", "--budget", "smoke", "-o", str(folder)]) == 0
    return folder


def test_the_committed_page_is_what_the_committed_results_give():
    results = read_results(DOCS / "results" / "experiments")
    assert any(results.values())
    assert (DOCS / "experiments.md").read_text("utf-8") == page(results)


def test_the_command_writes_the_page_and_its_pictures(smoke, tmp_path):
    path = smoke / "bijectivity.json"
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / path.name).write_text(path.read_text().replace('"budget": "smoke"', '"budget": "quick"'))
    written = tmp_path / "experiments.md"
    assert main(["experiment", "page", "--results", str(tmp_path), "-o", str(written)]) == 0
    text = written.read_text()
    assert "## Bijectivity" in text and "every layer is below 1e-09" in text
    assert (tmp_path / "differences.md").read_text() == differences_page()
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(pictures) == 1
    assert all((tmp_path / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_a_result_in_the_folder_of_another_budget_is_refused(smoke):
    with pytest.raises(OptionError, match="holds a result of the budget smoke"):
        read_results(smoke.parent)


def test_a_result_that_is_not_complete_is_refused(smoke, tmp_path):
    text = (smoke / "bijectivity.json").read_text().replace('"complete": true', '"complete": false')
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "bijectivity.json").write_text(text.replace('"budget": "smoke"', '"budget": "quick"'))
    with pytest.raises(OptionError, match="is not complete"):
        read_results(tmp_path)


def test_a_folder_without_results_is_an_error_but_what_differs_is_written(tmp_path, capsys):
    assert main(["experiment", "page", "--results", str(tmp_path), "-o", str(tmp_path / "page.md")]) == 2
    assert "differences.md but not" in (error := capsys.readouterr().err) and "no results" in error
    assert [path.name for path in tmp_path.iterdir()] == ["differences.md"]


def test_the_command_line_names_every_experiment():
    assert set(get_args(Name)) == {"page", *EXPERIMENTS}
