r"""Does a quantity that should be conserved stay the same?

The integral over the domain divided by its size is the weighted mean $I(t) = \langle u(t)\rangle$, with cell
areas as weights; its drift is $I(t) - I(0)$, zero for a conserved quantity. Give the field whose integral is
conserved: u itself for mass, u^2/2 for energy.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.scores.reduce import check_case, field_weights, shared_weights, weighted_mean

__all__ = ["integral_drift", "integral_error"]


def integral_drift(field: Tensor, weights: Tensor, *, relative: bool = False) -> Tensor:
    """Drift of the mean since the first frame.

    Args:
        field: (..., T, *S); a cell missing in any frame is left out of all frames, otherwise a moving gap
            would look like a drift.
        weights: (*S), cell areas.
        relative: Whether to divide by the mean of |u(0)|; otherwise in the field's units.

    Returns:
        (..., T), zero at the first frame.

    Raises:
        ShapeError: If field is not (..., T, *S) for weights (*S).
    """
    dims = weights.ndim
    if field.ndim < dims + 1 or field.shape[field.ndim - dims :] != weights.shape:
        raise ShapeError(
            f"integral_drift: expected field (..., time, *{tuple(weights.shape)}) for these weights, "
            f"got {tuple(field.shape)}"
        )
    time, axes = field.ndim - dims - 1, tuple(range(-dims, 0))
    missing = field.isnan().any(time, keepdim=True)
    share = weights.to(field).expand(field.shape).masked_fill(missing, 0.0)
    mean = weighted_mean(field, share, axes=axes)
    drift = mean - mean[..., :1]
    if not relative:
        return drift
    return drift / weighted_mean(field.abs(), share, axes=axes)[..., :1]


def integral_error(
    members: Tensor, truth: Tensor, weights: Tensor | None = None, *, space: int | None = None
) -> Tensor:
    """Mean over members of the absolute error of the domain mean, in the field's units.

    A score of whole fields: |mean of x_i - mean of y|.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S); None means equal weights.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch). Cells missing in the truth or in any member are left out.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="integral_error")
    weights = field_weights(truth, weights, space)
    share, axes = shared_weights(members, truth, weights), tuple(range(-weights.ndim, 0))
    return weighted_mean(members - truth, share, axes=axes).abs().mean(0)
