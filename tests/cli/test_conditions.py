"""Labels and tables on the command line, from data to samples."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inverseflow.data import load_data, load_table
from inverseflow.flows import Flow
from inverseflow.training.run import Run
from inverseflow.training.run.folder import read_metrics

SMALL = [
    "--max-steps",
    30,
    "--batch-size",
    64,
    "--validate-every",
    10,
    "--model.steps",
    2,
    "--model.width",
    8,
    "--accelerator",
    "cpu",
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    t = generator.uniform(size=300)
    a = 5 + 3 * t + generator.normal(size=300)
    b = a * t + 0.1 * generator.normal(size=300)
    path = tmp_path_factory.mktemp("tables") / "points.csv"
    values = zip(a, b, t, strict=True)
    rows = "".join(f"{x:.9g},{y:.9g},{when:.9g},{'north' if x > 6 else 'south'}\n" for x, y, when in values)
    path.write_text(f"a,b,t,site\n{rows}")
    return path


@pytest.fixture(scope="package")
def labeled(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run of digits with their labels."""
    from inverseflow.cli.main import main

    folder = tmp_path_factory.mktemp("runs") / "labeled"
    words = ["train", "digits", "--config", str(tiny), "--condition", "label", "--out", str(folder), "--quiet"]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def points(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run of a table with a context."""
    from inverseflow.cli.main import main

    folder = tmp_path_factory.mktemp("runs") / "points"
    words = ["--data", table, "--columns", "a,b", "--context-columns", "t,site", *SMALL, "--quiet", "--out", folder]
    assert main(["train", "table", *map(str, words)]) == 0
    return folder


def test_the_samples_of_a_label_are_those_of_its_context(labeled, run, tmp_path):
    assert run("sample", labeled, "--label", 7, "-n", 5, "-o", tmp_path / "s.pt")[0] == 0
    flow = Flow.from_pretrained(Run(labeled).model)
    context = torch.eye(10)[7].expand(5, -1)
    expected = flow.eval().sample(5, context, generator=torch.Generator().manual_seed(0))

    assert torch.equal(torch.load(tmp_path / "s.pt"), expected)


def test_a_picture_of_all_labels_has_a_row_for_each(labeled, run, tmp_path):
    run("sample", labeled, "--label", "all", "-n", 4, "-o", tmp_path / "all.png")
    run("sample", labeled, "--label", 3, "--label", 5, "-n", 4, "-o", tmp_path / "two.pt")
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.height == 10 / 4 * picture.width
    assert torch.load(tmp_path / "two.pt").shape == (8, 1, 8, 8)


def test_evaluation_measures_the_right_label_the_wrong_ones_and_the_accuracy(labeled, run, tmp_path):
    code, text, _ = run("evaluate", labeled, "-n", 20, "--draws", 1, "-o", tmp_path / "e.json")
    labels = json.loads((tmp_path / "e.json").read_text())["labels"]

    assert code == 0
    assert f"right label    {labels['right']:.4f} bits/dim" in text and "wrong label" in text
    assert f"{100 * labels['accuracy']:.2f} % of 20 images" in text


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("reconstruct", "the largest error over 64 of 360 test images of digits is 0 gray levels"),
        ("interpolate", "8 pairs of test images"),
        ("info", "condition label, one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ],
)
def test_the_other_commands_know_the_labels(labeled, run, tmp_path, command, answer):
    words = [] if command == "info" else ["-o", tmp_path / "picture.png"]
    code, text, error = run(command, labeled, *words)

    assert (code, error) == (0, "")
    assert answer in " ".join(text.split())


def test_an_unfinished_run_of_labels_is_sampled_without_its_data(labeled, run, tmp_path, monkeypatch):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(labeled, folder)
    shutil.rmtree(Run(folder).model)
    monkeypatch.setattr("inverseflow.training.model.load_named", lambda *_, **__: pytest.fail("data was loaded"))
    for source in (labeled, folder):
        assert run("sample", source, "--label", 1, "-n", 3, "-o", tmp_path / f"{source.name}.pt")[0] == 0

    assert torch.equal(torch.load(tmp_path / "labeled.pt"), torch.load(tmp_path / "run.pt"))


def test_a_table_is_measured_in_nats(points, run):
    report = json.loads(Run(points).report.read_text())
    code, text, _ = run("evaluate", points)

    assert code == 0
    assert f"{report['test_nats']:.4f} ± {report['test_nats_stderr']:.4f}" in text and "bits" not in text
    assert report["baselines"].keys() == {"histogram", "gaussian", "mixture_of_10_gaussians"}
    assert {"train_nats", "val_nats"} <= {name for row in read_metrics(Run(points).metrics) for name in row}
    assert "nats" in run("info", points)[1]


def test_a_change_of_units_changes_the_nats_by_the_log_of_the_factor(table, points, run, tmp_path):
    with table.open() as file:
        header, *rows = csv.reader(file)
    scaled = tmp_path / "scaled.csv"
    lines = [header, *([f"{1024 * float(a):.17g}", f"{1024 * float(b):.17g}", *rest] for a, b, *rest in rows)]
    scaled.write_text("".join(",".join(line) + "\n" for line in lines))
    words = ["--data", scaled, "--columns", "a,b", "--context-columns", "t,site", *SMALL]
    assert run("train", "table", *words, "--quiet", "--out", tmp_path / "run")[0] == 0
    nats = [json.loads(Run(folder).report.read_text())["test_nats"] for folder in (points, tmp_path / "run")]

    assert nats[1] - nats[0] == pytest.approx(2 * math.log(1024), abs=1e-5)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_samples_of_a_table_are_a_table(points, run, tmp_path, suffix):
    path = tmp_path / f"s.{suffix}"
    context = "t=0.5,site=north"
    assert run("sample", points, "--context", context, "--context", "t=1,site=south", "-n", 20, "-o", path)[0] == 0
    splits = load_table(path)

    assert splits.columns == ("a", "b")
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 40


def test_samples_of_a_table_are_an_array_or_a_picture(points, run, tmp_path):
    for suffix in ("npy", "pt", "png"):
        words = ["--context", "t=0.5,site=north", "-n", 20, "-o", tmp_path / f"s.{suffix}"]
        assert run("sample", points, *words)[0] == 0

    assert np.array_equal(np.load(tmp_path / "s.npy"), torch.load(tmp_path / "s.pt").numpy())
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width > 300


def test_a_column_of_categories_is_modeled_and_sampled_by_name(table, run, tmp_path):
    words = ["--data", table, "--columns", "a,site", *SMALL, "--quiet", "--out", tmp_path / "run"]
    assert run("train", "table", *words)[0] == 0
    assert run("sample", tmp_path / "run", "-n", 30, "-o", tmp_path / "s.csv")[0] == 0
    with (tmp_path / "s.csv").open() as file:
        assert {row["site"] for row in csv.DictReader(file)} <= {"north", "south"}


@pytest.mark.parametrize("name", ["two-moons", "pinwheel"])
def test_points_in_the_plane_share_a_preset_and_have_a_picture(run, tmp_path, name):
    code, text, error = run("train", name, *SMALL, "--out", tmp_path / "run")

    assert code == 0, error
    assert "nats (exact) on 5000 test examples" in text and "nats, validation" in error
    with Image.open(Run(tmp_path / "run").samples) as picture:
        assert picture.width > 600
    assert run("sample", tmp_path / "run", "-n", 3, "-o", tmp_path / "s.csv")[0] == 0


def test_patience_ends_a_run_early_and_it_counts_as_finished(run, tmp_path):
    words = ["--optimizer.learning-rate", 0.5, "--optimizer.schedule", "constant", "--patience", 1, "--max-steps", 900]
    code, text, _ = run("train", "two-moons", *SMALL[2:], *words, "--quiet", "--out", tmp_path / "run")

    assert code == 0 and "steps (stopped early, best step" in text
    assert "unfinished" not in run("info", tmp_path / "run")[1]


def test_the_mix_of_classes_is_chosen_when_a_table_is_sampled(points, run, tmp_path):
    out = tmp_path / "s.csv"
    words = ["--context", "t=0.5", "--mix", "north=1,south=2", "-n", 50]
    code, text, _ = run("sample", points, *words, "-o", out)
    with out.open() as file:
        rows = [*csv.DictReader(file)]
    contexts = Run(points).description().condition.encode([{"t": 0.5, "site": site} for site in ("north", "south")])
    expected = Flow.from_pretrained(Run(points).model).eval()
    expected = expected.sample(
        50, contexts.repeat_interleave(torch.tensor([17, 33]), 0), generator=torch.Generator().manual_seed(0)
    )

    assert code == 0 and "s.csv: 17 of north, 33 of south" in text
    assert [row["site"] for row in rows] == ["north"] * 17 + ["south"] * 33
    found = torch.tensor([[float(row["a"]), float(row["b"])] for row in rows])
    assert torch.equal(found, expected)
    assert (
        run("sample", points, "--context", "site=north", "--mix", "0.5=1,2=1", "-n", 4, "-o", tmp_path / "s.npz")[0]
        == 0
    )
    assert np.load(tmp_path / "s.npz")["t"].tolist() == [0.5, 0.5, 2, 2]


def test_the_mix_of_labels_is_chosen_when_images_are_sampled(labeled, run, tmp_path):
    assert run("sample", labeled, "--mix", "7=3,1=2", "-n", 5, "-o", tmp_path / "s.pt")[0] == 0
    contexts = torch.eye(10)[[7, 7, 7, 1, 1]]
    expected = (
        Flow.from_pretrained(Run(labeled).model).eval().sample(5, contexts, generator=torch.Generator().manual_seed(0))
    )

    assert torch.equal(torch.load(tmp_path / "s.pt"), expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "labeled", "--mix", "7=1,cat=1"], "there is no class 'cat': choose one of 0, 1, 2"),
        (["sample", "labeled", "--mix", "7=1", "--label", 7], "--mix names the labels and their shares; leave --label"),
        (
            ["sample", "labeled", "--mix", "7=-1,1=2"],
            "the share of '7' in the mix must be a finite number at least 0, got '-1'",
        ),
        (["sample", "labeled", "--mix", "7=nan"], "at least 0, got 'nan'"),
        (["sample", "labeled", "--mix", "7=inf"], "at least 0, got 'inf'"),
        (["sample", "labeled", "--mix", "7=0,1=0"], "the shares of the mix '7=0,1=0' are all 0: give one above 0"),
        (["sample", "labeled", "--mix", "7"], "the mix '7' has no '=' in '7': write NAME=SHARE for each class"),
        (["sample", "labeled", "--mix", "7=1,7=2"], "the mix '7=1,7=2' names '7' twice"),
        (["sample", "trained", "--mix", "7=1"], "digits was trained without a condition; leave --mix out"),
        (
            ["sample", "points", "--mix", "north=1"],
            "--mix is of one column of the context (t, site); give the values of",
        ),
        (
            ["sample", "points", "--mix", "north=1", "--context", "t=1,site=north"],
            "--mix is of one column of the context",
        ),
        (
            ["sample", "points", "--mix", "west=1", "--context", "t=1"],
            "'site' has no category 'west': choose one of north",
        ),
        (["sample", "labeled"], "the samples of this run need --label: one of 0, 1, 2"),
        (["sample", "labeled", "--label", "cat"], "there is no class 'cat': choose one of 0, 1, 2"),
        (["sample", "labeled", "--context", "t=1"], "need --label"),
        (["sample", "trained", "--label", 7], "digits was trained without a condition; leave --label out"),
        (["sample", "points"], 'the samples of this run need --context "t=VALUE,site=VALUE"'),
        (["sample", "points", "--context", "t=1"], "the context lacks a value for 'site'"),
        (["sample", "points", "--context", "t=nan,site=north"], "'t' of the context must be a finite number"),
        (["sample", "points", "--context", "t=1,site=west"], "'site' has no category 'west': choose one of north"),
        (["sample", "labeled", "--label", 1, "-o", "s.csv"], "--output must end in .png, .npz or .pt, got s.csv"),
        (["reconstruct", "points"], "holds a model of points, not of images; only images can be reconstructed"),
        (["interpolate", "points"], "only images can be interpolated"),
    ],
)
def test_a_condition_that_does_not_fit_is_one_line(
    labeled, trained, points, run, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    command, folder, *rest = words
    code, text, error = run(command, {"labeled": labeled, "trained": trained, "points": points}[folder], *rest)

    assert (code, text) == (2, "") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table"], "needs a CSV, Parquet, NPZ or NPY file"),
        (["table", "--data", "TABLE", "--columns", "a,z"], "z"),
        (["table", "--data", "TABLE", "--columns", "a"], "cannot build nsf for rows (1,)"),
        (["table", "--data", "TABLE", "--condition", "label"], "a table has no labels"),
        (["swiss-roll", "--condition", "label"], "has no classes: leave the condition 'label' out"),
        (["digits", "--columns", "a"], "columns applies to the data set 'table' only"),
        (["two-moons", "--batch-size", "41000"], "batch_size is 41000, more than the 40000 training examples"),
        (["two-moons", "--model", "glow", "--model.steps", "1"], "glow"),
    ],
)
def test_data_that_cannot_be_trained_on_is_one_line(table, run, tmp_path, words, message):
    words = [str(table) if word == "TABLE" else word for word in words]
    code, text, error = run("train", *words, "--out", tmp_path / "run")

    assert (code, text) == (2, "") and error.strip().count("\n") <= 1
    assert message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["evaluate"], ["train", "table", "--resume", "--max-steps", 40]])
def test_data_that_changed_their_meaning_are_refused(table, points, run, tmp_path, words):
    changed, folder = tmp_path / "points.csv", tmp_path / "run"
    changed.write_text(table.read_text().replace("north", "east"))
    shutil.copytree(points, folder)
    command, *rest = words
    given = [folder, "--data-dir", changed] if command == "evaluate" else [*rest, "--data", changed, "--out", folder]
    code, text, error = run(command, *given)

    assert (code, text) == (2, "") and error.count("\n") == 1
    assert "points has changed since" in error and "'north'" in error and "'east'" in error


def test_names_of_columns_may_hold_spaces_and_commas(table, run, tmp_path):
    path, folder = tmp_path / "named.csv", tmp_path / "run"
    path.write_text(table.read_text().replace("a,b,t,site", 'a,b,"t, in s",site'))
    names = ["--columns", "a, b", "--context-columns", '"t, in s", site']
    assert run("train", "table", "--data", path, *names, *SMALL, "--out", folder)[0] == 0
    resumed = run("train", "table", "--out", folder, "--resume", "--max-steps", 31)
    sampled = run("sample", folder, "--context", '"t, in s=0.5", site=north', "-n", 3, "-o", tmp_path / "s.csv")

    assert resumed[0] == sampled[0] == 0
    assert (tmp_path / "s.csv").read_text().startswith("a,b\n")


def test_a_description_of_other_contexts_than_the_model_takes_is_refused(points, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(points, folder)
    data = json.loads((folder / "data.json").read_text())
    data["condition"]["columns"] = ["t"]
    (folder / "data.json").write_text(json.dumps(data))
    code, _, error = run("sample", folder, "--context", "t=1", "-o", tmp_path / "s.csv")

    assert code == 2 and "data.json does not fit the model" in error


def test_the_data_of_a_run_describe_themselves(labeled, points):
    labels, columns = (Run(folder).description() for folder in (labeled, points))

    assert labels.condition == load_data("digits", condition="label").condition
    assert (columns.columns, columns.condition.columns, columns.levels) == (("a", "b"), ("t", "site"), None)


def test_one_candidate_is_no_choice(run, tmp_path):
    code, _, error = run("sample", tmp_path, "--impute", tmp_path / "gaps.csv", "--candidates", 1)
    assert code == 2 and "--candidates must be at least 2, got 1" in error


def test_rows_are_sampled_given_their_first_columns(table, points, run, tmp_path):
    folder, out = tmp_path / "maf", tmp_path / "s.csv"
    small = [*SMALL]
    small[small.index("--model.steps") + 1] = 1
    words = ["--columns", "a,b", "--model", "maf", "--quiet", "--out", folder, *small]
    assert run("train", "table", "--data", table, *words)[0] == 0
    assert run("sample", folder, "--given", "a=6.5", "-n", 20, "-o", out)[0] == 0
    rows = [row.split(",") for row in out.read_text().splitlines()]

    assert rows[0] == ["a", "b"] and {row[0] for row in rows[1:]} == {"6.5"} and len({row[1] for row in rows}) == 21
    gaps, filled = tmp_path / "gaps.csv", tmp_path / "filled.csv"
    gaps.write_text("note,b,a\nx,,6.50\ny,3,\nz,1,7\n")
    code, text, error = run("sample", folder, "--impute", gaps, "-n", 200, "-o", filled)
    rows = [row.split(",") for row in filled.read_text().splitlines()]
    assert code == 0 and rows[0] == ["draw", "note", "b", "a"] and len(rows) == 601
    assert "2 missing cells of gaps.csv filled, 200 draws" in text and "1 row drawn from the conditional" in text
    assert "1 row by importance resampling of 1000 candidates" in text
    assert {row[3] for row in rows[1::3]} == {"6.5"} and {row[2] for row in rows[2::3]} == {"3.0"}
    assert len({row[2] for row in rows[1::3]}) == 200 and {tuple(row[1:]) for row in rows[3::3]} == {
        ("z", "1.0", "7.0")
    }
    gaps.write_text("A,b\n1,2\n1,3\n")
    code, text, _ = run("sample", folder, "--impute", gaps, "-o", filled)
    assert code == 0 and "a drawn in all rows: gaps.csv has no such column" in text
    for content, message in {"c\n1\n": "has none of the columns a, b", "a,b\n1,\nx,2\n": "holds 'x' in row 1"}.items():
        gaps.write_text(content)
        code, _, error = run("sample", folder, "--impute", gaps, "-o", filled)
        assert code == 2 and message in error
    assert "leave out other options" in run("sample", folder, "--impute", gaps, "--given", "a=1", "-o", filled)[2]
    refused = {
        "": "takes the first columns in the order a, b, got ''",
        "b=1": "takes the first columns in the order a, b, got 'b=1'",
        "a=1,a=2": "--given names a column twice: 'a=1,a=2'",
        "c=1": "--given names the column 'c', but the model has a, b",
        "b=1,a=2": "--given names all columns (b, a): nothing is left to draw",
        "a": "--given 'a' has no '=' in 'a'",
        "a=x": "the column 'a' of --given must be a finite number, got 'x'",
    }
    for given, message in refused.items():
        code, _, error = run("sample", folder, "--given", given, "-o", out)
        assert code == 2 and message in error
    code, _, error = run("sample", points, "--context", "t=0.5,site=north", "--given", "a=1", "-o", out)
    assert code == 2 and "this model can't be sampled given columns: train made, rosenblatt, or maf" in error
