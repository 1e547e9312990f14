import inspect

import pytest

from inverseflow import bijections, flows
from inverseflow.bijections import Bijection
from tests.contracts.registry import FLOWS, LAYERS, Case

PUBLIC_LAYERS = [
    member
    for member in map(bijections.__dict__.get, bijections.__all__)
    if inspect.isclass(member) and issubclass(member, Bijection) and not inspect.isabstract(member)
]


@pytest.mark.parametrize("layer", PUBLIC_LAYERS)
def test_every_public_layer_is_registered(layer):
    assert any(type(case.build()) is layer for case in LAYERS)


@pytest.mark.parametrize("name", flows.names())
def test_every_flow_is_registered(name):
    assert any(type(case.build()) is flows.flow_class(name) for case in FLOWS)


@pytest.mark.parametrize("cases", [LAYERS, FLOWS], ids=["layers", "flows"])
def test_no_two_cases_share_a_name(cases):
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize(
    "case", [case for case in LAYERS + FLOWS if isinstance(case, Case)], ids=lambda case: case.name
)
def test_perturbing_leaves_no_parameter_at_zero(case):
    module = case.perturbed("cpu", None)
    assert all((parameter != 0).all() for parameter in module.parameters())
