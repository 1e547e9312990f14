"""Words for examples and their numbers."""

from inverseflow.data import Examples, Images


def noun(examples: Examples) -> str:
    """Return what one of the examples is called."""
    return "image" if isinstance(examples, Images) else "example"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "test image"), counted(2, "step")
        ('1 test image', '2 steps')
    """
    return f"{number} {noun}{'s' * (number != 1)}"
