"""The README's example of other packages runs."""

import re
from pathlib import Path

import pytest

for package in ("zuko", "sbi", "pyro"):
    pytest.importorskip(package, reason=f"{package} is not installed: make test-interop")


def test_the_example_of_the_readme_runs():
    (block,) = re.findall(r"^```py\n(.*?)^```$", Path("README.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
