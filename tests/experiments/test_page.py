import re
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.measured_layers import MEASURED_LAYERS
from experiments.page import page, read_results
from inverseflow.errors import OptionError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "quick"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("experiments.bijectivity.MEASURED_LAYERS", MEASURED_LAYERS[:3])
        assert main(["bijectivity", "--budget", "smoke", "-o", str(folder)]) == 0
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
    assert main(["page", "--results", str(tmp_path), "-o", str(written)]) == 0
    text = written.read_text()
    assert "## Bijectivity" in text and "every layer is below 1e-09" in text
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(pictures) == 1
    assert all((tmp_path / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_a_result_in_the_folder_of_another_budget_is_refused(smoke):
    with pytest.raises(OptionError, match="holds a result with the budget smoke"):
        read_results(smoke.parent)


def test_a_result_that_is_not_complete_is_refused(smoke, tmp_path):
    text = (smoke / "bijectivity.json").read_text().replace('"complete": true', '"complete": false')
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "bijectivity.json").write_text(text.replace('"budget": "smoke"', '"budget": "quick"'))
    with pytest.raises(OptionError, match="is not complete"):
        read_results(tmp_path)


def test_a_folder_without_results_is_an_error(tmp_path, capsys):
    assert main(["page", "--results", str(tmp_path), "-o", str(tmp_path / "page.md")]) == 2
    assert "there are no results in" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
