"""A map of coefficients to readings and its derivative at one place, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError

__all__ = ["BLACK_BOX", "Linearised"]

BLACK_BOX = "guidance: expected operators that torch can differentiate, got a black box; use AnnealedSMC(guidance=0) or TemperedSMC"


class Linearised:
    """A map (B, ...) -> (B, m), its auxiliary output, and its derivative at z in both directions.

    The products with the derivative come from differentiating the transposed ones, which are linear: the map itself runs once.

    Attributes:
        products: Number of products so far.
    """

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor) -> None:
        with torch.enable_grad():
            self._z = z.detach().clone().requires_grad_()
            self._out, self.aux = function(self._z)
            if not self._out.requires_grad:
                raise InputError(BLACK_BOX)
            self._probe = torch.zeros_like(self._out, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(self._out, self._z, self._probe, create_graph=True)
        self.value, self.products = self._out.detach(), 1

    def transpose(self, w: Tensor) -> Tensor:
        """The transposed derivative times w (B, m), shape of z."""
        self.products += 1
        return torch.autograd.grad(self._out, self._z, w, retain_graph=True)[0]

    def forward(self, v: Tensor) -> Tensor:
        """The derivative times v, (B, m)."""
        self.products += 1
        return torch.autograd.grad(self._pulled, self._probe, v, retain_graph=True)[0]
