from dataclasses import replace
from pathlib import Path

import pytest

from inverseflow.errors import OptionError
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
from inverseflow.training.presets import load_preset, preset_names


def test_options_survive_the_way_to_plain_types_and_back():
    options = TrainOptions(
        data="mnist", data_dir=Path("/data"), model=ModelOptions(steps=3), optimizer=OptimizerOptions(ema=0.99)
    )

    assert TrainOptions.from_mapping(options.to_mapping()) == options


def test_an_unknown_setting_is_named():
    with pytest.raises(OptionError, match="no_such_setting"):
        TrainOptions.from_mapping({"data": "digits", "no_such_setting": 1})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrainOptions(data="digits", max_steps=0), "max_steps must be at least 1, not 0"),
        (lambda: TrainOptions(data="digits", batch_size=-1), "batch_size must be at least 1"),
        (lambda: TrainOptions(data="digits", resume=True, overwrite=True), "exclude each other"),
        (lambda: TrainOptions(data="digits", seed=-1), "seed must be in"),
        (lambda: OptimizerOptions(learning_rate=0.0), "learning_rate must be above 0"),
        (lambda: OptimizerOptions(ema=1.0), "ema must be between 0 and 1"),
        (lambda: OptimizerOptions(clip_norm=0.0), "clip_norm must be above 0"),
        (lambda: OptimizerOptions(step_factor=2.0), "step_factor must be in"),
    ],
)
def test_a_value_that_cannot_work_is_refused(build, message):
    with pytest.raises(OptionError, match=message):
        build()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"model": ModelOptions(steps=2)}, "model.steps"),
        ({"optimizer": OptimizerOptions(learning_rate=1.0)}, "optimizer.learning_rate"),
        ({"seed": 1}, "seed"),
        ({"data": "mnist"}, "data"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_a_resumed_run_keeps_what_its_trajectory_depends_on(change, name):
    options = TrainOptions(data="digits")

    with pytest.raises(OptionError, match=f"^{name} is "):
        options.resumed_with(replace(options, **change))


def test_a_resumed_run_may_be_longer_and_elsewhere():
    longer = TrainOptions(data="digits", max_steps=2000, accelerator="gpu", devices="2", strategy="ddp")

    assert TrainOptions(data="digits").resumed_with(longer).max_steps == 2000


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_holds_valid_settings(name):
    assert TrainOptions.from_mapping(load_preset(name)).max_steps > 0


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "folder"])
def test_every_data_set_has_a_preset_of_its_name(name):
    assert load_preset(name)["data"] == name


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(OptionError, match=r"no preset 'huge'; there are .*digits"):
        load_preset("huge")
