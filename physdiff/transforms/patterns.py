r"""Whole windows as their coordinates along leading patterns: a linear coder of trajectories.

With the mean m of training windows and the leading eigenvectors e_k of their covariance (principal components, Pearson, 1901; empirical orthogonal
functions),

$$ z_k = e_k \cdot (x - m) / s, \qquad \hat x = m + s \sum_{k \le r} z_k e_k , $$

s one scale for all, so that white noise on z is the same noise along all patterns. What the patterns leave over is lost. With fewer windows N than
entries d the eigenvectors come from the N x N matrix of products of windows (method of snapshots, Sirovich, 1987).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Batches, Shape, Transform

__all__ = ["PatternCondition", "Patterns"]


class Patterns(Transform):
    """Coordinates along patterns, (B, C, T, *S) <-> (B, r, 1, *1).

    Args:
        most: Largest number of patterns.
        share: Share of the variance that they need not hold: fewer patterns are kept where these hold the rest.
        mean: Mean window (C, T, *S), see `fitted_from`.
        patterns: Orthonormal rows (r, d), likewise.
        variances: Of the coordinates (r,), likewise.
        scale: What coordinates are divided by.

    Raises:
        InputError: If a number makes no sense.
    """

    mean: Tensor | None
    patterns: Tensor | None
    variances: Tensor | None

    def __init__(
        self,
        most: int = 400,
        share: float = 1e-4,
        *,
        mean: Tensor | None = None,
        patterns: Tensor | None = None,
        variances: Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.most, self.scale = int(check_positive(most, "Patterns most")), check_positive(scale, "Patterns scale")
        if not 0 <= share < 1:
            raise InputError(f"Patterns: expected a share of the variance in [0, 1), got {share}")
        self.share = share
        for name, value in (("mean", mean), ("patterns", patterns), ("variances", variances)):
            self.register_buffer(name, value, persistent=False)

    def fitted(self, windows: Tensor) -> Patterns:
        """The same with mean and patterns of windows (N, C, T, *S), N > 1; the scale is the root of the mean variance of the coordinates.

        Raises:
            InputError: If the windows are fewer than two or all the same.
        """
        flat = windows.flatten(1)
        mean = flat.mean(0, dtype=torch.float64).to(flat.dtype)
        off = flat - mean
        if len(flat) < 2 or not bool(off.any()):
            raise InputError(f"Patterns: expected two or more windows that differ, got {len(flat)}")
        values, vectors = torch.linalg.eigh((off @ off.T).double() / (len(flat) - 1))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        kept = 1 + int((values.cumsum(0) < (1 - self.share) * values.sum()).sum())
        kept = min(kept, self.most, int((values > 1e-7 * values[0]).sum()))
        rows = vectors[:, :kept].T.to(off.dtype) @ off
        # products in float32 leave rows a little off unit length and off each other
        rows = torch.linalg.qr(rows.T)[0].T.contiguous()
        variances = (off @ rows.T).square().sum(0) / (len(flat) - 1)
        scale = float(variances.mean().sqrt())
        return Patterns(
            self.most, self.share, mean=mean.reshape(windows.shape[1:]), patterns=rows, variances=variances / scale**2, scale=scale
        )

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> Patterns:
        """See `fitted` and `Transform.fitted_from`; all windows are held in memory."""
        return self.fitted(torch.cat([sample.x for sample in batches()]))

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        mean, patterns = self._parts()
        if x.shape[1:] != mean.shape:
            raise ShapeError(f"Patterns: expected windows of {tuple(mean.shape)}, got {tuple(x.shape[1:])}")
        z = (x - mean.to(x)).flatten(1) @ patterns.to(x).T / self.scale
        return z.reshape(*z.shape, *[1] * (x.ndim - 2))

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        mean, patterns = self._parts()
        return mean.to(z) + (self.scale * z.flatten(1) @ patterns.to(z)).reshape(-1, *mean.shape)

    def _parts(self) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.patterns is None:
            raise NotFitted("Patterns: expected fitted patterns, got none; use fitted(windows) first")
        return self.mean, self.patterns

    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, *S) -> (r, 1, *1)."""
        return (self._parts()[1].shape[0], *[1] * (len(shape) - 1))

    def weight(self, known: Tensor) -> Tensor:
        """The known share of the window, the same for all coordinates."""
        shape = self.out_shape(tuple(known.shape[1:]))
        return known.flatten(1).mean(1).reshape(-1, *[1] * len(shape)).expand(-1, *shape)


class PatternCondition(ConditionTransform):
    """A condition as coordinates along patterns of its own.

    Args:
        inner: What encodes the condition for a network on cells.
        patterns: Fitted to conditions encoded so.
    """

    def __init__(self, inner: ConditionTransform, patterns: Patterns) -> None:
        options = {"guess": inner.guess, "history": inner.history, "mean": inner.mean, "std": inner.std, "each": inner.each}
        super().__init__(inner.fields, inner.anomaly, inner.wavelet, **options)  # type: ignore[arg-type]
        self.patterns = patterns

    def encode(self, completed: Tensor) -> Tensor:
        """Completed condition window (B, C', T, *S) -> coordinates of unit variance (B, q, 1, *1)."""
        z = self.patterns.encode(super().encode(completed))
        assert self.patterns.variances is not None
        return z / self.patterns.variances.to(z).sqrt().reshape(-1, *[1] * (z.ndim - 2))

    def out_shape(self, shape: Shape) -> Shape:
        """(C', T, *S) -> (q, 1, *1)."""
        return self.patterns.out_shape(super().out_shape(shape))
