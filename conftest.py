"""Names that every docstring example may use."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

import inverseflow

# Modules whose examples need a package that `make test` does not install.
_NEEDS = {"freia": "FrEIA", "nflows": "nflows", "normflows": "normflows", "pyro": "pyro", "sbi": "sbi", "zuko": "zuko"}
collect_ignore = [f"src/inverseflow/interop/{name}.py" for name, package in _NEEDS.items() if not find_spec(package)]


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
