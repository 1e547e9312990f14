"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with right-aligned columns of numbers.

    Example:
        >>> print(table(["shape", "ratio"], [["a", "0.5"]]))
        | shape | ratio |
        |---|--:|
        | a | 0.5 |
    """
    lines = list(rows)
    numbers = [all(cell.lstrip("*~")[:1] in "0123456789–" for cell in column) for column in zip(*lines, strict=True)]
    numbers[0] = False
    rule = "|" + "".join("--:|" if number else "---|" for number in numbers)
    return "\n".join([_line(head), rule, *map(_line, lines)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
