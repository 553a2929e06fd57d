r"""A network that is a sum of products of functions of one coordinate each.

$$u_m(x_1, \ldots, x_d) = \sum_{j=1}^{r} \prod_{i=1}^{d} f^{(i)}_{jm}(x_i).$$

On the points of a lattice of N per axis it costs d N passes through small networks instead of N^d through a large one, and a derivative along
one axis is that of one factor. Cho, Nam, Yang, Yun, Hong and Park, Separable physics-informed neural networks, 2023, arXiv 2306.15969.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive
from physdiff.base.errors import ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.mlp import MLP

__all__ = ["SeparableNetwork"]


class SeparableNetwork(Saved, nn.Module):
    """Sum of products of an MLP per coordinate: (..., in_features) -> (..., out_features).

    Args:
        in_features: Number of coordinates d.
        out_features: Number of values m.
        rank: Number of products r.
        width: Length of the hidden layers of each factor.
        depth: Number of hidden layers of each factor, at least 1.
        activation: One of `ACTIVATIONS`: tanh, sin, silu, gelu, softplus.
        factorised: Whether rows are factorised at random (`Dense`).

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int = 32,
        width: int = 64,
        depth: int = 3,
        activation: str = "tanh",
        factorised: bool = False,
    ) -> None:
        super().__init__()
        for value, name in ((in_features, "in_features"), (out_features, "out_features"), (rank, "rank")):
            check_positive(value, f"SeparableNetwork {name}")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        factors = (MLP(1, rank * out_features, width=width, depth=depth, activation=activation, factorised=factorised) for _ in range(in_features))
        self.factors = nn.ModuleList(factors)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., out_features) at the points `x` (..., in_features).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(f"SeparableNetwork: expected (..., {self.in_features}), got {tuple(x.shape)}; put the coordinates last")
        product: Tensor | None = None
        for i in range(self.in_features):
            factor = self.factor(i, x[..., i : i + 1])
            product = factor if product is None else product * factor
        assert product is not None
        # the sum over j as a linear layer of zeros and ones, which jets pass through
        ones = torch.eye(self.out_features, dtype=product.dtype, device=product.device).repeat(1, self.rank)
        return functional.linear(product, ones)

    def factor(self, axis: int, x: Tensor) -> Tensor:
        """Factor of one coordinate: `x` (..., 1) -> (..., rank * out_features), index j * out_features + m; for derivatives along one axis."""
        out: Tensor = self.factors[axis](x)
        return out

    def on_lattice(self, axes: Sequence[Tensor]) -> Tensor:
        """Values on the product of axes: d tensors (n_i,) -> (n_1, ..., n_d, out_features).

        Raises:
            ShapeError: If there is not one axis for each coordinate.
        """
        if len(axes) != self.in_features or any(a.ndim != 1 for a in axes):
            raise ShapeError(f"SeparableNetwork.on_lattice: expected {self.in_features} axes (n,), got shapes {[tuple(a.shape) for a in axes]}")
        return self.combine([self.factor(i, a.unsqueeze(-1)) for i, a in enumerate(axes)])

    def combine(self, factors: Sequence[Tensor]) -> Tensor:
        """Sum the products of factors or their derivatives, d tensors (n_i, rank * out_features), on the lattice: (n_1, ..., n_d, out_features)."""
        letters = string.ascii_lowercase[: self.in_features]
        parts = [f.reshape(len(f), self.rank, self.out_features) for f in factors]
        return torch.einsum(",".join(f"{letter}YZ" for letter in letters) + f"->{letters}Z", *parts)
