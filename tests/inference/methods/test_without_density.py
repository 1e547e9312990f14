import pytest
import torch

from inverseflow.errors import OptionError
from inverseflow.inference import AmortizedPosterior, build_method
from inverseflow.inference.problems import create
from inverseflow.ops import mmd

NAMES = ["autoencoder", "cvae", "iaf-reverse", "invauto", "maf-reverse", "vae"]
SMALL = {"width": 8, "depth": 1}


def built(name, dims=3, observed=2, **options):
    return build_method(name, dims, observed, **SMALL, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dims", "observed"), [(1, 1), (2, 5)])
def test_one_parameter_or_more_observations_than_parameters_have_a_loss_and_samples(name, dims, observed):
    model, x, y = built(name, dims, observed), torch.randn(50, dims), torch.randn(50, observed)
    model.initialize(x, y)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for rows in (slice(0, 1), slice(None)):
        loss = model.loss(x[rows], y[rows])
        assert loss.total.isfinite() and all(term.isfinite() for term in loss.terms.values())
    loss.total.backward()
    reached = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {key for key, _ in model.named_parameters()}
    assert model.sample(7, y[0]).shape == (7, dims)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_generator_and_the_context(name):
    model = built(name)
    model.initialize(torch.randn(50, 3), torch.randn(50, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    y = torch.randn(2, 2)
    first, again, other = (model.sample(5, y[index], generator=torch.Generator().manual_seed(1)) for index in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    if name != "vae":  # which draws among the latents that fit
        certain = model.sample(5, y[0], temperature=0.0)
        torch.testing.assert_close(certain, certain[:1].expand(5, 3))
    with pytest.raises(ValueError, match="conditional: pass a context"):
        model.sample(5)


@pytest.mark.parametrize("name", ["autoencoder", "invauto", "vae"])
def test_a_summary_that_would_collapse_is_refused(name):
    with pytest.raises(OptionError, match="can't train a summary of the observations.*take cinn or cvae"):
        built(name).loss(torch.randn(4, 3), torch.randn(4, 2, requires_grad=True))


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("autoencoder", {"latent": 0}, "latent must be at least 1, got 0"),
        ("autoencoder", {"latent_weight": -1}, "latent_weight must be finite and at least 0, got -1"),
        ("invauto", {"slope": 2}, "slope must be above 0 and at most 1, got 2"),
        ("cvae", {"variance": 0}, "variance must be finite and above 0, got 0"),
        ("vae", {"draws": 0}, "draws must be at least 1, got 0"),
        ("maf-reverse", {"steps": 0}, "steps must be at least 1, got 0"),
        ("maf-reverse", {"cycle_weight": -1}, "cycle_weight must be finite and at least 0, got -1"),
        ("iaf-reverse", {"slope": 1}, "slope"),
    ],
)
def test_impossible_options_are_refused(name, option, message):
    with pytest.raises(OptionError, match=message):
        built(name, **option)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_samples_lead_back_to_the_observation_and_are_closer_to_the_posterior_than_the_prior(name):
    problem = create("kinematics")
    x, y = problem.simulate(5000, seed=1)
    posterior = AmortizedPosterior.of(problem, name).fit(x, y, max_steps=1000, progress=False)
    y = problem.simulate(20, seed=2)[1]
    samples = posterior.sample(y, 500, seed=0)
    prior, scale = problem.simulate(500, seed=3)[0], x.std(0)

    def error(x):
        return (problem.simulator(x) - y[:, None]).square().sum(-1).mean()

    def mismatch(x):
        exact = [problem.reference(each, 500, torch.Generator().manual_seed(0)) / scale for each in y[:5]]
        pairs = zip(exact, x, strict=False)
        return torch.stack([mmd(drawn / scale, true, unbiased=True) for true, drawn in pairs]).mean()

    assert error(samples) < 0.1 * error(prior.expand(20, 500, 4))
    assert mismatch(samples) < 0.9 * mismatch(prior.expand(20, 500, 4))


@pytest.mark.parametrize("name", ["autoencoder", "invauto"])
def test_the_forward_part_predicts_what_training_fits_to_observations(name):
    model, x, y = built(name), torch.randn(50, 3), torch.randn(50, 2)
    predicted = model.predict(x)
    assert predicted.shape == y.shape
    torch.testing.assert_close(model.terms(x, y)["fit"], (predicted - y).square().sum(1).mean())
