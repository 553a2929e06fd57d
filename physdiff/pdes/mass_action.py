r"""Two substances that diffuse and eat each other up: A + m B -> product, by the law of mass action.

$$\partial_t a = D_a\Delta a - k\,a\,b^m, \qquad \partial_t b = D_b\Delta b - m k\,a\,b^m$$

Values not below zero stay so. On a periodic box, and between walls without flux, $\langle m a - b\rangle$ is kept; with $D_a = D_b$ the field
$m a - b$ only diffuses, whatever the reaction does. With m = 2, D = 0.002, k = 0.1 on [0, 1] it is the diffusion-reaction pair of the benchmark of
physics-informed networks (Lu et al., DeepXDE, 2021), whose ends hold a and b fixed (`Dirichlet`). Guldberg and Waage, 1864.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean

__all__ = ["MassAction"]


@dataclass(frozen=True, eq=False)
class MassAction(PDE):
    """Two concentrations `a` and `b`, of which one part a takes m parts b along.

    Args:
        diffusivity: Of a and of b, at least zero, length squared per time; numbers or Tensors () or (B,).
        rate: k, at least zero, per time and m-th power of the concentration; a number or a Tensor () or (B,).
        parts: m, a whole number from 1 on.

    Raises:
        InputError: If a parameter has the wrong sign or is not finite, or there are not two diffusivities.
    """

    diffusivity: tuple[Parameter, Parameter] = (2e-3, 2e-3)
    rate: Parameter = 0.1
    parts: int = 2

    fields: ClassVar[tuple[str, ...]] = ("a", "b")
    positive: ClassVar[tuple[str, ...]] = ("a", "b")

    def __post_init__(self) -> None:
        if not isinstance(self.diffusivity, tuple) or len(self.diffusivity) != 2:
            raise InputError(f"MassAction diffusivity: expected a tuple of two, of a and of b, got {self.diffusivity!r}")
        for name, value in zip("ab", self.diffusivity, strict=True):
            check_parameter(value, f"MassAction diffusivity of {name}", sign=-1)
        check_parameter(self.rate, "MassAction rate", sign=-1)
        if isinstance(self.parts, bool) or not isinstance(self.parts, int) or self.parts < 1:
            raise InputError(f"MassAction parts: expected a whole number from 1 on, got {self.parts!r}")

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """Both at hand."""
        return {"a": (1.0, 0.3), "b": (1.0, 0.3)}

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion."""
        of_a, of_b = self.diffusivity
        return {"a": of_a * D.lap(u["a"]), "b": of_b * D.lap(u["b"])}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """What is used up."""
        used = self.rate * u["a"] * u["b"] ** self.parts
        return {"a": -used, "b": -self.parts * used}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of m a - b (`excess`), of a (`first`) and of b (`second`)."""
        first, second = space_mean(u["a"], grid), space_mean(u["b"], grid)
        return {"excess": self.parts * first - second, "first": first, "second": second}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Excess zero, first -k <a b^m>, second m times that."""
        law = self.bound(u["a"].ndim - 1, like=u["a"])
        used = space_mean(law.rate * u["a"] * u["b"] ** self.parts, grid)
        return {"excess": torch.zeros_like(used), "first": -used, "second": -self.parts * used}
