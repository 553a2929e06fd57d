r"""Several networks as one: the mean of what they say, $f(c) = \frac 1K \sum_k f_k(c)$ (bagging; Breiman, 1996)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved

__all__ = ["AveragedNetwork"]


class AveragedNetwork(Saved, nn.Module):
    """The mean of networks of the same inputs and outputs.

    Args:
        networks: Saved modules, each with `ndim`.

    Raises:
        InputError: If there is none, or they work on different numbers of axes.
    """

    def __init__(self, networks: tuple[nn.Module, ...]) -> None:
        super().__init__()
        axes = {int(net.ndim) for net in networks}  # type: ignore[arg-type]
        if len(axes) != 1:
            raise InputError(f"AveragedNetwork: expected networks on the same number of axes, got {len(networks)} on {sorted(axes) or 'none'}")
        self.networks, self.ndim = nn.ModuleList(networks), axes.pop()

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the mean of all networks' outputs; the noise level goes to each if it is given."""
        parts = [net(x) if noise is None else net(x, noise) for net in self.networks]
        return torch.stack(parts).mean(0)
