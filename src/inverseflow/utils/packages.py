"""Packages that only some data sets need."""

from collections.abc import Iterator
from contextlib import contextmanager

from inverseflow.errors import DataError


@contextmanager
def packages_for(purpose: str) -> Iterator[None]:
    """Turn the failure of an optional import into a sentence that says what to install.

    Args:
        purpose: what needs the packages imported inside the ``with`` block, as the subject of a sentence.

    Raises:
        DataError: a package imported inside the block is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise DataError(
            f"{purpose} needs the package {error.name!r}, which is not installed: pip install 'inverseflow[train]'"
        ) from error
