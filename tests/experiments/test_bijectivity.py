import math

import pytest
import torch

from experiments.bijectivity import LOG_DET_GOAL, ROUND_TRIP_GOAL, log_abs_det, measure
from experiments.measured_layers import MEASURED_LAYERS, Measured
from inverseflow.bijections import Bijection

LOG_2 = math.log(2)


class Wrong(Bijection):
    """Doubles; claims another inverse, another log-determinant, or both."""

    def __init__(self, inverse=0.5, log_scale=LOG_2):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.0))  # something to be moved off its initial value
        self.back, self.log_scale = inverse, log_scale

    def _forward(self, x, context):
        return 2 * x, x[0].numel() * self.log_scale

    def _inverse(self, z, context):
        return self.back * z, -z[0].numel() * self.log_scale


@pytest.mark.parametrize("layer", MEASURED_LAYERS, ids=lambda layer: layer.name)
def test_every_layer_is_exact_in_float64(layer):
    errors = measure(layer, (4, 4, 4), "cpu")[torch.float64]
    assert max(errors["round_trip"], errors["latent_round_trip"]) < ROUND_TRIP_GOAL
    assert max(errors["log_det"], errors["inverse_log_det"]) < LOG_DET_GOAL


def test_a_wrong_inverse_is_found():
    errors = measure(Measured("Wrong", lambda shape: Wrong(inverse=0.49)), (1, 2, 2), "cpu")[torch.float64]
    assert errors["round_trip"] > 1e-3 and errors["latent_round_trip"] > 1e-3
    assert errors["log_det"] < 1e-12


def test_a_wrong_log_determinant_is_found_in_nats_of_the_image():
    errors = measure(Measured("Wrong", lambda shape: Wrong(log_scale=0.0)), (1, 2, 3), "cpu")[torch.float64]
    assert errors["log_det"] == pytest.approx(6 * LOG_2)
    assert errors["inverse_log_det"] == pytest.approx(6 * LOG_2)
    assert errors["round_trip"] < 1e-12


def test_the_jacobian_is_that_of_each_event_alone():
    x = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]], dtype=torch.float64)
    log_dets = log_abs_det(lambda event: event**2, x)  # diagonal 2x
    torch.testing.assert_close(log_dets, torch.tensor([math.log(8), math.log(48)], dtype=torch.float64))


def test_the_same_seed_measures_the_same():
    assert measure(MEASURED_LAYERS[0], (4, 4, 4), "cpu", seed=1) == measure(
        MEASURED_LAYERS[0], (4, 4, 4), "cpu", seed=1
    )
