r"""Exact flows in the plane as vorticity and stream function, as functions of coordinates and time.

Each is plain tensor algebra, differentiable, for coordinates of any shape and a time that broadcasts against them. Periodic vortices that decay
(`taylor_green`) and a flow that is made to order (`ManufacturedFlow`) are in exact.py.

- `kolmogorov_laminar`: the steady flow under Kolmogorov's forcing (Meshalkin and Sinai, 1961).
- `lamb_oseen`: a vortex that was a point and spreads (Oseen, 1912; Lamb, Hydrodynamics, 1932).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = ["kolmogorov_laminar", "lamb_oseen"]


def kolmogorov_laminar(x: Tensor, y: Tensor, *, amplitude: float, wave_number: float, viscosity: float, drag: float = 0.0) -> dict[str, Tensor]:
    r"""The flow $u = U\sin ky$ along x, $U = A/(k(\nu k^2 + \mu))$, kept up by `KolmogorovForcing(A, k)`.

    Args:
        x: Coordinates.
        y: Coordinates.
        amplitude: A, of the forcing's curl.
        wave_number: k.
        viscosity: nu.
        drag: mu.

    Returns:
        `vorticity` and `streamfunction`, of the coordinates' shape.

    Raises:
        InputError: If there is neither viscosity nor drag: then nothing holds the forcing.
    """
    rate = viscosity * wave_number**2 + drag
    if not rate > 0:
        raise InputError(f"kolmogorov_laminar: expected viscosity or drag above zero, got {viscosity:g} and {drag:g}; the flow would grow for ever")
    vorticity = -amplitude / rate * torch.cos(wave_number * y) + 0 * x
    return {"vorticity": vorticity, "streamfunction": vorticity / wave_number**2}


def lamb_oseen(
    x: Tensor,
    y: Tensor,
    t: float | Tensor,
    *,
    circulation: float,
    viscosity: float,
    centre: tuple[float, float] = (0.0, 0.0),
    mean_flow: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Tensor]:
    r"""$\omega = \frac{\Gamma}{4\pi\nu t}e^{-s}$, $s = r^2/4\nu t$, on the infinite plane.

    It turns with the speed $\frac{\Gamma}{2\pi r}(1 - e^{-s})$. The stream function is $-\frac{\Gamma}{4\pi}\operatorname{Ein}(s)$, zero at the
    centre, by quadrature of $\operatorname{Ein}(s) = \int_0^1 (1 - e^{-sv})/v\,dv$ (to rounding up to s of some thousand).

    Args:
        x: Coordinates.
        y: Coordinates.
        t: Time since the vortex was a point, above zero.
        circulation: Gamma, length squared per time.
        viscosity: nu, above zero.
        centre: At t = 0.
        mean_flow: Uniform velocity that carries it.

    Returns:
        `vorticity` and `streamfunction`, of the coordinates' shape broadcast with t.
    """
    time = _like(t, x)
    spread = 4 * check_positive(viscosity, "lamb_oseen viscosity") * time
    dx, dy = (c - c0 - v * time for c, c0, v in zip((x, y), centre, mean_flow, strict=True))
    s = (dx**2 + dy**2) / spread
    points, weights = (torch.as_tensor(v).to(x) for v in np.polynomial.legendre.leggauss(160))
    places = (points + 1) / 2
    ein = -(torch.expm1(-s[..., None] * places) * (weights / (2 * places))).sum(-1)
    return {"vorticity": circulation / (math.pi * spread) * torch.exp(-s), "streamfunction": -circulation / (4 * math.pi) * ein}


def _like(t: float | Tensor, x: Tensor) -> Tensor:
    # a plain number must not pass through torch's default precision
    return t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
