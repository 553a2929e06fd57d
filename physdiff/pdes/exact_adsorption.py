r"""Exact solutions of `AdvectionAdsorption` without a limit to what can be bound.

With $X = k_a\beta x/v$ and $\tau = k_d(t - x/v)$, c in units of the inlet's and q in units of $k_a/k_d$ of that, the law without diffusion is
$c_X = -q_\tau$, $q_\tau = c - q$, with the Laplace transform $\hat c = \hat c_{in}\,e^{-Xs/(s+1)}$ (Goldstein, 1953; Lapidus and Amundson, 1952).

- `step_response`: the outlet after a step at the inlet of an empty column, $J = 1 - e^{-\tau}\int_0^X e^{-s} I_0(2\sqrt{s\tau})\,ds$.
- `pulse_response`: after a pulse; mass 1, mean X and variance 2X in $\tau$, of which $e^{-X}$ passes unbound at $\tau = 0$.
- `adsorption_wave`: a Fourier mode of a periodic column, diffusion included.
"""

from __future__ import annotations

import cmath
import math

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive

__all__ = ["adsorption_wave", "pulse_response", "step_response"]


def step_response(x: Tensor, t: float | Tensor, *, velocity: float, adsorption: float, desorption: float, ratio: float = 1.0) -> dict[str, Tensor]:
    r"""Both phases after c = 1 is let into an empty column at t = 0; an injection of length T is the step at t minus the step at t - T.

    Args:
        x: Distance from the inlet, at least zero.
        t: Time.
        velocity: v, above zero.
        adsorption: k_a, above zero.
        desorption: k_d, above zero.
        ratio: beta, above zero.

    Returns:
        `c` as a share of the inlet's and `q` in the same unit, of the shape of x broadcast with t; zero before the flow arrives.
    """
    X, tau = _scaled(x, t, velocity, adsorption, desorption, ratio)
    # not zero: the root's slope there would turn the gradients of masked points into not-a-number
    arrived, X, tau = tau >= 0, X.clamp_min(1e-30), tau.clamp_min(1e-30)
    c = _step(X, tau)
    # q_tau = c - q from an empty column: the same integral with the two arguments exchanged
    q = 1 - _step(tau, X)
    nothing = torch.zeros_like(c)
    return {"c": torch.where(arrived, c, nothing), "q": torch.where(arrived, adsorption / desorption * q, nothing)}


def pulse_response(X: Tensor, tau: Tensor) -> Tensor:
    r"""The bound part $e^{-X-\tau}\sqrt{X/\tau}\,I_1(2\sqrt{X\tau})$ of the answer to a pulse at $\tau = 0$; $e^{-X}\delta(\tau)$ passes unbound.

    Args:
        X: Place in units of the module's docstring, above zero.
        tau: Time in them, above zero.

    Returns:
        Share of the pulse per unit of tau, of the arguments' shape.
    """
    root = 2 * torch.sqrt(X * tau)
    scaled: Tensor = torch.special.i1e(root)
    return torch.exp(-((torch.sqrt(X) - torch.sqrt(tau)) ** 2)) * torch.sqrt(X / tau) * scaled


def adsorption_wave(
    x: Tensor,
    t: float | Tensor,
    *,
    wave_number: float,
    velocity: float,
    adsorption: float,
    desorption: float,
    ratio: float = 1.0,
    diffusivity: float = 0.0,
) -> dict[str, Tensor]:
    r"""The slower mode $c = \mathrm{Re}\,e^{ikx + st}$, $q = \mathrm{Re}\,\frac{k_a}{s + k_d}e^{ikx + st}$.

    Its rate s solves $(s + ikv + \kappa k^2)(s + k_d) + \beta k_a s = 0$.

    Args:
        x: Coordinates.
        t: Time.
        wave_number: k, per length.
        velocity: v.
        adsorption: k_a, above zero.
        desorption: k_d, above zero.
        ratio: beta.
        diffusivity: kappa.

    Returns:
        `c` and `q`, of the shape of x broadcast with t.
    """
    carried = 1j * wave_number * velocity + diffusivity * wave_number**2
    half, product = (carried + desorption + ratio * adsorption) / 2, carried * desorption
    root = cmath.sqrt(half * half - product)
    rate = max((-half + root, -half - root), key=lambda s: s.real)
    amplitude = adsorption / (rate + desorption)
    time = _like(t, x)
    decay, angle = torch.exp(rate.real * time), wave_number * x + rate.imag * time
    return {"c": decay * torch.cos(angle), "q": decay * abs(amplitude) * torch.cos(angle + cmath.phase(amplitude))}


def _scaled(x: Tensor, t: float | Tensor, velocity: float, adsorption: float, desorption: float, ratio: float) -> tuple[Tensor, Tensor]:
    v = check_positive(velocity, "step_response velocity")
    factors = (check_positive(value, f"step_response {name}") for name, value in (("adsorption", adsorption), ("ratio", ratio)))
    return math.prod(factors) / v * x, check_positive(desorption, "step_response desorption") * (_like(t, x) - x / v)


def _step(X: Tensor, tau: Tensor) -> Tensor:
    r"""$1 - \int_0^X e^{-(\sqrt s - \sqrt\tau)^2}\,I_0^e(2\sqrt{s\tau})\,ds$ by Gauss quadrature in $\sqrt s$, where the integrand is smooth."""
    points, weights = (torch.as_tensor(v).to(X) for v in np.polynomial.legendre.leggauss(96))
    root, late = torch.sqrt(X)[..., None], torch.sqrt(tau)[..., None]
    r = root * (points + 1) / 2
    inside = torch.exp(-((r - late) ** 2)) * torch.special.i0e(2 * r * late) * r
    total: Tensor = 1 - (root * inside * weights).sum(-1)
    return total


def _like(t: float | Tensor, x: Tensor) -> Tensor:
    # a plain number must not pass through torch's default precision
    return t.to(x) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=x.dtype, device=x.device)
