import math
from types import SimpleNamespace

import pytest
import torch

from inverseflow.bijections import Conv1x1
from inverseflow.flows import Flow
from inverseflow.training.loop.callbacks import AveragedWeights
from inverseflow.training.loop.module import FlowModule, learning_rate_factor
from inverseflow.training.options import OptimizerOptions


def test_the_learning_rate_rises_linearly_and_then_stays():
    factor = learning_rate_factor(OptimizerOptions(warmup_steps=4), max_steps=100)

    assert [factor(step) for step in (0, 1, 2, 3, 4, 99)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_step_schedule_falls_every_so_often():
    factor = learning_rate_factor(
        OptimizerOptions(schedule="step", step_every=10, step_factor=0.1, warmup_steps=0), max_steps=100
    )

    assert [factor(step) for step in (0, 9, 10, 20)] == pytest.approx([1.0, 1.0, 0.1, 0.01])


def test_the_cosine_ends_at_zero_and_never_rises_again():
    factor = learning_rate_factor(OptimizerOptions(schedule="cosine", warmup_steps=10), max_steps=110)
    rates = [factor(step) for step in range(9, 130)]

    assert rates == sorted(rates, reverse=True)
    assert rates[51] == pytest.approx(0.5)
    assert rates[101] == rates[-1] == pytest.approx(0.0)
    assert all(math.isfinite(rate) for rate in rates)


def test_the_average_forgets_its_first_weights_even_in_a_short_run():
    average = AveragedWeights(decay=0.999)._kwargs["avg_fn"]
    value = torch.tensor(100.0)
    for step in range(1, 50):
        value = average(value, torch.tensor(0.0), step)

    assert value < 1e-3
    assert average(torch.tensor(1.0), torch.tensor(0.0), 10**6) == pytest.approx(0.999)


def test_clipping_shortens_the_gradient_and_leaves_the_weights_alone():
    module = FlowModule(Flow(Conv1x1(2), (2,)), OptimizerOptions(clip_norm=0.5), seed=0)
    module._trainer = SimpleNamespace(strategy=None, world_size=1)
    module.terms = {"nats": torch.tensor(1.0)}
    weight = module.flow.bijection.weight
    torch.nn.init.constant_(weight, 7.0)
    weight.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    module.configure_gradient_clipping(None)

    assert weight.tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert module.gradient_norm == 5.0
    torch.testing.assert_close(weight.grad, torch.tensor([[0.3, 0.0], [0.0, 0.4]]))
