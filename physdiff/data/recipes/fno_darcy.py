r"""Darcy flow of the Fourier neural operator (Li et al., 2021): pressure from a permeability of two values.

$$-\nabla\cdot(a\nabla p) = 1 \text{ on } [0, 1]^2,\; p = 0 \text{ at the walls}, \qquad
a = \begin{cases} a_+ & g \ge 0 \\ a_- & g < 0 \end{cases}, \qquad g \sim N\big(0, (-\Delta + 9)^{-2}\big) \text{ without slope at the walls}$$

The paper has 12 and 3, the program published with it 12 and 4; the sign of g decides, so its scale does not matter. Reported: 421 x 421
points, subsampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.rng import Rng
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.darcy import solve_darcy
from physdiff.solvers.whittle import WhittleField

__all__ = ["FNODarcy"]


@dataclass(frozen=True)
class FNODarcy(DataRecipe):
    """Permeability and pressure, one frame each.

    Differences from the original: the points are the middles of cells, with the walls half a cell outside, so that permeability and pressure
    stand on one grid; the original carries the discontinuous permeability from middles to nodes by splines, which overshoot. Fluxes through
    faces use harmonic means, which are right across jumps; `mean` = "arithmetic" gives those of the original. Random numbers differ.

    Args:
        upper: Permeability where the random field is not negative.
        lower: Permeability elsewhere; 3 in the paper, 4 in the program.
        resolution: Cells along each side.
        tau: Inverse length of the random field.
        alpha: Power of its covariance.
        mean: Of the permeability at faces, ``"harmonic"`` or ``"arithmetic"``.
    """

    upper: float = 12.0
    lower: float = 3.0
    resolution: int = 421
    tau: float = 3.0
    alpha: float = 2.0
    mean: str = "harmonic"

    names: ClassVar[tuple[str, ...]] = ("permeability", "pressure")

    def __post_init__(self) -> None:
        for name in ("upper", "lower", "tau", "alpha"):
            check_positive(getattr(self, name), f"FNODarcy {name}")
        check_at_least(self.resolution, 2, "FNODarcy resolution")
        check_one_of(self.mean, ("harmonic", "arithmetic"), "FNODarcy mean")

    @property
    def grid(self) -> CartesianGrid:
        """The unit square between walls."""
        return CartesianGrid((self.resolution, self.resolution), 1.0, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """One: the flow is steady."""
        return torch.zeros(1, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `permeability` and `pressure` (count, 1, y, x)."""
        g = WhittleField(self.tau ** (self.alpha - 1), self.tau, self.alpha).sample(
            self.grid, count, rng.child("permeability"), start=start, like=self.like
        )
        a = torch.where(g >= 0, self.upper, self.lower).to(self.like)
        p = solve_darcy(a, 1.0, self.grid, mean=self.mean)
        tick(count)
        return {"permeability": a[:, None], "pressure": p[:, None]}
