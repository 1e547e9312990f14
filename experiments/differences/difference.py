"""A point at which this library differs from a publication, and a chapter of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One point. Its texts are Markdown, with names of `figures` in braces where a figure stands."""

    title: str
    where: str
    """Section, algorithm, table or file of the publication."""
    published: str
    here: str
    why: str
    shown: tuple[str, ...]
    """What shows it: tests as pytest names them, or commands."""


@dataclass(frozen=True)
class Chapter:
    """The differences from one publication, or in one part of the library."""

    title: str
    about: str
    """Which publication, in a sentence."""
    differences: tuple[Difference, ...]
