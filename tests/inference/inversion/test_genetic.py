import pytest
import torch

from inverseflow.inference import invert
from inverseflow.inference.inversion.genetic import Genetic, from_bits, to_bits
from inverseflow.inference.inversion.search import Box, Search
from tests.inference.inversion.networks import mlp


@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("bits", [1, 8, 40])
def test_a_point_is_coded_to_half_a_cell(bits, gray):
    low, high = torch.tensor([-1.0, 2.0]).double(), torch.tensor([3.0, 2.5]).double()
    x = low + torch.rand(100, 2, dtype=torch.float64) * (high - low)
    code = to_bits(x, low, high, bits, gray=gray)
    assert code.shape == (100, 2 * bits)
    back = from_bits(code, low, high, gray=gray)
    half = (high - low) / (2**bits - 1) / 2
    assert ((back - x).abs() <= half * (1 + 1e-9) + 1e-15).all()
    assert torch.equal(to_bits(back, low, high, bits, gray=gray), code)


def test_neighbors_in_gray_code_differ_in_one_bit():
    low, high = torch.zeros(1).double(), torch.full((1,), 255.0).double()
    code = to_bits(torch.arange(256).double()[:, None], low, high, 8)
    assert torch.equal((code[1:] ^ code[:-1]).sum(1), torch.ones(255, dtype=torch.long))
    assert len(code.unique(dim=0)) == 256


@pytest.mark.parametrize("selection", ["tournament", "roulette"])
def test_the_best_individual_never_gets_worse(selection):
    box = Box(torch.full((3,), -1.0).double(), torch.ones(3).double(), seed=0)
    rule = Genetic(Search(box, 2, -1.0, 0), population=20, selection=selection)
    least = torch.full((2,), torch.inf).double()
    for _ in range(40):
        x = rule.propose()
        assert x.abs().max() <= 1
        rule.update(x, (x - 0.4).square().sum(1), torch.zeros_like(x))
        best = rule.state["errors"].amin(1)
        assert (best <= least).all()
        least = best
    assert least.max() < 0.01


@pytest.mark.parametrize("selection", ["tournament", "roulette"])
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 2), (8, 4)])
def test_a_network_is_inverted_to_a_hundredth(inputs, outputs, selection):
    network = mlp(inputs, 16, outputs)
    target = network(0.5 * torch.ones(1, inputs).double())[0]
    found = invert(network, target, method="genetic", box=(-1, 1), enough=1, selection=selection)
    assert found.converged and found.residuals[0] <= 1e-2
