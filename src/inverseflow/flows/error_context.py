"""Say in which layer of a model an inversion failed."""

from __future__ import annotations

from torch import nn

from inverseflow.errors import LayerError


def name_failing_layer(error: LayerError, model: nn.Module) -> None:
    """Put the path and the class of the layer that failed, which a `LayerError` carries, in front of its message."""
    paths = {module: path for path, module in model.named_modules()}
    path = paths.get(error.layer)  # the innermost bijection that the error passed
    place = type(model).__name__ if not path else f"{path} ({type(error.layer).__name__})"
    error.args = (f"{place}: {error}", *error.args[1:])
