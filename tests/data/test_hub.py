import huggingface_hub
import pytest

from inverseflow.data.hub import fetch_from_hub
from inverseflow.errors import DataError


def test_the_parquet_files_of_the_data_set_are_fetched(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *names, **options: asked.append((names, options)) or str(tmp_path)
    )
    assert fetch_from_hub("somebody/something", remedy="") == tmp_path
    assert asked == [(("somebody/something",), {"repo_type": "dataset", "allow_patterns": ["*.parquet"]})]


def test_a_hub_out_of_reach_gives_the_remedy(monkeypatch):
    def unreachable(*names: object, **options: object) -> None:
        raise ConnectionError("no network.\nAnd much more.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DataError, match=r"a/b cannot be .* hub \(no network\): carry a disk over"):
        fetch_from_hub("a/b", remedy="carry a disk over")
