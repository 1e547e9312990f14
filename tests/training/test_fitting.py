"""`fit`: training from Python, with and without a run folder."""

import math
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import inverseflow
from inverseflow import densities, flows
from inverseflow.bijections import ActNorm, Compose, LUConv1x1
from inverseflow.errors import CheckpointError, DataError, InverseFlowError, NonFiniteError, OptionError, RunError
from inverseflow.flows import Flow
from inverseflow.training import Loss, MaximumLikelihood, ReconstructionLoss, fitting
from inverseflow.training.loop.callbacks import Recorder
from inverseflow.training.run import Run
from inverseflow.training.run.folder import read_metrics

NSF = {"steps": 2, "width": 8, "depth": 1, "spline_bins": 4}
QUICK = {"max_steps": 20, "learning_rate": 5e-3, "progress": False}


def nsf(dims: int = 2, **options) -> Flow:
    torch.manual_seed(0)
    return flows.create("nsf", (dims,), **NSF, **options)


def line(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around a line whose slope is the context."""
    context = torch.rand(count, 1)
    x = torch.randn(count, 2)
    x[:, 1] = 3 * context[:, 0] * x[:, 0] + 0.1 * x[:, 1]
    return x, context


def trained(density: Flow, *data, **options):
    return inverseflow.fit(density, *data, **{**QUICK, **options})


def weights(density: Flow) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in density.state_dict().items()}


def test_training_lowers_the_nats_and_leaves_the_best_model_in_evaluation_mode():
    flow = nsf(context_channels=1)
    x, context = line()
    result = trained(flow, x, context, max_steps=60)
    steps, nats = result.column("val_nats")

    assert nats[-1] < nats[0] - 0.05
    assert result.best_value == min(nats) and result.best_step == steps[nats.index(min(nats))]
    assert result.steps == 60 and not result.stopped_early and not result.interrupted and not flow.training


def test_the_best_weights_and_not_the_last_are_left():
    flow, kept = nsf(), []
    validate = fitting.BestModel.on_validation_end

    class Watching(fitting.BestModel):
        def on_validation_end(self, trainer, module):
            validate(self, trainer, module)
            kept.append((self.best_step, weights(module.flow)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "BestModel", Watching)
        result = trained(flow, line(60)[0], learning_rate=0.5, schedule="constant", max_steps=40, validate_every=4)
    best = kept[result.best_step // 4 - 1][1]

    assert result.best_step < 40
    assert all(torch.equal(value, best[name]) for name, value in flow.state_dict().items())


def test_patience_stops_early():
    result = trained(
        nsf(), line(60)[0], learning_rate=0.5, schedule="constant", max_steps=400, validate_every=2, patience=3
    )

    assert result.stopped_early and result.steps == result.best_step + 2 * 3 < 400


def test_an_average_is_validated_and_kept():
    flow, plain = nsf(), nsf()
    results = [trained(each, line()[0], ema=decay) for each, decay in ((flow, 0.9), (plain, None))]
    with torch.no_grad():
        assert not torch.equal(flow.log_prob(torch.zeros(1, 2)), plain.log_prob(torch.zeros(1, 2)))
    assert math.isfinite(results[0].best_value)


def test_the_seed_decides_everything():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 2))).float()
    first, second, other = (trained(nsf(), x, seed=seed).column("train_nats") for seed in (0, 0, 1))

    assert first == second != other


def test_with_a_folder_it_trains_to_the_same_weights_and_writes_a_run(tmp_path):
    x, context = line()
    alone, foldered = nsf(context_channels=1), nsf(context_channels=1)
    results = [trained(alone, x, context), trained(foldered, x, context, out=tmp_path / "run")]
    run = Run(tmp_path / "run")
    loaded = Flow.from_pretrained(run.model)

    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in foldered.state_dict().items())
    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert results[0].best_value == results[1].best_value
    assert {path.name for path in run.path.iterdir()} >= {
        "config.yaml", "data.json", "metrics.csv", "checkpoints", "model", "samples.png", "curves.png", "pit.png",
        "report.json", "report.html",
    }  # fmt: skip
    assert read_metrics(run.metrics)[-1]["step"] == 20


def test_a_folder_with_a_run_is_refused_and_resumed_when_asked(tmp_path):
    x = line()[0]
    trained(nsf(), x, out=tmp_path / "run", schedule="constant")
    with pytest.raises(
        RunError, match="holds a run already; resume=True continues it, overwrite=True deletes it, out ch"
    ):
        trained(nsf(), x, out=tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"build that one, or train into another folder \(out\)"):
        other = flows.create("nsf", (2,), **{**NSF, "width": 4})
        trained(other, x, out=tmp_path / "run", schedule="constant", resume=True)
    with pytest.raises(
        OptionError, match="schedule is constant in the run .*; fit the density with other settings into"
    ):
        trained(nsf(), x, out=tmp_path / "run", resume=True)
    resumed, whole = nsf(), nsf()
    result = trained(resumed, x, out=tmp_path / "run", schedule="constant", max_steps=30, validate_every=1, resume=True)
    trained(whole, x, schedule="constant", max_steps=30, validate_every=1)

    assert result.steps == 30
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


@pytest.mark.parametrize("folder", [False, True])
def test_ctrl_c_returns_the_best_model_so_far(tmp_path, monkeypatch, capsys, folder):
    record = Recorder.on_train_batch_end

    def record_and_interrupt(self, trainer, *rest):
        record(self, trainer, *rest)
        if trainer.global_step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Recorder, "on_train_batch_end", record_and_interrupt)
    out = tmp_path / "run" if folder else None
    result = trained(nsf(), line()[0], max_steps=100, validate_every=5, out=out)

    assert result.interrupted and result.steps == 12 and 5 <= result.best_step <= 12
    assert "interrupted after step 12; the density has the weights of step" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_images_train_in_bits_per_dimension():
    images = torch.randint(17, (80, 1, 8, 8), dtype=torch.uint8)
    flow = flows.create("glow", (1, 8, 8), levels=17, scales=1, steps=1, width=4, context_channels=3)
    result = trained(flow, images, ["cat", "dog", "owl", "dog"] * 20, max_steps=4)

    assert len(result.column("val_bits_per_dim")[0]) == 4


def test_float64_stays_float64():
    flow = nsf().double()
    trained(flow, line()[0].numpy().astype(np.float32), max_steps=2)

    assert {parameter.dtype for parameter in flow.parameters()} == {torch.float64}


@dataclass(frozen=True)
class Shrunk:
    """Maximum likelihood with a penalty."""

    factor: float

    def __call__(self, model, batch):
        loss = MaximumLikelihood()(model, batch)
        penalty = sum(weight.square().sum() for weight in model.parameters())
        return Loss(loss.total + self.factor * penalty, {**loss.terms, "penalty": penalty})


def test_the_terms_of_an_objective_are_recorded_and_its_total_chooses_the_best():
    free, shrunk = nsf(), nsf()
    trained(free, line()[0], objective=Shrunk(0.0))
    result = trained(shrunk, line()[0], objective=Shrunk(10.0))
    row = next(row for row in result.history if "val_loss" in row)

    assert row["val_loss"] == pytest.approx(row["val_nats"] + 10 * row["val_penalty"], rel=1e-5)
    assert result.best_value == min(result.column("val_loss")[1])
    norms = [float(sum(weight.detach().square().sum() for weight in flow.parameters())) for flow in (free, shrunk)]
    assert norms[1] < norms[0]


def test_the_metric_of_continuous_data_is_in_the_units_of_the_data():
    x = line()[0]
    results = [trained(nsf(), scale * x).column("val_nats")[1] for scale in (1.0, 1024.0)]

    assert np.subtract(*results[::-1]) == pytest.approx(2 * math.log(1024), abs=1e-5)


def test_a_density_that_is_not_registered_trains_in_a_folder_too(tmp_path):
    flow = Flow(Compose(ActNorm(2), LUConv1x1(2)), (2,))
    trained(flow, line()[0], out=tmp_path / "run")

    assert not Run(tmp_path / "run").model.exists()
    assert "Flow is not registered" in Run(tmp_path / "run").report.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": None}, "takes contexts of length 1: give one context for each example"),
        ({"context": torch.rand(60, 2)}, "takes contexts of length 1, and the contexts have 2: give as many"),
        ({"context": torch.rand(59, 1)}, "x has 60 examples, but context has 59"),
        ({"context": torch.full((60, 1), math.nan)}, "context is not finite .* in 60 of 60 examples"),
        ({"x": torch.randn(60, 3)}, r"built for examples of shape \(2,\), and x has \(3,\)"),
        ({"x": torch.randn(60, 2).index_fill(0, torch.tensor([4, 7]), math.nan)}, r"not finite .*in 2 of 60 .*4, 7"),
        ({"x": [["a", "b"]] * 60}, "x must be numbers"),
        ({"validation": 1.0}, "validation must lie strictly between 0 and 1"),
        ({"validation": 0.999}, "leaves nothing to train on"),
        ({"batch_size": 100}, "batch_size is 100, more than the 54 training examples; choose at most 54"),
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"patience": 0}, "patience must be between 1 and"),
        ({"learning_rate": -1.0}, "learning_rate must be finite and above 0, got -1"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(change, message):
    flow = nsf(context_channels=1)
    before = weights(flow)
    given = {"x": torch.randn(60, 2), "context": torch.rand(60, 1), **QUICK, **change}
    with pytest.raises((DataError, OptionError, ValueError), match=message) as caught:
        inverseflow.fit(flow, **given)

    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


def test_categories_are_refused_by_a_density_of_real_numbers():
    frame = {"a": np.random.default_rng(0).normal(size=60), "site": ["north", "south"] * 30}
    with pytest.raises(OptionError, match=r"takes 'site' for real numbers, .* nsf with integer_columns=\[1\], pass"):
        trained(nsf(), frame)
    trained(nsf(integer_columns=[1]), frame, max_steps=2)


def test_a_context_that_the_flow_would_ignore_is_refused():
    with pytest.raises(OptionError, match="takes no context: build it with context_channels=1, or leave the context"):
        trained(nsf(), *line())


@pytest.mark.parametrize("kind", [torch.tensor, list])
def test_labels_that_miss_the_last_classes_fit_the_context_of_the_density(kind):
    flow = nsf(context_channels=5)
    trained(flow, torch.randn(60, 2), kind([0, 2, 1] * 20), max_steps=2)
    trained(flow, torch.randn(60, 2), ["0", "3", "1"] * 20, max_steps=2)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (torch.arange(60), "from 0 to 1, but one is 59: number the classes from 0 on, or give numbers as float"),
        (["a", "b", "c"] * 20, r"has 3 classes, but there are 2: name all of them by as_splits\(x, labels, classes="),
        (torch.randn(60, 3), "takes contexts of length 2, and the contexts have 3"),
        (None, "takes contexts of length 2: give one context for each example"),
    ],
)
def test_a_context_of_another_length_is_refused_in_one_sentence(context, message):
    with pytest.raises((DataError, OptionError), match=message):
        trained(nsf(context_channels=2), torch.randn(60, 2), context)


def test_the_global_generators_are_left_as_they_were():
    flow = nsf()
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    trained(flow, torch.zeros(60, 2) + torch.linspace(0, 1, 60)[:, None], max_steps=2)
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numbers).all()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda model, batch: model(batch.x).mean(), r"must return a Loss, got Tensor: return Loss\(total\)"),
        (lambda model, batch: Loss(-model(batch.x)), r"total of a Loss must be a tensor without axes, got the shape"),
        (lambda model, batch: Loss(model(batch.x).mean(), {"w": 1.0}), "w of a Loss must be a tensor .* got float"),
        ("mle", "objective must be a function of a density and a batch, got 'mle'"),
        (lambda model, batch: Loss(model(batch.x).mean().detach()), "no gradient: compute it from the model"),
    ],
)
def test_an_objective_that_returns_no_loss_is_refused_in_one_sentence(objective, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trained(nsf(), torch.randn(60, 2), objective=objective)


def test_what_cannot_be_trained_at_all_is_refused_at_the_door():
    x = torch.randn(60, 2)
    with pytest.raises(TypeError, match="density must be a Density such as a Flow, got Linear"):
        trained(torch.nn.Linear(2, 2), x)
    with pytest.raises(OptionError, match="parameters of torch.bfloat16: convert it to float32 or float64"):
        trained(nsf().bfloat16(), x)
    with torch.inference_mode(), pytest.raises(OptionError, match="records no gradients: call fit outside of it"):
        trained(nsf(), x)
    with pytest.raises(OptionError, match="a run has one folder: give out, or checkpoints"):
        trained(nsf(), x, out="a", checkpoints="b")
    for option in ("resume", "overwrite"):
        with pytest.raises(OptionError, match=f"{option} is about the run in a folder: name the folder by out"):
            trained(nsf(), x, **{option: True})


def test_a_loss_that_is_not_finite_ends_with_the_best_model_so_far(monkeypatch):
    flow, seen = nsf(), []

    def explodes(model, batch):
        seen.append(1)
        loss = MaximumLikelihood()(model, batch)
        return Loss(loss.total * (math.inf if len(seen) > 15 else 1.0), loss.terms)

    with pytest.raises(NonFiniteError, match="not finite"):
        trained(flow, line()[0], objective=explodes)

    assert all(torch.isfinite(value).all() for value in flow.state_dict().values())


def test_a_density_without_parameters_is_refused():
    with pytest.raises(InverseFlowError, match="has no parameters to train"):
        trained(Flow(Compose(), (2,)), line()[0])


@pytest.mark.parametrize(
    ("density", "x", "message"),
    [
        (nsf, torch.randint(9, (200, 2)), r"columns 0, 1 \(whole numbers\).*\[0, 1\]"),
        (nsf, torch.randint(9, (200, 2)).float() / 10, r"columns 0, 1 \(steps of 0.1\)"),
        (
            lambda: nsf(integer_columns=[1]),
            torch.stack([torch.arange(200.0) // 20, torch.arange(200.0) % 7], 1),
            r"in the columns 0 \(whole numbers\), where .* integer_columns=\[0\], which dequantizes",
        ),
        (
            lambda: densities.MADE((1, 3), width=8),
            torch.randint(9, (200, 1, 3)),
            "x holds whole numbers only, .* with levels",
        ),
    ],
)
def test_whole_numbers_in_a_density_of_real_numbers_are_warned_of_once(density, x, message):
    with pytest.warns(UserWarning, match=message) as warned:
        trained(density(), x, max_steps=1)
    assert len(warned) == 1


def test_dequantized_and_continuous_columns_are_not_warned_of():
    x = torch.stack([torch.arange(200.0) % 7, torch.randn(200)], 1)
    trained(nsf(integer_columns=[0]), x, max_steps=1)


def test_zeros_and_ones_are_no_fault_where_the_model_gives_probabilities_or_no_density():
    x = torch.randint(2, (200, 3)).float()
    trained(densities.VAE((3,), 1, decoder="bernoulli", width=4), x, max_steps=1)
    trained(densities.Autoencoder((3,), 1, width=4), x, max_steps=1, objective=ReconstructionLoss())
    with pytest.warns(UserWarning, match="lattices in the columns 0, 1, 2"):
        trained(densities.VAE((3,), 1, width=4), x, max_steps=1)
