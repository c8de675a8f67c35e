"""Self-attention over a sequence of feature vectors."""

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn


@final
class SelfAttention(nn.Module):
    """x + Attention(LayerNorm(x)): pre-norm, residual, no position code.

    Args:
        channels: Width of the sequence's vectors.
        head_channels: Width of an attention head; one head where ``channels`` is smaller.

    Raises:
        ValueError: If the channels do not split into whole heads.
    """

    def __init__(self, channels: int, head_channels: int = 16) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        if channels % self.heads:
            raise ValueError(
                f"channels: expected a multiple of {head_channels} channels a head, got {channels}"
            )
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, C)."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)  # (B, heads, n, C / heads)
        return x + self.out(attended.transpose(1, 2).flatten(2))
