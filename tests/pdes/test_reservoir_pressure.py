"""Pressure of a reservoir: at points around a well, on a radial grid, with a mobility that varies."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.taylor import Taylor
from physdiff.pdes.exact_wells import line_source
from physdiff.pdes.reservoir_pressure import ReservoirPressure
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

ETA = 0.7


def points(n, low, high):
    return (low + (high - low) * torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))).requires_grad_()


def test_a_line_source_satisfies_the_radial_law_and_the_one_in_the_plane():
    r, t = points(40, 0.3, 2.0), points(41, 0.5, 3.0)[:40].detach().requires_grad_()
    law = ReservoirPressure(2 * ETA, 2.0, radial=True)
    residual = law.residual({"pressure": line_source(r, t, diffusivity=ETA)}, Autograd((r,), t), t)["pressure"]
    assert float(residual.detach().abs().max()) < 1e-11  # rounding of second derivatives
    x, y = points(40, 0.2, 1.5), points(40, -1.5, -0.2).detach().requires_grad_()
    fault = line_source((x**2 + y**2).sqrt(), t, diffusivity=ETA, distance=2.0, image=((4 - x) ** 2 + y**2).sqrt())
    plane = ReservoirPressure(2 * ETA, 2.0).residual({"pressure": fault}, Autograd((x, y), t), t)["pressure"]
    assert float(plane.detach().abs().max()) < 1e-11
    wrong = ReservoirPressure(2 * ETA, 2.0).residual({"pressure": line_source(r, t, diffusivity=ETA)}, Autograd((r,), t), t)["pressure"]
    assert float(wrong.detach().abs().max()) > 0.1  # without the factor r


def test_the_text_on_a_radial_grid_converges_to_the_one_at_points():
    law, errors = ReservoirPressure(lambda r, t: 1 + 0.5 * torch.sin(r), torch.tensor([2.0, 0.5]).double(), source=0.3, radial=True), []
    for n in (40, 80, 160):
        grid = CartesianGrid(n, extent=2.0, origin=0.4, periodic=False)
        r = grid.coordinates()[0].clone().requires_grad_()
        exact = torch.autograd.grad((r * (1 + 0.5 * torch.sin(r)) * -2 * torch.sin(2 * r)).sum(), r)[0] / r + 0.3
        u = {"pressure": torch.cos(2 * r.detach()).expand(2, n)}
        got = law.rhs(u, FiniteDifference(grid), 0.0)["pressure"] * torch.tensor([[2.0], [0.5]])
        errors.append(float((got - exact.detach()).abs()[:, n // 5 : -n // 5].max()))
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(abs(rate - 2) < 0.25 for rate in rates), (errors, rates)


def test_the_drawdown_around_a_well_is_computed():
    grid = CartesianGrid(60, extent=6.0, origin=1.0, periodic=False)
    (r,) = grid.coordinates()
    law = ReservoirPressure(torch.tensor([ETA, 2 * ETA]), torch.tensor([1.0, 2.0]), radial=True)
    start = line_source(r, 1.0, diffusivity=ETA).expand(2, 60)
    end = solve(RungeKutta(law, FiniteDifference(grid, order=4)), {"pressure": start}, torch.tensor([1.0, 1.1]), cfl=0.5)["pressure"][:, -1]
    # no condition is imposed at the ends: what is in the middle has not heard of them
    middle = slice(20, 40)
    change = line_source(r, 1.1, diffusivity=ETA) - start
    assert float((end - start - change)[:, middle].abs().max()) < 2e-3 * float(change[:, middle].abs().max())


def test_the_radial_law_takes_jets():
    r, t = points(9, 0.3, 2.0), points(9, 0.5, 3.0).detach().requires_grad_()
    law = ReservoirPressure(ETA, 1.3, radial=True)
    by_jets = Taylor((r.detach(),), t.detach(), orders=((2, 0), (0, 1)))
    x, s = by_jets.coordinates[0], by_jets.time
    jets = law.residual({"pressure": torch.sin(x * s)}, by_jets, s)["pressure"]
    graph = Autograd((r,), t)
    wanted = law.residual({"pressure": torch.sin(r * t)}, graph, t)["pressure"]
    assert torch.allclose(Taylor.value(jets), wanted.detach(), rtol=1e-10)


def test_volume_and_refusals():
    grid = CartesianGrid(8, extent=2.0, origin=0.5, periodic=False)
    kept = ReservoirPressure(1.0, 3.0, radial=True).invariants({"pressure": torch.ones(1, 8).double()}, grid)["volume"]
    assert torch.allclose(kept, torch.tensor([4.5]).double())  # 3 <r>
    law, p = ReservoirPressure(1.0, 3.0, source=lambda r, t: r, radial=True), {"pressure": torch.ones(1, 8).double()}
    rate = law.expected_rates(p, FiniteDifference(grid), 0.0, grid=grid)["volume"]
    assert torch.allclose(rate, (grid.coordinates()[0] ** 2).mean())  # <r f>
    D = FiniteDifference(CartesianGrid(8, extent=2.0))
    with pytest.raises(InputError, match="start the grid at the well's radius"):
        ReservoirPressure(1.0, radial=True).rhs({"pressure": torch.ones(1, 8)}, D, 0.0)
    with pytest.raises(ShapeError, match="one direction"):
        ReservoirPressure(1.0, radial=True).rhs({"pressure": torch.ones(1, 8, 8)}, FiniteDifference(CartesianGrid((8, 8))), 0.0)
    with pytest.raises(InputError, match="storage"):
        ReservoirPressure(1.0, 0.0)
    with pytest.raises(InputError, match="got a function"):
        ReservoirPressure(1.0, lambda x, t: x)
