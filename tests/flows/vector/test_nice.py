import pytest
import torch
from scipy import stats

from inverseflow.bijections import ActNorm, Compose
from inverseflow.distributions import StandardLogistic, StandardNormal
from inverseflow.flows import NICE, Flow, RealNVP
from tests.contracts.registry import perturb


def couplings(flow):
    """Return the flow's bijection without its last layer."""
    *steps, last = flow.bijection.layers
    coupling, scale = last.layers[0].layers
    assert isinstance(scale, ActNorm)
    return Compose(*steps, coupling)


def test_its_couplings_keep_volumes():
    layer, x = couplings(perturb(NICE((5,), width=8).double())), torch.randn(4, 5, dtype=torch.float64)
    for event in x:
        jacobian = torch.autograd.functional.jacobian(lambda event: layer(event[None])[0][0], event)
        assert jacobian.det().item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(layer(x)[1], torch.zeros(4, dtype=torch.float64))


def test_its_log_determinant_is_the_same_everywhere():
    flow = perturb(NICE((5,), width=8))
    log_det = flow.bijection(torch.randn(7, 5))[1]
    assert torch.equal(log_det, log_det[:1].expand(7))
    assert log_det[0] != 0


@pytest.mark.parametrize(("steps", "dense"), [(2, False), (3, True)])
def test_from_three_steps_on_every_column_depends_on_every_other(steps, dense):
    flow = perturb(NICE((4,), steps=steps, width=16).double())
    x = torch.randn(4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.encode(x[None])[0], x)
    assert (jacobian != 0).all() == dense


@pytest.mark.parametrize(("swap", "seen"), [(0, [0, 2, 4]), (1, [1, 3])])
def test_every_other_column_conditions_in_turns(swap, seen):
    flow = NICE((5,))
    assert flow.bijection.layers[swap].layers[0].split.numbers == seen


def test_the_scales_of_independent_columns_are_those_of_scipy():
    x = torch.from_numpy(stats.logistic(scale=[0.3, 4.0]).rvs((400, 2), random_state=0))
    x = x - x.mean(0)
    flow = NICE((2,), width=4, standardize=False, zero_start=True).double()
    scale = flow.bijection.layers[-1].layers[0].layers[1]
    optimizer = torch.optim.LBFGS([scale.log_scale], max_iter=50, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -flow.log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    expected = [stats.logistic.fit(column, floc=0)[1] for column in x.T.numpy()]
    assert (-scale.log_scale).exp().tolist() == pytest.approx(expected, abs=1e-3)


def test_its_base_is_logistic_unless_normal_is_asked_for():
    assert isinstance(NICE((2,)).base, StandardLogistic)
    assert isinstance(NICE((2,), base="normal").base, StandardNormal)
    with pytest.raises(ValueError, match="unknown base 'cauchy': choose 'logistic' or 'normal'"):
        NICE((2,), base="cauchy")


def test_one_column_is_refused_with_what_can_be_done():
    with pytest.raises(ValueError, match=r"at least 2 columns, got 1; use an elementwise or autoregressive flow \(maf"):
        NICE((1,))


def fitted(flow, x, steps):
    flow.initialize(x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (-flow.log_prob(x[torch.randint(len(x), (256,))]).mean()).backward()
        optimizer.step()
    return flow


@pytest.mark.slow
def test_without_its_last_layer_it_fits_no_variances():
    unit = torch.tensor([0.1, 1.0, 5.0])
    x, test = unit * torch.randn(2000, 3), unit * torch.randn(2000, 3)
    whole = fitted(NICE((3,), width=32, standardize=False), x, 300)
    bare = fitted(Flow(couplings(NICE((3,), width=32)), (3,), base=StandardLogistic(3)), x, 300)
    with torch.no_grad():
        difference = (whole.log_prob(test) - bare.log_prob(test)).mean() / 3
    assert difference > 0.1


@pytest.mark.slow
def test_scales_that_depend_on_the_other_columns_fit_eight_gaussians_better():
    from inverseflow.data import load_toy

    splits = load_toy("eight-gaussians", count=8000)
    x, test = splits.train.tensor(), splits.test.tensor()
    nice, realnvp = (fitted(build((2,), steps=4, width=32), x, 400) for build in (NICE, RealNVP))
    with torch.no_grad():
        assert realnvp.log_prob(test).mean() > nice.log_prob(test).mean() + 0.05
