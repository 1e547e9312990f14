"""Options of the methods of `inverseflow infer`."""

from dataclasses import dataclass, field
from typing import Any

_LATENT = {"panel": "Method options: latents and losses"}


def _latent() -> Any:
    return field(default=None, metadata=_LATENT)


@dataclass(frozen=True)
class MethodOptions:
    """Options of the method; an option that is left out keeps the default of the method, and not every method has all.

    Args:
        width: hidden units of the networks.
        depth: hidden layers of the networks.
        steps: steps of a flow (cinn, maf, nsf, iaf, maf-reverse, iaf-reverse), residual layers (iresnet).
        blocks: coupling blocks (inn, inn-ml).
        flow: which flow of vectors cinn conditions: nsf by default.
        spline_bins: pieces of each spline (cinn, nsf).
        reverse_width: hidden units of the network in place of the inverse (maf-reverse, iaf-reverse).
        reverse_depth: its hidden layers.
        max_lipschitz: bound of the Lipschitz constant of each residual layer, below 1 (iresnet).
        slope: slope of the leaky ReLU for negative numbers (invauto).
        latent: length of the latent z (all but cinn, maf, nsf, iaf).
        channels: numbers on either side of the bijection, pads included (inn, inn-ml, iresnet, maf-reverse,
            iaf-reverse).
        fit_weight: weight of the observations (inn).
        latent_weight: weight of the discrepancy of the latent (inn, autoencoder, invauto).
        prior_weight: weight of the discrepancy of the parameters (inn).
        reconstruction_weight: weight of the reconstruction (inn, autoencoder, invauto).
        pad_weight: weight of the pads (inn).
        cycle_weight: weight of the reverse (maf-reverse, iaf-reverse).
        orthogonality_weight: weight of the penalty of matrices that are not orthogonal (invauto).
        observation_noise: deviation of the observations, which are of deviation one (inn, inn-ml, iresnet, maf-reverse,
            iaf-reverse).
        latent_noise: deviation of the noise of the reconstruction (inn).
        pad_noise: deviation of the pads (inn, inn-ml, iresnet, maf-reverse, iaf-reverse).
        ramp: training passes until the discrepancy of the parameters has its full weight (inn).
        variance: variance of the decoder, learned by default (cvae).
        latent_prior: prior of the latent, normal or learned (cvae).
        draws: draws of the latent that samples are chosen from (vae).
    """

    width: int | None = None
    depth: int | None = None
    steps: int | None = None
    blocks: int | None = None
    flow: str | None = None
    spline_bins: int | None = None
    reverse_width: int | None = None
    reverse_depth: int | None = None
    max_lipschitz: float | None = None
    slope: float | None = None
    latent: int | None = _latent()
    channels: int | None = _latent()
    fit_weight: float | None = _latent()
    latent_weight: float | None = _latent()
    prior_weight: float | None = _latent()
    reconstruction_weight: float | None = _latent()
    pad_weight: float | None = _latent()
    cycle_weight: float | None = _latent()
    orthogonality_weight: float | None = _latent()
    observation_noise: float | None = _latent()
    latent_noise: float | None = _latent()
    pad_noise: float | None = _latent()
    ramp: int | None = _latent()
    variance: float | None = _latent()
    latent_prior: str | None = _latent()
    draws: int | None = _latent()
