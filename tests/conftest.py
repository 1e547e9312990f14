"""What every test gets: a fixed seed, one thread, and the options --device and --dtype."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

THREADS = 1  # the tensors are small: on a busy machine a second thread makes each operation far slower
REPOSITORY = Path(__file__).parents[1]

collect_ignore_glob = ["*_worker.py"]  # scripts for processes of their own, which the search for doctests would import


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the tests that take one (default: cpu)")
    parser.addoption(
        "--dtype",
        default="float64",
        choices=("float32", "float64"),
        help="dtype of the tests that take one (default: float64)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background jobs, which tests of Ctrl-C are not
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # for the processes that tests start
    torch.set_num_threads(THREADS)
    try:
        torch.empty(0, device=config.getoption("--device"))
    except (RuntimeError, AssertionError) as error:
        raise pytest.UsageError(f"--device {config.getoption('--device')}: {error}") from error


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def validation() -> None:
    """Have distributions check their arguments, which importing zuko turns off for the whole process."""
    torch.distributions.Distribution.set_default_validate_args(True)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds the folder of a real data set ("mnist", "cifar10-jpeg"); where it is absent, skips the test that asks."""
    root = Path(os.environ.get("INVERSEFLOW_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no {name} data in {root}: name the folder that holds it in INVERSEFLOW_DATA")
        return root / name

    return find
