import math

import pytest
import torch

from inverseflow.bijections import Householder, Multiscale, Squeeze
from inverseflow.errors import OptionError
from inverseflow.flows import Flow, Glow
from inverseflow.inference import invert, reconstruct

D, NOISE = 6, 0.3


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    return Flow(Householder(D), (D,)).double()


@pytest.fixture
def matrix(generator):
    return torch.randn(4, D, generator=generator, dtype=torch.float64)


@pytest.fixture
def measurements(generator):
    return torch.randn(4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("weight", [1.0, 0.2])
def test_a_rotation_gives_the_ridge_solution_of_the_normal_equations(flow, matrix, measurements, weight):
    rotation = flow.decode(torch.eye(D, dtype=torch.float64)).T.detach()
    together = matrix @ rotation
    normal = together.T @ together + weight * NOISE**2 * torch.eye(D, dtype=torch.float64)
    ridge = torch.linalg.solve(normal, together.T @ measurements)
    found = reconstruct(flow, lambda x: x @ matrix.T, measurements, noise=NOISE, weight=weight, max_evaluations=60)
    torch.testing.assert_close(found.z, ridge, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.x, rotation @ ridge, rtol=0, atol=1e-7)
    misfit = (matrix @ found.x - measurements).square().sum() / (2 * NOISE**2)
    assert found.objective == pytest.approx(float(misfit + weight * ridge.square().sum() / 2), rel=1e-9)
    assert found.gradient < 1e-5 and found.typicality == pytest.approx(float(ridge.square().mean()), rel=1e-6)


def test_complete_measurements_without_a_weight_are_returned(flow, generator):
    x = torch.randn(D, generator=generator, dtype=torch.float64)
    found = reconstruct(flow, lambda x: x, x, noise=1.0, weight=0.0, max_evaluations=60)
    torch.testing.assert_close(found.x, x, rtol=0, atol=1e-7)


def test_absolute_values_give_soft_thresholds(flow, generator):
    x = torch.randn(D, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        z = flow.encode(x[None])[0]
    found = reconstruct(flow, lambda x: x, x, noise=1.0, weight=0.5, penalty="absolute", max_evaluations=150)
    torch.testing.assert_close(found.z, z.sign() * (z.abs() - 0.5).clamp(min=0), rtol=0, atol=5e-3)


def test_an_infinite_weight_keeps_the_latents_of_a_scale_at_zero(generator):
    flow = Flow(Multiscale([Squeeze(), Squeeze()], (1, 4, 4)), (1, 4, 4)).double()
    flow.register_parameter("unused", torch.nn.Parameter(torch.zeros((), dtype=torch.float64)))
    x = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64)
    found = reconstruct(flow, lambda x: x, x, noise=1.0, weight={"scale_1": math.inf, "scale_2": 0}, max_evaluations=60)
    z = flow.encode(x[None])[0]
    z[flow.latent_slices["scale_1"]] = 0
    torch.testing.assert_close(found.z, z, rtol=0, atol=1e-7)


def test_a_search_starts_where_it_is_told():
    seen = []

    def network(x):
        seen.append(x.detach().clone())
        return x.square()

    invert(network, [4.0, 9.0], start=[3.0, 4.0], inputs=2, restarts=2, max_evaluations=20)
    assert seen[0][0].tolist() == [3.0, 4.0] and seen[0][1].tolist() != [3.0, 4.0]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"noise": 0.0}, "noise must be"),
        ({"weight": -1.0}, "weight of scale_1 must be"),
        ({"weight": {"scale_3": 1.0}}, "no scale 'scale_3'; its scales are scale_1"),
        ({"weight": math.inf}, "leaves nothing to find"),
        ({"start": torch.zeros(3)}, "start must be a latent of 6 numbers"),
        ({"penalty": "l1"}, "unknown penalty"),
        ({"measurements": torch.tensor([math.nan])}, "measurements must be finite"),
    ],
)
def test_bad_arguments_are_refused(flow, options, said):
    arguments = {"measurements": torch.zeros(D), "noise": 1.0} | options
    with pytest.raises(ValueError, match=said):
        reconstruct(flow, lambda x: x, **arguments)


def test_gray_levels_and_starts_in_a_box_search_are_refused():
    with pytest.raises(OptionError, match="train one of real numbers"):
        reconstruct(Glow((1, 4, 4), steps=1, scales=1, width=4), lambda x: x, torch.zeros(16), noise=1.0)
    with pytest.raises(OptionError, match="leave start out"):
        invert(lambda x: x, [0.0], start=[0.0], box=(-1, 1), inputs=1, method="genetic")
    with pytest.raises(OptionError, match="start must be 1 finite numbers"):
        invert(lambda x: x, [0.0], start=[0.0, 1.0], inputs=1)
