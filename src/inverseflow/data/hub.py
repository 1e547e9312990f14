"""Fetch data sets from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for


def fetch_from_hub(repository: str, remedy: str) -> Path:
    """Download the parquet files of a data set from the Hugging Face hub, or find them in its cache.

    Args:
        repository: the data set's name on the hub, such as ``"ylecun/mnist"``.
        remedy: what to do instead if the hub is out of reach, the end of an error message.

    Returns:
        The folder with the files, which lie in it as they do on the hub.

    Raises:
        DataError: if the hub is out of reach and the data set not in its cache.
    """
    with packages_for("fetching data from the Hugging Face hub"):
        import huggingface_hub
    try:
        folder = huggingface_hub.snapshot_download(repository, repo_type="dataset", allow_patterns=["*.parquet"])
    except Exception as error:  # the client raises the errors of several network libraries
        reason = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise DataError(f"{repository} cannot be fetched from the Hugging Face hub ({reason}): {remedy}") from error
    return Path(folder)
