r"""Ensemble Kalman smoother: what is read now moves the ensembles of earlier times, too.

The transform of the analysis, $x_j = \bar x + (w + T_j) A$, has weights that know the readings only; the same weights applied to the ensembles
stored from earlier times are the update of those by their sample covariances with what is read now. On linear models with Gaussian noise it is
the Kalman smoother of the sample moments to rounding. Reference: Evensen and van Leeuwen, An ensemble Kalman smoother for nonlinear dynamics,
2000.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble_kalman import enkf, etkf

__all__ = ["enks"]


def enks(
    history: Sequence[Tensor], predicted: Tensor, y: Tensor, *, std: float | Tensor, rng: Rng | None = None, perturbed: bool = False
) -> list[Tensor]:
    """Move the ensembles of several times to readings of the last one; a smoother with a lag gets those of the last times only.

    Args:
        history: Ensembles of all times that shall move, the oldest first and the one that was read last; each (N, ...), member j of one time
            the past of member j of the next.
        predicted: Readings of the last ensemble (N, m) in the unit of y.
        y: Readings (m,).
        std: Standard deviation of their independent noise, a number or (m,).
        rng: Randomness: of the readings' noise if `perturbed`, else of a turn of the anomalies (see `etkf`), which must then be the same turn for
            all times, as here.
        perturbed: Update by `enkf` in place of `etkf`.

    Returns:
        The ensembles after the analysis, shapes and dtypes as they came.

    Raises:
        ShapeError: If the ensembles differ in their number of members, or the readings do not fit.
        InputError: If there is no ensemble, `perturbed` has no rng, or as `etkf` says.
    """
    if not len(history):
        raise InputError("enks: expected one ensemble or more, got none")
    counts = [len(h) for h in history]
    if len(set(counts)) > 1:
        raise ShapeError(f"enks: expected the same members at all times, got {counts} of them")
    if perturbed and rng is None:
        raise InputError("enks: expected rng= for noise on the readings, got None")
    wide = [h.double().flatten(1) for h in history]
    joint = torch.cat(wide, 1)
    if perturbed and rng is not None:
        moved = enkf(joint, predicted, y, std=std, rng=rng)
    else:
        moved = etkf(joint, predicted, y, std=std, rng=rng)
    parts = moved.split([w.shape[1] for w in wide], 1)
    return [part.reshape(h.shape).to(h) for part, h in zip(parts, history, strict=True)]
