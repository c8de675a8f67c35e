"""Self-attention over a sequence of feature vectors."""

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn


@final
class SelfAttention(nn.Module):
    """x + Attention(LayerNorm(x)): pre-norm, residual, no position code.

    Args:
        channels: Width of the sequence's vectors.
        head_channels: Width of an attention head, or as little above it as splits ``channels`` into
            whole heads (18 of 270, the width of an HRNet-W18); one head where ``channels`` is
            smaller.
    """

    def __init__(self, channels: int, head_channels: int = 16) -> None:
        super().__init__()
        most = max(1, channels // head_channels)
        self.heads = next(heads for heads in range(most, 0, -1) if channels % heads == 0)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, C)."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)  # (B, heads, n, C / heads)
        return x + self.out(attended.transpose(1, 2).flatten(2))
