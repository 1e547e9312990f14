import math

import pytest
import torch

from experiments.units import bits_per_dim, nats_per_image
from inverseflow.flows import Glow


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_nats_are_bits_times_dimensions_times_log_two(shape):
    assert nats_per_image(1.25, shape) == pytest.approx(1.25 * math.prod(shape) * math.log(2), rel=1e-12)
    assert bits_per_dim(nats_per_image(1.25, shape), shape) == pytest.approx(1.25, rel=1e-12)


@torch.no_grad()
def test_a_flow_says_the_same():
    flow = Glow((1, 4, 4), levels=17, scales=1, steps=1, width=4).double().eval()
    images = torch.randint(17, (3, 1, 4, 4), dtype=torch.uint8)
    torch.manual_seed(0)
    nats = -flow.log_prob(images).mean()
    torch.manual_seed(0)
    bits = flow.bits_per_dim(images).mean()
    assert bits_per_dim(float(nats), (1, 4, 4)) == pytest.approx(float(bits), rel=1e-6)
