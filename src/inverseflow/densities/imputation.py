"""Missing elements, drawn given those that are known."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from inverseflow.densities.density import Density
from inverseflow.utils.arguments import whole_number

_MOMENT_SAMPLES = 10_000
_AT_A_TIME = 2**15  # candidates
_FREEDOM = 5.0  # degrees of freedom of the proposals: their tails are heavier than a normal's
_RIDGE = 1e-6


@dataclass(frozen=True)
class Imputation:
    """Data whose missing elements were drawn, and how well."""

    x: Tensor
    """``(n, B, D)``: n draws of each row. Known elements are those that were given."""
    exact: Tensor
    """``(B,)``: whether the draws of a row follow the conditional density itself; others were chosen among candidates.
    """
    effective: Tensor
    r"""``(B,)``: the effective number of candidates of a row, :math:`(\sum w)^2 / \sum w^2` of their weights; infinite
    if exact. With few, the draws of a row repeat and may miss a part of the conditional density."""


@torch.no_grad()
def impute(
    density: Density,
    x: Tensor,
    context: Tensor | None = None,
    *,
    n: int = 1,
    candidates: int = 1000,
    generator: Generator | None = None,
) -> Imputation:
    r"""Draw the missing elements of vectors, which are NaN, given the others.

    The draws of a row are exact if its missing elements come last in `Density.given_order`, as `sample_given` says, and
    no known element is a whole number that the density dequantizes. Otherwise they are approximate, by importance
    resampling: candidates come from a Student distribution with the conditional mean and covariance of a normal density
    that is fitted to samples of the model, and are drawn again with weights

    .. math:: w \propto p(x_\text{missing}, x_\text{known}) / q(x_\text{missing})

    which is exact in the limit of many candidates. `Imputation.effective` says how far a row is from that. A known
    whole number gets the noise of the dequantization with each candidate. Nothing is learned from the rows.

    Args:
        density: a density of vectors ``(D,)``, in evaluation mode.
        x: ``(B, D)`` of floating-point dtype; NaN is missing.
        context: one context, or one for each row, of a conditional density. Nothing in it may be missing.
        n: number of draws of each row.
        candidates: candidates of each row that is not exact.
        generator: source of the noise, on the device of the density.

    Raises:
        ValueError: if the density is no density of vectors, a known element is not finite, a row has no candidate of
            positive density, or other elements than the last of the order are missing and the density is one of levels.
        TypeError: if x is not of floating-point numbers.

    Example:
        >>> flow, x = MAF((2,), steps=1), torch.tensor([[0.5, math.nan], [math.nan, 1.0]])
        >>> drawn = impute(flow, x, n=3)
        >>> drawn.x.shape, drawn.exact
        (torch.Size([3, 2, 2]), tensor([ True, False]))
    """
    n = whole_number("the number of draws", n, at_least=1)
    candidates = whole_number("candidates", candidates, at_least=2)
    if len(density.event_shape) > 1:
        raise ValueError(f"only vectors (D,) can be imputed, the density has events of shape {density.event_shape}")
    density._check_batch(x, density.event_shape)
    if not x.is_floating_point():
        raise TypeError(
            f"missing elements are NaN, which {x.dtype} has not: convert x with .float() and set them to NaN"
        )
    missing = x.isnan()
    if bool((x.isinf()).any()):
        raise ValueError("a known element is infinite; leave its row out, or set it to NaN if it is missing")
    rows, context, _ = density._sampling_args(len(x), context, 1.0)
    drawn, effective = x.repeat(n, 1, 1), x.new_full((rows,), math.inf)
    approximate = torch.zeros(rows, dtype=torch.bool, device=x.device)
    proposals: _Proposals | None = None
    patterns, pattern_of = missing.unique(dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        own = (pattern_of == number).nonzero().flatten()
        lost, known = (part.nonzero().flatten() for part in (pattern, ~pattern))
        if not len(lost):
            continue
        contexts = None if context is None else context[own]
        if _is_exact(density, known.tolist()):
            given = {place: x[own, place].repeat(n) for place in known.tolist()}
            repeated = None if contexts is None else contexts.repeat(n, *[1] * (contexts.ndim - 1))
            values = (
                density.sample_given(n * len(own), given, repeated, generator=generator)
                if given
                else density.sample(n * len(own), repeated, generator=generator)
            )
            drawn[:, own[:, None], lost] = values.to(x.dtype).unflatten(0, (n, len(own)))[:, :, lost]
            continue
        _check_weights(density, lost.tolist())
        if proposals is None:
            proposals = _Proposals(density, context, generator)
        approximate[own] = True
        at_once = max(1, _AT_A_TIME // candidates)
        for part in own.split(at_once):
            part_contexts = None if context is None else context[part]
            values, effective[part] = proposals.resample(x[part], lost, known, part_contexts, n, candidates)
            drawn[:, part[:, None], lost] = values.to(x.dtype)
    return Imputation(drawn, ~approximate, effective)


def _is_exact(density: Density, known: list[int]) -> bool:
    """Return whether the conditional density given these elements can be sampled."""
    if not known:
        return True
    order = density.given_order
    return order is not None and {*order[: len(known)]} == {*known} and not {*known} & {*density.integer_columns}


def _check_weights(density: Density, lost: list[int]) -> None:
    """Refuse a density whose candidates can't be weighted."""
    name = type(density).__name__
    if density.levels is not None:
        raise ValueError(
            f"{name} has levels, so that only the last elements in its order can be missing, not {lost}; "
            "leave these rows out"
        )
    if density.likelihood != "exact" and not density.integer_columns:
        raise ValueError(f"the likelihood of {name} is no exact one, so that nothing can be imputed; take a flow")


class _Proposals:
    """Candidates from a density that is fitted to samples of the model, and the choice among them.

    Whole numbers are real numbers here, between themselves and the next.
    """

    def __init__(self, density: Density, context: Tensor | None, generator: Generator | None) -> None:
        self._density, self._generator = density, generator
        contexts = None
        if context is not None:
            chosen = torch.arange(_MOMENT_SAMPLES, device=context.device) % len(context)
            contexts = context[chosen]
        samples = self._dequantized(density.sample(_MOMENT_SAMPLES, contexts, generator=generator)).double()
        self._with_context = contexts is not None and contexts.ndim == 2
        joint = torch.cat([samples, contexts.double()], 1) if self._with_context and contexts is not None else samples
        joint = joint[joint.isfinite().all(1)]
        self._mean = joint.mean(0)
        self._covariance = (joint - self._mean).T @ (joint - self._mean) / len(joint)
        self._covariance.diagonal().mul_(1 + _RIDGE)

    def resample(
        self, x: Tensor, lost: Tensor, known: Tensor, context: Tensor | None, n: int, candidates: int
    ) -> tuple[Tensor, Tensor]:
        """Return n draws of the missing elements ``(n, B, missing)``, and the effective numbers of candidates ``(B,)``.

        Args:
            x: rows ``(B, D)``, all without the same elements.
            lost: which are missing.
            known: which are known.
            context: the contexts of the rows.
            n: number of draws.
            candidates: number of candidates.
        """
        rows = len(x)
        repeated = x.repeat_interleave(candidates, 0)
        repeated[:, lost] = 0
        repeated = self._dequantized(repeated)
        seen, places = repeated[:, known].double(), known
        if self._with_context and context is not None:
            seen = torch.cat([seen, context.double().repeat_interleave(candidates, 0)], 1)
            places = torch.cat([known, torch.arange(x.shape[1], len(self._mean), device=x.device)])
        proposed, log_proposal = self._propose(seen, lost, places)
        repeated[:, lost] = proposed.to(repeated.dtype)
        contexts = None if context is None else context.repeat_interleave(candidates, 0)
        log_weights = self._density._log_density(repeated, contexts).double() - log_proposal
        log_weights = log_weights.nan_to_num(-math.inf, math.inf, -math.inf).view(rows, candidates)
        if bool((log_weights.amax(1) == -math.inf).any()):
            raise ValueError(
                "no candidate for a missing element has a positive density; the known ones of its row are unlike the "
                "model's data: leave the row out, or draw more candidates"
            )
        weights = log_weights.softmax(1)
        chosen = torch.multinomial(weights, n, replacement=True, generator=self._generator)  # (B, n)
        values = proposed.view(rows, candidates, -1)
        whole = torch.isin(lost, torch.tensor(self._density.integer_columns, device=x.device))
        values = torch.where(whole, values.floor(), values)
        drawn = values.gather(1, chosen[:, :, None].expand(-1, -1, len(lost))).transpose(0, 1)
        return drawn, (1 / weights.square().sum(1)).to(x.dtype)

    def _propose(self, seen: Tensor, lost: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return candidates for the missing elements and their log densities under a Student distribution."""
        covariance = self._covariance
        slopes = torch.linalg.pinv(covariance[places][:, places], hermitian=True) @ covariance[places][:, lost]
        mean = self._mean[lost] + (seen - self._mean[places]) @ slopes
        conditional = covariance[lost][:, lost] - covariance[lost][:, places] @ slopes
        floor = _RIDGE * covariance.diagonal()[lost]
        factor = torch.linalg.cholesky(conditional + floor.diag())
        size = len(lost)

        def noise() -> Tensor:
            device = seen.device
            return torch.randn(len(seen), size, dtype=torch.float64, device=device, generator=self._generator)

        z, spread = noise(), self._chi_square(len(seen), seen)
        z = z * (_FREEDOM / spread).sqrt()[:, None]
        constant = (
            math.lgamma((_FREEDOM + size) / 2) - math.lgamma(_FREEDOM / 2) - size / 2 * math.log(_FREEDOM * math.pi)
        )
        log_density = constant - (_FREEDOM + size) / 2 * torch.log1p(z.square().sum(1) / _FREEDOM)
        return mean + z @ factor.T, log_density - factor.diagonal().log().sum()

    def _chi_square(self, count: int, like: Tensor) -> Tensor:
        normal = torch.randn(count, round(_FREEDOM), dtype=like.dtype, device=like.device, generator=self._generator)
        return normal.square().sum(1)

    def _dequantized(self, x: Tensor) -> Tensor:
        """Return rows with noise on the known whole numbers."""
        columns = [*self._density.integer_columns]
        if columns:
            x = x.clone()
            noise = torch.rand(len(x), len(columns), dtype=x.dtype, device=x.device, generator=self._generator)
            x[:, columns] += noise
        return x
