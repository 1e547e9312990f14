"""A command of the command line: what it does, and how its words are read. Imports nothing that is not always there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inverseflow.errors import InverseFlowError

if TYPE_CHECKING:
    from inverseflow.cli.parser import Parser


class UsageError(InverseFlowError):
    """The command line cannot be understood."""


@dataclass(frozen=True)
class Command:
    """One word after `inverseflow`."""

    function: Callable[..., None]
    """What it does. Its parameters and its docstring make the options and the help."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Parameters that have a short name, such as ``{"output": "o"}``."""
    parse: Callable[[Parser, list[str]], dict[str, Any]] | None = None
    """From the command line to the arguments of `function`, where that is more than reading them off."""

    @property
    def name(self) -> str:
        """The word."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]

    def arguments(self, argv: list[str]) -> dict[str, Any]:
        """The arguments of `function` that `argv` asks for.

        Raises:
            UsageError: If it cannot be understood.
            SystemExit: After the help was printed.
        """
        if not argv and not inspect.signature(self.function).parameters:
            return {}  # nothing to parse, so this works without a parser, too
        from inverseflow.cli.parser import Parser

        description = (inspect.getdoc(self.function) or "").split("\n\nArgs:")[0].split("\n\nRaises:")[0]
        parser = Parser(prog=f"inverseflow {self.name}", description=description)
        if self.parse is not None:
            return self.parse(parser, argv)
        parser.add_function_arguments(self.function, as_group=False, as_positional=True)
        parser.finish(self.short)
        arguments = vars(parser.instantiate(parser.parse(argv)))
        return {name: value for name, value in arguments.items() if name != "debug"}
