import sys
from pathlib import Path

import pytest

from inverseflow.errors import InverseFlowError, MissingPackageError
from inverseflow.utils.packages import OPTIONAL, packages_for


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    message = r"reading minds needs the package 'safetensors', .*: pip install 'inverseflow\[hub\]'"
    with pytest.raises(MissingPackageError, match=message) as caught, packages_for("reading minds"):
        import safetensors.torch  # noqa: F401
    assert isinstance(caught.value, InverseFlowError)
    assert isinstance(caught.value, ImportError)


def test_a_package_that_lacks_what_is_imported_is_not_called_missing():
    message = r"needs another version of the package 'safetensors' .*no_such_name.*: pip install 'inverseflow\[hub\]'"
    for missing in ("from safetensors import no_such_name", "import safetensors.no_such_name"):
        with pytest.raises(MissingPackageError, match=message), packages_for("reading minds"):
            exec(missing)


def test_a_failed_import_of_something_else_is_let_through():
    with pytest.raises(ModuleNotFoundError, match="telepathy"), packages_for("reading minds"):
        import telepathy  # noqa: F401


def test_every_optional_package_comes_with_the_extra_named_for_it():
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    for package in OPTIONAL.values():
        dependencies = pyproject.split(f"\n{package.extra} = [", 1)[1].split("]\n", 1)[0]
        assert f'"{package.name}' in dependencies
