r"""Advection, diffusion and reaction of one scalar, in one to three dimensions.

$$\partial_t c + v\cdot\nabla c = \nabla\cdot(K\nabla c) + R(c) + s$$

or, in conservation form, $\nabla\cdot(v c)$ in place of $v\cdot\nabla c$ (they differ by $c\,\nabla\cdot v$). A Fourier mode of wave vector
$k$ obeys $\hat c(t) = \hat c(0)\,e^{(-k\cdot Kk - i k\cdot v + r)t}$ where the coefficients are constant and $R = rc$.

Numbers: Peclet $UL/K$ (of a cell $|v|h/K$: centred differences are monotone below 2), Damkohler $kL/U$, Courant $|v|\Delta t/h$. On a periodic box
$\tfrac{d}{dt}\langle c\rangle = \langle R + s\rangle$ and $\tfrac{d}{dt}\tfrac12\langle c^2\rangle = -\langle\nabla c\cdot K\nabla c\rangle +
\langle c(R + s)\rangle$ if $\nabla\cdot v = 0$; without R and s values keep within their first bounds.

Ends that belong to it: a given inflow is `Dirichlet`, at the outlet `Neumann(0)` or `Outflow`; walls that let nothing through are `Neumann(0)`.
An inlet that feeds $v c_{in}$ (Danckwerts, 1953: $v c - K\partial_x c = v c_{in}$) is `Robin(v, K, v * c_in)` at the lower end of x, since the
outward derivative is $-\partial_x$ there. Exact solutions: `exact.plane_wave`, `exact.gaussian_puff` and exact_advection.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.diffusivity import Diffusivity, check_diffusivity, constant_spread, gradient_flux, is_function, varying_spread
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["AdvectionDiffusion"]


@dataclass(frozen=True, eq=False)
class AdvectionDiffusion(PDE):
    """A scalar `c` carried, spread and made or lost.

    Args:
        diffusivity: K, at least zero, length squared per time: a number, a Tensor () or (B,) or a function of (x, ..., t); a tuple of such, one for
            each direction x, y, z; or a symmetric matrix without negative eigenvalues as a tuple of rows.
        velocity: Components x, y, z, length per time: numbers, Tensors () or (B,), functions of (x, ..., t), or names of further fields in
            the data that hold the wind.
        reaction: Rate of growth r per time, negative for decay; or a function R(c) of the scalar alone, amount per time.
        source: Function of (x, ..., t), amount per time; None for none.
        conservative: Whether advection is div(v c) instead of v . grad c. It is then the law's `flux`, a uniform wind's too, so that finite
            volumes can take it; if not, exponential integrators treat a uniform wind exactly.

    Raises:
        InputError: If the diffusivity is negative, a parameter is not finite, or the reaction is a function of something else.
        ShapeError: If the diffusivity has another number of directions than the velocity.
    """

    diffusivity: Diffusivity
    velocity: tuple[Coefficient | str, ...]
    reaction: Parameter | Callable[[Tensor], Tensor] = 0.0
    source: Callable[..., Tensor] | None = None
    conservative: bool = False

    fields: ClassVar[tuple[str, ...]] = ("c",)

    def __post_init__(self) -> None:
        if not isinstance(self.velocity, tuple) or not 1 <= len(self.velocity) <= 3:
            raise InputError(f"AdvectionDiffusion velocity: expected a tuple of 1 to 3 components (x, y, z order), got {self.velocity!r}")
        check_diffusivity(self.diffusivity, len(self.velocity), "AdvectionDiffusion diffusivity")
        check_parameter(self.reaction, "AdvectionDiffusion reaction")
        if is_function(self.reaction) and not _takes_one(self.reaction):  # type: ignore[arg-type]
            raise InputError("AdvectionDiffusion reaction: expected a rate or a function of c alone; what depends on place and time is a `source`")
        for name, v in zip("xyz", self.velocity, strict=False):
            if not isinstance(v, str):
                check_parameter(v, f"AdvectionDiffusion velocity along {name}")

    @property
    def _steady_wind(self) -> bool:
        return all(isinstance(v, int | float | Tensor) for v in self.velocity)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """The terms with constant coefficients: diffusion, uniform advection (unless conservative) and a reaction of first order."""
        c = u["c"]
        if len(self.velocity) != D.ndim:
            raise ShapeError(f"AdvectionDiffusion velocity: expected {D.ndim} components, as many as there are directions, got {len(self.velocity)}")
        total = constant_spread(self.diffusivity, c, D)
        if not is_function(self.reaction):
            total = total + self.reaction * c  # type: ignore[operator]
        if self._steady_wind and not self.conservative:
            total = total - D.advect(self.velocity, c)  # type: ignore[arg-type]
        return {"c": total}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """`production`, and the advection that is not stiff in the form chosen."""
        total = self.production(u, D, t)["c"]
        if self.conservative:
            total = total - D.div_flux(lambda v, points: self.flux(v, points, t), u)["c"]
        elif not self._steady_wind:
            total = total - D.advect(self._wind(u, D, t), u["c"])
        return {"c": total}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """The wind times c.

        Raises:
            InputError: If the law is not in conservation form.
        """
        if not self.conservative:
            raise InputError("AdvectionDiffusion: expected a law in conservation form, got advection as v . grad c; take conservative=True")
        return {"c": tuple(v * u["c"] for v in self._wind(u, D, t))}

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Diffusion with a diffusivity that varies, a reaction that is not of first order, and the source."""
        c = u["c"]
        spread = varying_spread(self.diffusivity, c, D, t=t)
        total = torch.zeros_like(c) if spread is None else spread
        if is_function(self.reaction):
            total = total + self.reaction(c)  # type: ignore[operator]
        if self.source is not None:
            total = total + value_of(self.source, D, t, like=c)
        return {"c": total}

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """The size of the wind along each direction."""
        return tuple(v.abs() for v in self._wind(u, D, t))

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of c (`mass`) and of c squared over two (`variance`, the mean included)."""
        return {"mass": space_mean(u["c"], grid), "variance": space_mean(u["c"] ** 2 / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass <R + s>, variance -<grad c . K grad c> + <c (R + s)>; a wind with divergence adds <c div v> and <c^2 div v>/2 to them.

        In conservation form it adds nothing to the mass and -<c^2 div v>/2 to the variance.
        """
        law = self.bound(u["c"].ndim - 1, like=u["c"])
        c = u["c"]
        gain = law.reaction(c) if is_function(law.reaction) else law.reaction * c  # type: ignore[operator]
        if law.source is not None:
            gain = gain + value_of(law.source, D, t, like=c)
        slopes = D.grad(c)
        loss = sum((a * b for a, b in zip(slopes, gradient_flux(law.diffusivity, slopes, D, t=t), strict=True)), torch.zeros_like(c))
        made = torch.zeros_like(c) if law._steady_wind else D.div(law._wind(u, D, t))
        mass = gain if law.conservative else gain + c * made
        work = (-1 if law.conservative else 1) * c**2 * made / 2
        return {"mass": space_mean(mass, grid), "variance": space_mean(gain * c - loss + work, grid)}

    def _wind(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """The velocity at every point, of the shape of c."""
        c = u["c"]
        return tuple(_given(u, v) if isinstance(v, str) else torch.zeros_like(c) + value_of(v, D, t, like=c) for v in self.velocity)


def _given(u: Fields, name: str) -> Tensor:
    if name not in u:
        raise InputError(
            f"AdvectionDiffusion: expected the wind {name!r} among the fields, got {', '.join(u)}; "
            "solvers advance c alone: give them the wind as a function of the coordinates and t"
        )
    return u[name]


def _takes_one(function: Callable[..., Tensor]) -> bool:
    try:
        inspect.signature(function).bind(0.0)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not tell its signature
        return True
    return True
