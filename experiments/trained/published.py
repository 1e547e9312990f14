"""Printed numbers of the Inverse-Flow paper, with the findings of an audit of its public code."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.units import bits_per_dim
from inverseflow.bijections import Shape

NOTES = {
    "doubled": "The public code adds each log-determinant twice, so its result is not a likelihood. Which version "
    "produced the printed numbers is unknown.",
    "implausible": "Fewer bits than any published flow needs for MNIST, from a smaller model than in table 3, for "
    "which about twice as many are printed.",
    "architecture": "The printed numbers of parameters count different things: some only couplings and priors, some "
    "another coupling network. They cannot come from one architecture.",
    "planar": "0.16 M is the number of parameters of eight linear layers without couplings, not of a Glow.",
    "copied": "Equal to the numbers in the Self Normalizing Flows paper to every digit: copied, not measured with the "
    "others.",
    "sampling": "The public code times one image at a time and averages the middle 60 % of the runs. Its sampling "
    "convolution is a sequence of kernels, each followed by a synchronization.",
    "gradient": "The public kernel computes a wrong gradient, and the training loop clamps every parameter of the "
    "model to a small interval. The k×k layers can hardly have learned.",
    "deeper": "The printed ST of SNF is 199 ms with four steps at each scale and 16.8 ms with sixteen.",
    "seconds": "Printed in seconds, 25.0.",
}
"""Findings by key."""

OF_THE_LIKELIHOOD = frozenset({"doubled", "implausible", "copied", "gradient"})
"""Keys of the findings about bits and nats."""
_DISAGREE = 0.02


@dataclass(frozen=True)
class Published:
    """One printed row."""

    bits: float | None = None
    """Bits per dimension."""
    nats: float | None = None
    """Negative log-likelihood of an image, in nats."""
    nats_std: float | None = None
    """Printed standard deviation of the nats."""
    sample_ms: float | None = None
    """ST: time for 100 samples."""
    forward_ms: float | None = None
    """FT: time for a batch of 100."""
    parameters_m: float | None = None
    """Millions of parameters."""
    notes: tuple[str, ...] = ()
    """Keys of `NOTES`."""

    def disagreement(self, event_shape: Shape) -> str | None:
        """Return a sentence if the printed nats and bits per dimension disagree, else None.

        Args:
            event_shape: (C, H, W) of the images.

        Example:
            >>> Published(bits=0.62, nats=350).disagreement((1, 28, 28))
            'The printed 350 nats are 0.644 bits/dim, not 0.62.'
        """
        if self.nats is None or self.bits is None:
            return None
        bits = bits_per_dim(self.nats, event_shape)
        if abs(bits - self.bits) < _DISAGREE:
            return None
        return f"The printed {self.nats:g} nats are {bits:.3f} bits/dim, not {self.bits:g}."

    def doubtful(self, event_shape: Shape) -> bool:
        """Return whether the audit found that the printed number may not be the likelihood of a trained row.

        Args:
            event_shape: (C, H, W) of the images.

        Example:
            >>> Published(bits=1.0, notes=("architecture",)).doubtful((1, 28, 28))
            False
        """
        return self.disagreement(event_shape) is not None or not OF_THE_LIKELIHOOD.isdisjoint(self.notes)
