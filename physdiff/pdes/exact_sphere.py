r"""Flows of shallow water on the sphere, by which solvers are judged, as functions of longitude and latitude in radians.

- `zonal_flow`: solid-body rotation in balance, steady whatever the tilt of its axis (test 2 of Williamson et al., A standard test set for
  numerical approximations to the shallow water equations in spherical geometry, 1992).
- `rossby_haurwitz`: a wave that moves eastward almost unchanged (test 6 there); exact for flow without divergence, not for shallow water.
- `zonal_jet`: a jet of middle latitudes in balance; steady, but a bump in the depth makes it roll up (Galewsky, Scott and Polvani, An
  initial-value problem for testing numerical models of the global shallow-water equations, 2004).
- `mountain`: ground, not a flow; `zonal_flow` over it is test 5 of Williamson et al., which has no closed form.

Lengths are metres, times seconds. The depth is that over flat ground; components are eastward and northward.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["GRAVITY", "RADIUS", "ROTATION_RATE", "mountain", "rossby_haurwitz", "zonal_flow", "zonal_jet"]

RADIUS = 6.37122e6
ROTATION_RATE = 7.292e-5
GRAVITY = 9.80616
_DAY = 86400.0
_JET = (math.pi / 7, math.pi / 2 - math.pi / 7)


def zonal_flow(
    longitude: Tensor,
    latitude: Tensor,
    *,
    speed: float = 2 * math.pi * RADIUS / (12 * _DAY),
    geopotential: float = 2.94e4,
    tilt: float = 0.0,
) -> dict[str, Tensor]:
    r"""$u = u_0 c$ around the tilted axis, $gh = gh_0 - (a\Omega u_0 + u_0^2/2)\,s^2$, s and c the sine and cosine of the latitude about it.

    Args:
        longitude: Radians.
        latitude: Radians.
        speed: Of the flow at its equator.
        geopotential: g times the depth there, of the sphere's surface.
        tilt: Angle between the axis of the flow, with that of the rotation (`ShallowWaterSphere(tilt=)`), and the poles of the coordinates.

    Returns:
        `velocity_x`, `velocity_y` and `depth`, of the coordinates' shape.
    """
    sine = torch.sin(latitude) * math.cos(tilt) - torch.cos(longitude) * torch.cos(latitude) * math.sin(tilt)
    east = torch.cos(latitude) * math.cos(tilt) + torch.cos(longitude) * torch.sin(latitude) * math.sin(tilt)
    depth = (geopotential - (RADIUS * ROTATION_RATE * speed + speed**2 / 2) * sine**2) / GRAVITY
    return {"velocity_x": speed * east, "velocity_y": -speed * math.sin(tilt) * torch.sin(longitude), "depth": depth}


def rossby_haurwitz(longitude: Tensor, latitude: Tensor, *, wave: int = 4, rate: float = 7.848e-6, depth: float = 8000.0) -> dict[str, Tensor]:
    r"""The wave of the stream function $-a^2\omega\sin\phi + a^2 K\cos^R\phi\sin\phi\cos R\lambda$ with $K = \omega$, its depth in balance.

    Without divergence it would turn at the rate $(R(3 + R)\omega - 2\Omega)/((1 + R)(2 + R))$ about the axis.

    Args:
        longitude: Radians.
        latitude: Radians.
        wave: R, number of crests around the sphere.
        rate: Omega and K of the formula, per second.
        depth: At the poles.

    Returns:
        `velocity_x`, `velocity_y` and `depth`, of the coordinates' shape.
    """
    r, k = wave, rate
    c, s = torch.cos(latitude), torch.sin(latitude)
    u = RADIUS * rate * c + RADIUS * k * c ** (r - 1) * (r * s**2 - c**2) * torch.cos(r * longitude)
    v = -RADIUS * k * r * c ** (r - 1) * s * torch.sin(r * longitude)
    mean = rate / 2 * (2 * ROTATION_RATE + rate) * c**2
    mean = mean + k**2 / 4 * c ** (2 * r - 2) * ((r + 1) * c**4 + (2 * r**2 - r - 2) * c**2 - 2 * r**2)
    once = 2 * (ROTATION_RATE + rate) * k / ((r + 1) * (r + 2)) * c**r * (r**2 + 2 * r + 2 - (r + 1) ** 2 * c**2)
    twice = k**2 / 4 * c ** (2 * r) * ((r + 1) * c**2 - (r + 2))
    over = mean + once * torch.cos(r * longitude) + twice * torch.cos(2 * r * longitude)
    return {"velocity_x": u, "velocity_y": v, "depth": depth + RADIUS**2 / GRAVITY * over}


def zonal_jet(longitude: Tensor, latitude: Tensor, *, mean_depth: float = 1e4, bump: float = 0.0) -> dict[str, Tensor]:
    r"""$u = \frac{80}{e_n}\exp\frac1{(\phi - \phi_0)(\phi - \phi_1)}$ between $\phi_0 = \pi/7$ and $\phi_1 = \pi/2 - \phi_0$, 80 m/s at its centre.

    The depth is in balance, $g h_\phi = -u(2a\Omega\sin\phi + u\tan\phi)$, by quadrature, plus
    $B\cos\phi\,e^{-(3\lambda)^2}e^{-(15(\pi/4 - \phi))^2}$ with longitude from $-\pi$ to $\pi$.

    Args:
        longitude: Radians.
        latitude: Radians.
        mean_depth: Mean over the sphere, without the bump.
        bump: B in metres: 120 in the reference; 0 leaves the jet steady.

    Returns:
        `velocity_x`, `velocity_y` and `depth`, of the coordinates' shape.
    """
    places, index = torch.unique(latitude, return_inverse=True)
    nodes, weights = (torch.as_tensor(v, dtype=torch.float64, device=latitude.device) for v in np.polynomial.legendre.leggauss(200))
    low, high = _JET
    half = (places.double().clamp(low, high) - low) / 2
    at = low + half[:, None] * (nodes + 1)
    fallen = half * (_slope(at) * weights).sum(-1)
    every = low + (high - low) / 2 * (nodes + 1)
    # the mean over the sphere of what the depth falls by from the south pole on, by parts
    mean = (high - low) / 4 * (_slope(every) * (1 - torch.sin(every)) * weights).sum()
    depth = (mean_depth + (mean - fallen) / GRAVITY).to(latitude)[index]
    if bump:
        around = torch.remainder(longitude + math.pi, 2 * math.pi) - math.pi
        depth = depth + bump * torch.cos(latitude) * torch.exp(-((3 * around) ** 2) - (15 * (math.pi / 4 - latitude)) ** 2)
    return {"velocity_x": _jet(latitude), "velocity_y": torch.zeros_like(latitude), "depth": depth}


def mountain(longitude: Tensor, latitude: Tensor, t: float | Tensor = 0.0) -> Tensor:
    r"""$b = 2000\,(1 - r/R)$ with $r^2 = \min(R^2, (\lambda - \tfrac{3\pi}2)^2 + (\phi - \tfrac\pi6)^2)$, $R = \pi/9$: `topography` of test 5.

    The flow of that test is ``zonal_flow(longitude, latitude, speed=20.0, geopotential=5960 * GRAVITY)``, whose depth less b is the depth.

    Args:
        longitude: Radians.
        latitude: Radians.
        t: Not used; the ground stands.

    Returns:
        Height in metres, of the coordinates' shape.
    """
    along = torch.remainder(longitude - math.pi / 2, 2 * math.pi) - math.pi
    return 2000 * (1 - 9 / math.pi * torch.hypot(along, latitude - math.pi / 6)).clamp_min(0)


def _jet(latitude: Tensor) -> Tensor:
    low, high = _JET
    inside = (latitude > low) & (latitude < high)
    product = torch.where(inside, (latitude - low) * (latitude - high), -torch.ones_like(latitude))
    return torch.where(inside, 80.0 * torch.exp(4 / (high - low) ** 2 + 1 / product), torch.zeros_like(latitude))


def _slope(latitude: Tensor) -> Tensor:
    """Minus g times the derivative of the depth in latitude."""
    u = _jet(latitude)
    return u * (2 * RADIUS * ROTATION_RATE * torch.sin(latitude) + u * torch.tan(latitude))
