"""Names that every docstring example may use."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

import inverseflow
from inverseflow.utils.packages import OPTIONAL

# Modules whose examples need a package that `make test` does not install.
collect_ignore = [
    f"src/inverseflow/interop/{name.lower()}.py"
    for name, package in OPTIONAL.items()
    if package.extra == "interop" and not find_spec(name)
]
if not (find_spec("rdkit") and find_spec("selfies")):
    collect_ignore.append("experiments/molecules/strings.py")


@pytest.fixture(autouse=True)
def _public_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, partial=partial)
    for floor in (
        inverseflow.ops,
        inverseflow.nets,
        inverseflow.distributions,
        inverseflow.bijections,
        inverseflow.densities,
        inverseflow.flows,
    ):
        doctest_namespace.update({name: getattr(floor, name) for name in floor.__all__})
    torch.manual_seed(0)
