import pytest
import torch

pyro = pytest.importorskip("pyro", reason="pyro-ppl is not installed: make test-interop")

from pyro import distributions as dist  # noqa: E402
from pyro.distributions import transforms  # noqa: E402
from pyro.infer import SVI, Trace_ELBO  # noqa: E402
from torch import nn  # noqa: E402

from inverseflow.bijections import AffineCoupling, Compose  # noqa: E402
from inverseflow.flows import Flow  # noqa: E402
from inverseflow.interop import pyro as interop  # noqa: E402
from inverseflow.interop import torch as torch_interop  # noqa: E402
from tests.contracts.registry import perturb  # noqa: E402
from tests.interop.checks import check_bijection, our_flow  # noqa: E402


@pytest.fixture(autouse=True)
def _fresh_parameters():
    pyro.clear_param_store()


def test_a_flow_in_a_model_is_scored_under_plates():
    flow = our_flow(3, 2)
    context, x = torch.randn(4, 2).double(), torch.randn(4, 3).double()

    def model():
        pyro.module("flow", flow)
        with pyro.plate("data", 4):
            return pyro.sample("x", interop.from_density(flow, context), obs=x)

    trace = pyro.poutine.trace(model).get_trace()
    torch.testing.assert_close(trace.log_prob_sum(), flow.log_prob(x, context).sum())
    assert set(pyro.get_param_store().keys()) == {f"flow$$${name}" for name, _ in flow.named_parameters()}


def test_an_unconditional_flow_expands_under_nested_plates_and_masks():
    flow = our_flow(3)

    def model():
        with pyro.plate("outer", 5, dim=-2), pyro.plate("inner", 4, dim=-1):
            return pyro.sample("x", interop.from_density(flow).mask(torch.tensor([True, True, False, False])))

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    x = trace.nodes["x"]["value"]
    assert x.shape == (5, 4, 3)
    expected = flow.log_prob(x.flatten(0, 1)).view(5, 4) * torch.tensor([1.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], expected)


def test_svi_with_a_conditional_flow_as_guide_recovers_the_posterior_of_a_conjugate_model():
    """z ~ N(0, 1)², x | z ~ N(A z, 0.5²): for a context x the guide approaches N(m(x), S) with a dense S."""
    A, noise = torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 0.5
    covariance = torch.linalg.inv(torch.eye(2) + A.T @ A / noise**2)
    # Couplings with linear conditioners: their shifts are linear in x, as the posterior's mean is.
    layers = [AffineCoupling(2, nn.Linear(1 + 2, 2), swap=swap, context_channels=2) for swap in (False, True)]
    flow = Flow(Compose(*layers), (2,))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ A.T, noise).to_event(1), obs=x)

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", interop.from_density(flow, x))

    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.98}), Trace_ELBO())
    for _ in range(120):
        z = torch.randn(256, 2)
        svi.step(z @ A.T + noise * torch.randn(256, 2))
    for x in (torch.tensor([0.5, -0.5]), torch.tensor([-1.0, 1.0])):
        drawn = guide(x.expand(4000, 2)).detach()
        torch.testing.assert_close(drawn.mean(0), covariance @ A.T @ x / noise**2, atol=0.06, rtol=0)
        torch.testing.assert_close(drawn.T.cov(), covariance, atol=0.04, rtol=0)


def test_their_transform_is_a_bijection():
    transform = perturb(transforms.affine_coupling(3, hidden_dims=[8]).double())
    bijection = torch_interop.as_bijection(transform)
    check_bijection(bijection, torch.randn(4, 3).double())
    theirs = dist.TransformedDistribution(dist.Normal(torch.zeros(3).double(), 1.0).to_event(1), [transform])
    flow = Flow(torch_interop.as_bijection(transform.inv), (3,)).double()
    x = torch.randn(4, 3).double()
    torch.testing.assert_close(flow.log_prob(x), theirs.log_prob(x))


def test_their_conditional_transform_is_a_bijection():
    transform = perturb(transforms.conditional_spline(3, context_dim=2, hidden_dims=[8], count_bins=4).double())
    x, context = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    check_bijection(interop.as_bijection(transform, context_channels=2), x, context)
    base = dist.Normal(torch.zeros(3).double(), 1.0).to_event(1)
    theirs = dist.ConditionalTransformedDistribution(base, [transform]).condition(context)
    flow = Flow(interop.as_bijection(transform.inv, context_channels=2), (3,)).double()
    torch.testing.assert_close(flow.log_prob(x, context), theirs.log_prob(x))


def test_a_transform_of_other_contexts_is_refused_when_the_flow_is_built():
    transform = transforms.conditional_spline(3, context_dim=2)
    with pytest.raises(ValueError, match="and 5 context channels"):
        Flow(interop.as_bijection(transform, context_channels=5), (3,))
    with pytest.raises(TypeError, match="the transform must be an object of the class ConditionalTransform of pyro"):
        interop.as_bijection(transforms.spline(3), context_channels=2)


def test_a_missing_context_is_refused():
    with pytest.raises(ValueError, match="is conditional: pass a context of shape"):
        pyro.sample("x", interop.from_density(our_flow(3, 2)))
