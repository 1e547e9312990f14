"""Amortized posteriors: one network, trained on pairs, that gives p(x | y) for any observation y."""

import copy
import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution

from inverseflow.data import Batch, Splits, as_splits
from inverseflow.data.memory import as_tensor, is_frame
from inverseflow.densities import Density
from inverseflow.densities.density import Likelihood
from inverseflow.densities.pretrained import shape_difference
from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.inference.checkpoints import Begun
from inverseflow.inference.methods import Conditional, build_method, method_entry, method_names
from inverseflow.inference.pairs import distinct, finite, has_doubles, named_columns, numbers
from inverseflow.inference.problem import Problem
from inverseflow.inference.support import Real, Support
from inverseflow.nets.summary import SUMMARIES, Summary, create_summary
from inverseflow.training.objective import Loss
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.files import atomic_write
from inverseflow.utils.packages import packages_for
from inverseflow.utils.seeding import seeded

if TYPE_CHECKING:
    from inverseflow.training import FitResult

Number = TypeVar("Number", int, float)

CONFIG, WEIGHTS = "posterior.json", "posterior.safetensors"
_FORMAT = 1
PAIRS_PER_PARAMETER = 10
_CHUNK = 100_000  # rows of one call of a network
_HELD_OUT = 0.1
_WORSE = 10  # of 40 validations in a row: the pairs are being memorized
_DECAYED_PAIRS, _MOST_DECAY = 2000, 3.0  # so many pairs for each parameter need a weight decay of 1
_HELD_OUT_DISTANCES, _FEWEST_HELD_OUT = 4096, 20
_DEQUANTIZED = 16  # points of the unit interval of a whole number
_CLIMBERS, _CLIMB = 10, 100  # starting points and steps of `map`


class Model(Density):
    """What is trained: standardized, unbounded parameters given a standardized observation of any shape.

    Args:
        conditional: models the parameters given a vector.
        summary: network from observations to such vectors; None flattens them.
        observation_shape: shape of an observation.
    """

    def __init__(self, conditional: Conditional, summary: nn.Module | None, observation_shape: tuple[int, ...]) -> None:
        super().__init__(conditional.event_shape, context_shape=observation_shape)
        self.conditional = conditional
        self.summary = summary

    @property
    def likelihood(self) -> Likelihood:
        """Whether the density of the method is exact."""
        return self.conditional.likelihood

    def summarize(self, y: Tensor) -> Tensor:
        """Return the vectors ``(B, K)`` that stand for observations."""
        summary: Tensor = y.flatten(1) if self.summary is None else self.summary(y)
        return summary

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the total of the loss: unlike the density, every method has it."""
        assert context is not None
        return self.loss(x, context).total

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        """Return the loss of the method on a batch."""
        return self.conditional.loss(x, self.summarize(y))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` of the standardized parameters."""
        assert context is not None
        return self.conditional.log_prob(x, self.summarize(context))

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n standardized parameters; arguments as for `Density.sample`."""
        assert context is not None
        return self.conditional.sample(n, self.summarize(context), temperature=temperature, generator=generator)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the parameters of the method that depend on data."""
        assert context is not None
        with torch.no_grad():
            summarized = self.summarize(context)
        self.conditional.initialize(x, summarized)


def _minimize_loss(model: Density, batch: Batch) -> Loss:
    assert isinstance(model, Model)
    assert batch.context is not None
    return model.loss(batch.x, batch.context)


class AmortizedPosterior:
    r"""A posterior p(x | y) for every observation y, learned from pairs (x, y).

    Parameters are mapped to unbounded numbers by their support, so that no sample leaves it, and standardized, as are
    observations. `log_prob` is in the units of x:

    .. math:: \log p(x \mid y) = \log q(u(x) \mid s(y)) + \log |\det \partial u / \partial x|

    Args:
        method: how p(x | y) is modeled; `method_names` lists them.
        prior: of the parameters; tells the support.
        support: of the parameters; read off the prior if None, and unbounded without one.
        summary: network from observations ``(B, *shape)`` to vectors ``(B, K)``: a module, or the name of one of
            `inverseflow.nets.summary` for observations that are no vectors. None takes all numbers as they are.
        parameters: names of the parameters.
        observations: names of the elements of an observation.
        options: options of the method.

    Raises:
        OptionError: if there is no such method or summary.
        DataError: if a name comes twice.

    Example:
        >>> x = torch.randn(500, 2)
        >>> y = x + 0.5 * torch.randn(500, 2)
        >>> posterior = AmortizedPosterior(method="cinn", width=16, steps=2).fit(x, y, max_steps=50, progress=False)
        >>> posterior.sample(y[0], 100).shape, posterior.log_prob(x[:5], y[:5]).shape
        (torch.Size([100, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        method: str = "cinn",
        *,
        prior: Distribution | None = None,
        support: Support | None = None,
        summary: nn.Module | str | None = None,
        parameters: tuple[str, ...] = (),
        observations: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        method_entry(method)  # refuses an unknown name here, not after the simulations
        if not (summary is None or isinstance(summary, nn.Module) or summary in SUMMARIES):
            raise OptionError(f"summary must be a module, or one of {', '.join(SUMMARIES)}, got {summary!r}")
        self.method = method
        self.prior = prior
        self.support = Support.of(prior) if support is None and prior is not None else support
        self.parameters = distinct("parameters", parameters)
        self.observations = distinct("observations", observations)
        self.options = options
        self.result: FitResult | None = None
        """What the training came to."""
        self._summary = summary
        self._dtype = torch.float32
        self._model: Model | None = None
        self._scales: dict[str, Tensor] = {}

    @classmethod
    def of(cls, problem: Problem, method: str = "cinn", **options: Any) -> "AmortizedPosterior":
        """Return a posterior, not yet trained, with the prior, the support and the names of a problem."""
        return cls(
            method,
            prior=problem.prior,
            support=problem.support,
            parameters=problem.parameters,
            observations=problem.observations,
            **options,
        )

    @property
    def has_density(self) -> bool:
        """Whether there is a `log_prob`."""
        return method_entry(self.method).has_density

    @property
    def is_trained(self) -> bool:
        """Whether `fit` was called."""
        return self._model is not None

    def require_density(self) -> None:
        """Raise OptionError, which names the methods with a density, unless this has one."""
        if not self.has_density:
            raise OptionError(
                f"the method {self.method!r} draws samples, but has no density; methods with one are "
                f"{', '.join(method_names(with_density=True))}"
            )

    @property
    def model(self) -> Model:
        """The trained network, in standardized coordinates; raises OptionError before `fit`."""
        if self._model is None:
            raise OptionError("the posterior is not trained: call fit(x, y) first")
        return self._model

    @property
    def columns(self) -> int:
        """Number of parameters D."""
        return self._support.columns

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of an observation."""
        shape = self.model.context_shape
        assert shape is not None
        return shape

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        patience: int | None = None,
        seed: int = 0,
        out: str | os.PathLike[str] | None = None,
        checkpoints: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: bool = True,
    ) -> "AmortizedPosterior":
        """Train on pairs, anew if called again, and keep the weights of the best validation.

        What is left out follows from the method and the number of pairs.

        Args:
            x: parameters ``(N, D)``: a tensor, an array or a data frame, whose columns are taken by name.
            y: observations ``(N, *shape)``, likewise.
            max_steps: training steps.
            batch_size: pairs in a training step.
            learning_rate: learning rate of Adam at the start; it falls to zero along a cosine.
            weight_decay: decoupled weight decay. A flow is by default trained without; if a quarter of the validations
                in a row are worse than the best, it has memorized pairs, and is trained again with a decay of
                2000 D / N, at most 3. The better one is kept.
            patience: stop after that many validations in a row without a new best one.
            seed: of the weights, the held-out pairs, the order of the others and all noise.
            out: a folder to save the posterior to.
            checkpoints: a folder for checkpoints, from which an interrupted training can continue.
            resume: continue the training in `checkpoints`, with the same pairs and settings. It comes to what it would
                have come to without a break.
            progress: whether to show a progress bar.

        Raises:
            DataError: if x and y do not belong together, there are fewer pairs than 10 for each parameter, a value is
                not finite or outside of the support, a parameter or an observable is constant, or names differ.
            OptionError: if an option can't work, or the settings of a resumed training differ.
            RunError: if `checkpoints` holds a training and `resume` is False, or holds none and it is True.
            NonFiniteError: if the loss or the gradient is not finite.
        """
        from inverseflow.training import fit

        if resume and checkpoints is None:
            raise OptionError("resume continues a training from its checkpoints: name their folder by checkpoints")
        with self._kept_if_it_fails():
            x, y = self._pairs(x, y)
            with seeded(seed, "dequantize"):
                u, _ = self._support.to_real(self._support.dequantize(x))
            with seeded(seed, "weights"):
                summary = self._build(tuple(y.shape[1:])).summary
            self._scales = _moments("x", u, self.parameters) | self._observation_moments(y, summary)
            standardized, observed = self._standardized("x", u), self._standardized("y", y)
            splits: Splits[Any] = as_splits(standardized, observed, validation=_HELD_OUT, seed=seed)
            count, defaults = len(splits.train), method_entry(self.method).training
            steps = _first(max_steps, defaults.max_steps, max(500, round(60 * math.sqrt(count))))
            batch = _first(batch_size, defaults.batch_size, min(500, max(50, count // 50)))
            patience = defaults.patience if patience is None else patience
            decays = [_first(weight_decay, defaults.weight_decay, 0.0)]
            if weight_decay is None and defaults.weight_decay is None:
                decays.append(min(_MOST_DECAY, _DECAYED_PAIRS * self._support.dims / count))
            settings: dict[str, Any] = {
                "max_steps": steps,
                "batch_size": min(count, batch),
                "learning_rate": _first(learning_rate, defaults.learning_rate),
                "clip_norm": defaults.clip_norm,
                "ema": defaults.ema,
                "validate_every": max(1, steps // defaults.validations),
                "seed": seed,
            }
            with ExitStack() as stack:
                folder = None
                if checkpoints is not None:
                    known = (
                        self._content(tuple(y.shape[1:])) | settings | {"weight_decay": decays, "patience": patience}
                    )
                    begun = Begun(Path(checkpoints).expanduser(), known, x, y)
                    folder = stack.enter_context(begun.training(resume=resume))
                self.result = None
                for attempt, decay in enumerate(decays):
                    with seeded(seed, "weights"):
                        model = self._build(tuple(y.shape[1:]))
                    result = fit(
                        model,
                        splits,
                        objective=_minimize_loss,
                        weight_decay=decay,
                        patience=patience if decay == decays[-1] else _first(patience, _WORSE),
                        checkpoints=None if folder is None else folder / str(attempt),
                        resume=resume,
                        progress=progress,
                        **settings,
                    )
                    if self.result is None or result.best_value < self.result.best_value:
                        self._model, self.result = model, result
                    if not result.stopped_early:
                        break  # it did not memorize the pairs, or was interrupted
                assert self.result is not None
                self.result = replace(self.result, interrupted=result.interrupted)
            self._calibrate_surprise(splits.train.context, splits.validation.context)
        if out is not None:
            self.save(out)
        return self

    def sample(self, y: Any, n: int = 1000, *, seed: int | None = None) -> Tensor:
        """Draw parameters given an observation, all of them inside of the support.

        Args:
            y: one observation, or a batch of m.
            n: number of samples of each.
            seed: seed of the samples; None continues torch's global generator.

        Returns:
            ``(n, D)``, or ``(m, n, D)`` for a batch.

        Raises:
            DataError: if y has other columns or another shape than in training, or is not finite.
        """
        n = whole_number("the number of samples", n, at_least=0)
        y, single = self._observed(y)
        with torch.no_grad(), nullcontext() if seed is None else seeded(seed, "posterior"):
            contexts = self.model.summarize(self._standardized("y", y)).repeat_interleave(n, 0)
            drawn = [self.model.conditional.sample(len(rows), rows) for rows in contexts.split(_CHUNK)]
        u = torch.cat(drawn).double() * self._scales["x_deviation"] + self._scales["x_mean"]
        x = self._support.from_real(u, self._dtype).reshape(len(y), n, self._support.columns)
        return x[0] if single else x

    def log_prob(self, x: Any, y: Any) -> Tensor:
        """Return log p(x | y) in nats and in the units of x; −∞ outside of the support.

        It has a gradient with respect to x. With whole numbers among the parameters it is no exact probability, but the
        mean density at 16 points of each unit interval.

        Args:
            x: parameters ``(B, D)`` with as many observations or a single one, or ``(m, n, D)`` with m.
            y: observations.

        Returns:
            ``(B,)``, or ``(m, n)``.

        Raises:
            OptionError: if the method has no density; the message names those that have one.
            DataError: if shapes do not fit, or a value of y is not finite.
        """
        self.require_density()
        y, _ = self._observed(y)
        if is_frame(x):
            x = named_columns(x, self.parameters, "x")
        x = (x if isinstance(x, Tensor) else as_tensor("x", x)).double()
        count, columns = len(y), self._support.columns
        shape = x.shape[:-1]
        each = 1 if x.ndim < 3 else shape[1]
        if x.ndim not in (1, 2, 3) or x.shape[-1] != columns or (x.ndim == 3 and shape[0] != count):
            raise DataError(
                f"log_prob takes parameters (B, {columns}) or (m, n, {columns}) of m observations, got "
                f"{tuple(x.shape)} with {count}"
            )
        rows = x.reshape(-1, columns)
        if count not in (1, len(rows)) and x.ndim < 3:
            raise DataError(f"{len(rows)} rows of parameters need one observation or {len(rows)}, got {count}")
        with torch.set_grad_enabled(x.requires_grad and torch.is_grad_enabled()):
            contexts = self.model.summarize(self._standardized("y", y))
            contexts = contexts.repeat_interleave(each, 0) if x.ndim == 3 else contexts.expand(len(rows), -1)
            inside = self._support.contains(rows)
            points = _DEQUANTIZED if self._support.whole_columns else 1
            values = [self._log_density(rows, contexts, (point + 0.5) / points) for point in range(points)]
        log_prob = torch.stack(values).logsumexp(0) - math.log(points)
        return log_prob.where(inside, -math.inf).reshape(shape).to(self._dtype)

    def map(self, y: Any, *, seed: int = 0) -> Tensor:
        """Return the parameters of the largest density that gradient ascent finds from the best of 1,000 samples.

        The density is that of x in its units, and the ascent stays inside of the support.

        Args:
            y: one observation, or a batch of m.
            seed: seed of the samples.

        Returns:
            ``(D,)``, or ``(m, D)`` for a batch.

        Raises:
            OptionError: if the method has no density.
            DataError: as for `sample`.
        """
        self.require_density()
        y, single = self._observed(y)
        contexts = self.model.summarize(self._standardized("y", y)).detach()
        best = []
        for context, observation in zip(contexts, y, strict=True):
            samples = self.sample(observation, seed=seed)
            start = samples[self.log_prob(samples, observation).topk(_CLIMBERS).indices]
            u, _ = self._support.to_real(self._support.dequantize(start.double(), 0.5))
            best.append(self._climb(self._standardized("x", u), context.expand(_CLIMBERS, -1)))
        u = torch.stack(best) if best else torch.empty(0, self._support.dims)
        x = self._support.from_real(u, self._dtype)
        return x[0] if single else x

    def predict(self, x: Tensor) -> Tensor:
        """Return the observations that the forward part of the method gives for parameters, with gradients by them.

        Args:
            x: parameters ``(B, D)``.

        Returns:
            ``(B, *observation_shape)``.

        Raises:
            OptionError: if the method has no such part, or a network summarizes the observations.
        """
        model = self.model
        if not method_entry(self.method).has_forward:
            raise OptionError(
                f"the method {self.method!r} has no forward part from parameters to observations; methods with one are "
                f"{', '.join(method_names(with_forward=True))}"
            )
        if model.summary is not None:
            raise OptionError("observations can't be predicted from a summary of them; train without a summary network")
        u, _ = self._support.to_real(x.double())
        y: Tensor = model.conditional.predict(self._standardized("x", u)).unflatten(1, self.observation_shape)
        y = y * self._scales["y_deviation"] + self._scales["y_mean"]
        return y.to(x.dtype)

    def surprise(self, y: Any) -> Tensor:
        """Return for each observation how rare its like is in training: a share between 0 and 1.

        It is the share of the observations of training that are as far off, by their Mahalanobis distance from the
        others; if a network summarizes them, of the held-out ones.
        Beyond the farthest tenth of them, a generalized Pareto tail is fitted to their distances, light or heavy; the
        fewer they are, the heavier it is taken to be. A value such as 0.001 says that the simulator, with its prior,
        hardly makes such an observation, so the posterior can't be trusted.

        Args:
            y: one observation, or a batch of m.

        Returns:
            ``()``, or ``(m,)`` for a batch.

        Raises:
            DataError: as for `sample`.

        Reference:
            Dekkers, Einmahl and de Haan, `A moment estimator for the index of an extreme-value distribution
            <https://doi.org/10.1214/aos/1176347397>`_, 1989.
        """
        y, single = self._observed(y)
        distances, held_out = self._distances(self._standardized("y", y)), self._scales["surprise_distances"]
        far = max(1, len(held_out) // 10)
        near = len(held_out) - far
        points = torch.cat([held_out.new_zeros(1), held_out[:near]])
        levels = 1 - torch.arange(near + 1, dtype=torch.float64) / (len(held_out) + 1)
        right = torch.searchsorted(points, distances).clamp(1, near)
        share = ((distances - points[right - 1]) / (points[right] - points[right - 1])).nan_to_num().clamp(0, 1)
        within = levels[right - 1].lerp(levels[right], share)
        edge, logs = points[-1], (held_out[near:] / points[-1]).log()
        bend = (0.5 / (1 - logs.mean() ** 2 / logs.square().mean())).nan_to_num(1.0).clamp(1, 2)  # above 1 if light
        shape = (logs.mean() + 1 - bend).clamp(0.01, 2) + 1 / far  # few distances leave the tail uncertain
        excess = (distances - edge).clamp_min(0) / (edge * logs.mean() * bend)
        beyond = levels[-1] * (1 + shape * excess) ** (-1 / shape)
        value = beyond.where(distances > edge, within)
        return value[0] if single else value

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``posterior.json`` and ``posterior.safetensors``, or leave what was there.

        The prior is not saved, but its support is; a summary network of your own must be passed to `load`.

        Raises:
            CheckpointError: if the options can't be written as JSON, or the files not at all.
        """
        model, folder = self.model, Path(folder).expanduser()
        with packages_for("saving posteriors"):
            import safetensors.torch
        content = {"format": _FORMAT, **self._content(self.observation_shape)}
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()} | self._scales
        state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        try:
            text, data = json.dumps(content, indent=2, allow_nan=False) + "\n", safetensors.torch.save(state)
            with atomic_write(folder / CONFIG) as config, atomic_write(folder / WEIGHTS) as weights:
                config.write_text(text, "utf-8")
                weights.write_bytes(data)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CheckpointError(
                f"can't write the posterior to {folder}: {reason}; mend that, or save it to another folder"
            ) from error
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"can't write the options of the posterior as JSON: {error}") from error

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, summary: nn.Module | None = None) -> "AmortizedPosterior":
        """Read what `save` wrote, without running code from the files.

        Args:
            folder: the folder.
            summary: a module like the one that the posterior was built with, if it was one of your own.

        Raises:
            CheckpointError: if files are missing, damaged or contradict each other, or need a summary network.
        """
        folder = Path(folder).expanduser()
        with packages_for("loading posteriors"):
            import safetensors.torch
        try:
            content = json.loads((folder / CONFIG).read_text("utf-8"))
            with (folder / WEIGHTS).open("rb") as file:
                state = safetensors.torch.load(file.read())
            if content["format"] != _FORMAT:
                raise CheckpointError(f"{folder / CONFIG} has format {content['format']}, this version reads {_FORMAT}")
            if summary is None and content["summary"] not in (None, *SUMMARIES):
                raise CheckpointError(
                    f"the posterior in {folder} has a summary network of your own, {content['summary']}: pass one like "
                    "it as load(folder, summary=...)"
                )
            posterior = cls(
                content["method"],
                support=Support.from_json(content["support"]),
                summary=content["summary"] if summary is None else summary,
                parameters=tuple(content["parameters"]),
                observations=tuple(content["observations"]),
                **content["options"],
            )
            posterior._dtype = {"float32": torch.float32, "float64": torch.float64}[content["dtype"]]
            model = posterior._build(tuple(content["observation_shape"]))
        except FileNotFoundError as error:
            raise CheckpointError(f"{folder} holds no posterior: {Path(error.filename).name} is missing") from error
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"the posterior in {folder} is damaged: {error!r}") from error
        weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        if difference := shape_difference(model, weights):
            raise CheckpointError(f"{folder / WEIGHTS} does not fit {CONFIG}: {difference}")
        model.load_state_dict(weights)
        posterior._model = model.eval()
        posterior._scales = {name: value for name, value in state.items() if not name.startswith("model.")}
        return posterior

    def __repr__(self) -> str:
        trained = "not trained" if self._model is None else f"{self._support.columns} parameters"
        return f"AmortizedPosterior({self.method!r}, {trained})"

    def _content(self, observation_shape: tuple[int, ...]) -> dict[str, Any]:
        """Return what is needed to build the network of the posterior again."""
        return {
            "method": self.method,
            "options": self.options,
            "support": self._support.to_json(),
            "parameters": self.parameters,
            "observations": self.observations,
            "observation_shape": observation_shape,
            "summary": self._summary if not isinstance(self._summary, nn.Module) else type(self._summary).__name__,
            "dtype": str(self._dtype).removeprefix("torch."),
        }

    @property
    def _support(self) -> Support:
        assert self.support is not None
        return self.support

    def _build(self, observation_shape: tuple[int, ...]) -> Model:
        channels, given = math.prod(observation_shape), self._summary
        summary: nn.Module | None = None
        if given is not None:
            try:
                summary = create_summary(given, observation_shape) if isinstance(given, str) else copy.deepcopy(given)
                with torch.no_grad():
                    channels = summary(torch.zeros(2, *observation_shape)).shape[1]
            except (ValueError, RuntimeError, IndexError) as error:
                raise OptionError(
                    f"the summary network does not take observations of shape {observation_shape}: {error}"
                ) from error
        conditional = build_method(self.method, self._support.dims, channels, **self.options)
        return Model(conditional, summary, observation_shape)

    @contextmanager
    def _kept_if_it_fails(self) -> Iterator[None]:
        """Leave all as it was if a block raises: a training that failed or was interrupted at once is none."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.update(before)
            raise

    def _pairs(self, x: Any, y: Any) -> tuple[Tensor, Tensor]:
        """Return pairs in float64, or refuse what can't be learned from."""
        self._dtype = torch.float64 if has_doubles(x) else torch.float32
        x, x_names = numbers("x", x)
        y, y_names = numbers("y", y)
        if x.ndim != 2:
            raise DataError(f"x must be parameters (N, D), got {tuple(x.shape)}: flatten them")
        if len(x) != len(y):
            raise DataError(f"x has {len(x)} rows and y has {len(y)}: give one observation for each row of parameters")
        if (dims := x.shape[1]) * PAIRS_PER_PARAMETER > len(x):
            raise DataError(
                f"{len(x)} pairs are too few for {dims} parameters: at least {PAIRS_PER_PARAMETER * dims} are needed"
            )
        self.parameters = _same_names("parameters", self.parameters or x_names, x_names, dims)
        vector = y[0].numel() if y.ndim == 2 else 0
        self.observations = _same_names("observations", self.observations or y_names, y_names, vector)
        self.support = self.support or Support([Real()] * dims)
        if self.support.columns != dims:
            raise DataError(f"x has {dims} columns and the support {self.support.columns}: give all parameters")
        finite(x, "x", self.parameters)
        finite(y, "y", self.observations)
        outside = ~self.support.contains(x)
        if bool(outside.any()):
            row = int(outside.nonzero()[0])
            shown = ", ".join(f"{value:.6g}" for value in x[row].tolist())
            raise DataError(
                f"{int(outside.sum())} rows of x are outside of the support, first row {row} ({shown}): leave "
                "them out, or widen the support"
            )
        return x, y

    def _observation_moments(self, y: Tensor, summary: nn.Module | None) -> dict[str, Tensor]:
        """Return mean and deviation of observations; of a vector that is not summarized, no element can be constant."""
        if not isinstance(summary, Summary):
            return _moments("y", y, self.observations if summary is None else None)
        mean, deviation = summary.moments(y)
        return {"y_mean": mean, "y_deviation": deviation.where(deviation > 0, 1.0)}

    def _observed(self, y: Any) -> tuple[Tensor, bool]:
        """Return observations as a batch in float64, and whether there is a single one without a batch axis."""
        shape, names = self.observation_shape, self.observations
        if is_frame(y) or hasattr(y, "keys"):
            if not names:
                raise DataError("the posterior was trained without names of the observations: give y as an array")
            if single := not hasattr(y, "columns") and all(np.ndim(value) == 0 for value in dict(y).values()):
                y = {name: [value] for name, value in dict(y).items()}  # a dictionary, or a row of a frame
            return named_columns(y, names, "y"), single
        values = as_tensor("y", y).double()
        if values.ndim == 0:
            values = values[None]
        single = values.ndim == len(shape)
        batch = values[None] if single else values
        if tuple(batch.shape[1:]) != shape:
            named = f" ({', '.join(names)})" if 0 < len(names) <= 12 else ""
            raise DataError(
                f"the posterior was trained on observations of shape {shape}{named}, got {tuple(values.shape)}: give "
                "one, or a batch (m, ...)"
            )
        return finite(batch, "y", names), single

    def _standardized(self, name: str, values: Tensor) -> Tensor:
        """Return standardized values in the dtype of the network."""
        scaled: Tensor = (values - self._scales[f"{name}_mean"]) / self._scales[f"{name}_deviation"]
        return scaled.float()

    def _log_density(self, x: Tensor, contexts: Tensor, noise: float) -> Tensor:
        """Return the log density ``(B,)`` of rows in float64."""
        u, log_det = self._support.to_real(self._support.dequantize(x, noise))
        standardized = self._standardized("x", u)
        pieces = zip(standardized.split(_CHUNK), contexts.split(_CHUNK), strict=True)
        density = torch.cat([self.model.conditional.log_prob(*piece) for piece in pieces]).double()
        return density + log_det - self._scales["x_deviation"].log().sum()

    def _climb(self, start: Tensor, context: Tensor) -> Tensor:
        """Return the unbounded parameters of the largest density in x, by gradient ascent from several points."""
        z = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _CLIMB)
        best, value = start[0], -math.inf
        for _ in range(_CLIMB):
            u = z.double() * self._scales["x_deviation"] + self._scales["x_mean"]
            density = self.model.conditional.log_prob(z, context) + self._support.log_det(u)
            if (most := density.detach().max().item()) > value:
                value, best = most, u[density.argmax()].detach()
            optimizer.zero_grad()
            (gradient,) = torch.autograd.grad(-density.sum(), z)
            z.grad = gradient.nan_to_num()
            optimizer.step()
            schedule.step()
        return best

    def _calibrate_surprise(self, train: Tensor, held_out: Tensor) -> None:
        """Keep mean and spread of the summarized observations, and how far off those are that they say nothing of.

        A network knows those that it was trained on, so only held-out ones tell about new ones. A mean and a covariance
        are taken without the one observation whose distance is asked for.
        """
        learned = self.model.summary is not None
        seen = train if learned else torch.cat([train, held_out])
        with torch.no_grad():
            summarized = self.model.summarize(seen).double()
        centered = summarized - summarized.mean(0)
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
        floor = 1e-6 * values[-1].clamp_min(torch.finfo(torch.float64).tiny)  # a plane that no observation leaves
        self._scales["surprise_mean"] = summarized.mean(0)
        self._scales["surprise_whitening"] = vectors / values.clamp_min(float(floor)).sqrt()
        enough = learned and len(held_out) >= _FEWEST_HELD_OUT
        distances = self._distances(held_out) if enough else left_out(self._distances(seen))
        distances = distances.sort().values
        if len(distances) > _HELD_OUT_DISTANCES:
            levels = (torch.arange(_HELD_OUT_DISTANCES, dtype=torch.float64) + 1) / (_HELD_OUT_DISTANCES + 1)
            distances = torch.quantile(distances, levels)
        self._scales["surprise_distances"] = distances

    def _distances(self, y: Tensor) -> Tensor:
        """Return the squared Mahalanobis distances of standardized observations, summarized, to those of training."""
        with torch.no_grad():
            centered = self.model.summarize(y).double() - self._scales["surprise_mean"]
        distances: Tensor = (centered @ self._scales["surprise_whitening"]).square().sum(1)
        return distances


def left_out(distances: Tensor) -> Tensor:
    """Return squared Mahalanobis distances of N points from the mean and the covariance of the N - 1 others each.

    Args:
        distances: those ``(N,)`` from the mean and the covariance, divided by N, of all.
    """
    others = len(distances) - 1
    kept: Tensor = (1 - distances / others).clamp_min(1e-9)  # 0 if no other point leaves a plane
    return (others + 1) / others * distances / kept


def _first(*values: Number | None) -> Number:
    """Return the first value that is given."""
    return next(value for value in values if value is not None)


def _same_names(what: str, names: tuple[str, ...], found: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the names, or raise DataError if a frame has others, or there is another number of columns."""
    if found and names != found:
        raise DataError(f"the {what} are {', '.join(names)}, and the data has {', '.join(found)}: give these")
    if names and count and len(names) != count:
        raise DataError(f"there are names of {len(names)} {what} and {count} columns: name all")
    return names


def _moments(name: str, values: Tensor, names: tuple[str, ...] | None) -> dict[str, Tensor]:
    """Return mean and deviation of each element; refuse a constant one unless `names` is None."""
    mean, deviation = values.mean(0), values.std(0, correction=0)
    constant = deviation <= 1e-12 * mean.abs()
    if bool(constant.any()) and names is not None:
        place = int(constant.flatten().nonzero()[0])
        kind = "parameter" if name == "x" else "observable"
        shown = repr(names[place]) if names else str(place)
        raise DataError(
            f"the {kind} {shown} is {values[0].flatten()[place]:g} in all {len(values)} pairs, so there is nothing "
            "to learn: leave it out"
        )
    return {f"{name}_mean": mean, f"{name}_deviation": deviation.where(~constant, 1.0)}
