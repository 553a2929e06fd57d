"""Flows between walls and around obstacles against published numbers: the lid-driven cavity, the wake of a square."""

from __future__ import annotations

import csv
import math

import pytest
import torch

from physdiff.grids.boundary import Dirichlet, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.solvers.solve import solve
from physdiff.solvers.staggered import StaggeredFlow

DOUBLE = torch.float64
# Botella and Peyret (1998, Re = 1000), Bruneau and Saad (2006, Re = 100): least u on the vertical, largest and least v on the horizontal middle line
EXTREMES = {100: (-0.21404, 0.17957, -0.25380), 1000: (-0.38857, 0.37694, -0.52707)}
# u on the vertical middle line at Re = 400 (Ghia, Ghia and Shin, 1982; the shared file has Re = 100 and 1000)
AT_400 = {0.9531: 0.55892, 0.7344: 0.16256, 0.5: -0.11477, 0.2813: -0.32726, 0.1016: -0.14612}


def cavity(reynolds, n, until):
    """Middle lines y, u and x, v with their ends at the walls."""
    grid = CartesianGrid((n, n), periodic=False)
    walls = {"velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Dirichlet(1.0))}, "velocity_y": Dirichlet()}
    stepper = StaggeredFlow(IncompressibleFlow(1 / reynolds), grid, walls)
    u = {name: torch.zeros(1, n, n, dtype=DOUBLE) for name in stepper.pde.fields}
    with torch.no_grad():
        got = solve(stepper, u, torch.linspace(0, until, 41, dtype=DOUBLE), cfl=0.9)
    last = {name: f[:, -1] for name, f in got.items()}
    assert float((got["velocity_x"][:, -1] - got["velocity_x"][:, -2]).abs().max()) < 3e-4  # nearly steady
    assert float(stepper.divergence(last).abs().max()) / n < 1e-14
    x_faces, y_faces = stepper.faces(last)
    ends = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    line = torch.cat([ends[:1], grid.axes()[0], ends[1:]])
    # an even number of cells: the middle lines run along faces
    return line, torch.cat([ends[:1], x_faces[0, :, n // 2], ends[1:]]), torch.cat([ends[:1], y_faces[0, n // 2], ends[:1]])


def at(place, line, values):
    i = min(max(int(torch.searchsorted(line, torch.tensor(place, dtype=DOUBLE))), 2), len(line) - 2)
    near, total = range(i - 2, i + 2), 0.0
    for k in near:  # a cubic
        total += float(values[k]) * math.prod((place - float(line[m])) / float(line[k] - line[m]) for m in near if m != k)
    return total


@pytest.mark.slow
@pytest.mark.parametrize(("reynolds", "n", "until", "extremes", "table"), [(100, 32, 16.0, 6e-3, 9e-3), (1000, 64, 60.0, 0.03, 0.02)])
def test_cavity(reynolds, n, until, extremes, table, shared_data):
    """Measured with more cells: Re = 100 on 64^2 within 1.3e-3 of the extremes, Re = 1000 on 128^2 within 7.4e-3: second order.

    Ghia's table itself is up to 9e-3 (Re = 100) and 1.8e-2 (Re = 1000) from the later spectral solutions, in v near the walls.
    """
    line, u, v = cavity(reynolds, n, until)
    fine = torch.linspace(0.02, 0.98, 961, dtype=DOUBLE).tolist()
    profiles = [[at(p, line, f) for p in fine] for f in (u, v)]
    found = (min(profiles[0]), max(profiles[1]), min(profiles[1]))
    assert max(abs(a - b) for a, b in zip(found, EXTREMES[reynolds], strict=True)) < extremes, found
    with (shared_data / "cfd" / "ghia1982_lid_driven_cavity_Re100_1000.csv").open() as file:
        rows = list(csv.DictReader(file))
    off_u = max(abs(at(float(r["y"]), line, u) - float(r[f"u_Re{reynolds}"])) for r in rows)
    off_v = max(abs(at(float(r["x"]), line, v) - float(r[f"v_Re{reynolds}"])) for r in rows)
    assert max(off_u, off_v) < table, (off_u, off_v)


@pytest.mark.slow
def test_cavity_at_400():
    line, u, _ = cavity(400, 64, 40.0)
    assert max(abs(at(y, line, u) - wanted) for y, wanted in AT_400.items()) < 8e-3


@pytest.mark.slow
def test_a_square_sheds_its_wake():
    """Strouhal number at Re = 100 of a square between far slip walls: 0.141 to 0.150 in the literature (Okajima, 1982; Sharma and Eswaran, 2004)."""
    m, height, length, front = 6, 12, 16, 4
    grid = CartesianGrid((height * m, length * m), extent=(height, length), origin=(-height / 2, -front), periodic=False)
    x, y = grid.coordinates()
    boundary = {
        "velocity_x": {"x": (Dirichlet(1.0), Outflow()), "y": Reflecting()},
        "velocity_y": {"x": (Dirichlet(), Outflow()), "y": Reflecting()},
    }
    stepper = StaggeredFlow(IncompressibleFlow(0.01), grid, boundary, solid=(x.abs() < 0.5) & (y.abs() < 0.5))
    u = stepper.from_centres({"velocity_x": torch.ones(1, *grid.shape, dtype=DOUBLE), "velocity_y": torch.exp(-((x - 1) ** 2) - y**2)[None]})
    until, frames = 90.0, 361
    with torch.no_grad():
        got = solve(stepper, u, torch.linspace(0, until, frames, dtype=DOUBLE), cfl=0.8)
    swing = got["velocity_y"][0, frames // 2 :, height * m // 2, (front + 3) * m]
    swing = swing - swing.mean()
    up = [i + float(-a / (b - a)) for i, (a, b) in enumerate(zip(swing, swing[1:], strict=False)) if a < 0 <= b]
    strouhal = (len(up) - 1) / ((up[-1] - up[0]) * until / (frames - 1))
    # six cells to a side and a blockage of a twelfth: ten per cent (0.158 with eight cells)
    assert strouhal == pytest.approx(0.147, rel=0.1), strouhal
    assert float(swing.abs().max()) > 0.3
    last = {name: f[:, -1] for name, f in got.items()}
    torch.testing.assert_close(stepper.faces(last)[0][0].mean(0), torch.ones(length * m + 1, dtype=DOUBLE), atol=1e-12, rtol=0)
