r"""Exact waves of nonlinear laws, as functions of coordinates and time: what solvers, residuals and networks are measured with.

Each is plain tensor algebra, differentiable, for coordinates of any shape and a time that broadcasts against them.

- `bistable_front`: a front of $w_t = \kappa\Delta w + r\,(w - w_0)(w_1 - w)(w - a)$ between two rest states (Nagumo et al., 1962), and with it
  of `AllenCahn`, `GrayScott` and `FitzHughNagumo`.
- `korteweg_soliton`, `cnoidal_wave`: of `KortewegDeVries`, alone and periodic (Korteweg and de Vries, 1895).
- `kuramoto_shock`: of `KuramotoSivashinsky` (Kuramoto and Tsuzuki, 1976).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = ["bistable_front", "cnoidal_wave", "korteweg_soliton", "kuramoto_shock"]


def bistable_front(
    coordinates: Sequence[Tensor],
    t: float | Tensor,
    *,
    diffusivity: float,
    rate: float,
    roots: tuple[float, float, float],
    direction: Sequence[float] = (1.0,),
    position: float = 0.0,
) -> Tensor:
    r"""The front $w = w_0 + (w_1 - w_0)/(1 + e^{K(n \cdot x - ct - p)})$.

    Here $K = (w_1 - w_0)\sqrt{r/2\kappa}$ and $c = \sqrt{r\kappa/2}\,(w_0 + w_1 - 2a)$.

    - `AllenCahn`: roots (-1, 0, 1) is the wall at rest, (0, -1, 1) the invasion of the unstable state; rate and diffusivity of the law.
    - `GrayScott` with equal diffusivities and kill 0: v with rate 1 and roots (0, v-, v+), v-+ = (1 -+ sqrt(1 - 4 feed)) / 2, and u = 1 - v.
    - `FitzHughNagumo` with rate 0 and uniform v: u with rate 1 and roots those of u - u^3 - v - offset.

    Args:
        coordinates: x, [y, [z]], of one shape.
        t: Time.
        diffusivity: kappa, above zero.
        rate: r, above zero.
        roots: The state ahead w_0, the third root a, the state behind w_1; w_1 > w_0, the third not between them is allowed too.
        direction: n, in the order x, y, z; taken to length one.
        position: p, distance of the front from the origin at t = 0.

    Returns:
        w, of the coordinates' shape broadcast with t.

    Raises:
        InputError: If the state behind is not above the one ahead, or a parameter is not positive.
    """
    ahead, third, behind = roots
    if not behind > ahead:
        raise InputError(f"bistable_front roots: expected (ahead, third, behind) with behind above ahead, got {roots}; turn the direction instead")
    kappa, r = check_positive(diffusivity, "bistable_front diffusivity"), check_positive(rate, "bistable_front rate")
    speed = math.sqrt(r * kappa / 2) * (ahead + behind - 2 * third)
    length = math.hypot(*direction)
    along = sum((n / length * x for n, x in zip(direction, coordinates, strict=True)), torch.zeros_like(coordinates[0]))
    return ahead + (behind - ahead) * torch.sigmoid(-(behind - ahead) * math.sqrt(r / (2 * kappa)) * (along - speed * t - position))


def korteweg_soliton(
    x: Tensor,
    t: float | Tensor,
    *,
    speed: float,
    nonlinearity: float = 6.0,
    dispersion: float = 1.0,
    position: float = 0.0,
) -> Tensor:
    r"""The soliton $\tfrac{3c}{a}\operatorname{sech}^2(\tfrac12\sqrt{c/b}\,(x - ct - p))$ of `KortewegDeVries` on the infinite line.

    Args:
        x: Coordinates.
        t: Time.
        speed: c, of the sign of b.
        nonlinearity: a, not zero.
        dispersion: b, not zero.
        position: p, of the crest at t = 0.

    Returns:
        u, of the shape of x broadcast with t.

    Raises:
        InputError: If the speed has not the sign of the dispersion, or a is zero.
    """
    steepness = _steepness(speed, nonlinearity, dispersion)
    return 3 * speed / nonlinearity / torch.cosh(steepness * (x - speed * t - position)) ** 2


def cnoidal_wave(
    x: Tensor,
    t: float | Tensor,
    *,
    extent: float,
    speed: float,
    nonlinearity: float = 6.0,
    dispersion: float = 1.0,
    position: float = 0.0,
) -> Tensor:
    r"""Solitons a period apart, $\tfrac{3c}{a}\sum_n \operatorname{sech}^2(s\,(x - c't - p - nL))$, $s = \tfrac12\sqrt{c/b}$.

    An exact solution of `KortewegDeVries` on the periodic line.
    Their sum solves the nonlinear law, since it is Weierstrass' $C - \wp$ times 3c/(a s^2); they slow each other down to
    $c' = 12 b C = c\,\big(1 - 6\sum_{n \ge 1}\sinh^{-2}(nsL)\big)$.

    Args:
        x: Coordinates.
        t: Time.
        extent: Period L.
        speed: c, that of a soliton alone, of the sign of b.
        nonlinearity: a, not zero.
        dispersion: b, not zero.
        position: p, of a crest at t = 0.

    Returns:
        u, of the shape of x broadcast with t.

    Raises:
        InputError: If the speed has not the sign of the dispersion, a is zero, or crests are too close (s L < 2) to be told from a sine.
    """
    steepness = _steepness(speed, nonlinearity, dispersion)
    apart = steepness * check_positive(extent, "cnoidal_wave extent")
    if apart < 2:
        raise InputError(f"cnoidal_wave: expected sqrt(speed / dispersion) extent / 2 of at least 2, got {apart:.3g}; take a faster wave")
    # sech^2 falls like exp(-2 s |x|), and |x| is at most half a period
    images = 1 + math.ceil(20 / apart)
    slowed = speed * (1 - 6 * sum(1 / math.sinh(n * apart) ** 2 for n in range(1, images + 1)))
    offset = torch.remainder(x - slowed * t - position + extent / 2, extent) - extent / 2
    crests = sum((1 / torch.cosh(steepness * (offset - n * extent)) ** 2 for n in range(-images, images + 1)), torch.zeros_like(offset))
    return 3 * speed / nonlinearity * crests


def kuramoto_shock(
    x: Tensor,
    t: float | Tensor,
    *,
    speed: float = 0.0,
    nonlinearity: float = 1.0,
    growth: float = 1.0,
    damping: float = 1.0,
    position: float = 0.0,
) -> Tensor:
    r"""The shock of `KuramotoSivashinsky` on the infinite line.

    $$u = \frac{c}{a} + \frac{g}{a}\sqrt{\frac{g}{d}}\;\frac{15}{19}\sqrt{\frac{11}{19}}\,\big(11\tanh^3\theta - 9\tanh\theta\big),\qquad
    \theta = \tfrac12\sqrt{\tfrac{11}{19}}\,\sqrt{g/d}\,(x - ct - p).$$

    Args:
        x: Coordinates.
        t: Time.
        speed: c.
        nonlinearity: a, not zero.
        growth: g, above zero.
        damping: d, above zero.
        position: p, of the middle at t = 0.

    Returns:
        u, of the shape of x broadcast with t.

    Raises:
        InputError: If a is zero, or growth or damping not positive.
    """
    if nonlinearity == 0:
        raise InputError("kuramoto_shock nonlinearity: expected a number other than zero, got 0; without steepening there is no shock")
    ratio = math.sqrt(check_positive(growth, "kuramoto_shock growth") / check_positive(damping, "kuramoto_shock damping"))
    root = math.sqrt(11 / 19)
    slope = torch.tanh(0.5 * root * ratio * (x - speed * t - position))
    return speed / nonlinearity + growth * ratio / nonlinearity * 15 / 19 * root * (11 * slope**3 - 9 * slope)


def _steepness(speed: float, nonlinearity: float, dispersion: float) -> float:
    """Half the root of c/b."""
    if nonlinearity == 0 or not math.isfinite(nonlinearity) or not speed * dispersion > 0:
        raise InputError(
            "soliton of KortewegDeVries: expected a nonlinearity other than zero and a speed of the sign of the dispersion, "
            f"got nonlinearity {nonlinearity:g}, speed {speed:g}, dispersion {dispersion:g}"
        )
    return 0.5 * math.sqrt(speed / dispersion)
