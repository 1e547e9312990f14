"""Methods that are conditional flows, trained by maximum likelihood: coupling flows and autoregressive ones."""

from typing import Any

from torch import Generator, Tensor

from inverseflow import flows
from inverseflow.flows import Flow
from inverseflow.inference.methods.base import Conditional, method

_OF_ONE_COLUMN = {"nsf": "nsf-ar", "realnvp": "maf", "nice": "maf"}  # couplings need two


class FlowConditional(Conditional):
    """A conditional flow of vectors as a method.

    Args:
        flow: a flow of events ``(D,)`` with a context, without a standardization of its own.
    """

    def __init__(self, flow: Flow) -> None:
        assert flow.context_shape is not None
        super().__init__(flow.event_shape[0], flow.context_shape[0])
        self.flow = flow

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` of rows in nats."""
        return self.flow.log_prob(x, context)

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments as for `Density.sample`."""
        return self.flow.sample(n, context, temperature=temperature, generator=generator)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the parameters of the flow that depend on data."""
        self.flow.initialize(x, context)


@method("cinn")
def cinn(dims: int, context_channels: int, *, flow: str = "nsf", **options: Any) -> Conditional:
    """Build a conditional invertible network: a flow of x whose networks get the observation, by maximum likelihood.

    A coupling needs two columns. For a single parameter its autoregressive form is built, which is an elementwise map
    given the observation: `nsf-ar` for `nsf`, else `maf`.

    Args:
        dims: number of unbounded parameters D.
        context_channels: length of the summarized observation.
        flow: name of any registered flow of vectors.
        options: options of the flow, such as ``steps``, ``width``, ``depth`` and ``spline_bins``.

    Reference:
        Ardizzone et al., `Guided image generation with conditional invertible neural networks
        <https://arxiv.org/abs/1907.02392>`_, 2019, section 3.
    """
    name = _OF_ONE_COLUMN.get(flow, flow) if dims == 1 else flow
    built = flows.create(name, (dims,), context_channels=context_channels, standardize=False, **options)
    return FlowConditional(built)


@method("maf")
def maf(dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build a masked autoregressive flow: fast densities, samples one column after another; options as for `cinn`."""
    return cinn(dims, context_channels, flow="maf", **options)


@method("nsf")
def nsf(dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build an autoregressive neural spline flow, as `maf` with splines; options as for `cinn`."""
    return cinn(dims, context_channels, flow="nsf-ar", **options)


@method("iaf")
def iaf(dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build an inverse autoregressive flow: fast samples, densities one column after another; options as for `cinn`."""
    return cinn(dims, context_channels, flow="iaf", **options)
