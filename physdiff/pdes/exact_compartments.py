r"""Closed forms of two systems in which a diffusing substance meets a body: what their solvers and surrogates are measured with.

**A cell in a disk.** The substance obeys $D\,\Delta U = (1+\lambda) U$ outside a cell of radius $\varepsilon$ at the centre of the unit
disk, nothing leaves the disk, and the cell's wall is permeable, $\varepsilon D\,\partial_r U = d_1 U - d_2 u$. With
$w = \sqrt{(1+\lambda)/D}$ the solution is $U = a\,\phi(r)$, $\phi = I_0(wr) K_1(w) + K_0(wr) I_1(w)$, and the flux into the cell

$$\frac1\varepsilon\oint (d_1 U - d_2 u)\,ds = -T\,d_2 u, \qquad
T = \frac{2\pi\,\varepsilon D\,\phi'(\varepsilon)}{\varepsilon D\,\phi'(\varepsilon) - d_1\phi(\varepsilon)}.$$

For small cells, with $\nu = -1/\ln\varepsilon$ and R the regular part of the disk's Helmholtz function at its centre,
$T \sim 2\pi\nu D / d_1 / (1 + \nu D/d_1 + 2\pi\nu R)$ (Ward and Keller, 1993, for the method of matched logarithms).

**An active drop.** A sphere that emits a solute evenly is at rest until the solute, carried by the flow its own gradients drive, breaks the
symmetry. Mode n of the perturbation is neutral at the Peclet number (built on the mobility of mode 1)

$$\mathrm{Pe}_1 = 4, \qquad \mathrm{Pe}_n = 4 (n+1)\,\mu_1/\mu_n \quad (n \ge 2), \qquad
\mu_1 = \frac{3\chi M + G}{2 + 3\chi}, \quad \mu_n = \frac{\chi M + G/(2n+1)}{1+\chi},$$

with the ratio $\chi$ of inner to outer viscosity, the phoretic mobility M and the Marangoni number G (Morozov and Michelin, 2019).
"""

from __future__ import annotations

import math

import torch

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = ["cell_flux", "cell_flux_asymptotic", "drop_mobility", "drop_threshold"]

_EULER = 0.57721566490153286


def cell_flux(radius: float, *, diffusivity: float, permeability: float, growth: float = 0.0) -> float:
    """T of the module's docstring, exact: flux into the cell per d_2 u, with the sign turned.

    Args:
        radius: epsilon, between 0 and 1, the radius of the disk.
        diffusivity: D, positive.
        permeability: d_1, positive.
        growth: lambda, above -1.

    Raises:
        InputError: If an argument is out of its range.
    """
    _check(radius, diffusivity, permeability, growth)
    w = math.sqrt((1 + growth) / diffusivity)
    ends = torch.tensor([w, w * radius], dtype=torch.float64)
    i0, i1 = torch.special.modified_bessel_i0(ends), torch.special.modified_bessel_i1(ends)
    k0, k1 = torch.special.modified_bessel_k0(ends), torch.special.modified_bessel_k1(ends)
    value = i0[1] * k1[0] + k0[1] * i1[0]
    slope = w * (i1[1] * k1[0] - k1[1] * i1[0])
    carried = radius * diffusivity * slope
    return float(2 * math.pi * carried / (carried - permeability * value))


def cell_flux_asymptotic(radius: float, *, diffusivity: float, permeability: float, growth: float = 0.0) -> float:
    """T for small cells, off by O(radius^2 / log): all logarithms summed; arguments as in `cell_flux`."""
    _check(radius, diffusivity, permeability, growth)
    w = math.sqrt((1 + growth) / diffusivity)
    one = torch.tensor(w, dtype=torch.float64)
    ratio = float(torch.special.modified_bessel_k1(one) / torch.special.modified_bessel_i1(one))
    regular = (math.log(2 / w) - _EULER + ratio) / (2 * math.pi)
    nu = -1 / math.log(radius)
    share = nu * diffusivity / permeability
    return 2 * math.pi * share / (1 + share + 2 * math.pi * nu * regular)


def drop_mobility(mode: int, *, viscosity_ratio: float, phoretic: float, marangoni: float) -> float:
    """mu_n: how strongly mode n of the solute at the surface drives the flow.

    Args:
        mode: n, at least 1.
        viscosity_ratio: chi, inner over outer viscosity, at least zero.
        phoretic: M.
        marangoni: G.

    Raises:
        InputError: If the mode is below 1 or the ratio negative.
    """
    check_positive(viscosity_ratio, "drop_mobility viscosity_ratio", zero=True)
    if mode < 1:
        raise InputError(f"drop_mobility mode: expected 1 or more, got {mode}; mode 0 drives no flow")
    if mode == 1:
        return (3 * viscosity_ratio * phoretic + marangoni) / (2 + 3 * viscosity_ratio)
    return (viscosity_ratio * phoretic + marangoni / (2 * mode + 1)) / (1 + viscosity_ratio)


def drop_threshold(mode: int, *, viscosity_ratio: float, phoretic: float, marangoni: float) -> float:
    """Peclet number at which mode n neither grows nor decays; arguments as in `drop_mobility`.

    Raises:
        InputError: If the mode drives the solute back (mu_n / mu_1 not positive): then it never grows.
    """
    kind = {"viscosity_ratio": viscosity_ratio, "phoretic": phoretic, "marangoni": marangoni}
    first, own = drop_mobility(1, **kind), drop_mobility(mode, **kind)
    if not own * first > 0:
        raise InputError(f"drop_threshold: expected mobilities of one sign, got mu_1 = {first:g} and mu_{mode} = {own:g}; this mode never grows")
    return 4.0 if mode == 1 else 4 * (mode + 1) * first / own


def _check(radius: float, diffusivity: float, permeability: float, growth: float) -> None:
    check_positive(diffusivity, "cell_flux diffusivity")
    check_positive(permeability, "cell_flux permeability")
    if not 0 < radius < 1:
        raise InputError(f"cell_flux radius: expected a number between 0 and 1, the radius of the disk, got {radius!r}")
    if not growth > -1:
        raise InputError(f"cell_flux growth: expected more than -1, got {growth!r}")
