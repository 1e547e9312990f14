"""Flows of vectors of this library and of its peers, of equal numbers of layers, hidden units and bins.

Couplings change one half of the columns after the other, without linear maps between them. Between autoregressive
layers the order changes. Numbers of parameters are recorded with each measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.flows import IAF, MAF, NICE, NSF, AutoregressiveNSF, RealNVP, VectorPlanarFlow, VectorRadialFlow
from inverseflow.nets import MLP

PACKAGES = ("inverseflow", "zuko", "nflows", "normflows")
"""This library and its peers, which are optional."""
FITTED = ("realnvp", "nice", "maf", "nsf", "nsf-ar")
"""The models of data that a peer has."""
SAMPLED = ("iaf", "planar", "radial")
"""The models that are only sampled, as in variational inference: a peer computes no density of data, or slowly."""

STEPS, WIDTH, BINS, BOUND = 5, 64, 8, 5.0

LogProb = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contender:
    """A flow of one package, for standardized data."""

    module: nn.Module
    log_prob: LogProb
    sample: Callable[[int], object]

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.module.parameters() if parameter.requires_grad)


def installed() -> list[str]:
    """Return which of the packages are here."""
    return [name for name in PACKAGES if find_spec(name)]


def contenders(model: str, columns: int, seed: int = 0) -> dict[str, Contender]:
    """Return the flow of each installed package that has the model, by package.

    Args:
        model: one of `FITTED` or `SAMPLED`.
        columns: length of a vector.
        seed: seed of the weights.
    """
    builders = {"inverseflow": _ours, "zuko": _zuko, "nflows": _nflows, "normflows": _normflows}
    built = {}
    for package in installed():
        torch.manual_seed(seed)
        contender = builders[package](model, columns)
        if contender is not None:
            built[package] = contender
    return built


def _ours(model: str, columns: int) -> Contender:
    spline: dict[str, Any] = {"spline_bins": BINS, "spline_bound": BOUND}
    classes: dict[str, Any] = {
        "realnvp": partial(RealNVP, linear="none"),
        "nice": partial(NICE, base="normal", mask="halves"),
        "planar": partial(VectorPlanarFlow, explicit="sample"),
        "radial": partial(VectorRadialFlow, explicit="sample"),
        "maf": MAF,
        "iaf": IAF,
        "nsf": partial(NSF, linear="none", **spline),
        "nsf-ar": partial(AutoregressiveNSF, **spline),
    }
    flow = classes[model]((columns,), steps=STEPS, width=WIDTH, depth=2, standardize=False)
    return Contender(flow, flow.log_prob, flow.sample)


def _zuko(model: str, columns: int) -> Contender | None:
    import zuko

    if model in ("nice", "planar", "radial"):
        return None
    sizes = {"transforms": STEPS, "hidden_features": (WIDTH, WIDTH)}
    flow: Any
    if model == "realnvp":
        flow = zuko.flows.RealNVP(columns, **sizes)
    elif model == "nsf":
        spline = {"univariate": zuko.transforms.MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
        flow = zuko.flows.NICE(columns, **spline, **sizes)
    elif model == "nsf-ar":
        flow = zuko.flows.NSF(columns, bins=BINS, **sizes)
    else:
        flow = zuko.flows.MAF(columns, **sizes)
        if model == "iaf":
            flow = zuko.lazy.Flow(flow.transform.inv, flow.base)
    return Contender(flow, lambda x: flow().log_prob(x), lambda count: flow().sample((count,)))


def _nflows(model: str, columns: int) -> Contender | None:
    import nflows.flows
    from nflows import transforms

    if model in ("planar", "radial"):
        return None
    from nflows.utils.torchutils import create_mid_split_binary_mask

    masked = {"features": columns, "hidden_features": WIDTH, "num_blocks": 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    layers: list[Any] = []
    for index in range(STEPS):
        if model in ("realnvp", "nice", "nsf"):
            mask = create_mid_split_binary_mask(columns)
            arguments = (mask if index % 2 else 1 - mask, _Net)
            if model == "nsf":
                layers.append(transforms.PiecewiseRationalQuadraticCouplingTransform(*arguments, **spline))
            else:
                affine = (
                    transforms.AffineCouplingTransform if model == "realnvp" else transforms.AdditiveCouplingTransform
                )
                layers.append(affine(*arguments))
            continue
        layers += [transforms.ReversePermutation(columns)] if index else []
        if model == "nsf-ar":
            layers.append(transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(**masked, **spline))
        else:
            layer = transforms.MaskedAffineAutoregressiveTransform(**masked)
            layers.append(transforms.InverseTransform(layer) if model == "iaf" else layer)
    layers += [transforms.ActNorm(columns)] if model == "nice" else []
    flow = nflows.flows.Flow(transforms.CompositeTransform(layers), nflows.distributions.StandardNormal([columns]))
    return Contender(flow, flow.log_prob, flow.sample)


def _normflows(model: str, columns: int) -> Contender | None:
    import normflows
    from normflows import flows
    from normflows.flows.neural_spline.autoregressive import MaskedPiecewiseRationalQuadraticAutoregressive

    if model == "maf":  # its masked affine layers are those of inverse autoregressive flows
        return None
    masked = {"hidden_features": WIDTH, "num_blocks": 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tail_bound": BOUND}
    layers: list[Any] = []
    for index in range(STEPS):
        if model in ("planar", "radial"):
            layers.append((flows.Planar if model == "planar" else flows.Radial)((columns,)))
        elif model in ("realnvp", "nice"):
            layers += [flows.Permute(columns, "swap")] if index else []
            half = columns - columns // 2
            predicted = (columns - half) * (2 if model == "realnvp" else 1)
            net = normflows.nets.MLP([half, WIDTH, WIDTH, predicted], init_zeros=True)
            layers.append(flows.AffineCouplingBlock(net, scale=model == "realnvp"))
        elif model == "nsf":
            layer = flows.CoupledRationalQuadraticSpline(columns, 1, WIDTH, **spline, reverse_mask=bool(index % 2))
            coupling = layer.prqct  # the wrapper knows residual networks only
            predicted = coupling.num_transform_features * coupling._transform_dim_multiplier()
            coupling.transform_net = _Net(coupling.num_identity_features, predicted)
            layers.append(layer)
        elif model == "nsf-ar":
            layers += [flows.Permute(columns)] if index else []
            layer = flows.AutoregressiveRationalQuadraticSpline(columns, 1, WIDTH, **spline)
            layer.mprqat = MaskedPiecewiseRationalQuadraticAutoregressive(columns, tails="linear", **masked, **spline)
            layers.append(layer)
        else:
            layers += [flows.Permute(columns)] if index else []
            layers.append(flows.MaskedAffineAutoregressive(columns, **masked))
    layers = [flows.AffineConstFlow((columns,)), *layers] if model == "nice" else layers
    base = normflows.distributions.DiagGaussian(columns, trainable=False)
    flow = normflows.NormalizingFlow(base, layers)
    return Contender(flow, flow.log_prob, flow.sample)


class _Net(MLP):
    """The network of our couplings, called as the peers call theirs."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, width=WIDTH)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = super().forward(x)
        return y
