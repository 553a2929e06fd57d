"""Values beyond the ends of staggered fields, by hand."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.face_ends import FaceEnds

NAMES = ("velocity_x", "velocity_y")
GRID = CartesianGrid((2, 3), extent=(1.0, 3.0), origin=(0.0, 1.0), periodic=False)
ENDS = {
    "velocity_x": {"x": (Dirichlet(lambda x, y, t: x + 10 * y + 100 * t), Outflow()), "y": (Dirichlet(2.0), Reflecting())},
    "velocity_y": {"x": (Dirichlet(torch.tensor([1.0, 2.0])), Neumann(0.5)), "y": Reflecting()},
    "buoyancy": {"x": (Dirichlet(lambda x, y, t: y), Neumann(-1.0)), "y": Outflow()},
}


def test_what_is_given_across_the_ends():
    ends, like = FaceEnds(GRID, ENDS, velocity=NAMES, scalars=("buoyancy",)), torch.zeros(2, 2, 4)
    assert ends.open_ends == ((False, True), (False, False)) and ends.brings_in()
    torch.testing.assert_close(ends.across(0, 0, 2.0, like=like), torch.tensor([[203.5], [208.5]]))  # x = 1 is the wall, y at centres
    assert ends.across(0, 1, 2.0, like=like) is None and ends.across(1, 0, 2.0, like=like) == 0.0
    still = FaceEnds(GRID, Dirichlet(), velocity=NAMES)
    assert not still.brings_in() and still.across(0, 1, 0.0, like=like) == 0.0
    x, y = ends.points(0)
    torch.testing.assert_close(x[0], torch.tensor([1.0, 2.0, 3.0, 4.0]).double())
    torch.testing.assert_close(ends.points(1)[1][:, 0], torch.tensor([0.0, 0.5, 1.0]).double())


def test_mirror_images():
    ends = FaceEnds(GRID, ENDS, velocity=NAMES, scalars=("buoyancy",))
    u = torch.arange(16.0).reshape(2, 2, 4)
    tall = ends.extended(u, "velocity_x", 1, t=0.0)
    torch.testing.assert_close(tall[:, 1], 4.0 - u[:, 0])
    torch.testing.assert_close(tall[:, 4], u[:, 1])
    wide = ends.extended(u, "velocity_x", 0, t=0.0)
    torch.testing.assert_close(wide[..., :2], u[..., :1].expand(2, 2, 2))
    v = torch.arange(18.0).reshape(2, 3, 3)
    wide = ends.extended(v, "velocity_y", 0, t=0.0)
    torch.testing.assert_close(wide[..., 1], torch.tensor([2.0, 4.0])[:, None] - v[..., 0])
    torch.testing.assert_close(wide[..., 5], v[..., 2] + 0.5)
    b = torch.ones(1, 2, 3)
    wide = ends.extended(b, "buoyancy", 0, t=0.0)
    torch.testing.assert_close(wide[0, :, 1], 2 * torch.tensor([0.25, 0.75]) - 1)
    torch.testing.assert_close(wide[0, :, 5], torch.zeros(2))


def test_periodic_axes_go_round():
    ends = FaceEnds(CartesianGrid((2, 3)), None, velocity=NAMES, scalars=("buoyancy",))
    f = torch.tensor([[[0.0, 1.0, 2.0, 0.0]]])  # the first face is the last
    assert ends.extended(f, "velocity_x", 0, t=0.0)[0, 0].tolist() == [1, 2, 0, 1, 2, 0, 1, 2]
    assert ends.extended(f[..., :3], "buoyancy", 0, t=0.0)[0, 0].tolist() == [1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("boundary", "said"),
    [
        (None, "nothing is said about `velocity_x`"),
        ({"velocity_x": Dirichlet()}, "nothing is said about `velocity_y`"),
        ({"velocity_x": Dirichlet(), "velocity_y": Dirichlet(), "smoke": Dirichlet()}, "got 'smoke'"),
        (Neumann(), "the component across the end"),
        ({"velocity_x": Dirichlet(), "velocity_y": {"x": Robin(1.0, 1.0), "y": Dirichlet()}}, "expected one of"),
    ],
)
def test_refusals(boundary, said):
    with pytest.raises(InputError, match=said):
        FaceEnds(GRID, boundary, velocity=NAMES)


def test_an_open_end_on_a_periodic_axis_is_refused():
    with pytest.raises(InputError, match="a periodic axis, which has no ends"):
        FaceEnds(CartesianGrid((2, 3)), {"x": Outflow()}, velocity=NAMES)
    ends = FaceEnds(GRID, {"x": Dirichlet(torch.zeros(3)), "y": Reflecting()}, velocity=NAMES)
    with pytest.raises(ShapeError, match="for fields of 2 samples"):
        ends.across(0, 0, 0.0, like=torch.zeros(2, 2, 4))
