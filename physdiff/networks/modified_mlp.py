r"""A fully connected network with two gates, and one made of residual blocks that starts as a linear map.

Both mix every hidden layer with two encoders of the input, $U = \sigma(W_u x)$ and $V = \sigma(W_v x)$, by
$\mathrm{mix}(h) = h \odot U + (1 - h) \odot V$:

$$\text{ModifiedMLP}:\; h \leftarrow \mathrm{mix}(\sigma(W h)); \qquad
\text{PirateNet}:\; x \leftarrow \alpha\,\sigma(W_3\,\mathrm{mix}(\sigma(W_2\,\mathrm{mix}(\sigma(W_1 x))))) + (1 - \alpha)\,x.$$

The mixing numbers $\alpha$ of a PirateNet are trained from zero, so that it starts as a linear map of random waves of its input; `start_from` sets
that map by least squares to initial values or data. Depth then comes as training asks for it.

References: Wang, Teng and Perdikaris (2021), arXiv 2001.04536 (gates); Wang, Li, Chen and Perdikaris, PirateNets, arXiv 2402.00326, 2024.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_finite, check_one_of, check_positive
from physdiff.base.errors import ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.dense import assign, dense
from physdiff.networks.embedding import FourierFeatures
from physdiff.networks.mlp import ACTIVATIONS

__all__ = ["ModifiedMLP", "PirateNet"]


class ModifiedMLP(Saved, nn.Module):
    """Fully connected network with two gates: (..., in_features) -> (..., out_features).

    Args:
        in_features: Length of the last axis of the input.
        out_features: Length of the last axis of the output.
        width: Length of the hidden layers.
        depth: Number of hidden layers, at least 1.
        activation: One of `ACTIVATIONS`: tanh, sin, silu, gelu, softplus.
        waves: Even number of random waves that take the place of the input (`FourierFeatures`); 0 for none.
        scale: Standard deviation of their wavenumbers, radians per unit of the coordinate.
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
        activation: str = "tanh",
        waves: int = 0,
        scale: float = 2.0,
        factorised: bool = False,
    ) -> None:
        super().__init__()
        _check("ModifiedMLP", in_features=in_features, out_features=out_features, width=width, depth=depth)
        self.in_features, self.out_features = in_features, out_features
        self.activation = check_one_of(activation, ACTIVATIONS, "activation")
        self.features = FourierFeatures(in_features, waves, scale=scale) if waves else None
        first = waves or in_features
        self.gates = nn.ModuleList(dense(first, width, factorised=factorised) for _ in range(2))
        sizes = (first, *(width,) * depth)
        self.layers = nn.ModuleList(dense(a, b, factorised=factorised) for a, b in pairwise(sizes))
        self.head = dense(width, out_features, factorised=factorised)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., out_features) at the points `x` (..., in_features).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        _check_points("ModifiedMLP", x, self.in_features)
        act = ACTIVATIONS[self.activation]
        if self.features is not None:
            x = self.features(x)
        u, v = (act(gate(x)) for gate in self.gates)
        for layer in self.layers:
            x = _mix(act(layer(x)), u, v)
        out: Tensor = self.head(x)
        return out


class PirateNet(Saved, nn.Module):
    """Residual gated network of random waves, a linear map of them at the start: (..., in_features) -> (..., out_features).

    Args:
        in_features: Number of coordinates; bring them to lengths of order one first.
        out_features: Number of values.
        width: Even number of random waves, and length of the hidden layers.
        depth: Number of residual blocks of three layers, at least 1.
        activation: One of `ACTIVATIONS`.
        scale: Standard deviation of the wavenumbers, radians per unit of the coordinate.
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
        depth: int = 2,
        activation: str = "tanh",
        scale: float = 2.0,
        factorised: bool = False,
    ) -> None:
        super().__init__()
        _check("PirateNet", in_features=in_features, out_features=out_features, width=width, depth=depth)
        self.in_features, self.out_features = in_features, out_features
        self.activation = check_one_of(activation, ACTIVATIONS, "activation")
        self.features = FourierFeatures(in_features, width, scale=scale)
        self.gates = nn.ModuleList(dense(width, width, factorised=factorised) for _ in range(2))
        self.blocks = nn.ModuleList(
            nn.ModuleList(dense(width, width, factorised=factorised) for _ in range(3)) for _ in range(depth)
        )
        self.alphas = nn.Parameter(torch.zeros(depth))
        self.head = dense(width, out_features, factorised=factorised)

    def hidden(self, x: Tensor) -> Tensor:
        """What the last layer sees, (..., width); the random waves themselves at the start.

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        _check_points("PirateNet", x, self.in_features)
        act = ACTIVATIONS[self.activation]
        x = self.features(x)
        u, v = (act(gate(x)) for gate in self.gates)
        for block, alpha in zip(self.blocks, self.alphas.unbind(), strict=True):
            first, second, third = block.children()
            h = _mix(act(first(x)), u, v)
            h = _mix(act(second(h)), u, v)
            x = alpha * act(third(h)) + (1 - alpha) * x
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., out_features) at the points `x` (..., in_features).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        out: Tensor = self.head(self.hidden(x))
        return out

    @torch.no_grad()
    def start_from(self, points: Tensor, values: Tensor) -> float:
        """Set the last layer by least squares, so that the network passes by given values as closely as a linear map can.

        Args:
            points: Points (n, in_features), say those of an initial state, repeated over time, or of data.
            values: Values there (n, out_features).

        Returns:
            Root mean square of what is left over that of the values (0 if all of them are 0).

        Raises:
            ShapeError: If the shapes do not fit.
            InputError: If values are not finite.
        """
        if points.ndim != 2 or values.shape != (len(points), self.out_features):
            raise ShapeError(
                f"PirateNet.start_from: expected points (n, {self.in_features}) and values (n, {self.out_features}), "
                f"got {tuple(points.shape)} and {tuple(values.shape)}"
            )
        check_finite(values, "PirateNet.start_from values")
        hidden = self.hidden(points).double()
        columns, wanted = torch.cat((hidden, torch.ones_like(hidden[:, :1])), dim=1), values.double()
        # waves of few points or of a small scale are nearly dependent: the smallest solution, cut at the parameters' own rounding
        found = torch.linalg.pinv(columns, rtol=torch.finfo(points.dtype).eps * max(columns.shape)) @ wanted
        assign(self.head, found[:-1].T.to(values), found[-1].to(values))
        left, whole = (self(points) - values).norm(), values.norm()
        return float(left / whole) if whole > 0 else 0.0


def _mix(h: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return h * u + (1 - h) * v


def _check(who: str, **sizes: int) -> None:
    for name, value in sizes.items():
        check_positive(value, f"{who} {name}")


def _check_points(who: str, x: Tensor, in_features: int) -> None:
    if x.shape[-1:] != (in_features,):
        raise ShapeError(f"{who}: expected (..., {in_features}), got {tuple(x.shape)}; put the coordinates last")
