"""The ready-made flows by name: the part of `inverseflow.densities.registry` that is flows."""

from __future__ import annotations

from typing import Any

from inverseflow.densities import registry
from inverseflow.densities.registry import register
from inverseflow.flows.flow import Flow

__all__ = ["create", "flow_class", "names", "register"]


def names() -> list[str]:
    """Return the names of all registered flows.

    Example:
        >>> "inverse-flow" in names()
        True
    """
    return registry.names(Flow)


def flow_class(name: str) -> type[Flow]:
    """Return the class of a registered flow.

    Raises:
        ValueError: if the name is unknown; the message lists the names.
    """
    cls = registry.density_class(name) if name in registry.names() else None
    if cls is None or not issubclass(cls, Flow):
        raise ValueError(f"unknown flow {name!r}: choose one of {', '.join(names())}")
    return cls


def create(name: str, event_shape: tuple[int, ...], **options: Any) -> Flow:
    """Build a registered flow.

    Args:
        name: one of `names`.
        event_shape: the shape of one datum, ``(C, H, W)`` for images.
        options: the flow's other arguments.

    Raises:
        ValueError: if the name is unknown, or the flow has no such option.

    Example:
        >>> create("glow", (1, 8, 8), levels=17, scales=1, steps=1, width=8).dims
        64
    """
    flow_class(name)
    flow = registry.create(name, event_shape, **options)
    assert isinstance(flow, Flow)
    return flow
