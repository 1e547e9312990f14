"""The named flows: `ImageFlow` with the k×k layer of a publication.

As they stand they differ in the layer alone, for fair comparisons. A class's `paper_options` are the options that bring
its step closer to the publication's; networks, preprocessing, optimizer and sizes remain this library's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from typing_extensions import Unpack

from inverseflow.bijections import Shape
from inverseflow.densities import register
from inverseflow.flows.image.flow import ImageFlow
from inverseflow.flows.image.options import FlowKwargs, KernelFlowKwargs, OneSidedFlowKwargs, SpectralFlowKwargs


def _paper(**options: Any) -> Mapping[str, Any]:
    return MappingProxyType(options)


@register("inverse-flow")
class InverseFlow(ImageFlow):
    r"""Image flow whose k×k layers solve from image to latent, so that sampling is plain convolutions.

    At each of L scales: squeeze, then K steps of inverse convolution → spline → ActNorm → 1×1 convolution → affine
    coupling. At the end of each scale but the last, half of the channels are factored out under a learned prior. The
    corners of the inverse convolutions cycle through all four from step to step. It takes the options of `ImageFlow`
    except ``layer`` and ``max_spectral_norm``.

    Reference:
        Nagar and Varma, `Inverse-Flow <https://arxiv.org/abs/2410.14634>`_, AISTATS 2025, section 4.

    Example:
        >>> flow = InverseFlow((1, 8, 8), levels=17, scales=2, steps=2, width=16)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
        >>> flow.bits_per_dim(images).shape
        torch.Size([4])
        >>> torch.equal(flow.decode(flow.encode(images)), images)
        True
    """

    paper_options = _paper()

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="inverse", **options)


@register("glow")
class Glow(ImageFlow):
    """Image flow without k×k layers: spline → ActNorm → 1×1 convolution → affine coupling.

    By default, `InverseFlow` minus the inverse convolution. Pass ``spline="none"`` for the original Glow step. It takes
    the options of `ImageFlow` except ``layer``, ``kernel_size`` and the bounds.

    Reference:
        Kingma and Dhariwal, `Glow <https://arxiv.org/abs/1807.03039>`_, 2018.

    Example:
        >>> flow = Glow((3, 8, 8), scales=2, steps=2, width=16)
        >>> flow.sample(2).shape
        torch.Size([2, 3, 8, 8])
    """

    paper_options = _paper(spline="none")

    def __init__(self, event_shape: Shape, **options: Unpack[FlowKwargs]) -> None:
        super().__init__(event_shape, layer="none", **options)


@register("cinc")
class CInCFlow(ImageFlow):
    """Image flow with the one-sided k×k convolution of a learned diagonal.

    The paper has quad-couplings and neither spline nor 1×1 convolution, and all its steps start at one corner; here the
    corners cycle. It takes the options of `ImageFlow` except ``layer`` and ``max_spectral_norm``.

    Reference:
        Nagar et al., `CInC Flow <https://arxiv.org/abs/2107.01358>`_, 2021, section 3.

    Example:
        >>> CInCFlow((1, 8, 8), scales=1, steps=1, width=8, coupling="quad").dims
        64
    """

    paper_options = _paper(spline="none", conv1x1="none", coupling="quad")

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="cinc", **options)


@register("finc")
class FInCFlow(ImageFlow):
    """Image flow with a k×k convolution from each corner, each for a quarter of the channels.

    The paper has no spline. It takes the options of `ImageFlow` except ``layer`` and ``max_spectral_norm``.

    Reference:
        Kallappa, Nagar and Varma, `FInC Flow <https://arxiv.org/abs/2301.09266>`_, VISAPP 2023.

    Example:
        >>> FInCFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none")

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="finc", **options)


@register("emerging")
class EmergingFlow(ImageFlow):
    """Image flow with emerging convolutions: two one-sided convolutions from opposite corners.

    The paper's step has no spline, and the 1×1 convolution stands right before the emerging one; ``conv1x1="none"``
    gives this order. It takes the options of `ImageFlow` except ``layer`` and ``max_spectral_norm``.

    Reference:
        Hoogeboom, van den Berg and Welling, `Emerging Convolutions <https://arxiv.org/abs/1901.11137>`_, 2019,
        section 3.1.

    Example:
        >>> EmergingFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none", conv1x1="none")

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="emerging", **options)


@register("periodic")
class PeriodicFlow(ImageFlow):
    """Image flow with periodic convolutions, computed by FFT.

    In the paper they replace the 1×1 convolution, and there is no spline. It takes the options of `ImageFlow` except
    ``layer`` and the bounds.

    Reference:
        Hoogeboom, van den Berg and Welling, `Emerging Convolutions <https://arxiv.org/abs/1901.11137>`_, 2019,
        section 3.2.

    Example:
        >>> PeriodicFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none", conv1x1="none")

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        super().__init__(event_shape, layer="periodic", **options)


@register("exponential")
class ExponentialFlow(ImageFlow):
    """Image flow with convolution exponentials.

    The paper has no spline, and another coupling network. It takes the options of `ImageFlow` except ``layer`` and
    ``max_row_sum``.

    Reference:
        Hoogeboom et al., `The Convolution Exponential <https://arxiv.org/abs/2006.01910>`_, 2020.

    Example:
        >>> ExponentialFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none")

    def __init__(self, event_shape: Shape, **options: Unpack[SpectralFlowKwargs]) -> None:
        super().__init__(event_shape, layer="exponential", **options)


@register("self-normalizing")
class SelfNormalizingFlow(ImageFlow):
    """Image flow with k×k convolutions that learn their own inverse; its likelihood is exact in training too.

    Training follows the gradients of `SelfNormalizingConv2d`'s objective instead of the likelihood's. In the paper's
    Glow the layer replaces the 1×1 convolution and has 1×1 kernels, and there is no spline. It takes the options of
    `ImageFlow` except ``layer`` and the bounds.

    Reference:
        Keller et al., `Self Normalizing Flows <https://arxiv.org/abs/2011.07248>`_, 2021, section 4.

    Example:
        >>> SelfNormalizingFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(kernel_size=1, spline="none", conv1x1="none")

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        super().__init__(event_shape, layer="self-normalizing", **options)


@register("woodbury")
class WoodburyFlow(ImageFlow):
    """Image flow with Woodbury transformations: low-rank updates across channels and across pixels.

    The rank is 16, or the length of the axis if it is shorter. In the paper they replace the 1×1 convolution, and there
    is no spline. It takes the options of `ImageFlow` except ``layer``, ``kernel_size`` and the bounds.

    Reference:
        Lu and Huang, `Woodbury Transformations <https://arxiv.org/abs/2002.12229>`_, 2020.

    Example:
        >>> WoodburyFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none", conv1x1="none")

    def __init__(self, event_shape: Shape, **options: Unpack[FlowKwargs]) -> None:
        super().__init__(event_shape, layer="woodbury", **options)


@register("macow")
class MaCowFlow(ImageFlow):
    """Image flow with two units of four masked convolutional flows in each step.

    The paper has no spline, and also splits off channels within a scale, which is left out here. The masked
    convolutions see ``kernel_size`` columns of two rows, and the reverse. It takes the options of `ImageFlow` except
    ``layer`` and the bounds.

    Reference:
        Ma et al., `MaCow <https://arxiv.org/abs/1902.04208>`_, 2019, section 3.

    Example:
        >>> MaCowFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none")

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        super().__init__(event_shape, layer="macow", **options)


@register("butterfly")
class ButterflyFlow(ImageFlow):
    """Image flow with one factor of a butterfly matrix in each step, so that successive steps make up a whole one.

    The paper has no spline, and the order ActNorm → 1×1 convolution → butterfly → coupling. It takes the options of
    `ImageFlow` except ``layer``, ``kernel_size`` and the bounds.

    Reference:
        Meng et al., `ButterflyFlow <https://arxiv.org/abs/2209.13774>`_, 2022.

    Example:
        >>> ButterflyFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper(spline="none")

    def __init__(self, event_shape: Shape, **options: Unpack[FlowKwargs]) -> None:
        super().__init__(event_shape, layer="butterfly", **options)


@register("mintnet")
class MintNetFlow(ImageFlow):
    """Image flow of MintNet's blocks: in each step one of either order, then ActNorm, and nothing else.

    By default ``spline``, ``conv1x1`` and ``coupling`` are ``"none"``. The paper has no ActNorm, and factors out no
    channels between the scales. ``width`` counts the hidden channels of a block. It takes the options of `ImageFlow`
    except ``layer`` and the bounds.

    Reference:
        Song et al., `MintNet <https://arxiv.org/abs/1907.07945>`_, 2019, section 3.

    Example:
        >>> MintNetFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    paper_options = _paper()

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        own: KernelFlowKwargs = {"spline": "none", "conv1x1": "none", "coupling": "none", **options}
        super().__init__(event_shape, layer="mintnet", **own)


@register("arma")
class ARMAFlow(ImageFlow):
    """Image flow with rational convolutions: a k×k convolution, and the inverse of another from the opposite corner.

    It is our own. It takes the options of `ImageFlow` except ``layer`` and ``max_spectral_norm``.

    Example:
        >>> ARMAFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="arma", **options)
