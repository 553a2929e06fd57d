r"""Exact waves of nonlinear laws, as functions of coordinates and time: what solvers, residuals and networks are measured with.

Each is plain tensor algebra, differentiable, for coordinates of any shape and a time that broadcasts against them.

- `bistable_front`: a front of $w_t = \kappa\Delta w + r\,(w - w_0)(w_1 - w)(w - a)$ between two rest states (Nagumo et al., 1962), and with it
  of `AllenCahn`, `GrayScott` and `FitzHughNagumo`.
- `korteweg_soliton`, `cnoidal_wave`: of `KortewegDeVries`, alone and periodic (Korteweg and de Vries, 1895).
- `kuramoto_shock`: of `KuramotoSivashinsky` (Kuramoto and Tsuzuki, 1976).
- `fisher_front`: of `FisherKPP` (Ablowitz and Zeppetella, 1979), and `logistic`, its growth where nothing varies in space.
- `schroedinger_soliton`, `schroedinger_breather`: of `NonlinearSchroedinger` (Zakharov and Shabat, 1972; Satsuma and Yajima, 1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = [
    "bistable_front",
    "cnoidal_wave",
    "fisher_front",
    "korteweg_soliton",
    "kuramoto_shock",
    "logistic",
    "schroedinger_breather",
    "schroedinger_soliton",
]


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


def fisher_front(x: Tensor, t: float | Tensor, *, diffusivity: float, rate: float, position: float = 0.0) -> Tensor:
    r"""The front $u = [1 + e^{\sqrt{r/6\kappa}\,(x - ct - p)}]^{-2}$ of `FisherKPP`, of speed $c = 5\sqrt{r\kappa/6}$, on the infinite line.

    Args:
        x: Coordinates; turn their sign for a front that runs the other way.
        t: Time.
        diffusivity: kappa, above zero.
        rate: r, above zero.
        position: p, of the front (u = 1/4) at t = 0.

    Returns:
        u, of the shape of x broadcast with t.
    """
    kappa, r = check_positive(diffusivity, "fisher_front diffusivity"), check_positive(rate, "fisher_front rate")
    return torch.sigmoid(-math.sqrt(r / (6 * kappa)) * (x - 5 * math.sqrt(r * kappa / 6) * t - position)) ** 2


def logistic(start: Tensor, t: float | Tensor, *, rate: float | Tensor) -> Tensor:
    r"""$u = u_0 e^{rt}/(1 + u_0(e^{rt} - 1))$, the growth of `FisherKPP` without diffusion: exact for steps of any length.

    Args:
        start: u_0, at least zero.
        t: Time, at least zero.
        rate: r.

    Returns:
        u, of the shape of u_0 broadcast with t and r.
    """
    time = t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=start.dtype, device=start.device)
    # divided by exp(rt) above and below, which could overflow
    left = torch.exp(-rate * time)
    return start / (left + start * (1 - left))


def schroedinger_soliton(
    x: Tensor,
    t: float | Tensor,
    *,
    steepness: float,
    speed: float = 0.0,
    dispersion: float = 0.5,
    nonlinearity: float = 1.0,
    position: float = 0.0,
) -> dict[str, Tensor]:
    r"""The soliton $h = s\sqrt{2d/g}\,\operatorname{sech}(s(x - ct - p))\,e^{i\varphi}$ of `NonlinearSchroedinger` on the infinite line.

    Its phase is $\varphi = \frac{c(x - p)}{2d} + \big(ds^2 - \frac{c^2}{4d}\big)t$.

    Args:
        x: Coordinates.
        t: Time.
        steepness: s, above zero; height and width follow from it.
        speed: c.
        dispersion: d, above zero.
        nonlinearity: g, above zero (focusing).
        position: p, of the crest at t = 0.

    Returns:
        `real` and `imaginary`, of the shape of x broadcast with t.
    """
    s, d = check_positive(steepness, "schroedinger_soliton steepness"), check_positive(dispersion, "schroedinger_soliton dispersion")
    height = s * math.sqrt(2 * d / check_positive(nonlinearity, "schroedinger_soliton nonlinearity"))
    envelope = height / torch.cosh(s * (x - speed * t - position))
    phase = speed * (x - position) / (2 * d) + (d * s * s - speed * speed / (4 * d)) * t
    return {"real": envelope * torch.cos(phase), "imaginary": envelope * torch.sin(phase)}


def schroedinger_breather(x: Tensor, t: float | Tensor) -> dict[str, Tensor]:
    r"""The two solitons that start as $h = 2\operatorname{sech}x$ with d = 1/2, g = 1, and breathe with the period $\pi/2$.

    $$h = \frac{4\,e^{it/2}\,(\cosh 3x + 3e^{4it}\cosh x)}{\cosh 4x + 4\cosh 2x + 3\cos 4t}$$

    Args:
        x: Coordinates.
        t: Time.

    Returns:
        `real` and `imaginary` of `NonlinearSchroedinger(0.5, 1.0)`, of the shape of x broadcast with t.
    """
    time = t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
    # every term divided by exp(4 |x|) / 2, which would overflow far away
    a = x.abs()
    wide, narrow = torch.exp(-a) + torch.exp(-7 * a), torch.exp(-3 * a) + torch.exp(-5 * a)
    below = 1 + torch.exp(-8 * a) + 4 * (torch.exp(-2 * a) + torch.exp(-6 * a)) + 6 * torch.exp(-4 * a) * torch.cos(4 * time)
    real = wide * torch.cos(time / 2) + 3 * narrow * torch.cos(4.5 * time)
    imaginary = wide * torch.sin(time / 2) + 3 * narrow * torch.sin(4.5 * time)
    return {"real": 4 * real / below, "imaginary": 4 * imaginary / below}


def _steepness(speed: float, nonlinearity: float, dispersion: float) -> float:
    """Half the root of c/b."""
    if nonlinearity == 0 or not math.isfinite(nonlinearity) or not speed * dispersion > 0:
        raise InputError(
            "soliton of KortewegDeVries: expected a nonlinearity other than zero and a speed of the sign of the dispersion, "
            f"got nonlinearity {nonlinearity:g}, speed {speed:g}, dispersion {dispersion:g}"
        )
    return 0.5 * math.sqrt(speed / dispersion)
