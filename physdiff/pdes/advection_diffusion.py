r"""Advection, diffusion and first-order reaction of one scalar, in one to three dimensions.

$$\partial_t c + v\cdot\nabla c = \nabla\cdot(\kappa\nabla c) + r\,c + s$$

or, in conservation form, $\nabla\cdot(v c)$ in place of $v\cdot\nabla c$ (they differ by $c\,\nabla\cdot v$). A Fourier mode of wave vector
$k$ obeys $\hat c(t) = \hat c(0)\,e^{(-\kappa k^2 - i k\cdot v + r)t}$ where the coefficients are constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["AdvectionDiffusion"]


@dataclass(frozen=True, eq=False)
class AdvectionDiffusion(PDE):
    """A scalar `c` carried, spread and made or lost.

    Args:
        diffusivity: At least zero, length squared per time; a number, Tensor () or (B,), or a function of (x, ..., t).
        velocity: Components x, y, z, length per time: numbers, Tensors () or (B,), functions of (x, ..., t), or names of further fields in
            the data that hold the wind.
        reaction: Rate of growth r per time; negative for decay.
        source: Function of (x, ..., t), amount per time; None for none.
        conservative: Whether advection is div(v c) instead of v . grad c.

    Raises:
        InputError: If the diffusivity is negative or a parameter is not finite.
    """

    diffusivity: Coefficient
    velocity: tuple[Coefficient | str, ...]
    reaction: Parameter = 0.0
    source: Callable[..., Tensor] | None = None
    conservative: bool = False

    fields: ClassVar[tuple[str, ...]] = ("c",)

    def __post_init__(self) -> None:
        if not isinstance(self.velocity, tuple) or not 1 <= len(self.velocity) <= 3:
            raise InputError(f"AdvectionDiffusion velocity: expected a tuple of 1 to 3 components (x, y, z order), got {self.velocity!r}")
        check_parameter(self.diffusivity, "AdvectionDiffusion diffusivity", sign=-1)
        check_parameter(self.reaction, "AdvectionDiffusion reaction")
        for name, v in zip("xyz", self.velocity, strict=False):
            if not isinstance(v, str):
                check_parameter(v, f"AdvectionDiffusion velocity along {name}")

    @property
    def _steady_wind(self) -> bool:
        return all(isinstance(v, int | float | Tensor) for v in self.velocity)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """The terms with constant coefficients: diffusion, uniform advection and reaction."""
        c = u["c"]
        total = self.reaction * c
        if not _is_function(self.diffusivity):
            total = total + self.diffusivity * D.lap(c)  # type: ignore[operator]
        if self._steady_wind:
            total = total - D.advect(self.velocity, c)  # type: ignore[arg-type]
        return {"c": total}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Advection by a wind that varies, diffusion with a diffusivity that varies, and the source."""
        c = u["c"]
        total = torch.zeros_like(c)
        if not self._steady_wind:
            wind = tuple(_given(u, v) if isinstance(v, str) else torch.zeros_like(c) + value_of(v, D, t, like=c) for v in self.velocity)
            total = total - (D.div(tuple(v * c for v in wind)) if self.conservative else D.advect(wind, c))
        if _is_function(self.diffusivity):
            kappa = value_of(self.diffusivity, D, t, like=c)
            total = total + D.div(tuple(kappa * slope for slope in D.grad(c)))
        if self.source is not None:
            total = total + value_of(self.source, D, t, like=c)
        return {"c": total}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of c (`mass`) and of c squared over two (`variance`, the mean included)."""
        return {"mass": space_mean(u["c"], grid), "variance": space_mean(u["c"] ** 2 / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Reaction, source and dissipation, for a wind without divergence: mass r<c> + <s>, variance -<kappa |grad c|^2> + r<c^2> + <c s>."""
        law = self.bound(u["c"].ndim - 1, like=u["c"])
        c = u["c"]
        gain = law.reaction * c
        if law.source is not None:
            gain = gain + value_of(law.source, D, t, like=c)
        kappa = value_of(law.diffusivity, D, t, like=c)
        loss = kappa * sum((slope**2 for slope in D.grad(c)), torch.zeros_like(c))
        return {"mass": space_mean(gain, grid), "variance": space_mean(gain * c - loss, grid)}


def _given(u: Fields, name: str) -> Tensor:
    if name not in u:
        raise InputError(
            f"AdvectionDiffusion: expected the wind {name!r} among the fields, got {', '.join(u)}; "
            "solvers advance c alone: give them the wind as a function of the coordinates and t"
        )
    return u[name]


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, Tensor)
