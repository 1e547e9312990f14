"""The contract of monotone maps of single elements."""

from abc import ABC, abstractmethod

from torch import Tensor


class ElementwiseMap(ABC):
    r"""A monotone map :math:`z = \phi(x; \theta)` of one number with parameters θ, applied to every element.

    A subclass MUST implement `num_parameters`, `forward` and `inverse`. Parameters that are all zero CAN be the
    identity, so that a layer whose network starts at zero starts there too. A `Coupling` takes any such map.

    Example:
        >>> class Stretch(ElementwiseMap):
        ...     num_parameters = 1
        ...     def forward(self, x, parameters):
        ...         return x * parameters[:, 0].exp(), parameters[:, 0]
        ...     def inverse(self, z, parameters):
        ...         return z * (-parameters[:, 0]).exp(), -parameters[:, 0]
        >>> z, log_det = Coupling(2, partial(MLP, width=8), map=Stretch())(torch.randn(5, 2))
    """

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of parameters P for each element."""

    @abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map elements.

        Args:
            x: ``(B, *rest)``.
            parameters: ``(B, P, *rest)``.

        Returns:
            z and :math:`\log \phi'(x)`, both of the shape of x.
        """

    @abstractmethod
    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map elements back; like `forward`, return x and the logarithm of :math:`dx/dz`."""
