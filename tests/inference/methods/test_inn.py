import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from inverseflow.bijections import ActNorm, LUConv1x1
from inverseflow.errors import DataError, OptionError
from inverseflow.inference import AmortizedPosterior
from inverseflow.inference.methods import build_method, method_entry
from inverseflow.inference.methods.inn import INN, LikelihoodINN, couplings
from inverseflow.inference.posterior import Model

NAMES = ["inn", "inn-ml", "iresnet"]


@pytest.fixture(autouse=True)
def double_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def randomized(model, scale=0.3):
    """Return a model whose parameters, zeros included, are moved at random."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(scale * torch.randn_like(parameter) / (10 if name == "log_noise" else 1))
    for module in model.modules():
        if isinstance(module, ActNorm):
            module.initialized.fill_(True)
    return model.eval()


def built(name, dims=3, observed=2, scale=0.3, **options):
    size = {"steps": 2} if name == "iresnet" else {"blocks": 2}
    return randomized(build_method(name, dims, observed, width=8, depth=1, **size, **options), scale)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [3, 5])
def test_parameters_and_pads_come_back_from_observations_and_latent(name, channels):
    model = built(name, channels=channels)
    x, pads = torch.randn(7, 3), torch.randn(7, channels - 3)
    y, z, v, _ = model.to_latent(x, pads)
    assert (y.shape, z.shape, v.shape) == ((7, 2), (7, 1), (7, channels - 3))
    again = torch.cat(model.to_parameters(torch.cat([y, z, v], 1)), 1)
    assert (again - torch.cat([x, pads], 1)).abs().max() < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_the_log_determinant_is_that_of_the_jacobian(name):
    model = built(name, channels=5)
    x, pads = torch.randn(4, 3), torch.randn(4, 2)
    *_, log_det = model.to_latent(x, pads)
    for row in range(4):
        joint = torch.cat([x[row], pads[row]])
        jacobian = torch.autograd.functional.jacobian(lambda joint: model.bijection(joint[None])[0][0], joint)
        assert log_det[row].item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_generator_and_the_temperature(name):
    model, y = built(name), torch.randn(2)
    first, second = (model.sample(5, y, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (5, 3) and torch.equal(first, second)
    assert (model.sample(5, y, temperature=0.0).std(0) < 1e-12).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 6])
def test_the_loss_is_finite_for_one_row_and_reaches_every_parameter(name, rows):
    model = built(name, channels=6).train()
    model.loss(torch.randn(rows, 3), torch.randn(rows, 2)).total.backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), path
        assert parameter.grad.abs().max() > 0, path


def linear(dims, observed, **options):
    """Return a maximum-likelihood model of a linear f, and its matrix."""
    model = randomized(LikelihoodINN(dims, observed, LUConv1x1, **options))
    matrix = model.bijection(torch.eye(model.channels))[0].T
    return model, matrix.detach()


def gaussian_of(model, matrix, y):
    """Return the mean and the covariance of N(W⁻¹[y, 0], W⁻¹ S W⁻ᵀ), S the covariances of the noise of y, z and v."""
    observed, latent, total = len(y), model.latent, model.channels
    inverse = torch.linalg.inv(matrix)
    spread = torch.zeros(total, total)
    whitening = model._whitening(y[None])
    spread[:observed, :observed] = torch.linalg.inv(whitening.T @ whitening)
    rest = torch.tensor([1.0] * latent + [model.pad_noise**2] * (total - observed - latent))
    spread[observed:, observed:] = torch.diag(rest)
    mean = inverse @ torch.cat([y, torch.zeros(total - observed)])
    return mean.detach(), (inverse @ spread @ inverse.T).detach()


@pytest.mark.parametrize(
    ("observed", "options"),
    [(1, {"observation_noise": 0.3}), (2, {}), (1, {"latent": 1, "pad_noise": 0.2})],
    ids=["given noise", "learned covariance", "padded latent"],
)
def test_the_density_of_a_linear_map_is_the_gaussian_of_scipy(observed, options):
    model, matrix = linear(3, observed, **options)
    x, y = torch.randn(5, 3), torch.randn(observed)
    mean, covariance = gaussian_of(model, matrix, y)
    expected = stats.multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x.numpy())
    assert model.likelihood == "exact"
    assert model.log_prob(x, y.expand(5, -1)).detach().numpy() == pytest.approx(expected, abs=1e-9)


def test_samples_of_a_linear_map_have_the_moments_of_that_gaussian():
    model, matrix = linear(3, 2)
    y = torch.randn(2)
    mean, covariance = gaussian_of(model, matrix, y)
    x = model.sample(40_000, y)
    deviation = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean) / deviation).abs().max() < 5 / 200
    scale = deviation[:, None] * deviation
    assert ((torch.cov(x.T) - covariance) / scale).abs().max() < 0.05


def test_with_one_deviation_the_loss_is_that_of_the_publication_up_to_a_constant():
    model, matrix = linear(3, 1, observation_noise=0.2)
    x, y = torch.randn(6, 3), torch.randn(6, 1)
    joint = x @ matrix.T
    printed = 0.5 * ((joint[:, :1] - y).square().sum(1) / 0.2**2 + joint[:, 1:].square().sum(1))
    printed = printed - torch.linalg.slogdet(matrix).logabsdet
    constant = 1.5 * math.log(2 * math.pi) + math.log(0.2)
    assert torch.allclose(-model.log_prob(x, y), printed + constant)


def on_a_grid(model, y, axes):
    """Return the model's density of all points of a grid of two axes."""
    points = torch.cartesian_prod(*axes)
    with torch.no_grad():
        return (
            model.joint_log_prob(points[:, : model.dims], points[:, model.dims :], y.expand(len(points), -1))
            .exp()
            .reshape(len(axes[0]), len(axes[1]))
        )


def distribution_function(axis, density):
    """Return the distribution function of a density on a grid of equal steps, by the trapezoid rule."""
    steps = torch.cat([torch.zeros(1), (density[1:] + density[:-1]) / 2 * (axis[1] - axis[0])]).cumsum(0)
    return lambda x: np.interp(x, axis.numpy(), steps.numpy())


@pytest.mark.parametrize("name", ["inn-ml", "iresnet"])
def test_the_density_integrates_to_one_and_is_that_of_the_samples(name):
    torch.manual_seed(1)
    model, y = built(name, 2, 1, scale=0.2), torch.tensor([0.4])
    axis = torch.linspace(-12, 12, 481)
    density = on_a_grid(model, y, (axis, axis))
    assert density.sum().item() * 0.05**2 == pytest.approx(1, abs=1e-2)
    samples = model.sample(2000, y)
    for column in range(2):
        marginal = density.sum(1 - column) * 0.05
        assert stats.kstest(samples[:, column].numpy(), distribution_function(axis, marginal)).pvalue > 1e-3


def test_with_pads_of_the_parameters_the_samples_have_the_marginal_and_the_bound_is_below_it():
    torch.manual_seed(2)
    model, y = built("inn-ml", 1, 1, scale=0.2), torch.tensor([-0.5])
    axis = torch.linspace(-12, 12, 481)
    marginal = on_a_grid(model, y, (axis, axis)).sum(1) * 0.05
    samples = model.sample(2000, y)
    assert stats.kstest(samples[:, 0].numpy(), distribution_function(axis, marginal)).pvalue > 1e-3
    assert model.likelihood == Model(model, None, (1,)).likelihood == "bound"
    x = axis[240:241, None]
    exact = marginal[240].log().item()
    with torch.no_grad():
        many = x.expand(4000, -1)
        tight = model.log_prob(many, y.expand(4000, -1)).mean().item()
        loose = model.train().log_prob(many, y.expand(4000, -1))
    assert loose.mean().item() < tight < exact + 1e-2
    assert loose.exp().mean().item() == pytest.approx(marginal[240].item(), rel=0.1)


def discrepancy_model(**options):
    build = partial(couplings, blocks=2, width=8, depth=1)
    return randomized(INN(3, 1, build, channels=5, reconstruction_weight=1.0, **options)).train()


def test_one_step_adds_the_gradients_of_both_directions():
    model = discrepancy_model(ramp=4)
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    torch.manual_seed(0)
    model.loss(x, y).total.backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.manual_seed(0)
    sum(model.forward_terms(x, y).values()).backward()
    sum(model.reverse_terms(x, y).values()).backward()
    for parameter, gradient in zip(model.parameters(), together, strict=True):
        assert (parameter.grad - gradient).abs().max() < 1e-10


def test_the_discrepancy_of_the_latent_leaves_the_observations_alone():
    model = INN(3, 1, ActNorm)  # a scale and a shift of its own for y, the first number, and for each of z
    model.bijection.initialized.fill_(True)
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    terms = model.forward_terms(x, y)
    parameters = list(model.parameters())
    of_latent = torch.autograd.grad(terms["latent"], parameters, retain_graph=True)
    of_fit = torch.autograd.grad(terms["fit"], parameters)
    for latent, fit in zip(of_latent, of_fit, strict=True):
        assert latent.flatten()[0] == 0 and (latent.flatten()[1:] != 0).all()
        assert fit.flatten()[0] != 0 and (fit.flatten()[1:] == 0).all()


def test_the_discrepancy_of_the_parameters_is_ramped_up_in_training_only():
    model = discrepancy_model(ramp=4)
    x, y = torch.randn(20, 3), torch.randn(20, 1)

    def prior_term():
        torch.manual_seed(0)
        return model.loss(x, y).terms["prior"].item()

    full = (model.eval(), prior_term())[1]
    model.train()
    found = [prior_term() / full for _ in range(6)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert discrepancy_model(ramp=0).passes == 0 and model.state_dict()["passes"] == 6


def test_terms_that_do_not_apply_are_left_out():
    model = INN(3, 1, partial(couplings, blocks=1, width=4, depth=1))
    assert set(model.loss(torch.randn(4, 3), torch.randn(4, 1)).terms) == {"fit", "latent", "prior"}


def test_a_residual_network_of_many_channels_calls_its_likelihood_an_estimate():
    assert built("iresnet").likelihood == "exact"
    assert build_method("iresnet", 65, 2, steps=1, width=8).likelihood == "estimate"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 3}, "channels must be at least 4, for 3 parameters and for 2 observations [+] 2 of the latent"),
        ({"latent": 4}, "latent must be at most the 3 parameters, got 4"),
        ({"pad_noise": 0.0}, "pad_noise must be finite and above 0"),
        ({"latent": -1}, "latent must be at least 0"),
    ],
)
def test_sizes_that_cannot_be_one_to_one_are_refused(name, options, message):
    with pytest.raises(OptionError, match=message):
        build_method(name, 3, 2, **{"latent": 2, **options})


@pytest.mark.parametrize("name", NAMES)
def test_without_a_latent_observations_that_leave_the_parameters_open_are_refused(name):
    x = torch.randn(500, 2)
    model = build_method(name, 2, 2, latent=0, width=8)
    with pytest.raises(DataError, match="latent=0 needs observations that determine the parameters"):
        model.initialize(x, torch.cat([x[:, :1], x[:, 1:].square()], 1))
    model.initialize(x, torch.cat([x[:, :1] + x[:, 1:], x[:, 1:] ** 3], 1))


def test_an_inn_refuses_to_train_a_summary_of_the_observations():
    model = discrepancy_model()
    with pytest.raises(OptionError, match="can't train a summary"):
        model.loss(torch.randn(4, 3), torch.randn(4, 1, requires_grad=True))


def test_an_inn_has_no_density_and_says_which_methods_have_one():
    assert not method_entry("inn").has_density
    with pytest.raises(OptionError, match="inn-ml"):
        built("inn").log_prob(torch.randn(1, 3), torch.randn(1, 2))


@pytest.mark.parametrize("name", NAMES)
def test_weights_bring_their_permutations_along(name):
    first, second = built(name), built(name)
    second.load_state_dict(first.state_dict())
    y, generators = torch.randn(2), [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(*(m.sample(4, y, generator=g) for m, g in zip((first, second), generators, strict=True)))


@pytest.mark.parametrize("name", NAMES)
def test_a_posterior_of_the_method_is_trained_saved_and_loaded(name, tmp_path):
    torch.set_default_dtype(torch.float32)
    x = torch.randn(200, 2)
    y = x[:, :1] + 0.1 * torch.randn(200, 1)
    posterior = AmortizedPosterior(name, width=8).fit(x, y, max_steps=3, batch_size=50, progress=False, out=tmp_path)
    again = AmortizedPosterior.load(tmp_path)
    assert torch.equal(again.sample(y[:2], 5, seed=1), posterior.sample(y[:2], 5, seed=1))
    if name == "inn":
        assert again.model.conditional.passes == posterior.result.best_step
