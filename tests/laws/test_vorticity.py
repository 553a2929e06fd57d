"""The law of vorticity: what advection keeps on a full grid, where Kolmogorov's flow loses stability, the budget of a forced flow in time."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_vortices import kolmogorov_laminar
from physdiff.pdes.navier_stokes import DiagonalForcing, KolmogorovForcing, NavierStokes
from physdiff.scores.spectrum import isotropic_spectrum
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve


def test_dealiased_advection_keeps_energy_and_enstrophy_of_white_noise():
    """All waves of the grid excited: without the two-thirds rule products alias, with it the budget closes to rounding."""
    grid = CartesianGrid((30, 48), extent=(1.5, 2.0))
    noise = torch.randn(3, 30, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = noise - noise.mean((1, 2), keepdim=True)
    law = NavierStokes(0.0, mean_flow=(0.3, -0.2))
    shares = {}
    for cut in (True, False):
        D = Spectral(grid, dealias=cut)
        w = D.dealias(noise)
        rate = D.dealias(law.explicit({"vorticity": w}, D, 0.0)["vorticity"])
        psi = law.diagnose({"vorticity": w}, D)["streamfunction"]
        scale = rate.square().mean((1, 2)).sqrt()
        shares[cut] = [float(((f * rate).mean((1, 2)) / scale / f.square().mean((1, 2)).sqrt()).abs().max()) for f in (w, psi)]
    # rounding of sums over 1440 points
    assert max(shares[True]) < 1e-14
    assert max(shares[False]) > 1e-4


def long_wave_rate(ratio, alpha, *, viscosity=0.05, wave_number=2.0):
    """Growth of the wave alpha k along x over nu (alpha k)^2, on the laminar flow with U / (nu k) = ratio, from the law's own Jacobian."""
    amplitude = ratio * viscosity * wave_number * wave_number * (viscosity * wave_number**2)
    grid = CartesianGrid((20, 4), extent=(2 * math.pi / wave_number, 2 * math.pi / (alpha * wave_number)))
    law, D = NavierStokes(viscosity, forcing=KolmogorovForcing(amplitude, wave_number)), Spectral(grid)
    kind = {"amplitude": amplitude, "wave_number": wave_number, "viscosity": viscosity}
    flow = kolmogorov_laminar(*grid.coordinates(), **kind)["vorticity"]

    def rate(w):
        return law.rhs({"vorticity": w.reshape(1, 20, 4)}, D, 0.0)["vorticity"].reshape(-1)

    jacobian = torch.autograd.functional.jacobian(rate, flow.reshape(-1))
    # restricted to what varies along x as the first wave
    x = grid.axes()[1] * alpha * wave_number
    basis = torch.stack([torch.cos(x), torch.sin(x)]) / math.sqrt(2)
    lift = torch.einsum("yz,kx->yxzk", torch.eye(20, dtype=torch.float64), basis).reshape(80, 40)
    rates = torch.linalg.eigvals(lift.T @ jacobian @ lift).real
    return float(rates.max()) / (viscosity * (alpha * wave_number) ** 2)


def test_kolmogorov_flow_loses_stability_to_long_waves_at_the_root_of_two():
    # Meshalkin and Sinai: the flow adds -U^2 / (2 nu k^2) to the viscosity of long waves, growth nu a^2 (R^2 / 2 - 1), as a tends to 0
    for ratio in (1.2, 1.38, 1.45, 2.0):
        errors = [long_wave_rate(ratio, alpha) - (ratio**2 / 2 - 1) for alpha in (0.1, 0.05)]
        # the correction falls as alpha squared
        assert abs(errors[1]) < 0.03 and 3.0 < errors[0] / errors[1] < 5.0, (ratio, errors)
    assert long_wave_rate(1.38, 0.05) < 0 < long_wave_rate(1.45, 0.05)


def test_budgets_close_along_a_forced_flow():
    """The change of energy and enstrophy between frames is the integral of their budgets, for each drag of a batch."""
    grid = CartesianGrid((32, 48), extent=(1.0, 2.0))
    D = Spectral(grid)
    law = NavierStokes(2e-3, torch.tensor([0.0, 0.5]), DiagonalForcing(2.0), mean_flow=(0.3, 0.1))
    x, y = grid.coordinates()
    start = torch.sin(2 * math.pi * y + 1.0) * torch.cos(math.pi * x) + 0.5 * torch.cos(4 * math.pi * y - 3 * math.pi * x)
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    out = solve(ETDRK4(law, D), {"vorticity": start.expand(2, -1, -1).clone()}, times, substeps=2)
    full = law.diagnose(out, D)
    got, rates = law.invariants(full, grid), law.expected_rates(full, D, 0.0, grid=grid)
    for name in ("energy", "enstrophy"):
        rate = rates[name]
        # Simpson's rule, fourth order in frames of 0.01
        work = (rate[:, 0] + rate[:, -1] + 4 * rate[:, 1::2].sum(1) + 2 * rate[:, 2:-1:2].sum(1)) * 0.01 / 3
        change = got[name][:, -1] - got[name][:, 0]
        torch.testing.assert_close(work, change, rtol=1e-6, atol=1e-8)
        assert float(change.abs().min()) > 1e-3
    assert float(got["circulation"].abs().max()) < 1e-13
    assert float((got["energy"][0, -1] - got["energy"][1, -1]).abs()) > 1e-3


def test_the_spectrum_of_vorticity_holds_the_enstrophy_and_energy():
    grid = CartesianGrid((32, 48), extent=(1.0, 2.0))
    w = torch.randn(1, 32, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    full = NavierStokes(0.1).diagnose({"vorticity": w - w.mean()}, Spectral(grid))
    flow = NavierStokes(0.1).velocity(full, Spectral(grid))
    energy = sum(isotropic_spectrum(v, space=2, spacing=grid.spacing)[1] for v in flow)
    # the shortest wave of an even axis has no odd derivative, so that the velocity misses its share
    wanted = NavierStokes(0.1).invariants(full, grid)["energy"]
    assert abs(float(energy.sum() / wanted) - 1) < 1e-2


@pytest.mark.slow
def test_kolmogorov_flow_in_a_long_box_leaves_its_laminar_state_only_above_the_threshold():
    for ratio, grows in ((1.2, False), (2.0, True)):
        nu, k = 0.05, 2.0
        amplitude = ratio * nu * k * k * nu * k * k
        grid = CartesianGrid((16, 64), extent=(2 * math.pi / k, 2 * math.pi / (0.2 * k)))
        law, D = NavierStokes(nu, forcing=KolmogorovForcing(amplitude, k)), Spectral(grid)
        x, y = grid.coordinates()
        flow = kolmogorov_laminar(x, y, amplitude=amplitude, wave_number=k, viscosity=nu)["vorticity"]
        ripple = 1e-4 * torch.cos(0.2 * k * x)
        times = torch.tensor([0.0, 200.0, 400.0], dtype=torch.float64)
        out = solve(ETDRK4(law, D), {"vorticity": (flow + ripple)[None]}, times, substeps=800)["vorticity"][0]
        sizes = [(frame - frame.mean(1, keepdim=True)).square().mean().sqrt() for frame in out]
        assert (sizes[2] > sizes[1]) == grows, (ratio, sizes)
