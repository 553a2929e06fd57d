"""Darcy's pressure: balances to rounding, exact layers, derivatives by the implicit function theorem, words for bad input."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.base.rng import Rng
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.darcy import solve_darcy
from physdiff.solvers.two_point_flux import TwoPointFlux

BOX = CartesianGrid((10, 14), extent=(0.7, 1.2), origin=(0.1, -0.3), periodic=False)


def media(grid, samples=3, contrast=4.0):
    noise = Rng(5).normal((samples, *grid.shape), like=torch.zeros((), dtype=torch.float64))
    return 3.0 + 3.0 * (contrast - 1) * (noise > 0).to(noise)


def integral(f, grid):
    return f.sum((-2, -1)) * math.prod(grid.spacing)


@pytest.mark.parametrize("mean", ["harmonic", "arithmetic"])
def test_what_comes_up_leaves_through_the_walls_and_the_work_is_dissipated(mean):
    a, f = media(BOX), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    p = solve_darcy(a, f, BOX, mean=mean, rtol=1e-13)
    cells = TwoPointFlux(BOX, Dirichlet(0.0), mean=mean)
    total = f * math.prod(BOX.extent)
    # rtol times the sum over cells
    assert torch.allclose(-cells.through_walls(a, p), total, rtol=1e-11)
    # a |grad p|^2 in each interval between centres (or half a cell to a wall), against f p
    work = torch.zeros(3, dtype=torch.float64)
    for axis, q in enumerate(cells.fluxes(a, p)):
        padded = torch.nn.functional.pad(p, (1, 1, 0, 0) if axis else (0, 0, 1, 1))
        work = work + integral(q * padded.diff(dim=axis + 1), BOX) / BOX.spacing[axis]
    assert torch.allclose(work, integral(f[:, None, None] * p, BOX), rtol=1e-11)


def test_each_sample_on_its_own_and_linear_in_the_source():
    a = media(BOX)
    whole = solve_darcy(a, 1.0, BOX)
    for i in range(3):
        assert torch.allclose(solve_darcy(a[i : i + 1], 1.0, BOX), whole[i : i + 1], rtol=1e-8)
    assert torch.allclose(solve_darcy(a, 2.0, BOX), 2 * whole, rtol=1e-8)
    assert torch.allclose(solve_darcy(5 * a, lambda x, y: 5 + 0 * x, BOX), whole, rtol=1e-8)


def test_dense_twin():
    a = media(BOX, samples=1, contrast=50.0)
    boundary = {"x": (Dirichlet(0.0), Robin(1.0, 0.2)), "y": Neumann()}
    cells = TwoPointFlux(BOX, boundary)
    n = math.prod(BOX.shape)
    columns = -cells.divergence(a, torch.eye(n, dtype=torch.float64).reshape(n, *BOX.shape)).reshape(n, n)
    # symmetric, as the conjugate gradients need it, and no row creates pressure
    assert torch.allclose(columns, columns.mT, atol=1e-12 * float(columns.abs().max()))
    f = Rng(1).normal((1, *BOX.shape), like=a)
    direct = torch.linalg.solve(columns, f.reshape(n)).reshape(1, *BOX.shape)
    assert float((solve_darcy(a, f, BOX, boundary=boundary) - direct).abs().max()) < 1e-8 * float(direct.abs().max())


def test_layers_in_series_are_exact_with_the_harmonic_mean_only():
    grid = CartesianGrid(12, extent=2.0, periodic=False)
    (x,) = grid.coordinates()
    a = torch.where(x < 0.5, 1.0, torch.where(x < 1.5, 1e-3, 7.0))[None].double()
    ends = {"x": (Dirichlet(3.0), Dirichlet(-1.0))}
    resistance = torch.tensor([0.5, 1000.0, 0.5 / 7]).double()
    flow = 4.0 / resistance.sum()
    exact = 3 - flow * torch.where(x < 0.5, x, torch.where(x < 1.5, 0.5 + (x - 0.5) * 1e3, 1000.5 + (x - 1.5) / 7))
    p = solve_darcy(a, 0.0, grid, boundary=ends)
    assert float((p - exact).abs().max()) < 1e-7
    assert float((solve_darcy(a, 0.0, grid, boundary=ends, mean="arithmetic") - exact).abs().max()) > 0.05


def test_periodic_and_closed_boxes_give_the_pressure_of_zero_mean():
    for periodic, boundary in ((True, Dirichlet(0.0)), ((False, True), Reflecting())):
        grid = CartesianGrid((6, 8), extent=(1.0, 2.0), periodic=periodic)
        a = media(grid, samples=2)
        f = Rng(2).normal((2, 6, 8), like=a)
        f = f - f.mean((1, 2), keepdim=True)
        p = solve_darcy(a, f, grid, boundary=boundary)
        assert float(p.mean((1, 2)).abs().max()) < 1e-13
        assert float((TwoPointFlux(grid, boundary).divergence(a, p) + f).abs().max()) < 1e-8
        with pytest.raises(InputError, match="do not balance"):
            solve_darcy(a, 1.0, grid, boundary=boundary)


@pytest.mark.parametrize("boundary", [Dirichlet(0.0), {"x": (Robin(1.0, 0.3, 0.7), Neumann(0.2)), "y": Dirichlet(0.4)}], ids=["zero", "mixed"])
def test_gradients(boundary):
    grid = CartesianGrid((3, 4), extent=(1.0, 0.6), periodic=False)
    a = (1 + media(grid, samples=2) / 12).requires_grad_()
    f = Rng(3).normal((2, 3, 4), like=a.detach()).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, f: solve_darcy(a, f, grid, boundary=boundary, rtol=1e-13), (a, f))
    wall = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: solve_darcy(a.detach(), 1.0, grid, boundary=Dirichlet(g), rtol=1e-13), (wall,))


def test_gradients_of_a_closed_box():
    grid = CartesianGrid((3, 4), extent=(1.0, 0.6))
    a = (1 + media(grid, samples=1) / 12).requires_grad_()
    f = Rng(3).normal((1, 3, 4), like=a.detach()).requires_grad_()
    zero = Reflecting()  # no wall is there to be asked
    assert torch.autograd.gradcheck(lambda a, f: solve_darcy(a, f - f.mean((1, 2), keepdim=True), grid, boundary=zero, rtol=1e-13), (a, f))


def test_a_second_derivative_is_refused():
    a = (1 + media(BOX, samples=1)).requires_grad_()
    with pytest.raises(UnsupportedOperator, match="create_graph"):
        torch.autograd.grad(solve_darcy(a, 1.0, BOX).sum(), a, create_graph=True)


def test_iterations_do_not_grow_with_the_grid(monkeypatch):
    counts = []
    for n in (12, 48):
        grid = CartesianGrid((n, 2 * n), extent=(1.0, 1.5), periodic=False)
        calls = [0]
        inverse = TwoPointFlux.inverse_of_constant

        def counted(self, b, calls=calls, inverse=inverse):
            calls[0] += 1
            return inverse(self, b)

        with monkeypatch.context() as patch:
            patch.setattr(TwoPointFlux, "inverse_of_constant", counted)
            solve_darcy(media(grid, samples=1), 1.0, grid)
        counts.append(calls[0])
    # 2 (1/3)^k < 1e-10 for a contrast of 4 (Chebyshev's bound) gives k = 22; some more for the norm of the residual
    assert counts[1] <= counts[0] + 4 and max(counts) < 32, counts


def test_single_precision_gets_the_double_answer():
    a = media(BOX)
    single = solve_darcy(a.float(), 1.0, BOX)
    assert single.dtype == torch.float32
    assert torch.allclose(single, solve_darcy(a, 1.0, BOX).float(), rtol=1e-6)


def test_wrong_input_is_named():
    a = media(BOX)
    with pytest.raises(InputError, match="give classes their permeabilities first"):
        solve_darcy(a - 3.0, 1.0, BOX)
    with pytest.raises(InputError, match="NaN or infinite"):
        solve_darcy(a * math.nan, 1.0, BOX)
    with pytest.raises(InputError, match="expected real numbers"):
        solve_darcy(a.long(), 1.0, BOX)
    with pytest.raises(InputError, match="expected real numbers"):
        solve_darcy(a[0], 1.0, BOX)
    with pytest.raises(ShapeError, match="use the grid of the data"):
        solve_darcy(a[..., 1:], 1.0, BOX)
    with pytest.raises(ShapeError, match="solve_darcy source"):
        solve_darcy(a, torch.ones(2), BOX)
    with pytest.raises(InputError, match="raise max_iter"):
        solve_darcy(a, 1.0, BOX, max_iter=2)
    with pytest.raises(InputError, match="expected Dirichlet, Neumann, Robin or Reflecting"):
        solve_darcy(a, 1.0, BOX, boundary=Outflow())
    with pytest.raises(InputError, match="open axis y"):
        solve_darcy(a, 1.0, BOX, boundary={"x": Dirichlet(0.0)})
    with pytest.raises(InputError, match="of one sign"):
        solve_darcy(a, 1.0, BOX, boundary=Robin(1.0, -1.0))
    with pytest.raises(InputError, match="harmonic"):
        solve_darcy(a, 1.0, BOX, mean="geometric")
