import pickle

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator, check_outliers_train

from inverseflow.bijections import ActNorm
from inverseflow.densities import VAE
from inverseflow.densities.export import export_onnx
from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.estimators import DensityOutlierDetector, GenerativeClassifier
from inverseflow.flows import Flow, InverseFlow

FEW_STEPS = {"max_steps": 2, "validate_every": 2, "learning_rate": 1e-9, "progress": False}
SMALL = {"steps": 1, "width": 4, "depth": 1}


class Unlabeled(DensityOutlierDetector):
    """Ignores labels, of which most checks give several, so that they get past the refusal of two classes."""

    def fit(self, X, y=None):
        return super().fit(X)


WITHOUT_RATE = "without a stated rate, no row of the training is an outlier; check_outliers_train runs with a rate too"


def detector(**options):
    defaults = {"density": "nsf", "density_options": SMALL, "fit_options": FEW_STEPS, "random_state": 0}
    return DensityOutlierDetector(**defaults | options)


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).normal([1.0, -5.0], [2.0, 0.1], (600, 2))


@pytest.fixture(scope="module")
def trained(normal):
    return detector(false_alarm_rate=0.05).fit(normal)


@pytest.mark.filterwarnings("ignore:x lies on lattices")
def test_it_passes_the_checks_of_scikit_learn():
    estimator = Unlabeled("nsf", false_alarm_rate=None, density_options=SMALL, fit_options=FEW_STEPS)
    expected = {"check_outliers_fit_predict": WITHOUT_RATE, "check_outliers_train": WITHOUT_RATE}
    check_estimator(estimator, expected_failed_checks=expected, on_skip=None)


def test_it_passes_the_check_of_outlier_detectors_with_a_rate():
    estimator = detector(false_alarm_rate=0.1, calibration=0.4)
    check_outliers_train("DensityOutlierDetector", estimator, readonly_memmap=False)


def test_scores_are_the_log_density_of_the_fitted_gaussian(normal):
    flow = Flow(ActNorm(2), (2,)).double()
    found = DensityOutlierDetector(flow, fit_options=FEW_STEPS, random_state=0).fit(normal)
    mean = found.density_.decode(torch.zeros(1, 2, dtype=torch.float64))[0].detach()
    deviation = found.density_.decode(torch.ones(1, 2, dtype=torch.float64))[0].detach() - mean
    np.testing.assert_allclose(mean, [1.0, -5.0], atol=0.3)
    points = np.array([[1.0, -5.0], [4.0, -5.2], [-30.0, 0.0]])
    expected = multivariate_normal(mean, np.diag(deviation**2)).logpdf(points)
    np.testing.assert_allclose(found.score_samples(points), expected, rtol=1e-9)


def test_far_rows_are_outliers_and_near_ones_are_not(trained):
    assert trained.predict([[1.0, -5.0], [1.0, 5.0], [1e30, -5.0]]).tolist() == [1, -1, -1]
    assert np.isfinite(trained.decision_function([[1e300, 1e300]])).all()


def test_new_normal_rows_raise_alarms_at_the_stated_rate(trained):
    new = np.random.default_rng(1).normal([1.0, -5.0], [2.0, 0.1], (4000, 2))
    low, high = trained.false_alarm_interval_
    alarms = (trained.predict(new) == -1).mean()
    assert low < 0.05 < high
    assert low - 0.01 < alarms < high + 0.01


def test_the_threshold_is_set_on_rows_that_trained_nothing(normal, trained):
    scores = np.sort(trained.score_samples(normal))
    assert trained.offset_ in scores
    assert trained.offset_ > scores[1]


def test_a_copy_and_a_saved_detector_give_the_same_scores(trained, normal, tmp_path):
    trained.save(tmp_path / "detector")
    loaded = DensityOutlierDetector.load(tmp_path / "detector")
    for other in (pickle.loads(pickle.dumps(trained)), loaded, clone(trained).fit(normal)):
        assert np.array_equal(other.score_samples(normal), trained.score_samples(normal))
        assert np.array_equal(other.predict(normal), trained.predict(normal))
    assert loaded.get_params() == trained.get_params()
    assert loaded.false_alarm_interval_ == trained.false_alarm_interval_


def test_a_saved_detector_holds_no_pickle_and_a_damaged_one_is_refused(trained, tmp_path):
    trained.save(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    with pytest.raises(CheckpointError, match="holds a DensityOutlierDetector, not a GenerativeClassifier"):
        GenerativeClassifier.load(tmp_path)
    (tmp_path / "estimator.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"estimator\.json is missing or damaged"):
        DensityOutlierDetector.load(tmp_path)


def test_images_are_rows_of_their_pixels():
    images = np.random.default_rng(0).integers(0, 17, (300, 1, 4, 4)).astype(np.uint8)
    flow = InverseFlow((1, 4, 4), levels=17, scales=1, steps=1, width=4)
    found = DensityOutlierDetector(flow, false_alarm_rate=None, fit_options=FEW_STEPS, random_state=0).fit(images)
    rows = images.reshape(300, 16)
    assert found.n_features_in_ == 16
    assert np.array_equal(found.score_samples(images), found.score_samples(rows))
    np.testing.assert_allclose(found.score_samples(rows[:3]), found.score_samples(rows)[:3], rtol=1e-5)
    with pytest.raises(DataError, match="17 gray levels, and X holds fractions: give whole numbers"):
        found.score_samples(rows + 0.5)


def test_a_row_is_judged_given_its_context_columns():
    rng = np.random.default_rng(0)
    hour = rng.uniform(0, 24, 700)
    load = np.stack([10 + hour + rng.normal(0, 0.1, 700), rng.normal(0, 1, 700)], 1)
    rows = np.insert(load, 1, hour, axis=1)
    options = {"max_steps": 150, "validate_every": 50, "learning_rate": 0.02, "progress": False}
    found = detector(density="maf", context_columns=[1], false_alarm_rate=0.05, fit_options=options).fit(rows)
    usual, swapped = [20.0, 10.0, 0.0], [30.0, 10.0, 0.0]  # a load that is usual at another hour
    assert found.predict([usual, swapped]).tolist() == [1, -1]
    expected = found.density_.double().log_prob(torch.tensor(load), torch.tensor(hour[:, None])).detach()
    np.testing.assert_allclose(found.score_samples(rows), expected, rtol=1e-9)
    for columns in ([0, 1, 2], [1, 1]):
        with pytest.raises(OptionError, match="must be distinct and leave a column to judge"):
            detector(context_columns=columns).fit(rows)
    with pytest.raises(ValueError, match="context_columns must be between 0 and 2, got 3"):
        detector(context_columns=[3]).fit(rows)


def test_scores_of_a_density_that_draws_noise_are_the_same_for_the_same_rows(normal):
    vae = VAE((2,), 1, width=4)
    found = DensityOutlierDetector(vae, false_alarm_rate=None, fit_options=FEW_STEPS, random_state=0).fit(normal[:50])
    assert np.array_equal(found.score_samples(normal), found.score_samples(normal))


@pytest.mark.parametrize(
    ("change", "rows", "labels", "error", "message"),
    [
        ({}, 600, [0] * 300 + [1] * 300, DataError, "y holds 2 labels, such as 0 and 1: give the normal rows only"),
        (
            {},
            400,
            None,
            DataError,
            "calibration=0.2 of n_samples = 400 rows are 80, and a threshold needs at least 100",
        ),
        ({"false_alarm_rate": 0.001}, 600, None, DataError, "rate of 0.001 needs at least 999 scores, got 120"),
        ({"false_alarm_rate": 1.0}, 600, None, ValueError, "false_alarm_rate must lie strictly between 0 and 1"),
        ({"calibration": 0}, 600, None, ValueError, "calibration must lie strictly between 0 and 1"),
        ({"density": "nfs"}, 600, None, OptionError, "'nfs' can't be built for n_features = 2: unknown density"),
        ({"density": Flow(ActNorm(2), (2,))}, 600, None, OptionError, "density_options are for a density by name"),
        ({"density": 3}, 600, None, TypeError, "density must be the name of a density or a Density, got 3"),
    ],
)
def test_bad_input_is_refused(normal, change, rows, labels, error, message):
    with pytest.raises(error, match=message):
        detector(**change).fit(normal[:rows], labels)


def test_missing_values_and_constant_columns_are_refused(normal):
    with pytest.raises(ValueError, match="contains NaN"):
        detector().fit(np.where(normal > 4, np.nan, normal))
    with pytest.raises(ValueError, match="column 1 is 3 in all"):
        detector().fit(np.stack([normal[:, 0], np.full(600, 3.0)], 1))
    three = DensityOutlierDetector(Flow(ActNorm(3), (3,)), fit_options=FEW_STEPS)
    with pytest.raises(DataError, match=r"takes events \(3,\), which are 3 numbers, and X has 2 columns"):
        three.fit(normal)


@pytest.mark.slow
@pytest.mark.parametrize("density", ["realnvp", "nsf"])
def test_an_exported_detector_scores_as_the_detector_does(density, normal, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    training = {"max_steps": 50, "validate_every": 50, "progress": False}
    found = detector(density=density, false_alarm_rate=0.05, fit_options=training).fit(normal)
    export_onnx(found.density_, tmp_path / "m.onnx", "log_prob")
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    (scores,) = session.run(None, {"x": normal.astype(np.float32)})
    np.testing.assert_allclose(scores, found.score_samples(normal), rtol=1e-4, atol=1e-4)
    assert ((scores >= found.offset_) == (found.predict(normal) == 1)).mean() > 0.99  # but for ties with the threshold
