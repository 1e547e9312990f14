"""Methods that are conditional flows, trained by maximum likelihood: coupling flows and autoregressive ones."""

from typing import Any

import torch
from torch import Generator, Tensor

from inverseflow import flows
from inverseflow.bijections import Affine
from inverseflow.flows import Flow
from inverseflow.inference.methods.base import Conditional, Training, method
from inverseflow.nets import MLP

_MAX_LOG_SCALE = 4.0
_RIDGE, _LEAST_DEVIATION = 1.0, 1e-3
_TRAINING = Training(ema=0.99, weight_decay=None)
_OF_SPLINES, _SPLINE_GAIN = ("nsf", "nsf-ar"), 1.0  # a higher one overfits a thousand pairs
_OF_ONE_COLUMN = {"nsf": "nsf-ar", "realnvp": "maf", "nice": "maf"}  # couplings need two


class FlowConditional(Conditional):
    """A conditional flow of vectors behind a scale and a shift of each parameter, both functions of the observation.

    The scale and the shift bring a narrow posterior to where the splines of the flow are fine, wherever it lies. A
    constant part of the shift is the least-squares fit of the parameters by the observation, whose residuals are scaled
    to one: where the posterior is normal with a linear mean, the flow has hardly anything left to learn.

    Args:
        flow: a flow of events ``(D,)`` with a context, without a standardization of its own.
        width: hidden units of the network of the scale and the shift.
        depth: its hidden layers.
    """

    slope: Tensor
    center: Tensor
    deviation: Tensor

    def __init__(self, flow: Flow, *, width: int, depth: int) -> None:
        assert flow.context_shape is not None
        super().__init__(flow.event_shape[0], flow.context_shape[0])
        self.flow = flow
        self.register_buffer("slope", torch.zeros(flow.context_shape[0], self.dims))
        self.register_buffer("center", torch.zeros(self.dims))
        self.register_buffer("deviation", torch.ones(self.dims))
        self.map = Affine(_MAX_LOG_SCALE)
        self.net = MLP(flow.context_shape[0], self.map.num_parameters * self.dims, width=width, depth=depth)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` of rows in nats."""
        self._check_batch(x, self.event_shape)
        self._check_context(context, x)
        assert context is not None
        residual = (x - self._fit(context)) / self.deviation
        z, log_derivative = self.map.forward(residual, self._scale_and_shift(context))
        return self.flow.log_prob(z, context) + log_derivative.sum(1) - self.deviation.log().sum()

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments as for `Density.sample`."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        z = self.flow.sample(n, context, temperature=temperature, generator=generator)
        assert context is not None
        residual, _ = self.map.inverse(z, self._scale_and_shift(context))
        return self._fit(context) + self.deviation * residual

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the least-squares fit, and the parameters of the flow that depend on data."""
        assert context is not None
        features = torch.cat([context, torch.ones_like(context[:, :1])], 1).double()
        ridge = torch.full_like(features[0], _RIDGE)
        ridge[-1] = 0
        coefficients = torch.linalg.solve(features.T @ features + ridge.diag(), features.T @ x.double())  # (K + 1, D)
        self.slope.copy_(coefficients[:-1])
        self.center.copy_(coefficients[-1])
        residual = x - self._fit(context)
        self.deviation.copy_(residual.std(0).clamp_min(_LEAST_DEVIATION))
        self.flow.initialize(residual / self.deviation, context)

    def _fit(self, context: Tensor) -> Tensor:
        """Return the least-squares fit of the parameters."""
        return context @ self.slope + self.center

    def _scale_and_shift(self, context: Tensor) -> Tensor:
        parameters: Tensor = self.net(context).unflatten(1, (self.map.num_parameters, -1))
        return parameters


@method("cinn", training=_TRAINING)
def cinn(
    dims: int, context_channels: int, *, flow: str = "nsf", width: int = 64, depth: int = 2, **options: Any
) -> Conditional:
    """Build a conditional invertible network: a flow of x whose networks get the observation, by maximum likelihood.

    A coupling needs two columns. For a single parameter its autoregressive form is built, which is an elementwise map
    given the observation: `nsf-ar` for `nsf`, else `maf`.

    Args:
        dims: number of unbounded parameters D.
        context_channels: length of the summarized observation.
        flow: name of any registered flow of vectors.
        width: hidden units of each network.
        depth: hidden layers of each network.
        options: other options of the flow, such as ``steps`` and ``spline_bins``.

    Reference:
        Ardizzone et al., `Guided image generation with conditional invertible neural networks
        <https://arxiv.org/abs/1907.02392>`_, 2019, section 3.
    """
    name = _OF_ONE_COLUMN.get(flow, flow) if dims == 1 else flow
    if name in _OF_ONE_COLUMN and dims > 2:
        options = {"linear": "householder", **options}  # orthogonal whatever weight decay does to its vectors
    if name in _OF_SPLINES:
        options = {"spline_gain": _SPLINE_GAIN, **options}
    options = {"width": width, "depth": depth, **options}
    built = flows.create(name, (dims,), context_channels=context_channels, standardize=False, **options)
    return FlowConditional(built, width=width, depth=depth)


@method("maf", training=_TRAINING)
def maf(dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build a masked autoregressive flow: fast densities, samples one column after another; options as for `cinn`.

    Its networks start at zero, as those of `nsf` do.
    """
    return cinn(dims, context_channels, flow="maf", **{"zero_start": True, **options})


@method("nsf", training=_TRAINING)
def nsf(dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build an autoregressive neural spline flow, as `maf` with splines; options as for `cinn`."""
    return cinn(dims, context_channels, flow="nsf-ar", **options)


@method("iaf", training=_TRAINING)
def iaf(dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build an inverse autoregressive flow: fast samples, densities one column after another; options as for `cinn`."""
    return cinn(dims, context_channels, flow="iaf", **options)
