"""A list of modules of one type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

Item = TypeVar("Item", bound=nn.Module)


class TypedModuleList(nn.ModuleList, Generic[Item]):
    """A `torch.nn.ModuleList` that tells a type checker the type of its items."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Item]: ...

        def __getitem__(self, index: int) -> Item: ...  # type: ignore[override]

    def _get_name(self) -> str:
        return "ModuleList"
