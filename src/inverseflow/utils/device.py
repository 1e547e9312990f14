"""Choice of the device to compute on."""

import torch

from inverseflow.errors import OptionError


def find_device(name: str) -> torch.device:
    """Return the device called `name`, where "auto" means a GPU if there is one; raise OptionError if there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"cannot use the device {name!r}: {reason} (`inverseflow doctor` lists the devices)"
        ) from error
    return device
