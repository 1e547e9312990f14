"""A command of the command line: the function it runs and how its words are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inverseflow.cli.parser import Parser


@dataclass(frozen=True)
class Command:
    """One word after `inverseflow`."""

    function: Callable[..., None]
    """The function to run. Its signature and its docstring make the options and the help."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Single letters by the name of the parameter, such as ``{"output": "o"}``."""
    parse: Callable[[str, str, list[str]], dict[str, Any]] | None = None
    """From program name, description and words to the arguments of `function`, where the signature does not suffice."""
    prog: str | None = None
    """The program in the help, `inverseflow NAME` by default."""

    @property
    def name(self) -> str:
        """The word."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def arguments(self, argv: list[str]) -> dict[str, Any]:
        """Return the arguments of `function` that `argv` asks for.

        Raises:
            UsageError: if `argv` cannot be understood.
            SystemExit: after the help was printed.
        """
        prog = self.prog or f"inverseflow {self.name}"
        description = (inspect.getdoc(self.function) or "").split("\n\nArgs:")[0].split("\n\nRaises:")[0]
        if self.parse is not None:
            return self.parse(prog, description, argv)
        parser = Parser(prog, description)
        parser.add_signature(self.function, self.short)
        parser.add_help_and_debug()
        return {name: value for name, value in parser.parse(argv).items() if name != "debug"}
