import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.estimator_checks import check_estimator

from inverseflow.bijections import ActNorm, Compose, Whiten
from inverseflow.data import Batch
from inverseflow.densities import create
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators import HybridFlow, HybridLoss, InvertibleClassifier
from inverseflow.flows import NICE, Flow, Glow, RealNVP

FEW_STEPS = {"max_steps": 5, "validate_every": 5, "learning_rate": 1e-2, "progress": False}
SMALL = {"steps": 2, "width": 8, "depth": 1}


def classifier(**options):
    defaults = {"density": "realnvp", "density_options": SMALL, "fit_options": FEW_STEPS, "random_state": 0}
    return InvertibleClassifier(**defaults | options)


@pytest.fixture(scope="module")
def labeled():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal([0.0, 0.0, 1.0], [1.0, 2.0, 1.0], (80, 3)), rng.normal(4.0, 1.0, (40, 3))])
    return X, np.array(["wide"] * 80 + ["slim"] * 40)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:x lies on lattices")
def test_it_passes_the_checks_of_scikit_learn():
    training = {"max_steps": 60, "validate_every": 20, "learning_rate": 0.05, "progress": False}
    check_estimator(classifier(random_state=None, fit_options=training), on_skip=None)


def test_whitened_classes_around_their_means_are_linear_discriminant_analysis():
    X, y = load_iris(return_X_y=True)
    shares = np.array([0.2, 0.3, 0.5])
    lda = LinearDiscriminantAnalysis(priors=shares).fit(X, y)
    x = torch.tensor(X)
    means = torch.stack([x[y == name].mean(0) for name in range(3)])
    hybrid = HybridFlow(Flow(Compose(Whiten.of(x - means[y]), ActNorm(4)), (4,)), 3, prior="classes").double()
    hybrid.weight.data = hybrid.flow.encode(means)
    hybrid.bias.data = torch.tensor(shares).log()
    np.testing.assert_allclose(hybrid(x).softmax(1).detach().numpy(), lda.predict_proba(X), atol=1e-6)


def test_the_density_with_a_prior_of_classes_is_a_mixture():
    torch.manual_seed(0)
    hybrid = HybridFlow(RealNVP((3,), **SMALL), 2, prior="classes").double()
    for parameter in hybrid.parameters():
        parameter.data.normal_(0, 0.3)
    x = torch.randn(7, 3, dtype=torch.float64)
    z, log_det = hybrid.flow.bijection(hybrid.flow.preprocessing(x)[0])
    log_det = log_det + hybrid.flow.preprocessing(x)[1]
    parts = torch.stack([torch.distributions.Normal(mean, 1.0).log_prob(z).sum(1) for mean in hybrid.weight], 1)
    mixture = (parts + hybrid.bias.log_softmax(0)).logsumexp(1) + log_det
    torch.testing.assert_close(hybrid.log_prob(x), mixture, rtol=1e-10, atol=1e-10)
    drawn = hybrid.sample(4000).detach()
    expected = hybrid.bias.softmax(0) @ hybrid.weight
    torch.testing.assert_close(hybrid.flow.encode(drawn).mean(0), expected, rtol=0, atol=0.1)


def test_the_gradient_of_the_loss_by_the_input_is_that_of_finite_differences():
    torch.manual_seed(0)
    hybrid = HybridFlow(RealNVP((4,), **SMALL), 3).double()
    for parameter in hybrid.parameters():
        parameter.data.normal_(0, 0.5)
    labels = torch.eye(3, dtype=torch.float64)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: HybridLoss(0.7)(hybrid, Batch(x, labels)).total, x)


def test_the_loss_adds_the_likelihood_of_each_number():
    hybrid, batch = HybridFlow(RealNVP((4,), **SMALL), 3).eval(), Batch(torch.randn(3, 4), torch.eye(3))
    terms = HybridLoss(0.5)(hybrid, batch)
    nats = -hybrid.flow.log_prob(batch.x).mean()
    torch.testing.assert_close(terms.total, torch.log(torch.tensor(3.0)) + 0.5 * nats / 4)
    torch.testing.assert_close(HybridLoss(0.0)(hybrid, batch).total, torch.log(torch.tensor(3.0)))


@pytest.mark.parametrize("prior", ["shared", "classes"])
def test_features_are_turned_back_and_a_saved_classifier_is_the_same(labeled, prior, tmp_path):
    X, y = labeled
    found = classifier(prior=prior).fit(X, y)
    np.testing.assert_allclose(found.decode(found.encode(X)), X, atol=1e-10)
    found.save(tmp_path)
    for other in (InvertibleClassifier.load(tmp_path), pickle.loads(pickle.dumps(found))):
        assert np.array_equal(other.predict_proba(X), found.predict_proba(X))
        assert np.array_equal(other.score_samples(X), found.score_samples(X))
    assert np.isfinite(found.score_samples(X)).all()
    np.testing.assert_allclose(found.predict_log_proba(X), np.log(found.predict_proba(X)))


def test_a_class_of_the_prior_is_drawn_around_its_own_mean(labeled):
    X, y = labeled
    density = Flow(ActNorm(3), (3,))
    training = {**FEW_STEPS, "max_steps": 300, "learning_rate": 0.05}
    found = classifier(
        density=density, density_options=None, prior="classes", likelihood=3.0, fit_options=training
    ).fit(X, y)
    drawn = found.sample(2000, "slim", random_state=0)
    np.testing.assert_allclose(drawn.mean(0), X[y == "slim"].mean(0), atol=0.6)
    with pytest.raises(DataError, match="there is no class 'other': choose one of 'slim', 'wide'"):
        found.sample(3, "other")


def test_images_are_recovered_to_the_gray_level():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 17, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 3
    flow = Glow((1, 8, 8), levels=17, scales=2, steps=1, width=8)
    found = classifier(density=flow, density_options=None, features="last-scale").fit(X, y)
    assert found.coef_.shape == (3, 32)
    assert np.array_equal(found.decode(found.encode(X)), X)
    assert np.isfinite(found.score_samples(X)).all()


def test_bad_input_is_refused(labeled):
    X, y = labeled
    with pytest.raises(DataError, match="y has one class only, 'wide'"):
        classifier().fit(X[:50], y[:50])
    with pytest.raises(ValueError, match="likelihood must be .*-1"):
        classifier(likelihood=-1).fit(X, y)
    with pytest.raises(ValueError, match="unknown features 'some'"):
        classifier(features="some").fit(X, y)
    with pytest.raises(OptionError, match="MADE has no latent: choose a flow such as realnvp"):
        classifier(density=create("made", (3,)), density_options=None).fit(X, y)
    with pytest.raises(OptionError, match="shifts a standard normal base density, and this flow has StandardLogistic"):
        classifier(density=NICE((3,)), density_options=None, prior="classes").fit(X, y)
    found = classifier().fit(X, y)
    with pytest.raises(OptionError, match="fit with prior='classes' to draw one"):
        found.sample(3, "slim")
    with pytest.raises(DataError, match=r"Z must be finite latents \(N, 3\)"):
        found.decode(np.full((2, 3), np.nan))


@pytest.mark.slow
@pytest.mark.parametrize(("density", "steps"), [("realnvp", 4), ("iresnet", 2)])
def test_digits_are_classified_and_are_likelier_than_noise(density, steps):
    X, y = load_digits(return_X_y=True)
    X = (X + np.random.default_rng(0).random(X.shape))[:, X.std(0) > 0.5]
    train, test = np.arange(len(X)) % 4 != 0, np.arange(len(X)) % 4 == 0
    training = {"max_steps": 200, "validate_every": 100, "batch_size": 128, "learning_rate": 3e-3, "progress": False}
    options = {"steps": steps, "width": 64, "depth": 1}
    found = classifier(density=density, density_options=options, fit_options=training).fit(X[train], y[train])
    assert found.score(X[test], y[test]) >= 0.95
    scores = found.score_samples(X[test])
    noise = np.random.default_rng(1).uniform(0, 17, X[test].shape)
    assert np.isfinite(scores).all() and scores.mean() > found.score_samples(noise).mean() + 50
