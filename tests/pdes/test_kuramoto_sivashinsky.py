"""Kuramoto-Sivashinsky: its text in both forms, budgets, growth rates, order, chaos, batched parameters, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.spectral import Spectral
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve

LINE, PLANE = CartesianGrid(48, extent=3.0), CartesianGrid((24, 40), extent=(1.5, 2.0))
K, KX, KY = 2 * math.pi / 3.0, math.pi, 2 * math.pi / 1.5


def smooth():
    (x,) = LINE.coordinates()
    return (0.3 + torch.sin(K * x + 0.2) + 0.5 * torch.cos(3 * K * x))[None]


def hills():
    x, y = PLANE.coordinates()
    return (0.4 + torch.sin(KX * x + 2 * KY * y) + 0.3 * torch.cos(2 * KX * x - KY * y + 1.0))[None]


def test_the_text_is_the_equation_on_a_line():
    (x,) = LINE.coordinates()
    one, three = torch.sin(K * x + 0.2), 0.5 * torch.cos(3 * K * x)
    u, slope = 0.3 + one + three, K * torch.cos(K * x + 0.2) - 1.5 * K * torch.sin(3 * K * x)
    wanted = -1.5 * u * slope + 0.7 * K**2 * (one + 9 * three) - 0.2 * K**4 * (one + 81 * three)
    torch.testing.assert_close(KuramotoSivashinsky(1.5, 0.7, 0.2).rhs({"u": u[None]}, Spectral(LINE), 0.0)["u"][0], wanted)


def test_the_text_of_the_potential_is_the_equation_in_the_plane():
    x, y = PLANE.coordinates()
    a, b = KX * x + 2 * KY * y, 2 * KX * x - KY * y + 1.0
    first, second = KX**2 + 4 * KY**2, 4 * KX**2 + KY**2
    along_x = KX * torch.cos(a) - 0.6 * KX * torch.sin(b)
    along_y = 2 * KY * torch.cos(a) + 0.3 * KY * torch.sin(b)
    growth = 0.7 * (first * torch.sin(a) + 0.3 * second * torch.cos(b))
    damped = 0.02 * (first**2 * torch.sin(a) + 0.3 * second**2 * torch.cos(b))
    wanted = -0.75 * (along_x**2 + along_y**2) + growth - damped
    law = KuramotoSivashinsky(1.5, 0.7, 0.02, potential=True)
    torch.testing.assert_close(law.rhs({"u": hills()}, Spectral(PLANE), 0.0)["u"][0], wanted)


def test_the_slope_of_a_potential_obeys_the_derivative_form():
    D, phi = Spectral(LINE), smooth()
    (slope,) = D.grad(KuramotoSivashinsky(1.5, 0.7, 0.2, potential=True).rhs({"u": phi}, D, 0.0)["u"])
    of_slope = KuramotoSivashinsky(1.5, 0.7, 0.2).rhs({"u": D.grad(phi)[0]}, D, 0.0)["u"]
    # rounding times the fifth power of the largest wave number (50)
    torch.testing.assert_close(slope, of_slope, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("potential", [False, True])
def test_budget_is_the_derivative_of_the_invariants(potential):
    grid, u = (PLANE, hills()) if potential else (LINE, smooth())
    D, law = Spectral(grid), KuramotoSivashinsky(1.5, 0.7, 0.02, potential=potential)
    # invariants are quadratic, so half the difference over u + du and u - du is the exact derivative along du
    rate = law.rhs({"u": u}, D, 0.0)["u"]
    ahead, behind = (law.invariants({"u": u + sign * rate}, grid) for sign in (1, -1))
    expected = law.expected_rates({"u": u}, D, 0.0, grid=grid)
    for name in ("mass", "energy"):
        torch.testing.assert_close((ahead[name] - behind[name]) / 2, expected[name], atol=1e-9, rtol=1e-9)
    assert float(expected["energy"].abs()) > 0.1 and (float(expected["mass"].abs()) > 0.1) == potential


def test_symbol_holds_the_growth_rates():
    grid = CartesianGrid(32, extent=20.0)
    symbol = FourierSymbol(grid).symbol(KuramotoSivashinsky(1.0, 0.8, 0.5).stiff, ("u",))["u"]
    k = 2 * math.pi / 20.0 * torch.arange(17, dtype=torch.float64)
    torch.testing.assert_close(symbol, (0.8 * k**2 - 0.5 * k**4).to(symbol))


def test_order_and_mass_of_the_solver():
    """Self-convergence: the differences between n, 2n and 4n steps."""
    grid = CartesianGrid(96, extent=32 * math.pi)
    (x,) = grid.coordinates()
    start = (torch.cos(x / 16) * (1 + torch.sin(x / 16)))[None]  # Kassam and Trefethen
    times = torch.tensor([0.0, 20.0], dtype=torch.float64)
    law = KuramotoSivashinsky()
    found = {n: solve(ETDRK4(law, Spectral(grid)), {"u": start}, times, substeps=n)["u"] for n in (80, 160, 320, 640)}
    gaps = [float((found[n] - found[2 * n]).abs().max()) for n in (80, 160, 320)]
    rates = [math.log2(a / b) for a, b in zip(gaps, gaps[1:], strict=False)]
    print("differences", *(f"{g:.1e}" for g in gaps), "orders", *(f"{r:.2f}" for r in rates))
    assert all(abs(rate - 4) < 0.25 for rate in rates), (gaps, rates)
    mass = law.invariants({"u": found[80]}, grid)["mass"][0]
    assert float((mass[1] - mass[0]).abs()) < 1e-14


def test_energy_budget_closes_along_a_solution():
    grid = CartesianGrid(64, extent=22.0)
    D, law = Spectral(grid, dt=0.05), KuramotoSivashinsky()
    start = 0.5 * torch.cos(2 * math.pi / 22.0 * grid.coordinates()[0] + 0.3)[None]
    u = solve(ETDRK4(law, D), {"u": start}, 0.05 * torch.arange(21, dtype=torch.float64) + 20.0, substeps=2)
    energy, rates = law.invariants(u, grid)["energy"][0], law.expected_rates(u, D, 0.0, grid=grid)["energy"][0]
    gained = 0.05 / 3 * (rates[0] + 4 * rates[1:-1:2].sum() + 2 * rates[2:-1:2].sum() + rates[-1])
    # Simpson's rule with 20 intervals
    torch.testing.assert_close(gained, energy[-1] - energy[0], rtol=1e-6, atol=0)


@pytest.mark.slow
def test_chaos_on_a_line_of_22():
    """Golden numbers: largest Lyapunov exponent 0.0473 +- 0.0008, root mean square 1.185 (methods card, section 5)."""
    grid, n = CartesianGrid(64, extent=22.0), 128
    stepper = ETDRK4(KuramotoSivashinsky(), Spectral(grid))
    u = Rng(3).normal((n, 64), like=torch.zeros((), dtype=torch.float64))
    u = solve(stepper, {"u": u - u.mean(-1, keepdim=True)}, torch.tensor([0.0, 200.0], dtype=torch.float64), substeps=800)["u"][:, -1]
    shift = Rng(4).normal((n, 64), like=u)
    shift, growth, squares = 1e-7 * (shift - shift.mean(-1, keepdim=True)), [], []
    for _ in range(150):
        both = solve(stepper, {"u": torch.cat([u, u + shift])}, torch.tensor([0.0, 2.0], dtype=torch.float64), substeps=8)["u"][:, -1]
        u, moved = both[:n], both[n:] - both[:n]
        size = moved.norm(dim=-1, keepdim=True)
        growth.append((size / shift.norm(dim=-1, keepdim=True)).log()[:, 0] / 2.0)
        squares.append(u.square().mean())
        shift = moved * (1e-7 / size)
    rates = torch.stack(growth[25:]).mean(0)  # the first 50 units turn the shift into the growing direction
    exponent, spread = float(rates.mean()), float(rates.std() / math.sqrt(n))
    rms = float(torch.stack(squares).mean().sqrt())
    print(f"exponent {exponent:.4f} +- {spread:.4f}, root mean square {rms:.4f}")
    assert abs(exponent - 0.0473) < 4 * math.hypot(spread, 0.0008)
    assert abs(rms - 1.185) < 0.01  # 128 x 300 units of time; correlation times of about 10 leave 0.002


def test_batched_parameters_equal_single_solves():
    given = [torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.5], [0.02, 0.05], [0.002, 0.001])]
    times = torch.tensor([0.0, 0.1], dtype=torch.float64)
    together = solve(ETDRK4(KuramotoSivashinsky(*given), Spectral(LINE)), {"u": smooth().expand(2, -1).clone()}, times, substeps=10)["u"]
    for i in range(2):
        alone = solve(ETDRK4(KuramotoSivashinsky(*(float(v[i]) for v in given)), Spectral(LINE)), {"u": smooth()}, times, substeps=10)["u"]
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-13)
    assert float((together[0] - together[1]).abs().max()) > 0.01


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="damping: expected values that are positive"):
        KuramotoSivashinsky(damping=0.0)
    with pytest.raises(InputError, match="growth: expected values that are not negative"):
        KuramotoSivashinsky(growth=torch.tensor([1.0, -1.0]))
    with pytest.raises(InputError, match="nonlinearity: expected values that are finite"):
        KuramotoSivashinsky(math.nan)
    with pytest.raises(InputError, match="say potential=True"):
        KuramotoSivashinsky().rhs({"u": hills()}, Spectral(PLANE), 0.0)


def test_it_is_built_again_from_its_description():
    law = build(describe(KuramotoSivashinsky(100 / 16, 100 / 16**2, 100 / 16**4, potential=True)))
    assert (law.nonlinearity, law.growth, law.damping, law.potential) == (100 / 16, 100 / 256, 100 / 65536, True)
