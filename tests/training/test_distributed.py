import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inverseflow.data import load_images
from inverseflow.training.loop.loader import StepBatches
from inverseflow.training.run import Run

pytestmark = pytest.mark.slow  # each run starts two processes that import Lightning

WORKER = Path(__file__).with_name("ddp_worker.py")


def two_processes(folder: Path, fails_on: int = -1) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(WORKER), str(folder), str(fails_on)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    done = two_processes(folder)
    assert done.returncode == 0, done.stderr
    assert "Grad strides" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def ranks(folder) -> list[dict]:
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


def test_both_processes_hold_the_same_weights_after_five_steps(ranks):
    first, second = (rank["weights"] for rank in ranks)

    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any("initialized" in name for name in first), "ActNorm's flag should be among them"


def test_the_processes_share_the_images_of_each_step(ranks):
    data = load_images("digits")
    batches = StepBatches(len(data.train), 32, seed=0)
    expected = torch.stack([data.train.__getitems__(batches.at(step)) for step in range(5)])  # (5, 32, ...)
    seen = torch.cat([rank["images"].unflatten(0, (5, 16)) for rank in ranks], dim=1)

    assert torch.equal(seen, expected)


def test_each_process_has_its_own_loss(ranks):
    assert ranks[0]["loss"] != ranks[1]["loss"]


def test_the_first_process_alone_leaves_a_whole_run(folder):
    run = Run(folder / "run")

    assert run.report.is_file() and run.samples.is_file() and run.best.is_file()


def test_a_loss_that_is_not_finite_on_one_process_stops_both_and_says_where(tmp_path):
    done = two_processes(tmp_path, fails_on=1)

    assert done.returncode != 0
    assert "NonFiniteError: the loss is not finite in step 2" in done.stderr
    assert "on rank 1" in done.stderr
