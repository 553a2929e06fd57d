r"""Exact flows of shallow water, as functions of coordinates and time.

- `ritter`: a dam that breaks before dry ground, $h = (2\sqrt{g h_0} - x/t)^2/9g$ in the fan (Ritter, 1892).
- `stoker`: before shallower water, with a bore (Stoker, 1957).
- `water_vortex`: $u_\theta = \tfrac{\beta}{2\pi} r\,e^{(1-r^2)/2}$ in balance with the surface, at rest in rotating water or carried by a mean flow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = ["ritter", "stoker", "water_vortex"]


def ritter(x: Tensor, t: float, *, depth: float, gravity: float = 9.81, position: float = 0.0) -> dict[str, Tensor]:
    """Water of uniform depth on the left that is let go before dry ground on the right.

    Args:
        x: Coordinates.
        t: Time since the dam broke, at least zero.
        depth: On the left.
        gravity: g.
        position: Of the dam.

    Returns:
        `depth` and `velocity_x` (zero on dry ground), of x's shape.
    """
    c = math.sqrt(check_positive(gravity, "ritter gravity") * check_positive(depth, "ritter depth"))
    xi = _speed_of(x - position, t).clamp(-c, 2 * c)
    h = (2 * c - xi) ** 2 / (9 * gravity)
    return {"depth": h, "velocity_x": torch.where(h > 0, 2 / 3 * (c + xi), torch.zeros_like(xi))}


def stoker(x: Tensor, t: float, *, depths: tuple[float, float], gravity: float = 9.81, position: float = 0.0) -> dict[str, Tensor]:
    """Water at rest of two depths, the greater on the left: a rarefaction and a bore.

    Args:
        x: Coordinates.
        t: Time since the dam broke, at least zero.
        depths: On the left and on the right, both above zero.
        gravity: g.
        position: Of the dam.

    Returns:
        `depth` and `velocity_x`, of x's shape.

    Raises:
        InputError: If the water on the left is not deeper.
    """
    left, right = depths
    g = check_positive(gravity, "stoker gravity")
    if not left > check_positive(right, "stoker depth on the right"):
        raise InputError(f"stoker depths: expected deeper water on the left, got {depths}; mirror the axis, or use ritter for dry ground")
    low, high = right, left
    for _ in range(200):  # the velocity behind the bore grows with depth, that of the rarefaction falls: bisection to rounding
        middle = (low + high) / 2
        behind = (middle - right) * math.sqrt(g / 2 * (1 / middle + 1 / right))
        low, high = (middle, high) if behind < 2 * (math.sqrt(g * left) - math.sqrt(g * middle)) else (low, middle)
    middle = (low + high) / 2
    velocity = 2 * (math.sqrt(g * left) - math.sqrt(g * middle))
    bore = velocity * middle / (middle - right)
    xi, c = _speed_of(x - position, t), math.sqrt(g * left)
    fan = xi.clamp(-c, velocity - math.sqrt(g * middle))
    ahead = xi > bore
    h = torch.where(ahead, torch.full_like(xi, right), (2 * c - fan) ** 2 / (9 * g))
    return {"depth": h, "velocity_x": torch.where(ahead, torch.zeros_like(xi), 2 / 3 * (c + fan))}


def water_vortex(
    coordinates: Sequence[Tensor],
    t: float | Tensor,
    *,
    extent: tuple[float, float],
    centre: tuple[float, float] = (0.0, 0.0),
    strength: float = 5.0,
    depth: float = 1.0,
    gravity: float = 1.0,
    rotation: tuple[float, tuple[float, float]] = (0.0, (0.0, 0.0)),
) -> dict[str, Tensor]:
    r"""A vortex whose surface balances it: $g h = g h_0 - \tfrac{\beta^2}{8\pi^2}e^{1-r^2} - \tfrac{f\beta}{2\pi}e^{(1-r^2)/2}$.

    Args:
        coordinates: x and y, of one shape.
        t: Time.
        extent: Of the periodic box along x and y, 10 or more for a vortex that ends before its copies (e^-12 at half of 10).
        centre: Of the vortex at t = 0.
        strength: beta.
        depth: h_0, far from the vortex.
        gravity: g.
        rotation: Coriolis number f and mean flow; one of the two must vanish, since in rotating water a mean flow needs a tilted surface.

    Returns:
        `depth`, `velocity_x`, `velocity_y`, of the coordinates' shape broadcast with t.

    Raises:
        InputError: If both rotation and mean flow are given, or the vortex would be dry in its centre.
    """
    f, flow = rotation
    if f != 0 and any(v != 0 for v in flow):
        raise InputError(f"water_vortex: expected rotation f = 0 or no mean flow, got f = {f} and {flow}")
    if gravity * depth <= strength**2 * math.e / (8 * math.pi**2) + f * strength * math.sqrt(math.e) / (2 * math.pi):
        raise InputError(f"water_vortex: a vortex of strength {strength} is dry in its centre; take deeper water or less strength")
    dx, dy = (_wrapped(x - x0 - v * t, length) for x, x0, v, length in zip(coordinates, centre, flow, extent, strict=True))
    half = torch.exp((1 - dx**2 - dy**2) / 2)
    spin = strength / (2 * math.pi) * half
    h = depth - (spin**2 / 2 + f * spin) / gravity
    return {"depth": h, "velocity_x": flow[0] - spin * dy, "velocity_y": flow[1] + spin * dx}


def _wrapped(offset: Tensor, length: float) -> Tensor:
    return torch.remainder(offset + length / 2, length) - length / 2


def _speed_of(offset: Tensor, t: float) -> Tensor:
    return offset / t if t > 0 else torch.sign(offset) * 1e30
