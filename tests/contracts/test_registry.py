import inspect

import pytest

from inverseflow import bijections, densities, flows
from inverseflow.bijections import Bijection
from inverseflow.densities import AutoregressiveDensity
from tests.contracts.registry import DENSITIES, FLOWS, LAYERS, ONE_OF_EACH_CLASS, each

PUBLIC_LAYERS = [
    member
    for member in map(bijections.__dict__.get, bijections.__all__)
    if inspect.isclass(member) and issubclass(member, Bijection) and not inspect.isabstract(member)
]


def test_every_public_layer_is_registered():
    assert set(PUBLIC_LAYERS) <= {type(case.build()) for case in LAYERS}


def test_every_flow_is_registered():
    assert set(map(flows.flow_class, flows.names())) <= {type(case.build()) for case in FLOWS}


def test_every_autoregressive_density_is_registered():
    classes = {densities.density_class(name) for name in densities.names(AutoregressiveDensity)}
    assert classes <= {type(case.build()) for case in DENSITIES}


@pytest.mark.parametrize("cases", [LAYERS, FLOWS, DENSITIES], ids=["layers", "flows", "densities"])
def test_no_two_cases_share_a_name(cases):
    assert len({case.name for case in cases}) == len(cases)


@each(ONE_OF_EACH_CLASS + FLOWS + DENSITIES)
def test_perturbing_leaves_no_parameter_at_zero(case):
    module = case.perturbed("cpu", None)
    assert all((parameter != 0).all() for parameter in module.parameters())
