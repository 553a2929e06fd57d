r"""Exact pressures around wells, and the exponential integral they are made of.

- `exponential_integral`: $E_1(x) = \int_x^\infty e^{-v}/v\,dv$, by its series up to 1 and its continued fraction beyond, differentiable.
- `line_source`: the change of pressure $\Delta p = \frac{q}{4\pi k h}\,E_1(r^2/4\eta t)$ when a well takes the rate q (Theis, 1935); a fault that
  seals, or a boundary of constant pressure, at the distance L is an image at 2 L (added or subtracted). The two straight lines of a fault's
  semilogarithmic plot cross at $t_x$ with $L = e^{-\gamma/2}\sqrt{\eta t_x} = 0.7493\sqrt{\eta t_x}$.
- `closed_reservoir_rate`: in a closed reservoir the mean pressure changes at $-q/(\phi c_t h A)$.
- `stehfest`: a function of time from its Laplace transform (Stehfest, 1970), and `finite_well`: a well of finite radius with storage $C_D$ and
  skin S, $\tilde p = \frac{1}{s}\,\frac{K_0(\sqrt s) + S\sqrt s K_1(\sqrt s)}
  {\sqrt s K_1(\sqrt s) + C_D s\,(K_0(\sqrt s) + S\sqrt s K_1(\sqrt s))}$ (Agarwal, Al-Hussainy and Ramey, 1970).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError

__all__ = ["closed_reservoir_rate", "distance_to_fault", "exponential_integral", "finite_well", "line_source", "stehfest"]

_EULER = 0.57721566490153286


def exponential_integral(x: Tensor) -> Tensor:
    """E1(x) for x above zero, to rounding, differentiable once and more.

    Raises:
        InputError: If x is not above zero somewhere.
    """
    if not bool((x.detach() > 0).all()):
        raise InputError(f"exponential_integral: expected numbers above zero, got {float(x.detach().min()):g}; leave out the well itself and t = 0")
    small = x <= 1
    near, far = torch.where(small, x, torch.ones_like(x)), torch.where(small, torch.ones_like(x), x)
    total, power = -_EULER - near.log(), torch.ones_like(x)
    for n in range(1, 20):  # 1/(19 19!) is below rounding
        power = power * near / n
        total = total + power / n if n % 2 else total - power / n
    fraction = far  # x + 1/(1 + 1/(x + 2/(1 + 2/(x + ...)))), from the inside; 90 levels at x = 1
    for n in range(90, 0, -1):
        fraction = far + n / (1 + n / fraction)
    return torch.where(small, total, torch.exp(-far) / fraction)


def line_source(
    r: Tensor,
    t: float | Tensor,
    *,
    diffusivity: float,
    strength: float = 1.0,
    distance: float | None = None,
    boundary: str = "sealing",
    image: Tensor | None = None,
) -> Tensor:
    """Drop of pressure at the distances r after the times t > 0.

    Args:
        r: Distance from the well, positive.
        t: Time since it opened.
        diffusivity: eta, positive, length squared per time.
        strength: q / (4 pi k h), with k the mobility: a pressure.
        distance: L from the well to a straight boundary; None for none.
        boundary: ``"sealing"`` or ``"constant pressure"``.
        image: Distance from the image to the points; 2 L if None, which is right near the well.
    """
    four = 4 * check_positive(diffusivity, "line_source diffusivity")
    drop = exponential_integral(r**2 / (four * t))
    if distance is not None:
        sign = 1.0 if check_one_of(boundary, ("constant pressure", "sealing"), "line_source boundary") == "sealing" else -1.0
        away = torch.full_like(r, 2 * check_positive(distance, "line_source distance")) if image is None else image
        drop = drop + sign * exponential_integral(away**2 / (four * t))
    return strength * drop


def distance_to_fault(crossing: float, diffusivity: float) -> float:
    """L of a sealing fault from the time at which the two straight lines cross: exp(-gamma/2) sqrt(eta t)."""
    return math.exp(-_EULER / 2) * math.sqrt(check_positive(diffusivity, "distance_to_fault diffusivity") * check_positive(crossing, "crossing"))


def closed_reservoir_rate(rate: float, *, storage: float, thickness: float, area: float) -> float:
    """How fast the mean pressure changes when a closed reservoir gives q: -q / (phi c_t h A)."""
    return -rate / (check_positive(storage, "storage") * check_positive(thickness, "thickness") * check_positive(area, "area"))


def stehfest(transform: Callable[[Tensor], Tensor], t: Tensor, *, terms: int = 12) -> Tensor:
    """f(t) from its Laplace transform F(s) at real s, in float64; for functions that do not oscillate.

    Args:
        transform: F of s (..., terms), float64.
        t: Times above zero, (...,).
        terms: Even; 12 is as many as double precision bears.

    Raises:
        InputError: If the number of terms is not even, or a time not above zero.
    """
    if terms < 2 or terms % 2 or terms > 16:
        raise InputError(f"stehfest terms: expected an even number from 2 to 16, got {terms}")
    if not bool((t.detach() > 0).all()):
        raise InputError("stehfest: expected times above zero")
    i = torch.arange(1, terms + 1, dtype=torch.float64, device=t.device)
    s = i * math.log(2) / t.double()[..., None]
    weights = torch.tensor([_weight(n, terms) for n in range(1, terms + 1)], dtype=torch.float64, device=t.device)
    return math.log(2) / t.double() * (weights * transform(s)).sum(-1)


def finite_well(t: Tensor, *, storage: float = 0.0, skin: float = 0.0, terms: int = 12) -> Tensor:
    """Dimensionless pressure in a well of radius one that gives a constant rate: t_D = eta t / r_w^2, p_D = 2 pi k h dp / q.

    Args:
        t: t_D, positive.
        storage: C_D, at least zero.
        skin: S, at least zero.
        terms: Of Stehfest's sum; its error is some 1e-4 of the pressure.
    """
    check_positive(storage, "finite_well storage", zero=True)
    check_positive(skin, "finite_well skin", zero=True)

    def transform(s: Tensor) -> Tensor:
        root = s.sqrt()
        flow = root * torch.special.modified_bessel_k1(root)
        drop = torch.special.modified_bessel_k0(root) + skin * flow
        made: Tensor = drop / (s * (flow + storage * s * drop))
        return made

    return stehfest(transform, t, terms=terms)


def _weight(i: int, n: int) -> float:
    half, f = n // 2, math.factorial
    terms = (k**half * f(2 * k) / (f(half - k) * f(k) * f(k - 1) * f(i - k) * f(2 * k - i)) for k in range((i + 1) // 2, min(i, half) + 1))
    return float((-1) ** (i + half) * sum(terms))
