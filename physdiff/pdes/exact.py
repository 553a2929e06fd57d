r"""Exact solutions, as functions of coordinates and time: what solvers, residuals and networks are measured with.

Each is plain tensor algebra, differentiable, for coordinates of any shape and a time that broadcasts against them.

- `plane_wave`: a Fourier mode of advection, diffusion and reaction with constant coefficients.
- `gaussian_puff`: a Gaussian carried and spread on a periodic box.
- `cole_hopf_waves`: Burgers' equation by $u = -2\nu\,\theta_x/\theta$, $\theta_t = \nu\theta_{xx}$ (Hopf, 1950; Cole, 1951), periodic.
- `cole_hopf_sine`: the same from $u_0 = -\sin\pi x$ on [-1, 1], the benchmark of Basdevant et al., 1986.
- `taylor_green`: decaying vortices with drag, carried by a mean flow (Taylor and Green, 1937); its advection term vanishes.
- `ManufacturedFlow`: a flow without symmetry whose advection term does not vanish, with the forcing that sustains it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.saved import Saved

__all__ = ["ManufacturedFlow", "cole_hopf_sine", "cole_hopf_waves", "gaussian_puff", "plane_wave", "taylor_green"]


def plane_wave(
    coordinates: Sequence[Tensor],
    t: float | Tensor,
    *,
    wave_vector: Sequence[float],
    diffusivity: float,
    velocity: Sequence[float],
    reaction: float = 0.0,
    phase: float = 0.0,
) -> Tensor:
    """cos(k . (x - v t) + phase) exp((r - kappa k^2) t).

    Args:
        coordinates: x, [y, [z]], of one shape.
        t: Time.
        wave_vector: k, in the order x, y, z; per length.
        diffusivity: kappa.
        velocity: v, in the order x, y, z.
        reaction: r.
        phase: In radians.

    Returns:
        Values, of the coordinates' shape broadcast with t.
    """
    angle = sum((k * (x - v * t) for k, x, v in zip(wave_vector, coordinates, velocity, strict=True)), torch.zeros_like(coordinates[0]))
    rate = reaction - diffusivity * sum(k * k for k in wave_vector)
    return torch.cos(angle + phase) * torch.exp(rate * _like(t, coordinates[0]))


def gaussian_puff(
    coordinates: Sequence[Tensor],
    t: float | Tensor,
    *,
    diffusivity: float,
    velocity: Sequence[float],
    centre: Sequence[float],
    width: float,
    extent: Sequence[float],
) -> Tensor:
    """A puff of unit mass and standard deviation sqrt(width^2 + 2 kappa t), carried by a uniform wind in a periodic box.

    Args:
        coordinates: x, [y, [z]], of one shape.
        t: Time, at least zero.
        diffusivity: kappa.
        velocity: Wind, in the order x, y, z.
        centre: Of the puff at t = 0, in the order x, y, z.
        width: Standard deviation at t = 0.
        extent: Of the box, in the order x, y, z. Five images a side: exact to rounding while the puff is narrower than half the box.

    Returns:
        Values, of the coordinates' shape broadcast with t.
    """
    time = _like(t, coordinates[0])
    variance = check_positive(width, "gaussian_puff width") ** 2 + 2 * diffusivity * time
    total = torch.ones_like(coordinates[0])
    for x, v, x0, length in zip(coordinates, velocity, centre, extent, strict=True):
        offset = torch.remainder(x - x0 - v * time + length / 2, length) - length / 2
        images = sum((torch.exp(-((offset + n * length) ** 2) / (2 * variance)) for n in range(-5, 6)), torch.zeros_like(offset))
        total = total * images / torch.sqrt(2 * math.pi * variance)
    return total


def cole_hopf_waves(
    x: Tensor,
    t: float | Tensor,
    *,
    viscosity: float,
    extent: float,
    modes: Sequence[tuple[int, float, float]] = ((1, 0.5, 0.3), (2, 0.3, 1.1)),
) -> Tensor:
    r"""Burgers' equation from theta = 1 + sum_j a_j exp(-nu k_j^2 t) cos(k_j x + phase_j), k_j = 2 pi n_j / extent.

    Args:
        x: Coordinates.
        t: Time.
        viscosity: nu.
        extent: Period along x.
        modes: (n_j, a_j, phase_j); the |a_j| must sum to less than one.

    Returns:
        u, of the shape of x broadcast with t.

    Raises:
        InputError: If theta could vanish.
    """
    if sum(abs(a) for _, a, _ in modes) >= 1:
        raise InputError(f"cole_hopf_waves: expected amplitudes whose sizes sum to less than 1, got {[a for _, a, _ in modes]}")
    time = _like(t, x)
    theta, slope = torch.ones_like(x + time), torch.zeros_like(x + time)
    for n, a, phase in modes:
        k = 2 * math.pi * n / extent
        decayed = a * torch.exp(-viscosity * k * k * time)
        theta = theta + decayed * torch.cos(k * x + phase)
        slope = slope - k * decayed * torch.sin(k * x + phase)
    return -2 * viscosity * slope / theta


def cole_hopf_sine(x: Tensor, t: float | Tensor, *, viscosity: float, nodes: int = 120) -> Tensor:
    """Burgers' equation from u_0 = -sin(pi x), of period 2, by Gauss-Hermite quadrature of the Cole-Hopf integral.

    Args:
        x: Coordinates.
        t: Time, positive.
        viscosity: nu; with 120 nodes down to about 0.01 / pi.
        nodes: Of the quadrature.

    Returns:
        u, of the shape of x broadcast with t.
    """
    points, weights = (torch.as_tensor(v).to(x) for v in np.polynomial.hermite.hermgauss(nodes))
    y = x[..., None] - 2 * torch.sqrt(viscosity * _like(t, x))[..., None] * points
    exponent = -torch.cos(math.pi * y) / (2 * math.pi * viscosity)
    mass = weights * torch.exp(exponent - exponent.amax(-1, keepdim=True))
    return -(torch.sin(math.pi * y) * mass).sum(-1) / mass.sum(-1)


def taylor_green(
    x: Tensor,
    y: Tensor,
    t: float | Tensor,
    *,
    viscosity: float,
    wave_numbers: tuple[float, float],
    drag: float = 0.0,
    mean_flow: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Tensor]:
    """The flow psi = cos(k (x - U t)) cos(l (y - V t)) exp(-(nu (k^2 + l^2) + mu) t), with vorticity (k^2 + l^2) psi.

    Args:
        x: Coordinates.
        y: Coordinates.
        t: Time.
        viscosity: nu.
        wave_numbers: (k, l), per length.
        drag: mu.
        mean_flow: (U, V).

    Returns:
        `vorticity` and `streamfunction`, of the coordinates' shape broadcast with t.
    """
    (k, l), (along_x, along_y) = wave_numbers, mean_flow  # noqa: E741 - k and l as on the page
    square = k * k + l * l
    decay = torch.exp(-(viscosity * square + drag) * _like(t, x))
    psi = torch.cos(k * (x - along_x * t)) * torch.cos(l * (y - along_y * t)) * decay
    return {"vorticity": square * psi, "streamfunction": psi}


@dataclass(frozen=True, eq=False)
class ManufacturedFlow(Saved):
    r"""The flow psi = sum_j a_j cos(k_j x + l_j y - w_j t + phase_j), and the forcing under which it obeys NavierStokes.

    With waves of different $k^2 + l^2$ the advection term does not vanish, and with $k \ne l$ exchanging x and y changes it. The object is the
    forcing: hand it to ``NavierStokes(forcing=...)``.

    Args:
        viscosity: nu of the law it is made for.
        drag: mu of that law.
        waves: (a, k, l, w, phase) of each wave.
    """

    viscosity: float
    drag: float
    waves: tuple[tuple[float, float, float, float, float], ...]

    def fields(self, x: Tensor, y: Tensor, t: float | Tensor) -> dict[str, Tensor]:
        """`vorticity` and `streamfunction` at the points."""
        psi = omega = torch.zeros_like(x * _like(t, x))
        for a, k, l, w, phase in self.waves:  # noqa: E741
            wave = a * torch.cos(k * x + l * y - w * t + phase)
            psi, omega = psi + wave, omega + (k * k + l * l) * wave
        return {"vorticity": omega, "streamfunction": psi}

    def __call__(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """The forcing d omega/dt + u . grad omega - nu lap omega + mu omega at the points."""
        zero = torch.zeros_like(x * _like(t, x))
        psi_x = psi_y = omega_x = omega_y = linear = zero
        for a, k, l, w, phase in self.waves:  # noqa: E741
            angle = k * x + l * y - w * t + phase
            square, cosine, sine = k * k + l * l, a * torch.cos(angle), a * torch.sin(angle)
            psi_x, psi_y = psi_x - k * sine, psi_y - l * sine
            omega_x, omega_y = omega_x - square * k * sine, omega_y - square * l * sine
            linear = linear + square * (w * sine + (self.viscosity * square + self.drag) * cosine)
        return linear + psi_y * omega_x - psi_x * omega_y


def _like(t: float | Tensor, x: Tensor) -> Tensor:
    # a plain number must not pass through torch's default precision
    return t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
