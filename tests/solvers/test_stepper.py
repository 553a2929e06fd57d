"""The estimate of the largest eigenvalue."""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.stepper import Stepper, spectral_radius


def test_radius_of_a_diagonal_map_is_its_largest_entry_over_the_batch():
    rates = torch.tensor([[1.0, 2.0, -30.0, 4.0], [5.0, 3.0, 2.0, 1.0]], dtype=torch.float64)
    u = {"a": torch.ones(2, 4, dtype=torch.float64)}
    # from below; the second eigenvalue is smaller by 7, so eight iterations leave nothing but the rounding of the difference quotient
    assert abs(spectral_radius(lambda v: {"a": rates * v["a"]}, u) - 30) < 1e-4


def test_fields_of_different_units_count_alike():
    # an oscillator between a field of size 1e5 and one of size 1: eigenvalues +-2i in any units
    a, b = torch.full((1, 8), 1e5, dtype=torch.float64), torch.ones(1, 8, dtype=torch.float64)
    got = spectral_radius(lambda v: {"a": 2e5 * v["b"], "b": -2e-5 * v["a"]}, {"a": a, "b": b})
    assert abs(got - 2) < 1e-5  # rounding of the difference quotient


def test_waves_between_fields_in_units_that_do_not_fit():
    # depth drives velocity a thousand times more than velocity drives depth: +-3i, though one application may multiply by 90
    u = {name: torch.ones(1, 8, dtype=torch.float64) for name in ("h", "v")}
    got = spectral_radius(lambda w: {"h": 0.1 * w["v"], "v": -90 * w["h"]}, u)
    # to within the share of the first field in the noise that the iterations begin with
    assert 2.9 < got < 3 * 1.5


def test_a_field_of_rounding_does_not_count_as_a_small_one():
    """A lake at rest whose momentum is the rounding of its pressure: waves of speed one, not of 1e9."""
    noise = torch.randn(1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def slope(f):
        return (torch.roll(f, -1, -1) - torch.roll(f, 1, -1)) * 16

    got = spectral_radius(lambda w: {"h": -slope(w["v"]), "v": -slope(w["h"] ** 2 / 2)}, {"h": 1 + 0 * noise, "v": 1e-17 * noise})
    assert 0.8 * 32 < got < 1.2 * 32


def test_what_does_not_come_back_is_no_growth():
    """The ground pushes a flow a million times slower than its depth is large, and no depth is made: the eigenvalues are those of rotation."""
    u = {"h": torch.ones(1, 8, dtype=torch.float64), "v": torch.full((1, 8), 1e-6, dtype=torch.float64)}
    assert abs(spectral_radius(lambda w: {"h": 0 * w["h"], "v": 3 * w["h"] - 0.3 * w["v"]}, u) - 0.3) < 1e-2


def test_radius_of_a_law_that_does_nothing_is_zero():
    u = {"a": torch.zeros(1, 4, dtype=torch.float64)}
    assert spectral_radius(lambda v: {"a": 0 * v["a"]}, u) == 0


def test_first_derivative_by_central_differences():
    h = 0.1

    def slope(v):
        return {"a": (torch.roll(v["a"], -1, -1) - torch.roll(v["a"], 1, -1)) / (2 * h)}

    got = spectral_radius(slope, {"a": torch.zeros(1, 64, dtype=torch.float64)})
    # the exact radius is 1/h; a power method from white noise reaches it from below
    assert 0.85 / h < got <= 1 / h * (1 + 1e-6)


def test_a_stepper_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Stepper()


def test_a_printed_stepper_says_what_it_is():
    assert repr(RungeKutta(Burgers(0.1), Spectral(CartesianGrid(16, extent=1.0)))) == "RungeKutta(Burgers, Spectral, order 4)"
