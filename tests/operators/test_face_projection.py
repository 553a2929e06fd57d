"""Face velocities without divergence: against least squares on the graph of open faces, in boxes and around obstacles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.face_projection import FaceProjection

SHUT = (False, False)


def obstacles(shape):
    """A block, one that touches an end, a wall one cell thick, and a shell with fluid inside that nothing reaches."""
    solid = torch.zeros(shape, dtype=torch.bool)
    solid[..., 2:4, 2:5] = True
    solid[..., 0:2, -3:-1] = True
    solid[..., -2, 1:6] = True
    solid[..., 5:9, 7:11] = True
    solid[..., 6:8, 8:10] = False
    return solid


CASES = {
    "walls": ((10, 14), (False, False), (SHUT, SHUT)),
    "channel": ((10, 14), (False, False), ((False, True), SHUT)),
    "chimney": ((10, 14), (False, True), (SHUT, (True, True))),
    "periodic": ((10, 14), (True, True), (SHUT, SHUT)),
    "duct": ((3, 10, 12), (False, True, False), ((True, False), SHUT, SHUT)),
}


def made(case, blocked, **options):
    shape, periodic, open_ends = CASES[case]
    grid = CartesianGrid(shape, extent=tuple(0.1 * n * (1 + k) for k, n in enumerate(shape)), periodic=periodic)
    return FaceProjection(grid, open_ends, obstacles(shape) if blocked else None, **options)


def noise(solver, seed=0):
    """Velocities on faces, zero on closed ones and at given ends."""
    g, grid, faces = torch.Generator().manual_seed(seed), solver.grid, []
    for i, (low, high) in enumerate(solver.open_ends):
        axis = grid.ndim - 1 - i
        shape = [n + (a == axis) for a, n in enumerate(grid.shape)]
        f, n = torch.randn(2, *shape, dtype=torch.float64, generator=g), grid.shape[axis]
        if grid.periodic[axis]:
            f.narrow(axis + 1, n, 1).copy_(f.narrow(axis + 1, 0, 1))
        for end, place in ((low, 0), (high, n)):
            if not end and not grid.periodic[axis]:
                f.narrow(axis + 1, place, 1).zero_()
        faces.append(f * solver.fluid[i])
    return tuple(faces)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_no_divergence_is_left(case, dense):
    solver = made(case, True, dense=dense)
    faces = noise(solver)
    flow, _ = solver.project(faces)
    # rounding of velocities near one over the spacing, times the condition of the box, some hundred cells
    assert float(solver.divergence(flow).abs().max()) * min(solver.grid.spacing) < 1e-12
    again, _ = solver.project(flow)
    for i, (a, b, f) in enumerate(zip(flow, again, faces, strict=True)):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
        assert bool((a[:, solver.fluid[i] == 0] == 0).all()) and float((a - f).abs().max()) > 0.1
    free = made(case, False)
    assert float(free.divergence(free.project(noise(free))[0]).abs().max()) * min(solver.grid.spacing) < 1e-12


@pytest.mark.parametrize("case", ["walls", "channel", "periodic"])
def test_it_is_the_nearest_flow(case):
    """In the norm of the volumes of faces: by least squares on the open faces, from the mask alone."""
    solver = made(case, True)
    grid, solid, faces = solver.grid, solver.solid.numpy(), noise(solver)
    number = -np.ones(grid.shape, dtype=int)
    number[~solid] = np.arange((~solid).sum())
    rows, values, places, shares = [], [], [], []
    for i in (0, 1):
        axis, h, n = 1 - i, grid.spacing[1 - i], grid.shape[1 - i]
        for cell in np.ndindex(*grid.shape):
            for k in (cell[axis], cell[axis] + 1):
                beside = [list(cell), list(cell)]
                beside[0][axis], beside[1][axis] = k - 1, k
                if grid.periodic[axis]:
                    beside[0][axis] %= n
                    beside[1][axis] %= n
                at = [number[tuple(c)] if 0 <= c[axis] < n else None for c in beside]
                place = (i, *(k if a == axis else cell[a] for a in (0, 1)))
                if -1 in at or place in places or (grid.periodic[axis] and k == n):
                    continue
                if None in at and not solver.open_ends[i][1 if at[1] is None else 0]:
                    continue
                row = np.zeros(number.max() + 1)
                share = 1.0 if None not in at else 0.5  # an open end's face belongs to half a cell
                for cell_number, sign in zip(at, (-1, 1), strict=True):
                    if cell_number is not None:
                        row[cell_number] += sign / (share * h)
                rows.append(np.sqrt(share) * row)
                values.append(np.sqrt(share) * float(faces[i][0][place[1:]]))
                places.append(place)
                shares.append(share)
    phi = np.linalg.lstsq(np.array(rows), np.array(values), rcond=1e-10)[0]
    left = np.array(values) - np.array(rows) @ phi
    flow, _ = solver.project(faces)
    got = np.array([np.sqrt(s) * float(flow[i][0][tuple(at)]) for s, (i, *at) in zip(shares, places, strict=True)])
    np.testing.assert_allclose(got, left, atol=1e-10)


def test_gradients_through_the_solve():
    for dense in (True, False):
        solver = made("channel", True, dense=dense)
        faces = tuple(f[:1].requires_grad_() for f in noise(solver))
        assert torch.autograd.gradcheck(lambda *f, solver=solver: solver.project(f)[0], faces, fast_mode=True)


def test_what_flows_in_must_flow_out():
    solver = made("walls", True)
    faces = [f.clone() for f in noise(solver)]
    solver.check_balance(tuple(faces), 0.0)
    faces[0][:, 2:5, 0] = 1.0
    with pytest.raises(InputError, match="balance where no end is open, got 0.3 too much"):
        solver.check_balance(tuple(faces), 0.0)
    faces[0][:, 4:7, -1] = 1.0
    solver.check_balance(tuple(faces), 0.0)
    made("channel", False).check_balance(tuple(f * 0 + 1 for f in faces), 0.0)


def test_refusals():
    grid = CartesianGrid((4, 6), periodic=(False, True))
    with pytest.raises(ShapeError, match="mask of the grid's shape"):
        FaceProjection(grid, (SHUT, SHUT), torch.zeros(6, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="True everywhere"):
        FaceProjection(grid, (SHUT, SHUT), torch.ones(4, 6, dtype=torch.bool))
    with pytest.raises(InputError, match="a mask of bool"):
        FaceProjection(grid, (SHUT, SHUT), torch.zeros(4, 6))
    with pytest.raises(InputError, match="x is a periodic axis and has no end"):
        FaceProjection(grid, ((False, True), SHUT))
    uneven = CartesianGrid((2, 2), points=(torch.tensor([0.1, 0.4]), torch.tensor([0.1, 0.2])), periodic=False)
    with pytest.raises(InputError, match="uniform CartesianGrid"):
        FaceProjection(uneven, (SHUT, SHUT))
