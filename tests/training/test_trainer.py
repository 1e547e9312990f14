"""Whole training runs, as small as they can be."""

import csv
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from inverseflow.data import ImageSplits, TensorImages
from inverseflow.errors import CheckpointError, NonFiniteError, OptionError, RunError, TrainingInterrupted
from inverseflow.flows import Flow
from inverseflow.training import trainer
from inverseflow.training.loop.callbacks import Recorder
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
from inverseflow.training.report import closing_lines
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import read_checkpoint
from inverseflow.training.run.folder import read_metrics
from inverseflow.training.run.lock import RunLock
from inverseflow.training.trainer import train

TINY = TrainOptions(
    data="digits",
    max_steps=12,
    batch_size=16,
    validate_every=5,
    validation_images=32,
    checkpoint_every=4,
    log_every=1,
    initialization_images=64,
    evaluation_draws=1,
    model=ModelOptions(scales=1, steps=1, width=8, spline_bins=4),
    optimizer=OptimizerOptions(learning_rate=2e-3, warmup_steps=3, schedule="cosine"),
    accelerator="cpu",
    quiet=True,
)


def options(out: Path, **changes) -> TrainOptions:
    return replace(TINY, out=out, **changes)


@pytest.fixture
def without_results(monkeypatch) -> None:
    """Skip the measurements and pictures at the end of a run."""
    monkeypatch.setattr(trainer, "finish", lambda run, options, data, flow, training, device: training)


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch, how: type[BaseException] = TrainingInterrupted) -> None:
    """Lets a run end after some step: asked to stop, or with an exception out of the blue."""
    record = Recorder.on_train_batch_end

    def record_and_stop(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == step:
            if how is not TrainingInterrupted:
                raise how
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Recorder, "on_train_batch_end", record_and_stop)


def differences(first: object, second: object, place: str = "") -> list[str]:
    """Where two checkpoints differ, apart from measured times."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return [f"{place}: {first.keys() ^ second.keys()}"]
        return [
            text
            for key in first
            if not str(key).startswith("Timer")
            for text in differences(first[key], second[key], f"{place}.{key}")
        ]
    if isinstance(first, (list, tuple)):
        pairs = enumerate(zip(first, second, strict=True))
        return [text for key, pair in pairs for text in differences(*pair, f"{place}.{key}")]
    same = torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
    return [] if same else [place]


def values(path: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "ms_per_step"} for row in read_metrics(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A run that was never interrupted."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    train(options(run.path))
    return run


def test_a_run_leaves_everything_in_its_folder(whole):
    names = {str(path.relative_to(whole.path)) for path in whole.path.rglob("*") if path.is_file()}

    assert names >= {
        "config.yaml", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "model/config.json",
        "model/model.safetensors", "samples.png", "reconstructions.png", "curves.png", "report.json", "report.html",
    }  # fmt: skip
    assert any(name.startswith("tensorboard/events") for name in names)
    assert not any(".part" in name for name in names)


def test_the_settings_of_a_run_are_those_it_was_given(whole):
    assert whole.options() == replace(TINY, out=None)


def test_the_metrics_have_a_row_for_each_step_and_each_validation(whole):
    rows = read_metrics(whole.metrics)

    assert [row["step"] for row in rows if "train_bits_per_dim" in row] == list(range(1, 13))
    assert [row["step"] for row in rows if "val_bits_per_dim" in row] == [5, 10, 12]
    assert rows[0]["learning_rate"] == pytest.approx(2e-3 / 3, rel=1e-5)


def test_training_lowers_the_bits(whole):
    bits = [row["val_bits_per_dim"] for row in read_metrics(whole.metrics) if "val_bits_per_dim" in row]

    assert bits[-1] < bits[0]


@pytest.mark.usefixtures("without_results")
@pytest.mark.parametrize(
    ("how", "step"),
    [(TrainingInterrupted, 3), (TrainingInterrupted, 5), (RuntimeError, 4), (RuntimeError, 7)],
    ids=[
        "asked to stop between checkpoints",
        "asked to stop at a validation",
        "crashed before any checkpoint",
        "crashed",
    ],
)
def test_a_resumed_run_ends_as_if_it_had_never_stopped(whole, tmp_path, monkeypatch, how, step):
    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(how):
        stop_after(step, patch, how)
        train(options(run.path))
    train(options(run.path, resume=True))

    assert differences(read_checkpoint(whole.last), read_checkpoint(run.last)) == []
    assert values(whole.metrics) == values(run.metrics)


@pytest.mark.usefixtures("without_results")
def test_a_resumed_run_goes_on_with_its_average(tmp_path, monkeypatch):
    averaged = replace(TINY.optimizer, ema=0.9)
    runs = [Run(tmp_path / name) for name in ("whole", "resumed")]
    train(options(runs[0].path, optimizer=averaged))
    with monkeypatch.context() as patch, pytest.raises(TrainingInterrupted):
        stop_after(6, patch)
        train(options(runs[1].path, optimizer=averaged))
    train(options(runs[1].path, optimizer=averaged, resume=True))
    checkpoints = [read_checkpoint(run.last) for run in runs]

    assert differences(*checkpoints) == []
    assert differences(checkpoints[0]["state_dict"], checkpoints[0]["current_model_state"]) != []


def test_an_average_is_what_is_exported(tmp_path):
    run = Run(tmp_path / "run")
    train(options(run.path, optimizer=replace(TINY.optimizer, ema=0.9)))
    from safetensors.torch import load_file

    exported, best = load_file(run.model / "model.safetensors"), read_checkpoint(run.best)["state_dict"]

    assert all(torch.equal(value, best[f"flow.{name}"]) for name, value in exported.items())


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(tmp_path):
    longer = options(tmp_path / "whole", max_steps=80, checkpoint_every=10, validate_every=30)
    train(longer)
    run = Run(tmp_path / "killed")
    words = [sys.executable, "-m", "inverseflow.cli", "train", "digits", "--out", str(run.path), "--config"]
    process = subprocess.Popen([*words, str(Run(tmp_path / "whole").config)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if run.last.exists() and read_metrics(run.metrics)[-1]["step"] >= 25:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    train(replace(longer, out=run.path, resume=True))

    assert differences(read_checkpoint(Run(tmp_path / "whole").last), read_checkpoint(run.last)) == []
    assert values(Run(tmp_path / "whole").metrics) == values(run.metrics)


def test_an_interrupted_run_says_how_to_go_on(tmp_path, monkeypatch):
    stop_after(3, monkeypatch)
    with pytest.raises(TrainingInterrupted) as caught:
        train(options(tmp_path / "run"))

    command = f"inverseflow train digits --out {tmp_path / 'run'} --resume"
    assert str(caught.value) == f"stopped after step 3; continue with: {command}"


@pytest.mark.usefixtures("without_results")
def test_a_finished_run_can_be_made_longer(whole, tmp_path):
    run = Run(tmp_path / "run")
    constant = replace(TINY.optimizer, schedule="constant")
    train(options(run.path, optimizer=constant))
    longer = train(options(run.path, optimizer=constant, max_steps=15, resume=True))
    straight = train(options(tmp_path / "straight", optimizer=constant, max_steps=15))

    assert (longer.steps, straight.steps) == (15, 15)
    weights = [read_checkpoint(Run(tmp_path / name).last)["state_dict"] for name in ("run", "straight")]
    assert differences(*weights) == []


@pytest.mark.usefixtures("without_results")
def test_resuming_where_there_is_nothing_starts_a_run(tmp_path):
    assert train(options(tmp_path / "run", max_steps=1, resume=True)).steps == 1


def test_a_run_is_not_written_over_by_accident(whole):
    before = whole.report.read_bytes()
    with pytest.raises(RunError, match="holds a run already; --resume continues it"):
        train(options(whole.path))

    assert whole.report.read_bytes() == before


def test_overwriting_deletes_a_run_and_nothing_else(tmp_path):
    run = Run(tmp_path / "run")
    train(options(run.path, max_steps=1))
    (run.path / "my notes.txt").write_text("keep me")
    (run.model / "old").touch()
    train(options(run.path, max_steps=1, overwrite=True))

    assert (run.path / "my notes.txt").read_text() == "keep me"
    assert not (run.model / "old").exists()


@pytest.mark.parametrize("content", [None, "- a list\n", "data: other\n", "\tno yaml"])
def test_a_folder_that_holds_no_run_is_never_touched(tmp_path, content):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    if content is not None:
        (folder / "config.yaml").write_text(content)
    with pytest.raises(RunError, match="holds no training run|is damaged"):
        train(options(folder, overwrite=True))

    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.usefixtures("without_results")
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, whole):
    run = Run(tmp_path / "run")
    train(options(run.path, max_steps=1, model=replace(TINY.model, width=6)))
    before = run.last.read_bytes()
    settings = yaml.safe_load(run.config.read_text())
    settings["model"]["width"] = 8
    run.config.write_text(yaml.safe_dump(settings))
    with pytest.raises(CheckpointError, match="of another architecture"):
        train(options(run.path, resume=True))

    assert run.last.read_bytes() == before


def test_other_settings_of_the_model_are_refused_on_resume(whole):
    with pytest.raises(OptionError, match=r"model\.steps is 1 in the run and 2 here"):
        train(options(whole.path, model=replace(TINY.model, steps=2), resume=True))


def test_an_option_that_the_flow_does_not_have_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"glow.*has no option kernel_size"):
        train(options(tmp_path / "run", model=ModelOptions(name="glow", kernel_size=3)))

    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_layer(tmp_path, monkeypatch):
    step = FlowModule.training_step

    def poisoned(self, batch):
        if self.trainer.global_step == 6:
            layer = next(layer for layer in self.flow.modules() if type(layer).__name__ == "ActNorm")
            layer.register_forward_hook(lambda module, args, output: (output[0] / 0, output[1]))
        return step(self, batch)

    monkeypatch.setattr(FlowModule, "training_step", poisoned)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError, match=r"the loss is not finite in step 7; .* the output of .* \(ActNorm\)"):
        train(options(run.path))

    assert all(torch.isfinite(value).all() for value in read_checkpoint(run.last)["state_dict"].values())


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path, monkeypatch):
    step = FlowModule.training_step
    modules = []

    def poisoned(self, batch):
        modules.append(self)
        loss = step(self, batch)
        if self.trainer.global_step == 2:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss

    monkeypatch.setattr(FlowModule, "training_step", poisoned)
    with pytest.raises(NonFiniteError, match=r"the gradient is not finite in step 3; .* the gradient of "):
        train(options(tmp_path / "run"))

    assert all(torch.isfinite(value).all() for value in modules[0].parameters())


@pytest.mark.usefixtures("without_results")
def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_the_former_one_whole(tmp_path, monkeypatch):
    save = torch.save
    calls = []

    def full(content, file, *args):
        calls.append(1)
        if len(calls) == 3:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(content, file, *args)

    monkeypatch.setattr(torch, "save", full)
    run = Run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="no space left on device; the previous one is complete"):
        train(options(run.path))
    monkeypatch.undo()

    assert read_checkpoint(run.last)["global_step"] == 4
    assert train(options(run.path, resume=True)).steps == 12


@pytest.mark.usefixtures("without_results")
def test_gradient_checkpointing_changes_no_number(whole, tmp_path):
    run = Run(tmp_path / "run")
    train(options(run.path, gradient_checkpointing=True))
    weights = [read_checkpoint(path)["state_dict"] for path in (whole.last, run.last)]

    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value)


@pytest.mark.usefixtures("without_results")
def test_bfloat16_trains_to_about_the_same_bits(whole, tmp_path):
    report = train(options(tmp_path / "run", precision="bf16-mixed"))

    assert report.best_value == pytest.approx(read_metrics(whole.metrics)[-1]["val_bits_per_dim"], abs=0.05)


def test_float64_trains_and_exports(tmp_path):
    optimizer = replace(TINY.optimizer, ema=0.9)
    report = train(options(tmp_path / "run", max_steps=2, precision="64-true", optimizer=optimizer))

    assert report.max_reconstruction_error == 0
    assert train(options(tmp_path / "run", max_steps=3, precision="64-true", optimizer=optimizer, resume=True))


@pytest.mark.usefixtures("without_results")
def test_the_seed_decides_everything(whole, tmp_path):
    run, other = Run(tmp_path / "same"), Run(tmp_path / "other")
    train(options(run.path))
    train(options(other.path, seed=1))

    assert values(run.metrics) == values(whole.metrics)
    assert values(other.metrics) != values(whole.metrics)


def test_mirroring_is_refused_where_it_makes_no_sense(tmp_path):
    with pytest.raises(ValueError, match="does not suit digits"):
        train(options(tmp_path / "run", horizontal_flip=True))
    assert not (tmp_path / "run").exists()


def test_an_accelerator_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(OptionError, match="Lightning refuses these settings"):
        train(options(tmp_path / "run", accelerator="abacus"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_settings_that_lightning_refuses_leave_a_finished_run_as_it_was(whole, how):
    before = content(whole.path)
    with pytest.raises(OptionError, match="Lightning refuses"):
        train(options(whole.path, accelerator="abacus", **{how: True}))

    assert content(whole.path) == before


def test_settings_that_lightning_refuses_leave_no_folder(tmp_path):
    with pytest.raises(OptionError, match="Lightning refuses"):
        train(options(tmp_path / "run", strategy="nonsense"))

    assert not (tmp_path / "run").exists()


def test_fewer_validation_images_than_processes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OptionError, match="1 validation examples for 2 processes.*fewer devices"):
        train(options(tmp_path / "run", validation_images=1, devices="2", strategy="ddp"))

    assert not (tmp_path / "run").exists()


def test_a_run_that_is_made_longer_does_not_keep_its_former_results(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    train(options(run.path, max_steps=2))
    before = content(run.path)
    train(options(run.path, max_steps=2, resume=True, quiet=False))
    assert content(run.path).keys() >= before.keys(), "no step, no change"
    stop_after(3, monkeypatch)
    with pytest.raises(TrainingInterrupted):
        train(options(run.path, max_steps=100, resume=True))

    for path in (run.report, run.page, run.model, run.samples, run.reconstructions, run.curves):
        assert not path.exists()
    assert run.best.is_file()


def test_a_run_is_not_made_shorter(whole):
    with pytest.raises(OptionError, match="max_steps is 3, but the run has made 12 steps already"):
        train(options(whole.path, max_steps=3, resume=True))


@pytest.mark.usefixtures("without_results")
def test_damaged_metrics_are_not_blamed_on_the_settings(tmp_path):
    run = Run(tmp_path / "run")
    train(options(run.path, max_steps=1))
    run.metrics.write_text("step,train_bits_per_dim\n1,nonsense\n")
    with pytest.raises(RunError, match=r"metrics\.csv is damaged"):
        train(options(run.path, max_steps=2, resume=True))


@pytest.mark.usefixtures("without_results")
def test_validation_always_draws_the_same_noise(tmp_path, monkeypatch):
    monkeypatch.setattr(FlowModule, "optimizer_step", lambda self, epoch, index, optimizer, closure: closure())
    run = Run(tmp_path / "run")
    train(options(run.path))
    seen = [row["val_bits_per_dim"] for row in read_metrics(run.metrics) if "val_bits_per_dim" in row]

    assert len(seen) == 3 and len(set(seen)) == 1


def splits(count: int) -> ImageSplits:
    """Random images: one of them to validate on, one to test on, the others to train on."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    parts = {"train": pixels[2:], "validation": pixels[:1], "test": pixels[1:2]}
    return ImageSplits("folder", "few", 256, (1, 8, 8), **{name: TensorImages(part) for name, part in parts.items()})


@pytest.mark.parametrize("count", [3, 19])
def test_a_tiny_set_of_images_trains_and_reports_without_a_standard_error(tmp_path, count):
    run = Run(tmp_path / "run")
    report = train(options(run.path, data="folder", max_steps=2, batch_size=1, evaluation_draws=2), splits(count))

    assert json.loads(run.report.read_text())["test_bits_per_dim_stderr"] is None
    assert "(one image) bits/dim (upper bound) on 1 test image" in closing_lines(report, run)


WILD = OptimizerOptions(learning_rate=1e4, warmup_steps=0, clip_norm=None)


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_last_step_that_breaks_the_model_is_never_exported(tmp_path, ema):
    run = Run(tmp_path / "run")
    with pytest.raises(
        NonFiniteError, match="after step 1 (is )?.*not finite.* first value that is not finite is .*scale 1"
    ):
        train(options(run.path, max_steps=1, optimizer=replace(WILD, ema=ema)))

    assert not run.model.exists() and not run.best.exists() and not run.last.exists()
    assert all(math.isfinite(value) for row in read_metrics(run.metrics) for value in row.values())


def test_a_checkpoint_is_only_written_of_a_model_that_is_finite(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    step = FlowModule.optimizer_step

    def broken_at_8(self, *arguments, **options):
        step(self, *arguments, **options)
        if self.trainer.global_step == 7:
            torch.nn.init.constant_(next(self.flow.parameters()), 1e30)

    monkeypatch.setattr(FlowModule, "optimizer_step", broken_at_8)
    message = "the model is not finite after step 8; .* the last good checkpoint is .*last.ckpt, and --init-from starts"
    with pytest.raises(NonFiniteError, match=message):
        train(options(run.path))

    assert read_checkpoint(run.last)["global_step"] == 5


def test_a_model_that_is_not_finite_on_a_test_image_is_not_exported(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    monkeypatch.setattr(
        trainer, "load_weights", lambda flow, *_: torch.nn.init.constant_(next(flow.parameters()), 1e30)
    )
    with pytest.raises(NonFiniteError, match="bits per dimension of 360 of 360 images are not finite"):
        train(options(run.path, max_steps=1))

    assert not run.model.exists() and not run.report.exists()


def test_a_report_says_in_words_that_the_inverse_is_not_exact(tmp_path, monkeypatch):
    decode = Flow.decode
    monkeypatch.setattr(Flow, "decode", lambda self, z, context=None: decode(self, z, context).clamp(max=3))
    run = Run(tmp_path / "run")
    report = train(options(run.path, max_steps=1))

    assert "WARNING: the inverse is not exact: 360 of 360 images come back CHANGED" in closing_lines(report, run)
    assert json.loads(run.report.read_text())["problems"] == report.problems


@pytest.mark.usefixtures("without_results")
def test_a_run_whose_best_checkpoint_is_lost_or_damaged_goes_on_from_its_last(tmp_path, capsys):
    run = Run(tmp_path / "run")
    train(options(run.path, max_steps=6))
    run.best.unlink()
    assert train(options(run.path, max_steps=6, resume=True)).best_step == 6
    assert f"{run.best} is lost; the best validation is found anew, from step 6 on" in capsys.readouterr().err
    run.best.write_bytes(b"half")
    assert train(options(run.path, max_steps=8, resume=True)).best_step == 8
    assert f"{run.best} is damaged" in capsys.readouterr().err
    assert read_checkpoint(run.best)["global_step"] == 8


@pytest.mark.usefixtures("without_results")
def test_a_run_whose_last_checkpoint_is_lost_goes_on_from_its_best_to_the_same_end(whole, tmp_path, capsys):
    run = Run(shutil.copytree(whole.path, tmp_path / "run"))
    step = read_checkpoint(run.best)["global_step"]
    run.last.unlink()
    train(options(run.path, resume=True, max_steps=12))

    assert "last.ckpt is lost; the run continues from best.ckpt" in capsys.readouterr().err
    assert step == 12 or differences(read_checkpoint(whole.last), read_checkpoint(run.last)) == []


def test_a_run_whose_checkpoints_are_lost_is_not_silently_started_again(whole, tmp_path):
    run = Run(shutil.copytree(whole.path, tmp_path / "run"))
    shutil.rmtree(run.checkpoints)
    before = content(run.path)
    with pytest.raises(CheckpointError, match="checkpoints is lost, although the run has made 12 steps; .*--overwrite"):
        train(options(run.path, resume=True))

    assert content(run.path) == before


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_run_in_the_same_folder_is_refused_by_name(whole, how):
    before = content(whole.path)
    with RunLock(whole.path) as lock:
        lock.acquire()
        with pytest.raises(RunError, match=f"is in use: process {os.getpid()} on .* trains in it"):
            train(options(whole.path, **how))

    assert content(whole.path) == before


def test_a_run_whose_folder_is_removed_ends_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    record = Recorder.on_train_batch_end

    def record_and_remove(self, trainer, module, *rest):
        record(self, trainer, module, *rest)
        if trainer.global_step == 3:
            shutil.rmtree(run.path)

    monkeypatch.setattr(Recorder, "on_train_batch_end", record_and_remove)
    with pytest.raises(RunError, match="run was removed or replaced during training"):
        train(options(run.path))

    assert not run.path.exists()


def test_a_full_disk_at_the_first_row_of_metrics_names_the_file(tmp_path, monkeypatch):
    def full(self, row):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerow", full)
    with pytest.raises(RunError, match=r"cannot write .*metrics\.csv: no space left on device"):
        train(options(tmp_path / "run"))


@pytest.mark.usefixtures("without_results")
def test_a_run_starts_from_the_weights_of_another_with_a_new_optimizer(whole, tmp_path, monkeypatch):
    def refuse(self, *arguments):
        raise AssertionError("initialized again")

    monkeypatch.setattr(Flow, "initialize", refuse)
    run = Run(tmp_path / "run")
    optimizer = replace(TINY.optimizer, learning_rate=1e-9, warmup_steps=0)
    train(options(run.path, max_steps=1, batch_size=8, optimizer=optimizer, init_from=whole.path))
    tuned, before = read_checkpoint(run.last), read_checkpoint(whole.best)

    assert tuned["global_step"] == 1 and run.options().init_from == whole.path
    for name, value in before["state_dict"].items():
        torch.testing.assert_close(tuned["state_dict"][name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": replace(TINY.model, width=6)}, CheckpointError, "of another architecture: .* in the model and"),
        ({"init_from": Path("nowhere")}, RunError, "nowhere does not exist"),
    ],
)
def test_a_run_that_cannot_start_from_another_is_refused_before_anything_is_written(
    whole, tmp_path, change, error, message
):
    with pytest.raises(error, match=message):
        train(options(tmp_path / "run", **{"init_from": whole.path, **change}))

    assert not (tmp_path / "run").exists()
