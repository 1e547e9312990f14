"""Where experiments find data sets that `inverseflow train` has no name for."""

from __future__ import annotations

import os
from pathlib import Path

from inverseflow.errors import DataError


def data_folder(name: str, data_dir: Path | None) -> Path:
    """Return the folder of a data set.

    Args:
        name: the name of the folder.
        data_dir: the folder itself, or the one that holds it; None for ``$INVERSEFLOW_DATA``.

    Raises:
        DataError: if there is none.
    """
    root = Path(os.environ.get("INVERSEFLOW_DATA", ".")) if data_dir is None else data_dir
    for folder in (root / name, root):
        if folder.name == name and folder.is_dir():
            return folder
    raise DataError(
        f"there is no folder {root / name}: give the one that holds {name}/ (--data-dir, $INVERSEFLOW_DATA)"
    )
