import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import check_estimator

from inverseflow.bijections import ActNorm
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators import GenerativeClassifier
from inverseflow.flows import NSF, Flow, InverseFlow

FEW_STEPS = {"max_steps": 2, "validate_every": 2, "learning_rate": 1e-9, "progress": False}
SMALL = {"steps": 1, "width": 4, "depth": 1}


def classifier(**options):
    defaults = {"density": "nsf", "density_options": SMALL, "fit_options": FEW_STEPS, "random_state": 0}
    return GenerativeClassifier(**defaults | options)


@pytest.fixture(scope="module")
def labeled():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal([0.0, 0.0], [1.0, 2.0], (80, 2)), rng.normal([3.0, 3.0], [0.5, 1.0], (40, 2))])
    return X, np.array(["wide"] * 80 + ["slim"] * 40)


@pytest.mark.filterwarnings("ignore:x lies on lattices")
@pytest.mark.slow
def test_it_passes_the_checks_of_scikit_learn():
    check_estimator(classifier(random_state=None), on_skip=None)


@pytest.mark.filterwarnings("ignore:x lies on lattices")
@pytest.mark.slow
def test_a_conditional_density_passes_the_checks_of_scikit_learn():
    options = {**FEW_STEPS, "max_steps": 60, "validate_every": 20, "learning_rate": 0.05}
    check_estimator(classifier(density="maf", conditional=True, random_state=None, fit_options=options), on_skip=None)


def test_independent_gaussians_are_naive_bayes(labeled):
    X, y = labeled
    found = classifier(density=Flow(ActNorm(2), (2,)).double(), density_options=None).fit(X, y)
    zero, one = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    means = np.array([flow.decode(zero)[0].tolist() for flow in found.densities_])
    deviations = np.array([flow.decode(one)[0].tolist() for flow in found.densities_]) - means
    bayes = GaussianNB(var_smoothing=0.0).fit(X, y)
    np.testing.assert_allclose(means, bayes.theta_, atol=0.3)  # from the rows that were not held out
    bayes.theta_, bayes.var_ = means, deviations**2
    np.testing.assert_allclose(found.predict_proba(X), bayes.predict_proba(X), atol=1e-9)


def test_it_tells_classes_apart_and_draws_each(labeled):
    X, y = labeled
    found = classifier().fit(X, y)
    assert found.classes_.tolist() == ["slim", "wide"]
    assert found.score(X, y) > 0.9
    assert found.priors_ == pytest.approx([1 / 3, 2 / 3])
    drawn = found.sample(300, "slim", random_state=0)
    np.testing.assert_allclose(drawn.mean(0), [3.0, 3.0], atol=0.3)
    assert np.array_equal(drawn, found.sample(300, "slim", random_state=0))
    np.testing.assert_allclose(np.exp(found.predict_log_proba(X)).sum(1), 1)


def test_a_prior_of_zero_rules_a_class_out(labeled):
    found = classifier(priors=[0.0, 1.0]).fit(*labeled)
    assert set(found.predict(labeled[0])) == {"wide"}


def test_a_row_far_from_all_classes_still_has_probabilities(labeled):
    found = classifier().fit(*labeled)
    probabilities = found.predict_proba([[1e300, -1e300]])
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1)


def test_a_conditional_density_is_asked_for_each_class(labeled):
    X, y = labeled
    found = classifier(conditional=True).fit(X, y)
    density = found.densities_[0].double()
    expected = [density.log_prob(torch.tensor(X), torch.eye(2)[[number]].expand(120, 2)) for number in range(2)]
    np.testing.assert_allclose(found.log_likelihood(X), torch.stack(expected, 1).detach(), rtol=1e-12)
    assert found.sample(3, "wide").shape == (3, 2)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_copy_and_a_saved_classifier_give_the_same_probabilities(labeled, tmp_path, conditional):
    X, y = labeled
    found = classifier(conditional=conditional).fit(X, y)
    found.save(tmp_path)
    loaded = GenerativeClassifier.load(tmp_path)
    for other in (loaded, pickle.loads(pickle.dumps(found)), clone(found).fit(X, y)):
        assert np.array_equal(other.predict_proba(X), found.predict_proba(X))
        assert other.predict(X).tolist() == found.predict(X).tolist()


def test_images_are_classified_by_a_flow_of_images():
    rng = np.random.default_rng(0)
    dark, bright = rng.integers(0, 5, (30, 1, 4, 4)), rng.integers(12, 17, (30, 1, 4, 4))
    X, y = np.concatenate([dark, bright]).astype(np.uint8), np.repeat([0, 1], 30)
    found = classifier(density=InverseFlow((1, 4, 4), levels=17, scales=1, steps=1, width=4), density_options=None)
    found.fit(X, y)
    assert found.score(X, y) == 1.0
    assert found.sample(2, 1).shape == (2, 1, 4, 4)


def test_bad_input_is_refused(labeled):
    X, y = labeled
    with pytest.raises(ValueError, match="contains NaN"):
        classifier().fit(np.where(X > 4, np.nan, X), y)
    with pytest.raises(ValueError, match="class 'slim': .* column 0 is 7 in all"):
        classifier().fit(np.stack([np.where(y == "slim", 7.0, X[:, 0]), X[:, 1]], 1), y)
    with pytest.raises(DataError, match="class 'one': the data set has 1 example: at least 2"):
        classifier().fit(X, np.array(["one"] + ["other"] * 119))
    with pytest.raises(OptionError, match="priors must be 2 probabilities of sum 1"):
        classifier(priors=[0.5, 0.6]).fit(X, y)
    with pytest.raises(DataError, match="there is no class 'broad': choose one of 'slim', 'wide'"):
        classifier().fit(X, y).sample(2, "broad")
    with pytest.raises(OptionError, match=r"conditional density of 2 classes .* this one takes \(3,\)"):
        classifier(density=NSF((2,), context_channels=3), density_options=None, conditional=True).fit(X, y)
