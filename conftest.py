"""Names that every docstring example may use."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import inverseflow


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
