"""Where data lies on this machine."""

import os
from pathlib import Path

from inverseflow.errors import DataError

DATA_VARIABLE = "INVERSEFLOW_DATA"
"""Environment variable naming the folder whose subfolders are data sets."""


def existing_folder(path: str | os.PathLike[str], called: str = "") -> Path:
    """Return ``path`` as a folder that is there.

    Raises:
        DataError: it is not there, or a file.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        raise DataError(f"{called}{folder} does not exist: give the folder that holds the data (--data-dir)")
    if not folder.is_dir():
        raise DataError(f"{called}{folder} is a file: give the folder that holds it (--data-dir)")
    return folder
