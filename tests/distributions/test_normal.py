import math

import pytest
import torch

from inverseflow.distributions import StandardNormal


@pytest.mark.parametrize("dims", [1, 3, 1000])
def test_its_density_is_that_of_independent_normals(dims):
    z = 2 * torch.randn(5, dims, dtype=torch.float64)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(StandardNormal(dims).log_prob(z), expected)


def test_half_precision_is_summed_in_single_precision():
    log_prob = StandardNormal(100_000).log_prob(torch.full((1, 100_000), 2.0, dtype=torch.float16))
    assert log_prob.dtype == torch.float32
    assert log_prob.item() == pytest.approx(-100_000 * (2 + 0.5 * math.log(2 * math.pi)))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_the_temperature_is_the_deviation_of_the_samples(temperature):
    z = StandardNormal(4).sample(20_000, temperature=temperature)
    assert z.std().item() == pytest.approx(temperature, rel=0.02)
    assert z.mean().item() == pytest.approx(0, abs=0.02 * temperature)


def test_a_generator_decides_the_samples():
    base = StandardNormal(4)
    first, second = (base.sample(3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, base.sample(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_have_the_dtype_it_was_cast_to(dtype):
    assert StandardNormal(4).to(dtype).sample(3).dtype == dtype


def test_no_samples_are_no_samples():
    assert StandardNormal(4).sample(0).shape == (0, 4)


def test_nothing_of_it_is_saved():
    assert StandardNormal(4).state_dict() == {}


@pytest.mark.parametrize("dims", [0, -1])
def test_it_needs_a_dimension(dims):
    with pytest.raises(ValueError, match=f"dims must be at least 1, got {dims}"):
        StandardNormal(dims)
