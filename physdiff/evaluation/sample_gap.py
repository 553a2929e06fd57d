r"""Do two sets of draws come from one law? Energy distance with a permutation test, gap of the means, spectra.

    E = 2 E|X - Y| - E|X - X'| - E|Y - Y'| >= 0,    zero for equal laws alone;  |v| = root mean square over the entries

Groups (draws for one condition each) are compared within themselves and averaged. If the laws are equal, the labels X and Y of a group may be
exchanged, so that the rank of E among its values under random exchanges is an exact p-value. Reference: Szekely and Rizzo, Energy statistics,
2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.scores.spectrum import isotropic_spectrum, zonal_spectrum

__all__ = ["Gap", "sample_gap", "spectrum_of"]


@dataclass(frozen=True)
class Gap:
    """How far two sets of draws are apart.

    Args:
        energy: Energy distance over the mean distance of two draws of one law; 0 for equal laws, 1 for point masses apart.
        p_value: Share of exchanges of the labels with a distance as large.
        mean: Root mean square difference of the means, freed of sampling noise, over the standard deviation.
    """

    energy: float
    p_value: float
    mean: float


def sample_gap(first: Tensor, second: Tensor, *, rng: Rng, exchanges: int = 199) -> Gap:
    """Compare two sets of draws.

    Args:
        first: Draws (groups, members, ...).
        second: Draws of the same shape.
        rng: Randomness of the exchanges.
        exchanges: Number of exchanges.

    Raises:
        ShapeError: If the shapes differ or there are fewer than two members.
    """
    if first.shape != second.shape or first.shape[1] < 2:
        raise ShapeError(f"sample_gap: expected equal shapes with two members or more, got {tuple(first.shape)} and {tuple(second.shape)}")
    x, y = first.flatten(2).double(), second.flatten(2).double()
    m, both = x.shape[1], torch.cat([x, y], 1)
    # the centre of a group changes no distance, and large offsets would cost digits
    both = both - both.mean(1, keepdim=True)
    distance = torch.cdist(both, both) / both.shape[2] ** 0.5
    label = torch.cat([torch.ones(m), -torch.ones(m)]).double()
    found = _energy(distance, label[None].expand(len(x), -1))
    tried = [
        _energy(distance, torch.stack([label[rng.child(k, g).permutation(2 * m)] for g in range(len(x))]))
        for k in range(exchanges)
    ]
    p_value = (1 + sum(e >= found - 1e-12 * abs(found) for e in tried)) / (exchanges + 1)
    within = (distance[:, :m, :m].sum() + distance[:, m:, m:].sum()) / (2 * len(x) * m * (m - 1))
    variance = 0.5 * (x.var(1) + y.var(1)).mean()
    squared = (x.mean(1) - y.mean(1)).square().mean() - 2 * variance / m
    tiny = torch.finfo(torch.float64).tiny
    return Gap(found / max(float(within), tiny), p_value, float((squared.clamp_min(0) / variance.clamp_min(tiny)).sqrt()))


def _energy(distance: Tensor, label: Tensor) -> float:
    """Mean over the groups, unbiased: pairs of one sample over m (m - 1), so that equal laws give zero on average."""
    m = label.shape[1] // 2
    x, y = (label > 0).double(), (label < 0).double()
    across = torch.einsum("gij,gi,gj->g", distance, x, y) / m**2
    within = (torch.einsum("gij,gi,gj->g", distance, x, x) + torch.einsum("gij,gi,gj->g", distance, y, y)) / (m * (m - 1))
    return float((2 * across - within).mean())


def spectrum_of(field: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Wavenumbers (K,) and energies (..., K) of fields (..., *S); the whole variance as one number where a grid has no spectrum.

    Zonal on a latitude-longitude grid, isotropic on a uniform Cartesian one.
    """
    field = torch.nan_to_num(field.double())
    if isinstance(grid, LatLonGrid):
        step = float(torch.deg2rad(grid.longitude).diff().mean())
        return zonal_spectrum(field, grid.weights(), spacing=step, periodic=grid.periodic[1])
    if isinstance(grid, CartesianGrid) and grid.uniform:
        return isotropic_spectrum(field, space=grid.ndim, spacing=grid.spacing, periodic=grid.periodic)
    energy = 0.5 * (field.square() * grid.weights()).flatten(-grid.ndim).sum(-1, keepdim=True)
    return torch.zeros(1, dtype=torch.float64), energy
