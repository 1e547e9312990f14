import copy
import json
import math

import pytest
import torch

from inverseflow import flows
from inverseflow.data import TensorExamples, TensorImages
from inverseflow.densities import MADE, Density
from inverseflow.errors import ConvergenceError, DataError, NonFiniteError
from inverseflow.training.evaluation import evaluate, evaluate_labels
from inverseflow.utils.seeding import derived_seed, seeded

LEVELS = 8


@pytest.fixture(scope="module")
def flow() -> flows.Flow:
    with seeded(0, "weights"):
        return flows.create("inverse-flow", (1, 4, 4), levels=LEVELS, scales=1, steps=2, width=8)


@pytest.fixture(scope="module")
def images() -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    return TensorImages(torch.randint(LEVELS, (60, 1, 4, 4), generator=generator, dtype=torch.uint8))


def test_bits_are_the_mean_over_images_of_the_mean_over_draws(flow, images):
    measured = evaluate(flow, images, draws=4, batch_size=60, seed=3)
    with torch.no_grad(), seeded(3, "evaluation"):
        bits = torch.stack([flow.bits_per_dim(images.tensor()) for _ in range(4)]).double()

    assert measured.value == pytest.approx(float(bits.mean()), rel=1e-6)
    assert measured.stderr == pytest.approx(float(bits.mean(0).std()) / math.sqrt(60), rel=1e-5)
    assert measured.draw_std == pytest.approx(float(bits.mean(1).std()), rel=1e-4)
    assert (measured.examples, measured.draws) == (60, 4)


def test_the_bits_agree_across_batch_sizes_within_their_noise(flow, images):
    one, other = (evaluate(flow, images, draws=10, batch_size=size).value for size in (7, 60))

    assert one == pytest.approx(other, abs=0.1)


def test_the_importance_weighted_bound_is_tighter(flow, images):
    measured = evaluate(flow, images, draws=20, importance_samples=20)

    assert measured.importance_value < measured.value
    assert measured.importance_samples == 20


def test_the_importance_weighted_bound_of_one_draw_is_the_plain_one(flow, images):
    measured = evaluate(flow, images, draws=30, importance_samples=1)

    assert measured.importance_value == pytest.approx(measured.value, abs=0.03)


def test_an_estimate_is_averaged_over_draws_but_not_importance_weighted():
    flow = flows.ImageIResNet((1, 8, 12), levels=LEVELS, scales=1, steps=1, width=4)
    images = TensorImages(torch.randint(LEVELS, (5, 1, 8, 12), dtype=torch.uint8))
    measured = evaluate(flow, images, draws=2, importance_samples=3)
    assert (measured.likelihood, measured.draws, measured.importance_samples) == ("estimate", 2, None)


def test_images_of_two_levels_are_measured_in_nats_too(flow, images):
    binary = TensorImages(images.tensor() % 2)
    measured = evaluate(MADE((1, 4, 4), levels=2, width=8), binary)  # untrained, it is uniform
    assert measured.value == pytest.approx(1)
    assert measured.nats_per_image == pytest.approx(16 * math.log(2))
    assert measured.likelihood == "exact"
    assert evaluate(flow, images, draws=1).nats_per_image is None


def test_an_exact_flow_has_no_round_trip_error(flow, images):
    measured = evaluate(flow, images, draws=1)

    assert measured.max_reconstruction_error == 0
    assert measured.log_det_round_trip_error < 1e-5
    assert measured.draw_std is None


def test_one_image_has_no_standard_error(flow, images):
    measured = evaluate(flow, images.select([0]), draws=2, importance_samples=2)

    assert measured.stderr is None and measured.importance_stderr is None
    assert json.loads(json.dumps(measured.to_mapping(), allow_nan=False))["examples"] == 1


def test_bits_that_are_not_finite_are_an_error(flow, images):
    broken = copy.deepcopy(flow)
    torch.nn.init.constant_(next(broken.parameters()), 1e30)
    with pytest.raises(NonFiniteError, match="bits per dimension of 60 of 60 images are not finite"):
        evaluate(broken, images)


@pytest.mark.parametrize("name", ["draws", "batch_size", "importance_samples", "round_trip_examples"])
def test_a_number_below_one_is_refused(flow, images, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        evaluate(flow, images, **{name: 0})


def test_an_inverse_that_fails_is_measured_and_said_in_words(flow, images, monkeypatch):
    def fails(self, z, context=None):
        raise ConvergenceError("no fixed point")

    monkeypatch.setattr(type(flow), "_from_latent", fails)
    measured = evaluate(flow, images, draws=1, batch_size=25)

    assert (measured.max_reconstruction_error, measured.changed_examples, measured.sample_ms_per_100) == (
        None,
        60,
        None,
    )
    assert measured.round_trip.startswith("60 of 60 images come back CHANGED, some not as finite numbers")


class Uniform(Density):
    """A density without an inverse."""

    def __init__(self, event_shape, levels):
        super().__init__(event_shape, levels=levels)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def log_prob(self, x, context=None):
        return self.weight - self.dims * math.log(self.levels) * torch.ones(len(x))

    def sample(self, n, context=None, *, temperature=1.0, generator=None):
        return torch.randint(self.levels, (n, *self.event_shape), generator=generator)


def test_a_density_without_an_inverse_is_measured_too(images):
    measured = evaluate(Uniform((1, 4, 4), LEVELS), images)

    assert measured.value == pytest.approx(3.0)
    assert (measured.likelihood, measured.draws, measured.draw_std) == ("exact", 1, None)
    assert (measured.changed_examples, measured.round_trip_examples) == (None, 0)
    assert measured.round_trip == "there is no inverse"
    assert measured.sampling.startswith("100 samples in ")


def test_of_a_slow_density_one_sample_is_timed(images, monkeypatch):
    monkeypatch.setattr("inverseflow.training.evaluation._SLOW_MS", 0.0)
    density, drawn = Uniform((1, 4, 4), LEVELS), []
    monkeypatch.setattr(density, "sample", lambda n, context=None: drawn.append(n))
    measured = evaluate(density, images)

    assert drawn == [1]
    assert measured.sample_ms_per_100 is None and measured.sample_ms_of_one > 0
    assert measured.sampling == f"1 sample in {measured.sample_ms_of_one / 1e3:.1f} s"


def test_a_wrong_inverse_is_found_out(flow, images, monkeypatch):
    layer = next(module for module in flow.modules() if type(module).__name__ == "ActNorm")
    inverse = layer.inverse
    monkeypatch.setattr(layer, "inverse", lambda z, context=None: (inverse(z, context)[0] + 3, torch.zeros(len(z)) + 5))
    measured = evaluate(flow, images, draws=1)

    assert measured.max_reconstruction_error > 0
    assert "images come back CHANGED, by up to" in measured.round_trip
    assert measured.log_det_round_trip_error > 0.1


def test_measuring_changes_neither_the_flow_nor_the_generator(flow, images):
    before = torch.get_rng_state()
    flow.train()
    evaluate(flow, images, draws=1)

    assert flow.training
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_measures_the_same(flow, images):
    assert evaluate(flow, images, seed=5).value == evaluate(flow, images, seed=5).value


def test_labels_are_measured_with_the_same_noise_for_each(images):
    with seeded(0, "weights"):
        flow = flows.create("glow", (1, 4, 4), levels=LEVELS, scales=1, steps=1, width=4, context_channels=3)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    labels = torch.arange(60) % 3
    labeled = images.with_context(torch.eye(3)[labels])
    measured = evaluate_labels(flow, labeled, draws=2, batch_size=60, seed=1)
    seed = derived_seed(1, "labels", 0)
    values = []
    with torch.no_grad():
        for context in torch.eye(3):
            torch.manual_seed(seed)
            each = [flow.bits_per_dim(images.tensor(), context.expand(60, -1)).double() for _ in range(2)]
            values.append(torch.stack(each).mean(0))
    table = torch.stack(values, 1)  # (N, classes)

    assert measured.right == pytest.approx(float(table[torch.arange(60), labels].mean()), rel=1e-6)
    assert measured.wrong == pytest.approx(float((table.sum(1) - table[torch.arange(60), labels]).mean() / 2), rel=1e-6)
    assert measured.accuracy == float((table.argmin(1) == labels).double().mean())


def test_contexts_that_are_no_labels_are_refused(flow, images):
    with pytest.raises(DataError, match="are not labels"):
        evaluate_labels(flow, images.with_context(torch.rand(60, 3)))


def test_continuous_data_are_measured_in_nats_without_draws():
    flow = flows.create("nsf", (2,), steps=1, width=4)
    x = 100 * torch.randn(50, 2)
    flow.initialize(x)
    measured = evaluate(flow, TensorExamples(x), draws=5)
    with torch.no_grad():
        nats = -flow.log_prob(x).double().mean()

    assert (measured.metric, measured.likelihood, measured.draws, measured.draw_std) == ("nats", "exact", 1, None)
    assert measured.value == pytest.approx(float(nats), rel=1e-6)
    assert measured.round_trip.startswith("values come back within")
    assert measured.to_mapping().keys() >= {"nats", "nats_stderr", "examples"}
