"""Which layer of a model an error comes from."""

from __future__ import annotations

import traceback

from torch import nn

from inverseflow.bijections import Bijection


def failing_layer(error: BaseException, model: nn.Module) -> str:
    """Return the path in a model, and the class, of the innermost bijection that an error passed through.

    Args:
        error: as it was caught.
        model: whose paths are meant.

    Example:
        >>> from inverseflow.bijections import Compose, ExactConv2d
        >>> from inverseflow.errors import SingularError
        >>> model = Compose(ExactConv2d(1), ExactConv2d(1))
        >>> _ = next(model.parameters()).data.zero_()
        >>> try:
        ...     model.inverse(torch.ones(1, 1, 4, 4))
        ... except SingularError as error:
        ...     failing_layer(error, model)
        'layers.0 (ExactConv2d)'
    """
    passed = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    paths = {id(module): path for path, module in model.named_modules()}
    found = [module for module in passed if isinstance(module, Bijection) and id(module) in paths]
    return f"{paths[id(found[-1])]} ({type(found[-1]).__name__})" if found else type(model).__name__
