"""The ready-made flows by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from inverseflow.flows.flow import Flow

_FLOWS: dict[str, type[Flow]] = {}
FlowClass = TypeVar("FlowClass", bound="type[Flow]")


def register(name: str) -> Callable[[FlowClass], FlowClass]:
    """Enter a flow into the registry and make it remember its constructor's arguments, so that it can be saved.

    The arguments have to be what JSON can hold: numbers, strings, booleans, None, and lists or tuples of them.

    Args:
        name: what `create`, saved configurations and the command line call the flow.

    Raises:
        ValueError: the name is taken.

    Example:
        >>> @register("normal")
        ... class Normal(Flow):
        ...     def __init__(self, event_shape):
        ...         super().__init__(ActNorm(event_shape[0]), event_shape)
        >>> create("normal", (3,)).config
        {'flow': 'normal', 'options': {'event_shape': (3,)}}
    """

    def enter(cls: FlowClass) -> FlowClass:
        if name in _FLOWS:
            raise ValueError(f"the name {name!r} already belongs to {_FLOWS[name].__name__}")
        original = cls.__init__
        signature = inspect.signature(original)

        @wraps(original)
        def remember(self: Flow, *args: Any, **kwargs: Any) -> None:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            original(self, *args, **kwargs)
            if type(self) is cls:
                self.config = {"flow": name, "options": dict(list(bound.arguments.items())[1:])}

        cls.__init__ = remember  # type: ignore[method-assign]
        _FLOWS[name] = cls
        return cls

    return enter


def names() -> list[str]:
    """Return the names of all registered flows.

    Example:
        >>> "inverse-flow" in names()
        True
    """
    return sorted(_FLOWS)


def create(name: str, event_shape: tuple[int, ...], **options: Any) -> Flow:
    """Build a registered flow.

    Args:
        name: one of `names`.
        event_shape: the shape of one datum, ``(C, H, W)`` for images.
        options: the flow's other arguments.

    Raises:
        ValueError: the name is unknown, or the flow has no such option.

    Example:
        >>> create("glow", (1, 8, 8), levels=17, scales=1, steps=1, width=8).dims
        64
    """
    cls = flow_class(name)
    known = inspect.signature(cls).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        own = ", ".join(option for option in known if option != "event_shape")
        raise ValueError(f"the flow {name!r} has no option {', '.join(unknown)}; it has {own}")
    build: Callable[..., Flow] = cls
    return build(event_shape, **options)


def flow_class(name: str) -> type[Flow]:
    """Return the class of a registered flow, or raise a ValueError that lists the names."""
    if name not in _FLOWS:
        raise ValueError(f"unknown flow {name!r}: choose one of {', '.join(names())}")
    return _FLOWS[name]
