"""A cell in a disk and an active drop: closed forms against boundary value problems solved by finite differences, and the card's numbers."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.pdes.exact_compartments import cell_flux, cell_flux_asymptotic, drop_mobility, drop_threshold

CELL = {"diffusivity": 1.0, "permeability": 0.8}
MARANGONI = {"phoretic": 0.0, "marangoni": 1.0}
PHORETIC = {"phoretic": 1.0, "marangoni": 0.0}


@pytest.mark.parametrize(("radius", "exact", "asymptotic"), [(0.05, 1.43991, 1.44729), (0.01, 1.11592, 1.11624)])
def test_cell_golden_numbers(radius, exact, asymptotic):
    # the card prints five decimals
    assert cell_flux(radius, **CELL) == pytest.approx(exact, abs=6e-6)
    assert cell_flux_asymptotic(radius, **CELL) == pytest.approx(asymptotic, abs=6e-6)


def test_cell_flux_is_that_of_the_radial_boundary_value_problem():
    D, d1, growth, radius, n = 0.7, 1.3, 0.4, 0.2, 1000
    # conservative differences between radius and 1: faces carry r D U', cells hold (1 + lambda) r U; half-cell resistance at the wall
    h = (1 - radius) / n
    faces = radius + h * torch.arange(n + 1, dtype=torch.float64)
    centres = (faces[1:] + faces[:-1]) / 2
    inner = faces[1:-1] * D / h**2
    # d1 U(wall) - d2 u = eps D U'(wall), with U linear from the wall to the first centre
    wall = d1 * D * radius / (D * radius + d1 * h / 2)
    matrix = torch.diag(-(1 + growth) * centres)
    matrix += torch.diag(inner, 1) + torch.diag(inner, -1)
    matrix -= torch.diag(torch.cat([inner, inner.new_zeros(1)]) + torch.cat([inner.new_zeros(1), inner]))
    matrix[0, 0] -= wall / h
    # d2 u = 1: the wall value follows from the flux balance, and the flux per length of wall is eps D U' = wall (U_0 - 1 / d1)
    right = torch.zeros(n, dtype=torch.float64)
    right[0] = -wall / h / d1
    first = torch.linalg.solve(matrix, right)[0]
    flux = 2 * math.pi * wall * (float(first) - 1 / d1)
    # second order: 1000 cells leave about 1e-6
    assert -flux == pytest.approx(cell_flux(radius, diffusivity=D, permeability=d1, growth=growth), rel=1e-5)


def test_the_asymptotic_flux_meets_the_exact_one_for_small_cells():
    gaps = [abs(cell_flux_asymptotic(r, **CELL) / cell_flux(r, **CELL) - 1) for r in (0.1, 0.01, 0.001)]
    assert gaps[1] < gaps[0] / 20 and gaps[2] < gaps[1] / 20


@pytest.mark.parametrize(("kind", "expected"), [(MARANGONI, (24.0, 20.6, 28.7)), (PHORETIC, (14.4, 12.4, 17.2))])
def test_drop_golden_numbers(kind, expected):
    found = [drop_threshold(2, viscosity_ratio=chi, **kind) for chi in (1.0, 10.0, 0.1)]
    # the card prints one decimal
    assert found == pytest.approx(expected, abs=0.051)
    assert drop_threshold(1, viscosity_ratio=1.0, **kind) == 4.0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_drop_threshold_is_where_the_solute_sustains_its_own_flow(n):
    """The perturbation c_n forced by its flow returns c_n(1) = Pe (mu_n / mu_1) g_n c_n(1): neutral where the factor is one."""
    kind = {"viscosity_ratio": 0.7, "phoretic": 0.4, "marangoni": 1.5}
    ratio = drop_mobility(n, **kind) / drop_mobility(1, **kind)
    assert drop_threshold(n, **kind) * ratio * response(n) == pytest.approx(1.0, rel=3e-4)  # second order in h = 0.0075, and e^-9 from the far end


def response(n, *, points=1200):
    """c_n(1) for a flow of unit strength on the base state 1/r, by finite differences in log r up to r = e^9."""
    h = 9.0 / points
    r = torch.exp(h * (torch.arange(points, dtype=torch.float64) + 0.5))
    flow = 2 / 3 * (1 - r**-3) if n == 1 else n * (n + 1) / 2 * (r ** (-n) - r ** (-n - 2))
    # with s = log r: c_ss + c_s - n (n + 1) c = r^2 u d(1/r)/dr = -u
    up, down = 1 / h**2 + 1 / (2 * h), 1 / h**2 - 1 / (2 * h)
    diagonal = torch.full((points,), -2 / h**2 - n * (n + 1.0), dtype=torch.float64)
    diagonal[0] += down  # no flux at the surface
    off = torch.ones(points - 1, dtype=torch.float64)
    matrix = torch.diag(diagonal) + torch.diag(up * off, 1) + torch.diag(down * off, -1)
    c = torch.linalg.solve(matrix, -flow)
    return float(c[0])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        cell_flux(1.5, **CELL)
    with pytest.raises(InputError, match="more than -1"):
        cell_flux(0.1, growth=-2.0, **CELL)
    with pytest.raises(InputError, match="mode"):
        drop_mobility(0, viscosity_ratio=1.0, **PHORETIC)
    with pytest.raises(InputError, match="never grows"):
        drop_threshold(2, viscosity_ratio=1.0, phoretic=-0.5, marangoni=2.0)
