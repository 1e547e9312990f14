"""Densities on disk: a JSON configuration and safetensors, never code."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inverseflow.densities.density import Density, DensityT
from inverseflow.densities.registry import create
from inverseflow.errors import CheckpointError
from inverseflow.utils.files import atomic_write
from inverseflow.utils.packages import packages_for

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHIPPED = ("digits",)
"""Models in the package, each a folder of ``shipped/`` with a model card."""


def save(density: Density, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, or leave what was there; needs the extra ``inverseflow[hub]``.

    Args:
        density: a density of a registered class.
        folder: the folder, made if it does not exist; ``~`` is the home folder.

    Raises:
        CheckpointError: if the density is not a registered one, or the files can't be written.
    """
    folder = Path(folder).expanduser()
    if density.config is None:
        raise CheckpointError(
            f"{type(density).__name__} is not a registered density, so nothing could rebuild it; decorate its class "
            "with @inverseflow.densities.register(name), or save its state_dict() yourself"
        )
    safetensors = _safetensors()
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in density.state_dict().items()}
    try:
        text = json.dumps(density.config, indent=2) + "\n"
    except TypeError as error:
        raise CheckpointError(f"the options of {type(density).__name__} can't be saved as JSON: {error}") from error
    try:
        with atomic_write(folder / CONFIG) as config, atomic_write(folder / WEIGHTS) as weights:
            config.write_text(text, "utf-8")
            # One entry only: safetensors writes several in random order, and equal models are to be equal files.
            safetensors.torch.save_file(state, weights, metadata={"event_shape": json.dumps(density.event_shape)})
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"can't write the model to {folder}: {error}; what was there before is whole") from error


def load(folder_or_hub_id: str | Path, kind: type[DensityT]) -> DensityT:
    """Rebuild a density from its configuration and load its weights, without running code from the files.

    Building stops once the configuration asks for clearly more than the weights hold: a small file can't fill memory.

    Args:
        folder_or_hub_id: a folder, the name of a model in the package (``"digits"``), or ``owner/name`` on the Hugging
            Face hub.
        kind: the class that is asked for.

    Raises:
        CheckpointError: if files are missing, damaged, contradict each other, hold a value that is not finite, or
            belong to another kind of density.
    """
    folder = _local(folder_or_hub_id)
    name, event_shape, options = _read_config(folder / CONFIG)
    state, saved_event_shape = _read_weights(folder / WEIGHTS)
    try:
        with _NoLargerThan(state, folder / WEIGHTS):
            density = create(name, event_shape, **options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{folder / CONFIG} can't be built by this version: {error}") from error
    if not isinstance(density, kind):
        found = type(density).__name__
        raise CheckpointError(f"{folder_or_hub_id} holds a {found}, not a {kind.__name__}; load it with {found}")
    # An event shape need not show in the shapes of the weights.
    if saved_event_shape not in (None, json.dumps(density.event_shape)):
        raise CheckpointError(
            f"{folder / WEIGHTS} belongs to another architecture than {CONFIG}: it was saved for event_shape "
            f"{saved_event_shape}, not {json.dumps(density.event_shape)}"
        )
    if difference := shape_difference(density, state):
        raise CheckpointError(f"{folder / WEIGHTS} belongs to another architecture than {CONFIG}: {difference}")
    density.to(_common_dtype(state, folder / WEIGHTS))
    density.load_state_dict(state)
    return density


def _read_config(path: Path) -> tuple[str, tuple[int, ...], dict[str, Any]]:
    try:
        config = json.loads(path.read_text("utf-8"))
        name, options = config["density"], dict(config["options"])
        event_shape = tuple(options.pop("event_shape"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} holds no {CONFIG}, so it is not a saved model") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    return name, event_shape, options


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Return the weights, and as JSON the event shape that they were saved for, None if the file does not hold it."""
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
            event_shape = (file.metadata() or {}).get("event_shape")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} holds no {WEIGHTS}") from error
    except Exception as error:  # safetensors raises its own untyped error for a damaged file
        raise CheckpointError(f"{path} is truncated or damaged: {error}") from error
    for key, tensor in state.items():
        if broken := int((~tensor.isfinite()).sum()):
            count = f"{broken} of {tensor.numel()}"
            raise CheckpointError(f"{path} is not a usable model: {count} values of {key} are not finite")
    return state, event_shape


def _common_dtype(state: dict[str, Tensor], path: Path) -> torch.dtype | None:
    """Return the dtype of all floating-point weights, None if there are none."""
    dtypes = {tensor.dtype: key for key, tensor in state.items() if tensor.is_floating_point()}
    if len(dtypes) > 1:
        (first, key), (second, other), *_ = dtypes.items()
        raise CheckpointError(f"{path} mixes dtypes: {key} is {first} and {other} is {second}; save it in one of them")
    return next(iter(dtypes), None)


class _NoLargerThan(TorchFunctionMode):
    """Stop building a density in this thread once its tensors are clearly more or larger than the weights."""

    def __init__(self, state: dict[str, Tensor], path: Path) -> None:
        super().__init__()
        self.path = path
        # A layer may make a parameter several times, to compute its first value.
        self.left = 2**22 + sum(16 * (tensor.numel() + _TENSOR) for tensor in state.values())

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            size = args[0] if args and isinstance(args[0], (tuple, list)) else args
            self.left -= _TENSOR + math.prod(side for side in kwargs.get("size", size) if isinstance(side, int))
            if func is torch.eye and len(args) == 1:
                self.left -= args[0] ** 2
            if self.left < 0:
                raise CheckpointError(
                    f"{self.path} belongs to another architecture than {CONFIG}, which asks for more or larger tensors"
                )
        return func(*args, **kwargs)


_TENSOR = 4096  # elements that even the smallest tensor counts for, so that a billion of them are too many
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.randperm}


def shape_difference(model: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """Describe the first tensor that differs in shape or is on one side only; return None if there is none."""
    expected, found = ({key: tuple(value.shape) for key, value in of.items()} for of in (model.state_dict(), weights))
    for key in [*expected, *found]:
        own, given = expected.get(key, "nothing"), found.get(key, "nothing")
        if own != given:
            return f"{key} is {own} in the model and {given} in the weights"
    return None


def _local(folder_or_hub_id: str | Path) -> Path:
    folder = Path(folder_or_hub_id).expanduser()
    if folder.is_dir():
        return folder
    if folder_or_hub_id in SHIPPED:
        return Path(__file__).with_name("shipped") / str(folder_or_hub_id)
    if isinstance(folder_or_hub_id, Path) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", folder_or_hub_id):
        raise CheckpointError(
            f"there is no folder {folder}, it is no model of the package ({', '.join(SHIPPED)}), "
            "and no hub id of the form owner/name either"
        )
    with packages_for("loading models from the hub"):
        from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(folder_or_hub_id, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # the client raises errors of several libraries
        raise CheckpointError(f"there is no folder {folder}, and the hub gave no such model: {error}") from error


def _safetensors() -> ModuleType:
    with packages_for("saving and loading models"):
        import safetensors.torch
    return safetensors
