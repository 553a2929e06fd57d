r"""Fully connected networks of coordinates: (n, d) points -> (n, k) values.

`MLP` is h <- act(W h + b), repeated, then linear. `FourierMLP` puts random waves (cos B x, sin B x), B ~
N(0, scale^2), before it, beside the coordinates themselves, which makes fine structure learnable (the plain
one learns slow waves first). Activations are smooth, so that every derivative a PDE residual asks for
exists.

References: Tancik et al. (2020), arXiv 2006.10739; Wang, Sankaran, Wang & Perdikaris (2023), arXiv
2308.08468 (practice for PINNs).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.dense import dense, tanh_layers
from physdiff.networks.embedding import FourierFeatures

__all__ = ["ACTIVATIONS", "MLP", "FourierMLP"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
}


class MLP(Saved, nn.Module):
    """Fully connected network (..., in_features) -> (..., out_features), infinitely differentiable.

    Weights start from Glorot's normal distribution, biases from zero.

    Args:
        in_features: Length of the last axis of the input.
        out_features: Length of the last axis of the output.
        width: Length of the hidden layers.
        depth: Number of hidden layers, at least 1.
        activation: One of `ACTIVATIONS`: tanh, sin, silu, gelu, softplus.
        factorised: Whether rows are factorised at random (`Dense`), which PINNs train better with.

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
        factorised: bool = False,
    ) -> None:
        super().__init__()
        for value, name in (
            (in_features, "in_features"),
            (out_features, "out_features"),
            (width, "width"),
            (depth, "depth"),
        ):
            check_positive(value, name)
        self.in_features, self.out_features = in_features, out_features
        self.activation = check_one_of(activation, ACTIVATIONS, "activation")
        sizes = (in_features, *(width,) * depth, out_features)
        self.layers = nn.ModuleList(dense(a, b, factorised=factorised) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., out_features) at the points `x` (..., in_features).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(f"MLP: expected (..., {self.in_features}), got {tuple(x.shape)}; put them last")
        if self.activation == "tanh":
            return tanh_layers(x, list(self.layers))
        act = ACTIVATIONS[self.activation]
        for layer in self.layers[:-1]:
            x = act(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class FourierMLP(Saved, nn.Module):
    """MLP of coordinates and random waves of them: (..., in_features) -> (..., out_features).

    Args:
        in_features: Number of coordinates; bring them to lengths of order one first.
        out_features: Number of values.
        width: Length of the hidden layers.
        depth: Number of hidden layers, at least 1.
        waves: Even number of random waves, half cosines and half sines.
        scale: Standard deviation of their wavenumbers, radians per unit of the coordinate; larger for finer
            structure.
        activation: One of `ACTIVATIONS`.
        factorised: Whether rows are factorised at random.

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
        waves: int = 64,
        scale: float = 2.0,
        activation: str = "tanh",
        factorised: bool = False,
    ) -> None:
        super().__init__()
        if in_features < 1:
            raise InputError(f"in_features: expected at least 1 coordinate, got {in_features}")
        self.in_features, self.out_features = in_features, out_features
        self.features = FourierFeatures(in_features, waves, scale=scale)
        self.network = MLP(in_features + waves, out_features, width=width, depth=depth, activation=activation, factorised=factorised)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., out_features) at the points `x` (..., in_features).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(f"FourierMLP: expected (..., {self.in_features}), got {tuple(x.shape)}; put them last")
        out: Tensor = self.network(torch.cat((x, self.features(x)), dim=-1))
        return out
