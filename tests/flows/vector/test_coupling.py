import math

import pytest
import torch

from inverseflow import flows
from inverseflow.bijections import LUConv1x1, Standardize
from inverseflow.data import load_toy
from inverseflow.flows import NSF, RealNVP
from tests.contracts.registry import perturb


def moons(n):
    angle, upper = math.pi * torch.rand(n), torch.rand(n) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack([x, y], 1) + 0.1 * torch.randn(n, 2)


def trained(flow, x, context=None, steps=150):
    flow.initialize(x, context)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (-flow.log_prob(x, context).mean()).backward()
        optimizer.step()
    return flow.eval()


@pytest.mark.parametrize("build", [NSF, RealNVP])
def test_a_few_steps_beat_the_normal_of_the_same_mean_and_covariance(build):
    x, test = moons(500), moons(1000)
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    flow = trained(build((2,), steps=3, width=16), x)
    assert flow.log_prob(test).mean() > normal.log_prob(test).mean() + 0.3


def histograms(x, test, bins=30):
    """Return the log density of independent columns, each with its own smoothed histogram."""
    total = 0.0
    for column, held_out in zip(x.T.contiguous(), test.T.contiguous(), strict=True):
        edges = torch.linspace(column.min() - 0.5, column.max() + 0.5, bins + 1)
        counts = torch.histogram(column, edges).hist + 1
        density = counts / counts.sum() / (edges[1] - edges[0])
        total += density[(torch.bucketize(held_out, edges) - 1).clamp(0, bins - 1)].log().mean().item()
    return total


@pytest.mark.slow
def test_splines_learn_two_spirals_better_than_histograms_a_normal_and_ten_normals():
    splits = load_toy("two-spirals")
    x, test = splits.train.tensor(), splits.test.tensor()
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    mixture = pytest.importorskip("sklearn.mixture").GaussianMixture(10, random_state=0).fit(x[:8000].numpy())
    baselines = histograms(x, test), normal.log_prob(test).mean().item(), mixture.score(test.numpy())
    flow = NSF((2,))
    flow.initialize(x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for batch in x.split(100):
        optimizer.zero_grad()
        (-flow.log_prob(batch).mean()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        assert flow.log_prob(test).mean().item() > max(baselines)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1000.0, 0.37])
def test_another_unit_of_a_column_changes_log_prob_by_the_logarithm_of_the_factor(dtype, factor):
    flow = perturb(NSF((3,), steps=2, width=8, context_channels=2).to(dtype))
    changed = NSF((3,), steps=2, width=8, context_channels=2).to(dtype)
    changed.load_state_dict(flow.state_dict())
    unit = torch.tensor([1e-6, 1.0, 1e9], dtype=dtype)
    x, context = unit * torch.randn(50, 3, dtype=dtype), 1e5 * torch.randn(50, 2, dtype=dtype)
    in_another = torch.tensor([1.0, factor, 1.0], dtype=dtype)
    flow.initialize(x, context)
    changed.initialize(in_another * x, 1e-9 * context)
    difference = flow.log_prob(x, context) - changed.log_prob(in_another * x, 1e-9 * context)
    atol = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(difference, torch.full_like(difference, math.log(factor)), rtol=0, atol=atol)
    torch.manual_seed(3)
    samples = flow.sample(20, context[:1])
    torch.manual_seed(3)
    torch.testing.assert_close(changed.sample(20, 1e-9 * context[:1]), in_another * samples, rtol=1e-3, atol=0)


def test_samples_and_densities_are_in_the_units_of_the_data():
    x = torch.tensor([1e-6, 1e9]) * (5 + torch.randn(2000, 2))
    flow = NSF((2,), steps=2, width=8)
    flow.initialize(x)
    samples = flow.sample(2000)
    torch.testing.assert_close(samples.mean(0) / x.mean(0), torch.ones(2), rtol=0, atol=0.02)
    torch.testing.assert_close(samples.std(0) / x.std(0), torch.ones(2), rtol=0, atol=0.1)
    normal = torch.distributions.Normal(x.mean(0), x.std(0, correction=0))  # what an untrained flow is
    torch.testing.assert_close(flow.log_prob(x), normal.log_prob(x).sum(1), rtol=0, atol=1e-3)


def test_a_constant_column_is_refused_by_its_number():
    x = torch.randn(20, 3)
    x[:, 1] = 4.0
    with pytest.raises(ValueError, match="^preprocessing: column 1 is 4 in all 20 rows of the batch"):
        NSF((3,)).initialize(x)


def test_a_constant_context_is_no_reason_to_refuse():
    flow, context = NSF((2,), context_channels=2), torch.randn(20, 2)
    context[:, 1] = 1.0
    flow.initialize(torch.randn(20, 2), context)
    assert flow.log_prob(torch.randn(20, 2), context).isfinite().all()


def test_whole_numbers_are_sampled_as_whole_numbers_of_their_frequencies():
    counts = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 1500, replacement=True).float()
    x = torch.stack([counts, torch.randn(1500) + counts], 1)
    flow = trained(NSF((2,), steps=2, width=16, integer_columns=(0,)), x, steps=100)
    samples = flow.sample(3000)
    assert torch.equal(samples[:, 0], samples[:, 0].floor())
    shares = [(samples[:, 0] == k).float().mean().item() for k in range(3)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.08)
    assert torch.equal(flow.decode(flow.encode(x))[:, 0], x[:, 0])
    assert not flow.has_rsample


def test_without_standardization_there_is_none():
    flow = NSF((3,), context_channels=1, standardize=False)
    assert not [module for module in flow.modules() if isinstance(module, Standardize)]


@pytest.mark.parametrize(("columns", "mixing"), [(2, 0), (3, 4)])
def test_three_and_more_columns_are_mixed_between_steps(columns, mixing):
    layers = [module for module in NSF((columns,), steps=5).modules() if isinstance(module, LUConv1x1)]
    assert len(layers) == mixing


def test_its_configuration_builds_the_same_flow():
    flow = NSF((3,), width=8, context_channels=2, integer_columns=[1])
    assert flow.config == {
        "density": "nsf",
        "options": {
            "event_shape": (3,),
            "spline_bins": 8,
            "spline_bound": 5.0,
            "spline_gain": 2.0,
            "steps": 5,
            "width": 8,
            "depth": 2,
            "context_channels": 2,
            "standardize": True,
            "integer_columns": (1,),
            "mask": "halves",
            "linear": "lu",
            "zero_start": True,
        },
    }
    assert repr(flows.create("nsf", **flow.config["options"])) == repr(flow)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4)])
def test_what_is_no_vector_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match=rf"events \(D,\), got \({shape[0]}, .* flatten them, or take an image flow"):
        NSF(shape)


def test_one_column_is_refused_with_what_can_be_done():
    with pytest.raises(
        ValueError, match=r"at least 2 columns, got 1; use an elementwise or autoregressive flow \(maf, nsf-ar, ros"
    ):
        NSF((1,))


@pytest.mark.parametrize(
    "option", [{"steps": 0}, {"width": 0}, {"depth": -1}, {"spline_bins": 1}, {"spline_bound": 0}, {"spline_gain": 0}]
)
def test_numbers_out_of_range_are_refused_by_name(option):
    (name,) = option
    with pytest.raises(ValueError, match=name.removeprefix("spline_")):
        NSF((2,), **option)


@pytest.mark.parametrize("columns", [(3,), (-1,)])
def test_integer_columns_that_are_not_there_are_refused(columns):
    with pytest.raises(ValueError, match=f"integer_columns must be between 0 and 2, got {columns[0]}"):
        NSF((3,), integer_columns=columns)
