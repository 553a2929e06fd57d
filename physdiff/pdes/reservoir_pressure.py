r"""Transient diffusivity: the pressure of a slightly compressible fluid in a reservoir.

$$s\,\partial_t p = \nabla\cdot(k\nabla p) + f, \qquad \text{around a well: } s\,\partial_t p = \frac1r\,\partial_r(r\,k\,\partial_r p) + f$$

with the storage $s = \phi c_t$ (porosity times compressibility) and the mobility k (permeability over viscosity); $\eta = k/s$ is the diffusivity.
The radial law is written along one direction, x = r. Without flow through the walls and without sources the mean of $s\,p$ (weighted with r
around a well) is kept. Exact solutions: physdiff/pdes/exact_wells.py. References: Theis, 1935; Matthews and Russell, 1967.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.operators.taylor import Taylor
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["ReservoirPressure"]


@dataclass(frozen=True, eq=False)
class ReservoirPressure(PDE):
    """The `pressure`, in the plane, in space or around a well.

    Args:
        mobility: k, at least zero: permeability over viscosity, a number, a Tensor () or (B,), or a function of (x, [y, [z,]] t).
        storage: s, positive: porosity times total compressibility, per pressure; a number or a Tensor () or (B,).
        source: f, volume that comes up per volume and time.
        radial: Whether the one direction is the distance from a well's axis, which the coordinates keep clear of (all above zero).

    Raises:
        InputError: If a parameter has the wrong sign or is not finite, or the storage is a function.
    """

    mobility: Coefficient
    storage: Parameter = 1.0
    source: Coefficient = 0.0
    radial: bool = False

    fields: ClassVar[tuple[str, ...]] = ("pressure",)

    def __post_init__(self) -> None:
        check_parameter(self.mobility, "ReservoirPressure mobility", sign=-1)
        if callable(self.storage) and not isinstance(self.storage, Tensor):
            raise InputError("ReservoirPressure storage: expected a number or a Tensor () or (B,), got a function; take it into mobility and source")
        check_parameter(self.storage, "ReservoirPressure storage", sign=1)
        check_parameter(self.source, "ReservoirPressure source")

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The divergence of k grad p, with the factor r inside and out around a well, plus the source, over the storage."""
        p = u["pressure"]
        k = value_of(self.mobility, D, t, like=p)
        source = value_of(self.source, D, t, like=p)
        if not self.radial:
            varies = callable(self.mobility) and not isinstance(self.mobility, Tensor)
            spread = D.div(tuple(k * g for g in D.grad(p))) if varies else k * D.lap(p)
            return {"pressure": (spread + source) / self.storage}
        if D.ndim != 1:
            raise ShapeError(f"ReservoirPressure: expected operators in one direction for the radial law, got {D.ndim}")
        (r,) = D.coordinates_as(p)
        if bool((Taylor.value(r).detach() <= 0).any()):
            raise InputError("ReservoirPressure: expected distances from the well above zero, got another; start the grid at the well's radius")
        return {"pressure": (D.div((r * k * D.grad(p)[0],)) / r + source) / self.storage}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of the fluid stored, s p (around a well weighted with r): `volume`."""
        law, p = self.bound(u["pressure"].ndim - 1, like=u["pressure"]), u["pressure"]
        weight = grid.coordinates()[0].to(p) if self.radial else 1.0
        return {"volume": space_mean(law.storage * p * weight, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Volume <f>, likewise weighted, in a reservoir that nothing leaves."""
        law, p = self.bound(u["pressure"].ndim - 1, like=u["pressure"]), u["pressure"]
        weight = D.coordinates_as(p)[0] if self.radial else 1.0
        return {"volume": space_mean(torch.zeros_like(p) + value_of(law.source, D, t, like=p) * weight, grid)}
