import pytest
import torch
from torch import distributions
from torch.distributions import AffineTransform, Independent, Laplace, MultivariateNormal, Normal, transforms

from inverseflow.bijections import BijectionTransform
from inverseflow.flows import Flow
from inverseflow.interop import torch as interop
from tests.interop.checks import check_bijection, our_bijection


@pytest.mark.parametrize(
    "transform",
    [
        AffineTransform(torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([-1.0, 0.5, 2.0]).double()),
        AffineTransform(1.0, -2.0, event_dim=1),
        transforms.TanhTransform(cache_size=1),
        transforms.ComposeTransform([transforms.SigmoidTransform(), AffineTransform(0.0, 2.0)]),
        transforms.SoftplusTransform().inv,
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_a_transform_is_a_bijection_of_its_own_direction(transform):
    bijection = interop.as_bijection(transform)
    x = 0.1 + torch.rand(4, 3).double()
    torch.testing.assert_close(check_bijection(bijection, x), transform(x))


def test_a_transform_that_changes_the_shape_says_so():
    reshape = transforms.ReshapeTransform((2, 3), (6,))
    bijection = interop.as_bijection(reshape)
    assert bijection.output_shape((2, 3)) == (6,)
    assert bijection.input_shape((6,)) == (2, 3)
    check_bijection(bijection, torch.randn(4, 2, 3).double())


def test_our_bijection_comes_back_from_its_view_as_a_transform():
    bijection = our_bijection()
    back = interop.as_bijection(BijectionTransform(bijection, (3,)))
    x = torch.randn(4, 3).double()
    torch.testing.assert_close(back(x), bijection(x))
    torch.testing.assert_close(back.inverse(x), bijection.inverse(x))


def test_a_caching_transform_follows_its_parameters_on_the_same_tensor():
    scale = torch.nn.Parameter(torch.tensor(2.0))
    bijection = interop.as_bijection(AffineTransform(0.0, scale, cache_size=1))
    x = torch.ones(2, 3)
    bijection(x)[0].sum().backward()
    with torch.no_grad():
        scale.fill_(3.0)
    z, _ = bijection(x)
    assert torch.equal(z, 3 * x)
    z.sum().backward()


def test_a_distribution_is_the_base_of_a_flow():
    bijection = our_bijection()
    base = Independent(Laplace(torch.zeros(3).double(), 1.5), 1)
    flow = Flow(bijection, (3,), base=interop.as_density(base)).double()
    x = torch.randn(4, 3).double()
    z, log_det = bijection(x)
    torch.testing.assert_close(flow.log_prob(x), base.log_prob(z) + log_det)
    drawn, log_prob = flow.sample_with_log_prob(5)
    torch.testing.assert_close(flow.log_prob(drawn), log_prob)


def test_a_distribution_is_a_density():
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    density = interop.as_density(MultivariateNormal(torch.tensor([1.0, -1.0]), covariance))
    x = density.sample(20_000)
    torch.testing.assert_close(x.T.cov(), covariance, atol=0.1, rtol=0)
    narrow = density.sample(20_000, temperature=0.5)
    torch.testing.assert_close(narrow.T.cov(), covariance / 4, atol=0.05, rtol=0)
    torch.testing.assert_close(narrow.mean(0), torch.tensor([1.0, -1.0]), atol=0.05, rtol=0)


def test_a_generator_decides_the_samples_and_leaves_the_global_one_alone():
    density = interop.as_density(Independent(Normal(torch.zeros(2), 1.0), 1))
    state = torch.get_rng_state()
    first, again = (density.sample(3, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_without_a_mean_have_no_temperature():
    density = interop.as_density(Independent(distributions.Cauchy(torch.zeros(2), 1.0), 1))
    assert density.sample(3).shape == (3, 2)
    with pytest.raises(ValueError, match="has no mean .*; sample with temperature=1"):
        density.sample(3, temperature=0.5)


def test_a_distribution_of_scalars_is_refused_with_the_remedy():
    for distribution in (Normal(0.0, 1.0), Normal(torch.zeros(2), 1.0)):
        with pytest.raises(
            ValueError, match=r"an event must have a shape .* make the batch a part of the event with .*Independent"
        ):
            interop.as_density(distribution)


def test_a_transform_without_an_inverse_is_refused():
    with pytest.raises(ValueError, match="is not bijective"):
        interop.as_bijection(transforms.AbsTransform())


def test_a_transform_that_takes_the_batch_for_a_part_of_the_event_is_refused():
    with pytest.raises(ValueError, match=r"can't take an event of shape \(3,\)"):
        Flow(interop.as_bijection(AffineTransform(0.0, 2.0, event_dim=2)), (3,))


def test_what_is_no_transform_is_refused():
    with pytest.raises(TypeError, match="must be an object of the class Transform of torch, got one of builtin"):
        interop.as_bijection(torch.exp)
    with pytest.raises(TypeError, match="the distribution must be an object of the class Distribution of torch"):
        interop.as_density(torch.zeros(3))
