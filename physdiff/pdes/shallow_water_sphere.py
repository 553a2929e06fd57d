r"""Shallow water on the rotating sphere, in vector-invariant form.

$$\partial_t u = (\zeta + f)\,v - \nabla_x\Phi, \qquad \partial_t v = -(\zeta + f)\,u - \nabla_y\Phi, \qquad \partial_t h = -\nabla\cdot(h u),$$

x east and y north, $\zeta = \nabla\cdot(v, -u)$ the vorticity, $f = 2\Omega\sin\phi$, $\Phi = g(h + b) + \tfrac12(u^2 + v^2)$; besides a drag
$-r(u, v)$ and a viscosity $\nu(\nabla\delta + k\times\nabla\zeta)$, the vector Laplacian, with the divergence $\delta$ (it slows a rigid rotation at
the rate $2\nu/a^2$). No term has the tangent of the latitude, and the metric lives in `Sphere` alone: the law is for latitude-longitude grids, not
for scattered points (`Autograd`), where a derivative in longitude knows nothing of the radius.

Mass is kept to rounding by `Sphere`'s fluxes. Energy $\tfrac12 h|u|^2 + \tfrac g2 h^2 + g h b$ and potential enstrophy $(\zeta + f)^2/2h$ are kept by
the law, and by the grid up to its second order. References: Williamson et al., 1992; Arakawa and Lamb, 1977. Flows: pdes/exact_sphere.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.operators.sphere import Sphere
from physdiff.pdes.exact_sphere import GRAVITY, ROTATION_RATE
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean, value_of

__all__ = ["ShallowWaterSphere"]


@dataclass(frozen=True, eq=False)
class ShallowWaterSphere(PDE):
    """`velocity_x` (east), `velocity_y` (north) and `depth` of a layer of water, or of the air, on a `Sphere`.

    Explicit steps want ``Sphere(grid, polar_filter=True)``.

    Args:
        gravity: g, above zero, length per time squared.
        rotation_rate: Omega, radians per time; negative turns westward.
        topography: Height b of the ground, a function of (longitude, latitude, t) in radians, in the unit of depth; None for flat ground.
        drag: r, at least zero, per time.
        viscosity: nu, at least zero, length squared per time; its term is of first order in the mean square where a flow crosses a pole.
        tilt: Angle in radians by which the axis of rotation is tilted against the poles of the coordinates, towards longitude 180 degrees: to
            send a known flow across the poles. f = 2 Omega (sin lat cos tilt - cos lon cos lat sin tilt).

    Raises:
        InputError: If a parameter makes no sense, or a depth is not above zero.
        UnsupportedOperator: If the operators are not a `Sphere`.
    """

    gravity: Parameter = GRAVITY
    rotation_rate: Parameter = ROTATION_RATE
    topography: Callable[..., Tensor] | None = None
    drag: Parameter = 0.0
    viscosity: Parameter = 0.0
    tilt: float = 0.0

    fields: ClassVar[tuple[str, ...]] = ("velocity_x", "velocity_y", "depth")
    positive: ClassVar[tuple[str, ...]] = ("depth",)

    def __post_init__(self) -> None:
        for name, sign in (("gravity", 1), ("rotation_rate", 0), ("drag", -1), ("viscosity", -1), ("tilt", 0)):
            value = getattr(self, name)
            if callable(value) and not isinstance(value, Tensor):
                raise InputError(f"ShallowWaterSphere {name}: expected a number or a Tensor () or (B,), got a function")
            check_parameter(value, f"ShallowWaterSphere {name}", sign=sign)
        if self.topography is not None and (isinstance(self.topography, Tensor) or not callable(self.topography)):
            raise InputError(
                f"ShallowWaterSphere topography: expected a function of (longitude, latitude, t) or None for flat ground, got {self.topography!r}"
            )

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """Winds and depths (metres, seconds) of a layer as thick as the lower atmosphere."""
        return {"velocity_x": (0.0, 10.0), "velocity_y": (0.0, 10.0), "depth": (8000.0, 100.0)}

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Drag."""
        slowed = {name: -self.drag * u[name] for name in ("velocity_x", "velocity_y")}
        return {**slowed, "depth": torch.zeros_like(u["depth"])}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Rotation, slope of the surface, transport and viscosity."""
        east, north, h = self._read(u, D)
        vorticity = D.div((north, -east))
        spin = vorticity + self._coriolis(*D.coordinates_as(h))
        # the ground is filtered as the depth is: what a polar filter cut from one alone would push water at rest
        surface = h if self.topography is None else D.dealias(h + value_of(self.topography, D, t, like=h))
        slope = D.grad(self.gravity * surface + (east**2 + north**2) / 2)
        rubbed = self._viscous((east, north), D)
        return {
            "velocity_x": spin * north - slope[0] + rubbed[0],
            "velocity_y": -spin * east - slope[1] + rubbed[1],
            "depth": -D.div((h * east, h * north)),
        }

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means over the sphere of depth (`mass`), `energy` and `potential_enstrophy`; the energy is left out over ground that moves."""
        sphere = Sphere(grid)
        law = self.bound(u["depth"].ndim - 1, like=u["depth"])
        east, north, h = law._read(u, sphere)
        places = sphere.coordinates_as(h)
        spin = sphere.div((north, -east)) + law._coriolis(*places)
        out = {"mass": space_mean(h, grid), "potential_enstrophy": space_mean(spin**2 / (2 * h), grid)}
        ground = torch.zeros_like(h) if law.topography is None else law.topography(*places, float("nan")) + torch.zeros_like(h)
        if bool(ground.isfinite().all()):
            out["energy"] = space_mean(h * ((east**2 + north**2) / 2 + law.gravity * (h / 2 + ground)), grid)
        return out

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass 0; energy -<r h |u|^2> and the work of viscosity, up to the second order of the grid."""
        law = self.bound(u["depth"].ndim - 1, like=u["depth"])
        east, north, h = law._read(u, D)
        rubbed = law._viscous((east, north), D)
        work = h * (east * (rubbed[0] - law.drag * east) + north * (rubbed[1] - law.drag * north))
        every = {"mass": space_mean(torch.zeros_like(h), grid), "energy": space_mean(work, grid)}
        return {name: every[name] for name in self.invariants(u, grid) if name in every}

    def _read(self, u: Fields, D: Operators) -> tuple[Tensor, Tensor, Tensor]:
        if not isinstance(D, Sphere):
            raise UnsupportedOperator("grad", type(D).__name__, "ShallowWaterSphere needs the metric of the sphere; use Sphere on a LatLonGrid")
        h = u["depth"]
        if bool((h.detach() <= 0).any()):
            raise InputError(
                f"ShallowWaterSphere: expected a depth above zero everywhere, got {float(h.detach().min()):g}; give the depth itself, "
                "not its departure from a mean, and lower the ground where it rises out of the water (dry ground is not built)"
            )
        return u["velocity_x"], u["velocity_y"], h

    def _coriolis(self, longitude: Tensor, latitude: Tensor) -> Tensor:
        axis = torch.sin(latitude) * math.cos(self.tilt) - torch.cos(longitude) * torch.cos(latitude) * math.sin(self.tilt)
        return 2 * self.rotation_rate * axis

    def _viscous(self, v: Vector, D: Operators) -> Vector:
        """Viscosity times the vector Laplacian."""
        if not isinstance(self.viscosity, Tensor) and self.viscosity == 0:
            return torch.zeros_like(v[0]), torch.zeros_like(v[1])
        spread, turned = D.grad(D.div(v)), D.grad(D.div((v[1], -v[0])))
        return self.viscosity * (spread[0] - turned[1]), self.viscosity * (spread[1] + turned[0])
