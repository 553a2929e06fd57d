r"""Any network of fields made to see a noise level: the level's embedding as channels that are constant in space.

$$ F(x; c) = f\big(x \oplus e(c)\mathbf 1\big), $$

so that operators (`FNO`, `FFNO`, `WNO`), which know no levels, become backbones of denoisers and refiners. e is the embedding of `NoiseEmbedding`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved
from physdiff.networks.embedding import NoiseEmbedding

__all__ = ["NoiseChannels"]


class NoiseChannels(Saved, nn.Module):
    """Network (B, C, *axes) and a noise level -> (B, out, *axes).

    Args:
        network: A Saved module with an attribute `ndim`, called as ``network(x)`` with `features` channels more than the data.
        features: Channels of the embedding.

    Raises:
        InputError: If the network does not say its number of axes.
    """

    def __init__(self, network: nn.Module, features: int = 16) -> None:
        super().__init__()
        if not isinstance(getattr(network, "ndim", None), int):
            raise InputError(f"NoiseChannels: expected a network with an attribute ndim, got {type(network).__name__}; set it to the number of axes")
        self.network, self.ndim = network, int(network.ndim)  # type: ignore[arg-type]
        self.embedding = NoiseEmbedding(features)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Apply the network at a noise level (B,) or (), as `UNet.forward`."""
        told = self.embedding(noise, x.shape[0])[(...,) + (None,) * self.ndim].expand(-1, -1, *x.shape[2:])
        out: Tensor = self.network(torch.cat([x, told.to(x.dtype)], 1))
        return out


