import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from inverseflow import fit
from inverseflow.data import Batch
from inverseflow.flows import MAF, NICE, Distilled, ImageFlow
from inverseflow.training import CycleLoss


def random_flow(**options) -> MAF:
    torch.manual_seed(0)
    flow = MAF((3,), steps=2, width=16, **options)
    flow.initialize(5 + 3 * torch.randn(200, 3), torch.randn(200, 2) if options else None)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


def test_the_cycle_error_is_zero_with_the_inverse_of_the_flow_in_place_of_the_network():
    fast = Distilled(random_flow().double())
    x = 5 + 3 * torch.randn(50, 3, dtype=torch.float64)
    assert fast.cycle_error(x).mean() > 1e-2
    fast.reverse = lambda z, context: fast.flow.bijection.inverse(z, context)[0]
    assert (fast.cycle_error(x) < 1e-10).all()
    assert (fast.sampling_error(50) < 1e-10).all()


def test_the_errors_are_those_of_columns_divided_by_their_deviations():
    flow = random_flow().double()
    fast = Distilled(flow, width=8)
    x, deviation = 5 + 3 * torch.randn(50, 3, dtype=torch.float64), flow.preprocessing.deviation
    z = flow.encode(x)
    returned = flow.preprocessing.inverse(fast.reverse(z))[0]
    torch.testing.assert_close(fast.cycle_error(x), ((x - returned) / deviation).square().mean(1))
    approximate = fast.sample(20, generator=torch.Generator().manual_seed(1))
    exact = flow.sample(20, generator=torch.Generator().manual_seed(1))
    error = fast.sampling_error(20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(error, ((approximate - exact) / deviation).square().mean(1))


def test_the_density_is_the_flows_and_training_changes_only_the_network():
    flow, x = random_flow(), 5 + 3 * torch.randn(300, 3)
    fast = Distilled(flow, width=16, depth=1)
    before, first = flow.log_prob(x), fast.cycle_error(x).mean()
    result = fit(fast, x, objective=CycleLoss(), max_steps=30, progress=False)
    assert torch.equal(fast.log_prob(x), before) and torch.equal(flow.log_prob(x), before)
    assert fast.cycle_error(x).mean() < 0.9 * first
    assert "val_cycle_error" in result.history[-1]


def test_the_cycle_error_has_gradients_into_a_flow_that_is_not_frozen():
    flow, x = random_flow().double(), 5 + 3 * torch.randn(20, 3, dtype=torch.float64)
    fast = Distilled(flow, width=8, frozen=False)
    torch.nn.init.normal_(fast.net[-1].weight)
    CycleLoss()(fast, Batch(x)).total.backward()
    for parameter in fast.flow.parameters():
        direction = torch.randn_like(parameter)
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter.add_(step * direction)
            values.append(fast.cycle_error(x).mean())
        with torch.no_grad():
            parameter.add_(1e-6 * direction)
        expected = (values[0] - values[1]) / 2e-6
        assert (parameter.grad * direction).sum().item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-8)
    frozen = Distilled(flow, width=8)
    CycleLoss()(frozen, Batch(x)).total.backward()
    assert all(parameter.grad is None for parameter in frozen.flow.parameters())


def test_the_likelihood_beside_the_cycle_error_keeps_the_density_of_a_flow_that_is_trained_with_it():
    flow, x = random_flow(), 5 + 3 * torch.randn(500, 3)
    error, nats = {}, {}
    for weight in (0.0, 1.0):
        fast = Distilled(flow, width=16, frozen=False)
        result = fit(fast, x, objective=CycleLoss(likelihood=weight), max_steps=60, progress=False)
        error[weight], nats[weight] = fast.cycle_error(x).mean(), -fast.log_prob(x).mean()
    assert {"val_cycle_error", "val_nats", "val_loss"} <= {*result.history[-1]}
    before = -flow.log_prob(x).mean()
    assert nats[1.0] < before and nats[1.0] < nats[0.0] and max(error.values()) < Distilled(flow).cycle_error(x).mean()
    with pytest.raises(ValueError, match="likelihood must be finite and at least 0, got -1"):
        CycleLoss(likelihood=-1)


def test_contexts_reach_the_network():
    fast = Distilled(random_flow(context_channels=2), width=16)
    x, context = torch.randn(40, 3), torch.randn(40, 2)
    fit(fast, x, context, objective=CycleLoss(), max_steps=3, progress=False)
    z = torch.randn(40, 3)
    assert not torch.equal(fast.reverse(z, context), fast.reverse(z, context + 1))
    assert fast.sample(5, context[0]).shape == (5, 3)
    with pytest.raises(ValueError, match="conditional"):
        fast.cycle_error(x)


@pytest.mark.parametrize(
    ("flow", "error", "message"),
    [
        (torch.nn.Linear(2, 2), TypeError, "flow must be a Flow"),
        (ImageFlow((1, 4, 4), scales=1, steps=1, width=4), ValueError, r"continuous vectors \(D,\), got"),
        (NICE((3,), integer_columns=[1]), ValueError, "got whole numbers"),
    ],
)
def test_flows_of_other_events_are_refused(flow, error, message):
    with pytest.raises(error, match=message):
        Distilled(flow)


@pytest.mark.slow
def test_a_network_learns_the_inverse_of_a_masked_autoregressive_flow_of_a_real_table():
    path = Path(os.environ.get("INVERSEFLOW_DATA", Path(__file__).parents[3] / "shared/data")) / "tabular/ccpp.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    table = np.load(path, allow_pickle=False)
    x = torch.from_numpy(np.concatenate([table["X"], table["y"][:, None]], 1)).float()
    flow = MAF((5,))
    fit(flow, x[1000:], max_steps=300, progress=False)
    fast = Distilled(flow)
    fit(fast, flow.sample(20_000), objective=CycleLoss(), max_steps=1000, progress=False)
    assert fast.cycle_error(x[:1000]).mean() < 0.02
    assert fast.sampling_error(1000).mean() < 0.02
    times = {}
    for name, sampler in (("exact", flow), ("fast", fast)):
        began = time.perf_counter()
        for _ in range(20):
            sampler.sample(256)
        times[name] = time.perf_counter() - began
    assert times["fast"] < times["exact"]


def test_the_flow_stays_in_evaluation_mode_and_a_missing_context_is_named():
    fast = Distilled(random_flow(context_channels=2)).train()
    assert fast.training and fast.net.training and not any(module.training for module in fast.flow.modules())
    with pytest.raises(ValueError, match=r"Distilled is conditional: pass a context of shape \(4, 2\)"):
        fast.sample(4)
