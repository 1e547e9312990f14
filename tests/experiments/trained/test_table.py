import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from experiments.__main__ import main
from experiments.experiment import Settings, run
from experiments.formatting import milliseconds
from experiments.registry import REGISTRY
from experiments.result import Result, Row
from experiments.trained.experiment import trained_experiment
from experiments.trained.paper import TABLE_2, TABLE_4, TABLE_5, TABLES
from experiments.trained.published import NOTES
from experiments.trained.report import parts
from experiments.trained.tasks import SAMPLES, SPEED, finite_samples
from experiments.trained.training import images, train_line, trained_flow
from inverseflow import flows
from inverseflow.errors import RunError
from inverseflow.training import trainer
from inverseflow.training.model import build_density
from inverseflow.training.options import OptimizerOptions
from inverseflow.training.run.description import Description

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "digits": (1, 8, 8)}
EACH_LINE = pytest.mark.parametrize(
    ("table", "line"),
    [(table, line) for table in TABLES for line in table.lines],
    ids=[f"{table.name}-{line.name}" for table in TABLES for line in table.lines],
)


SOME_LINES = replace(
    TABLE_2,
    lines=tuple(
        line for line in TABLE_2.lines if line.name in ("Emerging", "SNF", "Inverse-Flow", "Glow (no k×k layer)")
    ),
)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of table 2 with some of its lines, after a run."""
    folder = tmp_path_factory.mktemp("smoke")
    run(trained_experiment(SOME_LINES), Settings("smoke", folder, seeds=2))
    return folder


@pytest.fixture(scope="module")
def result(smoke):
    return Result.from_json(json.loads((smoke / "table2.json").read_text()))


def test_every_line_has_each_seed_and_its_speed(result):
    assert result.complete
    assert result.names == [line.name for line in SOME_LINES.lines]
    for name in result.names:
        assert [row.part for row in result.parts(name)] == ["seed 0", "seed 1", SPEED, SAMPLES]
        speed = result.parts(name, SPEED)[0].values
        assert speed["wrong_pixels"] == 0 and speed["round_trip_error"] < 0.1
        assert speed["round_trip_error_float64"] < 1e-6 * speed["round_trip_error"]
        assert all(speed[what]["median"] > 0 for what in ("sample", "forward", "training"))
        assert speed["memory"]["tensors"] > 0
        assert result.value(name, "seed 0", "parameters") == speed["parameters"]


def test_nats_and_bits_are_the_same_number(result):
    for row in result.rows:
        if row.part not in (SPEED, SAMPLES):
            assert row.values["nats_per_image"] == pytest.approx(row.values["bits_per_dim"] * 64 * math.log(2))


def test_two_seeds_give_two_results(result):
    assert result.value("Inverse-Flow", "seed 0", "bits_per_dim") != result.value(
        "Inverse-Flow", "seed 1", "bits_per_dim"
    )


def test_the_table_prints_mean_and_deviation_of_the_seeds(smoke, result):
    values = [result.value("Emerging", f"seed {seed}", "bits_per_dim") for seed in (0, 1)]
    mean, deviation = sum(values) / 2, abs(values[0] - values[1]) / math.sqrt(2)
    assert f"| Emerging | {mean:.3f} ± {deviation:.3f} |" in (smoke / "table2.md").read_text()


def test_a_finished_line_is_not_trained_again(smoke, monkeypatch):
    def never(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr("experiments.trained.training.train", never)
    run(trained_experiment(SOME_LINES), Settings("smoke", smoke, seeds=2))


@pytest.mark.parametrize("budget", ["smoke", "quick", "full"])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_lines_of_a_table_differ_in_their_layer_alone(table, budget, tmp_path):
    options = [table.options(line, 0, Settings(budget, tmp_path)) for line in table.lines]
    alike = [replace(each, out=None, model=replace(each.model, name="image", layer=None)) for each in options]
    assert all(each == alike[0] for each in alike)
    assert len({each.out for each in options}) == len(options)


@EACH_LINE
def test_every_line_can_be_built_for_the_images_of_its_table(table, line, tmp_path):
    for budget in ("smoke", "quick"):
        options = table.options(line, 0, Settings(budget, tmp_path))
        flow = build_density(options.model, Description(options.data, SHAPES[options.data], 256), 0)
        assert math.prod(SHAPES[options.data]) == flow.dims


def test_full_is_the_number_of_epochs_of_the_paper(tmp_path):
    for table, training_images in ((TABLE_2, 50_000), (TABLE_5, 40_000)):
        options = table.options(table.lines[0], 0, Settings("full", tmp_path))
        assert options.max_steps * options.batch_size == 100 * training_images


def test_other_settings_are_trained_in_another_folder(tmp_path):
    quick = TABLE_4.options(TABLE_4.lines[0], 0, Settings("quick", tmp_path))
    longer = replace(TABLE_4, quick_steps=TABLE_4.quick_steps + 1)
    assert longer.options(TABLE_4.lines[0], 0, Settings("quick", tmp_path)).out != quick.out


def test_a_flow_that_is_worse_than_noise_is_a_defect(tmp_path, monkeypatch):
    options = TABLE_4.options(TABLE_4.lines[0], 0, Settings("smoke", tmp_path))
    options = replace(options, max_steps=3, optimizer=OptimizerOptions(learning_rate=1e-9, warmup_steps=0))
    with pytest.raises(RunError, match=r"diverged: \d+.\d\d bits/dim after 3 steps, where uniform noise costs 4.09"):
        train_line(options, 16)


def test_absent_data_are_an_error_that_names_the_folder(tmp_path, capsys):
    words = ["table2", "--data-dir", str(tmp_path / "nowhere"), "-o", str(tmp_path)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in error and "Emerging, seed 0" in error


def test_images_are_measured_on_the_first_test_images():
    assert torch.equal(images("digits", None, 7).test.tensor(), images("digits", None, None).test.tensor()[:7])


def test_the_public_figures_that_are_not_one_number_are_found():
    differing = {
        (table.name, line.name)
        for table in TABLES
        for line in table.lines
        if line.published is not None and line.published.disagreement(SHAPES[table.data]) is not None
    }
    assert differing == {
        ("table2", "Emerging"),
        ("table2", "FInC Flow"),
        ("table2", "Inverse-Flow"),
        ("table3", "FInC Flow"),
        ("table3", "MintNet"),
        ("table3", "Emerging"),
    }


def test_where_every_pixel_comes_back_the_table_says_so(smoke):
    assert "After rounding every pixel is recovered" in (smoke / "table2.md").read_text()


@pytest.mark.parametrize(("in_float64", "precise"), [(2e-9, True), (0.7, False)])
def test_pixels_that_do_not_come_back_are_told(result, in_float64, precise):
    rows = [
        replace(row, values={**row.values, "wrong_pixels": 3, "round_trip_error_float64": in_float64})
        if (row.name, row.part) == ("Emerging", SPEED)
        else row
        for row in result.rows
    ]
    text = "\n".join(parts(TABLE_2, replace(result, rows=tuple(rows))))
    assert "NOT every pixel is recovered: Emerging loses 3 in all images together." in text
    assert ("in float64 all are" in text) == precise


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_quick_is_long_enough_to_leave_the_warm_up(table, tmp_path):
    options = table.options(table.lines[0], 0, Settings("quick", tmp_path))
    assert options.max_steps >= 3 * options.optimizer.warmup_steps
    assert options.max_steps > options.optimizer.warmup_steps + 2  # so that a flow that diverges is found


def test_a_flow_whose_folder_is_gone_is_trained_again(tmp_path):
    options = TABLE_4.options(TABLE_4.lines[-1], 0, Settings("smoke", tmp_path))
    train_line(options, 16)
    trained = trained_flow(options, 16).state_dict()
    shutil.rmtree(options.out)
    again = trained_flow(options, 16).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in trained.items())


def test_samples_that_overflow_are_told(smoke, result):
    assert "All samples are finite." in (smoke / "table2.md").read_text()
    rows = [
        replace(row, values={"count": 4, "finite": 1}) if (row.name, row.part) == ("SNF", SAMPLES) else row
        for row in result.rows
    ]
    text = "\n".join(parts(TABLE_2, replace(result, rows=tuple(rows))))
    assert "NOT all samples are finite: the inverse overflows for SNF 3 of 4." in text


def test_a_sample_with_one_infinite_pixel_is_not_finite():
    flow = flows.create("inverse-flow", (1, 4, 4), levels=17, scales=1, steps=1, width=4)
    assert finite_samples(flow, 6) == 6
    with torch.no_grad():
        next(parameter for name, parameter in flow.named_parameters() if "weight" in name).fill_(torch.nan)
    assert finite_samples(flow, 6) == 0
    with pytest.warns(UserWarning, match="16 of 16 pixels are not a number"):  # it still draws grey levels
        assert flow.sample(1).dtype == torch.uint8


def test_doubtful_likelihoods_are_marked_where_they_stand_beside_ours(result):
    rows = [Row(row.name, row.part, row.settings, {**row.values, "title": "MNIST"}) for row in result.rows]
    main = parts(TABLE_2, replace(result, rows=tuple(rows)))[1]
    marks = {line.split(" | ")[0].strip("| "): line.split(" | ")[2] for line in main.splitlines()[2:]}
    assert marks["Inverse-Flow"] == "0.62*" and marks["Emerging"] == "1.12*" and marks["SNF"] == "1.03"
    assert marks["Glow (no k×k layer)"] == "–"


def test_every_note_is_known_and_used():
    used = {note for table in TABLES for line in table.lines if line.published for note in line.published.notes}
    assert used == set(NOTES)


def test_published_bits_stand_beside_ours_on_the_same_images_alone(result):
    def text(table, title):
        rows = [Row(row.name, row.part, row.settings, {**row.values, "title": title}) for row in result.rows]
        return "\n".join(parts(table, replace(result, rows=tuple(rows))))

    assert "| 0.62* |" in text(TABLE_2, "MNIST").partition("What the paper prints")[0]
    assert "published" not in text(TABLE_2, "CIFAR-10 (JPEG)").partition("What the paper prints")[0]


def test_times_have_three_digits_and_at_most_three_decimals():
    assert [milliseconds(value) for value in (0.01234, 1.234, 99.94, 123.4, 1234.0)] == [
        "0.012",
        "1.23",
        "99.9",
        "123",
        "1234",
    ]


def test_every_table_of_trained_flows_is_an_experiment():
    assert {table.name for table in TABLES} <= set(REGISTRY)


def test_training_takes_images_that_are_loaded_already(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "load_data", lambda options: pytest.fail("loaded again"))
    options = TABLE_4.options(TABLE_4.lines[-1], 0, Settings("smoke", tmp_path))
    assert train_line(options, 16)["test_images"] == 16
