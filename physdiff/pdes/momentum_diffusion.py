r"""Stochastic acceleration: particles that diffuse in momentum, lose it and escape.

$$\partial_t n = \partial_p\Big[D\,\partial_p n - \Big(\frac{2D}{p} + \dot p\Big)\,n\Big] - \frac{n}{\tau} + Q, \qquad D = D_0\,p^q, \quad
\dot p = -b\,p^2$$

for $n = 4\pi p^2 f$, the number of particles per momentum (isotropic f). On the logarithm $y = \ln p$ with $\nu = p\,n$ particles per unit of y it
is a Fokker-Planck equation in Ito's form,

$$\partial_t \nu = -\partial_y(A\,\nu) + \partial_y^2(d\,\nu) - \nu/\tau + p\,Q, \qquad d = D/p^2, \quad A = (1 + q)\,d - b\,p,$$

so that equal cells of y resolve decades of p, and `ChangCooper` keeps positivity, number and equilibrium. Without escape and source the steady state
is $n \propto p^2 \exp(-(b/D_0)\,p^{3-q}/(3-q))$, largest at $(2D_0/b)^{1/(3-q)}$. For hard spheres (q = 2) without losses particles injected at one
momentum make power laws $n \propto p^{1/2 \pm \sqrt{9/4 + 1/(D_0\tau)}}$, + below and - above it. References: Fermi, 1949; Park and Petrosian, 1995;
Becker, Le and Dermer, 2006.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.saved import Saved
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.pde import Parameter, check_parameter

__all__ = ["MomentumDiffusion"]


@dataclass(frozen=True, eq=False)
class MomentumDiffusion(Saved):
    r"""The parameters of stochastic acceleration, and its law on the logarithm of momentum.

    ``law()`` is a FokkerPlanck whose `density` is $\nu = p n$, in the coordinate x = ln p; `grid` makes the grid for it.

    Args:
        diffusion: D0, positive: D = D0 p^q, momentum squared per time.
        index: q, of the turbulence: 5/3 (Kolmogorov), 3/2 (Kraichnan), 2 (hard spheres).
        loss: b, at least zero: momentum is lost at the rate b p^2.
        escape: tau, the time in which particles leave, positive; None if they do not.
        source: Q(p, t), particles per momentum and time; None for none.

    Raises:
        InputError: If a parameter has the wrong sign or is not finite.
    """

    diffusion: Parameter
    index: Parameter
    loss: Parameter = 0.0
    escape: Parameter | None = None
    source: Callable[[Tensor, float | Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        check_parameter(self.diffusion, "MomentumDiffusion diffusion", sign=1)
        check_parameter(self.index, "MomentumDiffusion index")
        check_parameter(self.loss, "MomentumDiffusion loss", sign=-1)
        if self.escape is not None:
            check_parameter(self.escape, "MomentumDiffusion escape", sign=1)

    def law(self) -> FokkerPlanck:
        """The law of nu = p n on y = ln p."""
        spread = _Spread(self.diffusion, self.index)
        source = None if self.source is None else _Source(self.source)
        return FokkerPlanck((_Drift(spread, self.loss),), spread, loss=0.0 if self.escape is None else 1.0 / self.escape, source=source)

    @staticmethod
    def grid(cells: int, lowest: float, highest: float) -> CartesianGrid:
        """Equal cells of ln p between two momenta, with walls there."""
        check_positive(lowest, "MomentumDiffusion.grid lowest")
        if not highest > lowest:
            raise InputError(f"MomentumDiffusion.grid: expected highest above lowest = {lowest:g}, got {highest:g}")
        return CartesianGrid(cells, extent=math.log(highest / lowest), origin=math.log(lowest), periodic=False, length_unit="1")

    def equilibrium(self, p: Tensor) -> Tensor:
        """N at the momenta p, up to a factor, where nothing escapes or comes in; needs a loss and q below 3."""
        d, q, b = self._confined()
        return p**2 * torch.exp(-(b / d) * p ** (3 - q) / (3 - q))

    def peak(self) -> float | Tensor:
        """Momentum at which the equilibrium n is largest, (2 D0 / b)^(1/(3 - q))."""
        d, q, b = self._confined()
        return (2 * d / b) ** (1 / (3 - q))

    def balance(self) -> float | Tensor:
        """Momentum at which mean acceleration (2 + q) D / p and loss b p^2 cancel, ((2 + q) D0 / b)^(1/(3 - q))."""
        d, q, b = self._confined()
        return ((2 + q) * d / b) ** (1 / (3 - q))

    def _confined(self) -> tuple[Parameter, Parameter, Parameter]:
        if not bool((torch.as_tensor(self.loss) > 0).all()) or not bool((torch.as_tensor(self.index) < 3).all()):
            raise InputError(f"MomentumDiffusion: expected a loss above zero and an index below 3 to hold particles, got {self.loss}, {self.index}")
        return self.diffusion, self.index, self.loss


@dataclass(frozen=True, eq=False)
class _Spread:
    """D/p^2 at y = ln p."""

    diffusion: Parameter
    index: Parameter

    def __call__(self, y: Tensor, t: float | Tensor) -> Tensor:
        return self.diffusion * torch.exp((self.index - 2) * y)


@dataclass(frozen=True, eq=False)
class _Drift:
    """(1 + q) D/p^2 - b p at y = ln p."""

    spread: _Spread
    loss: Parameter

    def __call__(self, y: Tensor, t: float | Tensor) -> Tensor:
        return (1 + self.spread.index) * self.spread(y, t) - self.loss * torch.exp(y)


@dataclass(frozen=True, eq=False)
class _Source:
    """P Q(p, t) at y = ln p."""

    source: Callable[[Tensor, float | Tensor], Tensor]

    def __call__(self, y: Tensor, t: float | Tensor) -> Tensor:
        p = torch.exp(y)
        return p * self.source(p, t)
