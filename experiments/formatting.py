"""Formatting of numbers in tables."""

from __future__ import annotations

import math
import statistics


def milliseconds(value: float) -> str:
    """Format a time with three digits and at most three decimals.

    Example:
        >>> milliseconds(0.1234), milliseconds(12.34), milliseconds(1234.5)
        ('0.123', '12.3', '1234')
    """
    return f"{value:.{max(0, 2 - max(-1, math.floor(math.log10(max(value, 1e-6)))))}f}"


def mean_and_deviation(values: list[float], digits: int) -> str:
    """Format the mean over seeds, with the standard deviation if there are several.

    Example:
        >>> mean_and_deviation([1.0, 3.0], 2), mean_and_deviation([1.0], 2)
        ('2.00 ± 1.41', '1.00')
    """
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
