"""Saved models: damaged folders, and failures while saving."""

import json
import math
import os
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from inverseflow.bijections import ActNorm
from inverseflow.data import load_data
from inverseflow.densities import pretrained
from inverseflow.densities.pretrained import SHIPPED
from inverseflow.errors import CheckpointError, MissingPackageError
from inverseflow.flows import Flow, Glow, InverseFlow
from tests.contracts.registry import perturb


def small_glow(width=3):
    return perturb(Glow((1, 4, 4), levels=5, scales=1, steps=1, width=width))


@pytest.fixture
def folder(tmp_path):
    small_glow().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_the_folder_holds_a_readable_configuration_and_no_code(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["density"] == "glow"
    assert config["options"]["width"] == 3
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_makes_missing_folders(tmp_path):
    small_glow().save_pretrained(str(tmp_path / "a" / "b"))
    assert isinstance(Flow.from_pretrained(tmp_path / "a" / "b"), Glow)


def test_saving_again_replaces_what_was_there(folder):
    flow = perturb(InverseFlow((1, 4, 4), levels=5, scales=1, steps=1, width=2))
    flow.save_pretrained(folder)
    assert isinstance(Flow.from_pretrained(folder), InverseFlow)
    assert len(list(folder.iterdir())) == 2


def test_another_kind_of_flow_is_refused_by_both_names(folder):
    with pytest.raises(CheckpointError, match="holds a Glow, not a InverseFlow; load it with Glow"):
        InverseFlow.from_pretrained(folder)


def test_loading_leaves_the_global_random_state_to_the_caller_to_seed(folder):
    torch.manual_seed(1)
    first = Glow.from_pretrained(folder)
    torch.manual_seed(2)
    second = Glow.from_pretrained(folder)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def cut_inside_the_header(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])


DAMAGE = {
    "no configuration": (
        lambda folder: (folder / "config.json").unlink(),
        "holds no config.json, so it is not",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no model.safetensors"),
    "truncated weights": (truncate, "model.safetensors is truncated or damaged"),
    "weights cut inside the header": (cut_inside_the_header, "model.safetensors is truncated or damaged"),
    "empty weights": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "is truncated or damaged"),
    "other bytes for weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 500), "or damaged"),
    "a configuration cut short": (lambda folder: (folder / "config.json").write_text('{"flow": "gl'), "is damaged"),
    "an empty configuration": (lambda folder: (folder / "config.json").write_text(""), "is damaged"),
    "a configuration of bytes": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"), "is damaged"),
    "a list for a configuration": (lambda folder: (folder / "config.json").write_text("[1]"), "is damaged"),
    "no name": (lambda folder: edit(folder, lambda config: config.pop("density")), "is damaged: KeyError"),
    "no options": (lambda folder: edit(folder, lambda config: config.pop("options")), "is damaged: KeyError"),
    "options that are a number": (lambda folder: edit(folder, lambda c: c.update(options=3)), "is damaged: TypeError"),
    "no event shape": (lambda folder: edit(folder, lambda c: c["options"].pop("event_shape")), "is damaged: KeyError"),
    "an unknown flow": (
        lambda folder: edit(folder, lambda config: config.update(density="nothing")),
        "can't be built by this version: unknown density 'nothing': choose one of .*glow",
    ),
    "a list for a name": (lambda folder: edit(folder, lambda c: c.update(density=["glow"])), "can't be built"),
    "an unknown option": (
        lambda folder: edit(folder, lambda config: config["options"].update(bins=3)),
        "can't be built by this version: 'glow' has no option bins",
    ),
    "an option out of range": (
        lambda folder: edit(folder, lambda config: config["options"].update(scales=0)),
        "can't be built by this version: scales must be at least 1, got 0",
    ),
    "an option of another type": (
        lambda folder: edit(folder, lambda config: config["options"].update(scales="two")),
        "can't be built by this version",
    ),
    "a negative width": (
        lambda folder: edit(folder, lambda config: config["options"].update(width=-1)),
        "can't be built by this version: width .* got -1",
    ),
    "a fractional width": (
        lambda folder: edit(folder, lambda config: config["options"].update(width=2.5)),
        "can't be built by this version",
    ),
    "an event shape of words": (
        lambda folder: edit(folder, lambda config: config["options"].update(event_shape=["a", 4, 4])),
        "can't be built by this version",
    ),
    "weights of another width": (
        lambda folder: edit(folder, lambda config: config["options"].update(width=4)),
        "model.safetensors belongs to another architecture than config.json: bijection.* in the model and",
    ),
    "weights of fewer steps": (
        lambda folder: edit(folder, lambda config: config["options"].update(steps=2)),
        "belongs to another architecture than config.json: .* and nothing in the weights",
    ),
    "weights of another flow": (
        lambda folder: edit(folder, lambda config: config.update(density="inverse-flow")),
        "belongs to another architecture than config.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_with_the_file_and_the_reason(folder, damage):
    spoil, message = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        Flow.from_pretrained(folder)


@pytest.mark.parametrize("where", ["nowhere", "a/b/c", "../model", "no spaces/allowed"])
def test_a_place_that_is_neither_a_folder_nor_a_hub_id_is_refused(where):
    with pytest.raises(
        CheckpointError,
        match="there is no folder .*, it is no model of the package .digits., and no hub id of the form owner/name",
    ):
        Flow.from_pretrained(where)


def test_a_path_is_never_taken_for_a_hub_id_and_a_file_not_for_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(CheckpointError, match="there is no folder"):
            Flow.from_pretrained(tmp_path / name)


def test_what_the_hub_says_is_passed_on(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def refuse(repository, **options):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match="no folder someone/model, and the hub gave no such model: offline"):
        Flow.from_pretrained("someone/model")


def test_a_model_from_the_hub_is_asked_for_its_two_files_only(monkeypatch, folder):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = []

    def download(repository, **options):
        asked.append((repository, options))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert isinstance(Flow.from_pretrained("someone/model"), Glow)
    assert asked == [("someone/model", {"allow_patterns": ["config.json", "model.safetensors"]})]


@pytest.mark.parametrize("missing", ["safetensors", "huggingface_hub"])
def test_without_the_extra_the_error_says_what_to_install(missing, monkeypatch, folder):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    actions = {
        "safetensors": [lambda: small_glow().save_pretrained(folder), lambda: Flow.from_pretrained(folder)],
        "huggingface_hub": [lambda: Flow.from_pretrained("someone/model")],
    }
    for action in actions[missing]:
        with pytest.raises(MissingPackageError, match=r"pip install 'inverseflow\[hub\]'"):
            action()


# Failures while saving: what was there before is whole.


def failing(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["open", "save_file"])
def test_a_failure_at_any_step_of_saving_leaves_both_files_as_they_were(folder, monkeypatch, step):
    import safetensors.torch

    before = contents(folder)
    owner = {"open": os, "save_file": safetensors.torch}[step]
    flow = small_glow(width=4)
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, failing)
        with pytest.raises(CheckpointError, match=r"can't write the model to .*No space left.* before is whole"):
            flow.save_pretrained(folder)
    assert contents(folder) == before


def test_a_full_disk_leaves_both_files_as_they_were(folder):
    before = contents(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a write past it fails as on a full disk
    try:
        with pytest.raises(CheckpointError, match="can't write the model"):
            small_glow(width=64).save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(folder) == before


def test_a_folder_that_cannot_be_written_is_refused(folder, monkeypatch):
    def forbid(path, *args):
        raise PermissionError(13, "Permission denied", str(path))

    before, flow = contents(folder), small_glow()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", forbid)  # tests may run as root, whom permissions don't stop
        with pytest.raises(CheckpointError, match=r"can't write the model to .*Permission denied"):
            flow.save_pretrained(folder)
    assert contents(folder) == before


def test_a_folder_where_a_file_stands_is_refused_and_the_file_stays(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(CheckpointError, match="can't write the model"):
        small_glow().save_pretrained(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


def test_a_flow_that_is_not_registered_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"Flow is not a registered density, .* save its state_dict\(\) yourself"):
        Flow(ActNorm(2), (2,)).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_loaded_flow_is_not_tied_to_its_files(folder):
    flow = Flow.from_pretrained(folder)
    x = torch.randint(5, (2, 1, 4, 4), dtype=torch.uint8)
    expected = flow.encode(x)
    (folder / "model.safetensors").write_bytes(b"")
    assert torch.equal(flow.encode(x), expected)


# Weights that load but are of no use


def rewrite(folder, change):
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_tensor(folder, value):
    name = "bijection.scales.0.layers.1.layers.1.log_scale"

    def spoil(state):
        state[name].view(-1)[0] = value

    rewrite(folder, spoil)
    with pytest.raises(CheckpointError, match=rf"is not a usable model: 1 of 4 values of {name} are not"):
        Flow.from_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_comes_back_in_the_dtype_it_was_saved_in(folder, dtype):
    small_glow().to(dtype).save_pretrained(folder)
    assert {parameter.dtype for parameter in Flow.from_pretrained(folder).parameters()} == {dtype}


def test_weights_of_mixed_dtypes_are_refused_by_name(folder):
    rewrite(folder, lambda state: state.update({next(iter(state)): next(iter(state.values())).double()}))
    with pytest.raises(CheckpointError, match=r"mixes dtypes: .* is torch.float64 and .* is torch.float32"):
        Flow.from_pretrained(folder)


LARGE = {
    "steps": {"steps": 10**9},
    "width": {"width": 10**9},
    "bins": {"spline_bins": 10**6},
    "context": {"context_channels": 10**9},
    "event": {"event_shape": [1, 2**20, 2**20]},
    "other event": {"event_shape": [1, 8, 8]},
}


@pytest.mark.parametrize("large", LARGE)
def test_a_configuration_larger_than_its_weights_is_refused_without_building_it(folder, large):
    edit(folder, lambda config: config["options"].update(LARGE[large]))
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="belongs to another architecture than config.json|can't be built"):
        Flow.from_pretrained(folder)
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_many_small_tensors_without_weights_are_refused_too(folder):
    edit(folder, lambda c: c.update(density="planar", options={"event_shape": [1, 4, 4], "scales": 1, "steps": 10_000}))
    with pytest.raises(CheckpointError, match="which asks for more or larger tensors"):
        Flow.from_pretrained(folder)


def test_the_guard_against_large_configurations_ends_with_the_loading(folder):
    Flow.from_pretrained(folder)
    assert InverseFlow((1, 4, 4), scales=1, steps=1, width=2500).dims == 16  # more elements than the guard allowed


# Where it is written


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    small_glow().save_pretrained("~/model")
    assert (tmp_path / "model" / "config.json").is_file()
    assert not (tmp_path / "~").exists()
    assert isinstance(Flow.from_pretrained("~/model"), Glow)


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        small_glow().save_pretrained(tmp_path / "model")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {mode}


def test_options_that_json_cannot_hold_are_refused_and_nothing_is_written(tmp_path):
    flow = small_glow()
    flow.config["options"]["width"] = object()
    with pytest.raises(CheckpointError, match="the options of Glow can't be saved as JSON"):
        flow.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_of_the_package_needs_no_network_and_measures_what_its_card_says(name, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("the network was used"))
    folder = Path(pretrained.__file__).with_name("shipped") / name
    stated = re.search(r"\| bits/dim \| ([\d.]+) ±", (folder / "README.md").read_text("utf-8"))
    flow = InverseFlow.from_pretrained(name)
    torch.manual_seed(0)
    with torch.no_grad():
        measured = flow.bits_per_dim(load_data(name).test.tensor()).mean().item()

    assert sum(file.stat().st_size for file in folder.iterdir()) < 2e6
    assert abs(measured - float(stated[1])) < 0.02


@pytest.mark.slow
def test_a_model_of_the_package_samples_within_five_seconds_from_a_cold_start():
    code = 'from inverseflow import InverseFlow; InverseFlow.from_pretrained("digits").sample(16)'
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
