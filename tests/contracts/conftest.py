import pytest


@pytest.fixture(autouse=True, scope="module")
def small_tensors(one_thread: None) -> None:
    """All tests of this folder."""
