r"""Zero-shot resolution: a prior that adds a factor of two, used on grids finer than any it was trained on.

A model of the fine trajectory given its block means (`prepare_trajectories(..., coarse=2)`) is trained at the resolution of the data. Its network is
a convolution that sees how the coarse field bends and what is missing in units of the local second difference (`CoarseResidual`), so that the same
weights serve the next finer grid, where cells have half the size, and the one after that. This relies on shapes that are seen on one grid being met
on the next, which data have only roughly; compare with interpolation (`reconstructed`).

Reference: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025.
"""

from __future__ import annotations

from dataclasses import replace
from types import NoneType

from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.tasks import task_condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.grids.cartesian import CartesianGrid
from physdiff.transforms.compose import Compose
from physdiff.transforms.transform import Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["on_finer_grid", "upscale"]


def on_finer_grid(prior: DiffusionPrior, factor: int = 2, *, origin: tuple[float, ...] | None = None) -> DiffusionPrior:
    """The same prior, weights shared, on a grid with `factor` times as many cells along each axis in space.

    Args:
        prior: The prior.
        factor: New cells in each.
        origin: Where the grid begins (see `CartesianGrid`); None: over the same ground, each circle's first point in the middle of its cell.

    Raises:
        InputError: If the grid is not uniform, or the prior has statistics or parts that belong to places.
    """
    spec, grid = prior.spec, prior.spec.grid
    if not isinstance(grid, CartesianGrid) or not grid.uniform or spec.mask is not None or factor < 1:
        raise InputError(f"on_finer_grid: expected a uniform box without mask and factor >= 1, got {type(grid).__name__} and {factor}")
    shape = tuple(n * factor for n in grid.shape)
    origin = origin or tuple(o - closed * (1 - 1 / factor) * h / 2 for o, h, closed in zip(grid.origin, grid.spacing, grid.periodic, strict=True))
    fine = replace(spec, grid=CartesianGrid(shape, grid.extent, origin, periodic=grid.periodic, length_unit=grid.length_unit))

    def moved(part: Transform) -> Transform:
        return part.fitted_to(fine.shape[1:], grid.dims, grid.periodic) if isinstance(part, WaveletTransform) else part

    if any(len(stat.shape) > 1 and max(stat.shape[1:]) > 1 for stat in prior.transform.buffers()):
        raise InputError("on_finer_grid: expected statistics per channel, got some per frame or place; use Normalizer(('channel',))")
    transform = Compose(tuple(moved(p) for p in prior.transform)) if isinstance(prior.transform, Compose) else moved(prior.transform)
    condition = prior.cond_transform
    if condition is not None:
        if not isinstance(condition.wavelet, WaveletTransform | NoneType) or condition.anomaly is not None or condition.guess is not None:
            raise InputError("on_finer_grid: expected a condition without autoencoder, anomaly and guess, got another; they belong to their grid")
        wavelet = next((p for p in transform.modules() if isinstance(p, WaveletTransform)), None)
        condition = condition.with_wavelet(wavelet)
    cond_spec = None if prior.cond_spec is None else replace(prior.cond_spec, grid=fine.grid)
    made = DiffusionPrior(
        prior.denoiser, transform, fine, sampler=prior.sampler, steps=prior.steps, cond_transform=condition, cond_spec=cond_spec
    )
    made.training = prior.training
    return made


def upscale(prior: DiffusionPrior, coarse: Tensor, known: Tensor, *, rng: Rng, max_batch: int = 64) -> Tensor:
    """Trajectories with twice the resolution of `coarse`.

    Args:
        prior: Trained with ``coarse=2``, at any resolution.
        coarse: Trajectories (B, C, T, *S) in physical units.
        known: What is known on the finer grid, (B, C, T, *2S), NaN elsewhere (all NaN: nothing).
        rng: Randomness.
        max_batch: Trajectories drawn at once.

    Returns:
        (B, C, T, *2S).

    Raises:
        InputError: If the prior does not take a coarse window.
        ShapeError: If the shapes do not fit together.
    """
    names = () if prior.cond_spec is None else prior.cond_spec.names
    if f"coarse_{prior.spec.names[0]}" not in names:
        raise InputError("upscale: expected a prior that takes a coarse window, got one that does not; use prepare_trajectories(..., coarse=2)")
    factor = known.shape[-1] // prior.spec.grid.shape[-1]
    if factor < 1 or known.shape[3:] != tuple(n * factor for n in prior.spec.grid.shape):
        raise InputError(
            f"upscale: expected `known` on a multiple of the prior's grid {prior.spec.grid.shape}, got {tuple(known.shape[3:])}; "
            "a prior goes to finer grids only"
        )
    fine = on_finer_grid(prior, factor)
    cond = task_condition(fine.spec, known, coarse)
    return fine.sample(len(cond), cond=cond, rng=rng, max_batch=max_batch)

