"""Self-attention between all cells of a field.

softmax(q k^T / sqrt(d)) v over the cells as tokens, with memory linear in their number
(scaled_dot_product_attention). No positions are added: a position on a circle would break the translation
symmetry that circular convolutions keep, and the convolutions before it already tell a token its
neighbourhood and its walls.

Reference: Vaswani et al. (2017), arXiv 1706.03762; Dhariwal & Nichol (2021), arXiv 2105.05233, for its
place in a U-Net.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from physdiff.networks.layers import group_norm

__all__ = ["SelfAttention"]


class SelfAttention(nn.Module):
    """x + W attention(norm(x)), with W = 0 at the start: (B, C, *axes) -> (B, C, *axes).

    The fused kernel for CPUs has a first derivative only; wrap the call in
    ``torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)`` for second ones and for
    forward-mode derivatives.

    Args:
        channels: Number of channels C.
        head: Channels per head aimed at; the number of heads is the largest divisor of C that leaves at
            least so many.
    """

    def __init__(self, channels: int, *, head: int = 32) -> None:
        super().__init__()
        self.heads = max(h for h in range(1, max(channels // head, 1) + 1) if channels % h == 0)
        self.norm = group_norm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.merge = nn.Linear(channels, channels)
        nn.init.zeros_(self.merge.weight)
        nn.init.zeros_(self.merge.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the field of the same shape in which every cell has looked at all others of its sample."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in self.project(tokens).chunk(3, dim=2))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        update: Tensor = self.merge(mixed).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + update
