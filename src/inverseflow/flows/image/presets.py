"""The image flows with names: `ImageFlow` with the k×k layer of a publication.

All take the options of `ImageFlow` but `layer`, and of `kernel_size` and `bound` those that their layer has. As they
stand they differ in the layer alone, for fair comparisons. What can be had of a publication's own step is in the
class's `paper_architecture`; the rest (networks, preprocessing, optimiser, sizes) stays that of this library.
"""

from __future__ import annotations

from inverseflow.flows.image.flow import ImageFlow, preset


@preset("inverse-flow", layer="inverse", paper={})
class InverseFlow(ImageFlow):
    r"""Image flow whose k×k layers solve from image to latent, so that sampling is plain convolutions.

    At each of L scales: squeeze, then K steps of inverse convolution → spline → ActNorm → 1×1 convolution → affine
    coupling, then half of the channels leave under a learned prior (not at the last scale). The corners of the
    inverse convolutions cycle through all four from step to step. The options are those of `ImageFlow`.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 4.

    Example:
        >>> flow = InverseFlow((1, 8, 8), levels=17, scales=2, steps=2, width=16)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
        >>> flow.bits_per_dim(images).shape
        torch.Size([4])
        >>> torch.equal(flow.decode(flow.encode(images)), images)
        True
    """


@preset("glow", layer="none", paper={"spline": "none"})
class Glow(ImageFlow):
    """The image flow without k×k layers: spline → ActNorm → 1×1 convolution → affine coupling.

    With the default spline it is `InverseFlow` without the inverse convolution and nothing else changed; the step of
    the paper is that with ``spline="none"``. The other options are those of `ImageFlow`.

    Reference:
        Kingma & Dhariwal, Glow, 2018.

    Example:
        >>> flow = Glow((3, 8, 8), scales=2, steps=2, width=16)
        >>> flow.sample(2).shape
        torch.Size([2, 3, 8, 8])
    """


@preset("cinc", layer="cinc", paper={"spline": "none", "conv1x1": "none", "coupling": "quad"})
class CInCFlow(ImageFlow):
    """Image flow with the one-sided k×k convolution of a learned diagonal.

    The paper has quad-couplings and neither spline nor 1×1 convolution, and starts at one corner in all steps, where
    here the corners cycle. The options are those of `ImageFlow`.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3.

    Example:
        >>> CInCFlow((1, 8, 8), scales=1, steps=1, width=8, coupling="quad").dims
        64
    """


@preset("finc", layer="finc", paper={"spline": "none"})
class FInCFlow(ImageFlow):
    """Image flow with a k×k convolution from each corner, each for a quarter of the channels.

    The paper has no spline. The options are those of `ImageFlow`.

    Reference:
        Kallappa, Nagar and Varma, FInC Flow, VISAPP 2023.

    Example:
        >>> FInCFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("emerging", layer="emerging", paper={"spline": "none", "conv1x1": "none"})
class EmergingFlow(ImageFlow):
    """Image flow with emerging convolutions, two opposed one-sided ones; their 1×1 is the step's own.

    In the paper's step there is no spline, and the 1×1 convolution stands right before the emerging one, which is
    what ``conv1x1="none"`` gives. The options are those of `ImageFlow`.

    Reference:
        Hoogeboom, van den Berg and Welling, Emerging Convolutions, 2019, section 3.1.

    Example:
        >>> EmergingFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("periodic", layer="periodic", paper={"spline": "none", "conv1x1": "none"})
class PeriodicFlow(ImageFlow):
    """Image flow with periodic convolutions, by FFT.

    In the paper they stand in place of the 1×1 convolution, and there is no spline. The options are those of
    `ImageFlow`.

    Reference:
        Hoogeboom, van den Berg and Welling, Emerging Convolutions, 2019, section 3.2.

    Example:
        >>> PeriodicFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("exponential", layer="exponential", paper={"spline": "none"})
class ExponentialFlow(ImageFlow):
    """Image flow with convolution exponentials.

    The paper has no spline, and a coupling network of another kind. The options are those of `ImageFlow`.

    Reference:
        Hoogeboom et al., The Convolution Exponential and Generalized Sylvester Flows, 2020.

    Example:
        >>> ExponentialFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("self-normalizing", layer="self-normalizing", paper={"kernel_size": 1, "spline": "none", "conv1x1": "none"})
class SelfNormalizingFlow(ImageFlow):
    """Image flow with k×k convolutions that learn their own inverse; its likelihood is the exact one in training too.

    Training follows the gradients of `SelfNormalizingConv2d`'s objective, which are not those of the likelihood. In the
    paper's Glow the layer takes the place of the 1×1 convolution and has 1×1 kernels, and there is no spline. The
    options are those of `ImageFlow`.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 4.

    Example:
        >>> SelfNormalizingFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("woodbury", layer="woodbury", paper={"spline": "none", "conv1x1": "none"})
class WoodburyFlow(ImageFlow):
    """Image flow with Woodbury transformations: low-rank updates across channels and across pixels.

    Of rank 16, or what the axis has if it is shorter. In the paper they stand in place of the 1×1 convolution, and
    there is no spline. The options are those of `ImageFlow`, but there is no kernel.

    Reference:
        Lu & Huang, Woodbury Transformations for Deep Generative Flows, 2020.

    Example:
        >>> WoodburyFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("macow", layer="macow", paper={"spline": "none"})
class MaCowFlow(ImageFlow):
    """Image flow with two units of four masked convolutional flows in each step.

    The paper has no spline, and splits off channels within a scale too, which is left out here. The options are those
    of `ImageFlow`; the masked convolutions see ``kernel_size`` columns of two rows, and the reverse.

    Reference:
        Ma et al., MaCow, 2019, section 3.

    Example:
        >>> MaCowFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("butterfly", layer="butterfly", paper={"spline": "none"})
class ButterflyFlow(ImageFlow):
    """Image flow with one level of a butterfly in each step, so that successive steps make up a whole one.

    The paper has no spline, and the order ActNorm → 1×1 convolution → butterfly → coupling. The options are those of
    `ImageFlow`, but there is no kernel.

    Reference:
        Meng et al., ButterflyFlow, 2022.

    Example:
        >>> ButterflyFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("mintnet", layer="mintnet", paper={}, spline="none", conv1x1="none", coupling="none")
class MintNetFlow(ImageFlow):
    """Image flow of MintNet's blocks: in each step one of either order, then ActNorm, and nothing else.

    The paper has neither ActNorm nor the learned priors between the scales, at which no channels leave there. The
    options are those of `ImageFlow`; `width` counts the hidden channels of a block.

    Reference:
        Song et al., MintNet, 2019, section 3.

    Example:
        >>> MintNetFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """


@preset("arma", layer="arma")
class ARMAFlow(ImageFlow):
    """Image flow with rational convolutions: a k×k convolution, and the inverse of another from the opposite corner.

    Ours. The options are those of `ImageFlow`.

    Example:
        >>> ARMAFlow((1, 8, 8), scales=1, steps=1, width=8).dims
        64
    """
