"""The named flows: `ImageFlow` with the k×k layer of a publication.

Each takes the options of `ImageFlow` that its layer has. As they stand they differ in the layer alone, for fair
comparisons. A class's `paper_options` are the options that bring its step closer to the publication's; networks,
preprocessing, optimizer and sizes remain this library's.
"""

from types import MappingProxyType

from typing_extensions import Unpack

from inverseflow.bijections import Shape
from inverseflow.densities import register
from inverseflow.flows.image.flow import ImageFlow
from inverseflow.flows.image.options import FlowKwargs, KernelFlowKwargs, OneSidedFlowKwargs, SpectralFlowKwargs


@register("inverse-flow")
class InverseFlow(ImageFlow):
    """Image flow whose k×k layers solve from image to latent, so that sampling is plain convolutions.

    From Nagar and Varma, `Inverse-Flow <https://arxiv.org/abs/2410.14634>`_, AISTATS 2025, section 4.

    Example:
        >>> bits = InverseFlow((1, 8, 8), steps=2).bits_per_dim(torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8))
    """

    paper_options = MappingProxyType({})

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="inverse", **options)


@register("glow")
class Glow(ImageFlow):
    """`InverseFlow` minus the inverse convolution; pass ``spline="none"`` for the original Glow step.

    From Kingma and Dhariwal, `Glow <https://arxiv.org/abs/1807.03039>`_, 2018.

    Example:
        >>> images = Glow((3, 8, 8), steps=2, spline="none").sample(2)
    """

    paper_options = MappingProxyType({"spline": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[FlowKwargs]) -> None:
        super().__init__(event_shape, layer="none", **options)


@register("cinc")
class CInCFlow(ImageFlow):
    """Image flow with the one-sided k×k convolution of a learned diagonal.

    From Nagar et al., `CInC Flow <https://arxiv.org/abs/2107.01358>`_, 2021, section 3, which has quad-couplings,
    neither spline nor 1×1 convolution, and one corner for all steps; here the corners cycle.

    Example:
        >>> flow = CInCFlow((1, 8, 8), coupling="quad")
    """

    paper_options = MappingProxyType({"spline": "none", "conv1x1": "none", "coupling": "quad"})

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="cinc", **options)


@register("finc")
class FInCFlow(ImageFlow):
    """Image flow with a k×k convolution from each corner, each for a quarter of the channels.

    From Kallappa, Nagar and Varma, `FInC Flow <https://arxiv.org/abs/2301.09266>`_, VISAPP 2023, without a spline.

    Example:
        >>> flow = FInCFlow((1, 8, 8), spline="none")
    """

    paper_options = MappingProxyType({"spline": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="finc", **options)


@register("emerging")
class EmergingFlow(ImageFlow):
    """Image flow with emerging convolutions: two one-sided convolutions from opposite corners.

    From Hoogeboom, van den Berg and Welling, `Emerging Convolutions <https://arxiv.org/abs/1901.11137>`_, 2019, without
    a spline, and with the 1×1 convolution right before the emerging one, as with ``conv1x1="none"`` here.

    Example:
        >>> flow = EmergingFlow((1, 8, 8), conv1x1="none")
    """

    paper_options = MappingProxyType({"spline": "none", "conv1x1": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="emerging", **options)


@register("periodic")
class PeriodicFlow(ImageFlow):
    """Image flow with periodic convolutions, computed by FFT.

    From Hoogeboom, van den Berg and Welling, `Emerging Convolutions <https://arxiv.org/abs/1901.11137>`_, 2019,
    section 3.2, where they replace the 1×1 convolution, and there is no spline.

    Example:
        >>> flow = PeriodicFlow((1, 16, 16))
    """

    paper_options = MappingProxyType({"spline": "none", "conv1x1": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        super().__init__(event_shape, layer="periodic", **options)


@register("exponential")
class ExponentialFlow(ImageFlow):
    """Image flow with convolution exponentials.

    From Hoogeboom et al., `The Convolution Exponential <https://arxiv.org/abs/2006.01910>`_, 2020, without a spline.

    Example:
        >>> flow = ExponentialFlow((1, 8, 8), max_spectral_norm=0.8)
    """

    paper_options = MappingProxyType({"spline": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[SpectralFlowKwargs]) -> None:
        super().__init__(event_shape, layer="exponential", **options)


@register("self-normalizing")
class SelfNormalizingFlow(ImageFlow):
    """Image flow with k×k convolutions that learn their own inverse; its likelihood is exact in training too.

    Training follows the gradients of `SelfNormalizingConv2d`'s objective instead of the likelihood's. From Keller et
    al., `Self Normalizing Flows <https://arxiv.org/abs/2011.07248>`_, 2021, section 4, where the layer replaces the 1×1
    convolution and has 1×1 kernels, and there is no spline.

    Example:
        >>> flow = SelfNormalizingFlow((1, 8, 8), kernel_size=1)
    """

    paper_options = MappingProxyType({"kernel_size": 1, "spline": "none", "conv1x1": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        super().__init__(event_shape, layer="self-normalizing", **options)


@register("woodbury")
class WoodburyFlow(ImageFlow):
    """Image flow with Woodbury transformations: updates across channels and across pixels, of rank at most 16.

    From Lu and Huang, `Woodbury Transformations <https://arxiv.org/abs/2002.12229>`_, 2020, where they replace the 1×1
    convolution, and there is no spline.

    Example:
        >>> flow = WoodburyFlow((1, 8, 8), conv1x1="none")
    """

    paper_options = MappingProxyType({"spline": "none", "conv1x1": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[FlowKwargs]) -> None:
        super().__init__(event_shape, layer="woodbury", **options)


@register("macow")
class MaCowFlow(ImageFlow):
    """Image flow with two units of four masked convolutional flows in each step.

    From Ma et al., `MaCow <https://arxiv.org/abs/1902.04208>`_, 2019, section 3, which has no spline, and also splits
    off channels within a scale. The masked convolutions see ``kernel_size`` columns of two rows, and the reverse.

    Example:
        >>> flow = MaCowFlow((1, 8, 8), kernel_size=5)
    """

    paper_options = MappingProxyType({"spline": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        super().__init__(event_shape, layer="macow", **options)


@register("butterfly")
class ButterflyFlow(ImageFlow):
    """Image flow with one factor of a butterfly matrix in each step, so that successive steps make up a whole one.

    From Meng et al., `ButterflyFlow <https://arxiv.org/abs/2209.13774>`_, 2022, which has no spline, and the order
    ActNorm → 1×1 convolution → butterfly → coupling.

    Example:
        >>> flow = ButterflyFlow((1, 8, 8), steps=8)
    """

    paper_options = MappingProxyType({"spline": "none"})

    def __init__(self, event_shape: Shape, **options: Unpack[FlowKwargs]) -> None:
        super().__init__(event_shape, layer="butterfly", **options)


@register("mintnet")
class MintNetFlow(ImageFlow):
    """Image flow of MintNet's blocks: in each step one of either order, then ActNorm, and by default nothing else.

    From Song et al., `MintNet <https://arxiv.org/abs/1907.07945>`_, 2019, section 3, which has no ActNorm, and factors
    out no channels between the scales. ``width`` counts the hidden channels of a block.

    Example:
        >>> flow = MintNetFlow((1, 8, 8), steps=2)
    """

    paper_options = MappingProxyType({})

    def __init__(self, event_shape: Shape, **options: Unpack[KernelFlowKwargs]) -> None:
        own: KernelFlowKwargs = {"spline": "none", "conv1x1": "none", "coupling": "none", **options}
        super().__init__(event_shape, layer="mintnet", **own)


@register("arma")
class ARMAFlow(ImageFlow):
    """Image flow of our own: a k×k convolution, and the inverse of another from the opposite corner.

    Example:
        >>> flow = ARMAFlow((1, 8, 8), steps=2)
    """

    def __init__(self, event_shape: Shape, **options: Unpack[OneSidedFlowKwargs]) -> None:
        super().__init__(event_shape, layer="arma", **options)
