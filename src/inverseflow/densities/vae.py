"""The variational autoencoder, and the conditional one."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, kl_divergence
from torch.nn import functional as F

from inverseflow.densities.autoencoder import Autoencoder, _network
from inverseflow.densities.density import Likelihood
from inverseflow.distributions import StandardNormal
from inverseflow.errors import OptionError
from inverseflow.utils.arguments import finite_number, one_of, whole_number

DecoderName = Literal["gaussian", "bernoulli"]
PriorName = Literal["normal", "learned"]
_LEAST_LOG_VARIANCE = -10.0
_FIRST_LOG_VARIANCE = -4.0  # with a large one, z is drowned in noise at first, and collapses to its prior


class VAE(Autoencoder):
    r"""Variational autoencoder: a latent variable z behind x, and an encoder that approximates its posterior.

    .. math:: \log p(x) \ge E_{q(z \mid x)} \log p(x \mid z) - \mathrm{KL}(q(z \mid x) \,\|\, p(z)), \qquad
        q(z \mid x) = N(\mu(x), \operatorname{diag} \sigma^2(x))

    The right side is the `elbo`, which ``fit`` maximizes. `log_prob` is the tighter importance-weighted bound. Both
    draw noise, and are lower bounds in expectation. With a context y, the conditional VAE, encoder, decoder and bound
    are those of p(x | y). Scale continuous data to about unit variance.

    Args:
        event_shape: the shape of one datum.
        latent: length of z.
        decoder: p(x | z): ``"gaussian"``, or ``"bernoulli"`` for data of zeros and ones.
        variance: variance :math:`s^2` of a Gaussian decoder; None learns one for each element, of at least e⁻¹⁰.
        prior: ``"normal"`` for p(z) = N(0, I), or ``"learned"`` for p(z | y), a normal whose mean and variance are a
            network's.
        importance_samples: draws of z for each datum in `log_prob`.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.
        context_channels: length of the context vector y, None for none.

    Shape:
        x: ``(B, *event_shape)``; z: ``(B, latent)``; context: ``(B, context_channels)``; bounds: ``(B,)``, in nats.

    Raises:
        ValueError: if an argument is out of its range, or a prior is to be learned without a context.

    Reference:
        Kingma and Welling, `Auto-Encoding Variational Bayes <https://arxiv.org/abs/1312.6114>`_, 2014, sections 2 and 3
        and appendix B; contexts: Sohn, Lee and Yan, Learning Structured Output Representation using Deep Conditional
        Generative Models, 2015; the bound of several draws: Burda et al., `Importance Weighted Autoencoders
        <https://arxiv.org/abs/1509.00519>`_, 2016.

    Example:
        >>> model, x = VAE((3,), 2, width=16), torch.randn(5, 3)
        >>> model.elbo(x).shape, model.sample(7).shape, model.kl(x).shape
        (torch.Size([5]), torch.Size([7, 3]), torch.Size([5, 2]))
    """

    _numbers_per_code = 2

    def __init__(
        self,
        event_shape: Sequence[int],
        latent: int,
        *,
        decoder: DecoderName = "gaussian",
        variance: float | None = None,
        prior: PriorName = "normal",
        importance_samples: int = 50,
        width: int = 128,
        depth: int = 2,
        context_channels: int | None = None,
    ) -> None:
        bernoulli = one_of("decoder", decoder, get_args(DecoderName)) == "bernoulli"
        super().__init__(
            event_shape,
            latent,
            error="cross_entropy" if bernoulli else "squared",
            width=width,
            depth=depth,
            context_channels=context_channels,
        )
        if bernoulli and variance is not None:
            raise ValueError(f"a Bernoulli decoder has no variance, got {variance}; leave it out")
        if one_of("prior", prior, get_args(PriorName)) == "learned" and context_channels is None:
            raise ValueError("a learned prior is one given a context: pass context_channels, or take prior='normal'")
        self.importance_samples = whole_number("importance_samples", importance_samples, at_least=1)
        self.prior_net = None if prior == "normal" else _network(context_channels or 0, 2 * latent, width, depth)
        start = _FIRST_LOG_VARIANCE if variance is None else math.log(finite_number("variance", variance, above=0))
        log_variance = torch.full(self.event_shape, start)
        self.learns_variance = variance is None and not bernoulli
        if self.learns_variance:
            self.log_variance = nn.Parameter(log_variance)
        else:
            self.register_buffer("log_variance", log_variance)
        self.noise_of_latent, self.noise_of_data = StandardNormal(self.latent), StandardNormal(self.dims)

    @property
    def likelihood(self) -> Likelihood:
        """A bound: noise is drawn."""
        return "bound"

    @property
    def continuous(self) -> bool:
        """Whether the decoder is Gaussian; a Bernoulli one gives probabilities."""
        gaussian: bool = self.error == "squared"
        return gaussian

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the means ``(B, latent)`` of q(z | x)."""
        return self.posterior(x, context).mean

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Normal:
        """Return q(z | x), which approximates the posterior of z."""
        self._check(x, context)
        return _normal(self._encode(x, context))

    def prior(self, context: Tensor | None = None) -> Normal:
        """Return p(z), or p(z | y) for contexts ``(B, context_channels)`` if it is learned."""
        if self.prior_net is None:
            zero = self.noise_of_latent._zero
            return Normal(zero.expand(self.latent), (zero + 1).expand(self.latent), validate_args=False)
        if context is None:
            raise ValueError("a learned prior needs a context")
        return _normal(self.prior_net(context.to(self.noise_of_latent._zero)))

    def decoded(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """Return p(x | z) of each element for latents ``(B, latent)``; its mean is `decode`."""
        mean = self._decode(z, context)
        if self.error == "cross_entropy":
            return Bernoulli(logits=mean, validate_args=False)
        return Normal(mean, self.deviation.expand_as(mean), validate_args=False)

    @property
    def deviation(self) -> Tensor:
        """Deviation s ``(*event_shape)`` of a Gaussian decoder."""
        return (0.5 * (_bounded(self.log_variance) if self.learns_variance else self.log_variance)).exp()

    def kl(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the divergence of q(z | x) from the prior for each latent number, ``(B, latent)``, in nats.

        A latent number whose mean over data is near zero is not used: it has collapsed to the prior.
        """
        divergence: Tensor = kl_divergence(self.posterior(x, context), self.prior(context))
        return divergence

    def elbo(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the lower bound ``(B,)`` on log p(x), with one draw of z for each datum and the exact divergence."""
        log_likelihood, divergence = self.terms(x, context)
        return log_likelihood - divergence

    def terms(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the terms of the `elbo`, ``(B,)`` each: log p(x | z) for one draw of z, and the divergence."""
        self._check_values(x, context)
        posterior = self.posterior(x, context)
        log_likelihood: Tensor = self.decoded(posterior.rsample(), context).log_prob(x).flatten(1).sum(1)
        return log_likelihood, kl_divergence(posterior, self.prior(context)).sum(1)

    def importance_bound(self, x: Tensor, context: Tensor | None = None, *, samples: int) -> Tensor:
        r"""Return the lower bound ``(B,)`` on log p(x) from several draws of z for each datum.

        .. math:: \log \frac1S \sum_{s=1}^S \frac{p(x \mid z_s)\, p(z_s)}{q(z_s \mid x)}, \qquad z_s \sim q(z \mid x)

        In expectation it grows with the number of draws S, from the `elbo` at 1 to the exact log p(x).
        """
        samples = whole_number("samples", samples, at_least=1)
        self._check_values(x, context)
        posterior = self.posterior(x, context)
        z = posterior.rsample((samples,))  # (S, B, latent)
        contexts = None if context is None else context.repeat(samples, 1)
        decoded = self.decoded(z.flatten(0, 1), contexts)
        log_likelihood = decoded.log_prob(x.repeat(samples, *[1] * len(self.event_shape))).flatten(1).sum(1)
        log_ratio = (self.prior(context).log_prob(z) - posterior.log_prob(z)).sum(-1)
        bound: Tensor = (log_likelihood.view(samples, -1) + log_ratio).logsumexp(0) - math.log(samples)
        return bound

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the `importance_bound` ``(B,)`` of `importance_samples` draws: a lower bound in expectation.

        Raises:
            OptionError: if the decoder is Bernoulli, and an element is neither 0 nor 1.
        """
        return self.importance_bound(x, context, samples=self.importance_samples)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the `elbo`, which training maximizes."""
        return self.elbo(x, context)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data: z from the prior, x from the decoder; arguments and errors as for `Density.sample`.

        The temperature scales both noises of a Gaussian decoder, and only that of z for a Bernoulli one. To see means
        without the decoder's noise, ``decode`` draws of `prior`.
        """
        n, context, temperature = self._sampling_args(n, context, temperature)
        noise = self.noise_of_latent.sample(n, temperature=temperature, generator=generator)
        self._check_context(context, noise)
        prior = self.prior(context)
        decoded = self.decoded(prior.mean + prior.stddev * noise, context)
        if self.error == "cross_entropy":
            device = decoded.mean.device if generator is None else generator.device
            return torch.bernoulli(decoded.mean.to(device), generator=generator).to(decoded.mean.device)
        noise = self.noise_of_data.sample(n, temperature=temperature, generator=generator)
        drawn: Tensor = decoded.mean + decoded.stddev * noise.view(n, *self.event_shape)
        return drawn

    def _check_values(self, x: Tensor, context: Tensor | None) -> None:
        self._check(x, context)
        if self.error == "cross_entropy" and not ((x == 0) | (x == 1)).all():
            raise OptionError("a Bernoulli decoder takes zeros and ones; binarize the data, or take decoder='gaussian'")


def _normal(parameters: Tensor) -> Normal:
    mean, log_variance = parameters.chunk(2, 1)
    return Normal(mean, (0.5 * _bounded(log_variance)).exp(), validate_args=False)


def _bounded(log_variance: Tensor) -> Tensor:
    """Keep a log variance above a least one, smoothly, so that no gradient is lost there."""
    return _LEAST_LOG_VARIANCE + F.softplus(log_variance - _LEAST_LOG_VARIANCE)
