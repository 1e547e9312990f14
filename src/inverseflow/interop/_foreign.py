"""The one adapter for transforms of other packages."""

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.bijections import Bijection, Shape
from inverseflow.bijections.base import Direction


class Foreign(Bijection):
    """Base class of bijections that hold a transform of another package.

    A subclass writes `_forward` and `_inverse`. This class finds the shape of a latent by passing two events through a
    copy of the transform. So a transform that does not fit is refused when a model is built, and layers that initialize
    themselves from their first batch still wait for it.

    Args:
        transform: the transform; its parameters are shared if it is a `torch.nn.Module`.
        kind: the class that the transform must have.
        context_channels: length K of the context that the transform takes, None if it takes none.

    Raises:
        TypeError: if the transform is of another class.
        ValueError: if the transform does not take the events or the context that reach it.
    """

    def __init__(self, transform: Any, kind: Any, context_channels: int | None = None) -> None:
        super().__init__(context_channels=context_channels)
        check_kind("transform", transform, kind)
        self.transform = transform
        self._shapes: dict[tuple[str, Shape], Shape] = {}

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the latent of an event, or raise if the transform can't take it."""
        return self._shape_after("_forward", shape)

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape of the event whose latent has this shape, or raise if the transform can't take it."""
        return self._shape_after("_inverse", shape)

    def _typical_parameter(self) -> Tensor | None:
        return largest_parameter(self)

    def _run(self, direction: Direction, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return super()._run(direction, x, None if self.context_channels is None else context)

    def _shape_after(self, direction: str, shape: Shape) -> Shape:
        key = direction, shape
        if key not in self._shapes:
            self._shapes[key] = self._find_shape(direction, shape)
        return self._shapes[key]

    def _find_shape(self, direction: str, shape: Shape) -> Shape:
        channels = self.context_channels
        contexts: tuple[Shape | None, ...] = (None,)
        if channels is not None:  # one context for all pixels, or one for each
            contexts = ((channels,), (channels, *shape[1:]))[: len(shape)]
        errors = []
        for context in contexts:
            try:
                return self._try(direction, shape, context)
            except Exception as error:  # each package has errors of its own
                errors.append(error)
        raise ValueError(
            f"{type(self.transform).__name__} can't take an event of shape {shape} "
            f"and {'no context' if channels is None else f'{channels} context channels'} ({first_line(errors[0])}); "
            "give the shape that it is built for, and context_channels if it needs a context"
        ) from errors[0]

    @torch.no_grad()
    def _try(self, direction: str, shape: Shape, context: Shape | None) -> Shape:
        """Pass two events through a copy, and back if it has both directions; return the shape of the result."""
        trial = copy.deepcopy(self).eval()
        like = like_parameters(trial)
        x = like.new_full((2, *shape), 0.5)  # inside the domain of logarithms, logits and splines
        contexts = None if context is None else like.new_full((2, *context), 0.5)
        z, _ = trial._run(getattr(trial, direction), x, contexts)
        result = tuple(z.shape[1:])
        opposite = "_inverse" if direction == "_forward" else "_forward"
        with suppress(Exception):  # some have one direction; and once used, some can't be copied again
            self._shapes[opposite, result] = tuple(trial._run(getattr(trial, opposite), z, contexts)[0].shape[1:])
        return result


def check_kind(name: str, value: Any, kind: type) -> None:
    """Raise TypeError unless a value has a class."""
    if not isinstance(value, kind):
        wanted = f"an object of the class {kind.__name__} of {kind.__module__.partition('.')[0]}"
        got = f"the class {value.__name__} itself" if isinstance(value, type) else f"one of {type(value).__name__}"
        raise TypeError(f"the {name} must be {wanted}, got {got}")


def first_line(error: Exception) -> str:
    """Return class and message of an error, in one line."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def largest_parameter(source: Any) -> Tensor | None:
    """Return the largest parameter of a module, which has the dtype of its data; small ones may have another."""
    tensors = [*source.parameters(), *source.buffers()] if isinstance(source, nn.Module) else []
    return max(filter(torch.is_floating_point, tensors), key=Tensor.numel, default=None)


def like_parameters(source: Any) -> Tensor:
    """Return a tensor with the dtype and the device that the data of a module have, or the default ones."""
    largest = largest_parameter(source)
    return torch.empty(()) if largest is None else largest.detach()
