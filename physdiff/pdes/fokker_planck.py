r"""Fokker-Planck: how the probability density of a diffusing particle moves.

$$\partial_t p = -\nabla\cdot J - \lambda p + s, \qquad J_i = A_i\,p - \sum_j\partial_j (D_{ij}\,p)$$

is the density of $dX = A\,dt + B\,dW$, $D = \tfrac12 BB^T$, in the sense of Ito: D is the tensor of diffusion, often a diagonal one, half the
square of the noise's amplitude, and stands inside both derivatives. (A law written $\nabla\cdot(D\nabla p)$ has the drift
$A_i + \partial_i D_i$ here; Stratonovich's has $A_i + \tfrac12\partial_i D_i$.)

Without loss and source, between walls that reflect ($J\cdot n = 0$) or on a periodic box, $\int p$ is kept and p stays positive. If
$A = -\nabla V$ with one constant D, then $p_\infty \propto e^{-V/D}$, and the free energy $\int p \ln(p/p_\infty)$ falls at the rate
$-D\int p\,|\nabla\ln(p/p_\infty)|^2$. References: Fokker, 1914; Planck, 1917; Risken, The Fokker-Planck Equation, 1996.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.diffusivity import Diffusivity, check_diffusivity
from physdiff.pdes.pde import PDE, Coefficient, check_parameter, space_mean, value_of

__all__ = ["FokkerPlanck"]


@dataclass(frozen=True, eq=False)
class FokkerPlanck(PDE):
    """A probability `density`, per length, area or volume, that drifts and diffuses.

    The law is the same whatever the ends of the box; a stepper sets them (`ChangCooper`: walls that reflect or absorb, or none; `MarkovChain` for
    tensors). Exact solutions are in physdiff/pdes/exact_diffusion.py.

    Args:
        drift: A, components x, y, z, length per time: numbers, Tensors () or (B,), or functions of (x, ..., t).
        diffusion: D, at least zero, length squared per time, half the squared amplitude of the noise: one component for each of the drift, a
            single one for all, or the rows of a symmetric matrix.
        loss: Rate at least zero at which the density is lost (one over the time of escape), per time.
        source: Function of (x, ..., t), density per time; None for none.

    Raises:
        InputError: If the drift is no tuple of components, a number of diffusion or loss is negative, a matrix is not symmetric or has a negative
            eigenvalue, or a parameter is not finite. (Values of functions are looked at by the steppers.)
        ShapeError: If there is another number of diffusion coefficients than of drift components.
    """

    drift: tuple[Coefficient, ...]
    diffusion: Diffusivity
    loss: Coefficient = 0.0
    source: Callable[..., Tensor] | None = None

    fields: ClassVar[tuple[str, ...]] = ("density",)
    positive: ClassVar[tuple[str, ...]] = ("density",)

    def __post_init__(self) -> None:
        if not isinstance(self.drift, tuple) or not 1 <= len(self.drift) <= 3:
            raise InputError(f"FokkerPlanck drift: expected a tuple of 1 to 3 components (x, y, z order), got {self.drift!r}")
        if self.tensor is not None:
            check_diffusivity(self.diffusion, len(self.drift), "FokkerPlanck diffusion")
        if len(self.diffusions) != len(self.drift):
            raise ShapeError(
                f"FokkerPlanck diffusion: expected {len(self.drift)} coefficients, as many as the drift has, got {len(self.diffusions)}; "
                "give one for each direction (x, y, z order) or a single one for all"
            )
        for name, a, d in zip("xyz", self.drift, self.diffusions, strict=False):
            check_parameter(a, f"FokkerPlanck drift along {name}")
            check_parameter(d, f"FokkerPlanck diffusion along {name}", sign=-1)
        check_parameter(self.loss, "FokkerPlanck loss", sign=-1)
        if self.source is not None and not callable(self.source):
            raise InputError(f"FokkerPlanck source: expected a function of (x, ..., t) or None, got {self.source!r}")

    @property
    def diffusions(self) -> tuple[Coefficient, ...]:
        """D along x, y, z: the diagonal."""
        rows = self.tensor
        if rows is not None:
            return tuple(row[i] for i, row in enumerate(rows) if i < len(row))
        return self.diffusion if isinstance(self.diffusion, tuple) else (self.diffusion,) * len(self.drift)  # type: ignore[return-value]

    @property
    def tensor(self) -> tuple[tuple[Coefficient, ...], ...] | None:
        """The rows of D where it is given as a matrix, else None."""
        rows = self.diffusion
        return rows if isinstance(rows, tuple) and any(isinstance(row, tuple) for row in rows) else None  # type: ignore[return-value]

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """A density before it is made one of probability."""
        return {"density": (1.0, 0.5)}

    def initial(self, w: Fields, D: Operators, *, grid: Grid) -> Fields:
        """The density, scaled to an integral of one.

        Raises:
            InputError: If it is below zero somewhere.
        """
        p = w["density"]
        if bool((p < 0).any()):
            raise InputError(f"FokkerPlanck: expected a density of at least zero, got {float(p.min()):g}; draw it with positive=True")
        volume = math.prod(getattr(grid, "extent", (1.0,)))
        return {"density": p / (space_mean(p, grid) * volume).reshape(-1, *([1] * grid.ndim))}

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion along the directions whose coefficient is constant; by a matrix, if all of it is."""
        p = u["density"]
        self._check_directions(D)
        rows = self.tensor
        if rows is not None:
            varies = any(_is_function(d) for row in rows for d in row)
            return {"density": torch.zeros_like(p) if varies else self._by_tensor(p, D, 0.0)}
        if not isinstance(self.diffusion, tuple) and not _is_function(self.diffusion):
            return {"density": self.diffusion * D.lap(p)}  # type: ignore[operator]
        terms = [d * D.partial(p, i, 2) for i, d in enumerate(self.diffusions) if not _is_function(d)]  # type: ignore[operator]
        return {"density": sum(terms, torch.zeros_like(p))}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """The drift times the density."""
        p = u["density"]
        self._check_directions(D)
        return {"density": tuple(value_of(a, D, t, like=p) * p for a in self.drift)}

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Diffusion along the directions whose coefficient varies (by a matrix, if some of it does), the source, minus the loss."""
        p, total = u["density"], self._gain(u, D, t)
        self._check_directions(D)
        rows = self.tensor
        if rows is not None:
            return {"density": total + self._by_tensor(p, D, t) if any(_is_function(d) for row in rows for d in row) else total}
        if not isinstance(self.diffusion, tuple):
            return {"density": total + D.lap(value_of(self.diffusion, D, t, like=p) * p) if _is_function(self.diffusion) else total}
        spread = [D.partial(value_of(d, D, t, like=p) * p, i, 2) for i, d in enumerate(self.diffusions) if _is_function(d)]
        return {"density": sum(spread, total)}

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """Size of the drift along x, y, z."""
        p = u["density"]
        return tuple(torch.as_tensor(value_of(a, D, t, like=p)).to(p).abs().expand_as(p) for a in self.drift)

    def current(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """The whole probability current J, components x, y, z: zero at equilibrium, circling in a steady state out of it."""
        law, p = self.bound(u["density"].ndim - 1, like=u["density"]), u["density"]
        law._check_directions(D)
        if law.tensor is not None:
            spread = [[D.grad(value_of(d, D, t, like=p) * p)[j] for j, d in enumerate(row)] for row in law.tensor]
            return tuple(value_of(a, D, t, like=p) * p - sum(row[1:], row[0]) for a, row in zip(law.drift, spread, strict=True))
        pairs = zip(law.drift, law.diffusions, strict=True)
        return tuple(value_of(a, D, t, like=p) * p - D.grad(value_of(d, D, t, like=p) * p)[i] for i, (a, d) in enumerate(pairs))

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of the density (`mass`, the probability over the box's volume)."""
        return {"mass": space_mean(u["density"], grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass <s> - <loss p>, in a box that nothing leaves."""
        law = self.bound(u["density"].ndim - 1, like=u["density"])
        return {"mass": space_mean(law._gain(u, D, t), grid)}

    def _by_tensor(self, p: Tensor, D: Operators, t: float | Tensor) -> Tensor:
        """Sum over i and j of the derivatives of D_ij p along i and j."""
        total, rows = torch.zeros_like(p), self.tensor
        assert rows is not None
        for i, row in enumerate(rows):
            total = total + D.partial(value_of(row[i], D, t, like=p) * p, i, 2)
            for j in range(i):
                total = total + 2 * D.partial(D.partial(value_of(row[j], D, t, like=p) * p, i), j)
        return total

    def _gain(self, u: Fields, D: Operators, t: float | Tensor) -> Tensor:
        p = u["density"]
        lost = -value_of(self.loss, D, t, like=p) * p
        return lost if self.source is None else lost + value_of(self.source, D, t, like=p)

    def _check_directions(self, D: Operators) -> None:
        if len(self.drift) != D.ndim:
            raise ShapeError(f"FokkerPlanck drift: expected {D.ndim} components for operators in {D.ndim} directions, got {len(self.drift)}")


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, Tensor)
