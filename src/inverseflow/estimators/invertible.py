"""One invertible network that classifies and has a density."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.distributions import StandardNormal
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators.base import Array, Options, events, finite, log_density
from inverseflow.estimators.classifier import BayesClassifier
from inverseflow.flows import Flow
from inverseflow.training import Loss
from inverseflow.utils.arguments import finite_number, one_of, whole_number

FeaturesName = Literal["all", "last-scale"]
PriorName = Literal["shared", "classes"]

_ROWS_AT_ONCE = 1000


class InvertibleClassifier(BayesClassifier):
    r"""Classifier that is linear in the latent of a flow, so that its features are turned back into rows exactly.

    .. math:: p(c \mid x) = \operatorname{softmax}(W z + b)_c, \quad z = f(x), \qquad
        \text{loss} = -\log p(c \mid x) - \frac{\lambda}{D} \log p(x)

    With ``prior="classes"`` the latents of each class are normal around a mean of their own, and the same logits are
    Bayes' rule, :math:`w_c = \mu_c`, :math:`b_c = \log \pi_c - \tfrac12 \lVert \mu_c \rVert^2`. The density is then
    :math:`p(x) = \sum_c \pi_c N(f(x); \mu_c, I)\, |\det \partial f / \partial x|`, and `sample` draws a class.

    Args:
        density: the name of a registered flow of vectors, or a flow of rows or images; see `DensityOutlierDetector`.
        likelihood: λ, the weight of the log-likelihood; 0 for a classifier that learns no density.
        features: what the logits see: ``"all"`` of the latent, or the ``"last-scale"`` of an image flow.
        prior: ``"shared"``, the base density of the flow, or ``"classes"``, a normal density of each class.
        density_options: options of a flow by name.
        fit_options: arguments of `inverseflow.fit`; see `DensityOutlierDetector`.
        random_state: seed of the weights and the training.

    Attributes:
        classes_: the classes, sorted.
        density_: the trained flow.
        coef_: W, ``(classes, features)``.
        intercept_: b, ``(classes,)``.
        n_features_in_: number of columns.

    Reference:
        Behrmann et al., `Invertible Residual Networks <https://arxiv.org/abs/1811.00995>`_, 2019, section 5; Nalisnick
        et al., `Hybrid Models with Deep and Invertible Features <https://arxiv.org/abs/1902.02767>`_, 2019, section 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, y = np.concatenate([rng.normal(-3, 1, (50, 2)), rng.normal(3, 1, (50, 2))]), ["low"] * 50 + ["up"] * 50
        >>> classifier = InvertibleClassifier("realnvp", fit_options={"max_steps": 60}).fit(X, y)
        >>> classifier.predict([[-3.0, -3.0], [3.0, 2.0]]).tolist()
        ['low', 'up']
        >>> bool(np.allclose(classifier.decode(classifier.encode(X)), X))
        True
    """

    density_: Flow
    coef_: Array
    intercept_: Array
    _learned: ClassVar[tuple[str, ...]] = ("classes_", "coef_", "intercept_")

    def __init__(
        self,
        density: str | Density = "realnvp",
        *,
        likelihood: float = 0.1,
        features: FeaturesName = "all",
        prior: PriorName = "shared",
        density_options: Options | None = None,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.likelihood = likelihood
        self.features = features
        self.prior = prior
        self.density_options = density_options
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the flow and the logits together.

        Args:
            X: rows ``(N, D)``, or images of an image flow.
            y: the class of each row.

        Raises:
            DataError: if there is one class only, or a constant column.
            ValueError: if a value is missing or not finite, or λ is negative.
            OptionError: if the density is no flow, or can't be built for these rows, or has another base density than
                the normal one for a prior of classes.
        """
        X, y = self._checked(X, y, reset=True, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class only, {self.classes_.tolist()[0]!r}: give rows of the others too")
        objective = HybridLoss(self.likelihood)
        seed = self._seed()
        flow = self._built(X.shape[1], seed)
        if not isinstance(flow, Flow):
            raise OptionError(f"{type(flow).__name__} has no latent: choose a flow such as realnvp")
        hybrid = HybridFlow(flow, len(self.classes_), features=self.features, prior=self.prior)
        self._trained(hybrid, X, seed, torch.from_numpy(numbers), objective)
        self.density_ = flow
        with torch.no_grad():
            self.coef_, self.intercept_ = (part.double().numpy(force=True) for part in hybrid.linear())
        return self

    def encode(self, X: Any) -> Array:
        """Return the latent ``(N, D)`` of each row; whole numbers are taken at the middle of their unit interval."""
        check_is_fitted(self)
        return self._latents(self._checked(X))

    def decode(self, Z: Any) -> Array:
        """Return the rows ``(N, D)`` that have these latents, or the images of an image flow.

        Raises:
            DataError: if the latents have another number of columns, or are not finite.
        """
        check_is_fitted(self)
        latents = np.asarray(Z, dtype=np.float64)
        if latents.ndim != 2 or latents.shape[1] != self.density_.dims or not np.isfinite(latents).all():
            raise DataError(f"Z must be finite latents (N, {self.density_.dims}), got an array of {latents.shape}")
        return self._back(torch.from_numpy(latents))

    def score_samples(self, X: Any) -> Array:
        """Return the log density of each row in nats; at the middle of their unit interval for whole numbers."""
        check_is_fitted(self)
        rows = self._checked(X)
        scores = log_density(self.density_, rows)
        if self.prior == "classes":
            scores = scores + np.logaddexp.reduce(self._logits(rows), axis=1)
        return finite(scores)

    def _log_joint(self, X: Any) -> Array:
        check_is_fitted(self)
        return self._logits(self._checked(X))

    def _logits(self, rows: Array) -> Array:
        chosen = _features(self.density_, self.features)
        logits: Array = self._latents(rows)[:, chosen] @ self.coef_.T + self.intercept_
        return np.nan_to_num(logits)

    def _class_sample(self, n: int, number: int) -> Array:
        if self.prior != "classes":
            raise OptionError("prior='shared' has no density of a class: fit with prior='classes' to draw one")
        latents = self.density_.base.sample(n).double()
        latents[:, _features(self.density_, self.features)] += torch.from_numpy(self.coef_[number])
        return self._back(latents)

    @torch.no_grad()
    def _latents(self, rows: Array) -> Array:
        flow = _scoring(self.density_)
        like = next(flow.parameters())
        latents = []
        for chunk in events(flow, rows).split(_ROWS_AT_ONCE):
            x = chunk.to(like.device)
            latents.append(flow.encode(x if flow.levels is not None else x.to(like.dtype)).double().cpu())
        return torch.cat(latents).numpy()

    @torch.no_grad()
    def _back(self, latents: Tensor) -> Array:
        flow = _scoring(self.density_)
        like = next(flow.parameters())
        chunks = [flow.decode(chunk.to(like)).cpu() for chunk in latents.split(_ROWS_AT_ONCE)]
        return torch.cat(chunks).numpy()

    def _densities(self) -> dict[str, Density]:
        return {"density": self.density_}

    def _take_densities(self, densities: dict[str, Density]) -> None:
        flow = densities["density"]
        assert isinstance(flow, Flow)
        self.density_ = flow


class HybridFlow(Density):
    r"""A flow with logits that are linear in its latent; see `InvertibleClassifier`.

    Args:
        flow: the flow, which is trained and not copied.
        classes: number of classes.
        features: ``"all"`` or ``"last-scale"``.
        prior: ``"shared"`` or ``"classes"``.

    Raises:
        OptionError: if the prior is of classes and the base density of the flow is not the standard normal one.
        ValueError: if a name is unknown.

    Example:
        >>> from inverseflow.flows import RealNVP
        >>> hybrid = HybridFlow(RealNVP((4,)), classes=3)
        >>> x = torch.randn(5, 4)
        >>> hybrid(x).softmax(1).shape, hybrid.log_prob(x).shape  # p(class | x) and log p(x)
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self, flow: Flow, classes: int, *, features: FeaturesName = "all", prior: PriorName = "shared"
    ) -> None:
        classes = whole_number("classes", classes, at_least=1)
        super().__init__(flow.event_shape, levels=flow.levels, context_shape=(classes,))
        self.prior = one_of("prior", prior, get_args(PriorName))
        self._chosen = _features(flow, features)
        if self.prior == "classes" and not isinstance(flow.base, StandardNormal):
            raise OptionError(
                f"prior='classes' shifts a standard normal base density, and this flow has {type(flow.base).__name__}"
            )
        self.flow = flow
        like = next(flow.parameters())
        width = self._chosen.stop - self._chosen.start
        self.weight = nn.Parameter(like.new_zeros(classes, width))
        self.bias = nn.Parameter(like.new_zeros(classes))

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return W and b: the parameters, or what follows from the means and the log probabilities of classes."""
        if self.prior == "shared":
            return self.weight, self.bias
        return self.weight, self.bias.log_softmax(0) - self.weight.square().sum(1) / 2

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x, class) ``(B, classes)`` in nats, whatever the context."""
        z, log_prob = self.flow.encode_with_log_prob(x)
        logits = F.linear(z[:, self._chosen], *self.linear())
        return log_prob[:, None] + (logits.log_softmax(1) if self.prior == "shared" else logits)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density of each datum in nats, whatever its class."""
        log_prob: Tensor = self(x).logsumexp(1)
        return log_prob

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialize the flow from one batch."""
        self.flow.initialize(x)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data of all classes, without gradients; arguments as for `Density.sample`."""
        n, _, temperature = self._sampling_args(n, None, temperature)
        z = self.flow.base.sample(n, temperature=temperature, generator=generator)
        if self.prior == "classes":
            shares = self.bias.softmax(0).to(z.device)
            z[:, self._chosen] += self.weight[torch.multinomial(shares, max(n, 1), True, generator=generator)[:n]]
        return self.flow.decode(z)


@dataclass(frozen=True)
class HybridLoss:
    r"""Minimize :math:`-\log p(c \mid x) - \lambda / D \log p(x)` of a `HybridFlow`, with one-hot classes as contexts.

    Args:
        likelihood: λ.

    Example:
        >>> from inverseflow.flows import RealNVP
        >>> batch = Batch(torch.zeros(3, 4), torch.eye(3))
        >>> HybridLoss(0.1)(HybridFlow(RealNVP((4,)), classes=3), batch).named().keys()
        dict_keys(['loss', 'cross_entropy', 'nats'])
    """

    likelihood: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "likelihood", finite_number("likelihood", self.likelihood, at_least=0))

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        assert batch.context is not None
        joint = model(batch.x, batch.context)
        cross_entropy, nats = F.cross_entropy(joint, batch.context.to(joint)), -joint.logsumexp(1).mean()
        total = cross_entropy + self.likelihood * nats / batch.x[0].numel() if self.likelihood else cross_entropy + 0
        return Loss(total, {"cross_entropy": cross_entropy, "nats": nats.detach()})


def _features(flow: Flow, features: FeaturesName) -> slice:
    one_of("features", features, get_args(FeaturesName))
    return slice(0, flow.dims) if features == "all" else list(flow.latent_slices.values())[-1]


def _scoring(flow: Flow) -> Flow:
    """Return the flow in the precision in which `log_density` scores."""
    return copy.deepcopy(flow).double() if len(flow.event_shape) == 1 else flow
