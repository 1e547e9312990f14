"""Words for examples, their numbers, and likelihoods."""

from inverseflow.data import Examples, Images
from inverseflow.densities import Likelihood

IN_WORDS: dict[Likelihood, str] = {"exact": "exact", "bound": "upper bound", "estimate": "estimate"}
"""What a number of bits or nats is."""


def noun(examples: Examples) -> str:
    """Return what one of the examples is called."""
    if isinstance(examples, Images):
        return "image"
    return "segment" if len(examples.shape) == 2 else "example"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "test image"), counted(2, "step")
        ('1 test image', '2 steps')
    """
    return f"{number} {noun}{'s' * (number != 1)}"
