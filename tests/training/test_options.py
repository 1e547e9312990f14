import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import inverseflow.flows  # noqa: F401  # enters them into the registry
from inverseflow import densities
from inverseflow.errors import OptionError
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
from inverseflow.training.presets import load_preset, preset_names


def test_options_survive_the_way_to_plain_types_and_back():
    options = TrainOptions(
        data="mnist", data_dir=Path("/data"), model=ModelOptions(steps=3), optimizer=OptimizerOptions(ema=0.99)
    )

    assert TrainOptions.from_mapping(options.to_mapping()) == options


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrainOptions(data="digits", max_steps=0), "max_steps must be between 1 and 2147483647, got 0$"),
        (lambda: TrainOptions(data="digits", max_steps=3.5), "max_steps must be a whole number, got 3.5"),
        (lambda: TrainOptions(data="digits", max_steps=True), "max_steps must be a whole number, got True"),
        (lambda: TrainOptions(data="digits", batch_size=10**9), "batch_size must be between 1 and 1048576, got 10*"),
        (lambda: TrainOptions(data="digits", image_size=-3), "image_size must be between 1 and 65536, got -3"),
        (lambda: TrainOptions(data="digits", seed=2**63), "seed must be between 0 and 9223372036854775807, got"),
        (lambda: TrainOptions(data="digits", resume="yes"), "resume must be true or false, got 'yes'"),
        (lambda: TrainOptions(data="digits", resume=True, overwrite=True), "exclude each other"),
        (lambda: TrainOptions(data="letters"), "data must be one of digits, mnist, .*, got 'letters'"),
        (lambda: TrainOptions(data="digits", out="a\0b"), "out must be a path without NUL characters"),
        (lambda: TrainOptions(data="digits", out=3), "out must be a path, got 3"),
        (lambda: TrainOptions(data="digits", channels=True), "channels must be one of 1, 3, got True"),
        (
            lambda: TrainOptions(data="digits", model={"steps": 1}),
            "model must be a group of settings, got {'steps': 1}",
        ),
        (lambda: OptimizerOptions(learning_rate=0.0), r"optimizer\.learning_rate must be finite and above 0, got 0"),
        (lambda: OptimizerOptions(learning_rate=math.nan), "learning_rate must be finite and above 0, got nan"),
        (lambda: OptimizerOptions(weight_decay=math.inf), "weight_decay must be finite and at least 0, got inf"),
        (lambda: OptimizerOptions(learning_rate="fast"), "learning_rate must be a number, got 'fast'"),
        (lambda: OptimizerOptions(ema=1.0), "ema must lie strictly between 0 and 1, got 1.0; null averages nothing"),
        (lambda: OptimizerOptions(clip_norm=0.0), "clip_norm must be finite and above 0, got 0.0; null clips nothing"),
        (lambda: OptimizerOptions(step_factor=2.0), "step_factor must be above 0 and at most 1, got 2"),
        (lambda: OptimizerOptions(warmup_steps=-1), "warmup_steps must be between 0 and .*, got -1"),
        (lambda: ModelOptions(steps=10**9), r"model\.steps must be between 1 and 10000, got 1000000000"),
        (lambda: ModelOptions(width=0), r"model\.width must be between 1 and 100000"),
        (lambda: ModelOptions(spline_bound=math.inf), r"model\.spline_bound must be finite and above 0, got inf"),
        (lambda: ModelOptions(alpha=0.5), r"model\.alpha must be at least 0 and below 0\.5, got 0\.5"),
        (lambda: ModelOptions(name=7), r"model\.name must be a string, got 7"),
    ],
)
def test_a_value_that_cannot_work_is_refused(build, message):
    with pytest.raises(OptionError, match=message):
        build()


def test_numbers_of_numpy_and_paths_in_strings_are_converted():
    options = TrainOptions(
        data="digits",
        out="~/runs/one",
        max_steps=np.int64(3),
        devices=2,
        optimizer=OptimizerOptions(learning_rate=np.float32(0.5), ema=None),
    )

    assert (type(options.max_steps), type(options.optimizer.learning_rate)) == (int, float)
    assert options.out == Path.home() / "runs" / "one"
    assert options.devices == "2"
    assert yaml.safe_load(yaml.safe_dump(options.to_mapping()))["max_steps"] == 3


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"data": "digits", "no_such_setting": 1}, "there is no setting no_such_setting"),
        ({"data": "digits", "model": {"height": 1}}, r"there is no setting model\.height"),
        ({"data": "digits", "model": [1]}, "model must be a group of settings, got list"),
        ({"max_steps": 1}, "the setting data is missing"),
        ({"data": "digits", "max_steps": "many"}, "max_steps must be a whole number, got 'many'"),
        ({"data": "digits", "optimizer": {"ema": [0.9]}}, r"optimizer\.ema must be a number, got \[0\.9\]"),
    ],
)
def test_settings_that_do_not_fit_are_named(mapping, message):
    with pytest.raises(OptionError, match=message):
        TrainOptions.from_mapping(mapping)


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

    with pytest.raises(OptionError, match=f"^{name} is .* start another run with --init-from"):
        options.resumed_with(replace(options, **change))


def test_a_resumed_run_may_be_longer_and_elsewhere():
    longer = TrainOptions(data="digits", max_steps=2000, accelerator="gpu", devices="2", strategy="ddp")

    assert TrainOptions(data="digits").resumed_with(longer).max_steps == 2000


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_holds_valid_settings(name):
    assert TrainOptions.from_mapping(load_preset(name)).max_steps > 0


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "cifar10", "folder", "table", "two-moons"])
def test_every_data_set_has_a_preset_of_its_name(name):
    assert load_preset(name)["data"] == name


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(OptionError, match=r"no preset 'huge'; there are .*digits"):
        load_preset("huge")


def test_the_help_names_the_flows_that_lack_an_option():
    of_images = {name: known for name in densities.names() if "scales" in (known := densities.option_names(name) or ())}
    entries = [entry.partition(": ") for entry in re.split(r"\n {8}(?=\w+: )", ModelOptions.__doc__)]
    named = {name: found[1] for name, _, text in entries if (found := re.search(r"\(not ([\w, -]+)\)", text))}
    assert {*named} == {"conv1x1", "coupling", "conditioner", "dequantization"}
    for option, lacking in named.items():
        assert {*lacking.split(", ")} == {name for name, known in of_images.items() if option not in known}


def test_every_option_of_the_model_is_one_of_a_registered_density():
    known = {option for name in densities.names() for option in densities.option_names(name) or ()}
    assert {option.name for option in fields(ModelOptions)} <= {"name", "paper_options"} | known
