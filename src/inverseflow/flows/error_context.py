"""Say in which layer of a model an inversion failed."""

from __future__ import annotations

from torch import nn

from inverseflow.errors import LayerError


def name_failing_layer(error: LayerError, model: nn.Module) -> None:
    """Put the path and the class of the layer that failed in front of an error's message.

    Args:
        error: the error, which every `Bijection` that it passes marks with the innermost one.
        model: the model whose paths are meant.

    Example:
        >>> from inverseflow.bijections import Compose, ExactConv2d
        >>> from inverseflow.errors import SingularError
        >>> model = Compose(ExactConv2d(1), ExactConv2d(1))
        >>> _ = next(model.parameters()).data.zero_()
        >>> try:
        ...     model.inverse(torch.ones(1, 1, 4, 4))
        ... except SingularError as error:
        ...     name_failing_layer(error, model)
        ...     print(error)
        layers.0 (ExactConv2d): 1 of 1 matrices of size 16 are singular, ...
    """
    paths = {module: path for path, module in model.named_modules()}
    path = paths.get(error.layer)
    place = type(model).__name__ if not path else f"{path} ({type(error.layer).__name__})"
    error.args = (f"{place}: {error}", *error.args[1:])
