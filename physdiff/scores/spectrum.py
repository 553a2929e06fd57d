r"""Power spectra on uniform axes and distances between them.

With $\hat u$ the discrete Fourier transform over N points divided by N,

$$E(k) = \tfrac12 \sum_{k-\frac12 \le |\kappa|/\Delta\kappa < k+\frac12} |\hat u(\kappa)|^2,
\qquad \sum_k E(k) = \tfrac12\langle u^2\rangle,$$

so that the shells add up to the energy (Parseval, periodic axes); no correction for the number of modes in a
shell is made. The shell width $\Delta\kappa$ is the largest fundamental wavenumber of the axes, thus no shell
is empty for want of modes along the short side. An axis that is not periodic is tapered with a Hann window of
mean square one, after the mean is taken out; Parseval then holds on average. A field with a missing value has
no spectrum: NaN. On a latitude-longitude grid use the zonal spectrum (circles of latitude). Reference: Pope,
"Turbulent Flows" (2000), section 6.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from physdiff.base.checks import per_axis
from physdiff.base.errors import InputError
from physdiff.scores.reduce import Averaged, check_case, field_weights, weighted_mean

__all__ = [
    "band_power_ratio",
    "fine_scale_power",
    "isotropic_spectrum",
    "log_spectral_distance",
    "spectral_coherence",
    "zonal_spectrum",
]

Spacing = float | Sequence[float]
Periodic = bool | Sequence[bool]


def isotropic_spectrum(
    field: Tensor, *, space: int, spacing: Spacing = 1.0, periodic: Periodic = True
) -> tuple[Tensor, Tensor]:
    """Energy per shell of wavenumber.

    Args:
        field: (..., *S) on uniform axes.
        space: Number of dims of S.
        spacing: Distance between points, one or one per axis (storage order); wavenumbers are in radians per
            its unit.
        periodic: Whether the axes close, one or one per axis.

    Returns:
        Wavenumbers (K,) at the shells' centres, from 0; energies (..., K), in squared units. Corner modes are
        included.

    Raises:
        InputError: If spacing or periodic do not fit the axes.
    """
    sizes = _sizes(field, space)
    steps = per_axis(spacing, space, "spacing")
    energy = _mode_energy(field, per_axis(periodic, space, "periodic"))
    squared = torch.zeros((), dtype=torch.float64, device=field.device)
    for axis, (n, h) in enumerate(zip(sizes, steps, strict=True)):
        frequencies = torch.fft.rfftfreq if axis == space - 1 else torch.fft.fftfreq
        along = 2 * math.pi * frequencies(n, h, dtype=torch.float64, device=field.device)
        squared = squared[..., None] + along.square()
    width = max(2 * math.pi / (n * h) for n, h in zip(sizes, steps, strict=True))
    # the small term keeps a mode on a shell's lower edge there in spite of rounding
    shell = (squared.sqrt() / width + 0.5 + 1e-9).floor().long().flatten()
    count = int(shell.max()) + 1
    flat = energy.flatten(-space)
    totals = flat.new_zeros((*flat.shape[:-1], count)).index_add(-1, shell, flat)
    return _centres(count, width, field), totals


def zonal_spectrum(
    field: Tensor,
    weights: Tensor | None = None,
    *,
    space: int | None = None,
    spacing: float = 1.0,
    periodic: bool = True,
) -> tuple[Tensor, Tensor]:
    """Energy per wavenumber along the last axis, averaged over the other axes of the field.

    Args:
        field: (..., *S) with a uniform last axis.
        weights: (*S), cell areas; rows count with their area. None means equal weights.
        space: Number of dims of S where weights are None (default: all).
        spacing: Step of the last axis; in radians of longitude it gives the zonal wavenumbers 0, 1, 2, ... on
            the whole globe.
        periodic: Whether the last axis closes.

    Returns:
        Wavenumbers (n // 2 + 1,); energies (..., n // 2 + 1). Rows with a missing value are left out.

    Raises:
        InputError: If space does not fit.
    """
    weights = field_weights(field, weights, space)
    _sizes(field, weights.ndim)
    energy = _mode_energy(field, (periodic,))
    mean = weighted_mean(energy.movedim(-1, 0), weights.sum(-1)).movedim(0, -1)
    return _centres(mean.shape[-1], 2 * math.pi / (field.shape[-1] * spacing), field), mean


def log_spectral_distance(
    members: Tensor,
    truth: Tensor,
    weights: Tensor | None = None,
    *,
    space: int | None = None,
    spacing: Spacing = 1.0,
    periodic: Periodic = True,
    zonal: bool = False,
) -> Tensor:
    r"""Root mean square over shells k >= 1 of $10\log_{10}(E_x/E_y)$, in decibels, a score of whole fields.

    E_x is the mean of the members' spectra (never the spectrum of their mean, which is too smooth). Shells
    below the rounding level of the truth, an amplitude of 10 eps of the field with its mean, count as that
    level, so that empty shells of both agree. 3 dB are a factor of two in energy.

    Args:
        members: (m, *batch, *S) on uniform axes.
        truth: (*batch, *S).
        weights: (*S); they tell which dims are space, and weight the rows if zonal. None means equal weights.
        space: Number of dims of S where weights are None (default: all).
        spacing: As in `isotropic_spectrum`; one number if zonal.
        periodic: As in `isotropic_spectrum`; of the last axis if zonal.
        zonal: Whether to take the spectrum along the last axis instead of the isotropic one.

    Returns:
        (*batch).

    Raises:
        ShapeError: If shapes do not fit.
        InputError: If spacing or periodic do not fit the axes.
    """
    members, truth = check_case(members, truth, weights, what="log_spectral_distance")
    weights = field_weights(truth, weights, space)
    _, forecast = _spectrum(members, weights, spacing, periodic, zonal)
    _, observed = _spectrum(truth, weights, spacing, periodic, zonal)
    # rounding was measured at up to 10 eps^2 of the total energy in a shell: this leaves a factor of ten
    floor = (10 * torch.finfo(truth.dtype).eps) ** 2 * observed.sum(-1, keepdim=True)
    ratio = torch.maximum(forecast.mean(0), floor) / torch.maximum(observed, floor)
    return (10 * ratio[..., 1:].log10()).square().mean(-1).sqrt()


def band_power_ratio(
    low: float, high: float, *, spacing: Spacing = 1.0, periodic: Periodic = True, zonal: bool = False
) -> Averaged:
    """A score: energy of the members over that of the truth between two wavenumbers.

    One is right, below one is too smooth.

    Args:
        low: Lower end of the band as a fraction of the (coarsest axis') Nyquist wavenumber.
        high: Upper end, inclusive; 1 is the Nyquist wavenumber.
        spacing: As in `isotropic_spectrum`; one number if zonal.
        periodic: As in `isotropic_spectrum`; of the last axis if zonal.
        zonal: Whether to take the spectrum along the last axis.

    Returns:
        An `Averaged`: energies are averaged over cases before the ratio. Its fields are all of truth's dims
        where weights are None.

    Raises:
        InputError: If not 0 <= low < high.
    """
    if not 0 <= low < high:
        raise InputError(f"band_power_ratio: expected 0 <= low < high, got {low!r} and {high!r}")
    members, truth = (_BandPower(low, high, spacing, periodic, zonal, of) for of in ("members", "truth"))
    return Averaged((members, truth), torch.div)


def spectral_coherence(*, spacing: Spacing = 1.0, periodic: Periodic = True, zonal: bool = False) -> Averaged:
    r"""A score: correlation of members and truth by wavenumber, one value for each shell, in [-1, 1].

    $\sum_\kappa \mathrm{Re}(\hat x \hat y^*) / \sqrt{\sum_\kappa |\hat x|^2 \sum_\kappa |\hat y|^2}$ over the modes of a shell, members and
    cases: one where phases are right, zero where they are chance, whatever the amplitudes. Shells without energy are NaN.

    Args:
        spacing: As in `isotropic_spectrum`; one number if zonal.
        periodic: As in `isotropic_spectrum`; of the last axis if zonal.
        zonal: Whether to take wavenumbers along the last axis instead of isotropic ones.

    Returns:
        An `Averaged`: cross and own spectra are averaged over cases before the ratio. Its fields are all of truth's dims
        where weights are None.
    """
    cross, members, truth = (_Energy(of, spacing, periodic, zonal) for of in ("cross", "members", "truth"))
    return Averaged((cross, members, truth), _in_phase)


def _in_phase(cross: Tensor, members: Tensor, truth: Tensor) -> Tensor:
    return cross / (members * truth).sqrt()


@dataclass(frozen=True)
class _Energy:
    """A score: spectrum of the truth, or mean spectrum of the members, or their mean cross spectrum with the truth."""

    of: str
    spacing: Spacing
    periodic: Periodic
    zonal: bool

    def __call__(self, members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        members, truth = check_case(members, truth, weights, what="spectral_coherence")
        weights = field_weights(truth, weights)

        def energy(field: Tensor) -> Tensor:
            return _spectrum(field, weights, self.spacing, self.periodic, self.zonal)[1]

        if self.of == "truth":
            return energy(truth)
        if self.of == "members":
            return energy(members).mean(0)
        # Re(x y*) = (|x + y|^2 - |x - y|^2) / 4; the real part is all that is left of a shell with its conjugates
        return (energy(members + truth) - energy(members - truth)).mean(0) / 4


@dataclass(frozen=True)
class _BandPower:
    """A score: mean energy of the members, or energy of the truth, within a band."""

    low: float
    high: float
    spacing: Spacing
    periodic: Periodic
    zonal: bool
    of: Literal["members", "truth"]

    def __call__(self, members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        members, truth = check_case(members, truth, weights, what="band_power_ratio")
        weights = field_weights(truth, weights)
        fields = members if self.of == "members" else truth[None]
        wavenumber, energy = _spectrum(fields, weights, self.spacing, self.periodic, self.zonal)
        return _in_band(wavenumber, energy, self.low, self.high, self.spacing).mean(0)


def _in_band(wavenumber: Tensor, energy: Tensor, low: float, high: float, spacing: Spacing) -> Tensor:
    coarsest = max(spacing) if isinstance(spacing, Sequence) else spacing
    share = wavenumber * (coarsest / math.pi)
    inside = (share >= low - 1e-6) & (share <= high + 1e-6)
    return energy[..., inside].sum(-1)


def _spectrum(
    field: Tensor, weights: Tensor, spacing: Spacing, periodic: Periodic, zonal: bool
) -> tuple[Tensor, Tensor]:
    if not zonal:
        return isotropic_spectrum(field, space=weights.ndim, spacing=spacing, periodic=periodic)
    (step,) = per_axis(spacing, 1, "spacing of a zonal spectrum")
    (closed,) = per_axis(periodic, 1, "periodic of a zonal spectrum")
    return zonal_spectrum(field, weights, spacing=step, periodic=closed)


def _mode_energy(field: Tensor, periodic: tuple[bool, ...]) -> Tensor:
    """Half the squared amplitude of every real-transform mode over the last axes, conjugates counted."""
    axes = tuple(range(-len(periodic), 0))
    if not all(periodic):
        field = field - field.mean(axes, keepdim=True)
        for axis, closed in zip(axes, periodic, strict=True):
            if not closed:
                n = field.shape[axis]
                place = (torch.arange(n, dtype=field.dtype, device=field.device) + 0.5) / n
                window = 1 - torch.cos(2 * math.pi * place)
                window = window / window.square().mean().sqrt()
                field = field * window.reshape(-1, *[1] * (-axis - 1))
    modes = torch.fft.rfftn(field, dim=axes, norm="forward")
    energy: Tensor = modes.real.square() + modes.imag.square()
    n = field.shape[-1]
    # the first mode, and the last for even n, are their own conjugates
    energy[..., 0] /= 2
    if n % 2 == 0:
        energy[..., -1] /= 2
    return energy


def _sizes(field: Tensor, space: int) -> tuple[int, ...]:
    if not 1 <= space <= field.ndim:
        raise InputError(f"spectrum: expected 1 to {field.ndim} dims of space, got {space}")
    return tuple(field.shape[field.ndim - space :])


def _centres(count: int, width: float, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=like.dtype, device=like.device) * width


# energy in the finer half of the wavenumbers, for periodic boxes with one spacing along all axes
fine_scale_power = band_power_ratio(0.5, 1.0)
