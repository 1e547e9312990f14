"""Options of a command, made by argparse from the signature and the docstring of a function or a dataclass."""

from __future__ import annotations

import argparse
import inspect
import math
import re
import shutil
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from inverseflow.errors import UsageError

_MOST_CHOICES_IN_BRACES = 6  # longer lists of choices stand in the description, where lines wrap


class Parser(argparse.ArgumentParser):
    """argparse with a `UsageError` for each mistake, and with options made from a signature.

    Options have hyphens and may be written with underscores. `parse` returns only the options that were given.

    Args:
        prog: the words before the options.
        description: what the command does. Indented paragraphs are printed as they are.
        preset: maps the options before --help to the defaults that the help shows, by dotted name. Other options show
            the default of the signature.
    """

    def __init__(
        self,
        prog: str,
        description: str = "",
        preset: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda given: {},
    ) -> None:
        super().__init__(
            prog=prog,
            description=_wrapped(description),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
        )
        self._preset = preset
        self._described: list[tuple[argparse.Action, str, Any]] = []  # with its description and its default

    def add_signature(self, source: Callable[..., Any], short: Mapping[str, str] | None = None) -> None:
        """Add a positional word for each parameter without a default and an option for each other parameter.

        A parameter that is a dataclass adds the options `--parameter.field` of its fields.

        Args:
            source: a function or a dataclass, whose docstring describes the parameters.
            short: single letters by the name of the parameter.
        """
        words = [name for name, item in inspect.signature(source).parameters.items() if item.default is item.empty]
        self.usage = " ".join(["%(prog)s", *map(str.upper, words), "[options]"])
        self._add(source, short or {}, "")

    def add_help_and_debug(self) -> None:
        """Add --help and --debug."""
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="Show this help.")
        self.add_argument("--debug", action="store_true", help="Show the traceback of an error.")

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return the options that were given, nested by the dots in their names.

        Raises:
            UsageError: if an option is unknown, or its value is missing or of the wrong kind.
            SystemExit: after the help was printed.
        """
        return _nested(vars(self.parse_args([_hyphenated(word) for word in argv])))

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError`."""
        raise UsageError(f"{message} (see {self.prog} --help)")

    def describe_defaults(self, given: Mapping[str, Any]) -> None:
        """Append the defaults to the descriptions of the options."""
        preset = self._preset(given)
        for action, text, default in self._described:
            value = preset.get(action.dest, default)
            action.help = _escaped(text if value is None or value is False else f"{text} [{value}]")

    def _add(self, source: Callable[..., Any], short: Mapping[str, str], prefix: str) -> None:
        group = self.add_argument_group(prefix.rstrip("."), _summary(source)) if prefix else self
        types_of, texts = get_type_hints(source), _descriptions(source)
        for name, parameter in inspect.signature(source).parameters.items():
            kind, text = types_of[name], texts.get(name, "")
            if is_dataclass(kind):
                self._add(kind, {}, f"{prefix}{name}.")  # type: ignore[arg-type]
                continue
            value = Value(kind)
            if value.choices and value.metavar == "NAME":
                text += f" One of {', '.join(value.choices)}."
            if parameter.default is parameter.empty:
                group.add_argument(prefix + name, metavar=name.upper(), type=value, help=_escaped(text))
                continue
            flags = [f"-{short[name]}"] if name in short else []
            flags.append(f"--{prefix}{name}".replace("_", "-"))
            if prefix and name == "name":
                flags.append(f"--{prefix.rstrip('.')}")  # --model NAME
            how: dict[str, Any] = {"type": value, "metavar": value.metavar}
            if kind is bool:
                how = {"action": argparse.BooleanOptionalAction, "default": argparse.SUPPRESS}
            action = group.add_argument(*flags, dest=prefix + name, **how)
            self._described.append((action, text, parameter.default))


class _Help(argparse.Action):
    """Print the help with the defaults that follow from the words before --help."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> None:
        assert isinstance(parser, Parser)
        parser.describe_defaults(vars(namespace))
        parser.print_help()
        parser.exit()


class Value:
    """Converter from a word to a value of an annotated type.

    Args:
        kind: int, float, str, a Literal, or a class made from a path; or one of them or None.
    """

    def __init__(self, kind: Any) -> None:
        parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        self.optional = type(None) in parts
        self.kind = next(part for part in parts if part is not type(None))
        self.choices = [str(choice) for choice in get_args(self.kind)] if get_origin(self.kind) is Literal else []
        self.metavar = "NAME" if self.choices else {int: "N", float: "X", str: "NAME"}.get(self.kind, "PATH")
        if 0 < len(self.choices) <= _MOST_CHOICES_IN_BRACES:
            self.metavar = "{" + ",".join(self.choices) + "}"

    def __call__(self, word: str) -> Any:
        """Return the value that the word stands for.

        Raises:
            ArgumentTypeError: if it stands for none.
        """
        if self.optional and word == "null":
            return None
        try:
            return self._convert(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {self._expected()}, got {word!r}") from None

    def _convert(self, word: str) -> Any:
        if self.choices:
            return get_args(self.kind)[self.choices.index(word)]
        if self.kind in (int, str):
            return self.kind(word)
        if self.kind is float:
            if not math.isfinite(number := float(word)):
                raise ValueError
            return number
        if not word or "\0" in word:
            raise ValueError
        return self.kind(Path(word).expanduser())

    def _expected(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return {int: "a whole number", float: "a finite number"}.get(self.kind, "the name of a file or folder")


def _hyphenated(word: str) -> str:
    name, equals, value = word.partition("=")
    return (name.replace("_", "-") if name.startswith("--") else name) + equals + value


def option_words(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield nested settings as the words that say the same on the command line.

    >>> list(option_words({"max_steps": 3, "quiet": True, "model": {"width": None}}))
    ['--max_steps=3', '--quiet', '--model.width=null']
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from option_words(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"--{'' if value else 'no-'}{prefix}{name}"
        else:
            yield f"--{prefix}{name}={'null' if value is None else value}"


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for dest, value in flat.items():
        *groups, name = dest.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return nested


def _descriptions(source: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions in the section `Args:` of a docstring, by parameter."""
    section = (inspect.getdoc(source) or "").partition("\nArgs:\n")[2].split("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    return {name: _capitalized(" ".join(text.split())) for name, text in entries}


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def _escaped(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats it with the % operator


def _summary(source: Callable[..., Any]) -> str:
    return (inspect.getdoc(source) or "").partition("\n")[0]


def _wrapped(description: str) -> str:
    """Fill the paragraphs of a description to the width of the terminal, except those with indented lines."""
    width = shutil.get_terminal_size().columns - 2
    paragraphs = description.split("\n\n")
    return "\n\n".join(
        paragraph if "\n  " in paragraph else textwrap.fill(" ".join(paragraph.split()), max(width, 20))
        for paragraph in paragraphs
    )
