"""Pages about runs, read as a browser and a user would."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from inverseflow.cli.main import main
from inverseflow.training.evaluation import Evaluation
from inverseflow.training.report import Report
from inverseflow.training.report.page import Page, Picture, Row, write_page
from inverseflow.training.report.pages import comparison, comparison_text, run_page, write_run_page
from inverseflow.training.run import Run

EVALUATION = Evaluation(
    metric="bits_per_dim", unit="bits/dim", likelihood="bound", value=1.25, stderr=0.01, draw_std=None, examples=2000,
    draws=1, nats_per_image=None, bits_per_cell=None, importance_value=None, importance_stderr=None,
    importance_samples=None, changed_examples=0, round_trip_examples=10, sample_ms_per_100=5.0,
)  # fmt: skip
REPORT = Report(
    title="MNIST", split="test", baselines={"pixel_histogram": 1.7}, best_value=1.26, max_reconstruction_error=0,
    parameters=12345, train_seconds=60.0, ms_per_step=20.0, sample_ms_per_100=5.0, steps=3, best_step=2,
    stopped_early=False, seed=0, model={"name": "inverse-flow"}, evaluation=EVALUATION, problems=[], device="cpu",
    versions={"inverseflow": "1", "torch": "2"},
)  # fmt: skip
CONFIG = "data: mnist\nmax_steps: 3\nmodel: {name: inverse-flow}\noptimizer: {learning_rate: 0.001}\n"
METRICS = "step,train_bits_per_dim,val_bits_per_dim\n1,3.0,\n2,2.0,2.5\n3,1.5,1.25\n"


class Reader(HTMLParser):
    """Gathers the text of a page, its headings, and all that it would load."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.open, self.text, self.headings = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loaded += [value for name, value in attributes if name in ("src", "href", "srcset", "poster", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            (self.headings if self.open[-1:] in (["h1"], ["h2"]) else self.text).append(data.strip())


def run_with(folder, report=REPORT, metrics=METRICS):
    folder.mkdir(parents=True)
    run = Run(folder)
    run.config.write_text(CONFIG)
    run.metrics.write_text(metrics)
    run.report.write_text(json.dumps(report.to_mapping()))
    return run


def read(path):
    page = Reader(path.read_text("utf-8"))
    assert not page.open and all(source.startswith("data:image/") for source in page.loaded)
    return page


def test_a_page_says_what_was_measured_and_loads_nothing(tmp_path):
    run = run_with(tmp_path / "run")
    write_run_page(run, REPORT)
    page = read(run.page)
    text = " ".join(page.text)

    assert page.headings == ["MNIST: inverse-flow", "Figures", "Curves", "Go on"]
    assert "1.250 ± 0.010 bits/dim" in text and "An upper bound" in text and "2,000 test images of MNIST" in text
    assert "the run is below it" in text and "learning_rate: 0.001" in text
    assert f"inverseflow sample {run.path}" in text


def test_a_baseline_that_is_better_is_said_so(tmp_path):
    run = run_with(tmp_path / "run")
    worse = replace(REPORT, baselines={"gaussian": 1.0}, problems=["the inverse is not exact"])
    write_run_page(run, worse)
    text = " ".join(read(run.page).text)

    assert "the run is NOT below it" in text and "the inverse is not exact" in text


def test_no_text_can_become_markup(tmp_path):
    bad = '<script>alert("1")</script>&amp;'
    rows, pictures = [Row(bad, [bad], bad)], [Picture(bad, "data:image/png,", bad)]
    page = Page(bad, bad, bad, bad, [bad], [bad], rows, pictures, [bad], {bad: bad})
    write_page(tmp_path / "p.html", page)
    source = (tmp_path / "p.html").read_text("utf-8")

    assert "<script" not in source and source.count("&lt;script&gt;alert") == 16
    assert set(read(tmp_path / "p.html").headings) >= {bad}


def test_runs_on_the_same_examples_are_compared_with_curves(tmp_path):
    runs = [run_with(tmp_path / "a"), run_with(tmp_path / "b", replace(REPORT, seed=1))]
    page = comparison(runs)
    first = page.rows[0]

    assert page.title == "2 runs on MNIST" and page.columns == ["a", "b"] and not page.problems
    assert (first.name, first.values) == ("bits/dim", ["1.250 ± 0.010 bits/dim, upper bound"] * 2)
    assert [picture.title for picture in page.pictures] == ["Curves"]
    write_page(tmp_path / "c.html", page)
    read(tmp_path / "c.html")


@pytest.mark.parametrize(
    "change", [{"title": "digits"}, {"baselines": {"pixel_histogram": 1.6}}, {"split": "validation"}]
)
def test_runs_on_different_data_are_compared_only_in_what_compares(tmp_path, change):
    runs = [run_with(tmp_path / "a"), run_with(tmp_path / "b", replace(REPORT, **change))]
    page = comparison(runs)

    assert {row.name for row in page.rows} == {
        "model", "seed", "parameters", "steps", "training", "time of a step", "sampling", "through the latent and back",
    }  # fmt: skip
    assert not page.pictures and "likelihoods do not compare and are left out. What compares: size" in page.problems[0]
    assert "bits/dim" not in comparison_text(page)


def test_bounds_beside_exact_figures_and_other_versions_are_named(tmp_path):
    evaluation = replace(EVALUATION, likelihood="exact")
    exact = replace(REPORT, evaluation=evaluation, versions={"inverseflow": "2"}, device="gpu")
    page = comparison([run_with(tmp_path / "x" / "r"), run_with(tmp_path / "y" / "r", exact)])
    sentences = "\n".join(page.problems)

    assert page.columns == ["x/r", "y/r"]
    assert "Exact figures stand beside bounds" in sentences and "x/r: inverseflow 1, torch 2" in sentences
    assert "different devices (x/r: cpu, y/r: gpu)" in sentences


def test_the_command_prints_the_table_and_writes_the_page(tmp_path, capsys):
    runs = [str(run_with(tmp_path / name).path) for name in ("a", "b")]
    assert main(["compare", *runs, "-o", str(tmp_path / "c.html")]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].split() == ["a", "b"] and lines[-1] == f"the page is {tmp_path / 'c.html'}"
    assert read(tmp_path / "c.html").headings[0] == "2 runs on MNIST"


@pytest.mark.parametrize(
    ("prepare", "words", "message"),
    [
        (None, ("a",), "comparing takes two runs or more, got 1"),
        (None, ("a", "a"), "a is named twice; name each run once"),
        (None, ("a", "nowhere"), "nowhere does not exist; `inverseflow train DATA --out nowhere` makes one"),
        (None, ("a", "b", "-o", "c.png"), "--output must end in .html, got c.png"),
        (lambda run: run.report.unlink(), ("a", "b"), "b has no report.json: its training has not come to its end"),
        (lambda run: run.report.write_text("{"), ("a", "b"), "b/report.json is damaged: Expecting property name"),
        (lambda run: run.report.write_text("[]"), ("a", "b"), "b/report.json is damaged: list indices must be"),
        (
            lambda run: run.report.write_text(json.dumps({**REPORT.to_mapping(), "evaluation": {"metric": "nats"}})),
            ("a", "b"),
            "b/report.json lacks 'unit', so another version of inverseflow (1) wrote it; train the run again",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(tmp_path, monkeypatch, capsys, prepare, words, message):
    monkeypatch.chdir(tmp_path)
    run_with(tmp_path / "a")
    other = run_with(tmp_path / "b")
    if prepare is not None:
        prepare(other)

    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_report_is_read_as_it_was_written(tmp_path):
    run = run_with(tmp_path / "run")
    assert Report.read(run) == REPORT
    shutil.rmtree(run.path)


def test_pictures_of_the_run_are_on_its_page(tmp_path):
    from PIL import Image

    run = run_with(tmp_path / "run")
    for path, size in ((run.samples, (10, 10)), (run.reconstructions, (30, 10)), (run.pit, (10, 10))):
        Image.new("L", size).save(path)
    page = run_page(run, REPORT)

    assert [picture.title for picture in page.pictures] == ["Curves", "Samples", "Reconstructions", "Latents"]
    assert [picture.kind for picture in page.pictures] == ["curves", "photo", "photo wide", "photo"]
