"""Two-point fluxes: conservation, exact linear profiles, all kinds of wall, the inverse for constant coefficients."""

import pytest
import torch

from physdiff.base.errors import GridMismatch, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.boundary import Dirichlet, Neumann, Reflecting, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.two_point_flux import TwoPointFlux, face_mean

GRID = CartesianGrid((5, 4, 6), extent=(1.0, 2.0, 0.9), origin=(0.3, 0.0, -1.0), periodic=(False, True, False))
MIXED = {"x": (Neumann(-2.0), Robin(2.0, 0.5, lambda x, y, z, t: 2 * (2 * x + 3 * z + 1 + t) + 0.5 * 2)), "z": (Neumann(-3.0), Neumann(3.0))}


def test_a_linear_field_has_its_slope_at_every_face_whatever_the_walls():
    x, y, z = GRID.coordinates()
    p = (2 * x + 3 * z + 1.5)[None]
    along_z, along_y, along_x = TwoPointFlux(GRID, MIXED).fluxes(torch.full_like(p, 0.7), p, t=0.5)
    assert torch.allclose(along_x, torch.tensor(1.4).double()) and torch.allclose(along_z, torch.tensor(2.1).double())
    assert float(along_y.abs().max()) == 0.0
    assert along_x.shape[-1] == 7 and along_z.shape[1] == 6


def test_the_divergence_sums_to_what_passes_the_walls():
    like = torch.zeros((), dtype=torch.float64)
    a, p = Rng(0).normal((2, *GRID.shape), like=like).exp(), Rng(1).normal((2, *GRID.shape), like=like)
    cells = TwoPointFlux(GRID, MIXED)
    volume = GRID.spacing[0] * GRID.spacing[1] * GRID.spacing[2]
    net = cells.divergence(a, p).sum((1, 2, 3)) * volume
    assert torch.allclose(net, cells.through_walls(a, p), atol=1e-12)
    assert float(net.abs().min()) > 0.1


@pytest.mark.parametrize(
    "boundary",
    [Dirichlet(0.0), Robin(1.0, 0.4), {"x": (Dirichlet(0.0), Neumann()), "z": Reflecting()}, Neumann()],
    ids=["values", "robin", "mixed", "closed"],
)
def test_the_inverse_for_constant_coefficients(boundary):
    cells = TwoPointFlux(GRID, boundary)
    b = Rng(2).normal((2, *GRID.shape), like=torch.zeros((), dtype=torch.float64))
    back = -cells.divergence(torch.ones_like(b), cells.inverse_of_constant(b), homogeneous=True)
    expected = b - b.mean((1, 2, 3), keepdim=True) if cells.singular else b
    assert torch.allclose(back, expected, atol=1e-11)  # rounding times the condition number, 1e3
    assert cells.singular == (boundary == Neumann())


def test_means_and_batched_walls():
    assert float(face_mean(torch.tensor(1.0), torch.tensor(3.0), "harmonic")) == 1.5
    assert float(face_mean(torch.tensor(1.0), torch.tensor(3.0), "arithmetic")) == 2.0
    assert float(face_mean(torch.tensor(0.0), torch.tensor(0.0), "harmonic")) == 0.0
    grid = CartesianGrid(4, periodic=False)
    p = torch.ones(2, 4, dtype=torch.float64)
    (q,) = TwoPointFlux(grid, Dirichlet(torch.tensor([1.0, 3.0]))).fluxes(torch.ones_like(p), p)
    assert q[0].tolist() == [0.0] * 5
    assert q[1, 0] == -16.0 and q[1, -1] == 16.0


def test_wrong_input_is_named():
    with pytest.raises(GridMismatch, match="uniform CartesianGrid"):
        TwoPointFlux(CartesianGrid(3, points=(torch.tensor([0.0, 1.0, 3.0]),), periodic=False), Dirichlet(0.0))
    cells = TwoPointFlux(CartesianGrid(4, periodic=False), Dirichlet(torch.zeros(1, 4)))
    with pytest.raises(ShapeError, match="boundary value"):
        cells.divergence(torch.ones(1, 4), torch.ones(1, 4))
