import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import check_estimator

from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.estimators import LowRankOvAClassifier, OvAClassifier, stored_bytes
from inverseflow.estimators.incremental import LowRankCorrection
from inverseflow.flows import NICE

FEW_STEPS = {"max_steps": 5, "validate_every": 5, "learning_rate": 1e-2, "progress": False}


def classifier(cls=OvAClassifier, **options):
    return cls(**{"steps": 2, "width": 8, "depth": 1, "fit_options": FEW_STEPS, "random_state": 0} | options)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return {name: rng.normal(3 * number, 1, (40, 3)) for number, name in enumerate(("b", "a", "long name"))}


@pytest.fixture(scope="module")
def trained(rows):
    found = classifier()
    for name, X in rows.items():
        found.add_class(name, X)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("cls", [OvAClassifier, LowRankOvAClassifier])
def test_it_passes_the_checks_of_scikit_learn(cls):
    check_estimator(classifier(cls, random_state=None), on_skip=None)


def test_another_class_changes_no_bit_of_the_others(rows):
    found = classifier().add_class("b", rows["b"]).add_class("a", rows["a"])
    everything = np.concatenate(list(rows.values()))
    before, weights = found.log_likelihood(everything), [copy.deepcopy(d.state_dict()) for d in found.densities_]
    found.add_class("long name", rows["long name"])
    assert np.array_equal(found.log_likelihood(everything)[:, :2], before)
    for density, state in zip(found.densities_, weights, strict=False):
        assert all(torch.equal(value, state[name]) for name, value in density.state_dict().items())
    assert found.classes_.tolist() == ["b", "a", "long name"]


def test_the_largest_score_is_the_least_norm(trained, rows):
    everything = np.concatenate(list(rows.values()))
    scaled = torch.tensor((everything - trained.means_[:, None]) / trained.scale_)
    flows = [copy.deepcopy(flow).double() for flow in trained.densities_]
    norms = torch.stack([flow.encode(x).norm(dim=1) for flow, x in zip(flows, scaled, strict=True)], 1)
    assert np.array_equal(trained.predict(everything), trained.classes_[norms.argmin(1)])
    constant = 1.5 * np.log(2 * np.pi) + np.log(trained.scale_).sum()
    np.testing.assert_allclose(trained.log_likelihood(everything), -(norms.detach() ** 2) / 2 - constant)
    assert (trained.predict(everything) == np.repeat([*rows], 40)).mean() > 0.9


def test_flows_preserve_volume():
    flow = NICE((5,), base="normal", scale=False, standardize=False, width=8)
    torch.manual_seed(0)
    for parameter in flow.parameters():
        parameter.data.normal_(0, 0.3)
    _, log_det = flow.bijection(torch.randn(7, 5))
    assert (log_det == 0).all()


def test_the_order_of_the_later_classes_does_not_matter(rows):
    X = np.concatenate(list(rows.values()))
    first = classifier().add_class("b", rows["b"]).add_class("a", rows["a"]).add_class("c", rows["long name"])
    second = classifier().add_class("b", rows["b"]).add_class("c", rows["long name"]).add_class("a", rows["a"])
    assert np.array_equal(first.log_likelihood(X), second.log_likelihood(X)[:, [0, 2, 1]])


def test_the_unit_is_that_of_the_first_class(rows):
    assert classifier().add_class(0, rows["b"]).scale_ == pytest.approx(rows["b"].std(0))
    whole = classifier(unit="whole").add_class(0, rows["b"]).scale_
    assert whole == pytest.approx([np.sqrt(rows["b"].var(0).mean())] * 3)
    assert (classifier(unit="none").add_class(0, rows["b"]).scale_ == 1).all()
    constant = np.stack([rows["b"][:, 0], np.full(40, 2.0)], 1)
    assert classifier().add_class(0, constant).scale_ == pytest.approx(rows["b"][:, 0].std() * np.array([1, 0.5**0.5]))


def test_a_copy_and_a_saved_classifier_give_the_same_scores(trained, rows, tmp_path):
    trained.save(tmp_path)
    loaded = OvAClassifier.load(tmp_path)
    for other in (loaded, pickle.loads(pickle.dumps(trained))):
        assert np.array_equal(other.log_likelihood(rows["a"]), trained.log_likelihood(rows["a"]))
        assert other.predict(rows["a"]).tolist() == trained.predict(rows["a"]).tolist()
    with pytest.raises(OptionError, match="there is a class 'a' already"):
        loaded.add_class("a", rows["a"])


def test_bad_classes_are_refused(rows, trained):
    found = classifier().add_class("a", rows["a"])
    with pytest.raises(OptionError, match="there is a class 'a' already: give another name"):
        found.add_class("a", rows["b"])
    with pytest.raises(OptionError, match="the name 3 is of another kind than 'a'"):
        found.add_class(3, rows["b"])
    with pytest.raises(ValueError, match="contains NaN"):
        found.add_class("b", np.full((5, 3), np.nan))
    with pytest.raises(ValueError, match="X has 2 features, but OvAClassifier is expecting 3"):
        found.add_class("b", rows["b"][:, :2])
    with pytest.raises(DataError, match="all 9 rows of the first class are equal"):
        classifier().add_class("a", np.ones((9, 3)))
    with pytest.raises(ValueError, match="unknown unit 'row'"):
        classifier(unit="row").add_class("a", rows["a"])
    assert found.classes_.tolist() == ["a"]
    with pytest.raises(DataError, match="all 40 rows of the first class are equal"):
        found.fit(np.ones((40, 3)), ["b"] * 40)
    assert found.add_class("a", rows["a"]).classes_.tolist() == ["a"]
    assert clone(trained).get_params() == trained.get_params()


def test_a_correction_of_full_rank_can_be_any_other_flow():
    torch.manual_seed(0)
    one, other = (NICE((6,), base="normal", scale=False, width=8).double() for _ in range(2))
    for parameter in (*one.parameters(), *other.parameters()):
        parameter.data.normal_(0, 0.3)
    correction = LowRankCorrection(one, rank=100)
    for name, parameter in other.named_parameters():
        key, difference = name.replace(".", "/"), parameter.data - one.get_parameter(name).data
        if key in correction.free:
            correction.free[key].data = difference
        else:
            u, s, v = torch.linalg.svd(difference, full_matrices=False)
            correction.left[key].data, correction.right[key].data = u * s, v
    x = torch.randn(9, 6, dtype=torch.float64)
    torch.testing.assert_close(correction.log_prob(x), other.log_prob(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(correction.merged().log_prob(x), other.log_prob(x), rtol=1e-10, atol=1e-10)


def test_low_rank_classes_share_the_first_flow_and_take_the_bytes_of_the_formula(rows, tmp_path):
    found = classifier(LowRankOvAClassifier, rank=2, width=16)
    for name, X in rows.items():
        found.add_class(name, X)
    matrices = [p.shape for p in found.densities_[0].parameters() if p.ndim == 2]
    vectors = [p.shape[0] for p in found.densities_[0].parameters() if p.ndim == 1]
    full = 4 * (sum(a * b for a, b in matrices) + sum(vectors))
    correction = 2 * (sum((a + b) * min(2, a, b) for a, b in matrices) + sum(vectors))
    assert stored_bytes(found) == full + 2 * correction
    everything, labels = np.concatenate(list(rows.values())), np.repeat([*rows], 40)
    assert found.score(everything, labels) > 0.9
    before = found.log_likelihood(everything)
    found.add_class("d", rows["b"] - 9)
    assert np.array_equal(found.log_likelihood(everything)[:, :3], before)
    assert found.sample(4, "d").shape == (4, 3)
    found.save(tmp_path)
    loaded = LowRankOvAClassifier.load(tmp_path)
    assert np.array_equal(loaded.log_likelihood(everything), found.log_likelihood(everything))
    assert stored_bytes(loaded) == stored_bytes(found)
    (tmp_path / "corrections.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"corrections\.safetensors is missing or damaged"):
        LowRankOvAClassifier.load(tmp_path)


@pytest.mark.slow
def test_digits_are_learned_class_by_class():
    X, y = load_digits(return_X_y=True)
    train, test = np.arange(len(X)) % 4 != 0, np.arange(len(X)) % 4 == 0
    found = OvAClassifier(unit="whole", fit_options={"max_steps": 150, "validate_every": 50}, random_state=0)
    for digit in range(10):
        found.add_class(digit, X[train & (y == digit)])
    assert found.score(X[test], y[test]) > 0.9
