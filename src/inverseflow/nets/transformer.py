"""Transformers as conditioners: of all patches at once, and of each token given those before it."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from inverseflow.nets.patches import from_patches, patch_grid, to_patches
from inverseflow.utils.arguments import whole_number

_POSITION = 0.02  # deviation of the positions at the start, as is common


class TransformerBlock(nn.Module):
    r"""Block of a transformer that normalizes before attention and before its network of four times the width.

    .. math:: h \leftarrow h + \mathrm{attention}(\mathrm{norm}(h)), \qquad h \leftarrow h + W_2\,\mathrm{gelu}(W_1\,
        \mathrm{norm}(h))

    Attention is written out, as the fused one of PyTorch has no second derivatives.

    Args:
        width: channels of a token.
        heads: number of heads of the attention, a divisor of the width.

    Shape:
        h: ``(B, N, width)``; the same is returned.

    Raises:
        ValueError: if the width is no multiple of the heads.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762; normalized before: Xiong et
        al., 2020, https://arxiv.org/abs/2002.04745.

    Example:
        >>> TransformerBlock(8, heads=2)(torch.randn(5, 3, 8)).shape
        torch.Size([5, 3, 8])
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.width, self.heads = _divisible("width", width, "heads", heads)
        self.first_norm, self.second_norm = nn.LayerNorm(self.width), nn.LayerNorm(self.width)
        self.attention_inputs = nn.Linear(self.width, 3 * self.width, bias=False)
        self.attention_output = nn.Linear(self.width, self.width)
        self.mlp = nn.Sequential(
            nn.Linear(self.width, 4 * self.width), nn.GELU(), nn.Linear(4 * self.width, self.width)
        )

    def forward(self, h: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Update all tokens; `hidden` is True ``(N, N)`` where the token of a row does not see that of a column."""
        return self.extend(h, None, hidden)[0]

    def extend(self, h: Tensor, past: Tensor | None, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Update tokens that follow others, and see these.

        Args:
            h: the new tokens.
            past: keys and values of the earlier ones, None if there are none.
            hidden: as for `forward`.

        Returns:
            The new tokens, and the keys and values of all.
        """
        inputs = self.attention_inputs(self.first_norm(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, seen = inputs[0], inputs[1:]  # (B, heads, N, width / heads) each
        if past is not None:
            seen = torch.cat([past, seen], 3)
        keys, values = seen.unbind()
        scores = queries @ keys.mT * queries.shape[-1] ** -0.5
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        h = h + self.attention_output((scores.softmax(-1) @ values).movedim(1, 2).flatten(2))
        return h + self.mlp(self.second_norm(h)), seen


class ViT(nn.Module):
    r"""Vision transformer of the patches of an event, with learned positions; the last layer starts at zero.

    A linear map makes a token of each patch of pⁿ places, blocks let all tokens see each other, and a linear map of
    each token is its patch of the output.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        width: channels of a token, a multiple of the heads.
        depth: number of `TransformerBlock`.
        size: spatial shape of the only events that the network takes, 1 to 3 sides, such as ``(H, W)``.
        patch_size: side p of a patch, a divisor of each side.
        heads: number of heads of each block.

    Shape:
        x: ``(B, in_channels, *size)``; y: ``(B, out_channels, *size)``.

    Raises:
        ValueError: if a number is out of its range, or an input has another size.

    Reference:
        Kolesnikov et al., Jet, 2024, section 3, https://arxiv.org/abs/2412.15129; Dosovitskiy et al., An Image is Worth
        16x16 Words, 2021, https://arxiv.org/abs/2010.11929.

    Example:
        >>> ViT(2, 4, width=8, size=(8, 4))(torch.randn(5, 2, 8, 4)).shape
        torch.Size([5, 4, 8, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        depth: int = 2,
        *,
        size: tuple[int, ...],
        patch_size: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        in_channels = whole_number("in_channels", in_channels, at_least=1)
        out_channels = whole_number("out_channels", out_channels, at_least=1)
        self.size, tokens, places = patch_grid(size, patch_size)
        self.patch_size = whole_number("patch_size", patch_size)
        width, self.blocks = whole_number("width", width), _blocks(width, depth, heads)
        self.embed = nn.Linear(in_channels * places, width)
        self.position = nn.Parameter(_POSITION * torch.randn(tokens, width))
        self.norm = nn.LayerNorm(width)
        self.last = _zero_linear(width, out_channels * places)

    def forward(self, x: Tensor) -> Tensor:
        """Return the prediction for an input."""
        if x.shape[2:] != self.size:
            raise ValueError(f"this ViT is built with size={self.size}, got input of shape {tuple(x.shape)}")
        h = self.embed(to_patches(x, self.patch_size)) + self.position
        for block in self.blocks:
            h = block(h)
        return from_patches(self.last(self.norm(h)), self.patch_size, self.size)


class CausalTransformer(nn.Module):
    r"""Transformer whose outputs for a token depend only on the tokens before it: the network of `Autoregressive`.

    A token is a block of D elements of a vector. The outputs for a token are computed from the one before it, the first
    from a learned start. One pass computes them all; `unroll` keeps keys and values, and computes each token once.

    Args:
        in_channels: length of the input vector C.
        out_channels: length of the output vector, a multiple of C: the first output for each element, then the second,
            and so on.
        width: channels of a token, a multiple of the heads.
        depth: number of `TransformerBlock`.
        block: number of elements D of a token, a divisor of C.
        heads: number of heads of each block.
        context_channels: length of the context vector, K for each of the C / D tokens; None for none.

    Shape:
        x: ``(B, C)``; context: ``(B, K C / D)``; y: ``(B, out_channels)``.

    Raises:
        ValueError: if a number is out of its range.

    Reference:
        Zhai et al., Normalizing Flows are Capable Generative Models (TarFlow), 2024, section 2.2,
        https://arxiv.org/abs/2412.06329.

    Example:
        >>> net = CausalTransformer(6, 12, width=8, block=2, heads=2)
        >>> net(torch.randn(5, 6)).shape
        torch.Size([5, 12])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        depth: int = 2,
        *,
        block: int = 1,
        heads: int = 4,
        context_channels: int | None = None,
    ) -> None:
        super().__init__()
        in_channels, self.block = _divisible("in_channels", in_channels, "block", block)
        out_channels, _ = _divisible("out_channels", out_channels, "in_channels", in_channels)
        self.tokens = in_channels // self.block
        width, self.blocks = whole_number("width", width), _blocks(width, depth, heads)
        self.embed = nn.Linear(self.block, width)
        self.start = nn.Parameter(_POSITION * torch.randn(width))
        self.position = nn.Parameter(_POSITION * torch.randn(self.tokens, width))
        self.context: nn.Linear | None = None
        if context_channels is not None:
            _divisible("context_channels", context_channels, "the number of tokens", self.tokens)
            self.context = nn.Linear(context_channels // self.tokens, width)
        self.norm = nn.LayerNorm(width)
        self.last = _zero_linear(width, out_channels // self.tokens)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Evaluate the network."""
        seen = self.embed(x.unflatten(1, (self.tokens, self.block)))[:, :-1]
        h = torch.cat([self.start.expand(x.shape[0], 1, -1), seen], 1) + self._positions(context)
        place = torch.arange(self.tokens, device=x.device)
        for block in self.blocks:
            h = block(h, place > place[:, None])
        return self._outputs(h).permute(0, 2, 1, 3).flatten(1)

    def unroll(self, step: Callable[[slice, Tensor], Tensor], rows: int, context: Tensor | None = None) -> Tensor:
        """Choose one token after another, each given the outputs for it, at the price of one evaluation.

        Args:
            step: called with the elements of a token and the outputs for them ``(D, out_channels / C, B)``, in order;
                returns the elements ``(D, B)``.
            rows: number of rows B.
            context: ``(B, K C / D)``.

        Returns:
            The elements, ``(B, C)``.
        """
        positions = self._positions(context)
        blocks = cast("list[TransformerBlock]", [*self.blocks])
        pasts: list[Tensor | None] = [None] * len(blocks)
        h, chosen = self.start.expand(rows, 1, -1), []
        for token in range(self.tokens):
            h = h + positions[..., token : token + 1, :]
            for index, block in enumerate(blocks):
                h, pasts[index] = block.extend(h, pasts[index])
            elements = slice(token * self.block, (token + 1) * self.block)
            chosen.append(step(elements, self._outputs(h)[:, 0].permute(2, 1, 0)).to(h.dtype))
            h = self.embed(chosen[-1].T[:, None])
        return torch.cat(chosen).T

    def _positions(self, context: Tensor | None) -> Tensor:
        if (self.context is None) != (context is None):
            wanted = "no context" if self.context is None else "a context"
            raise ValueError(
                f"this CausalTransformer takes {wanted}; build it with the context_channels of the context"
            )
        if self.context is None or context is None:
            return self.position
        given: Tensor = self.context(context.to(self.position.dtype).unflatten(1, (self.tokens, -1)))
        return self.position + given

    def _outputs(self, h: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.norm(h)).unflatten(-1, (-1, self.block))
        return outputs  # (B, N, P, D)


def _blocks(width: int, depth: int, heads: int) -> nn.ModuleList:
    depth = whole_number("depth", depth, at_least=1)
    return nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))


def _zero_linear(in_features: int, out_features: int) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear


def _divisible(name: str, number: int, divisor_name: str, divisor: int) -> tuple[int, int]:
    """Return two numbers as `int`, or raise ValueError if the second does not divide the first."""
    number = whole_number(name, number, at_least=1)
    divisor = whole_number(divisor_name, divisor, at_least=1)
    if number % divisor:
        raise ValueError(f"{name} must be a multiple of {divisor_name} {divisor}, got {number}")
    return number, divisor
