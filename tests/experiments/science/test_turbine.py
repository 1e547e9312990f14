import math

import pytest
import torch

from experiments.science.airfoil import ParabolicCamber
from experiments.science.turbine import BETZ, blade_element_momentum, optimize, turbine

FOILS = ParabolicCamber()


class WithoutDrag(ParabolicCamber):
    def drag(self, shape, angle):
        return torch.zeros_like(angle) + 1e-9


def designed(induction, tip_speed):
    """Blades that slow the wind by the same share at each station, by the momentum equations without drag."""
    radius = torch.tensor([0.35, 0.65, 0.9], dtype=torch.float64)
    speed = tip_speed * radius
    swirl = (-1 + (1 + 4 * induction * (1 - induction) / speed**2).sqrt()) / 2  # a'(1 + a') λ² = a (1 - a)
    inflow = torch.atan((1 - induction) / (speed * (1 + swirl)))
    chord = 4 * induction / (1 - induction) * inflow.sin() ** 2 / inflow.cos() * 2 * math.pi * radius / 3
    return torch.cat([chord, (inflow - math.radians(4)).rad2deg(), torch.ones(3)])[None]


@pytest.mark.parametrize("induction", [0.1, 0.2, 1 / 3])
def test_at_high_tip_speed_and_without_drag_a_rotor_is_an_actuator_disk(induction):
    rotor = blade_element_momentum(designed(induction, 50.0), WithoutDrag(), tip_speed=50.0)
    torch.testing.assert_close(rotor.induction, torch.full((1, 3), induction, dtype=torch.float64), atol=1e-6, rtol=0)
    area = 1 - 0.2**2
    assert abs(rotor.power / area - 4 * induction * (1 - induction) ** 2) < 0.003
    assert abs(rotor.thrust / area - 4 * induction * (1 - induction)) < 0.003


def test_no_blade_exceeds_the_betz_limit():
    problem = turbine()
    x = problem.prior.sample((5000,))
    for airfoils in (FOILS, WithoutDrag()):
        rotor = blade_element_momentum(x, airfoils)
        assert rotor.power.max() < BETZ * 0.96
        light = (rotor.induction < 0.4).all(1)
        load = rotor.thrust[light] / 0.96
        assert (rotor.power[light] / 0.96 <= load * (1 + (1 - load).clamp_min(0).sqrt()) / 2 + 1e-4).all()


def test_a_camber_is_found_for_a_wanted_lift():
    wanted = torch.tensor([0.4, 1.0])
    torch.testing.assert_close(FOILS.lift(FOILS.shape(wanted), torch.tensor(math.radians(4))), wanted)
    assert FOILS.drag(FOILS.shape(wanted), torch.tensor(0.4)).min() > 0.07  # stalled


def test_the_optimizer_raises_the_power_within_the_thrust_and_below_betz():
    start = turbine().prior.sample()
    before = blade_element_momentum(start[None], FOILS)
    found = optimize(start.tolist(), 0.7, BETZ)
    assert before.power + 0.1 < found.power <= found.largest < BETZ
    assert found.calls is None
