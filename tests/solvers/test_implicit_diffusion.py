"""Implicit diffusion: balances, bounds, derivatives, one and two directions, refusals. Fronts against exact ones stand in tests/laws."""

import math

import pytest
import torch

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.porous_medium import JumpConductivity, PorousMedium, PowerConductivity
from physdiff.solvers.implicit_diffusion import ImplicitDiffusion
from physdiff.solvers.solve import solve

LINE = CartesianGrid(14, extent=1.3, origin=-0.4, periodic=False)
RING = CartesianGrid(12, extent=2.0)
PLANE = CartesianGrid((6, 9), extent=(0.8, 1.5), periodic=(False, True))
LAWS = {
    "heat": PowerConductivity(0.0, 0.3),
    "porous": PowerConductivity(torch.tensor([1.0, 2.5]), 0.7),
    "stefan": JumpConductivity(0.5, above=1.0, below=torch.tensor([0.0, 0.1])),
}


def start(grid):
    """Two samples between 0 and 1, a third of them empty."""
    noise = Rng(3).normal((2, *grid.shape), like=torch.zeros((), dtype=torch.float64))
    return torch.sigmoid(2 * noise) * (noise > -0.4).to(noise)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("grid", [LINE, RING, PLANE], ids=["line", "ring", "plane"])
@pytest.mark.parametrize("order", [1, 2])
def test_the_integral_is_kept_to_rounding_and_nothing_leaves_the_extremes(grid, law, order):
    stepper, u = ImplicitDiffusion(PorousMedium(LAWS[law]), grid, order=order), start(grid)
    axes = tuple(range(1, u.ndim))
    now = u
    for dt in (1e-3, 0.05, 2.0):
        now = stepper.step({"u": now}, 0.0, dt)["u"]
        assert float((now.sum(axes) - u.sum(axes)).abs().max()) < 1e-13 * u.sum().item()
        if order == 1:
            # Newton's tolerance, 64 roundings, and its residual
            assert float(now.min()) > -1e-12 and float(now.max()) < float(u.max()) + 1e-12
    assert float((now - u).abs().max()) > 0.1


@pytest.mark.parametrize("grid", [LINE, PLANE], ids=["line", "plane"])
def test_what_comes_in_through_the_walls_is_what_is_more(grid):
    wall = torch.tensor([0.9, 0.2], dtype=torch.float64)
    stepper = ImplicitDiffusion(PorousMedium(LAWS["porous"]), grid, {grid.dims[0]: (Dirichlet(wall), Reflecting())})
    u, dt = start(grid), 0.07
    after = stepper.step({"u": u}, 0.0, dt)["u"]
    volume = math.prod(grid.spacing)
    gain = (after - u).flatten(1).sum(1) * volume
    assert torch.allclose(gain, dt * stepper.inflow({"u": after}, dt), atol=1e-13)
    assert float(gain.abs().min()) > 1e-3


def test_one_step_by_hand():
    grid = CartesianGrid(4, extent=4.0, periodic=False)
    start = torch.tensor([[2.0, 0.0, 0.0, 2.0]], dtype=torch.float64)
    u = ImplicitDiffusion(PorousMedium(PowerConductivity(1.0)), grid).step({"u": start}, 0.0, 1.0)["u"]
    # each half on its own: a - 2 = (b^2 - a^2)/2 and a + b = 2, so that a - 2 = 2 - 2 a
    assert torch.allclose(u, torch.tensor([[4, 2, 2, 4]]).double() / 3, rtol=1e-13)


def test_a_plane_that_varies_along_one_axis_is_the_line():
    grid = CartesianGrid((5, 14), extent=(0.6, 1.3), origin=(0.0, -0.4), periodic=(True, False))
    line, ends = start(LINE), {"x": (Dirichlet(lambda *x_t: 0.8 + x_t[-1]), Dirichlet(0.1))}
    for law in LAWS.values():
        plane = ImplicitDiffusion(PorousMedium(law), grid, ends, order=2).step({"u": line[:, None].expand(2, 5, 14)}, 0.2, 0.1)["u"]
        alone = ImplicitDiffusion(PorousMedium(law), LINE, ends, order=2).step({"u": line}, 0.2, 0.1)["u"]
        assert float((plane - alone[:, None]).abs().max()) < 1e-10


@pytest.mark.parametrize("grid", [CartesianGrid(5, periodic=False), CartesianGrid((4, 5), extent=(0.7, 1.0))], ids=["line", "plane"])
@pytest.mark.parametrize("order", [1, 2])
def test_gradients(grid, order):
    u = (0.2 + start(grid)).requires_grad_()
    m = torch.tensor([1.5, 3.0], dtype=torch.float64, requires_grad=True)
    wall = torch.tensor([0.7, 0.4], dtype=torch.float64, requires_grad=True)

    def advanced(u, m, wall):
        boundary = Dirichlet(wall) if grid.ndim == 1 else Reflecting()
        return ImplicitDiffusion(PorousMedium(PowerConductivity(m)), grid, boundary, order=order).step({"u": u}, 0.0, 0.05)["u"]

    assert torch.autograd.gradcheck(advanced, (u, m, wall), atol=1e-6, fast_mode=True)


def test_empty_places_have_finite_gradients():
    u = start(LINE).requires_grad_()
    m = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    after = ImplicitDiffusion(PorousMedium(PowerConductivity(m)), LINE).step({"u": u}, 0.0, 0.05)["u"]
    for slope in torch.autograd.grad(after.square().sum(), (u, m)):
        assert bool(slope.isfinite().all())


def test_single_precision_and_solve():
    stepper, times = ImplicitDiffusion(PorousMedium(LAWS["porous"]), LINE, order=2), torch.tensor([0.0, 0.1, 0.2])
    single = solve(stepper, {"u": start(LINE).float()}, times, substeps=3)["u"]
    double = solve(stepper, {"u": start(LINE)}, times, substeps=3)["u"]
    assert single.dtype == torch.float32 and float((single - double).abs().max()) < 1e-5


def test_wrong_input_is_named():
    law = PorousMedium(LAWS["heat"])
    with pytest.raises(InputError, match="expected a PorousMedium law"):
        ImplicitDiffusion(Burgers(0.1), LINE)
    with pytest.raises(InputError, match="order: expected 1 or 2"):
        ImplicitDiffusion(law, LINE, order=4)
    for end in (Outflow(), Neumann(0.3)):
        with pytest.raises(InputError, match="expected Dirichlet, Reflecting or Neumann"):
            ImplicitDiffusion(law, LINE, end)
    with pytest.raises(Diverged, match="is not found by 1 Newton steps"):
        ImplicitDiffusion(PorousMedium(LAWS["porous"]), LINE, iterations=1).step({"u": start(LINE)}, 0.0, 1.0)
    with pytest.raises(Diverged):
        ImplicitDiffusion(law, LINE).step({"u": start(LINE) * math.nan}, 0.0, 1.0)
