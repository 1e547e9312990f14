"""What every exchanged layer must do, and a layer of ours to exchange."""

import math

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from inverseflow.bijections import ActNorm, AffineCoupling, Bijection, Compose, Permute
from inverseflow.flows import Flow
from inverseflow.nets import MLP
from tests.contracts.registry import perturb


def our_bijection(channels: int = 3, context_channels: int | None = None) -> Bijection:
    """Build a small layer of ours in double precision; a context matters where there is one."""
    kept, context = channels // 2, context_channels or 0
    steps = [
        layer
        for _ in range(2)
        for layer in (
            AffineCoupling(channels, MLP(kept + context, 2 * (channels - kept), 8), context_channels=context_channels),
            Permute.reverse(channels),
        )
    ]
    return perturb(Compose(ActNorm(channels), *steps).double())


def our_flow(channels: int = 3, context_channels: int | None = None) -> Flow:
    return Flow(our_bijection(channels, context_channels), (channels,)).double()


def check_bijection(bijection: Bijection, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Check round trip, log-determinants against dense Jacobians, and gradients; return the latent."""
    z, log_det = bijection(x, context)
    before, after = z.clone(), x.clone()
    again, inverse_log_det = bijection.inverse(z, context)
    assert torch.equal(z, before)
    bijection(x, context)
    assert torch.equal(x, after)
    torch.testing.assert_close(again, x)
    for i in range(len(x)):
        own = None if context is None else context[i : i + 1]
        forward = jacobian(lambda v, own=own: bijection(v, own)[0], x[i : i + 1])
        inverse = jacobian(lambda v, own=own: bijection.inverse(v, own)[0], z[i : i + 1].detach())
        torch.testing.assert_close(_log_det(forward), log_det[i])
        torch.testing.assert_close(_log_det(inverse), inverse_log_det[i])
    inputs = [tensor.clone().requires_grad_() for tensor in (x, context) if tensor is not None]
    z, log_det = bijection(*inputs)
    parameters = [*inputs, *(parameter for parameter in bijection.parameters() if parameter.requires_grad)]
    gradients = torch.autograd.grad(z.square().sum() + log_det.sum(), parameters, allow_unused=True)
    assert [g is not None and bool(g.isfinite().all()) for g in gradients] == [True] * len(parameters)
    assert all(bool(gradient.any()) for gradient in gradients[: len(inputs)])
    return z.detach()


def _log_det(jacobian: Tensor) -> Tensor:
    side = math.isqrt(jacobian.numel())
    return torch.linalg.slogdet(jacobian.reshape(side, side)).logabsdet
