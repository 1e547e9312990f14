import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

sbi = pytest.importorskip("sbi", reason="sbi is not installed: make test-interop")

from sbi.inference import NPE  # noqa: E402
from sbi.inference.posteriors import DirectPosterior  # noqa: E402
from sbi.utils import metrics  # noqa: E402

from inverseflow.flows import NSF  # noqa: E402
from inverseflow.inference import AmortizedPosterior, Interval, Support  # noqa: E402
from inverseflow.inference.diagnostics import c2st  # noqa: E402
from inverseflow.interop.sbi import as_estimator, density_estimator  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Maximum number of epochs")


@pytest.fixture(autouse=True)
def _logs_of_sbi(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# theta ~ N(mean, deviation²), x | theta ~ N(A theta, noise²): the units of theta are far from 1.
MEAN, DEVIATION, NOISE = torch.tensor([100.0, -3.0]), torch.tensor([20.0, 0.1]), 0.5
A = torch.tensor([[0.05, 4.0], [0.0, 6.0], [0.03, -2.0]])


def prior():
    return Independent(Normal(MEAN, DEVIATION), 1)


def simulate(theta):
    return theta @ A.T + NOISE * torch.randn(len(theta), 3)


def posterior_given(x):
    precision = torch.diag(DEVIATION**-2) + A.T @ A / NOISE**2
    covariance = torch.linalg.inv(precision)
    return MultivariateNormal(covariance @ (MEAN / DEVIATION**2 + A.T @ x / NOISE**2), covariance)


def small_flow(event_shape, context_channels):
    return NSF(event_shape, context_channels=context_channels, steps=2, width=16)


def estimator(**options):
    theta = prior().sample((50,))
    return density_estimator(small_flow, **options)(theta, simulate(theta))


def trained(build, simulations=4000, **options):
    theta = prior().sample((simulations,))
    inference = NPE(prior(), density_estimator=build, show_progress_bars=False)
    inference.append_simulations(theta, simulate(theta)).train(**options)
    return inference.build_posterior()


@pytest.mark.slow
def test_a_flow_trained_by_sbi_has_the_analytic_posterior_of_a_linear_normal_simulator():
    build = density_estimator("nsf", steps=2, width=32)
    posterior = trained(build, max_num_epochs=20, learning_rate=0.005, training_batch_size=200)
    for theta in (torch.tensor([110.0, -3.05]), torch.tensor([90.0, -2.95])):
        x = A @ theta
        exact = posterior_given(x)
        scale = exact.variance.sqrt()
        drawn = posterior.sample((4000,), x=x, show_progress_bars=False)
        torch.testing.assert_close((drawn.mean(0) - exact.mean) / scale, torch.zeros(2), atol=0.2, rtol=0)
        relative = (drawn.T.cov() - exact.covariance_matrix) / scale.outer(scale)
        torch.testing.assert_close(relative, torch.zeros(2, 2), atol=0.25, rtol=0)
        seen = exact.sample((2000,))
        divergence = (exact.log_prob(seen) - posterior.log_prob(seen, x=x)).mean()
        assert divergence < 0.05


def test_samples_and_densities_have_the_shapes_of_sbi():
    ours = estimator()
    theta, x = prior().sample((7, 4)), simulate(prior().sample((4,)))
    assert ours.log_prob(theta, x).shape == (7, 4)
    assert ours.log_prob(theta[0], x).shape == (1, 4)
    assert ours.log_prob(theta, x[:1]).shape == (7, 4)
    assert ours.log_prob(theta[:, :1], x).shape == (7, 4)
    torch.testing.assert_close(ours.log_prob(theta, x.expand(7, 4, 3)), ours.log_prob(theta, x))
    torch.testing.assert_close(ours.loss(theta[0], x), -ours.log_prob(theta, x)[0])
    for i in range(4):
        torch.testing.assert_close(
            ours.log_prob(theta[:, i : i + 1], x[i : i + 1])[:, 0], ours.log_prob(theta, x)[:, i]
        )
    assert ours.sample(torch.Size([5, 6]), x).shape == (5, 6, 4, 2)
    drawn, log_prob = ours.sample_and_log_prob(torch.Size([5]), x)
    torch.testing.assert_close(ours.log_prob(drawn, x), log_prob, atol=1e-3, rtol=1e-4)


def test_parameters_and_observations_are_standardized_and_densities_keep_their_units():
    theta = prior().sample((500,))
    x = simulate(theta)
    builds = []
    for unit in (1, 1000):
        torch.manual_seed(0)
        builds.append(density_estimator(small_flow)(unit * theta, x))
    for values in (builds[1].net.preprocessing(1000 * theta)[0], builds[1].standardize(x)[0]):
        torch.testing.assert_close(values.mean(0), torch.zeros_like(values[0]), atol=1e-3, rtol=0)
        torch.testing.assert_close(values.std(0), torch.ones_like(values[0]), atol=2e-3, rtol=0)
    in_units, in_thousandths = builds[0].log_prob(theta, x), builds[1].log_prob(1000 * theta, x)
    torch.testing.assert_close(in_thousandths, in_units - 2 * math.log(1000), atol=2e-3, rtol=0)


def test_a_saved_posterior_serves_in_sbi_and_leaks_nothing(tmp_path):
    box = Independent(Uniform(torch.zeros(2), 1.0), 1)
    theta = box.sample((200,))
    x = torch.cat([theta, theta.sum(1, keepdim=True)], 1) + 0.1 * torch.randn(200, 3)
    trained = AmortizedPosterior(support=Support([Interval(0, 1)] * 2), steps=2, width=8)
    trained.fit(theta, x, max_steps=10, progress=False).save(tmp_path)
    ours = AmortizedPosterior.load(tmp_path)
    estimator = as_estimator(ours)
    posterior = DirectPosterior(estimator, box)
    drawn = posterior.sample((500,), x=x[0], show_progress_bars=False)
    assert box.support.check(drawn).all()
    torch.testing.assert_close(posterior.log_prob(drawn, x=x[0]), ours.log_prob(drawn, x[0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(estimator.log_prob(theta[:4], x[:4])[0], ours.log_prob(theta[:4], x[:4]))
    samples, log_prob = estimator.sample_and_log_prob(torch.Size([5, 2]), x[:3])
    assert samples.shape == (5, 2, 3, 2)
    torch.testing.assert_close(log_prob[2, 1], ours.log_prob(samples[2, 1], x[:3]), atol=1e-4, rtol=1e-4)
    assert posterior.set_default_x(x[0]).map(num_iter=5, num_to_optimize=2, show_progress_bars=False).shape == (1, 2)


def test_a_constant_observation_does_no_harm():
    theta = prior().sample((50,))
    x = torch.cat([simulate(theta), torch.full((50, 1), 3.0)], 1)
    assert density_estimator(small_flow)(theta, x).log_prob(theta, x).isfinite().all()


def test_an_embedding_takes_observations_that_are_no_vectors_and_is_trained():
    theta = prior().sample((60,))
    x = simulate(theta)[:, None].repeat(1, 2, 1)
    embedding = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    before = embedding[1].weight.clone()
    inference = NPE(
        prior(), density_estimator=density_estimator(small_flow, embedding=embedding), show_progress_bars=False
    )
    ours = inference.append_simulations(theta, x).train(max_num_epochs=1)
    assert ours.condition_shape == (2, 3)
    assert ours.sample(torch.Size([5]), x[:4]).shape == (5, 4, 2)
    assert not torch.equal(before, ours.embedding_net[1].weight) and torch.equal(before, embedding[1].weight)


def test_a_trained_estimator_can_be_pickled():
    ours = estimator()
    theta = prior().sample((4,))
    x = simulate(theta)
    torch.testing.assert_close(pickle.loads(pickle.dumps(ours)).log_prob(theta, x), ours.log_prob(theta, x))


def test_bad_data_and_names_are_refused_with_the_remedy():
    theta = prior().sample((50,))
    with pytest.raises(
        ValueError, match=r"observations must become vectors .* got shape \(50, 2, 3\); pass embedding="
    ):
        density_estimator(small_flow)(theta, torch.randn(50, 2, 3))
    with pytest.raises(ValueError, match=r"takes events \(D,\), got \(2, 1\); flatten them"):
        density_estimator("nsf")(theta[..., None], torch.randn(50, 3))
    with pytest.raises(ValueError, match="can't whiten a batch in which 150 of 150 values are not finite"):
        density_estimator(small_flow)(theta, torch.full((50, 3), torch.nan))
    with pytest.raises(TypeError, match="must be a name or a function that builds a flow, got 3"):
        density_estimator(3)
    with pytest.raises(ValueError, match="unknown flow 'no-such-flow': choose one of"):
        density_estimator("no-such-flow")


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.5)])
def test_the_classifier_test_is_that_of_sbi_with_the_settings_of_its_benchmark(scale, shift):
    p, q = torch.randn(150, 2), scale * torch.randn(150, 2) + shift
    settings = {"activation": "relu", "hidden_layer_sizes": (20, 20), "max_iter": 10_000, "solver": "adam"}
    theirs = metrics.c2st(p, q, classifier="mlp", classifier_kwargs=settings)
    assert c2st(p, q) == pytest.approx(theirs.item(), abs=0.005)
