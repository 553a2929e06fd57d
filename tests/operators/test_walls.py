from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.walls import Walls

CHANNEL = CartesianGrid((5, 7), extent=(1.0, 2.1), origin=(0.5, 0.0), periodic=(False, True))
BOX = CartesianGrid((5, 7), extent=(1.0, 2.1), periodic=False)
FIELD = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def ghost(walls, f, direction, side):
    """The first ghost with the textbook's one-point formula."""
    axis = f.ndim - 1 - direction
    return walls.extended(f, direction, reach=1, points=1).select(axis, -side)


def test_numbers_batches_and_functions():
    first = FIELD[:, 0]
    assert torch.allclose(ghost(Walls(CHANNEL, Dirichlet(3.0), "FD"), FIELD, 1, 0), 6 - first)
    value = torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert torch.allclose(ghost(Walls(CHANNEL, Dirichlet(value), "FD"), FIELD, 1, 0), 2 * value[:, None] - first)
    walls = Walls(CHANNEL, {"y": (Outflow(), Neumann(lambda x, y, t: x * y + t))}, "FD").told({"c": FIELD}, 10.0)
    x = CHANNEL.axes()[1]
    assert torch.allclose(ghost(walls, FIELD, 1, 1), FIELD[:, -1] + 0.2 * (x * 1.5 + 10))


def test_times_broadcast_along_windows():
    window = FIELD[:, None].expand(2, 3, 5, 7)
    t = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64).reshape(3, 1, 1)
    walls = Walls(CHANNEL, Dirichlet(lambda x, y, t: t + 0 * x), "FD").told({"c": window}, t)
    assert torch.allclose(ghost(walls, window, 1, 0), 2 * t[:, :, 0] - window[:, :, 0])


def test_a_field_is_known_by_identity():
    other, derived = FIELD.clone(), FIELD * 1
    boundary = {"c": Dirichlet(1.0), "v": {"y": Neumann()}}
    walls = Walls(BOX, boundary, "FD").told({"c": FIELD, "v": other}, 0.0)
    assert torch.allclose(ghost(walls, FIELD, 0, 0), 2 - FIELD[..., 0])
    assert torch.allclose(ghost(walls, other, 1, 0), other[:, 0])
    assert walls.extended(other, 0, reach=1, points=1) is None  # nothing said about v along x
    assert walls.extended(derived, 0, reach=1, points=1) is None  # no field
    with pytest.raises(InputError, match=r"expected conditions for each field.*missing w"):
        Walls(BOX, boundary, "FD").told({"c": FIELD, "w": other}, 0.0)
    with pytest.raises(InputError, match="c and v are one tensor"):
        Walls(BOX, boundary, "FD").told({"c": FIELD, "v": FIELD}, 0.0)
    with pytest.raises(InputError, match=r"say which tensor is which, with D\.of"):
        Walls(BOX, boundary, "FD").extended(FIELD, 0, reach=1, points=1)


def test_a_slip_wall_turns_the_component_across_it():
    u, v = FIELD, FIELD.clone()
    walls = Walls(BOX, Reflecting(), "FD").told({"velocity_x": u, "velocity_y": v}, 0.0)
    assert torch.allclose(ghost(walls, u, 0, 0), -u[..., 0])
    assert torch.allclose(ghost(walls, u, 1, 0), u[:, 0])
    assert torch.allclose(ghost(walls, v, 1, 1), -v[:, -1])
    with pytest.raises(InputError, match="Reflecting turns the component"):
        Walls(BOX, Reflecting(), "FD").extended(u, 0, reach=1, points=1)
    with pytest.raises(InputError, match="one tensor"):
        Walls(BOX, Reflecting(), "FD").told({"velocity_x": u, "velocity_y": u}, 0.0)


def test_fields_at_a_wall():
    x = BOX.coordinates()[0].expand(1, 5, 7)
    walls = Walls(BOX, {"x": (Robin(1.0, 2.0, 3.0), Outflow())}, "FD").told({"c": x**2}, 0.0)
    fields, points = walls.fields_at_wall({"c": x**2}, 0, 0, points=2)
    # the parabola x^2 + C (x - h/2)(x - 3h/2) with f - 2 f' = 3 at 0, h = 0.3
    c = 3 / (0.75 * 0.09 + 2 * 2 * 0.3)
    assert fields["c"].shape == (1, 5, 1) and torch.allclose(fields["c"], torch.tensor(c * 0.75 * 0.09).double())
    assert torch.equal(points.coordinates[0], torch.zeros(5, 1, dtype=torch.float64))
    assert walls.fields_at_wall({"c": x**2}, 0, 1, points=2)[0] == {}  # it goes on as it is
    with pytest.raises(UnsupportedOperator, match="put terms with derivatives into `production`"):
        points.grad(x)


def test_refusals():
    with pytest.raises(InputError, match="every axis .* is periodic"):
        Walls(CartesianGrid((4, 4)), Dirichlet(), "FD")
    with pytest.raises(InputError, match="'x', a periodic axis"):
        Walls(CHANNEL, {"x": Dirichlet()}, "FD")
    with pytest.raises(ShapeError, match="what varies along the wall is a function"):
        Walls(CHANNEL, Dirichlet(torch.zeros(3)), "FD").extended(FIELD, 1, reach=1, points=1)
    with pytest.raises(ShapeError, match="what varies along the wall"):
        Walls(CHANNEL, Dirichlet(torch.zeros(5, 7)), "FD").extended(FIELD, 1, reach=1, points=1)
    with pytest.raises(InputError, match="function of time; say the time"):
        Walls(CHANNEL, Dirichlet(lambda x, y, t: x), "FD").extended(FIELD, 1, reach=1, points=1)
