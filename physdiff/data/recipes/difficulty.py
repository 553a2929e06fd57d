r"""Difficulty of a problem on a grid instead of physical coefficients, as in APEBench (Koehler et al., 2024).

For $u_t = \sum_j a_j\,\partial^j u - b_0 u^2 - b_1\tfrac12(u^2)_x - b_2\tfrac12|\nabla u|^2$ ($\partial^j$ summed over the directions)
on a box of side L with N points along each of D axes, a time $\Delta t$ between frames and the largest |u| of M:

$$\alpha_j = \frac{a_j\Delta t}{L^j},\quad \beta_0 = b_0\Delta t,\quad \beta_1 = \frac{b_1\Delta t}{L},\quad \beta_2 = \frac{b_2\Delta t}{L^2}; \qquad
\gamma_0 = \alpha_0,\quad \gamma_j = \alpha_j N^j 2^{j-1} D,\quad
\delta_0 = \beta_0,\quad \delta_1 = \beta_1 M N D,\quad \delta_2 = \beta_2 M N^2 D.$$

So $|\gamma_1|/D$ is the Courant number and $\gamma_2 = 1$ the longest stable explicit step of diffusion, whatever box and time the numbers
stand for: two problems of equal difficulty are the same problem on other scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky

__all__ = [
    "Coefficients",
    "Scales",
    "burgers_of",
    "coefficients_of",
    "difficulty_of",
    "fisher_of",
    "korteweg_de_vries_of",
    "kuramoto_sivashinsky_of",
    "linear_of",
]


@dataclass(frozen=True)
class Coefficients:
    """Coefficients by order: `linear` a_0, a_1, ... (or gamma_0, ...), `nonlinear` b_0, b_1, b_2 (or delta_0, ...)."""

    linear: tuple[float, ...] = ()
    nonlinear: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.nonlinear) != 3:
            raise InputError(f"Coefficients nonlinear: expected three (square, convection, squared slope), got {self.nonlinear!r}")


@dataclass(frozen=True)
class Scales:
    """Grid and scales that difficulties refer to.

    Args:
        points: N, along each axis.
        ndim: D.
        extent: L.
        dt: Time between frames.
        largest: M, the largest |u|.

    Raises:
        InputError: If a number is not positive.
    """

    points: int
    ndim: int = 1
    extent: float = 1.0
    dt: float = 1.0
    largest: float = 1.0

    def __post_init__(self) -> None:
        for name in ("points", "ndim", "extent", "dt", "largest"):
            check_positive(getattr(self, name), f"Scales {name}")

    def linear(self, order: int) -> float:
        """Gamma_j over a_j."""
        if order == 0:
            return self.dt
        return self.dt * (self.points / self.extent) ** order * 2 ** (order - 1) * self.ndim

    def nonlinear(self, order: int) -> float:
        """Delta_j over b_j."""
        if order == 0:
            return self.dt
        return self.dt * self.largest * (self.points / self.extent) ** order * self.ndim


def difficulty_of(physical: Coefficients, scales: Scales) -> Coefficients:
    """Gamma and delta of physical coefficients a and b."""
    gamma = tuple(a * scales.linear(j) for j, a in enumerate(physical.linear))
    return Coefficients(gamma, tuple(b * scales.nonlinear(j) for j, b in enumerate(physical.nonlinear)))


def coefficients_of(difficulty: Coefficients, scales: Scales) -> Coefficients:
    """The physical coefficients a and b of gamma and delta."""
    a = tuple(g / scales.linear(j) for j, g in enumerate(difficulty.linear))
    return Coefficients(a, tuple(d / scales.nonlinear(j) for j, d in enumerate(difficulty.nonlinear)))


def linear_of(gamma: Sequence[float], scales: Scales) -> AdvectionDiffusion:
    """Reaction, advection along the diagonal and diffusion of difficulties gamma_0, gamma_1, gamma_2; the velocity is -a_1 along every axis.

    Raises:
        InputError: If there are more than three.
    """
    if len(gamma) > 3:
        raise InputError(f"linear_of: expected at most gamma_0, gamma_1, gamma_2, got {len(gamma)}; higher derivatives are other laws")
    a = coefficients_of(Coefficients(tuple(gamma) + (0.0,) * (3 - len(gamma))), scales).linear
    return AdvectionDiffusion(a[2], (-a[1],) * scales.ndim, reaction=a[0])


def burgers_of(diffusion: float, convection: float, scales: Scales) -> Burgers:
    """Burgers' law of gamma_2 and delta_1, with dt and u rescaled such that b_1 = 1.

    Raises:
        InputError: If the convection difficulty does not belong to b_1 = 1 on these scales; says which dt does.
    """
    found = coefficients_of(Coefficients((0.0, 0.0, diffusion), (0.0, convection, 0.0)), scales)
    if abs(found.nonlinear[1] - 1) > 1e-9:
        fit = scales.dt * found.nonlinear[1]
        got = f"got {found.nonlinear[1]:g} u u_x; take dt = {fit:g}"
        raise InputError(f"burgers_of: expected scales on which delta_1 = {convection:g} means u u_x, {got}")
    return Burgers(found.linear[2])


def kuramoto_sivashinsky_of(growth: float, damping: float, nonlinearity: float, *, scales: Scales) -> KuramotoSivashinsky:
    """The law of gamma_2 = -growth, gamma_4 = -damping and delta_2 (the form of the potential)."""
    found = coefficients_of(Coefficients((0.0, 0.0, -growth, 0.0, -damping), (0.0, 0.0, nonlinearity)), scales)
    return KuramotoSivashinsky(found.nonlinear[2], -found.linear[2], -found.linear[4], potential=True)


def korteweg_de_vries_of(dispersion: float, convection: float, scales: Scales) -> KortewegDeVries:
    """The law of gamma_3 = -dispersion and delta_1.

    Raises:
        InputError: If the scales are not those of a line.
    """
    if scales.ndim != 1:
        raise InputError(f"korteweg_de_vries_of: expected scales of a line (ndim = 1), got ndim = {scales.ndim}")
    found = coefficients_of(Coefficients((0.0, 0.0, 0.0, -dispersion), (0.0, convection, 0.0)), scales)
    return KortewegDeVries(found.nonlinear[1], -found.linear[3])


def fisher_of(diffusion: float, reaction: float, scales: Scales) -> FisherKPP:
    """Fisher's law of gamma_2 and of gamma_0 = delta_0 = reaction, so that it grows up to u = 1."""
    found = coefficients_of(Coefficients((reaction, 0.0, diffusion), (reaction, 0.0, 0.0)), scales)
    return FisherKPP(found.linear[2], found.linear[0])
