import subprocess
import sys

import pytest

from inverseflow import interop
from inverseflow.utils.packages import OPTIONAL

PACKAGES = sorted(name for name, package in OPTIONAL.items() if package.extra == "interop")


def run(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_importing_the_room_imports_no_package():
    assert run(f"import sys, inverseflow.interop; print(sys.modules.keys() & {set(PACKAGES)!r})") == "set()\n"


def test_an_absent_package_is_named_with_the_command_that_installs_it():
    code = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {PACKAGES!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from inverseflow import interop
interop.torch.as_bijection
for name in {sorted(package.lower() for package in PACKAGES)!r}:
    try:
        getattr(interop, name)
    except ImportError as error:
        print(error)
"""
    assert run(code).splitlines() == [
        f"inverseflow.interop.{package.lower()} needs the package {OPTIONAL[package].name!r}, "
        "which is not installed: pip install 'inverseflow[interop]'"
        for package in sorted(PACKAGES, key=str.lower)
    ]


def test_every_package_of_the_extra_has_its_module():
    assert set(interop.__all__) == {package.lower() for package in PACKAGES} | {"torch"}
    with pytest.raises(AttributeError, match="no attribute 'jax'; it has freia, nflows"):
        interop.jax  # noqa: B018
