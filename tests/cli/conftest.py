"""Commands in tests: in this process, on a run as small as it can be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from inverseflow.cli.main import main

TINY = """
data: digits
max_steps: 6
batch_size: 16
validate_every: 3
checkpoint_every: 2
initialization_images: 64
evaluation_draws: 2
accelerator: cpu
model: {scales: 2, steps: 1, width: 8, spline_bins: 4}
optimizer: {warmup_steps: 2}
"""


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the settings of a tiny run."""
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="package")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run that has come to its end."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "digits", "--config", str(tiny), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: words to its exit code, what it printed, and what it complained about."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
