import json
from dataclasses import replace

import pytest
import torch

from experiments.__main__ import main
from experiments.classifier.experiment import SEARCH_EFFORTS
from experiments.classifier.report import (
    BY_ACTIVATIONS,
    BY_CORNERS,
    FULLY_CONNECTED,
    LINEAR,
    NONLINEAR,
    SEED,
    best,
    parts,
)
from experiments.experiment import Settings
from experiments.registry import experiment_named
from experiments.result import Result, Row
from inverseflow.data import ImageSplits, TensorImages

SMALL = replace(SEARCH_EFFORTS["smoke"], search_epochs=1, epochs=1)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a run with two seeds, by few epochs."""
    folder = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEARCH_EFFORTS, "smoke", SMALL)
        assert main(["classifier", "--budget", "smoke", "--seeds", "2", "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def result(smoke):
    return Result.from_json(json.loads((smoke / "classifier.json").read_text()))


def on_mnist(result, accuracy=None):
    """The result as if the images had been MNIST, with some accuracy in place of the measured ones."""

    def changed(row):
        if "test_accuracy" not in row.values:
            return row
        test = row.values["test_accuracy"] if accuracy is None else accuracy
        return replace(row, values={**row.values, "title": "MNIST", "test_accuracy": test})

    return replace(result, rows=tuple(map(changed, result.rows)))


def test_test_images_are_looked_at_for_the_last_table_alone(result):
    searched = [row for row in result.rows if row.part in (BY_ACTIVATIONS, BY_CORNERS)]
    assert len(searched) == 3 + 16
    assert all(set(row.values) == {"architecture", "validation_accuracy"} for row in searched)
    assert all("test_accuracy" in row.values for row in result.rows if row not in searched)


def test_the_candidate_with_the_best_validation_accuracy_is_taken():
    accuracies = {"a": 0.5, "b": 0.9, "c": 0.9}
    rows = [Row(name, BY_CORNERS, {}, {"validation_accuracy": value}) for name, value in accuracies.items()]
    other = Row("d", BY_ACTIVATIONS, {}, {"validation_accuracy": 1.0})
    assert best(Result("classifier", "smoke", 1, {}, True, (*rows, other)), BY_CORNERS).name == "b"


def test_the_rows_of_the_table_use_what_the_search_chose(result):
    chosen = best(result, BY_CORNERS).values["architecture"]
    first = best(result, BY_ACTIVATIONS).values["architecture"]
    assert (chosen["between"], chosen["after"]) == (first["between"], first["after"])
    for row in result.parts(NONLINEAR, SEED):
        assert row.values["architecture"] == chosen


def test_without_a_non_linearity_the_network_is_one_affine_map(result):
    for name in (FULLY_CONNECTED, LINEAR):
        assert all(row.values["distance_from_affine"] < 1e-12 for row in result.parts(name, SEED))
    assert all(row.values["distance_from_affine"] > 1e-3 for row in result.parts(NONLINEAR, SEED))


def test_the_two_inverse_convolutions_have_sixteen_parameters(result):
    for name in (LINEAR, NONLINEAR):
        values = result.parts(name, SEED)[0].values
        assert values["layer_parameters"] == 16
        assert values["parameters"] == 16 + 64 * 10 + 10
        assert [kernel[-1][-1] for kernel in values["kernels"]] == [1, 1]


def test_the_table_prints_mean_and_deviation_of_the_seeds(smoke, result):
    first, second = (100 * row.values["test_accuracy"] for row in result.parts(NONLINEAR, SEED))
    line = f"| {NONLINEAR} | {(first + second) / 2:.2f} ± {abs(first - second) / 2**0.5:.2f} |"
    assert line in (smoke / "classifier.md").read_text()


def test_what_is_there_is_not_fitted_again(smoke, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("fitted again")

    monkeypatch.setitem(SEARCH_EFFORTS, "smoke", SMALL)
    monkeypatch.setattr("experiments.classifier.experiment.fit", never)
    assert main(["classifier", "--budget", "smoke", "--seeds", "2", "-o", str(smoke)]) == 0


def test_the_published_figure_stands_beside_mnist_alone(result):
    assert "97.6" not in "\n".join(parts(result))
    assert "| inv-conv | 97.6 | 16 | 1, 2 |" in "\n".join(parts(on_mnist(result)))


@pytest.mark.parametrize(
    ("accuracy", "verdict"), [(0.971, "which reaches 97.0%."), (0.969, "which does NOT reach 97.0%. It is the best")]
)
def test_the_verdict_says_whether_the_goal_is_reached(result, accuracy, verdict):
    assert verdict in "\n".join(parts(on_mnist(result, accuracy)))


def test_full_is_the_number_of_epochs_of_the_paper():
    assert (SEARCH_EFFORTS["full"].epochs, SEARCH_EFFORTS["full"].data) == (50, "mnist")


@pytest.mark.parametrize("budget", ["quick", "full"])
def test_every_candidate_is_a_line_of_its_own(budget, tmp_path):
    effort = SEARCH_EFFORTS[budget]
    tasks = experiment_named("classifier").tasks(Settings(budget, tmp_path, seeds=3))
    lines = [(task.part, name) for task in tasks for name in task.settings]
    assert len(set(lines)) == len(lines) == len(effort.between) * len(effort.after) - 1 + 16 + 3 * 5


def test_images_of_the_size_of_mnist_are_taken(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20) % 10
    pixels = torch.randint(256, (20, 1, 28, 28), dtype=torch.uint8, generator=generator)
    some = TensorImages(pixels, labels)
    fake = ImageSplits("mnist", "MNIST", 256, some.shape, some, some, some)
    monkeypatch.setattr("experiments.classifier.experiment.images", lambda *arguments: fake)
    monkeypatch.setitem(SEARCH_EFFORTS, "quick", replace(SMALL, data="mnist"))
    assert main(["classifier", "--budget", "quick", "--seeds", "1", "-o", str(tmp_path)]) == 0
    assert "What the paper prints:" in (tmp_path / "classifier.md").read_text()
    assert (tmp_path / "classifier.png").read_bytes().startswith(b"\x89PNG")


def test_absent_data_are_an_error_that_names_the_folder(tmp_path, capsys):
    absent = tmp_path / "absent"
    arguments = ["--budget", "quick", "--data-dir", str(absent), "-o", str(tmp_path / "out")]
    assert main(["classifier", *arguments]) == 2
    assert str(absent) in capsys.readouterr().err
