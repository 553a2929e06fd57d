r"""Exact solutions of advection and diffusion beyond the periodic box, as functions of coordinates and time.

Each is plain tensor algebra, differentiable, for coordinates of any shape and a time that broadcasts against them.

- `decaying_puff`: a point release that is carried, spread (differently along each direction) and decays.
- `sheared_gaussian`: a point release in a linear shear; its length grows like $t^{3/2}$ (Taylor, 1953; Okubo, 1968).
- `rotating_gaussian`: a Gaussian in solid-body rotation, back where it was after one turn.
- `ground_plume`: the steady plume of a stack over ground that reflects it (Sutton, 1932).
- `ogata_banks`: a step at the inlet of a half line (Ogata and Banks, 1961).
- `boundary_layer`: the steady layer at an outlet of given value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive

__all__ = ["boundary_layer", "decaying_puff", "ground_plume", "ogata_banks", "rotating_gaussian", "sheared_gaussian"]


def decaying_puff(
    coordinates: Sequence[Tensor],
    t: float | Tensor,
    *,
    diffusivity: Sequence[float],
    velocity: Sequence[float],
    decay: float = 0.0,
    mass: float = 1.0,
) -> Tensor:
    r"""$M e^{-\lambda t}\prod_i (4\pi K_i t)^{-1/2} e^{-(x_i - v_i t)^2/4K_i t}$ on the infinite line, plane or space.

    Args:
        coordinates: x, [y, [z]], of one shape.
        t: Time since the release at the origin, above zero.
        diffusivity: K along x, y, z, above zero.
        velocity: v, in the order x, y, z.
        decay: lambda, per time (the law's reaction is its negative).
        mass: M, amount.

    Returns:
        Amount per length, area or volume, of the coordinates' shape broadcast with t.
    """
    time = _like(t, coordinates[0])
    total = mass * torch.exp(-decay * time)
    for x, k, v in zip(coordinates, diffusivity, velocity, strict=True):
        spread = 4 * check_positive(k, "decaying_puff diffusivity") * time
        total = total * torch.exp(-((x - v * time) ** 2) / spread) / torch.sqrt(math.pi * spread)
    return total


def sheared_gaussian(
    x: Tensor,
    y: Tensor,
    t: float | Tensor,
    *,
    diffusivity: float,
    shear: float,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    r"""A unit point release in the wind $(\gamma (y - y_0), 0)$: a Gaussian about its source.

    Its covariance is $\sigma_{yy} = 2Kt$, $\sigma_{xy} = K\gamma t^2$, $\sigma_{xx} = 2Kt(1 + \gamma^2t^2/3)$.

    Args:
        x: Coordinates.
        y: Coordinates.
        t: Time since the release, above zero.
        diffusivity: K, above zero.
        shear: gamma, per time.
        centre: (x_0, y_0), where the release was and the wind vanishes.

    Returns:
        Amount per area, of the coordinates' shape broadcast with t.
    """
    time, k = _like(t, x), check_positive(diffusivity, "sheared_gaussian diffusivity")
    yy, xy, xx = 2 * k * time, k * shear * time**2, 2 * k * time * (1 + (shear * time) ** 2 / 3)
    area = xx * yy - xy**2
    dx, dy = x - centre[0], y - centre[1]
    return torch.exp(-(yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / (2 * area)) / (2 * math.pi * torch.sqrt(area))


def rotating_gaussian(
    x: Tensor,
    y: Tensor,
    t: float | Tensor,
    *,
    diffusivity: float,
    rotation: float,
    start: tuple[float, float],
    width: float,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    r"""A Gaussian of unit mass in the wind $\Omega(-(y - y_0), x - x_0)$: it turns about the centre and its variance grows by 2Kt.

    Args:
        x: Coordinates.
        y: Coordinates.
        t: Time.
        diffusivity: K, at least zero.
        rotation: Omega, per time; back after 2 pi / Omega.
        start: Of the Gaussian's middle at t = 0.
        width: Standard deviation at t = 0.
        centre: (x_0, y_0), of the rotation.

    Returns:
        Amount per area, of the coordinates' shape broadcast with t.
    """
    time = _like(t, x)
    variance = check_positive(width, "rotating_gaussian width") ** 2 + 2 * diffusivity * time
    along, across = start[0] - centre[0], start[1] - centre[1]
    cosine, sine = torch.cos(rotation * time), torch.sin(rotation * time)
    dx = x - centre[0] - (cosine * along - sine * across)
    dy = y - centre[1] - (sine * along + cosine * across)
    return torch.exp(-(dx**2 + dy**2) / (2 * variance)) / (2 * math.pi * variance)


def ground_plume(x: Tensor, y: Tensor, z: Tensor, *, rate: float, wind: float, diffusivity: float, height: float) -> Tensor:
    r"""The steady plume $\frac{Q}{2\pi U\sigma^2}e^{-y^2/2\sigma^2}\big(e^{-(z-H)^2/2\sigma^2} + e^{-(z+H)^2/2\sigma^2}\big)$, $\sigma^2 = 2Kx/U$.

    It solves the law with diffusivity (0, K, K) and velocity (U, 0, 0) above the ground z = 0, where nothing passes (`Neumann(0)`).

    Args:
        x: Distance downwind of the stack, above zero.
        y: Distance across.
        z: Height, at least zero.
        rate: Q, amount per time.
        wind: U, above zero.
        diffusivity: K across the wind, above zero.
        height: H, of the stack.

    Returns:
        Amount per volume, of the coordinates' shape.
    """
    variance = 2 * check_positive(diffusivity, "ground_plume diffusivity") * x / check_positive(wind, "ground_plume wind")
    up = torch.exp(-((z - height) ** 2) / (2 * variance)) + torch.exp(-((z + height) ** 2) / (2 * variance))
    return rate / (2 * math.pi * wind * variance) * torch.exp(-(y**2) / (2 * variance)) * up


def ogata_banks(x: Tensor, t: float | Tensor, *, velocity: float, diffusivity: float) -> Tensor:
    r"""Behind a step at the inlet: $\tfrac12[\operatorname{erfc}\xi_- + e^{vx/K}\operatorname{erfc}\xi_+]$, $\xi_\mp = (x \mp vt)/2\sqrt{Kt}$.

    It starts from zero on x > 0, is 1 at x = 0 and falls to zero far away. The second term is computed as
    $e^{-\xi_-^2}\operatorname{erfcx}\xi_+$, whose factors do not overflow.

    Args:
        x: Distance from the inlet, at least zero.
        t: Time, above zero.
        velocity: v, at least zero.
        diffusivity: K, above zero.

    Returns:
        Share of the inlet's value, of the shape of x broadcast with t.
    """
    time = _like(t, x)
    check_positive(velocity, "ogata_banks velocity", zero=True)
    spread = 2 * torch.sqrt(check_positive(diffusivity, "ogata_banks diffusivity") * time)
    behind, ahead = (x - velocity * time) / spread, (x + velocity * time) / spread
    front: Tensor = torch.special.erfc(behind) + torch.exp(-(behind**2)) * torch.special.erfcx(ahead)
    return 0.5 * front


def boundary_layer(x: Tensor, *, peclet: float) -> Tensor:
    r"""The steady layer $(e^{Pe\,x} - 1)/(e^{Pe} - 1)$ on [0, 1] between c(0) = 0 and c(1) = 1.

    It solves the law with velocity v and diffusivity v / Pe; a large Pe makes it 1 / Pe thick, at x = 1 for positive and at x = 0 for negative ones.

    Args:
        x: Coordinates in [0, 1].
        peclet: Pe = v L / K, of either sign.

    Returns:
        c, of the shape of x.
    """
    if peclet == 0:
        return x
    if peclet < 0:
        return torch.expm1(peclet * x) / math.expm1(peclet)
    # divided by exp(Pe) above and below, so that neither overflows
    return torch.exp(peclet * (x - 1)) * torch.expm1(-peclet * x) / math.expm1(-peclet)


def _like(t: float | Tensor, x: Tensor) -> Tensor:
    # a plain number must not pass through torch's default precision
    return t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
