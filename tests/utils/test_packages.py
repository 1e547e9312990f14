import pytest

from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with (
        pytest.raises(
            DataError, match=r"reading minds needs the package 'telepathy'.*pip install 'inverseflow\[train\]'"
        ),
        packages_for("reading minds"),
    ):
        import telepathy  # noqa: F401


def test_packages_that_are_there_are_let_through():
    with packages_for("counting"):
        import math
    assert math.pi > 3
