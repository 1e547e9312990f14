"""The ready-made flows by name: the part of `inverseflow.densities.registry` that is flows."""

from collections.abc import Sequence
from typing import Any, cast

from inverseflow.densities import registry
from inverseflow.flows.flow import Flow


def names() -> list[str]:
    """Return the names of all registered flows."""
    return registry.names(Flow)


def flow_class(name: str) -> type[Flow]:
    """Return the class of a registered flow; errors as for `inverseflow.densities.density_class`."""
    return registry.density_class(name, Flow)


def create(name: str, event_shape: Sequence[int], **options: Any) -> Flow:
    """Build a registered flow; arguments and errors as for `inverseflow.densities.create`."""
    flow_class(name)  # refuses the name of another density
    return cast(Flow, registry.create(name, event_shape, **options))
