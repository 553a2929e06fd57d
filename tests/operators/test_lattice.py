"""Sites on a ring: shifts against indices, time derivatives, refusals."""

import pytest
import torch

from physdiff.base.errors import ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.lattice import Lattice
from physdiff.operators.spectral import Spectral

RING = CartesianGrid(7, extent=7.0)


def test_shift_takes_the_site_that_many_further_on():
    f = torch.arange(7, dtype=torch.float64).expand(2, 3, 7)
    for cells in (-2, -1, 0, 1, 3, 9):
        wanted = torch.tensor([float((i + cells) % 7) for i in range(7)], dtype=torch.float64)
        assert torch.equal(Lattice(RING).shift(f, cells), wanted.expand(2, 3, 7))


def test_time_derivative_of_frames():
    t = 0.1 * torch.arange(6, dtype=torch.float64)
    f = (t[:, None] ** 3 * torch.arange(7, dtype=torch.float64))[None]
    # fourth order: exact for a cubic
    torch.testing.assert_close(Lattice(RING, dt=0.1).dt(f), (3 * t[:, None] ** 2 * torch.arange(7, dtype=torch.float64))[None])


def test_there_are_no_derivatives_on_sites_and_no_sites_elsewhere():
    f = torch.zeros(1, 7, dtype=torch.float64)
    D = Lattice(RING)
    for call in (lambda: D.grad(f), lambda: D.lap(f), lambda: D.div((f,)), lambda: D.inv_lap(f), lambda: D.partial(f, 0)):
        with pytest.raises(UnsupportedOperator, match="Lattice"):
            call()
    with pytest.raises(UnsupportedOperator, match="use Lattice"):
        Spectral(RING).shift(f, 1)
    with pytest.raises(ShapeError):
        D.shift(torch.zeros(1, 8), 1)
    for grid in (CartesianGrid(7, periodic=False), CartesianGrid((7, 7))):
        with pytest.raises(UnsupportedOperator, match="periodic line"):
            Lattice(grid)
