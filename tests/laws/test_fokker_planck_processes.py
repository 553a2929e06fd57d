"""Fokker-Planck for known processes: geometric and reflected Brownian motion, Klein-Kramers, skew drift, falling entropy, particles."""

import math

import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_diffusion import OrnsteinUhlenbeck, double_well_drift, gibbs_density
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.solve import solve


def check(name, errors, *, order=2):
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print(name, *(f"{e:.2e}" for e in errors), "orders", *(f"{r:.2f}" for r in rates))
    assert all(abs(rate - order) < 0.25 for rate in rates), (errors, rates)


def run(law, grid, start, times, *, steps, order=2):
    moments = torch.tensor(times, dtype=torch.float64)
    return solve(ChangCooper(law, grid, order=order), {"density": start}, moments, substeps=steps)["density"][:, -1]


def test_geometric_brownian_motion_is_log_normal():
    mu, sigma = 0.3, 0.4

    def exact(x, t):
        spread = sigma * math.sqrt(t)
        return torch.exp(-0.5 * ((x.log() - (mu - sigma**2 / 2) * t) / spread) ** 2) / (x * spread * math.sqrt(2 * math.pi))

    errors = []
    for n in (80, 160, 320):
        grid = CartesianGrid(n, extent=6.0, periodic=False)
        (x,) = grid.coordinates()
        law = FokkerPlanck((lambda x, t: mu * x,), lambda x, t: 0.5 * (sigma * x) ** 2)
        got = run(law, grid, exact(x, 0.5)[None], (0.5, 1.0), steps=n // 4)
        errors.append(float((got - exact(x, 1.0)).abs().max()))
    check("log-normal", errors)


def test_reflected_brownian_motion_is_a_cosine_series():
    length, d, width = 1.3, 0.2, 0.15

    def exact(x, t):
        k = torch.arange(1, 60, dtype=torch.float64)[:, None] * math.pi / length
        modes = torch.exp(-(k**2) * (d * t + width**2 / 2)) * torch.cos(k * 0.3) * torch.cos(k * x)
        return (1 + 2 * modes.sum(0)) / length

    errors = []
    for n in (20, 40, 80):
        grid = CartesianGrid(n, extent=length, periodic=False)
        (x,) = grid.coordinates()
        got = run(FokkerPlanck((0.0,), d), grid, exact(x, 0.0)[None], (0.0, 0.4), steps=n)
        errors.append(float((got - exact(x, 0.4)).abs().max()))
    check("cosine series", errors)


def test_klein_kramers_of_an_oscillator():
    # x' = v, v' = -w x - g v + noise of 2 g T, none along x: the first D vanishes and the drift is upwind there, of first order
    w, g, temperature = 1.2, 0.8, 0.3
    process = OrnsteinUhlenbeck(((0.0, -1.0), (w, g)), (0.0, g * temperature), (0.5, -0.2), ((0.15, 0.02), (0.02, 0.2)))
    law, errors = FokkerPlanck(process.drift, process.diffusion), []
    for n in (1, 2, 4):
        grid = CartesianGrid((24 * n, 30 * n), extent=(5.6, 5.0), origin=(-2.7, -2.4), periodic=False)
        got = run(law, grid, process.density(*grid.coordinates(), 0.0)[None], (0.0, 0.3), steps=6 * n)
        exact = process.density(*grid.coordinates(), 0.3)
        errors.append(float((got - exact).abs().sum() / exact.sum()))
    print("Klein-Kramers", errors)
    assert errors[0] / errors[1] > 1.6 and errors[1] / errors[2] > 1.7


def potential(x, y):
    return x**4 / 4 - x**2 / 2 + 0.7 * y**2 + 0.2 * x * y


def test_a_skew_part_of_the_drift_keeps_the_equilibrium():
    d, s = 0.3, 0.8
    v_x, v_y = (lambda x, y, t: x**3 - x + 0.2 * y), (lambda x, y, t: 1.4 * y + 0.2 * x)
    law = FokkerPlanck((lambda x, y, t: -v_x(x, y, t) + s * v_y(x, y, t), lambda x, y, t: -v_y(x, y, t) - s * v_x(x, y, t)), d)
    grid = CartesianGrid((96, 120), extent=(9.0, 8.4), origin=(-4.5, -4.2))
    p = gibbs_density(potential, grid, diffusion=d)[None]
    rate = law.rhs({"density": p}, Spectral(grid, dealias=False), 0.0)["density"]
    gradient = FokkerPlanck((law.drift[0], 0.0), d).rhs({"density": p}, Spectral(grid, dealias=False), 0.0)["density"]
    # rounding and the seam, against what one half of the drift alone would do
    assert float(rate.abs().max()) < 1e-6 * float(gradient.abs().max())


def test_relative_entropy_falls_at_every_step():
    grid = CartesianGrid(90, extent=5.0, origin=-2.4, periodic=False)
    stepper = ChangCooper(FokkerPlanck((double_well_drift,), 0.15), grid)
    rest = stepper.steady(torch.zeros((), dtype=torch.float64))
    u, entropies = {"density": torch.zeros(1, 90, dtype=torch.float64)}, []
    u["density"][0, 20] = 1 / grid.spacing[0]
    for dt in (1e-3, 1e-2, 0.1, 0.1, 1.0, 1.0, 10.0, 10.0, 100.0):
        u = stepper.step(u, 0.0, dt)
        p = u["density"]
        entropies.append(float((torch.special.xlogy(p, p) - p * rest.log()).sum() * grid.spacing[0]))
    assert all(after < before for before, after in zip(entropies, entropies[1:], strict=False)), entropies
    assert entropies[0] > 1 and entropies[-1] >= -1e-12


def test_particles_have_this_density():
    d, n, steps, end = 0.3, 40_000, 200, 1.0
    generator = torch.Generator().manual_seed(7)
    x = 0.2 + 0.3 * torch.randn(n, dtype=torch.float64, generator=generator)
    for _ in range(steps):
        x = x + double_well_drift(x) * end / steps + math.sqrt(2 * d * end / steps) * torch.randn(n, dtype=torch.float64, generator=generator)
    grid = CartesianGrid(320, extent=6.4, origin=-3.2, periodic=False)
    (at,) = grid.coordinates()
    start = torch.exp(-0.5 * ((at - 0.2) / 0.3) ** 2) / (0.3 * math.sqrt(2 * math.pi))
    got = run(FokkerPlanck((double_well_drift,), d), grid, start[None], (0.0, end), steps=100)[0] * grid.spacing[0]
    share = got.reshape(16, 20).sum(1)
    seen = torch.histc(x, 16, -3.2, 3.2) / n
    error = (share * (1 - share) / n).sqrt()
    # four standard errors, and the bias of Euler's steps, of the size of one
    assert bool(((seen - share).abs() < 4 * error + 0.5 * end / steps).all()), (seen - share, error)
