import json

import pytest
import torch
from torch.distributions import (
    Beta,
    Dirichlet,
    Exponential,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    Uniform,
)

from inverseflow.errors import NonFiniteError, OptionError
from inverseflow.inference import Above, Integer, Interval, Real, Simplex, Support, independent

PARTS = [Real(), Interval(-3, 5), Above(2), Simplex(4), Interval(0, 1e-3)]


def inner_points(n=50):
    u = 2 * torch.randn(n, Support(PARTS).dims, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Support(PARTS).from_real(u), u


def test_unbounded_numbers_come_back():
    x, u = inner_points()
    torch.testing.assert_close(Support(PARTS).to_real(x)[0], u, rtol=0, atol=1e-9)


def test_log_determinant_is_that_of_autograd():
    support, (x, _) = Support(PARTS), inner_points(5)

    def free_columns(x):  # the last of the simplex follows from the others
        return torch.cat([x[:, :6], x[:, 7:]], 1)

    def to_real(rest):
        rest = rest[None]
        last = 1 - rest[:, 3:6].sum(1, keepdim=True)
        return support.to_real(torch.cat([rest[:, :6], last, rest[:, 6:]], 1))[0][0]

    for row, log_det in zip(free_columns(x), support.to_real(x)[1], strict=True):
        jacobian = torch.autograd.functional.jacobian(to_real, row)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_leaves_the_support_whatever_the_network_returns(dtype):
    support = Support([*PARTS, Integer(-1, 3), Integer(0)])
    wild = torch.randn(2000, support.dims, dtype=torch.float64) * torch.logspace(-3, 300, 2000)[:, None].double()
    wild[0], wild[1] = torch.inf, -torch.inf
    x = support.from_real(wild, dtype)
    assert support.contains(x).all()
    assert (x[:, 1] > -3).all() and (x[:, 1] < 5).all() and (x[:, 2] > 2).all() and (x[:, 3:7] > 0).all()
    assert x.dtype == dtype


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="1 of 2 samples are NaN"):
        Support([Real()]).from_real(torch.tensor([[0.0], [torch.nan]]))


def test_a_uniform_prior_becomes_normal():
    u, _ = Support([Interval(2, 6)]).to_real(2 + 4 * torch.arange(1, 1000).double()[:, None] / 1000)
    torch.testing.assert_close(u[:, 0], torch.special.ndtri(torch.arange(1, 1000).double() / 1000))


def test_ends_of_an_interval_map_to_finite_numbers():
    u, log_det = Support([Interval(0, 1), Above(0)]).to_real(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert u.isfinite().all() and log_det.isfinite().all()


def test_whole_numbers_come_back_from_any_point_of_their_unit_interval():
    support, x = Support([Integer(2, 5), Integer(0)]), torch.tensor([[2.0, 0.0], [5.0, 7.0], [3.0, 1e6]])
    for noise in (0.01, 0.5, 0.99):
        u, _ = support.to_real(support.dequantize(x.double(), noise))
        assert torch.equal(support.from_real(u), x.double())


@pytest.mark.parametrize(
    ("prior", "parts"),
    [
        (
            Independent(Uniform(torch.tensor([0.0, -1.0]), torch.tensor([1.0, 4.0])), 1),
            [Interval(0, 1), Interval(-1, 4)],
        ),
        (Independent(Normal(torch.zeros(2), 1.0), 1), [Real(), Real()]),
        (Independent(LogNormal(torch.zeros(2), 1.0), 1), [Above(0), Above(0)]),
        (MultivariateNormal(torch.zeros(3), torch.eye(3)), [Real()] * 3),
        (Dirichlet(torch.ones(3)), [Simplex(3)]),
        (Independent(Poisson(torch.ones(1)), 1), [Integer(0)]),
        (
            independent(
                Uniform(0.0, 2.0), Normal(0.0, 1.0), Dirichlet(torch.ones(2)), Exponential(1.0), Beta(2.0, 2.0)
            ),
            [Interval(0, 2), Real(), Simplex(2), Above(0), Interval(0, 1)],
        ),
    ],
)
def test_support_is_read_off_the_prior(prior, parts):
    support = Support.of(prior)
    assert support == Support(parts)
    assert support.contains(prior.sample((1000,))).all()
    assert Support.from_json(json.loads(json.dumps(support.to_json()))) == support


def test_priors_without_vectors_as_events_are_refused():
    with pytest.raises(OptionError, match=r"events \(D,\) and no batch.*Independent"):
        Support.of(Uniform(torch.zeros(2), 1.0))
    with pytest.raises(TypeError, match="a prior is a torch.distributions"):
        Support.of([0, 1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Interval(1, 1), "high must be finite and above 1"),
        (lambda: Integer(3, 2), "high must be at least 3"),
        (lambda: Simplex(1), "size must be at least 2"),
        (lambda: Support([]), "at least one part"),
    ],
)
def test_impossible_parts_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_independent_distributions_add_their_log_densities():
    prior = independent(Uniform(0.0, 2.0), Dirichlet(torch.tensor([2.0, 3.0])))
    x = prior.sample((7,))
    expected = Uniform(0.0, 2.0).log_prob(x[:, 0]) + Dirichlet(torch.tensor([2.0, 3.0])).log_prob(x[:, 1:])
    torch.testing.assert_close(prior.log_prob(x), expected)
    torch.testing.assert_close(prior.mean, torch.tensor([1.0, 0.4, 0.6]))
