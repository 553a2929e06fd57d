r"""Tests of accuracy with random points: is a whole posterior calibrated, dependence between its entries included.

For each case a point r is drawn without looking at the truth. Of exchangeable members and truth the number of members nearer to r than the truth
is uniform on 0..m, in any number of dimensions and for any distance; the share of cases whose truth lies within the fraction a of members nearest
to r is the expected coverage at a. A posterior with right marginals and a wrong dependence fails. Reference: Lemos, Coogan, Hezaveh and
Perreault-Levasseur, Sampling-based accuracy testing of posterior estimators for general inference, 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError

__all__ = ["tarp_rank"]


def tarp_rank(members: Tensor, truth: Tensor, reference: Tensor, *, scale: Tensor | None = None) -> Tensor:
    """How many members of each case are nearer to its random point than the truth; members as far as the truth count half, rounded down.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        reference: Random points, shape of `truth`.
        scale: What entries are divided by, (*S), which also says what S is; S is everything if None. Entries of scale zero or infinity do not count.

    Returns:
        (*batch), int64; test it by `rank_p_value`.

    Raises:
        ShapeError: If shapes do not fit.
    """
    if members.ndim != truth.ndim + 1 or members.shape[1:] != truth.shape or reference.shape != truth.shape:
        got = f"{tuple(members.shape)}, {tuple(truth.shape)} and {tuple(reference.shape)}"
        raise ShapeError(f"tarp_rank: expected members (m, *batch, *S), truth and reference (*batch, *S), got {got}")
    axes = truth.ndim if scale is None else scale.ndim
    if axes > truth.ndim or (scale is not None and truth.shape[truth.ndim - axes :] != scale.shape):
        wrong = () if scale is None else tuple(scale.shape)
        raise ShapeError(f"tarp_rank: expected a scale of the last dimensions of {tuple(truth.shape)}, got {wrong}")
    weight = torch.ones((), dtype=torch.float64) if scale is None else (1 / scale.double()).nan_to_num(0.0, posinf=0.0)
    dims = tuple(range(-axes, 0))

    def distance(x: Tensor) -> Tensor:
        off = (x.double() - reference.double()) * weight
        return (off**2).nan_to_num(0.0).sum(dims) if dims else off**2

    own = distance(truth)
    nearer, ties = torch.zeros_like(own), torch.zeros_like(own)
    # member by member: fields may be large
    for member in members.unbind(0):
        d = distance(member)
        nearer += d < own
        ties += d == own
    return (nearer + ties / 2).floor().long()
