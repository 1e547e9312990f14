"""jsonargparse as we like to see it on a command line: hyphens, plain switches, one-line errors."""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import jsonargparse

from inverseflow.cli.command import Command, UsageError

__all__ = ["Command", "Parser", "UsageError"]


class Parser(jsonargparse.ArgumentParser):
    """A parser that shows options with hyphens and takes them with hyphens or underscores.

    A boolean option is a switch: `--name`, or `--no-name` to turn it off. Misuse raises `UsageError`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=_Formatter, **kwargs)

    def finish(self, short: Mapping[str, str]) -> None:
        """To be called when all options are there: gives them short names and readable placeholders.

        Args:
            short: Letters by the name of the option.
        """
        self.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
        for action in self._actions:
            if action.metavar == "CONFIG":  # jsonargparse reads a file for each group of options; one for all is enough
                action.help = argparse.SUPPRESS
            if "--config" in action.option_strings:
                action.metavar = "FILE"
            if "--print_config" in action.option_strings:
                action.metavar, action.help = "", "Print the settings and do nothing else."
            typehint = getattr(action, "_typehint", None)
            if typehint is not None:
                action.metavar = _placeholder(action, typehint)
            letter = short.get(action.dest)
            if letter is not None:
                action.option_strings = [f"-{letter}", *action.option_strings]
                self._option_string_actions[f"-{letter}"] = action

    def parse(self, argv: Sequence[str]) -> jsonargparse.Namespace:
        """Parses `argv`, whatever way the options are written in."""
        return self.parse_args(self._normalised(argv))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `UsageError` with `message` in one line."""
        text = re.sub(r"\s+", " ", message).strip()
        wrong = re.match(r'Parser key "([\w.]+)":.*(?:Given value|Got value): (.*)', text)
        action = next((action for action in self._actions if wrong and action.dest == wrong[1]), None)
        if wrong and action is not None:
            name = "--" + action.dest if action.option_strings else action.dest.upper()
            text = f"{name} takes {_expectation(action)}, not {wrong[2]}"
        text = re.sub(r"--[a-z][\w.]*", lambda match: match[0].replace("_", "-"), text)
        raise UsageError(f"{text} (see {self.prog} --help)") from ex

    def _normalised(self, argv: Sequence[str]) -> list[str]:
        switches = {action.dest for action in self._actions if getattr(action, "_typehint", None) is bool}
        words, configs, left = [], [], list(argv)
        while left:
            word = left.pop(0)
            name, equals, value = word.partition("=")
            if word.startswith("--"):
                name = "--" + name[2:].replace("-", "_")
            if name == "--config":
                configs.append(f"--config={value if equals else left.pop(0) if left else ''}")
            elif name[2:] in switches and not equals and (not left or left[0] not in ("true", "false")):
                words.append(f"{name}=true")
            elif name.startswith("--no_") and name[5:] in switches:
                words.append(f"--{name[5:]}=false")
            else:
                words.append(name + equals + value)
        return configs + words  # a file of settings is the ground that the other words stand on


class _Formatter(jsonargparse.DefaultHelpFormatter):
    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            prog, max_help_position=34, width=110, **{k: v for k, v in kwargs.items() if k == "indent"}
        )

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        default = action.default
        if isinstance(action, argparse._HelpAction):
            return "Show this help."
        silent = default is None or default is False or default is argparse.SUPPRESS or not action.option_strings
        return text if silent else f"{text} [%(default)s]"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            paragraph if "\n  " in paragraph else super(_Formatter, self)._fill_text(paragraph, width, indent)
            for paragraph in paragraphs
        )

    def _format_action_invocation(self, action: argparse.Action) -> str:
        with _shown(action):
            return super()._format_action_invocation(action)

    def _format_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None) -> str:
        positional = [action for action in actions if not action.option_strings]
        words = " ".join(self._format_args(action, action.dest.upper()) for action in positional)
        return f"usage: {self._prog} {words} [options]\n\n".replace("  ", " ")


class _shown:  # noqa: N801 (reads as a verb)
    """Gives an action, for a moment, the option strings that are shown."""

    def __init__(self, action: argparse.Action) -> None:
        self.action = action
        self.kept = action.option_strings

    def __enter__(self) -> None:
        self.action.option_strings = [name.replace("_", "-") for name in self.kept]

    def __exit__(self, *_: object) -> None:
        self.action.option_strings = self.kept


def _without_none(typehint: Any) -> Any:
    if get_origin(typehint) in (Union, types.UnionType):
        return next(part for part in get_args(typehint) if part is not type(None))
    return typehint


def _expectation(action: argparse.Action) -> str:
    """What the value of an option has to be, for an error."""
    typehint = _without_none(getattr(action, "_typehint", None))
    if get_origin(typehint) is Literal:
        return "one of " + ", ".join(map(str, get_args(typehint)))
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(typehint, "something else")


def _placeholder(action: argparse.Action, typehint: Any) -> str | None:
    """What stands for the value of an option in the help."""
    typehint = _without_none(typehint)
    if get_origin(typehint) is Literal:
        return "{" + ",".join(map(str, get_args(typehint))) + "}"
    if not action.option_strings:
        return action.dest.upper()
    return {int: "N", float: "X", bool: "", Path: "PATH", str: "NAME"}.get(typehint)
