r"""Exact flows of an ideal gas, and initial states of known tests, as functions of coordinates and time.

- `isentropic_vortex`: $\delta u = \tfrac{\beta}{2\pi}e^{(1-r^2)/2}(-\delta y, \delta x)$, $T = 1 - \tfrac{(\gamma-1)\beta^2}{8\gamma\pi^2}e^{1-r^2}$,
  $\rho = T^{1/(\gamma-1)}$, $p = \rho T$, carried by a mean flow (Yee, Sandham and Djomehri, 1999).
- `density_wave`: any density, carried at uniform velocity and pressure.
- `sound_wave`: a plane wave of small amplitude with its decay
  $\tfrac{k^2}{2}\left[\tfrac{4\eta/3 + \zeta}{\rho} + \tfrac{(\gamma-1)\lambda}{\rho c_p}\right]$
  (Landau and Lifshitz, Fluid Mechanics, section 79); errors are of second order in amplitude and of second order in the decay per radian.
- `shu_osher`: a shock that runs into waves of density (Shu and Osher, 1989); an initial state, not a solution.
- `DOUBLE_RAREFACTION`: two states that fly apart (Einfeldt et al., 1991); with `gas_riemann` exact, and a test of positivity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.pdes.exact_riemann import GasState

__all__ = ["DOUBLE_RAREFACTION", "density_wave", "isentropic_vortex", "shu_osher", "sound_damping", "sound_wave"]

DOUBLE_RAREFACTION = (GasState(1.0, -2.0, 0.4), GasState(1.0, 2.0, 0.4))
"""Left and right states, heat ratio 1.4."""


def isentropic_vortex(
    coordinates: Sequence[Tensor],
    t: float | Tensor,
    *,
    extent: tuple[float, float],
    centre: tuple[float, float] = (0.0, 0.0),
    strength: float = 5.0,
    flow: tuple[float, float] = (1.0, 1.0),
    heat_ratio: float = 1.4,
) -> dict[str, Tensor]:
    """A vortex of uniform entropy in a periodic box.

    Args:
        coordinates: x and y, of one shape.
        t: Time.
        extent: Of the box along x and y, 10 or more.
        centre: Of the vortex at t = 0.
        strength: beta.
        flow: Mean velocity.
        heat_ratio: gamma.

    Returns:
        `density`, `velocity_x`, `velocity_y`, `pressure`, of the coordinates' shape broadcast with t.
    """
    dx, dy = (_wrapped(x - x0 - v * t, length) for x, x0, v, length in zip(coordinates, centre, flow, extent, strict=True))
    spin = strength / (2 * math.pi) * torch.exp((1 - dx**2 - dy**2) / 2)
    temperature = 1 - (heat_ratio - 1) / (2 * heat_ratio) * spin**2
    density = temperature ** (1 / (heat_ratio - 1))
    return {"density": density, "velocity_x": flow[0] - spin * dy, "velocity_y": flow[1] + spin * dx, "pressure": density * temperature}


def density_wave(
    coordinates: Sequence[Tensor], t: float | Tensor, *, profile: Callable[..., Tensor], velocity: Sequence[float], pressure: float = 1.0
) -> dict[str, Tensor]:
    """A density `profile(x, [y, [z]])` carried at uniform velocity and pressure; a solution of Euler only.

    Args:
        coordinates: x, [y, [z]], of one shape.
        t: Time.
        profile: Density at t = 0, above zero.
        velocity: In the order x, y, z.
        pressure: Uniform.

    Returns:
        `density`, `velocity_x`, ..., `pressure`.
    """
    density = profile(*(x - v * t for x, v in zip(coordinates, velocity, strict=True)))
    uniform = {f"velocity_{name}": torch.full_like(density, v) for name, v in zip("xyz", velocity, strict=False)}
    return {"density": density, **uniform, "pressure": torch.full_like(density, pressure)}


def sound_damping(
    wave_number: float,
    *,
    density: float = 1.0,
    viscosity: float = 0.0,
    bulk_viscosity: float = 0.0,
    conductivity: float = 0.0,
    heat_ratio: float = 1.4,
) -> float:
    """Rate per time at which the amplitude of sound decays; the gas constant is one, so c_p = gamma / (gamma - 1)."""
    friction = (4 / 3 * viscosity + bulk_viscosity) / density
    return wave_number**2 / 2 * (friction + (heat_ratio - 1) ** 2 * conductivity / (density * heat_ratio))


def sound_wave(
    x: Tensor,
    t: float | Tensor,
    *,
    wave_number: float,
    amplitude: float,
    density: float = 1.0,
    pressure: float = 1.0,
    heat_ratio: float = 1.4,
    damping: float = 0.0,
) -> dict[str, Tensor]:
    """A plane wave that runs to the right, to first order in its amplitude.

    Args:
        x: Coordinates.
        t: Time.
        wave_number: k.
        amplitude: Of the density.
        density: Of the gas at rest.
        pressure: Of the gas at rest.
        heat_ratio: gamma.
        damping: See `sound_damping`.

    Returns:
        `density`, `velocity_x`, `pressure`, of the shape of x broadcast with t.
    """
    c = math.sqrt(heat_ratio * check_positive(pressure, "sound_wave pressure") / check_positive(density, "sound_wave density"))
    time = t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
    wave = amplitude * torch.exp(-damping * time) * torch.sin(wave_number * (x - c * time))
    return {"density": density + wave, "velocity_x": c / density * wave, "pressure": pressure + c**2 * wave}


def shu_osher(x: Tensor) -> dict[str, Tensor]:
    """A shock of Mach number 3 at x = -4 before density 1 + 0.2 sin 5x, on [-5, 5], heat ratio 1.4, to t = 1.8."""
    behind = x < -4
    ahead = {"density": 1 + 0.2 * torch.sin(5 * x), "velocity_x": torch.zeros_like(x), "pressure": torch.ones_like(x)}
    shocked = {"density": 3.857143, "velocity_x": 2.629369, "pressure": 10.33333}
    return {name: torch.where(behind, torch.full_like(x, shocked[name]), f) for name, f in ahead.items()}


def _wrapped(offset: Tensor, length: float) -> Tensor:
    return torch.remainder(offset + length / 2, length) - length / 2
