"""Flows on disk: a JSON configuration and safetensors, never code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from inverseflow.errors import CheckpointError
from inverseflow.flows.registry import create, names
from inverseflow.utils.files import atomic_write
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from inverseflow.flows.flow import Flow

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FlowType = TypeVar("FlowType", bound="Flow")


def save(flow: Flow, folder: Path) -> None:
    """Write a registered flow's configuration and weights into a folder."""
    if flow.config is None:
        raise CheckpointError(
            f"{type(flow).__name__} is not a registered flow, so nothing could rebuild it; decorate its class with "
            "@inverseflow.flows.register(name), or save flow.state_dict() yourself"
        )
    safetensors = _safetensors()
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in flow.state_dict().items()}
    try:
        # Neither file is replaced before both are written.
        with atomic_write(folder / CONFIG) as config, atomic_write(folder / WEIGHTS) as weights:
            safetensors.torch.save_file(state, weights, metadata={"format": "pt"})
            config.write_text(json.dumps(flow.config, indent=2) + "\n", "utf-8")
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"can't write the model to {folder}: {error}; what was there before is whole") from error


def load(folder_or_hub_id: str | Path) -> Flow:
    """Rebuild a flow from its configuration and load its weights."""
    folder = _local(folder_or_hub_id)
    try:
        config = json.loads((folder / CONFIG).read_text())
        name, options = config["flow"], dict(config["options"])
        event_shape = tuple(options.pop("event_shape"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no {CONFIG}, so it is not a saved flow") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is damaged: {error!r}") from error
    if name not in names():
        raise CheckpointError(f"{folder / CONFIG} names the flow {name!r}; registered are {', '.join(names())}")
    try:
        flow = create(name, event_shape, **options)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG} can't be built by this version: {error}") from error
    safetensors = _safetensors()
    try:
        state = safetensors.torch.load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no {WEIGHTS}") from error
    except Exception as error:  # safetensors raises its own untyped error for a damaged file
        raise CheckpointError(f"{folder / WEIGHTS} is truncated or damaged: {error}") from error
    flow.to(next((tensor.dtype for tensor in state.values() if tensor.is_floating_point()), None))
    expected = flow.state_dict()
    for key in [*expected, *state]:
        wanted, found = (tuple(of[key].shape) if key in of else "nothing" for of in (expected, state))
        if wanted != found:
            raise CheckpointError(
                f"{folder / WEIGHTS} belongs to another architecture than {CONFIG}: "
                f"{key} is {wanted} in the configuration and {found} in the weights"
            )
    flow.load_state_dict(state)
    return flow


def checked(flow: Flow, cls: type[FlowType], source: str | Path) -> FlowType:
    """Return the flow if it is of the class that was asked for, else raise."""
    if not isinstance(flow, cls):
        raise CheckpointError(
            f"{source} holds a {type(flow).__name__}, not a {cls.__name__}; load it with {type(flow).__name__}"
        )
    return flow


def _local(folder_or_hub_id: str | Path) -> Path:
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    if isinstance(folder_or_hub_id, Path) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", folder_or_hub_id):
        raise CheckpointError(
            f"there is no folder {folder_or_hub_id}, and it is no hub id of the form owner/name either"
        )
    with packages_for("loading from the hub"):
        from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(folder_or_hub_id, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # the client raises errors of several libraries
        raise CheckpointError(
            f"there is no folder {folder_or_hub_id}, and the hub gave no such model: {error}"
        ) from error


def _safetensors() -> ModuleType:
    with packages_for("saving and loading flows"):
        import safetensors.torch
    return safetensors
