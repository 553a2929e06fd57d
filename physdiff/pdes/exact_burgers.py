r"""Exact solutions of Burgers' equation: shocks, fans, N-waves, series, and waves in the plane.

Each is plain tensor algebra, differentiable where the solution is, for coordinates of any shape and a time that broadcasts against them.
Periodic solutions by the transform of Cole and Hopf are in exact.py.

- `viscous_shock`: two states and the step between them, travelling (Burgers, 1948).
- `riemann`: the inviscid solution of a jump, a shock or a fan of rays (Lax, 1957).
- `n_wave`: a positive and a negative hump that run apart and decay (Whitham, Linear and Nonlinear Waves, 1974, 4.5).
- `bessel_sine`: from $u_0 = \sin\pi x$ between walls at 0 and 1, Cole's series of Bessel functions (Cole, 1951).
- `oblique_waves`: plane waves under an angle, of the scalar and of the vector law.
- `plane_front`: a front of both components of the vector law (Fletcher, 1983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.pdes.exact import cole_hopf_waves

__all__ = ["bessel_sine", "n_wave", "oblique_waves", "plane_front", "riemann", "viscous_shock"]


def viscous_shock(x: Tensor, t: float | Tensor, *, viscosity: float, left: float, right: float, position: float = 0.0) -> Tensor:
    r"""$u = s - \tfrac12(u_l - u_r)\tanh\frac{(u_l - u_r)(x - x_0 - st)}{4\nu}$ with the speed $s = (u_l + u_r)/2$.

    Args:
        x: Coordinates.
        t: Time.
        viscosity: nu, above zero.
        left: u_l, above u_r.
        right: u_r.
        position: x_0, the middle at t = 0.

    Returns:
        u, of the shape of x broadcast with t.

    Raises:
        InputError: If the left state is not above the right one: then the step is a fan, see `riemann`.
    """
    if not left > right:
        raise InputError(f"viscous_shock: expected left above right, got {left:g} and {right:g}; a rising step spreads, see riemann")
    jump, speed = left - right, (left + right) / 2
    return speed - jump / 2 * torch.tanh(jump * (x - position - speed * t) / (4 * check_positive(viscosity, "viscous_shock viscosity")))


def riemann(x: Tensor, t: float | Tensor, *, left: float, right: float, position: float = 0.0) -> Tensor:
    r"""The inviscid solution of a jump: a shock of speed $(u_l + u_r)/2$ if $u_l > u_r$, else the fan $u = (x - x_0)/t$ between both states.

    Args:
        x: Coordinates.
        t: Time, at least zero.
        left: u_l.
        right: u_r.
        position: x_0, of the jump at t = 0.

    Returns:
        u, of the shape of x broadcast with t; at the shock itself the right state.
    """
    offset, time = x - position + 0 * _like(t, x), _like(t, x)
    if left > right:
        return torch.where(offset < (left + right) / 2 * time, left, right).to(x)
    # at t = 0 the fan is the jump itself
    rays = offset / time.clamp_min(torch.finfo(x.dtype).tiny)
    return rays.clamp(left, right)


def n_wave(x: Tensor, t: float | Tensor, *, viscosity: float, scale: float = 1.0) -> Tensor:
    r"""$u = \frac{x}{t}\big/\big(1 + \sqrt{t/a}\,e^{x^2/4\nu t}\big)$, from $\theta = 1 + \sqrt{a/t}\,e^{-x^2/4\nu t}$ of Cole and Hopf.

    Each half has the area $2\nu\ln(1 + \sqrt{a/t})$, which falls as viscosity cancels one against the other.

    Args:
        x: Coordinates.
        t: Time, above zero.
        viscosity: nu, above zero.
        scale: a, above zero; the larger, the steeper.

    Returns:
        u, of the shape of x broadcast with t.
    """
    time, nu = _like(t, x), check_positive(viscosity, "n_wave viscosity")
    # 1 / (1 + e^y) as a sigmoid does not overflow far away
    exponent = x**2 / (4 * nu * time) + 0.5 * torch.log(time / check_positive(scale, "n_wave scale"))
    return x / time * torch.sigmoid(-exponent)


def bessel_sine(x: Tensor, t: float | Tensor, *, viscosity: float) -> Tensor:
    r"""From $u_0 = \sin\pi x$ with u = 0 at 0 and 1: a quotient of series in $I_n(1/2\pi\nu)\,e^{-n^2\pi^2\nu t}$.

    $$u = 4\pi\nu\,\frac{\sum_n n I_n e^{-n^2\pi^2\nu t}\sin n\pi x}{I_0 + 2\sum_n I_n e^{-n^2\pi^2\nu t}\cos n\pi x}$$

    The same formula continues it to the whole line, odd and of period 2.

    Args:
        x: Coordinates.
        t: Time, at least zero.
        viscosity: nu, at least 0.02: below, the denominator cancels near x = 1 (`exact.cole_hopf_sine` goes further).

    Returns:
        u, of the shape of x broadcast with t.

    Raises:
        InputError: If the viscosity is too small.
    """
    if not viscosity >= 0.02:
        raise InputError(f"bessel_sine viscosity: expected at least 0.02, got {viscosity:g}; take exact.cole_hopf_sine(x - 1, t), which is the same")
    time = _like(t, x)
    weights = _scaled_bessel(1 / (2 * math.pi * viscosity))
    above, below = torch.zeros_like(x * time), weights[0] + torch.zeros_like(x * time)
    for n, weight in enumerate(weights[1:], start=1):
        decayed = weight * torch.exp(-((n * math.pi) ** 2) * viscosity * time)
        above = above + n * decayed * torch.sin(n * math.pi * x)
        below = below + 2 * decayed * torch.cos(n * math.pi * x)
    return 4 * math.pi * viscosity * above / below


def oblique_waves(
    x: Tensor,
    y: Tensor,
    t: float | Tensor,
    *,
    viscosity: float,
    wave_vector: tuple[float, float],
    extent: float,
    modes: Sequence[tuple[int, float, float]] = ((1, 0.5, 0.3), (2, 0.3, 1.1)),
) -> Tensor:
    r"""The w of $w_t + w\,(w_x + w_y) = \nu\Delta w$ that depends on $\xi = ax + by$ and t alone.

    With $W = (a + b)w$ it is $W_t + WW_\xi = \nu(a^2 + b^2)W_{\xi\xi}$, solved by `exact.cole_hopf_waves`. `Burgers` has it as u,
    `VectorBurgers` as both components. (a, b) = (1, 1) is the diagonal wave $w_t + (w^2)_\xi = 2\nu w_{\xi\xi}$.

    Args:
        x: Coordinates.
        y: Coordinates.
        t: Time.
        viscosity: nu.
        wave_vector: (a, b), whose sum is not zero.
        extent: Period in xi.
        modes: As in `exact.cole_hopf_waves`.

    Returns:
        w, of the coordinates' shape broadcast with t.

    Raises:
        InputError: If a + b is zero: such waves do not steepen.
    """
    a, b = wave_vector
    if a + b == 0:
        raise InputError(f"oblique_waves wave_vector: expected components whose sum is not zero, got {wave_vector}; such waves only diffuse")
    return cole_hopf_waves(a * x + b * y, t, viscosity=viscosity * (a * a + b * b), extent=extent, modes=modes) / (a + b)


def plane_front(x: Tensor, y: Tensor, t: float | Tensor, *, viscosity: float) -> dict[str, Tensor]:
    r"""$\mathbf u = (\tfrac34 - g, \tfrac34 + g)$ with $g = \tfrac14\big/\big(1 + e^{(-4x + 4y - t)/32\nu}\big)$.

    Args:
        x: Coordinates, usually in [0, 1].
        y: Coordinates.
        t: Time.
        viscosity: nu, above zero.

    Returns:
        `velocity_x` and `velocity_y`, of the coordinates' shape broadcast with t.
    """
    g = 0.25 * torch.sigmoid((4 * x - 4 * y + t) / (32 * check_positive(viscosity, "plane_front viscosity")))
    return {"velocity_x": 0.75 - g, "velocity_y": 0.75 + g}


def _scaled_bessel(z: float) -> list[float]:
    """I_n(z) e^-z for n = 0, 1, ..., by Miller's backward recurrence, to where they are negligible."""
    count = 30 + int(6 * math.sqrt(z) + z)
    values = [0.0] * (count + 2)
    values[count] = 1e-300
    for n in range(count, 0, -1):
        values[n - 1] = values[n + 1] + 2 * n / z * values[n]
        if values[n - 1] > 1e200:
            values = [v * 1e-200 for v in values]
    total = values[0] + 2 * sum(values[1:])
    return [v / total for v in values[: count + 1] if v / total > 1e-18]


def _like(t: float | Tensor, x: Tensor) -> Tensor:
    # a plain number must not pass through torch's default precision
    return t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
