r"""Energy score: the CRPS of whole fields.

$$\mathrm{ES} = \frac1m\sum_i \|x_i-y\| - \frac{1}{2D}\sum_{i,j}\|x_i-x_j\|,
\qquad \|v\| = \sqrt{\langle v^2\rangle},$$

with D = m(m-1) (fair) and the area-weighted mean of squares, so that its units are those of the field.
Reference: Gneiting and Raftery (2007); norm as in WeatherBench 2 (2024), but over all pairs of members
instead of neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.scores.reduce import check_case, field_weights, shared_weights

__all__ = ["energy_score"]

_BLOCK = 2**22  # values of pair differences held at a time


def energy_score(
    members: Tensor, truth: Tensor, weights: Tensor | None = None, *, space: int | None = None
) -> Tensor:
    """Fair energy score, a score of whole fields, in the field's units.

    Args:
        members: (m, *batch, *S), m >= 2.
        truth: (*batch, *S).
        weights: (*S); None means equal weights.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch). Cells missing in the truth or in any member are left out of every norm.

    Raises:
        ShapeError: If shapes do not fit or there is one member only.
    """
    members, truth = check_case(members, truth, weights, least=2, what="energy_score")
    weights = field_weights(truth, weights, space)
    share = shared_weights(members, truth, weights)
    first, count = truth.ndim - weights.ndim, members.shape[0]
    share = share.reshape(*truth.shape[:first], -1)
    scale = (share / share.sum(-1, keepdim=True)).sqrt()
    # departures scaled once, so that a norm is the plain Euclidean one; missing cells have scale 0
    x = (members - truth).reshape(count, *scale.shape)
    x = x.masked_fill_(x.isnan(), 0.0) * scale
    width = max(1, _BLOCK // max(1, truth.numel()))

    def distances(others: Tensor, one: Tensor) -> Tensor:
        norms = [torch.linalg.vector_norm(block - one, dim=-1) for block in torch.split(others, width)]
        return torch.cat(norms).sum(0)

    skill: Tensor = torch.linalg.vector_norm(x, dim=-1).mean(0)
    between = torch.stack([distances(x[:i], x[i]) for i in range(1, count)]).sum(0)
    return skill - between / (count * (count - 1))
