"""The ready-made flows by name: the part of `inverseflow.densities.registry` that is flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from inverseflow.densities import registry
from inverseflow.densities.registry import register
from inverseflow.flows.flow import Flow

__all__ = ["create", "flow_class", "names", "register"]


def names() -> list[str]:
    """Return the names of all registered flows."""
    return registry.names(Flow)


def flow_class(name: str) -> type[Flow]:
    """Return the class of a registered flow; errors as for `inverseflow.densities.density_class`."""
    return registry.density_class(name, Flow)


def create(name: str, event_shape: Sequence[int], **options: Any) -> Flow:
    """Build a registered flow; arguments and errors as for `inverseflow.densities.create`.

    Example:
        >>> create("glow", (1, 8, 8), levels=17, scales=1, steps=1, width=8).dims
        64
    """
    flow_class(name)  # refuses the name of another density
    return cast(Flow, registry.create(name, event_shape, **options))
