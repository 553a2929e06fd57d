"""T-SDE of the methods card (diffusion, section 2.2) for samplers with several noises per step, T-SPEC (2.4) for all; what Restart forgets, where
Langevin rests; and that no public sampler is missing in the tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import physdiff
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle
from physdiff.diffusion.samplers.er_sde import ERSDE, ERSDEMultistep
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.genie import GENIE
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.langevin import LangevinCorrected
from physdiff.diffusion.samplers.probability_flow import ProbabilityFlow
from physdiff.diffusion.samplers.restart import Restart
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.samplers.sde_single import SDESolverSingle
from physdiff.diffusion.schedule import EDMSchedule, VPSchedule
from physdiff.evaluation.sampler_gain import sampler_gain
from tests.diffusion.samplers.test_sampler import NAMED
from tests.laws import test_sampler_orders as orders, test_samplers as first
from tests.laws.test_sampler_orders import error
from tests.laws.test_samplers import exact, lam_grid, reference

SCHEDULE, MEAN, STD = VPSchedule(), 0.7, 0.5


class Ledger:
    """Stands for an Rng: each path of keys draws its own unit vector, from entry 2 on, so that a state lists its own coefficients."""

    def __init__(self, path: tuple[int | str, ...] = (), book: dict[tuple[int | str, ...], int] | None = None) -> None:
        self.path, self.book = path, {} if book is None else book

    def child(self, *keys: int | str) -> Ledger:
        return Ledger(self.path + keys, self.book)

    def normal_each(self, indices, shape, *, like: Tensor) -> Tensor:
        out = torch.zeros(len(indices), *shape, dtype=like.dtype)
        out[..., 2 + self.book.setdefault(self.path, len(self.book))] = 1
        return out


class Biased(Denoiser):
    """A posterior mean that is wrong by a constant above a noise-to-signal ratio."""

    def __init__(self, inner: GaussianDenoiser, bias: float, above: float) -> None:
        super().__init__()
        self.schedule, self.inner, self.bias, self.above = inner.schedule, inner, bias, above

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        out = self.inner(x_t, t).clone()
        if float(self.schedule.noise_ratio(t)) > self.above:
            out[..., 1] += self.bias
        return out


def moments(sampler: Sampler, times: Tensor, *, bias: float = 0.0, above: float = 0.0) -> tuple[float, float]:
    """Exact mean and std of an affine sampler's output: the state holds the coefficients of (x_T, 1, z_0, z_1, ...)."""
    centre = torch.zeros(1, 1, 4 * len(times) + 400, dtype=torch.float64)
    centre[..., 1] = MEAN
    denoiser = Biased(GaussianDenoiser(SCHEDULE, centre, DiagonalCovariance(torch.full_like(centre, STD**2))), bias, above)
    x = torch.zeros_like(centre)[None]
    x[..., 1], x[..., 0] = exact(SCHEDULE, times[0], MEAN, STD)
    out = sampler.run(denoiser, x, times, rng=Ledger()).flatten()
    return float(out[1]), float(torch.sqrt(out[0] ** 2 + out[2:].square().sum()))


def restart(steps: int) -> Restart:
    """Two rounds from the node nearest u = 0.3 up to three times its u, with the steps of the grid."""
    lams = torch.linspace(-4, 3, steps + 1, dtype=torch.float64)
    low = math.exp(-float(lams[(lams + math.log(0.3)).abs().argmin()]))
    return Restart(low=low, high=3 * low, repeats=2, steps=round(math.log(3) * steps / 7))


# sampler of so many steps, slope, the card's row, its digits' tolerance, our golden values at 20, 80 and 320 steps
T_SDE = {
    "SDE 2S": (lambda _: SDESolverSingle(), 2, (1.3e-2, 9.2e-4, 5.9e-5), 0.05, (1.28454e-2, 9.19342e-4, 5.89891e-5)),
    # the card: 4 in this test, by cancellation, 2 in general
    "SEEDS-2": (lambda _: SDESolverSingle("noise"), 4, (3.7e-3, 1.5e-5, 5.1e-8), 0.05, (3.72606e-3, 1.52672e-5, 5.14655e-8)),
    "ER-SDE-2": (lambda _: ERSDEMultistep(2), 2, None, 0.0, (7.69910e-3, 4.38383e-4, 2.66435e-5)),
    # nearly the flow at low noise, hence its order 3 here
    "ER-SDE-3": (lambda _: ERSDEMultistep(3), 3, None, 0.0, (2.36037e-3, 3.04168e-5, 3.07889e-7)),
    # the card does not give the steps of its rounds: ours differ from 80 steps on
    "Restart": (restart, 2, (7.3e-3, 3.8e-4, 2.3e-5), 0.12, None),
}


def std_errors(sampler, counts: tuple[int, ...]) -> list[float]:
    errors = []
    for steps in counts:
        times = lam_grid(SCHEDULE, steps)
        got, wanted = moments(sampler(steps), times), exact(SCHEDULE, times[-1], MEAN, STD)
        assert got[0] == pytest.approx(wanted[0], abs=1e-13)
        errors.append(abs(got[1] - wanted[1]))
    return errors


@pytest.mark.parametrize("name", T_SDE)
def test_golden_moments(name: str) -> None:
    sampler, _, card, digits, golden = T_SDE[name]
    errors = std_errors(sampler, (20, 80))
    assert golden is None or errors == pytest.approx(golden[:2], rel=0.01)
    assert card is None or errors == pytest.approx(card[:2], rel=digits)


@pytest.mark.slow
@pytest.mark.parametrize("name", T_SDE)
def test_orders_in_law(name: str) -> None:
    sampler, order, card, digits, golden = T_SDE[name]
    errors = std_errors(sampler, (20, 80, 320))
    assert golden is None or errors == pytest.approx(golden, rel=0.01)
    assert card is None or errors == pytest.approx(card, rel=digits)
    # order 3 of ER-SDE shows late: 3.3 on this pair, as its noise fades
    assert math.log2(errors[1] / errors[2]) / 2 == pytest.approx(order, abs=0.35 if name == "ER-SDE-3" else 0.15)


class Flow(ERSDEMultistep):
    """ER-SDE without noise, psi = 1."""

    def psi(self, lam: Tensor) -> Tensor:
        return torch.ones_like(lam)

    def growth(self, lam: Tensor) -> Tensor:
        return torch.ones_like(lam)


@pytest.fixture(scope="module")
def end() -> Tensor:
    return torch.from_numpy(reference()).reshape(64, 1, 1, 1)


@pytest.mark.parametrize(("order", "golden"), [(2, (2.87077e-2, 2.10281e-3)), (3, (1.51622e-2, 3.19438e-4))])
def test_er_sde_without_noise_is_a_flow_of_its_order(order: int, golden: tuple[float, float], end: Tensor) -> None:
    errors = [error(Flow(order), n, end) for n in (20, 80, 160)]
    assert errors[:2] == pytest.approx(golden, rel=0.01)
    # it is the engine's polynomial in u; the published third order measures 2 here
    assert errors[0] == pytest.approx(error(ExponentialMultistep(order, variable="u"), 20, end), rel=1e-9)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.15)


def off_the_mean(*, bias: float, above: float) -> list[float]:
    """Error of the mean after 0 to 3 rounds between u = 1/e, a node of the grid, and 2."""
    times = lam_grid(SCHEDULE, 28)
    wanted = exact(SCHEDULE, times[-1], MEAN, STD)[0]
    samplers = (Restart(low=math.exp(-1.0), high=2.0, repeats=k, steps=30) for k in range(4))
    return [moments(sampler, times, bias=bias, above=above)[0] - wanted for sampler in samplers]


# in y the exact flow scales the distance from the mean by this, fresh noise leaves it; Heun in 30 steps of 0.056 is exact to h^2/6
RATE = math.sqrt((STD**2 + math.exp(-2.0)) / (STD**2 + 2.0**2))


def test_restart_forgets_an_early_bias_at_the_rate_of_the_flow() -> None:
    off = off_the_mean(bias=0.1, above=2.01)
    assert [b / a for a, b in zip(off, off[1:], strict=False)] == pytest.approx([RATE] * 3, rel=1e-3)
    assert RATE < 0.31


def test_restart_does_not_mend_a_bias_within_its_stretch() -> None:
    """Each round adds it anew: the error goes, at the same rate, to that of a walk that never leaves the stretch, and that is larger."""
    off = off_the_mean(bias=0.1, above=0.0)
    steps = [b - a for a, b in zip(off, off[1:], strict=False)]
    assert steps[0] > 0
    assert [b / a for a, b in zip(steps, steps[1:], strict=False)] == pytest.approx([RATE] * 2, rel=1e-3)


@pytest.mark.parametrize("size", [0.3, 0.01])
def test_langevin_rests_at_its_closed_variance(size: float) -> None:
    """n corrections from a variance v0 give V + a^{2n} (v0 - V), V the module's stationary variance: to rounding."""
    times, n = lam_grid(SCHEDULE, 20)[[0, 12]], 300
    start = moments(DDIM(), times)
    got = moments(LangevinCorrected(DDIM(), n, size=size), times)
    alpha, sigma = (float(c) for c in SCHEDULE(times[-1]))
    true = (alpha * STD) ** 2 + sigma**2
    k = (alpha * STD) ** 2 / true
    a = k + math.sqrt(1 - size) * (1 - k)
    rest = size * sigma**2 / (1 - a**2)
    assert got[0] == pytest.approx(alpha * MEAN, abs=1e-12)
    assert got[1] ** 2 == pytest.approx(rest + a ** (2 * n) * (start[1] ** 2 - rest), rel=1e-11)
    assert rest == pytest.approx(true, rel=size / 2)  # the bias is O(d)


@pytest.mark.parametrize(("corrections", "golden"), [(1, (3.71081e-2, 9.15179e-3)), (8, (2.26962e-2, 7.18572e-3))])
def test_langevin_mends_the_spread_of_a_first_order_flow(corrections: int, golden: tuple[float, float]) -> None:
    """The std that DDIM lacks, 4.2e-2 and 1.1e-2; corrections of size 0.1 leave less."""
    errors = []
    for steps in (20, 80):
        times = lam_grid(SCHEDULE, steps)
        errors.append(exact(SCHEDULE, times[-1], MEAN, STD)[1] - moments(LangevinCorrected(DDIM(), corrections, size=0.1), times)[1])
    assert errors == pytest.approx(golden, rel=0.01)


def test_real_noise_agrees_with_the_coefficients() -> None:
    """The std of 20 000 entries with true noise, whose error is 1/sqrt(40000) = 0.5 %: no two of a step's noises are the same draw by mistake."""
    times = lam_grid(SCHEDULE, 6)
    mean = torch.full((1, 1, 20000), MEAN, dtype=torch.float64)  # one sample of many entries: noise by sample is dear
    cov = DiagonalCovariance(torch.full_like(mean, STD**2))
    centre, spread = exact(SCHEDULE, times[0], MEAN, STD)
    x = centre + spread * Rng(5).normal((1, 1, 1, 20000), like=mean)
    samplers = (SDESolverSingle(), LangevinCorrected(SDESolverSingle(), 2, size=0.5), Restart(low=0.3, high=2.0), ERSDEMultistep(2))
    for sampler in samplers:
        out = sampler.run(GaussianDenoiser(SCHEDULE, mean, cov), x, times, rng=Rng(6))
        assert float(out.std()) == pytest.approx(moments(sampler, times)[1], rel=0.02)


RED = torch.arange(1, 65, dtype=torch.float64) ** -3
RED = RED / RED.mean()
# mean and largest relative error of the std of a mode, 16 steps of equal lam from u = 80 to 0.002; the card gives DDIM and 2M
T_SPEC = {
    "DDIM": (DDIM(), (1.51889e-01, 1.52585e-01)),
    "DDIM(0.5)": (DDIM(0.5), (1.70889e-01, 1.71644e-01)),
    "DDPM": (DDPM(), (2.54576e-01, 2.55552e-01)),
    "ER-SDE-1": (ERSDE(), (1.55208e-01, 1.80187e-01)),
    "ER-SDE-2": (ERSDEMultistep(2), (5.56907e-02, 6.49060e-02)),
    "ER-SDE-3": (ERSDEMultistep(3), (3.23680e-02, 3.90588e-02)),
    "Heun": (Heun(), (6.54573e-02, 6.54861e-02)),
    "Heun, churn 10": (Heun(10.0), (1.27075e-01, 1.29332e-01)),
    "2M midpoint": (DPMSolver2M(), (1.90351e-02, 2.27623e-02)),
    "2M exact": (ExponentialMultistep(2), (4.35172e-02, 4.85879e-02)),
    "3M corrected": (ExponentialMultistep(3), (1.68074e-02, 3.39491e-02)),
    "UniPC-3": (UniPC(3), (3.86888e-03, 1.20772e-02)),
    "DEIS rho-AB 2": (ExponentialMultistep(3, "noise", variable="u"), (6.49119e-02, 6.59512e-02)),
    "DPM-Solver++ 2S": (DPMSolverSingle(2), (2.38273e-02, 2.39587e-02)),
    "DPM-Solver++ 3S": (DPMSolverSingle(3), (1.42898e-04, 1.62507e-04)),
    "DPM-Solver-3": (DPMSolverSingle(3, "noise"), (5.59723e-04, 5.93546e-04)),
    "GENIE in lam": (GENIE(), (1.42556e-02, 1.49536e-02)),
    "SDE 2M exact": (ExponentialMultistep(2, noise=1.0), (1.33222e-01, 1.63763e-01)),
    "SDE 2S": (SDESolverSingle(), (7.61666e-02, 7.65650e-02)),
    "Restart": (Restart(low=0.06, high=0.3), (8.26086e-02, 1.04142e-01)),
    "Langevin": (LangevinCorrected(DDIM(), 2, size=0.1), (1.33239e-01, 1.33892e-01)),
}


def spread_lost(sampler: Sampler, steps: int) -> tuple[float, float]:
    """The card's error: at the last noisy time, whose noise belongs to the truth."""
    schedule = EDMSchedule()
    times = schedule.time_of(torch.linspace(-math.log(80), -math.log(0.00200001), steps + 1, dtype=torch.float64))
    gain = sampler_gain(sampler, schedule, times, variances=RED, start="exact")
    off = (gain * torch.sqrt(RED / (RED + schedule.sigma(times[-1]) ** 2)) - 1).abs()
    return float(off.mean()), float(off.max())


@pytest.mark.parametrize("name", T_SPEC)
def test_spread_of_every_mode_of_a_red_spectrum(name: str) -> None:
    sampler, golden = T_SPEC[name]
    assert spread_lost(sampler, 16) == pytest.approx(golden, rel=0.01)


@pytest.mark.parametrize(("steps", "card"), [(16, 0.023), (32, 0.0066)])
def test_2m_is_the_cards_on_a_red_spectrum(steps: int, card: float) -> None:
    """Its worst mode, to two digits. The card's means, 0.014 and 0.0055, are not found again: ours are 0.019 and 0.0062."""
    assert spread_lost(DPMSolver2M(), steps)[1] == pytest.approx(card, rel=0.05)


def test_no_public_sampler_is_missing_in_the_tables() -> None:
    classes = [v for v in (getattr(physdiff, n) for n in dir(physdiff)) if isinstance(v, type)]
    public = {v for v in classes if issubclass(v, Sampler) and not v.__abstractmethods__}
    flow = {type(row[0]) for row in orders.T_ODE.values()} | {DDIM, Heun}
    law = {type(row[0]) for row in orders.T_SDE.values()} | {type(row[0](80)) for row in T_SDE.values()} | {type(s) for s in first.ALL.values()}
    spectrum = {type(row[0]) for row in T_SPEC.values()} | {ExactLinear}
    # tested in their own files: to a tolerance, with steps by the worst of a batch; fitted to one grid, of order one at least; a wrapper
    apart = {ProbabilityFlow, FittedMultistep, FixedGrid}
    assert flow | law | {LangevinCorrected} == public - apart
    assert spectrum | {UniPC} == public - apart
    assert {type(s) for s in NAMED.values()} == public - apart
