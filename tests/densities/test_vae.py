import math

import pytest
import torch
from torch.distributions import Bernoulli, LowRankMultivariateNormal, MultivariateNormal, Normal

from inverseflow import fit
from inverseflow.densities import VAE
from inverseflow.errors import OptionError


def perturbed(model, scale=0.3):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return model.double()


def linear():
    """A VAE of linear networks whose encoder gives the exact posterior of z, and the normal that is its density."""
    model, variance = VAE((4,), 2, depth=0, variance=0.3).double(), 0.3
    weight, _ = torch.linalg.qr(
        torch.randn(4, 2, dtype=torch.float64)
    )  # orthogonal: z has independent elements given x
    weight, bias = weight * torch.tensor([2.0, 0.5]), torch.randn(4, dtype=torch.float64)
    precision = 1 + weight.square().sum(0) / variance
    gain = weight.T / variance / precision[:, None]
    with torch.no_grad():
        model.decoder[-1].weight.copy_(weight)
        model.decoder[-1].bias.copy_(bias)
        model.encoder[-1].weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
        unbounded = -10 + torch.expm1(10 - precision.log()).log()  # undoes the bound on log variances
        model.encoder[-1].bias.copy_(torch.cat([-gain @ bias, unbounded]))
    return model, MultivariateNormal(bias, weight @ weight.T + variance * torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("prior", ["normal", "learned"])
def test_the_divergence_is_the_formula_and_the_mean_over_draws(prior):
    model = perturbed(VAE((3,), 2, prior=prior, width=8, context_channels=2))
    x, y = torch.randn(2, 3).double(), torch.randn(2, 2).double()
    q, p = model.posterior(x, y), model.prior(y)
    expected = 0.5 * ((p.variance / q.variance).log() + (q.variance + (q.mean - p.mean) ** 2) / p.variance - 1)
    torch.testing.assert_close(model.kl(x, y), expected)
    z = q.sample((500_000,))
    drawn = (q.log_prob(z) - Normal(p.mean, p.stddev, validate_args=False).log_prob(z)).mean(0)
    assert (drawn - model.kl(x, y)).abs().max() < 1e-2
    if prior == "normal":
        assert torch.equal(p.mean, torch.zeros(2).double()) and torch.equal(p.stddev, torch.ones(2).double())


def test_the_bounds_are_exact_with_the_exact_posterior_of_z():
    model, exact = linear()
    x = exact.sample((10,))
    torch.testing.assert_close(model.importance_bound(x, samples=3), exact.log_prob(x))
    elbo = torch.stack([model.elbo(x) for _ in range(500)])
    error = elbo.std(0) / math.sqrt(500)
    assert ((elbo.mean(0) - exact.log_prob(x)).abs() < 5 * error).all()


def test_the_bounds_grow_with_the_draws_towards_the_exact_log_density():
    model, exact = linear()
    with torch.no_grad():
        model.encoder[-1].bias.add_(0.4)
        x = exact.sample((20,))
        elbo = torch.stack([model.elbo(x) for _ in range(500)]).mean()
        few = torch.stack([model.importance_bound(x, samples=5) for _ in range(100)]).mean()
        many = torch.stack([model.importance_bound(x, samples=500) for _ in range(20)]).mean()
    log_prob = exact.log_prob(x).mean()
    assert elbo + 0.05 < few < many - 0.02 and log_prob - 0.01 < many < log_prob + 0.005
    assert model.likelihood == "bound"


def test_the_loss_of_the_review_is_the_negative_bound_times_twice_the_variance_up_to_a_constant():
    variance = 0.2
    model = perturbed(VAE((3,), 2, variance=variance, width=8, context_channels=2))
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    torch.manual_seed(1)
    elbo = model.elbo(x, y)
    torch.manual_seed(1)
    q = model.posterior(x, y)
    rebuilt = model.decode(q.rsample(), y)
    mean, v, alpha = q.mean, q.variance, 2 * variance
    equation_18 = (x - rebuilt).square().sum(1) - 0.5 * alpha * (1 + v.log() - mean.square() - v).sum(1)
    constant = variance * 3 * math.log(2 * math.pi * variance)
    torch.testing.assert_close(-2 * variance * elbo, equation_18 + constant)


def test_samples_have_the_density_of_the_model():
    model, exact = linear()
    x = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert (x.mean(0) - exact.mean).abs().max() < 0.05
    assert (x.T.cov() - exact.covariance_matrix).abs().max() < 0.05 * exact.covariance_matrix.abs().max()
    torch.testing.assert_close(model.sample(3, temperature=0.0), exact.mean.expand(3, 4))


def test_a_bernoulli_decoder_gives_probabilities_of_binary_data():
    model = perturbed(VAE((1, 2, 2), 1, decoder="bernoulli", width=4))
    x = torch.cartesian_prod(*[torch.arange(2.0)] * 4).reshape(16, 1, 2, 2).double()
    with torch.no_grad():
        total = model.importance_bound(x, samples=5000).exp().sum().item()
        z = torch.randn(20_000, 1).double()
        exact = torch.stack([Bernoulli(model.decode(z)).log_prob(image).sum((1, 2, 3)) for image in x])
    exact = exact.logsumexp(1) - math.log(20_000)
    assert total == pytest.approx(1, abs=0.01)
    assert (model.importance_bound(x, samples=5000) - exact).abs().max() < 0.05
    shares = (model.sample(20_000).flatten(1) @ torch.tensor([8.0, 4, 2, 1]).double()).long().bincount(minlength=16)
    assert (shares / 20_000 - exact.exp()).abs().max() < 0.02
    with pytest.raises(OptionError, match="takes zeros and ones; binarize"):
        model.log_prob(x + 0.5)


def test_a_learned_prior_and_contexts_reach_the_samples():
    model = perturbed(VAE((2,), 1, prior="learned", width=8, context_channels=1), 1.0)
    low, high = (model.sample(500, torch.full((1,), value).double()) for value in (-2.0, 2.0))
    assert (low.mean(0) - high.mean(0)).abs().max() > 0.1
    with pytest.raises(ValueError, match="a learned prior is one given a context"):
        VAE((2,), 1, prior="learned")


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="a Bernoulli decoder has no variance, got 0.5"):
        VAE((2,), 1, decoder="bernoulli", variance=0.5)
    with pytest.raises(ValueError, match="variance must be finite and above 0, got 0"):
        VAE((2,), 1, variance=0)
    with pytest.raises(ValueError, match="unknown decoder 'student': choose 'gaussian' or 'bernoulli'"):
        VAE((2,), 1, decoder="student")


def ppca(data, latent):
    """Maximum of the likelihood of probabilistic PCA in nats, by Tipping and Bishop's closed form."""
    values = torch.linalg.eigvalsh((data - data.mean(0)).T @ (data - data.mean(0)) / len(data)).flip(0)
    noise = values[latent:].mean()
    determinant = values[:latent].log().sum() + (len(values) - latent) * noise.log()
    return -0.5 * (len(values) * math.log(2 * math.pi) + determinant + len(values))


@pytest.mark.slow
def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca():
    torch.manual_seed(0)
    truth = LowRankMultivariateNormal(torch.zeros(6), torch.randn(6, 2), torch.full((6,), 0.25))
    data = truth.sample((4000,))
    model = VAE((6,), 2, depth=0)
    fit(model, data, max_steps=2000, batch_size=400, learning_rate=1e-2, progress=False)
    with torch.no_grad():
        bound = model.importance_bound(data, samples=100).mean()
    assert abs(bound - ppca(data, 2)) / 6 < 0.02
    assert (model.kl(data).mean(0) > 0.5).all()


@pytest.mark.slow
def test_latent_numbers_that_are_not_needed_collapse_and_the_divergence_shows_it():
    torch.manual_seed(0)
    data = torch.randn(2000, 1) * torch.tensor([[1.0, -1.0, 0.5]]) + 0.2 * torch.randn(2000, 3)
    model = VAE((3,), 3, width=16, depth=1)
    fit(model, data, max_steps=800, learning_rate=1e-2, progress=False)
    used = model.kl(data).mean(0).sort().values
    assert used[-1] > 0.5 and (used[:2] < 0.1).all()


def digits():
    """Return 1,200 digits for training and 597 for testing, each with labels; gray levels lie in [0, 1]."""
    x, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    x, labels = torch.from_numpy(x).float() / 16, torch.from_numpy(labels)
    return (x[:1200], labels[:1200]), (x[1200:], labels[1200:])


@pytest.mark.slow
def test_the_bounds_of_binary_digits_stay_below_their_probability_by_quadrature():
    torch.manual_seed(0)
    train, test = (torch.bernoulli(x) for x, _ in digits())
    model = VAE((64,), 2, decoder="bernoulli")
    fit(model, train, max_steps=1000, batch_size=100, learning_rate=2e-3, progress=False)
    test = test[:100]
    with torch.no_grad():
        elbo, tight = (model.importance_bound(test, samples=samples).mean() for samples in (1, 500))
        axis = torch.linspace(-6, 6, 121, dtype=torch.float64)
        z = torch.cartesian_prod(axis, axis)
        decoded = model.double().decoded(z)
        log_joint = torch.stack([decoded.log_prob(x.double()).sum(1) for x in test])
        exact = (log_joint + model.prior().log_prob(z).sum(1)).logsumexp(1).mean() + 2 * math.log(axis[1] - axis[0])
    assert elbo < tight - 0.1 and exact - 0.1 < tight < exact + 0.02
    shares = train.mean(0).clamp(0.01, 0.99)
    independent = Bernoulli(shares).log_prob(test).sum(1).mean()
    assert exact > independent + 2
    assert (model.kl(test.double()).mean(0) > 0.5).all()


@pytest.mark.slow
def test_a_conditional_vae_draws_the_digit_that_is_asked_for():
    svm = pytest.importorskip("sklearn.svm")
    torch.manual_seed(0)
    (x, labels), (test, test_labels) = digits()
    judge = svm.SVC().fit(x, labels)
    assert judge.score(test, test_labels) > 0.93
    x = x + torch.rand(x.shape) / 16  # off the lattice of gray levels
    model = VAE((64,), 8, context_channels=10)
    classes = torch.eye(10)
    fit(model, x, classes[labels], max_steps=1500, batch_size=100, learning_rate=2e-3, progress=False)
    asked = torch.arange(10).repeat_interleave(50)
    with torch.no_grad():
        drawn = model.decode(torch.randn(500, 8), classes[asked])
    assert (judge.predict(drawn) == asked.numpy()).mean() > 0.95
    assert drawn.view(10, 50, 64).std(1).mean() > 0.05
