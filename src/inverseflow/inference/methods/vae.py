"""Methods that are variational autoencoders: of x given y, or of x and y together."""

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from inverseflow.densities import VAE
from inverseflow.densities.density import Likelihood
from inverseflow.densities.vae import PriorName
from inverseflow.errors import OptionError
from inverseflow.inference.methods.base import Conditional, Training, method
from inverseflow.training.objective import Loss
from inverseflow.utils.arguments import whole_number


@method("cvae", has_density=False, training=Training(max_steps=3000, batch_size=200, learning_rate=2e-3))
class ConditionalVAE(Conditional):
    r"""Conditional variational autoencoder: encoder q(z | x, y), decoder p(x | z, y), and a prior of z.

    The loss is the negative evidence bound. With a fixed variance :math:`s^2` of the decoder it is, up to a factor and
    a constant,

    .. math:: \lVert x - \hat x \rVert^2 - \tfrac\alpha2 \sum_k \left(1 + \log v_k - \mu_k^2 - v_k\right), \qquad
        \alpha = 2 s^2

    for the mean μ and the variance v of q. There is no density, but a lower bound on one, `bound`.

    Args:
        dims: number of parameters D.
        context_channels: length of the observation.
        latent: length of z; None for D.
        variance: variance :math:`s^2` of the decoder; None learns one for each parameter.
        latent_prior: ``"normal"`` for p(z) = N(0, I), or ``"learned"`` for p(z | y).
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Sohn, Lee and Yan, Learning Structured Output Representation using Deep Conditional Generative Models, 2015; the
        loss: Kruse et al., `Benchmarking Invertible Architectures on Inverse Problems
        <https://arxiv.org/abs/2101.10763>`_, 2021, section 2.
    """

    has_density = False

    def __init__(
        self,
        dims: int,
        context_channels: int,
        *,
        latent: int | None = None,
        variance: float | None = None,
        latent_prior: PriorName = "normal",
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__(dims, context_channels)
        self.vae = VAE(
            (dims,),
            dims if latent is None else latent,
            variance=variance,
            prior=latent_prior,
            width=width,
            depth=depth,
            context_channels=context_channels,
        )

    @property
    def likelihood(self) -> Likelihood:
        """A bound: noise is drawn."""
        return "bound"

    def loss(self, x: Tensor, context: Tensor) -> Loss:
        """Return the mean of the negative evidence bound, in nats, and of its divergence, near 0 if z has collapsed."""
        return _negative_bound(self.vae, x, context)

    def bound(self, x: Tensor, context: Tensor, *, samples: int = 50) -> Tensor:
        """Return a lower bound ``(B,)`` on the log density in nats: the importance-weighted one of several draws."""
        return self.vae.importance_bound(x, context, samples=samples)

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments and errors as for `Density.sample`."""
        return self.vae.sample(n, context, temperature=temperature, generator=generator)


@method("vae", has_density=False, training=Training(max_steps=3000, batch_size=200, learning_rate=2e-3))
class JointVAE(Conditional):
    r"""Variational autoencoder of x and y together, conditioned by importance weights.

    A variational autoencoder has no condition. Its latent gives one to the joint model: given z, x and y are
    independent, so that

    .. math:: p(x \mid y) = \int p(x \mid z)\, p(z \mid y)\, dz, \qquad p(z_s \mid y) \propto p(y \mid z_s)
        \quad \text{for } z_s \sim N(0, I)

    Samples take z among many draws from the prior by these weights. They are coarse if few draws fit the observation,
    which `effective_draws` tells. The use of the model for this is our own.

    Args:
        dims: number of parameters D.
        context_channels: number of observations M.
        latent: length of z; None for D.
        draws: draws of z from the prior.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Kingma and Welling, `Auto-Encoding Variational Bayes <https://arxiv.org/abs/1312.6114>`_, 2014.
    """

    has_density = False

    def __init__(
        self,
        dims: int,
        context_channels: int,
        *,
        latent: int | None = None,
        draws: int = 20_000,
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__(dims, context_channels)
        self.draws = whole_number("draws", draws, at_least=1)
        self.vae = VAE((dims + context_channels,), dims if latent is None else latent, width=width, depth=depth)

    def loss(self, x: Tensor, context: Tensor) -> Loss:
        """Return the mean of the negative evidence bound of x and y, in nats, and of its divergence.

        Raises:
            OptionError: if the context is a summary with parameters.
        """
        if context.requires_grad:
            raise OptionError(
                "vae can't train a summary of the observations, whose density would be unbounded; take cinn or cvae, "
                "or a summary without parameters"
            )
        return _negative_bound(self.vae, torch.cat([x, context], 1), None)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments and errors as for `Density.sample`."""
        n, context, temperature = self._sampling_args(n, context, temperature)
        if context is None:
            raise ValueError("JointVAE is conditional: pass a context")
        means = self._decoded_draws(context, temperature, generator)
        x = torch.empty(n, self.dims, dtype=context.dtype, device=context.device)
        observations, which = context.unique(dim=0, return_inverse=True)
        for index, observation in enumerate(observations):
            rows = (which == index).nonzero()[:, 0]
            weights = self._log_weights(means, observation).softmax(0)
            chosen = torch.multinomial(weights, len(rows), replacement=True, generator=generator)
            x[rows] = means[chosen, : self.dims]
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return x + temperature * self.vae.deviation[: self.dims] * noise

    @torch.no_grad()
    def effective_draws(self, context: Tensor, *, generator: Generator | None = None) -> Tensor:
        r"""Return the effective number ``(B,)`` of draws given each context, :math:`1 / \sum_s w_s^2`."""
        means = self._decoded_draws(context, 1.0, generator)
        weights = [self._log_weights(means, observation).softmax(0) for observation in context]
        return torch.stack([1 / each.square().sum() for each in weights])

    def _decoded_draws(self, like: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """Return means of x and y ``(draws, D + M)`` for z from the prior."""
        z = torch.randn(self.draws, self.vae.latent, generator=generator, dtype=like.dtype, device=like.device)
        return self.vae.decode(temperature * z)

    def _log_weights(self, means: Tensor, observation: Tensor) -> Tensor:
        of_y = Normal(means[:, self.dims :], self.vae.deviation[self.dims :], validate_args=False)
        log_weights: Tensor = of_y.log_prob(observation).sum(1)
        return log_weights


def _negative_bound(vae: VAE, x: Tensor, context: Tensor | None) -> Loss:
    log_likelihood, divergence = (term.mean() for term in vae.terms(x, context))
    bound = divergence - log_likelihood
    return Loss(bound, {"nats_bound": bound, "divergence": divergence})
