"""Every experiment as a command, as small as it can be."""

import json

import pytest

from experiments.__main__ import main
from experiments.experiment import markdown
from experiments.page import page
from experiments.registry import REGISTRY, experiment_named
from experiments.result import Result

ELSEWHERE = (
    "anomaly",
    "blocks",
    "classifier",
    "defects",
    "design",
    "energy",
    "geology",
    "molecules",
    "ood",
    "sbibm",
    "science",
    "seeds",
    "style",
    "traffic",
)  # by tests of their own, most with their data
QUICK = ("table7", "scalability")  # the others take many seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in REGISTRY if name not in ELSEWHERE],
)
def test_it_runs_and_prints_what_it_wrote(name, folder, capsys):
    assert main([name, "--budget", "smoke", "-o", str(folder)]) == 0
    result = Result.from_json(json.loads((folder / f"{name}.json").read_text()))
    written = (folder / f"{name}.md").read_text()
    assert result.complete and result.experiment == name
    assert written == markdown(experiment_named(name), result)
    assert written in capsys.readouterr().out
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert experiment_named(name).title in page({"quick": {name: result}, "full": {}})


def test_titles_and_names_are_unique():
    experiments = {name: experiment_named(name) for name in REGISTRY}
    assert len({experiment.title for experiment in experiments.values()}) == len(experiments)
    assert all(experiment.name == name for name, experiment in experiments.items())
