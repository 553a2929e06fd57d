r"""The fully connected layer of coordinate networks, plain or with its rows factorised.

Random weight factorisation writes $W = \mathrm{diag}(e^g)\,V$ with $g_i \sim N(\mu, 0.1^2)$ and trains g and V: each neuron has a learning
rate of its own, and the loss has more places near which it is small. At the start W itself is what it would be without. Wang, Wang, Seidman
and Perdikaris, Random weight factorization improves the training of continuous neural representations, arXiv 2210.01274, 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function_unary

__all__ = ["Dense", "assign", "dense", "tanh_layers"]

_SPREAD = 0.1


class Dense(nn.Module):
    """x -> diag(e^g) V x + b, (..., in_features) -> (..., out_features).

    Args:
        weight: The matrix at the start (out_features, in_features).
        bias: The vector at the start (out_features,).
        mean: Mean mu of g.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, mean: float = 1.0) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        g = mean + _SPREAD * torch.randn_like(weight[:, :1])
        self.log_scale = nn.Parameter(g)
        self.direction = nn.Parameter(weight.detach() * torch.exp(-g))
        self.bias = nn.Parameter(bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The matrix (out_features, in_features)."""
        return torch.exp(self.log_scale) * self.direction

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return functional.linear(x, self.weight, self.bias)


def dense(in_features: int, out_features: int, *, factorised: bool = False) -> nn.Linear | Dense:
    """A layer with Glorot's normal weights and zero biases."""
    layer = nn.Linear(in_features, out_features)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return Dense(layer.weight, layer.bias) if factorised else layer


@torch.no_grad()
def assign(layer: nn.Linear | Dense, weight: Tensor, bias: Tensor) -> None:
    """Make a layer x -> weight x + bias; the scales of a factorised one stay."""
    if isinstance(layer, Dense):
        layer.direction.copy_(weight * torch.exp(-layer.log_scale))
    else:
        layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def tanh_layers(x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    """Layers with tanh between them.

    Jets know the whole chain by the name of this function; one whose layers are watched by hooks goes step by step.
    """
    if has_torch_function_unary(x) and all(type(layer) is nn.Linear and not layer._forward_hooks for layer in layers):
        out: Tensor = handle_torch_function(tanh_layers, (x,), x, tuple(layers))
        return out
    for layer in layers[:-1]:
        x = torch.tanh(layer(x))
    out = layers[-1](x)
    return out
