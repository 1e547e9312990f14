import math

import torch

from experiments.science.asteroids import START, asteroids, core_excess, deflection, energy, fly_past


def some(n=50):
    x = asteroids().prior.sample((n,)).double()
    return x, torch.tensor(START, dtype=torch.float64).expand(n, 6)


def test_without_a_core_the_path_is_keplers_hyperbola():
    start = torch.tensor([START], dtype=torch.float64)
    position, velocity = start[0, :3], start[0, 3:]
    path = fly_past(torch.ones(1).double(), torch.zeros(1).double(), torch.zeros(1, 3).double(), start, substeps=12)
    momentum = torch.linalg.cross(position, velocity)
    eccentricity = torch.linalg.cross(velocity, momentum) - position / position.norm()  # points to the pericenter
    assert eccentricity.norm() > 1
    places = path[0, :, :3]
    radius = momentum.square().sum() / (1 + places @ eccentricity / places.norm(dim=1))  # r = p / (1 + e cos θ)
    torch.testing.assert_close(places.norm(dim=1), radius, rtol=0, atol=1e-7)
    # Kepler's equation for the time from start to end, M = e sinh F - F
    semi_axis = 1 / (velocity.square().sum() - 2 / position.norm())
    e = float(eccentricity.norm())
    anomaly = [
        math.copysign(math.acosh((float(each[:3].norm() / semi_axis) + 1) / e), float(each[:3] @ each[3:]))
        for each in (path[0, 0], path[0, -1])
    ]
    mean = [e * math.sinh(value) - value for value in anomaly]
    assert abs((mean[1] - mean[0]) * float(semi_axis) ** 1.5 - 8.0) < 1e-6


def test_energy_drifts_by_less_than_1e_8():
    x, start = some()
    path = fly_past(x[:, 0], core_excess(x), x[:, 3:], start, substeps=16)
    values = energy(path, x[:, 0], core_excess(x), x[:, 3:])
    assert (values - values[:, :1]).abs().max() < 1e-8


def test_the_integrator_of_the_simulator_errs_by_far_less_than_the_noise():
    x, start = some()
    coarse = fly_past(x[:, 0], core_excess(x), x[:, 3:], start)
    fine = fly_past(x[:, 0], core_excess(x), x[:, 3:], start, substeps=16)
    assert (coarse - fine).abs().max() < 2e-5


def test_only_the_product_of_density_and_volume_of_the_core_is_seen():
    x, _ = some(20)
    other = x.clone()
    other[:, 1] *= 0.9
    other[:, 2] = x[:, 0] + (x[:, 2] - x[:, 0]) / 0.9**3
    torch.testing.assert_close(deflection(other), deflection(x), rtol=0, atol=1e-12)
    assert (deflection(x * 1.01) - deflection(x)).abs().max() > 1e-3


def test_ten_directions_hold_almost_all_of_the_paths():
    x, _ = some(300)
    seen = asteroids().simulator(x)
    paths = deflection(x)
    lost = (paths.square().sum(1) - seen.square().sum(1)).clamp_min(0).sqrt()  # orthogonal directions
    assert lost.median() < 3e-4 < paths.norm(dim=1).median() / 100
