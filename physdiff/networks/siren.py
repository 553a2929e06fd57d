r"""Networks of sines: x <- sin(omega (W x + b)), repeated, then linear.

With weights of the first layer uniform on $\pm 1/n$ and of all others on $\pm\sqrt{6/n}/\omega$, n their number of inputs, the arguments of
all hidden sines start as standard normal numbers and the values as those of an arcsine law of variance one half, at any depth; $\omega$
sets how fine a structure the network starts with. Sitzmann, Martel, Bergman, Lindell and Wetzstein, Implicit neural representations with
periodic activation functions, 2020, arXiv 2006.09661.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.dense import Dense

__all__ = ["SIREN"]


class SIREN(Saved, nn.Module):
    """Network of sines: (..., in_features) -> (..., out_features).

    Args:
        in_features: Number of coordinates; bring them to about -1 to 1 first.
        out_features: Number of values.
        width: Length of the hidden layers.
        depth: Number of hidden layers, at least 1.
        omega: Frequency; 30 suits pictures, 5 to 10 the solutions of laws (derivatives grow with its powers).
        factorised: Whether rows are factorised at random (`Dense`).

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int = 64,
        depth: int = 4,
        omega: float = 10.0,
        factorised: bool = False,
    ) -> None:
        super().__init__()
        for value, name in ((in_features, "in_features"), (out_features, "out_features"), (width, "width"), (depth, "depth"), (omega, "omega")):
            check_positive(value, f"SIREN {name}")
        self.in_features, self.out_features, self.omega = in_features, out_features, float(omega)
        sizes = (in_features, *(width,) * depth, out_features)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(sizes)):
            layer = nn.Linear(a, b)
            bound = 1 / a if i == 0 else math.sqrt(6 / a) / self.omega
            nn.init.uniform_(layer.weight, -bound, bound)
            layers.append(Dense(layer.weight, layer.bias) if factorised else layer)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., out_features) at the points `x` (..., in_features).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(f"SIREN: expected (..., {self.in_features}), got {tuple(x.shape)}; put the coordinates last")
        for layer in self.layers[:-1]:
            x = torch.sin(self.omega * layer(x))
        out: Tensor = self.layers[-1](x)
        return out
