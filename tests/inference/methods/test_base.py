import pytest
import torch

from inverseflow.errors import OptionError
from inverseflow.inference.methods import Training, build_method, method, method_entry, method_names

SIZES = 3, 2  # parameters, observables


@pytest.mark.parametrize("name", method_names())
def test_every_method_has_a_loss_of_a_single_row_and_gradients_everywhere(name):
    torch.manual_seed(0)
    model = build_method(name, *SIZES).train()
    x, context = torch.randn(64, 3), torch.randn(64, 2)
    model.initialize(x, context)
    assert model.loss(x[:1], context[:1]).total.isfinite()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)  # layers behind a zero layer wait for the first step
    for _ in range(2):
        loss = model.loss(x, context)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    still = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert not still
    assert all(term.isfinite() for term in loss.named().values())


@pytest.mark.parametrize("name", method_names())
def test_samples_follow_their_contexts_and_only_densities_have_log_prob(name):
    model, context = build_method(name, *SIZES).eval(), torch.randn(5, 2)
    assert model.sample(5, context).shape == (5, 3)
    assert model.sample(7, context[0]).shape == (7, 3)
    assert model.sample(0, context[0]).shape == (0, 3)
    assert not model.sample(5, context).requires_grad
    assert model.has_density == method_entry(name).has_density
    if model.has_density:
        assert model.log_prob(torch.randn(5, 3), context).shape == (5,)
    else:
        with pytest.raises(OptionError, match="draws samples, but has no density; methods with one are .*cinn"):
            model.log_prob(torch.randn(5, 3), context)


def test_a_flow_behind_a_scale_and_a_shift_is_exact():
    torch.manual_seed(1)
    model = build_method("maf", 2, 3, steps=2, width=8).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    context, grid = torch.randn(1, 3).double(), torch.linspace(-12, 12, 500).double()
    points = torch.cartesian_prod(grid, grid)
    density = model.log_prob(points, context.expand(len(points), 3)).exp().detach()
    assert density.sum() * (grid[1] - grid[0]) ** 2 == pytest.approx(1, abs=1e-3)
    samples = model.sample(50_000, context[0])
    mean = (density[:, None] * points).sum(0) / density.sum()
    torch.testing.assert_close(samples.mean(0), mean, rtol=0, atol=0.05)


def test_cinn_takes_any_flow_of_vectors():
    for flow in ("nsf", "realnvp", "nice", "maf", "iresnet"):
        model = build_method("cinn", *SIZES, flow=flow, steps=1, width=8)
        assert type(model.flow).__name__.lower() == flow
    assert type(build_method("cinn", 1, 2, flow="realnvp").flow).__name__ == "MAF"


def test_a_method_of_ones_own_is_registered_once():
    training = Training(max_steps=7)
    method("test-own", has_density=False, training=training)(lambda dims, context_channels, *, size=1: None)
    try:
        entry = method_entry("test-own")
        assert entry.options == ("size",) and entry.training == training and not entry.has_density
        assert "test-own" in method_names() and "test-own" not in method_names(with_density=True)
        with pytest.raises(ValueError, match="the method 'test-own' exists already"):
            method("test-own")(lambda dims, context_channels: None)
        with pytest.raises(OptionError, match="the method 'test-own' has no option color; it has size"):
            build_method("test-own", 1, 1, color=1)
    finally:
        from inverseflow.inference.methods.base import _METHODS

        del _METHODS["test-own"]
