"""The retrieval transformer, whose keys and values are mixtures of T slots [TPKR, Eq. 8, 9].

The key of position j is A_j V W, a mixture of T rows. So V W is computed once, for T rows instead
of n, and what a query says to all n keys is T numbers per head, mixed by A. The projections of
query and output fold into those of the slots likewise, and what is left is attention among n
positions with vectors of length T. Nothing is approximated: ``SlotAttention.direct`` is the long
way.
"""

from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

Retrieve = Literal["affinity", "slots", "none"]

FFN_FACTOR = 2


@final
class GridAttention(nn.Module):
    """Self-attention among the positions of a map, without norm and residual.

    Args:
        channels: Of the sequence's vectors.
        width: Of queries, keys and values.
        heads: Attention heads.
        reduce: Keys and values are means over squares of so many positions a side.
    """

    def __init__(self, channels: int, width: int, heads: int, reduce: int = 1) -> None:
        super().__init__()
        self.heads, self.reduce = heads, reduce
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.out = nn.Linear(width, channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, h w, channels) and (h, w) -> (N, h w, channels)."""
        keys = x
        if self.reduce > 1:
            maps = x.mT.unflatten(2, size)
            keys = F.avg_pool2d(maps, self.reduce, ceil_mode=True).flatten(2).mT
        q, k, v = (
            split_heads(layer(y), self.heads)
            for layer, y in ((self.query, x), (self.key, keys), (self.value, keys))
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@final
class SlotAttention(nn.Module):
    """Attention to the affinity features f^ta = A V, or to the slots V themselves.

    Args:
        channels: Of the queries' vectors.
        dimension: d, of a slot.
        width: Of queries, keys and values.
        heads: Attention heads.
        retrieve: ``"affinity"``, a key a position; or ``"slots"``, a key a task.
    """

    def __init__(
        self, channels: int, dimension: int, width: int, heads: int, retrieve: Retrieve = "affinity"
    ) -> None:
        super().__init__()
        self.heads, self.retrieve = heads, retrieve
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(dimension, width)
        self.value = nn.Linear(dimension, width)
        self.out = nn.Linear(width, channels)

    def forward(self, x: Tensor, affinity: Tensor, slots: Tensor) -> Tensor:
        """Retrieves what the queries ask for.

        Args:
            x: (N, n, channels).
            affinity: A, (N, n, T), whose rows sum to 1; only looked at for ``"affinity"``.
            slots: V, (T, d).

        Returns:
            (N, n, channels), what ``self.direct`` says up to rounding.
        """
        k, v = (split_heads(layer(slots), self.heads) for layer in (self.key, self.value))
        scale = k.shape[-1] ** -0.5  # k, v: (H, T, e)
        ask = self.query.weight.unflatten(0, (self.heads, -1))  # (H, e, channels)
        tell = self.out.weight.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (H, channels, e)
        bias = self.query.bias.unflatten(0, (self.heads, -1, 1))
        key = (k @ ask).flatten(0, 1) * scale  # (H T, channels)
        scores = F.linear(x, key, (k @ bias).flatten() * scale)
        scores = scores.unflatten(2, (self.heads, -1)).flatten(1, 2)  # (N, n H, T), against slots
        if self.retrieve == "slots":
            shares = scores.softmax(dim=-1)
        else:  # every head is one more query of the same keys
            mixed = affinity.to(scores.dtype).unsqueeze(1)
            shares = F.scaled_dot_product_attention(scores.unsqueeze(1), mixed, mixed, scale=1.0)
        value = (v @ tell.mT).flatten(0, 1)  # (H T, channels)
        return F.linear(shares.reshape(*x.shape[:2], -1), value.T, self.out.bias)  # Eq. (9)

    def direct(self, x: Tensor, affinity: Tensor, slots: Tensor) -> Tensor:
        """The same by the book: every position's f^ta becomes a key and a value [TPKR, Eq. 9]."""
        mixed = affinity @ slots if self.retrieve == "affinity" else slots.expand(len(x), -1, -1)
        layers = (self.query, x), (self.key, mixed), (self.value, mixed)
        q, k, v = (split_heads(layer(y), self.heads) for layer, y in layers)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@final
class RetrievalBlock(nn.Module):
    """Self-attention, retrieval and a feed-forward network, each before its norm and residual.

    Args:
        channels: Of the sequence's vectors.
        dimension: d, of a slot.
        width: Of queries, keys and values.
        heads: Attention heads.
        retrieve: What is retrieved; ``"none"`` leaves the cross-attention out.
        reduce: See ``GridAttention``.
    """

    def __init__(
        self,
        channels: int,
        dimension: int,
        width: int,
        heads: int,
        retrieve: Retrieve = "affinity",
        reduce: int = 1,
    ) -> None:
        super().__init__()
        self.look = GridAttention(channels, width, heads, reduce)
        self.look_norm = nn.LayerNorm(channels)
        self.ask = self.ask_norm = None
        if retrieve != "none":
            self.ask = SlotAttention(channels, dimension, width, heads, retrieve)
            self.ask_norm = nn.LayerNorm(channels)
        self.think_norm = nn.LayerNorm(channels)
        hidden = FFN_FACTOR * width
        self.think = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )

    def forward(
        self, x: Tensor, size: tuple[int, int], affinity: Tensor | None, slots: Tensor | None
    ) -> Tensor:
        """Runs a sequence (N, h w, channels) through the block, which keeps its shape.

        Args:
            x: The sequence, row by row of a map.
            size: h and w.
            affinity, slots: As of ``SlotAttention``; None where nothing is retrieved.
        """
        x = x + self.look(self.look_norm(x), size)  # Eq. (8)
        if self.ask is not None:
            x = x + self.ask(self.ask_norm(x), affinity, slots)
        return x + self.think(self.think_norm(x))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., n, width) -> (..., heads, n, width / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)
