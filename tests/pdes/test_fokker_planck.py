"""Fokker-Planck: Ito's form, its parts, current at equilibrium, budget, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.fokker_planck import FokkerPlanck

LINE = CartesianGrid(32, extent=2.0)
PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5


def density():
    x, y = PLANE.coordinates()
    return (1 + 0.5 * torch.cos(KX * x + 2 * KY * y) + 0.2 * torch.sin(2 * KX * x))[None]


def wind(x, y, t):
    return torch.sin(KX * x + KY * y) + t


def spread(x, y, t):
    return 0.2 + 0.1 * torch.cos(KX * x)


def test_diffusion_stands_inside_both_derivatives():
    D, p = Spectral(PLANE), density()
    x, y = D.coordinates
    varying = FokkerPlanck((0.0, 0.0), spread).rhs({"density": p}, D, 0.0)["density"]
    torch.testing.assert_close(varying, D.lap(spread(x, y, 0.0) * p))
    # the conservative form of Fick differs by the drift + grad D
    fick = AdvectionDiffusion(spread, (0.0, 0.0)).rhs({"c": p}, D, 0.0)["c"]
    slope = (lambda x, y, t: -0.1 * KX * torch.sin(KX * x), 0.0)
    torch.testing.assert_close(FokkerPlanck(slope, spread).rhs({"density": p}, D, 0.0)["density"], fick)


def test_constants_functions_and_mixtures_say_the_same():
    D, p = Spectral(PLANE), {"density": density()}
    numbers = FokkerPlanck((wind, -0.4), (0.2, 0.05), loss=0.3)
    functions = FokkerPlanck((wind, lambda x, y, t: -0.4 + 0 * x), (lambda x, y, t: 0.2 + 0 * x, lambda x, y, t: 0.05 + 0 * y), loss=0.3)
    mixed = FokkerPlanck((wind, -0.4), (lambda x, y, t: 0.2 + 0 * x, 0.05), loss=lambda x, y, t: 0.3 + 0 * x)
    expected = numbers.rhs(p, D, 0.7)["density"]
    for law in (functions, mixed):
        torch.testing.assert_close(law.rhs(p, D, 0.7)["density"], expected)
    assert float(functions.stiff(p, D)["density"].abs().max()) == 0
    torch.testing.assert_close(mixed.stiff(p, D)["density"], 0.05 * D.partial(p["density"], 1, 2))


def test_symbol_of_the_stiff_part():
    law = FokkerPlanck((wind, -0.4), (0.2, 0.05))
    symbol = FourierSymbol(PLANE).symbol(law.stiff, law.fields)["density"]
    assert abs(complex(symbol[2, 3]) + 0.2 * (3 * KX) ** 2 + 0.05 * (2 * KY) ** 2) < 1e-12  # storage order; rounding


def test_one_parameter_for_each_sample():
    D, p = Spectral(PLANE), density().expand(2, -1, -1)
    speeds, spreads = torch.tensor([[0.3, -0.4], [0.1, 0.2]], dtype=torch.float64)
    both = FokkerPlanck((wind, speeds), spreads).rhs({"density": p}, D, 0.0)
    for i, (v, d) in enumerate(((0.3, 0.1), (-0.4, 0.2))):
        torch.testing.assert_close(both["density"][i : i + 1], FokkerPlanck((wind, v), d).rhs({"density": p[:1]}, D, 0.0)["density"])


def test_current_vanishes_at_equilibrium_and_its_divergence_is_the_law():
    D = Spectral(LINE)
    (x,) = D.coordinates
    drift = lambda x, t: KX * torch.sin(KX * x)  # noqa: E731 - minus the slope of cos(KX x)
    law = FokkerPlanck((drift,), 0.8)
    (still,) = law.current({"density": torch.exp(-torch.cos(KX * x) / 0.8)[None]}, D, 0.0)
    assert float(still.abs().max()) < 1e-11  # 32 points resolve it; rounding times the largest wave number
    law, p = FokkerPlanck((wind, -0.4), (spread, 0.05)), {"density": density()}
    current = law.current(p, Spectral(PLANE), 0.2)
    torch.testing.assert_close(-Spectral(PLANE).div(current), law.rhs(p, Spectral(PLANE), 0.2)["density"])
    assert float(current[0].abs().max()) > 0.1


def test_mass_changes_by_loss_and_source_alone():
    D, p = Spectral(PLANE), {"density": density()}
    law = FokkerPlanck((wind, -0.4), (spread, 0.05), loss=lambda x, y, t: 0.3 + 0.1 * torch.cos(KX * x), source=lambda x, y, t: t + torch.cos(KY * y))
    rate = law.invariants({"density": law.rhs(p, D, 0.7)["density"]}, PLANE)["mass"]  # the mass is linear in the density
    expected = law.expected_rates(p, D, 0.7, grid=PLANE)["mass"]
    torch.testing.assert_close(rate, expected)
    assert abs(float(expected)) > 0.1


def test_bad_parameters_are_refused_in_words():
    with pytest.raises(InputError, match="diffusion along y: expected values that are not negative"):
        FokkerPlanck((0.0, 0.0), (0.1, -0.1))
    with pytest.raises(InputError, match="diffusion along x: expected values that are not negative and finite, got nan"):
        FokkerPlanck((0.0,), math.nan)
    with pytest.raises(InputError, match="drift along x: expected values that are finite, got inf"):
        FokkerPlanck((math.inf,), 0.1)
    with pytest.raises(InputError, match="expected a tuple of 1 to 3 components"):
        FokkerPlanck(0.3, 0.1)
    with pytest.raises(ShapeError, match="expected 2 coefficients, as many as the drift has, got 3"):
        FokkerPlanck((0.0, 0.0), (0.1, 0.1, 0.1))
    with pytest.raises(InputError, match="loss: expected values that are not negative"):
        FokkerPlanck((0.0,), 0.1, loss=-1.0)
    with pytest.raises(InputError, match="source: expected a function"):
        FokkerPlanck((0.0,), 0.1, source=1.0)


@pytest.mark.parametrize("operators", [Spectral(PLANE), FiniteDifference(PLANE)])
def test_a_drift_of_another_dimension_is_refused(operators):
    with pytest.raises(ShapeError, match="expected 2 components for operators in 2 directions, got 1"):
        FokkerPlanck((0.1,), 0.1).rhs({"density": density()}, operators, 0.0)


def test_a_matrix_is_the_law_by_all_derivatives():
    D, p = Spectral(PLANE), density()
    x, y = D.coordinates
    across = lambda x, y, t: 0.05 * torch.sin(KY * y)  # noqa: E731 - one entry, twice
    law = FokkerPlanck((wind, -0.4), ((spread, across), (across, 0.3)))
    straight = FokkerPlanck((wind, -0.4), (spread, 0.3)).rhs({"density": p}, D, 0.7)["density"]
    mixed = 2 * D.partial(D.partial(across(x, y, 0.7) * p, 0), 1)
    torch.testing.assert_close(law.rhs({"density": p}, D, 0.7)["density"], straight + mixed)
    torch.testing.assert_close(-D.div(law.current({"density": p}, D, 0.7)), law.rhs({"density": p}, D, 0.7)["density"])
    assert float(mixed.abs().max()) > 0.1 and float(law.stiff({"density": p}, D)["density"].abs().max()) == 0
    constant = FokkerPlanck((0.0, 0.0), ((0.2, -0.1), (-0.1, 0.3)))
    symbol = FourierSymbol(PLANE).symbol(constant.stiff, constant.fields)["density"]
    assert abs(complex(symbol[2, 3]) + 0.2 * (3 * KX) ** 2 + 0.3 * (2 * KY) ** 2 - 2 * 0.1 * 3 * KX * 2 * KY) < 1e-12
    with pytest.raises(InputError, match="without negative eigenvalues"):
        FokkerPlanck((0.0, 0.0), ((0.1, 0.2), (0.2, 0.1)))
    with pytest.raises(ShapeError, match="rows of 2 entries"):
        FokkerPlanck((0.0, 0.0), ((0.1, 0.2), (0.2,)))
