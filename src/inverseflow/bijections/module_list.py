"""A list of modules that says of which type they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from torch import nn

Item = TypeVar("Item", bound=nn.Module)


class TypedModuleList(nn.ModuleList, Generic[Item]):
    """A `torch.nn.ModuleList` whose items have one type, which a type checker sees.

    Example:
        >>> layers: TypedModuleList[nn.Linear] = TypedModuleList([nn.Linear(2, 3)])
        >>> [layer.out_features for layer in layers]
        [3]
    """

    def __iter__(self) -> Iterator[Item]:
        """Return an iterator over the items."""
        return cast("Iterator[Item]", super().__iter__())

    if TYPE_CHECKING:

        def __getitem__(self, index: int) -> Item: ...  # type: ignore[override]

    def _get_name(self) -> str:
        return "ModuleList"
