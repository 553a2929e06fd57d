"""The implicit solve is the inverse of the explicit Laplacian, for every kind of end and around obstacles."""

from __future__ import annotations

import pytest
import torch

from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.solvers.staggered import StaggeredFlow

CASES = {
    "box": ((False, False), Dirichlet()),
    "channel": ((False, False), {"velocity_x": {"x": (Dirichlet(), Outflow()), "y": Dirichlet()}, "velocity_y": {"x": Outflow(), "y": Dirichlet()}}),
    "turned": ((False, False), {"velocity_x": {"x": (Outflow(), Dirichlet()), "y": (Neumann(0.0), Dirichlet())}, "velocity_y": Reflecting()}),
    "periodic": ((False, True), {"velocity_x": {"y": Reflecting()}, "velocity_y": {"y": Dirichlet()}}),
}


def made(case, blocked, slip=False):
    periodic, boundary = CASES[case]
    solid = torch.zeros(7, 8, dtype=torch.bool)
    solid[2:4, 3:5] = True
    solid[0, 0] = True
    grid = CartesianGrid((7, 8), extent=(1.4, 2.0), periodic=periodic)
    return StaggeredFlow(IncompressibleFlow(0.1), grid, boundary, solid=solid if blocked else None, slip=slip, implicit=True)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_it_inverts_the_explicit_laplacian(case, blocked):
    stepper = made(case, blocked, slip=case == "channel")
    g = torch.Generator().manual_seed(0)
    state = stepper._state({n: torch.randn(2, 7, 8, dtype=torch.float64, generator=g) for n in stepper.pde.fields}, 0.0)
    right = {n: torch.randn(f.shape, dtype=torch.float64, generator=g) for n, f in state.items()}
    a = torch.tensor([0.02, 0.5], dtype=torch.float64).reshape(2, 1, 1)
    found = {n: solver.solve(right[n], a) for n, solver in zip(state, stepper.rates.implicit(), strict=True)}
    held = stepper._held(found, 0.0)
    back = stepper.rates.spread(found, 0.0)
    for i, name in enumerate(found):
        torch.testing.assert_close(held[name], found[name], atol=0, rtol=0)  # zero at given ends and on closed faces
        solved_for = stepper.pressure_solver.fluid[i].bool() & ~_given(stepper, i)
        gap = found[name] - a * back[name] - right[name]
        assert float(gap[:, solved_for].abs().max()) < 1e-9


def _given(stepper, i):
    """Faces at the ends of a component's own axis whose velocity is given, and the second copy of a periodic one."""
    mask = torch.zeros_like(stepper.pressure_solver.fluid[i], dtype=torch.bool)
    axis = mask.ndim - 1 - i
    ends = stepper.ends.open_ends[i]
    periodic = stepper.ends.pair(stepper.pde.fields[i], i) is None
    for side, place in enumerate((0, mask.shape[axis] - 1)):
        if (periodic and side == 0) or not (periodic or ends[side]):
            mask.narrow(axis, place, 1).fill_(True)
    return mask


def test_gradients():
    solver = made("channel", True).rates.implicit()[0]
    right = torch.randn(1, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: solver.solve(r, 0.3), (right,), fast_mode=True)
