import json
import math
import signal

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Uniform

from inverseflow.errors import CheckpointError, DataError, OptionError, RunError
from inverseflow.inference import (
    AmortizedPosterior,
    Integer,
    Interval,
    Problem,
    Simplex,
    Support,
    independent,
    method_names,
)
from inverseflow.inference.posterior import Model, left_out
from inverseflow.inference.problems import create

# x ~ N(0, I), y | x ~ N(A x, noise²): the posterior is normal with a mean linear in y.
A, NOISE = torch.tensor([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0]]), 0.5
PRECISION = torch.eye(2) + A.T @ A / NOISE**2
COVARIANCE = torch.linalg.inv(PRECISION)
GAIN = COVARIANCE @ A.T / NOISE**2
SMALL = {"steps": 2, "width": 8, "depth": 1}
BRIEF = {"max_steps": 4, "progress": False}


def linear_pairs(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator)
    return x, x @ A.T + NOISE * torch.randn(n, 3, generator=generator)


@pytest.fixture(scope="module")
def linear():
    """An affine autoregressive map with a shift linear in y: it can be the exact posterior."""
    posterior = AmortizedPosterior("maf", steps=1, depth=0)
    x, y = linear_pairs(10_000)
    return posterior.fit(x, y, max_steps=250, batch_size=500, learning_rate=0.05, weight_decay=0, progress=False)


def brief(method="cinn", n=200, **options):
    options = {**SMALL, **options} if method in ("cinn", "maf", "nsf", "iaf") else options
    return AmortizedPosterior(method, **options).fit(*linear_pairs(n), **BRIEF)


def compare_with_formula(posterior, tolerance):
    """Compare with the exact posterior: its density on average, and at an observation its mean and covariance."""
    x, y = linear_pairs(20_000, seed=1)
    exact = MultivariateNormal(y @ GAIN.T, COVARIANCE).log_prob(x).mean()
    assert abs(exact - posterior.log_prob(x, y).mean()) < 0.01
    observation, scale = torch.tensor([1.0, 0.5, -0.5]), COVARIANCE.diagonal().sqrt()
    samples = posterior.sample(observation, 200_000, seed=0)
    error = (samples.mean(0) - GAIN @ observation) / scale, (samples.T.cov() - COVARIANCE) / scale.outer(scale)
    assert max(error[0].abs().max(), error[1].abs().max()) < tolerance


def test_an_affine_flow_becomes_the_posterior_of_a_linear_problem(linear):
    compare_with_formula(linear, 0.06)


@pytest.mark.slow
def test_an_affine_flow_becomes_the_posterior_of_a_linear_problem_within_two_percent():
    posterior = AmortizedPosterior("maf", steps=1, depth=0)
    training = {"max_steps": 600, "batch_size": 2000, "learning_rate": 0.05, "weight_decay": 0}
    posterior.fit(*linear_pairs(200_000), **training, progress=False)
    compare_with_formula(posterior, 0.02)


def test_the_largest_density_of_a_normal_posterior_is_at_its_mean(linear):
    y = torch.tensor([[1.0, 0.5, -0.5], [0.0, 2.0, 1.0]])
    found = linear.map(y)
    torch.testing.assert_close(found, y @ GAIN.T, rtol=0, atol=0.05)
    torch.testing.assert_close(linear.map(y[1]), found[1], rtol=0, atol=0.01)
    nearby = found[0] + 0.05 * torch.randn(100, 2)
    assert (linear.log_prob(nearby, y[0]) <= linear.log_prob(found[:1], y[:1])[0] + 1e-4).all()


def test_surprise_is_the_tail_probability_of_a_normal_observation(linear):
    _, y = linear_pairs(5000, seed=2)
    covariance = A @ A.T + NOISE**2 * torch.eye(3)
    distances = (y @ torch.linalg.inv(covariance) * y).sum(1)
    expected = torch.from_numpy(stats.chi2(3).sf(distances.numpy()))
    torch.testing.assert_close(linear.surprise(y), expected, rtol=0, atol=0.06)
    far = torch.tensor([20.0, 0.0, 0.0])
    assert linear.surprise(far) < 1e-6
    assert linear.surprise(2 * far) < linear.surprise(far)


def test_surprise_of_a_posterior_of_ten_pairs_is_a_number_between_zero_and_one():
    x = torch.arange(10.0)[:, None]
    posterior = AmortizedPosterior(**SMALL).fit(x, x + 0.1 * torch.randn(10, 1), **BRIEF)
    surprise = posterior.surprise(torch.tensor([[-1e9], [4.5], [100.0]]))
    assert (surprise >= 0).all() and (surprise <= 1).all()
    assert surprise[1] > 0.5 > surprise[2] >= surprise[0]


def test_surprise_is_calibrated_for_observations_with_heavy_tails():
    def pairs(n):
        x = torch.randn(n, 1)
        return x, x + torch.distributions.StudentT(2.0).sample((n, 2))

    torch.manual_seed(0)
    posterior = AmortizedPosterior(**SMALL).fit(*pairs(10_000), **BRIEF)
    surprise = posterior.surprise(pairs(20_000)[1])
    for level in (0.5, 0.1, 0.01, 0.001):
        assert (surprise < level).double().mean() == pytest.approx(level, rel=0.5)


def test_a_distance_without_a_point_is_that_from_the_mean_and_covariance_of_the_others():
    points = np.random.default_rng(0).standard_t(2, (12, 3))
    brute = []
    for index, point in enumerate(points):
        others = np.delete(points, index, 0)
        offset = point - others.mean(0)
        brute.append(offset @ np.linalg.solve(np.cov(others.T, ddof=0), offset))
    centered = points - points.mean(0)
    distances = np.einsum("ni,ij,nj->n", centered, np.linalg.inv(np.cov(points.T, ddof=0)), centered)
    torch.testing.assert_close(left_out(torch.from_numpy(distances)), torch.tensor(brute))


@pytest.mark.parametrize(
    ("draw", "pairs", "seeds", "low", "high"),
    [
        (lambda n: torch.randn(n, 1), 20_000, 2, 4e-4, 2e-3),
        (lambda n: torch.randn(n, 1), 400, 8, 1e-4, 2e-3),
        (lambda n: torch.distributions.StudentT(2.0).sample((n, 2)), 500, 16, 4e-4, 2.5e-3),
        (lambda n: torch.distributions.Cauchy(0.0, 1.0).sample((n, 2)), 500, 16, 4e-4, 2.5e-3),
    ],
)
def test_few_pairs_raise_as_many_alarms_as_many_whatever_the_tails(draw, pairs, seeds, low, high):
    def rate(seed):
        torch.manual_seed(seed)
        x = torch.randn(pairs, 1)
        posterior = AmortizedPosterior("cvae", width=4, depth=1).fit(x, draw(pairs), max_steps=1, progress=False)
        return (posterior.surprise(draw(20_000)) < 0.001).double().mean()

    assert low < torch.stack([rate(seed) for seed in range(seeds)]).mean() < high


def test_density_integrates_to_one_inside_of_its_support_and_is_zero_outside():
    prior = independent(Uniform(-1.0, 3.0), Uniform(0.0, 2.0))
    x = prior.sample((300,))
    posterior = AmortizedPosterior(prior=prior, **SMALL).fit(x, x + 0.1 * torch.randn(300, 2), **BRIEF)
    grid = torch.cartesian_prod(-1 + 4 * (torch.arange(400) + 0.5) / 400, 2 * (torch.arange(400) + 0.5) / 400)
    density = posterior.log_prob(grid, torch.tensor([0.5, 1.0])).exp()
    assert density.mean() * 8 == pytest.approx(1, abs=0.002)
    samples = posterior.sample(torch.tensor([0.5, 1.0]), 20_000, seed=0)
    assert posterior.support.contains(samples).all()
    mean = (density[:, None] * grid).sum(0) / density.sum()
    torch.testing.assert_close(samples.mean(0), mean, rtol=0, atol=0.04)
    outside = torch.tensor([[-1.1, 1.0], [0.0, 2.1]])
    assert posterior.log_prob(outside, torch.zeros(2)).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("method", ["cinn", "maf", "nsf", "iaf"])
def test_one_parameter_is_enough_and_its_density_integrates_to_one(method):
    x = torch.rand(100, 1)
    posterior = AmortizedPosterior(method, support=Support([Interval(0, 1)]), **SMALL)
    posterior.fit(x, x + 0.1 * torch.randn(100, 1), **BRIEF)
    grid = (torch.arange(2000)[:, None] + 0.5) / 2000
    assert posterior.log_prob(grid, torch.tensor([0.3])).exp().mean() == pytest.approx(1, abs=0.002)
    assert posterior.sample(torch.tensor([0.3]), 7).shape == (7, 1)


def test_probabilities_of_whole_numbers_add_up_to_one():
    x = torch.randint(2, 7, (400, 1)).float()
    posterior = AmortizedPosterior(support=Support([Integer(2, 6)]), **SMALL).fit(x, x + torch.randn(400, 1), **BRIEF)
    probabilities = posterior.log_prob(torch.arange(2.0, 7)[:, None], torch.tensor([4.0])).exp()
    assert probabilities.sum() == pytest.approx(1, abs=0.01)
    samples = posterior.sample(torch.tensor([4.0]), 20_000, seed=0)
    torch.testing.assert_close(samples.long().flatten().bincount()[2:] / 20_000, probabilities, rtol=0, atol=0.02)
    assert posterior.map(torch.tensor([4.0])).item() in range(2, 7)


def test_shares_stay_on_the_simplex():
    x = torch.distributions.Dirichlet(torch.tensor([2.0, 2.0, 3.0])).sample((300,))
    posterior = AmortizedPosterior(support=Support([Simplex(3)]), **SMALL)
    posterior.fit(x, x[:, :2] + 0.1 * torch.randn(300, 2), **BRIEF)
    samples = posterior.sample(torch.zeros(2), 1000)
    assert samples.shape == (1000, 3) and posterior.support.contains(samples).all()
    points = torch.cartesian_prod(*[(torch.arange(300) + 0.5) / 300] * 2)
    last = 1 - points.sum(1, keepdim=True)
    inside = torch.cat([points, last], 1)[last[:, 0] > 0]
    assert posterior.log_prob(inside, torch.full((2,), 0.3)).exp().sum() / 300**2 == pytest.approx(1, abs=0.01)


def test_units_of_the_parameters_shift_the_log_density():
    x, y = linear_pairs(200)
    ours = AmortizedPosterior(**SMALL).fit(x.double(), y, **BRIEF)
    units = torch.tensor([1e6, 1e-3]).double()
    scaled = AmortizedPosterior(**SMALL).fit(x.double() * units + 5, 1e4 * y, **BRIEF)
    shifted = ours.log_prob(x, y) - units.log().sum()
    torch.testing.assert_close(scaled.log_prob(x.double() * units + 5, 1e4 * y), shifted, rtol=0, atol=1e-3)


def test_shapes_of_one_observation_and_of_a_batch():
    posterior, (x, y) = brief(), linear_pairs(5, seed=3)
    assert posterior.sample(y[0], 4).shape == (4, 2)
    assert posterior.sample(y, 4).shape == (5, 4, 2)
    assert posterior.sample(y.numpy(), 0).shape == (5, 0, 2)
    each = posterior.log_prob(x, y)
    assert each.shape == (5,)
    torch.testing.assert_close(posterior.log_prob(x, y[2])[2], each[2])
    torch.testing.assert_close(posterior.log_prob(x[:, None].expand(5, 3, 2), y), each[:, None].expand(5, 3))
    assert posterior.log_prob(x[0], y[0]).shape == ()
    assert posterior.map(y[0]).shape == (2,) and posterior.surprise(y).shape == (5,)
    assert posterior.surprise(y[0]).shape == ()


def test_the_same_seed_gives_the_same_posterior_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    first, second = brief("nsf"), brief("nsf")
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(5))
    y = torch.zeros(3)
    assert torch.equal(first.sample(y, 10, seed=1), second.sample(y, 10, seed=1))
    assert not torch.equal(first.sample(y, 10, seed=1), first.sample(y, 10, seed=2))
    assert not torch.equal(first.sample(y, 10), first.sample(y, 10))


@pytest.mark.parametrize("method", method_names())
def test_every_method_comes_back_from_its_files(method, tmp_path):
    names = {"parameters": ("radius [m]", "mass"), "observations": ("a", "b", "c")}
    posterior = AmortizedPosterior(method, **names).fit(*linear_pairs(100), max_steps=2, progress=False)
    posterior.save(tmp_path / "posterior")
    loaded = AmortizedPosterior.load(tmp_path / "posterior")
    y = torch.tensor([[0.5, 0.0, 1.0]])
    assert torch.equal(loaded.sample(y, 20, seed=0), posterior.sample(y, 20, seed=0))
    assert torch.equal(loaded.surprise(y), posterior.surprise(y))
    assert loaded.parameters == names["parameters"] and loaded.observations == names["observations"]
    assert sorted(path.name for path in (tmp_path / "posterior").iterdir()) == [
        "posterior.json",
        "posterior.safetensors",
    ]


@pytest.mark.parametrize(
    ("method", "options", "pairs", "share"),
    [
        ("inn", {"width": 8, "blocks": 2}, 200, 0.5),
        ("maf", {"steps": 1, "width": 32}, 30, 0.9),
    ],  # trained once and twice
)
def test_an_interrupted_and_resumed_training_is_as_one_without_a_break(
    method, options, pairs, share, tmp_path, monkeypatch
):
    calls, interrupted_at = [], []

    def counted(self, x, y, loss=Model.loss):
        calls.append(x)
        if len(calls) in interrupted_at:
            signal.raise_signal(signal.SIGINT)
        return loss(self, x, y)

    def trained(**more):
        calls.clear()
        posterior = AmortizedPosterior(method, **options)
        training = {"max_steps": 40, "batch_size": 20, "learning_rate": 0.01}
        return posterior.fit(*linear_pairs(pairs), **training, progress=False, **more)

    monkeypatch.setattr(Model, "loss", counted)
    whole, interrupted_at = trained(), [round(share * len(calls))]
    part = trained(checkpoints=tmp_path / "c")
    assert part.result.interrupted and len(calls) < interrupted_at[0] + 10
    interrupted_at.clear()
    with pytest.raises(RunError, match="holds a training: resume=True continues it"):
        trained(checkpoints=tmp_path / "c")
    resumed = trained(checkpoints=tmp_path / "c", resume=True)
    assert not resumed.result.interrupted
    assert len(list((tmp_path / "c" / "runs").iterdir())) == 1 + (method == "maf")
    assert resumed.result.steps == whole.result.steps and resumed.result.best_step == whole.result.best_step
    assert [row["step"] for row in resumed.result.history] == [row["step"] for row in whole.result.history]
    y = torch.zeros(3)
    assert torch.equal(resumed.sample(y, 50, seed=0), whole.sample(y, 50, seed=0))
    assert torch.equal(resumed.surprise(y), whole.surprise(y))


def test_a_training_is_resumed_with_the_same_pairs_and_settings_only(tmp_path):
    x, y = linear_pairs(50)

    def fit(x, y, resume=True, steps=4, **options):
        posterior = AmortizedPosterior("maf", **(SMALL | options))
        return posterior.fit(x, y, max_steps=steps, checkpoints=tmp_path / "c", resume=resume, progress=False)

    with pytest.raises(RunError, match="holds no training to resume"):
        fit(x, y)
    with pytest.raises(OptionError, match="name their folder by checkpoints"):
        AmortizedPosterior("maf").fit(x, y, resume=True)
    with pytest.raises(OptionError, match="learning_rate"):
        AmortizedPosterior("maf", **SMALL).fit(x, y, checkpoints=tmp_path / "c", learning_rate=-1, **BRIEF)
    assert not (tmp_path / "c").exists()
    fit(x, y, resume=False)
    for changed in ((x.flip(0), y.flip(0)), (x * 1.00001, y), (x, y + 0.001)):
        with pytest.raises(DataError, match="the pairs have changed since the training in"):
            fit(*changed)
    with pytest.raises(OptionError, match="max_steps was 4 when the training in .* began, and is 5"):
        fit(x, y, steps=5)
    with pytest.raises(OptionError, match="options was"):
        fit(x, y, width=9)
    last_digits = x + 1e-8 * torch.randn(x.shape)
    assert fit(last_digits, y).result.steps == 4


def test_damaged_files_are_refused(tmp_path):
    brief().save(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no posterior: posterior.json is missing"):
        AmortizedPosterior.load(tmp_path / "nowhere")
    config = tmp_path / "posterior.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "options": {**SMALL, "width": 9}}))
    with pytest.raises(CheckpointError, match="does not fit posterior.json: .* is .* in the model and"):
        AmortizedPosterior.load(tmp_path)
    config.write_text(json.dumps({**content, "format": 7}))
    with pytest.raises(CheckpointError, match="has format 7"):
        AmortizedPosterior.load(tmp_path)
    config.write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        AmortizedPosterior.load(tmp_path)


def test_a_full_disk_is_said_with_the_remedy_and_leaves_what_was_there(tmp_path):
    posterior = brief()
    (tmp_path / "posterior.json").write_text("before")
    (tmp_path / "posterior.safetensors").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"no space left on device; mend that, or save it to another folder$"):
        posterior.save(tmp_path)
    assert (tmp_path / "posterior.json").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"posterior.json", "posterior.safetensors"}


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (lambda x: x, torch.float32),
        (lambda x: x.double(), torch.float64),
        (lambda x: x.numpy(), torch.float32),
        (lambda x: x.double().numpy(), torch.float64),
        (lambda x: x.tolist(), torch.float32),
        (lambda x: {"p": x[:, 0].numpy(), "q": x[:, 1].double().numpy()}, torch.float64),
        (lambda x: {"p": x[:, 0].tolist(), "q": x[:, 1].tolist()}, torch.float32),
    ],
)
def test_samples_have_the_precision_of_the_given_parameters(given, dtype):
    x, y = linear_pairs(30)
    posterior = AmortizedPosterior("maf", **SMALL).fit(given(x), y, **BRIEF)
    assert posterior.sample(y[0], 5).dtype == posterior.log_prob(x, y).dtype == dtype


def test_a_name_that_comes_twice_is_refused():
    prior = Independent(Uniform(torch.zeros(2), 1.0), 1)
    for build in (
        lambda: AmortizedPosterior(parameters=("a", "a")),
        lambda: AmortizedPosterior(observations=("b", "a", "b")),
        lambda: Problem("two", prior, lambda x: x, parameters=("a", "a")),
    ):
        with pytest.raises(DataError, match=r"name '[ab]' twice: name it once"):
            build()


@pytest.mark.parametrize("method", method_names())
def test_methods_with_a_forward_part_predict_observations_and_others_name_them(method):
    x, y = linear_pairs(50)
    posterior = AmortizedPosterior(method).fit(x, y, max_steps=1, progress=False)
    if method in method_names(with_forward=True):
        assert posterior.predict(x).shape == y.shape
        return
    with pytest.raises(OptionError, match=f"'{method}' has no forward part .* methods with one are autoencoder, .*inn"):
        posterior.predict(x)
    with pytest.raises(OptionError, match=r"has no forward part .* methods with one are autoencoder, .*inn"):
        posterior.model.conditional.predict(x)


def test_names_of_a_data_frame_are_kept_and_checked():
    x, y = linear_pairs(100)
    columns = {"a": y[:, 0].numpy(), "b [s]": y[:, 1].numpy()}
    posterior = AmortizedPosterior(**SMALL).fit({"p": x[:, 0].numpy(), "q": x[:, 1].numpy()}, columns, **BRIEF)
    assert posterior.parameters == ("p", "q") and posterior.observations == ("a", "b [s]")
    turned = {"b [s]": columns["b [s]"][:3], "other": np.zeros(3), "a": columns["a"][:3]}
    torch.testing.assert_close(posterior.sample(turned, 5, seed=0), posterior.sample(y[:3, :2], 5, seed=0))
    with pytest.raises(DataError, match=r"no column 'b \[s\]' but 'b \[ms\]', in another unit"):
        posterior.sample({"a": [1.0], "b [ms]": [2.0]})
    with pytest.raises(DataError, match=r"trained on observations of shape \(2,\) \(a, b \[s\]\), got \(4, 3\)"):
        posterior.sample(y[:4])
    with pytest.raises(DataError, match="y holds values that are not finite in 1 of 2 rows, first 'a' in row 1"):
        posterior.sample(torch.tensor([[0.0, 0.0], [torch.nan, 0.0]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:19], y[:19]), "19 pairs are too few for 2 parameters: at least 20 are needed"),
        (lambda x, y: (x, y[:50]), "x has 100 rows and y has 50"),
        (lambda x, y: (x.index_fill(1, torch.tensor(1), 3.0), y), "the parameter 'q' is 3 in all 100 pairs"),
        (lambda x, y: (x, y.index_fill(1, torch.tensor(2), 0.1)), "the observable 2 is 0.1 in all 100 pairs"),
        (lambda x, y: (x.index_fill(0, torch.tensor(7), torch.nan), y), "x holds values .* first 'p' in row 7"),
        (lambda x, y: (x, y.index_fill(0, torch.tensor(7), torch.inf)), "y holds values that are not finite in 1 of"),
        (lambda x, y: (x[:, :1], y), "names of 2 parameters and 1 columns"),
        (lambda x, y: ({"p": x[:, 0], "r": x[:, 1]}, y), "the parameters are p, q, and the data has p, r"),
    ],
)
def test_pairs_that_cannot_be_learned_from_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        AmortizedPosterior(parameters=("p", "q"), **SMALL).fit(*change(*linear_pairs(100)), **BRIEF)


def test_a_summary_that_does_not_exist_is_refused_at_once():
    for summary in ("sets", nn.Linear):
        with pytest.raises(OptionError, match="one of set, series, image, graph"):
            AmortizedPosterior(summary=summary)


@pytest.mark.parametrize("option", ["max_steps", "batch_size", "learning_rate", "patience"])
def test_zero_is_no_default(option):
    with pytest.raises(ValueError, match=option):
        AmortizedPosterior("maf", **SMALL).fit(*linear_pairs(50), **(BRIEF | {option: 0}))


def test_weights_decay_only_where_pairs_are_memorized():
    problem = create("slcp")
    fresh = problem.simulate(2000, seed=1)

    def compared(n, **training):
        for decay in ({}, {"weight_decay": 0}):
            posterior = AmortizedPosterior.of(problem, "maf", width=32, steps=2)
            posterior.fit(*problem.simulate(n), progress=False, **training, **decay)
            yield posterior.log_prob(*fresh).mean().item()

    by_default, without = compared(400, max_steps=200, learning_rate=0.01)
    assert by_default > without + 0.1
    by_default, without = compared(400, max_steps=5)
    assert by_default == without


def test_a_training_that_fails_leaves_the_posterior_as_it_was():
    x, y = linear_pairs(50)
    posterior = AmortizedPosterior("maf", **SMALL)
    with pytest.raises(OptionError):
        posterior.fit(x, y, learning_rate=-1, **BRIEF)
    assert not posterior.is_trained and posterior.support is None
    posterior.fit(x, y, **BRIEF)
    before = posterior.sample(y[0], 5, seed=0)
    with pytest.raises(OptionError):
        posterior.fit(x, y, learning_rate=-1, **BRIEF)
    assert torch.equal(posterior.sample(y[0], 5, seed=0), before)


def test_one_observation_by_name_is_as_good_as_its_numbers():
    x, y = linear_pairs(50)
    posterior = AmortizedPosterior("maf", observations=("a", "b", "c"), parameters=("u", "v"), **SMALL)
    posterior.fit(x, y, **BRIEF)
    named = dict(zip("cab", y[0, [2, 0, 1]].tolist(), strict=True))
    assert torch.equal(posterior.sample(named, 5, seed=0), posterior.sample(y[0], 5, seed=0))
    swapped = {"v": x[:3, 1].numpy(), "u": x[:3, 0].numpy()}
    assert torch.equal(posterior.log_prob(swapped, named), posterior.log_prob(x[:3], y[0]))
    unnamed = AmortizedPosterior("maf", **SMALL).fit(x, y, **BRIEF)
    with pytest.raises(DataError, match="without names"):
        unnamed.sample(named)
    with pytest.raises(DataError, match="y must be numbers"):
        unnamed.sample("three")
    assert unnamed.map(y[:0]).shape == (0, 2)


def test_parameters_outside_of_the_prior_are_refused():
    x, y = linear_pairs(100)
    with pytest.raises(DataError, match=r"rows of x are outside of the support, first row \d+ \("):
        AmortizedPosterior(prior=Independent(Uniform(torch.zeros(2), 1.0), 1)).fit(x, y, **BRIEF)


def test_unknown_methods_and_options_are_refused():
    with pytest.raises(OptionError, match="unknown method 'gan': choose one of .*cinn"):
        AmortizedPosterior("gan")
    with pytest.raises(OptionError, match="the method 'cinn' can't be built: 'nsf' has no option color; it has"):
        AmortizedPosterior(color=1).fit(*linear_pairs(100), **BRIEF)
    with pytest.raises(OptionError, match=r"not trained: call fit\(x, y\) first"):
        AmortizedPosterior().sample(torch.zeros(3))


def test_a_posterior_of_a_problem_has_its_names_and_support():
    prior = Independent(Uniform(torch.zeros(2), 1.0), 1)
    problem = Problem("sum", prior, lambda x: x.sum(1), parameters=("a", "b"), observations=("sum",))
    posterior = AmortizedPosterior.of(problem, **SMALL).fit(*problem.simulate(100), **BRIEF)
    assert posterior.parameters == ("a", "b") and posterior.observations == ("sum",)
    assert posterior.support == Support([Interval(0, 1)] * 2)
    assert posterior.sample(torch.tensor(0.7), 3).shape == (3, 2)
    assert posterior.sample(torch.tensor([[0.7], [0.1]]), 3).shape == (2, 3, 2)


def test_sets_are_summarized_without_regard_to_their_order(tmp_path):
    x = torch.randn(200, 1)
    y = x[:, None] + torch.randn(200, 8, 1)
    posterior = AmortizedPosterior(summary="set", **SMALL).fit(x, y, max_steps=20, progress=False)
    turned = y[:, torch.randperm(8)]
    torch.testing.assert_close(posterior.log_prob(x, turned), posterior.log_prob(x, y), rtol=1e-4, atol=1e-4)
    posterior.save(tmp_path)
    loaded = AmortizedPosterior.load(tmp_path)
    assert torch.equal(loaded.log_prob(x, y), posterior.log_prob(x, y))
    with pytest.raises(OptionError, match=r"observations of shape \(3,\): a set is an observation \(n, C\)"):
        AmortizedPosterior(summary="set").fit(*linear_pairs(100), **BRIEF)


def test_a_summary_network_of_ones_own_is_trained_and_passed_to_load(tmp_path):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = network[0].weight.clone()
    posterior = AmortizedPosterior(summary=network, **SMALL)
    posterior.fit(*linear_pairs(200), max_steps=20, learning_rate=0.02, progress=False)
    assert torch.equal(network[0].weight, before)
    assert not torch.equal(posterior.model.summary[0].weight, before)
    posterior.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"a summary network of your own, Sequential: pass one like it"):
        AmortizedPosterior.load(tmp_path)
    y = torch.zeros(3)
    loaded = AmortizedPosterior.load(tmp_path, summary=network)
    assert torch.equal(loaded.sample(y, 5, seed=0), posterior.sample(y, 5, seed=0))
