"""Read checkpoints, and load weights from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.errors import CheckpointError

_RESUME_FIELDS: dict[str, type] = {
    "epoch": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU. Only plain data is read; no code is executed.

    Args:
        path: the file.

    Raises:
        CheckpointError: if the file cannot be read, is damaged or is not a checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason(error)}") from error
    except Exception as error:  # the unpickler raises whatever a damaged byte leads to
        raise CheckpointError(f"{path} is damaged: it is truncated, or is not a checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path} is not a checkpoint of a training run")
    weights, step = content["state_dict"], content.get("global_step")
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"{path} is damaged: its state_dict is not a mapping from names to tensors")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise CheckpointError(f"{path} is damaged: its global_step is {'missing' if step is None else repr(step)}")
    for name, value in [*weights.items(), *content.get("current_model_state", {}).items()]:
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path} is damaged: {name} has values that are not finite")
    return content


def check_resumable(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint has the fields that a resumed run needs.

    Args:
        checkpoint: as `read_checkpoint` returns it.
        path: its file, for the message.

    Raises:
        CheckpointError: if a field is missing or of another type. The message names it.
    """
    for name, kind in _RESUME_FIELDS.items():
        if name not in checkpoint:
            raise CheckpointError(f"{path} is damaged: its field {name} is missing")
        if not isinstance(checkpoint[name], kind):
            raise CheckpointError(
                f"{path} is damaged: its field {name} is a {type(checkpoint[name]).__name__}, not a {kind.__name__}"
            )


def load_weights(flow: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint into a flow: the averaged ones if training averaged them.

    Args:
        flow: the flow.
        checkpoint: as `read_checkpoint` returns it.
        path: its file, for the message.

    Raises:
        CheckpointError: if the weights are those of another architecture.
    """
    weights = flow_weights(checkpoint)
    check_architecture(flow, weights, path)
    flow.load_state_dict(weights)


def flow_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the flow in a checkpoint by their names in the flow."""
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    return {name.removeprefix("flow."): value for name, value in weights.items()}


def check_architecture(flow: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Check that weights fit a flow.

    Args:
        flow: the flow.
        weights: tensors by their names in the flow.
        path: their file, for the message.

    Raises:
        CheckpointError: if they don't fit. The message names the first difference.
    """
    own = flow.state_dict()
    for name in [*own, *(name for name in weights if name not in own)]:
        if name not in weights:
            difference = f"it has no {name}"
        elif name not in own:
            difference = f"it has {name}, which the model does not have"
        elif own[name].shape != weights[name].shape:
            difference = f"{name} is {tuple(weights[name].shape)} in it and {tuple(own[name].shape)} in the model"
        else:
            continue
        raise CheckpointError(f"{path} is of another architecture: {difference}")


def reason(error: Exception) -> str:
    """Return what is wrong, in a few words."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split()).split(". ")[0]
