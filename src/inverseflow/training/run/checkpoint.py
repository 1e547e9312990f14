"""Read checkpoints, and load weights from them."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.errors import CheckpointError

_RESUME_FIELDS: dict[str, type] = {
    "pytorch-lightning_version": str,
    "epoch": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
_AVERAGE_FIELDS: dict[str, type] = {"current_model_state": dict, "averaging_state": dict}
_CALLBACK_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "Checkpoints": {"best_value": (float, NoneType), "best_step": (int, NoneType)},
    "Recorder": {"seconds": (float, int), "total": (float, int), "counted": (int,)},
}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU. Only plain data is read; no code is executed.

    Args:
        path: the file.

    Raises:
        CheckpointError: if the file cannot be read, is damaged or is not a checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # the file is damaged: that is enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason(error)}") from error
    except Exception as error:  # damaged bytes make the unpickler raise errors of any type
        raise CheckpointError(f"{path} is damaged: it is truncated, or is not a checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path} is damaged: it is not a checkpoint of a training run")
    weights, step = content["state_dict"], content.get("global_step")
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"{path} is damaged: its state_dict is not a mapping from names to tensors")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise CheckpointError(f"{path} is damaged: its global_step is {'missing' if step is None else repr(step)}")
    current = content.get("current_model_state")
    for name, value in [*weights.items(), *(current.items() if isinstance(current, dict) else ())]:
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise CheckpointError(f"{path} is damaged: {name} has values that are not finite")
    return content


def check_resumable(checkpoint: Mapping[str, Any], path: Path, flow: nn.Module, *, averaged: bool) -> None:
    """Check that a checkpoint has what a resumed run needs.

    Lightning itself continues without what is missing: with a fresh optimizer, say, on another trajectory.

    Args:
        checkpoint: as `read_checkpoint` returns it.
        path: its file, for the message.
        flow: the flow that it was saved with.
        averaged: whether training averages the weights.

    Raises:
        CheckpointError: if a field is missing or of another type. The message names it.
    """
    fields = _RESUME_FIELDS | (_AVERAGE_FIELDS if averaged else {})
    for name, kind in fields.items():
        _check_type(checkpoint, name, kind, path)
    for name, numbers in _CALLBACK_FIELDS.items():
        _check_type(checkpoint["callbacks"], name, dict, path)
        for number, kinds in numbers.items():
            _check_type(checkpoint["callbacks"][name], number, kinds, path)
    for name in ("optimizer_states", "lr_schedulers"):
        if len(checkpoint[name]) != 1 or not isinstance(checkpoint[name][0], dict):
            raise CheckpointError(f"{path} is damaged: its field {name} does not hold one mapping")
    _check_type(checkpoint["optimizer_states"][0], "state", dict, path)
    _check_type(checkpoint["optimizer_states"][0], "param_groups", list, path)
    _check_moments(checkpoint["optimizer_states"][0]["state"], flow, path)
    if averaged:
        check_architecture(flow, _without_prefix(checkpoint["current_model_state"]), path)
        _check_type(checkpoint["averaging_state"], "n_averaged", Tensor, path)


def _check_type(mapping: Mapping[str, Any], name: str, kind: type | tuple[type, ...], path: Path) -> None:
    if name not in mapping:
        raise CheckpointError(f"{path} is damaged: its field {name} is missing")
    value = mapping[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CheckpointError(f"{path} is damaged: its field {name} is of type {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CheckpointError(f"{path} is damaged: its field {name} is {value}")


def _check_moments(state: Mapping[Any, Any], flow: nn.Module, path: Path) -> None:
    if not state:
        raise CheckpointError(f"{path} is damaged: its optimizer has no state")
    shapes = dict(enumerate(parameter.shape for parameter in flow.parameters()))
    for number, moments in state.items():
        tensors = moments.values() if isinstance(moments, dict) else ()
        if number in shapes and not any(isinstance(value, Tensor) for value in tensors):
            raise CheckpointError(f"{path} is damaged: its optimizer has no moments of parameter {number}")
        for value in tensors:
            if number in shapes and isinstance(value, Tensor) and value.ndim and value.shape != shapes[number]:
                raise CheckpointError(
                    f"{path} is damaged: its optimizer has moments of shape {tuple(value.shape)} for parameter "
                    f"{number} of shape {tuple(shapes[number])}"
                )


def load_weights(flow: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint into a flow: the averaged ones if training averaged them.

    Args:
        flow: the flow.
        checkpoint: as `read_checkpoint` returns it.
        path: its file, for the message.

    Raises:
        CheckpointError: if the weights belong to another architecture.
    """
    weights = flow_weights(checkpoint)
    check_architecture(flow, weights, path)
    flow.load_state_dict(weights)


def flow_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the flow in a checkpoint by their names in the flow."""
    return _without_prefix(checkpoint["state_dict"])


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


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("flow."): value for name, value in weights.items()}


def reason(error: Exception) -> str:
    """Return what is wrong, in a few words."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split()).split(". ")[0]
