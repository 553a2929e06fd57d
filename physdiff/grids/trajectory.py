r"""Where the air at a point came from: departure points of back-trajectories.

The trajectory that arrives at $x$ is straight over one step, its velocity that of its middle, found by iteration,

$$x_m = x - \tfrac12\Delta t\, v(x_m), \qquad x_d = x - \Delta t\, v(x_m),$$

of second order in the step and exact in a uniform wind. On the sphere both are points of one great circle, in Cartesian coordinates: with
$\theta = |v|\Delta t / 2a$ the middle is $x_m \propto x - \frac{\sin\theta}{\theta}\frac{\Delta t}{2a} v(x_m)$ and the departure point its
mirror image $x_d = 2 (x\cdot x_m)\,x_m - x$, so that poles need no care. Reference: Ritchie, Semi-Lagrangian advection on a Gaussian grid, 1987.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.resample import Resampling

__all__ = ["Wind", "courant_number", "departure_points", "gridded_wind"]

Vector = tuple[Tensor, ...]
Wind = Callable[..., Vector]
"""Components (east, north; or x, y, z) in length per time at points given as coordinates x, [y, [z]], each (B, *S)."""

_FARTHEST = 1.0


def departure_points(grid: Grid, wind: Wind, dt: float, *, like: Tensor, iterations: int = 2) -> Vector:
    """Coordinates of the places that the points of a grid were at one step before.

    Args:
        grid: Whose points are arrived at.
        wind: Velocity in the middle of the step, see `Wind`; `gridded_wind` makes one of fields.
        dt: Length of the step; a negative one gives where the points go to.
        like: A field (B, *S), for dtype and device.
        iterations: Of the middle of the trajectory.

    Returns:
        Coordinates x, y, z as `grid.coordinates()` counts them, each (B, *S); not brought back into the grid.

    Raises:
        InputError: If a trajectory on the sphere is longer than a radian, where the iteration is not to be trusted.
    """
    here = tuple(c.to(like)[None] for c in grid.coordinates())
    if isinstance(grid, LatLonGrid):
        return _on_sphere(grid, wind, dt, here, iterations)
    middle = here
    for _ in range(iterations + 1):
        velocity = wind(*middle)
        middle = tuple(x - dt / 2 * v for x, v in zip(here, velocity, strict=True))
    return tuple(x + 2 * (m - x) for x, m in zip(here, middle, strict=True))


def _on_sphere(grid: LatLonGrid, wind: Wind, dt: float, here: Vector, iterations: int) -> Vector:
    at = _unit_vector(*here)
    half = dt / (2 * grid.radius)
    middle, place = at, here
    for _ in range(iterations + 1):
        east, north = wind(*place)
        angle = half * torch.sqrt(east**2 + north**2 + torch.finfo(east.dtype).tiny)
        if float(angle.detach().abs().max()) > _FARTHEST / 2:
            raise InputError(
                f"back-trajectory: expected less than {_FARTHEST:g} radian per step, got {2 * float(angle.detach().abs().max()):.3g}; "
                "take shorter steps, and look at the units of the wind"
            )
        moved = half * torch.sinc(angle / torch.pi)
        velocity = _cartesian(east, north, *place)
        middle = _normal(tuple(x - moved * v for x, v in zip(at, velocity, strict=True)))
        place = _angles(middle)
    along = sum((a * m for a, m in zip(at, middle, strict=True)), torch.zeros_like(middle[0]))
    return _angles(_normal(tuple(2 * along * m - a for a, m in zip(at, middle, strict=True))))


def gridded_wind(grid: Grid, components: Vector, *, cubic: bool = False) -> Wind:
    """The wind of a grid's fields at any point, by interpolation; on the sphere of its Cartesian components.

    Args:
        grid: The grid.
        components: East and north, or x, y, z, each (B, *S).
        cubic: See `Resampling`.
    """
    if not isinstance(grid, LatLonGrid):

        def flow(*points: Tensor) -> Vector:
            there = Resampling(grid, points, cubic=cubic)
            return tuple(there(c) for c in components)

        return flow
    frame = tuple(c.to(components[0])[None] for c in grid.coordinates())
    vector = _cartesian(*components, *frame)

    def blow(longitude: Tensor, latitude: Tensor) -> Vector:
        there = Resampling(grid, (longitude, latitude), cubic=cubic)
        x, y, z = (there(c) for c in vector)
        (sin_l, cos_l), (sin_p, cos_p) = ((torch.sin(a), torch.cos(a)) for a in (longitude, latitude))
        return y * cos_l - x * sin_l, z * cos_p - sin_p * (x * cos_l + y * sin_l)

    return blow


def courant_number(grid: Grid, velocity: Vector, dt: float) -> Tensor:
    """Cells crossed per step at each point: the sum over directions of |v_i| dt over the spacing; zonal spacings shrink with cos(latitude).

    Args:
        grid: The grid; pole rows, which have no zonal spacing, count meridional motion only.
        velocity: Components, each (..., *S).
        dt: Length of the step.
    """
    if isinstance(grid, LatLonGrid):
        latitude = torch.deg2rad(grid.latitude)
        zonal = torch.cos(latitude).clamp_min(0) * float(torch.deg2rad(grid.longitude).diff().mean()) * grid.radius
        pole = zonal < 1e-9 * grid.radius
        east = torch.where(pole, 0.0, 1.0 / torch.where(pole, 1.0, zonal))[:, None]
        north = 1.0 / (float(latitude.diff().abs().mean()) * grid.radius)
        u, v = velocity
        return (u.abs() * east.to(u) + v.abs() * north) * abs(dt)
    assert isinstance(grid, CartesianGrid)  # there are two kinds of grids
    crossed = [v.abs() * (abs(dt) / h) for v, h in zip(velocity, reversed(grid.spacing), strict=True)]
    return sum(crossed, torch.zeros_like(velocity[0]))


def _unit_vector(longitude: Tensor, latitude: Tensor) -> Vector:
    return torch.cos(latitude) * torch.cos(longitude), torch.cos(latitude) * torch.sin(longitude), torch.sin(latitude)


def _cartesian(east: Tensor, north: Tensor, longitude: Tensor, latitude: Tensor) -> Vector:
    """Cartesian components of a vector in the tangent plane."""
    (sin_l, cos_l), (sin_p, cos_p) = ((torch.sin(a), torch.cos(a)) for a in (longitude, latitude))
    return -east * sin_l - north * sin_p * cos_l, east * cos_l - north * sin_p * sin_l, north * cos_p


def _normal(v: Vector) -> Vector:
    length = torch.sqrt(sum((c**2 for c in v), torch.zeros_like(v[0])))
    return tuple(c / length for c in v)


def _angles(v: Vector) -> Vector:
    """Longitude and latitude; at a pole the longitude is zero and has no derivative."""
    x, y, z = v
    least = torch.finfo(x.dtype).eps ** 2
    off_axis = x**2 + y**2 > least
    x, y = torch.where(off_axis, x, torch.full_like(x, least)), torch.where(off_axis, y, torch.zeros_like(y))
    return torch.atan2(y, x), torch.atan2(z, torch.sqrt(x**2 + y**2))
