r"""Derivatives by Fourier series on uniform periodic boxes of one to three dimensions.

$$\widehat{\partial_a f} = i k_a \hat f, \qquad \widehat{\nabla^2 f} = -|k|^2 \hat f, \qquad
\widehat{P v} = \hat v - k\,\frac{k \cdot \hat v}{|k|^2},$$

exact to rounding for every field the grid resolves. On an axis of even length odd derivatives of the
shortest wave are zero. References: Orszag, On the elimination of aliasing in finite-difference schemes by
filtering high-wavenumber components (1971), for the two-thirds rule; Canuto et al., Spectral Methods (2006).
"""

from __future__ import annotations

import weakref
from collections import OrderedDict

import torch
from torch import Tensor

from physdiff.grids.grid import Grid
from physdiff.operators.half_spectrum import HalfSpectrum
from physdiff.operators.operators import PoissonOperators, Vector
from physdiff.operators.stencils import TimeDifference

__all__ = ["Spectral"]


class Spectral(PoissonOperators):
    """Fourier derivatives of real fields (..., *S), with transforms batched over leading axes and components.

    The amplitudes of fields without gradient are remembered while the field lives unchanged, so that
    grad(inv_lap(w)), lap(w) and grad(w) in one law share them.

    Args:
        grid: A uniform CartesianGrid, periodic along every axis.
        dt: Time between frames, for `dt` on fields (..., T, *S).
        dealias: Whether `dealias` cuts waves above two thirds of the shortest; False leaves fields as they
            are.

    Raises:
        UnsupportedOperator: If an axis is not uniform or not periodic.
    """

    def __init__(self, grid: Grid, dt: float | None = None, dealias: bool = True) -> None:
        self.grid, self.cuts = grid, dealias
        self.spectrum = HalfSpectrum(grid, "Spectral")
        self._time = TimeDifference(dt, "Spectral")
        self._coordinates = grid.coordinates()
        self._recent = _Recent()

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self.grid.ndim

    @property
    def coordinates(self) -> Vector:
        """Coordinates x, y, z, each of the grid's shape, float64, in the grid's unit of length."""
        return self._coordinates

    def to_spectrum(self, f: Tensor) -> Tensor:
        """Amplitudes (..., *half) of a field (..., *S), torch's rfftn; do not change them in place."""
        known = self._recent.find(f)
        if known is None:
            known = self.spectrum.forward(f)
            self._recent.keep(f, known)
        return known

    def from_spectrum(self, amplitudes: Tensor) -> Tensor:
        """The real field (..., *S) of amplitudes (..., *half); the part of them which no real field has is dropped."""
        f = self.spectrum.inverse(amplitudes)
        if self._recent.takes(f, amplitudes):
            self._recent.keep(f, self.spectrum.symmetric(amplitudes))
        return f

    def dt(self, f: Tensor) -> Tensor:
        """Time derivative of (..., T, *S): fourth order from five frames on, second order below, one-sided at both ends."""
        return self._time(f, self.grid)

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z of (..., *S)."""
        amplitudes = self.to_spectrum(f)
        return self._fields([self.spectrum.derivative(i, 1, f) * amplitudes for i in range(self.ndim)])

    def div(self, v: Vector) -> Tensor:
        """Divergence of components of shape (..., *S)."""
        amplitudes = self._amplitudes(self.check_vector(v, "div"))
        terms = [self.spectrum.derivative(i, 1, a) * a for i, a in enumerate(amplitudes)]
        return self._field(sum(terms[1:], terms[0]))

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian of (..., *S); div(grad(f)) but for the shortest wave, which only the Laplacian sees."""
        return self._field(self.spectrum.laplacian(f) * self.to_spectrum(f))

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Derivative of any order along one direction (0, 1, 2 for x, y, z) of (..., *S)."""
        return self._field(self.spectrum.derivative(direction, order, f) * self.to_spectrum(f))

    def inv_lap(self, f: Tensor) -> Tensor:
        """The g of zero mean with lap g = f - mean(f), of (..., *S)."""
        return self._field(self.spectrum.inverse_laplacian(f) * self.to_spectrum(f))

    def project(self, v: Vector) -> Vector:
        """The part of v without divergence; its `div` is zero to rounding, gradients vanish, a constant flow stays."""
        return self._fields(self.spectrum.project(self._amplitudes(self.check_vector(v, "project"))))

    def dealias(self, f: Tensor) -> Tensor:
        """Cut from f the waves above two thirds of the shortest one of each axis (3 |m| < n stays); f itself if built with dealias=False.

        Products of two fields cut like this alias only into waves which the next cut removes.
        """
        if not self.cuts:
            return f
        return self._field(self.spectrum.resolved(f) * self.to_spectrum(f))

    def _field(self, amplitudes: Tensor) -> Tensor:
        f = self.spectrum.inverse(amplitudes)
        self._recent.keep(f, amplitudes)
        return f

    def _fields(self, amplitudes: list[Tensor]) -> Vector:
        """One inverse transform for all components."""
        if len(amplitudes) == 1:
            return (self._field(amplitudes[0]),)
        fields = self.spectrum.inverse(torch.stack(amplitudes)).unbind(0)
        for f, a in zip(fields, amplitudes, strict=True):
            self._recent.keep(f, a)
        return fields

    def _amplitudes(self, v: Vector) -> list[Tensor]:
        """One transform for all components that are not known yet."""
        # a component may be the same for all leading indices of the others
        shape = max((c.shape for c in v), key=len)
        v = tuple(c if c.shape == shape else c.expand(shape) for c in v)
        found = [self._recent.find(c) for c in v]
        new = [c for c, a in zip(v, found, strict=True) if a is None]
        made = iter(self.spectrum.forward(torch.stack(new)).unbind(0)) if new else iter(())
        return [next(made) if a is None else a for a in found]


class _Recent:
    """Amplitudes of the last few fields, by identity; an entry dies with its field or when either changes in place."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, tuple[weakref.ref[Tensor], int, Tensor, int]] = OrderedDict()

    # copies and other processes start empty: identities mean nothing there
    def __reduce__(self) -> tuple[type[_Recent], tuple[()]]:
        return _Recent, ()

    def find(self, f: Tensor) -> Tensor | None:
        entry = self._entries.get(id(f))
        if entry is None or f.requires_grad:
            return None
        reference, version, amplitudes, amplitude_version = entry
        fresh = reference() is f and f._version == version and amplitudes._version == amplitude_version
        return amplitudes if fresh else None

    @staticmethod
    def takes(f: Tensor, amplitudes: Tensor) -> bool:
        # with gradients, a second backward pass would meet the freed graph of the first
        return not (f.requires_grad or amplitudes.requires_grad or f.is_inference() or amplitudes.is_inference())

    def keep(self, f: Tensor, amplitudes: Tensor) -> None:
        if not self.takes(f, amplitudes):
            return
        key = id(f)
        entries = self._entries
        self._entries[key] = (
            weakref.ref(f, lambda gone: _drop(entries, key, gone)),
            f._version,
            amplitudes,
            amplitudes._version,
        )
        self._entries.move_to_end(key)
        while len(self._entries) > _ENTRIES:
            self._entries.popitem(last=False)


def _drop(
    entries: OrderedDict[int, tuple[weakref.ref[Tensor], int, Tensor, int]],
    key: int,
    gone: weakref.ref[Tensor],
) -> None:
    entry = entries.get(key)
    if entry is not None and entry[0] is gone:
        del entries[key]


_ENTRIES = 8
