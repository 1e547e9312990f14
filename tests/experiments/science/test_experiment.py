import json
import os
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.experiment import Settings
from experiments.science import experiment
from experiments.science.experiment import EFFORTS
from experiments.science.report import SENTENCES, SMALL_BODIES
from experiments.science.small_bodies import FILE, relation, small_bodies
from inverseflow.errors import DataError

SHARED = Path(os.environ.get("INVERSEFLOW_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not (SHARED / FILE).is_file(), reason="the small bodies are not here")


@pytest.mark.slow
@pytest.mark.parametrize("names", experiment._LINES, ids=lambda names: names[0])
def test_a_problem_is_learned_compared_and_judged(names, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "_LINES", {names: experiment._LINES[names]})
    assert main(["science", "--budget", "smoke", "-o", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "science.json").read_text())["rows"]
    assert [row["name"] for row in rows] == list(names)
    text = (tmp_path / "science.md").read_text()
    for row in rows:
        assert 0.4 <= row["values"]["c2st"] <= 1 and row["values"]["train_seconds"] > 0
        assert f"| {row['name']} |" in text
    assert "simulated" in text and "our\nreconstruction" in text
    assert (tmp_path / "science.png").read_bytes().startswith(b"\x89PNG")


@needs_data
def test_the_relation_of_diameter_albedo_and_magnitude_holds_in_the_database():
    bodies = small_bodies(SHARED)
    assert (len(bodies.x), len(bodies.unmeasured)) == (2770, 4329)
    error = relation(bodies.x, bodies.y[:, 0])
    assert abs(error.median() - 0.034) < 0.01 and error.std() < 0.1


@needs_data
@pytest.mark.slow
def test_the_real_bodies_are_judged_beside_a_linear_regression():
    values = experiment._small_bodies(EFFORTS["smoke"], SHARED)[SMALL_BODIES]
    assert values["surprising"] > 0.5 and values["transneptunian"][1] > 0.9
    assert f"{values['linear_nats']:.2f}" in SENTENCES[SMALL_BODIES](values)


def test_absent_data_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(DataError, match="--data-dir"):
        experiment._small_bodies(EFFORTS["smoke"], tmp_path)


def test_every_budget_measures_the_real_bodies_but_smoke(tmp_path):
    names = {
        budget: [name for task in experiment._tasks(Settings(budget, tmp_path, seeds=1)) for name in task.settings]
        for budget in EFFORTS
    }
    assert SMALL_BODIES not in names["smoke"] and names["quick"] == names["full"] == [*names["smoke"], SMALL_BODIES]
