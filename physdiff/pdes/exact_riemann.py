r"""Riemann problems solved exactly: two constant states that meet, as functions of place and time.

For a gas the pressure between the waves solves $f_L(p) + f_R(p) + u_R - u_L = 0$ with, for a shock ($p > p_K$) and a rarefaction,

$$f_K = (p - p_K)\sqrt{\frac{2/((\gamma+1)\rho_K)}{p + \tfrac{\gamma-1}{\gamma+1}p_K}}, \qquad
f_K = \frac{2c_K}{\gamma-1}\left[\left(\frac p{p_K}\right)^{\frac{\gamma-1}{2\gamma}} - 1\right],$$

by Newton's method from the two-rarefaction guess. `burgers_riemann` is a shock of speed $(u_L + u_R)/2$ or the fan $u = x/t$. Reference: Toro,
Riemann Solvers and Numerical Methods for Fluid Dynamics, 2009, chapter 4; Sod, 1978.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = ["SOD", "GasState", "burgers_riemann", "gas_riemann", "star_state"]


@dataclass(frozen=True)
class GasState:
    """A uniform gas.

    Args:
        density: Above zero.
        velocity: Along x.
        pressure: Above zero.
    """

    density: float
    velocity: float
    pressure: float

    def __post_init__(self) -> None:
        check_positive(self.density, "GasState density")
        check_positive(self.pressure, "GasState pressure")

    def sound_speed(self, heat_ratio: float) -> float:
        """C = sqrt(gamma p / rho)."""
        return math.sqrt(heat_ratio * self.pressure / self.density)


SOD = (GasState(1.0, 0.0, 1.0), GasState(0.125, 0.0, 0.1))
"""Left and right states of Sod's tube, heat ratio 1.4."""


def star_state(left: GasState, right: GasState, heat_ratio: float = 1.4) -> tuple[float, float]:
    """Pressure and velocity between the waves, to rounding.

    Raises:
        InputError: If the states move apart so fast that a vacuum opens, or the heat ratio is not above one.
    """
    g = heat_ratio
    if not g > 1:
        raise InputError(f"star_state heat_ratio: expected a number above 1, got {g!r}")
    c_l, c_r = left.sound_speed(g), right.sound_speed(g)
    gap = right.velocity - left.velocity
    if not gap < 2 * (c_l + c_r) / (g - 1):
        most = 2 * (c_l + c_r) / (g - 1)
        raise InputError(f"star_state: the states move apart by {gap:g}, faster than gas expands ({most:g}); a vacuum opens between them")
    z = (g - 1) / (2 * g)
    p = ((c_l + c_r - (g - 1) / 2 * gap) / (c_l / left.pressure**z + c_r / right.pressure**z)) ** (1 / z)
    for _ in range(50):
        (f_l, slope_l), (f_r, slope_r) = _jump(p, left, g), _jump(p, right, g)
        new = max(p - (f_l + f_r + gap) / (slope_l + slope_r), p * 1e-3)
        done, p = abs(new - p) <= 1e-15 * new, new
        if done:
            break
    return p, (left.velocity + right.velocity + _jump(p, right, g)[0] - _jump(p, left, g)[0]) / 2


def gas_riemann(
    x: Tensor,
    t: float | Tensor,
    states: tuple[GasState, GasState] = SOD,
    *,
    heat_ratio: float = 1.4,
    position: float = 0.0,
) -> dict[str, Tensor]:
    """The flow of an ideal gas from two uniform states.

    Args:
        x: Coordinates.
        t: Time since the states met, at least zero.
        states: On the left and on the right.
        heat_ratio: gamma.
        position: Where they met.

    Returns:
        `density`, `velocity_x` and `pressure`, of the shape of x broadcast with t.
    """
    left, right = states
    p, v = star_state(left, right, heat_ratio)
    time = t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
    offset = x - position
    # at t = 0 any speed far outside the waves will do
    xi = torch.where(time > 0, offset / torch.where(time > 0, time, torch.ones_like(time)), torch.sign(offset) * 1e30)
    one_side = _half(xi, left, (p, v), heat_ratio)
    # the right half is the left one in a mirror
    mirrored = GasState(right.density, -right.velocity, right.pressure)
    other = _half(-xi, mirrored, (p, -v), heat_ratio)
    on_left = xi < v
    made = {name: torch.where(on_left, one_side[name], other[name]) for name in ("density", "pressure")}
    return {**made, "velocity_x": torch.where(on_left, one_side["velocity_x"], -other["velocity_x"])}


def burgers_riemann(x: Tensor, t: float | Tensor, states: tuple[float, float], *, position: float = 0.0) -> Tensor:
    """Burgers' equation without viscosity from two values: a shock if left > right, else a rarefaction.

    Args:
        x: Coordinates.
        t: Time, at least zero.
        states: Values on the left and on the right.
        position: Where they met.

    Returns:
        u, of the shape of x broadcast with t.
    """
    left, right = states
    time = t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
    offset = x - position
    if left > right:
        return torch.where(offset < (left + right) / 2 * time, left, right) + torch.zeros_like(offset)
    safe = torch.where(time > 0, time, torch.ones_like(time))
    return torch.where(time > 0, (offset / safe).clamp(left, right), torch.where(offset < 0, left, right) + torch.zeros_like(offset))


def _jump(p: float, state: GasState, g: float) -> tuple[float, float]:
    """Change of velocity across the wave to pressure p, and its derivative."""
    if p > state.pressure:
        a, b = 2 / ((g + 1) * state.density), (g - 1) / (g + 1) * state.pressure
        root = math.sqrt(a / (p + b))
        return (p - state.pressure) * root, root * (1 - (p - state.pressure) / (2 * (p + b)))
    c, ratio = state.sound_speed(g), p / state.pressure
    return 2 * c / (g - 1) * (ratio ** ((g - 1) / (2 * g)) - 1), ratio ** (-(g + 1) / (2 * g)) / (state.density * c)


def _half(xi: Tensor, state: GasState, star: tuple[float, float], g: float) -> dict[str, Tensor]:
    """Everything on the left of the contact, as a function of x / t."""
    p, v = star
    c = state.sound_speed(g)
    if p > state.pressure:
        ratio, k = p / state.pressure, (g - 1) / (g + 1)
        density = state.density * (ratio + k) / (k * ratio + 1)
        speed = state.velocity - c * math.sqrt((g + 1) / (2 * g) * ratio + (g - 1) / (2 * g))
        inside = xi > speed
        pairs = {"density": (density, state.density), "velocity_x": (v, state.velocity), "pressure": (p, state.pressure)}
        return {name: torch.where(inside, torch.full_like(xi, a), torch.full_like(xi, b)) for name, (a, b) in pairs.items()}
    inner = c * (p / state.pressure) ** ((g - 1) / (2 * g))
    # speeds outside the fan are moved to its edges, where it meets the uniform states
    at = xi.clamp(state.velocity - c, v - inner)
    velocity = 2 / (g + 1) * (c + (g - 1) / 2 * state.velocity + at)
    ratio_c = (velocity - at) / c
    return {
        "density": state.density * ratio_c ** (2 / (g - 1)),
        "velocity_x": velocity,
        "pressure": state.pressure * ratio_c ** (2 * g / (g - 1)),
    }
