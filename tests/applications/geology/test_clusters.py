import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from applications.geology.clusters import CRITERIA, cluster, count_clusters, matched_accuracy
from inverseflow.errors import OptionError


def blobs(count, distance=12.0, points=60):
    generator = np.random.default_rng(count)
    centers = distance * np.stack([np.arange(count) % 3, np.arange(count) // 3], 1)
    return np.concatenate([center + generator.normal(size=(points, 2)) for center in centers])


@pytest.mark.parametrize("count", [2, 4])
def test_the_criteria_find_the_number_of_blobs_that_lie_apart(count):
    choice = count_clusters(blobs(count), 6, seed=0)
    chosen = {name: choice.chosen[name] for name in CRITERIA if name != "elbow"}
    assert chosen == dict.fromkeys(chosen, count)
    assert choice.vote == count
    assert choice.stability[count - 1] == max(choice.stability[1:])


def test_gap_and_the_information_criterion_see_a_single_blob():
    choice = count_clusters(blobs(1, points=200), 4, seed=0)
    assert choice.chosen["gap"] == choice.chosen["BIC"] == 1
    assert choice.values["silhouette"][0] is None


def test_the_indices_are_those_of_the_clusters():
    features = blobs(3)
    choice = count_clusters(features, 3, seed=0)
    labels = cluster(features, 3, 0).labels_
    for name, score in (
        ("silhouette", silhouette_score),
        ("Calinski–Harabasz", calinski_harabasz_score),
        ("Davies–Bouldin", davies_bouldin_score),
    ):
        assert choice.values[name][2] == pytest.approx(score(features, labels))


def test_matched_accuracy_does_not_depend_on_the_names_of_clusters():
    truth, labels = np.repeat([0, 1, 2], 4), np.array([1, 1, 1, 0, 2, 2, 2, 2, 0, 0, 0, 1])
    for order in ([0, 1, 2], [2, 0, 1], [7, 9, 4]):
        assert matched_accuracy(truth, np.array(order)[labels]) == pytest.approx(10 / 12)
    assert matched_accuracy(truth, np.arange(12)) == pytest.approx(3 / 12)


def test_more_clusters_than_different_pixels_are_refused():
    with pytest.raises(OptionError, match="3 clusters need as many different pixels, and there are 2"):
        cluster(np.array([[0.0], [0.0], [1.0], [1.0]]), 3, 0)
