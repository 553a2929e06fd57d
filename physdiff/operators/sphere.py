r"""Second-order differences with metric terms on latitude-longitude grids, global or regional.

With longitude $\lambda$, latitude $\phi$, radius $a$ and $c = \cos\phi$,

$$\nabla q = \Big(\frac{q_\lambda}{a c}, \frac{q_\phi}{a}\Big), \qquad
\nabla\cdot v = \frac{u_\lambda + (v c)_\phi}{a c}, \qquad
\nabla^2 q = \frac{q_{\lambda\lambda}}{a^2 c^2} + \frac{(c\,q_\phi)_\phi}{a^2 c}.$$

Divergence and Laplacian are differences of fluxes through the edges of a band of latitude over the band's
area $a^2 \Delta\lambda\,\Delta\sin\phi$, so that they sum to zero over a closed sphere. The end bands of a
global grid reach the pole, where the edge has no length; a pole row is one cap: it has one divergence and
one Laplacian, and the gradient of the wave-one part of the ring next to it. Vorticity is `div((v, -u))`.
Flow across a pole is of first order in the rows next to it and of second order in the area-weighted mean
square. Reference: Arakawa and Lamb, Computational design of the basic dynamical processes of the UCLA
general circulation model (1977).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.operators import Operators, Vector
from physdiff.operators.polar_filter import PolarFilter
from physdiff.operators.stencils import TimeDifference, check_field, wrap

__all__ = ["Sphere"]


class Sphere(Operators):
    """Derivatives per metre of fields (..., latitude, longitude); components are eastward and northward.

    Longitude is periodic where the grid closes; regional edges are one-sided, and their two outermost rows
    and columns are less accurate.

    Args:
        grid: A LatLonGrid with at least four latitudes and longitudes; latitudes in either order, evenly
            spaced or nearly so. On Gaussian rows the Laplacian of zonal wave two is of first order in the
            mean square, by the rows next to the poles.
        dt: Time between frames, for `dt` on fields (..., T, *S).
        polar_filter: Whether `dealias` truncates zonal waves towards the poles (`PolarFilter`), so that explicit steps may be about as long as the
            cells at the equator allow. Derivatives do not change.

    Raises:
        UnsupportedOperator: If the grid is not a LatLonGrid.
        InputError: If the grid is too small, has a pole row without closing in longitude, or shall be filtered without closing.
    """

    def __init__(self, grid: Grid, dt: float | None = None, *, polar_filter: bool = False) -> None:
        if not isinstance(grid, LatLonGrid):
            raise UnsupportedOperator("grad", "Sphere", f"it needs a LatLonGrid, got {grid.summary()}; use Spectral or FiniteDifference")
        if min(grid.shape) < 4:
            raise InputError(f"Sphere: expected at least 4 latitudes and longitudes, got {grid.shape}; take a larger region")
        self.grid = grid
        self._time = TimeDifference(dt, "Sphere")
        self._coordinates = grid.coordinates()
        self._bands = _Bands(grid)
        longitude = torch.deg2rad(grid.longitude)
        if grid.periodic[1]:
            # files in single precision are off by rounding, which a fit around the pole would see
            longitude = longitude[0] + torch.arange(grid.shape[1], dtype=torch.float64, device="cpu") * (2 * torch.pi / grid.shape[1])
        self._north = _Differences(self._bands.latitude, 1)
        self._curvature = _Differences(self._bands.latitude, 2)
        self._east = None if grid.periodic[1] else (_Differences(longitude, 1), _Differences(longitude, 2))
        self._ring = torch.stack([torch.cos(longitude), torch.sin(longitude)])
        self._filter = PolarFilter(grid) if polar_filter else None

    @property
    def ndim(self) -> int:
        """Number of directions, 2."""
        return 2

    @property
    def coordinates(self) -> Vector:
        """Longitude and latitude in radians, each of the grid's shape, float64."""
        return self._coordinates

    def dt(self, f: Tensor) -> Tensor:
        """Time derivative of (..., T, *S): fourth order from five frames on, second order below, one-sided at both ends."""
        return self._time(f, self.grid)

    def grad(self, f: Tensor) -> Vector:
        """Eastward and northward derivatives per metre."""
        check_field(f, self.grid, "Sphere.grad")
        bands, radius = self._bands, self.grid.radius
        east = self._along(f, 1) * bands.column(bands.inverse_cos / radius, f)
        north = self._north(f, -2) / radius
        for row, inward in ((0, 1), (-1, -2)):
            if bands.is_pole[row]:
                at_pole = self._pole_gradient(f[..., inward, :], row)
                east, north = (_with_row(g, row, p) for g, p in zip((east, north), at_pole, strict=True))
        return east, north

    def div(self, v: Vector) -> Tensor:
        """Divergence per metre of eastward and northward components."""
        u, w = (check_field(c, self.grid, "Sphere.div") for c in self.check_vector(v, "div"))
        bands, radius = self._bands, self.grid.radius
        flux = (w[..., 1:, :] + w[..., :-1, :]) / 2
        result = bands.difference(flux) / radius + self._along(u, 1) * bands.column(bands.side / radius, u)

        def one_sided(row: int) -> Tensor:
            slope = self._north.at(w * bands.column(bands.cos, w), row) + self._along(u[..., [row], :], 1)[..., 0, :]
            return slope * float(bands.inverse_cos[row]) / radius

        return self._with_ends(result, one_sided)

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian per square metre."""
        check_field(f, self.grid, "Sphere.lap")
        bands, square = self._bands, self.grid.radius**2
        flux = (f[..., 1:, :] - f[..., :-1, :]) * bands.column(bands.inverse_gap, f)
        result = (bands.difference(flux) + self._along(f, 2) * bands.column(bands.side * bands.inverse_cos, f)) / square

        def one_sided(row: int) -> Tensor:
            secant, tangent = float(bands.inverse_cos[row]), float(torch.tan(bands.latitude[row]))
            meridional = self._curvature.at(f, row) - tangent * self._north.at(f, row)
            return (meridional + secant**2 * self._along(f[..., [row], :], 2)[..., 0, :]) / square

        return self._with_ends(result, one_sided)

    def dealias(self, f: Tensor) -> Tensor:
        """Zonal waves cut towards the poles with `polar_filter`, else f itself."""
        return f if self._filter is None else self._filter(check_field(f, self.grid, "Sphere.dealias"))

    def _along(self, f: Tensor, derivative: int) -> Tensor:
        """Derivative in longitude, per radian."""
        if self._east is not None:
            return self._east[derivative - 1](f, -1)
        step = 2 * torch.pi / self.grid.shape[1]
        n = self.grid.shape[1]
        wide = wrap(f, f.ndim - 1, 1)
        west, east = wide.narrow(-1, 0, n), wide.narrow(-1, 2, n)
        return (east - west) / (2 * step) if derivative == 1 else (east - 2 * f + west) / step**2

    def _with_ends(self, result: Tensor, one_sided: Callable[[int], Tensor]) -> Tensor:
        """Pole rows as one cap, open edges one-sided."""
        for row in (0, -1):
            if self._bands.is_pole[row]:
                cap = result[..., row, :].mean(-1, keepdim=True).expand(result[..., row, :].shape)
                result = _with_row(result, row, cap)
            elif not self._bands.closed[row]:
                result = _with_row(result, row, one_sided(row))
        return result

    def _pole_gradient(self, ring: Tensor, row: int) -> Vector:
        """Gradient at a pole from the ring next to it, fitted by a plane, as east and north components along each meridian."""
        cos, sin = self._ring.to(ring)
        distance = self.grid.radius * self._bands.cap[row]
        g_x = 2 * (ring * cos).mean(-1, keepdim=True) / distance
        g_y = 2 * (ring * sin).mean(-1, keepdim=True) / distance
        # walking north along a meridian leads towards the north pole, and away from the south pole
        sign = -1.0 if float(self._bands.latitude[row]) > 0 else 1.0
        return g_y * cos - g_x * sin, sign * (g_x * cos + g_y * sin)


class _Bands:
    """Geometry of the bands of latitude, each between its two edges, on the unit sphere; storage order, signed along it."""

    def __init__(self, grid: LatLonGrid) -> None:
        phi = torch.deg2rad(grid.latitude)
        middle = (phi[1:] + phi[:-1]) / 2
        half_pi = torch.pi / 2
        ends = [2 * phi[0] - middle[0], 2 * phi[-1] - middle[-1]]
        steps = (float((phi[1] - phi[0]).abs()), float((phi[-1] - phi[-2]).abs()))
        distances = (half_pi - float(phi[0].abs()), half_pi - float(phi[-1].abs()))
        self.latitude, self.cap = phi, {0: steps[0], -1: steps[1]}
        self.is_pole = {row: d < 1e-7 for row, d in zip((0, -1), distances, strict=True)}
        if any(self.is_pole.values()) and not grid.periodic[1]:
            raise InputError(
                f"Sphere: expected a region without pole rows or one that closes in longitude, got {grid.summary()}; leave the row at 90 degrees out"
            )
        # a global grid without pole rows ends less than one step from the pole
        near = [grid.periodic[1] and d < s for d, s in zip(distances, steps, strict=True)]
        self.closed = dict(zip((0, -1), near, strict=True))
        edges = torch.cat([ends[0][None], middle, ends[1][None]]).clamp(-half_pi, half_pi)
        for row in (0, -1):
            if self.closed[row]:
                edges[row] = torch.sign(phi[row]) * half_pi
        d_sin = torch.sin(edges).diff()
        self.cos = torch.cos(phi)
        pole = torch.zeros_like(phi, dtype=torch.bool)
        pole[0], pole[-1] = self.is_pole[0], self.is_pole[-1]
        self.inverse_cos = torch.where(pole, 0.0, 1.0 / torch.where(pole, 1.0, self.cos))
        # a cap has no sides
        self.side = torch.where(pole, 0.0, edges.diff() / d_sin)
        self.inverse_area = 1.0 / d_sin
        self.inverse_gap = 1.0 / phi.diff()
        self.edge_cos = torch.cos(middle)

    @staticmethod
    def column(values: Tensor, like: Tensor) -> Tensor:
        """One value per row, to be multiplied with a field."""
        return values.to(like)[:, None]

    def difference(self, flux: Tensor) -> Tensor:
        """Flux densities through the inner edges (..., n - 1, m) to their difference per area; the outermost edges let nothing through."""
        through = flux * self.column(self.edge_cos, flux)
        wall = torch.zeros_like(through[..., :1, :])
        return torch.cat([wall, through, wall], dim=-2).diff(dim=-2) * self.column(self.inverse_area, flux)


class _Differences:
    """Derivative by the polynomial through the nearest points of an axis, second order anywhere on it."""

    def __init__(self, axis: Tensor, derivative: int) -> None:
        n, width = axis.numel(), derivative + 2
        first = (torch.arange(n, device="cpu") - 1).clamp(0, n - width)
        self.index = first[:, None] + torch.arange(width, device="cpu")
        scale = (axis[-1] - axis[0]) / (n - 1)
        offsets = (axis[self.index] - axis[:, None]) / scale
        powers = torch.arange(width, device="cpu")
        wanted = torch.zeros(n, width, dtype=torch.float64, device="cpu")
        wanted[:, derivative] = float(derivative)  # 1! and 2!
        solved = torch.linalg.solve(offsets[:, None, :] ** powers[:, None], wanted)
        self.weights = solved / scale**derivative

    def __call__(self, f: Tensor, axis: int) -> Tensor:
        """Derivative along axis -1 or -2."""
        weights = self.weights.to(f)
        index = self.index.to(f.device)
        shape = (-1,) if axis == -1 else (-1, 1)
        terms = [f.index_select(axis, index[:, k]) * weights[:, k].reshape(shape) for k in range(index.shape[1])]
        total: Tensor = sum(terms[1:], terms[0])
        return total

    def at(self, f: Tensor, row: int) -> Tensor:
        """Derivative along axis -2 at one row."""
        rows = f.index_select(-2, self.index[row].to(f.device))
        value: Tensor = (rows * self.weights[row].to(f)[:, None]).sum(-2)
        return value


def _with_row(f: Tensor, row: int, values: Tensor) -> Tensor:
    values = values[..., None, :]
    return torch.cat([values, f[..., 1:, :]] if row == 0 else [f[..., :-1, :], values], dim=-2)
