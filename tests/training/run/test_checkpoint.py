import errno
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from inverseflow import flows
from inverseflow.errors import CheckpointError
from inverseflow.training.loop.checkpoints import AtomicCheckpointIO
from inverseflow.training.run.checkpoint import check_resumable, load_weights, read_checkpoint


def checkpoint_of(flow: torch.nn.Module) -> dict:
    return {"state_dict": {f"flow.{name}": value for name, value in flow.state_dict().items()}, "global_step": 0}


def small_flow(**options) -> flows.Flow:
    return flows.create("inverse-flow", (1, 4, 4), levels=4, **{"scales": 1, "steps": 1, "width": 4, **options})


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint_of(small_flow()), path)
    return path


@contextmanager
def small_disk():
    """Let no file grow beyond 4 KiB, as if the disk were full then; not even the one that the tests' output goes to."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_weights_come_back_as_they_were(saved):
    flow, other = small_flow(), small_flow()
    AtomicCheckpointIO().save_checkpoint(checkpoint_of(flow), saved)
    load_weights(other, saved)

    assert all(torch.equal(a, b) for a, b in zip(flow.parameters(), other.parameters(), strict=True))


def test_a_full_disk_leaves_the_previous_checkpoint_whole(saved):
    before = saved.read_bytes()
    message = r"cannot write the checkpoint .*last\.ckpt: file too large; the previous one is complete"
    with pytest.raises(CheckpointError, match=message), small_disk():
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"flow.big": torch.zeros(10_000)}}, saved)

    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="file too large; there is no previous one"), small_disk():
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"flow.big": torch.zeros(10_000)}}, tmp_path / "last.ckpt")

    assert list(tmp_path.iterdir()) == []


def test_a_missing_permission_is_told_in_one_sentence(saved, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # who runs tests as root is never denied anything
    with pytest.raises(CheckpointError, match="permission denied; the previous one is complete"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, saved)


def test_a_truncated_checkpoint_is_called_so(saved):
    saved.write_bytes(saved.read_bytes()[:-500])

    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged: it is truncated, or is not a checkpoint"):
        read_checkpoint(saved)


def test_a_checkpoint_runs_no_code(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "trap": Path.unlink}, path)

    with pytest.raises(CheckpointError, match="is damaged: .* is not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"global_step": None}, "its global_step is missing"),
        ({"global_step": "many"}, "its global_step is 'many'"),
        ({"global_step": -1}, "its global_step is -1"),
        ({"state_dict": [1, 2]}, "its state_dict is not a mapping from names to tensors"),
        ({"state_dict": {"flow.a": 1.0}}, "its state_dict is not a mapping from names to tensors"),
        ({"state_dict": {1: torch.zeros(1)}}, "its state_dict is not a mapping from names to tensors"),
        ({"state_dict": {"flow.a": torch.tensor([1.0, torch.nan])}}, r"flow\.a has values that are not finite"),
        ({"current_model_state": {"flow.a": torch.tensor(torch.inf)}}, r"flow\.a has values that are not finite"),
    ],
)
def test_a_damaged_checkpoint_is_called_so_and_what_is_damaged(tmp_path, change, what):
    path = tmp_path / "last.ckpt"
    torch.save({**checkpoint_of(small_flow()), **change}, path)

    with pytest.raises(CheckpointError, match=rf"last\.ckpt is damaged: {what}"):
        read_checkpoint(path)


def resumable() -> dict:
    """The fields that a resumed run of one linear layer needs."""
    moments = {
        number: {"exp_avg": torch.zeros(shape), "exp_avg_sq": torch.zeros(shape)}
        for number, shape in enumerate([(2, 2), (2,)])
    }
    return {
        "pytorch-lightning_version": "2.6",
        "epoch": 0,
        "loops": {},
        "callbacks": {"Checkpoints": {}},
        "optimizer_states": [{"state": moments, "param_groups": []}],
        "lr_schedulers": [{}],
    }


def test_a_checkpoint_with_every_field_can_be_resumed():
    check_resumable(resumable(), Path("last.ckpt"), torch.nn.Linear(2, 2), averaged=False)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda fields: fields.pop("loops"), "its field loops is missing"),
        (lambda fields: fields.update(callbacks="x"), "callbacks is of type str"),
        (lambda fields: fields["callbacks"].clear(), "its field Checkpoints is missing"),
        (lambda fields: fields["optimizer_states"].clear(), "not enough values"),
        (lambda fields: fields["optimizer_states"][0]["state"].clear(), "its optimizer has no state"),
        (lambda fields: fields["optimizer_states"][0]["state"][1].clear(), "its field exp_avg is missing"),
        (
            lambda fields: fields["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(3)),
            "its optimizer's moments of parameter 0 are not of shape",
        ),
    ],
)
def test_a_checkpoint_that_no_run_can_continue_from_is_called_damaged(damage, what):
    fields = resumable()
    damage(fields)

    with pytest.raises(CheckpointError, match=rf"last\.ckpt is damaged: .*{what}"):
        check_resumable(fields, Path("last.ckpt"), torch.nn.Linear(2, 2), averaged=False)


def test_a_checkpoint_without_the_average_cannot_be_resumed_with_one():
    with pytest.raises(CheckpointError, match="its field current_model_state is missing"):
        check_resumable(resumable(), Path("last.ckpt"), torch.nn.Linear(2, 2), averaged=True)


def test_a_missing_checkpoint_is_called_so(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"width": 6}, r"is \(6, .*\) in the model and \(4, .*\) in the weights"),
        ({"steps": 3}, "and nothing in the weights"),
        ({"steps": 1}, "is nothing in the model"),
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path, options, difference):
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint_of(small_flow(steps=2)), path)

    with pytest.raises(CheckpointError, match=rf"last\.ckpt is of another architecture: .*{difference}"):
        load_weights(small_flow(**{"steps": 2, **options}), path)
