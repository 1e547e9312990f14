"""What every command about a run begins with."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inverseflow.errors import OptionError
from inverseflow.training.run import Run

if TYPE_CHECKING:
    import torch

    from inverseflow.data import Images, ImageSplits
    from inverseflow.flows import Flow


def trained_flow(run: Run, device: str) -> Flow:
    """The flow of a run, ready to be used on a device.

    Args:
        run: The run.
        device: As `chosen_device` takes it.
    """
    from inverseflow.training.model import load_flow

    if run.exists and not run.model.is_dir() and run.best.is_file():
        print(f"inverseflow: {run.path} is not finished; this is its best checkpoint so far", file=sys.stderr)
    return load_flow(run).to(chosen_device(device)).eval()


def data_of(run: Run, data_dir: Path | None = None) -> ImageSplits:
    """The images of a run.

    Args:
        run: The run.
        data_dir: Where the data is now, if it has moved.
    """
    from inverseflow.training.model import load_data

    options = run.options()
    return load_data(options if data_dir is None else replace(options, data_dir=data_dir))


def some_of(images: Images, count: int, seed: int) -> torch.Tensor:
    """That many different images, chosen by the seed, (count, C, H, W)."""
    import torch

    if not 1 <= count <= len(images):
        raise OptionError(f"there are {len(images)} images; cannot take {count}")
    return images.__getitems__(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count])


def chosen_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one.

    Raises:
        OptionError: If there is no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(f"cannot use the device {name!r}: {str(error).splitlines()[0]}") from error
    return device
