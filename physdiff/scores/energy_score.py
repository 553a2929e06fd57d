r"""Energy score: the CRPS of whole fields.

$$\mathrm{ES} = \frac1m\sum_i \|x_i-y\| - \frac{1}{2D}\sum_{i,j}\|x_i-x_j\|,
\qquad \|v\| = \sqrt{\langle v^2\rangle},$$

with D = m(m-1) (fair) and the area-weighted mean of squares, so that its units are those of the field. Distances come
from the members' Gram matrix, $\|x_i-x_j\|^2 = G_{ii} + G_{jj} - 2 G_{ij}$, of departures from the mean of the members; pairs so close that
this cancels are taken again from their difference, in float64. Gradients take differences.
Reference: Gneiting and Raftery (2007); norm as in WeatherBench 2 (2024), but over all pairs of members
instead of neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.scores.reduce import check_case, field_weights, shared_weights

__all__ = ["energy_score"]

_BLOCK = 2**19  # member values at a time
# of G_ii + G_jj: above it D^2 has lost two digits in float32 (an error of 3e-6 of D) and four in float64
_CLOSE = {torch.float32: 0.02, torch.float64: 1e-4}


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
    x, y = members.reshape(count, -1, share.shape[-1]), truth.reshape(-1, share.shape[-1])
    needs_gradient = torch.is_grad_enabled() and (members.requires_grad or truth.requires_grad)
    found = (_by_differences if needs_gradient else _by_products)(x, y, scale.reshape(y.shape))
    return found.reshape(truth.shape[:first])


def _departures(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """(m, ...) scaled once, so that a norm is the plain Euclidean one; missing cells have scale 0."""
    d = x - y
    if not bool((scale > 0).all()):
        d = d.masked_fill(d.isnan(), 0.0)
    return d * scale if d.requires_grad else d.mul_(scale)


def _by_differences(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    count = x.shape[0]
    x = _departures(x, y, scale)
    width = max(1, _BLOCK // max(1, y.numel()))

    def distances(others: Tensor, one: Tensor) -> Tensor:
        norms = [torch.linalg.vector_norm(block - one, dim=-1) for block in torch.split(others, width)]
        return torch.cat(norms).sum(0)

    between = torch.stack([distances(x[:i], x[i]) for i in range(1, count)]).sum(0)
    skill: Tensor = torch.linalg.vector_norm(x, dim=-1).mean(0)
    return skill - between / (count * (count - 1))


def _by_products(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """Cases in blocks, and cells of a case where it alone is larger than one."""
    count, cases, cells = x.shape
    rows, columns = max(1, _BLOCK // (count * max(1, cells))), max(1, _BLOCK // count)
    found: list[Tensor] = []
    for a in range(0, cases, rows):
        near = slice(a, a + rows)
        square = x.new_zeros(len(y[near]), count, dtype=torch.float64)
        gram = x.new_zeros(len(y[near]), count, count, dtype=torch.float64)
        for b in range(0, cells, columns):
            part = slice(b, b + columns)
            d = _departures(x[:, near, part], y[near, part], scale[near, part]).transpose(0, 1)
            square += torch.linalg.vector_norm(d, dim=-1).double().square()
            d -= d.mean(1, keepdim=True)
            gram += (d @ d.mT).double()
        distance, close = _distances(gram, _CLOSE[x.dtype])
        if 10 * close.sum() > close.numel():
            found.append(_by_differences(x[:, near].double(), y[near].double(), scale[near].double()))
            continue
        for case, i, j in close.nonzero().tolist():
            d = _departures(x[i, a + case].double(), x[j, a + case].double(), scale[a + case].double())
            distance[case, i, j] = torch.linalg.vector_norm(d)
        found.append(square.sqrt().mean(1) - distance.sum((1, 2)) / (count * (count - 1)))
    return torch.cat(found).to(y.dtype)


def _distances(gram: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Distances of pairs i < j from (cases, m, m), zero below; and which have lost digits."""
    power = gram.diagonal(dim1=1, dim2=2)
    total = power[:, :, None] + power[:, None]
    square = (total - 2 * gram).clamp_min(0.0)
    return square.sqrt().triu(1), (square < share * total).triu(1)
