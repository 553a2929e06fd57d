r"""The fractional derivative in time, of Caputo, on given times.

$$D_t^\alpha u(t) = \frac{1}{\Gamma(1-\alpha)} \int_0^t \frac{u'(s)}{(t - s)^\alpha}\,ds, \qquad 0 < \alpha < 1,$$

with u linear between the times (L1 scheme): exact for linear u and of order $2 - \alpha$ for smooth u on even times. Solutions of
fractional laws start as $t^\alpha$; times $t_n = T(n/N)^{(2-\alpha)/\alpha}$, close together at the start, keep that order for them, where
even times have order $\alpha$. Lin and Xu, Finite difference/spectral approximations for the time-fractional diffusion equation, 2007;
Stynes, O'Riordan and Gracia, 2017, SIAM J. Numer. Anal. 55 (graded).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["caputo", "graded_times"]


def caputo(values: Tensor, times: Tensor, order: float) -> Tensor:
    """Caputo's derivative at all times but the first, by the L1 scheme; differentiable in the values.

    A derivative of order 1 + alpha is that of order alpha of the first derivative: give u_t.

    Args:
        values: u at the times (n + 1, ...), the first at the start of the memory.
        times: Increasing times (n + 1,).
        order: alpha, between 0 and 1.

    Returns:
        The derivative (n, ...) at times 1 to n, in units of u per time^alpha.

    Raises:
        InputError: If the order is not between 0 and 1, or times do not increase.
        ShapeError: If shapes do not fit.
    """
    if not 0 < order < 1:
        raise InputError(f"caputo order: expected a number between 0 and 1, got {order}; give u_t and the order less one for 1 to 2")
    if times.ndim != 1 or len(times) < 2 or values.shape[:1] != times.shape:
        raise ShapeError(f"caputo: expected values (n + 1, ...) at times (n + 1,), n > 0, got {tuple(values.shape)} and {tuple(times.shape)}")
    t = times.detach().double()
    if not bool((t[1:] > t[:-1]).all()):
        raise InputError("caputo: expected increasing times, got others; sort them")
    # the integral of (t_n - s)^-alpha over each interval before t_n
    left = (t[1:, None] - t[None, :]).clamp(min=0) ** (1 - order)
    weights = (left[:, :-1] - left[:, 1:]) / (t[1:] - t[:-1]) / math.gamma(2 - order)
    steps = values[1:] - values[:-1]
    return torch.tensordot(weights.to(values), steps, dims=1)


def graded_times(n: int, end: float, order: float) -> Tensor:
    """Times 0 to `end` (n + 1,), float64, graded as solutions of a law of this order need it.

    Raises:
        InputError: If the order is not between 0 and 1, or a number makes no sense.
    """
    if not 0 < order < 1 or n < 1 or not (math.isfinite(end) and end > 0):
        raise InputError(f"graded_times: expected n > 0, end > 0 and an order between 0 and 1, got {n}, {end} and {order}")
    return end * torch.linspace(0, 1, n + 1, dtype=torch.float64) ** ((2 - order) / order)
