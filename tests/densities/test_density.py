"""The contract of a density that is no flow: its registry, files, bits and view as a distribution."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from inverseflow import Density, densities, flows
from inverseflow.densities import registry as registry_module
from inverseflow.errors import CheckpointError


class Coins(Density):
    """Independent coins, each with a probability of its own."""

    def __init__(self, event_shape):
        super().__init__(event_shape, levels=2)
        self.logits = nn.Parameter(torch.zeros(self.event_shape))

    def log_prob(self, x, context=None):
        self._check_batch(x, self.event_shape)
        return torch.distributions.Bernoulli(logits=self.logits).log_prob(x.to(self.logits.dtype)).flatten(1).sum(1)

    @torch.no_grad()
    def sample(self, n, context=None, *, temperature=1.0, generator=None):
        uniform = torch.rand(n, *self.event_shape, generator=generator)
        return (uniform < self.logits.sigmoid()).to(torch.uint8)


@pytest.fixture
def coins(monkeypatch):
    monkeypatch.setattr(registry_module, "_DENSITIES", dict(registry_module._DENSITIES))
    return densities.register("coins")(Coins)


def test_a_density_has_bits_and_is_called_for_its_likelihood():
    model, x = Coins((3, 2)), torch.zeros(4, 3, 2, dtype=torch.uint8)
    assert model.dims == 6
    torch.testing.assert_close(model.bits_per_dim(x), torch.ones(4))
    assert torch.equal(model(x), model.log_prob(x))


def test_a_density_without_an_inverse_is_built_by_name_saved_and_loaded(coins, tmp_path):
    model = densities.create("coins", (3, 2))
    nn.init.normal_(model.logits)
    densities.save(model, tmp_path / "m")
    loaded = densities.load(tmp_path / "m", Density)
    assert type(loaded) is coins
    assert torch.equal(loaded.logits, model.logits)
    with pytest.raises(CheckpointError, match="holds a Coins, not a Flow; load it with Coins"):
        flows.Flow.from_pretrained(tmp_path / "m")


def test_only_flows_are_built_by_the_name_of_a_flow(coins):
    assert "coins" in densities.names()
    assert "coins" not in flows.names()
    assert "glow" in densities.names()
    with pytest.raises(ValueError, match="'coins' is no flow but another density: build it by densities.create"):
        flows.create("coins", (3, 2))


def test_a_density_without_an_inverse_is_a_distribution():
    p = densities.DensityDistribution(Coins((3,)))
    x = p.sample((5, 2))
    assert p.log_prob(x).shape == (5, 2)
    assert p.support.check(x).all()
    torch.testing.assert_close(p.log_prob(x), torch.full((5, 2), -3 * math.log(2)))
    with pytest.raises(NotImplementedError, match="carry no gradient"):
        p.rsample()


def test_initialization_of_a_density_without_parameters_from_data_does_nothing():
    Coins((3,)).initialize(torch.zeros(2, 3))


@pytest.mark.parametrize("shape", [[3, 2], torch.Size([3, 2]), np.array([3, 2]), (np.int8(3), torch.tensor(2))])
def test_any_sequence_of_whole_numbers_is_an_event_shape(shape):
    event_shape = Coins(shape).event_shape
    assert event_shape == (3, 2)
    assert set(map(type, event_shape)) == {int}


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((), ValueError, "at least one size"),
        ((3, 0), ValueError, r"each at least 1, got \(3, 0\)"),
        ((-1,), ValueError, "each at least 1"),
        ((2.0,), TypeError, "must be a whole number, got 2.0"),
        ((True,), TypeError, "must be a whole number, got True"),
        ("12", TypeError, "must be a sequence of whole numbers"),
        (12, TypeError, "must be a sequence of whole numbers"),
    ],
)
def test_another_event_shape_is_refused(shape, error, message):
    with pytest.raises(error, match=message):
        Coins(shape)


def test_an_array_is_refused_with_the_way_to_convert_it():
    with pytest.raises(TypeError, match=r"Coins takes tensors, got ndarray; convert with torch.as_tensor\(x\)"):
        Coins((3,)).log_prob(np.zeros((2, 3)))


def test_a_likelihood_is_exact_unless_the_flow_draws_noise_to_dequantize(coins):
    flow = flows.NSF((2,), steps=1)
    whole = flows.NSF((2,), steps=1, integer_columns=[1])
    image = flows.Glow((1, 4, 4), levels=4, scales=1, steps=1, width=4)
    assert [model.likelihood for model in (coins((3,)), flow, whole, image)] == ["exact", "exact", "bound", "bound"]
