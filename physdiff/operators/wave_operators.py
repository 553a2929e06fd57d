r"""The operators an exponential integrator gives to a law: those of `Spectral` on fields that stay waves as long as they can.

The law's text is the same; what it costs is the transforms its products need. For the vorticity of a plane flow, with $\nabla\cdot v = 0$,

$$v\cdot\nabla\omega = (\partial_{xx} - \partial_{yy})(v_x v_y) + \partial_{xy}(v_y^2 - v_x^2)$$

needs two inverse and two forward transforms where the plain product needs four and one. On waves that do not alias both are the same sum.
Reference: Basdevant, Technical improvements for direct numerical simulation of homogeneous three-dimensional turbulence (1983).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from physdiff.operators.operators import PoissonOperators, Vector
from physdiff.operators.spectral import Spectral
from physdiff.operators.wave_block import WaveBlock
from physdiff.operators.wave_field import Transforms, WaveField, joined, plain

__all__ = ["WaveOperators"]


class WaveOperators(PoissonOperators):
    """Derivatives as Spectral gives them, of the waves that an integrator keeps.

    Args:
        spectral: The operators whose grid and rule of dealiasing are taken.

    Attributes:
        block: The waves and their transforms.
    """

    def __init__(self, spectral: Spectral) -> None:
        self.spectral = spectral
        self.block = WaveBlock(spectral.spectrum, spectral.cuts)
        self._on = Transforms(self.block)
        self._coordinates: dict[tuple[object, ...], Vector] = {}
        self._steady: dict[tuple[object, ...], tuple[object, Tensor]] = {}

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self.block.ndim

    @property
    def coordinates(self) -> Vector:
        """Coordinates x, y, z, each of the grid's shape, float64."""
        return self.spectral.coordinates

    def coordinates_as(self, like: Tensor) -> Vector:
        """The coordinates with the dtype and the device of `like`, made once."""
        key = (like.dtype, like.device)
        if key not in self._coordinates:
            self._coordinates[key] = tuple(c.to(like.device, like.dtype) for c in self.coordinates)
        return self._coordinates[key]

    def steady(self, function: Callable[..., Tensor], t: float | Tensor, like: Tensor) -> Tensor:
        """Values of a function that does not depend on time, kept with their waves."""
        key = (id(function), like.dtype, like.device)
        found = self._steady.get(key)
        if found is not None and found[0] is function:
            return found[1]
        values = super().steady(function, t, like)
        if not values.requires_grad:
            self._steady[key] = (function, values)
            if values.shape[-self.ndim :] == self.block.grid.shape:
                self._on.keep(values)
        return values

    def begin(self, waves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The fields whose waves are given, for a new evaluation of a law."""
        self._on.forget()
        made = {}
        for name, w in waves.items():
            blank = self._on.blank(tuple(w.shape[: -self.ndim]), w)
            made[name] = WaveField.make(self._on, ((1.0, self.block.root, w),), (), blank=blank)
        joined(tuple(made.values()))
        return dict(made)

    def end(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The waves of a law's result, zero where products alias; plain fields are transformed together."""
        values = [f for f in fields.values() if not isinstance(f, WaveField)]
        self._on.waves(*values)
        return {name: self._waves(f).waves() for name, f in fields.items()}

    def dt(self, f: Tensor) -> Tensor:
        """Time derivative; see Spectral."""
        return self.spectral.dt(f)

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z."""
        wave = self._waves(f)
        return joined([self._made(wave, "derivative", i, 1) for i in range(self.ndim)])

    def div(self, v: Vector) -> Tensor:
        """Sum of the derivatives of the components along their directions."""
        components = self._all(self.check_vector(v, "div"))
        total = self._made(components[0], "derivative", 0, 1)
        for i, c in enumerate(components[1:], start=1):
            total = total + self._made(c, "derivative", i, 1)
        return total

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian."""
        return self._made(self._waves(f), "laplacian")

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Derivative of any order along one direction."""
        return self._made(self._waves(f), "derivative", direction, order)

    def inv_lap(self, f: Tensor) -> Tensor:
        """The g of zero mean with lap g = f - mean(f)."""
        return self._made(self._waves(f), "inverse_laplacian")

    def project(self, v: Vector) -> Vector:
        """The part of v without divergence."""
        components = self._all(self.check_vector(v, "project"))
        rows = []
        for i in range(self.ndim):
            total = self._made(components[0], "projection", i, 0)
            for j in range(1, self.ndim):
                total = total + self._made(components[j], "projection", i, j)
            rows.append(total)
        return joined(rows)

    def advect_vorticity(self, v: Vector, vorticity: Tensor) -> Tensor:
        """Advection of a plane flow's vorticity by itself, by second derivatives of products of velocities where these are free of aliasing."""
        if not self.block.cut:
            return super().advect_vorticity(v, vorticity)
        joined([c for c in v if isinstance(c, WaveField)])
        first, second = self._on.block.forward(_flow_products(*(plain(c) for c in self.check_vector(v, "advect_vorticity")))).unbind(0)
        root = self.block.root
        terms = ((1.0, root.then("saddle"), first), (1.0, root.then("derivative", 0, 1).then("derivative", 1, 1), second))
        return WaveField.make(self._on, terms, (), blank=self._on.blank(tuple(first.shape[: -self.ndim]), first))

    def dealias(self, f: Tensor) -> Tensor:
        """Cut the waves that make products alias; f itself if the operators leave them."""
        if not self.block.cut:
            return f
        wave = self._waves(f)
        return WaveField.make(self._on, wave.terms(), (), blank=wave._blank)

    def _waves(self, f: Tensor) -> WaveField:
        if isinstance(f, WaveField):
            return f
        return self._all((f,))[0]

    def _all(self, fields: Vector) -> list[WaveField]:
        values = [f for f in fields if not isinstance(f, WaveField)]
        for f, w in zip(values, self._on.waves(*values), strict=True):
            blank = self._on.blank(tuple(w.shape[: -self.ndim]), w)
            made = WaveField.make(self._on, ((1.0, self.block.root, w),), (), blank=blank)
            fields = tuple(made if g is f else g for g in fields)
        return list(fields)  # type: ignore[arg-type]

    def _made(self, f: WaveField, name: str, i: int = 0, j: int = 0) -> WaveField:
        return WaveField.make(self._on, tuple((c, s.then(name, i, j), w) for c, s, w in f.terms()), (), blank=f._blank)


def _flow_products(x: Tensor, y: Tensor) -> Tensor:
    """The products x y and y^2 - x^2, one above the other."""
    if x.shape != y.shape:
        x, y = torch.broadcast_tensors(x, y)  # type: ignore[no-untyped-call]
    if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
        return torch.stack((x * y, y * y - x * x))
    both = torch.empty((2, *x.shape), dtype=x.dtype, device=x.device)
    torch.mul(x, y, out=both[0])
    torch.mul(y, y, out=both[1]).addcmul_(x, x, value=-1)
    return both
