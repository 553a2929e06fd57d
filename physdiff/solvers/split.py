r"""A law in two parts for implicit-explicit steps: the stiff part L, which can be inverted, and the rest N.

What is needed is N(u, t), L u, and the Y of $Y = r + s L Y$. On a periodic box `Spectral` makes L diagonal: $\hat Y = \hat r / (1 - s\lambda)$.
On any other grid (walls, spheres, finite differences) the system is solved by GMRES (`implicit_stage`); L may then mix fields.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.operators import Operators
from physdiff.operators.spectral import Spectral
from physdiff.pdes.pde import PDE
from physdiff.solvers.newton import Newton, implicit_stage
from physdiff.solvers.stepper import spectral_radius

__all__ = ["SplitLaw", "split_law"]

# a linear system needs one step of Newton's method and what rounding leaves
_LINEAR = Newton(tolerance=1e-10)


class SplitLaw(ABC):
    """Abstract law in two parts, in the form in which a stepper keeps its fields."""

    pde: PDE
    operators: Operators

    @abstractmethod
    def enter(self, u: Fields) -> dict[str, Tensor]:
        """The fields (B, *S) in this form."""

    @abstractmethod
    def leave(self, state: Fields) -> dict[str, Tensor]:
        """The fields (B, *S) of this form."""

    @abstractmethod
    def explicit(self, state: Fields, t: float) -> Fields:
        """N(u, t), dealiased."""

    @abstractmethod
    def stiff(self, state: Fields, t: float) -> Fields:
        """L u."""

    @abstractmethod
    def solve(self, known: Fields, share: float, t: float) -> dict[str, Tensor]:
        """The Y with Y = known + share * L Y."""

    def limit(self, u: Fields, t: float, reach: float) -> float:
        """Reach over the largest eigenvalue of the explicit part at the fields u (B, *S)."""
        radius = spectral_radius(lambda v: self.leave(self.explicit(self.enter(v), t)), {n: u[n] for n in self.pde.fields})
        return reach / radius if radius > 0 else math.inf


def split_law(pde: PDE, operators: Operators) -> SplitLaw:
    """The law in Fourier space where the operators are Spectral, in physical space elsewhere.

    Raises:
        UnsupportedOperator: If the operators are Spectral and the stiff part breaks its rules.
    """
    return _Waves(pde, operators) if isinstance(operators, Spectral) else _Values(pde, operators)


class _Waves(SplitLaw):
    """Amplitudes (B, *half), the stiff part diagonal."""

    def __init__(self, pde: PDE, operators: Spectral) -> None:
        self.pde, self.operators = pde, operators
        self._spectral, self._law = operators, pde.bound(operators.ndim)
        place = torch.empty((), dtype=torch.float64, device=pde.device)
        self._symbols = FourierSymbol(operators.grid).symbol(self._law.stiff, pde.fields, like=place)

    def enter(self, u: Fields) -> dict[str, Tensor]:
        return {n: self._spectral.to_spectrum(u[n]) for n in self.pde.fields}

    def leave(self, state: Fields) -> dict[str, Tensor]:
        return {n: self._spectral.from_spectrum(state[n]) for n in self.pde.fields}

    def explicit(self, state: Fields, t: float) -> Fields:
        D = self._spectral
        if not D.cuts:
            return self.enter(self._law.explicit(self.leave(state), D, t))
        cut = {n: D.spectrum.resolved(state[n]) * state[n] for n in self.pde.fields}
        found = self.enter(self._law.explicit(self.leave(cut), D, t))
        return {n: D.spectrum.resolved(v) * v for n, v in found.items()}

    def stiff(self, state: Fields, t: float) -> Fields:
        return {n: self._symbols[n].to(state[n]) * state[n] for n in self.pde.fields}

    def solve(self, known: Fields, share: float, t: float) -> dict[str, Tensor]:
        return {n: v / (1 - share * self._symbols[n].to(v)) for n, v in known.items()}


class _Values(SplitLaw):
    """Fields (B, *S) as they are, the stiff part inverted by GMRES."""

    def __init__(self, pde: PDE, operators: Operators) -> None:
        self.pde, self.operators = pde, operators

    def enter(self, u: Fields) -> dict[str, Tensor]:
        return {n: u[n] for n in self.pde.fields}

    def leave(self, state: Fields) -> dict[str, Tensor]:
        return {n: state[n] for n in self.pde.fields}

    def explicit(self, state: Fields, t: float) -> Fields:
        D = self.operators
        found = self.pde.explicit({n: D.dealias(state[n]) for n in self.pde.fields}, D, t)
        return {n: D.dealias(found[n]) for n in self.pde.fields}

    def stiff(self, state: Fields, t: float) -> Fields:
        law = self.pde.bound(self.operators.ndim, like=state[self.pde.fields[0]])
        return law.stiff(state, self.operators.of(state, t))

    def solve(self, known: Fields, share: float, t: float) -> dict[str, Tensor]:
        return implicit_stage(lambda y: self.stiff(y, t), known, share, time=t, newton=_LINEAR)
