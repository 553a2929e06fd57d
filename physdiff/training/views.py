r"""Random views of training windows: crops and coarser resolutions, of what the network sees.

A crop is a box of coefficients, a coarser view their means over $f \times f$ cells, known shares as weights:

$$ z_f = \overline{w z} / \overline{w}, \qquad w_f = \overline w. $$

Both are taken after encoding, so that anomalies, first guesses and statistics are those of the whole grid. Cropping commutes with every network that
acts alike everywhere, but for the edge; means commute with encoding where coefficients are fields on points. Which view a window has is keyed by the
step and the window, as all randomness of training is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.points import PointGrid
from physdiff.networks.field_network import FieldNetwork
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["Views"]


@dataclass(frozen=True)
class Views:
    """How windows are looked at in training.

    Args:
        crop: Points of a crop along each axis in space, (y, x) or as the grid has them; 0: the whole axis. None: no crops.
        coarser: Factors of which each batch takes one at random, 1 the grid itself, as in (1, 2, 4).

    Raises:
        InputError: If a number makes no sense.
    """

    crop: tuple[int, ...] | None = None
    coarser: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if self.crop is not None and (not self.crop or min(self.crop) < 0 or max(self.crop) == 0):
            raise InputError(f"crop: expected points along each axis, 0 for the whole of it, got {list(self.crop)}")
        if not self.coarser or min(self.coarser) < 1:
            raise InputError(f"coarser: expected whole factors of at least 1, as in [1, 2], got {list(self.coarser)}")

    @property
    def whole(self) -> bool:
        """Whether windows stay as they are."""
        return self.crop is None and self.coarser == (1,)

    def check(self, prior: WindowPrior) -> None:
        """Raise InputError if a prior cannot be trained on such views; it says why."""
        if self.whole:
            return
        base = isinstance(prior, DiffusionPrior) and isinstance(prior.denoiser, PreconditionedDenoiser) and prior.denoiser.base is not None
        if not isinstance(prior, DiffusionPrior | Forecaster) or base:
            what = f"{type(prior).__name__}{' on a Gaussian base' if base else ''}"
            raise InputError(f"crop and coarser: expected a diffusion prior of a network alone or a deterministic forecast, got {what}")
        grid, latent = prior.spec.grid, prior.latent_shape[2:]
        if isinstance(grid, PointGrid):
            raise InputError("crop and coarser: expected fields on a grid, got scattered points, a list without neighbours; leave them out")
        if len(latent) != len(grid.shape):
            raise InputError(f"crop and coarser: expected coefficients on a grid of {len(grid.shape)} axes, got {latent}; leave them out")
        if self.coarser != (1,):
            if any(isinstance(part, WaveletTransform) for part in prior.transform.modules()) or latent != tuple(grid.shape):
                raise InputError("coarser: expected fields on points, got coefficients of a wavelet or latents; take --recipe.wavelet none")
            whole = [n for n in grid.shape if any(n % f for f in self.coarser)]
            if whole:
                raise InputError(f"coarser: expected axes divisible by {max(self.coarser)}, got {grid.shape}; cut the region or choose other factors")
        if self.crop is not None:
            self._check_crop(prior)

    def _check_crop(self, prior: WindowPrior) -> None:
        grid = prior.spec.grid
        assert self.crop is not None
        if len(self.crop) != len(grid.shape):
            raise InputError(f"crop: expected {len(grid.shape)} numbers, for {', '.join(grid.dims)}, got {list(self.crop)}")
        known = sorted({type(part).__name__ for part in prior.model.modules() if isinstance(part, FieldNetwork) and part.of_extent})
        if known:
            raise InputError(
                f"crop: expected a network that acts alike everywhere (UNet, DiT, AxialViT), got {known[0]}, whose wavenumbers or places "
                "belong to the whole length of an axis; take training.coarser, or another network"
            )
        for name, points, size, cells, closed in zip(grid.dims, self.crop, grid.shape, prior.latent_shape[2:], grid.periodic, strict=True):
            if closed and points:
                raise InputError(f"crop: expected 0 along {name}, which closes, as a crop would on itself, got {points}; training.roll shifts it")
            each = -(-size // cells)
            if points > size or points % (each * max(self.coarser)):
                wanted = f"a multiple of {each * max(self.coarser)} points, at most {size}"
                raise InputError(f"crop: expected {wanted}, along {name}, got {points}")

    def of(
        self, prior: WindowPrior, parts: tuple[Tensor, Tensor | None, Tensor | None], *, index: Sequence[int], rng: Rng
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """A view of a batch.

        Args:
            prior: Whose coefficients they are.
            parts: Coefficients (B, C, T, *S), encoded condition (B, C'', T, *S) or None, known shares or None.
            index: Numbers of the windows, which key the places of crops.
            rng: Of the step.
        """
        z, c, weights = parts
        if self.crop is not None:
            cells = [-(-n // m) for n, m in zip(prior.spec.grid.shape, z.shape[3:], strict=True)]
            sizes = [points // each if points else n for points, each, n in zip(self.crop, cells, z.shape[3:], strict=True)]
            places = [[int(u * (n - k + 1)) for u, n, k in zip(_shares(rng, i, len(sizes)), z.shape[3:], sizes, strict=True)] for i in index]
            weights = None if weights is None else weights.expand_as(z)
            z, c, weights = (None if part is None else _cropped(part, places, sizes) for part in (z, c, weights))  # type: ignore[assignment]
        factor = self.coarser[int(rng.child("coarser").integers(0, len(self.coarser)))]
        if factor > 1:
            assert z is not None
            share = torch.ones_like(z) if weights is None else weights.expand_as(z)
            known = _means(share, factor)
            z = _means(share * z, factor) / known.clamp_min(torch.finfo(z.dtype).tiny)
            c, weights = (None if c is None else _means(c, factor)), (None if weights is None else known)
        return z, c, weights


def _shares(rng: Rng, index: int, axes: int) -> list[float]:
    found: list[float] = rng.child("crop", index).uniform((axes,)).tolist()
    return found


def _cropped(x: Tensor, places: list[list[int]], sizes: list[int]) -> Tensor:
    """The box of each row."""
    rows = []
    for row, corner in zip(x, places, strict=True):
        for axis, (start, size) in enumerate(zip(corner, sizes, strict=True), start=-len(sizes)):
            row = row.narrow(axis, start, size)
        rows.append(row)
    return torch.stack(rows)


def _means(x: Tensor, factor: int) -> Tensor:
    """Means over blocks of (B, C, T, *S)."""
    for axis in range(3, x.ndim):
        x = x.unflatten(axis, (-1, factor)).mean(axis + 1)
    return x
