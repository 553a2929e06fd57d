"""Boundary conditions: one form for all ways to say them, and what is no condition is refused."""

import pytest

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting, Robin, ends_of
from physdiff.grids.cartesian import CartesianGrid

CHANNEL = CartesianGrid((6, 8), periodic=(False, True))
BOX = CartesianGrid((6, 8), periodic=False)


def test_one_condition_is_for_every_open_end():
    assert ends_of(Dirichlet(2.0), CHANNEL) == {"y": (Dirichlet(2.0), Dirichlet(2.0))}
    assert set(ends_of(Outflow(), BOX)) == {"x", "y"}


def test_by_axis_and_by_field_say_the_same():
    by_axis = {"x": (Dirichlet(1.0), Outflow()), "y": Neumann()}
    expected = {"x": (Dirichlet(1.0), Outflow()), "y": (Neumann(), Neumann())}
    assert ends_of(by_axis, BOX) == expected
    assert ends_of({"c": by_axis, "u": Reflecting()}, BOX, "c") == expected


def test_a_field_that_nothing_is_said_about_has_no_conditions():
    assert ends_of({"c": Dirichlet()}, BOX, "u") == {}
    assert ends_of({"c": Dirichlet()}, BOX) == {}


@pytest.mark.parametrize(
    ("boundary", "words"),
    [
        ({"x": Dirichlet()}, "periodic axis"),
        ({"z": Dirichlet(), "y": Dirichlet()}, "no axis"),
        ({"y": (Dirichlet(),)}, "pair"),
        ({"y": 0.0}, "pair"),
        (1.0, "condition like Dirichlet"),
    ],
)
def test_what_is_no_condition_is_refused(boundary, words):
    with pytest.raises(InputError, match=words):
        ends_of(boundary, CHANNEL)


def test_robin_needs_something_to_impose():
    with pytest.raises(InputError, match="nothing would be imposed"):
        Robin(0.0, 0.0)


def test_conditions_can_be_saved():
    assert build(describe(Robin(1.0, 0.5, 2.0))) == Robin(1.0, 0.5, 2.0)
