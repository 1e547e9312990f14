"""An inverse that fails says in which layer of the model."""

import pytest
import torch

from inverseflow import flows
from inverseflow.bijections import (
    ActNorm,
    Bijection,
    Compose,
    Conv1x1,
    ExactConv2d,
    MemoryEfficientWoodbury,
    MintNet,
    Woodbury,
)
from inverseflow.errors import ConvergenceError, SingularError
from inverseflow.flows import Flow


def test_a_singular_layer_is_named_with_its_path():
    flow = flows.create("planar", (1, 8, 8), layer="exact", scales=1, steps=2)
    path, layer = next((name, m) for name, m in reversed(list(flow.named_modules())) if isinstance(m, ExactConv2d))
    with torch.no_grad():
        layer.weight.zero_()
    with pytest.raises(SingularError, match=rf"^{path} \(ExactConv2d\): 1 of 1 matrices of size 64 are singular"):
        flow.sample(2)
    with pytest.raises(ValueError, match="singular"):  # what it was before it had a name of its own
        flow.decode(torch.zeros(1, 64))


@pytest.mark.parametrize(
    ("name", "options", "layer", "parameter"),
    [
        ("woodbury", {}, Woodbury, "left"),
        ("image", {"layer": "memory-efficient-woodbury"}, MemoryEfficientWoodbury, "left"),
        ("glow", {"conv1x1": "dense"}, Conv1x1, "weight"),
    ],
)
def test_a_singular_matrix_across_channels_is_named_too(name, options, layer, parameter):
    flow = flows.create(name, (1, 4, 4), scales=1, steps=2, width=4, **options)
    path, first = next((path, module) for path, module in flow.named_modules() if isinstance(module, layer))
    with torch.no_grad():
        for weight_path, weight in first.named_parameters():
            if weight_path.endswith(parameter):
                weight.zero_()
            if weight_path.endswith("right"):
                weight.zero_()
            if weight_path.endswith("updates.0.left"):  # I + V U = 0 of one vector
                weight[0, 0] = -1
            if weight_path.endswith("updates.0.right"):
                weight[0, 0] = 1
    with pytest.raises(SingularError, match=rf"^{path} \({layer.__name__}\): 1 of 1 matrices of size \d+ are singular"):
        flow.sample(2)


def test_an_iteration_that_does_not_converge_is_named_with_its_path():
    flow = Flow(Compose(ActNorm(1), Compose(MintNet(1, size=(6, 6)), ActNorm(1))), (1, 6, 6))
    flow.initialize(torch.randn(8, 1, 6, 6))
    path = next(name for name, m in flow.named_modules() if isinstance(m, MintNet))
    with pytest.raises(ConvergenceError, match=rf"^{path} \(MintNet\): "):
        flow.decode(torch.full((1, 36), torch.nan))


def test_an_error_from_elsewhere_names_the_model(monkeypatch):
    def fail(*_):
        raise SingularError("from elsewhere")

    flow = Flow(ActNorm(1), (1,))
    monkeypatch.setattr(flow.bijection, "inverse", fail)
    with pytest.raises(SingularError, match="^Flow: from elsewhere$"):
        flow.sample(1)


class UnsolvedError(ConvergenceError):
    """An error of a user's own."""

    def __init__(self, residual, iterations):
        super().__init__(f"residual {residual} after {iterations}")
        self.residual = residual


class Stubborn(Bijection):
    """A layer of a user's own."""

    def _forward(self, x, context):
        return x, 0

    def _inverse(self, z, context):
        raise UnsolvedError(0.5, 3)


def test_an_error_of_another_making_keeps_its_type_and_what_it_carries():
    with pytest.raises(UnsolvedError, match=r"^bijection\.layers\.0 \(Stubborn\): residual 0\.5 after 3$") as raised:
        Flow(Compose(Stubborn()), (1, 4, 4)).sample(2)
    assert raised.value.residual == 0.5
