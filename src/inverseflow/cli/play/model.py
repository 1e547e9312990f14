"""What the page to play with computes, here or as ONNX files in the browser."""

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverseflow.data import LabelCondition
from inverseflow.densities import export_onnx
from inverseflow.densities.export import Method
from inverseflow.errors import DataError, OptionError
from inverseflow.flows import Flow
from inverseflow.training.run.description import Description

METHODS: tuple[Method, ...] = ("encode", "decode", "log_prob_at_center")
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of onnxruntime-web that the page loads."""


class Player:
    """A flow of images as the page sees it.

    Args:
        flow: the flow, in evaluation mode.
        data: describes the images.
        runtime: folder of onnxruntime-web, None to compute by PyTorch.

    Raises:
        OptionError: if a file of onnxruntime-web is missing.
        MissingPackageError: if ONNX is not installed, and a runtime is given.
        NotImplementedError: if a layer of the flow has no ONNX form, and a runtime is given.
    """

    def __init__(self, flow: Flow, data: Description, *, runtime: Path | None = None) -> None:
        self.flow, self.data = flow, data
        self.runtime = None if runtime is None else _runtime(runtime)
        self.models: dict[str, bytes] = {}
        if self.runtime is not None:
            with tempfile.TemporaryDirectory() as folder:
                for method in METHODS:
                    export_onnx(flow.cpu(), path := Path(folder) / f"{method}.onnx", method)
                    self.models[method] = path.read_bytes()

    @property
    def computing(self) -> str:
        """Where figures are computed, in words."""
        where = next(self.flow.parameters()).device
        return f"PyTorch computes on {where}" if self.runtime is None else "the browser computes, by ONNX"

    @property
    def classes(self) -> list[str]:
        """Names of the classes, none of an unconditional flow."""
        return [*self.data.condition.classes] if isinstance(self.data.condition, LabelCondition) else []

    def description(self) -> dict[str, Any]:
        """Return what the page has to know."""
        return {
            "title": self.data.title,
            "shape": self.flow.event_shape,
            "levels": self.flow.levels,
            "classes": self.classes,
            "exact": self.flow.likelihood != "estimate",
            "onnx": self.runtime is not None,
            "computing": self.computing,
        }

    @torch.no_grad()
    def compute(self, method: str, values: Any, label: Any = None) -> list[float]:
        """Return what a method of the flow gives for one example.

        Args:
            method: one of `METHODS`.
            values: gray levels C·H·W, or a latent of as many numbers.
            label: number of the class, for a flow that has classes.

        Raises:
            OptionError: if there is no such method.
            DataError: if the values or the label don't fit.
        """
        if method not in METHODS:
            raise OptionError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
        x = self._levels(values) if method != "decode" else self._reals(values).reshape(1, -1)
        result: Tensor = getattr(self.flow, method)(x.to(next(self.flow.parameters()).device), self._context(label))
        return [float(value) for value in result.flatten()]

    def _reals(self, values: Any) -> Tensor:
        _, height, width = self.flow.event_shape
        size = self.flow.dims
        numbers = isinstance(values, list) and all(
            isinstance(value, (int, float)) and math.isfinite(value) for value in values
        )
        if not numbers:
            raise DataError("an example is a list of finite numbers")
        if len(values) != size:
            raise DataError(
                f"a drawing of {len(values)} numbers does not fit: the flow takes {width} × {height} pixels, "
                f"{size} numbers"
            )
        return torch.tensor(values, dtype=torch.float32)

    def _levels(self, values: Any) -> Tensor:
        levels = self.flow.levels or 0
        x = self._reals(values).reshape(1, *self.flow.event_shape)
        if bool((x != x.round()).any() or (x < 0).any() or (x >= levels).any()):
            raise DataError(f"the pixels of a drawing are whole numbers from 0 to {levels - 1}")
        return x.to(torch.uint8 if levels <= 256 else torch.int32)

    def _context(self, label: Any) -> Tensor | None:
        if not self.classes:
            return None
        if not isinstance(label, int) or not 0 <= label < len(self.classes):
            raise DataError(f"the label is the number of a class from 0 to {len(self.classes) - 1}, got {label!r}")
        return torch.eye(len(self.classes))[label : label + 1].to(next(self.flow.parameters()).device)


def _runtime(folder: Path) -> Path:
    """Return the folder that holds the files of onnxruntime-web."""
    for place in (folder, folder / "dist"):
        if all((place / name).is_file() for name in RUNTIME):
            return place
    raise OptionError(
        f"{folder} does not hold {', '.join(RUNTIME)}; `npm install onnxruntime-web` puts them into "
        "node_modules/onnxruntime-web"
    )
