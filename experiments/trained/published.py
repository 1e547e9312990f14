"""What the Inverse-Flow paper prints, and what an audit of its public code found about it."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.units import bits_per_dim
from inverseflow.bijections import Shape

NOTES = {
    "doubled": "The public code adds each log-determinant twice to what it calls the log-likelihood, so a figure that "
    "it gives is not a likelihood; which version gave the printed figures is not known.",
    "implausible": "Fewer bits than any published flow of MNIST needs, from a smaller model than table 3's, which is "
    "printed with about twice as many.",
    "architecture": "The printed numbers of parameters count different things: some only couplings and priors, some "
    "another coupling network; they cannot come from one architecture.",
    "planar": "0.16 M is the number of parameters of eight linear layers without couplings, not of a Glow.",
    "copied": "Equal to the figures of the Self Normalizing Flows paper to every digit: copied, not run beside the "
    "others.",
    "sampling": "The public code times one image at a time and keeps the middle 60 % of the runs, and its sampling "
    "convolution is a sequence of kernels with a synchronisation after each.",
    "gradient": "The public kernel computes another gradient than that of its layer, and the optimiser holds every "
    "parameter of the model within a small interval; the k×k layers can hardly have learned.",
    "deeper": "The printed ST of SNF is 199 ms with four steps at each scale and 16.8 ms with sixteen.",
    "seconds": "Printed in seconds, 25.0.",
}
"""Findings by key."""

OF_THE_LIKELIHOOD = frozenset({"doubled", "implausible", "copied", "gradient"})
"""Those of the findings that are about bits and nats."""
_DISAGREE = 0.02


@dataclass(frozen=True)
class Published:
    """One printed row."""

    bits: float | None = None
    """Bits per dimension."""
    nats: float | None = None
    """Negative log-likelihood of an image, in nats."""
    nats_std: float | None = None
    """Its printed deviation."""
    sample_ms: float | None = None
    """ST: time for 100 samples."""
    forward_ms: float | None = None
    """FT: time of a batch of 100."""
    parameters_m: float | None = None
    """Millions of parameters."""
    notes: tuple[str, ...] = ()
    """Keys of `NOTES`."""

    def disagreement(self, event_shape: Shape) -> str | None:
        """Return a sentence if the printed nats and bits per dimension are not the same number, else None.

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
        """Return whether the audit found that the printed likelihood may be none, or not that of a trained row.

        Args:
            event_shape: (C, H, W) of the images.

        Example:
            >>> Published(bits=1.0, notes=("architecture",)).doubtful((1, 28, 28))
            False
        """
        return self.disagreement(event_shape) is not None or not OF_THE_LIKELIHOOD.isdisjoint(self.notes)
