"""Bridges and mean-reverting processes through the samplers of diffusion: algebra, marginals, orders, shifts."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.bridge import (
    Bridge,
    BridgeSampler,
    BridgeSchedule,
    BrownianBridge,
    DriftDenoiser,
    MeanRevertingSchedule,
    _Moved,
    walk_bridge,
    walk_to_mean,
)
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.interpolant import GaussianDrift, Interpolant
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.evaluation.sampler_gain import _Impulses

LIKE = torch.zeros((), dtype=torch.float64)
BRIDGES: list[Bridge] = [BridgeSchedule(VPSchedule()), BridgeSchedule(EDMSchedule(0.01, 3.0)), BrownianBridge(0.7)]


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(4).child(key).normal(shape, like=LIKE)


@pytest.mark.parametrize("bridge", BRIDGES, ids=["vp", "edm", "brownian"])
def test_rates_and_times(bridge: Bridge) -> None:
    t = torch.tensor([0.05, 0.3, 0.7, 0.98], dtype=torch.float64)
    h = 1e-6
    for rate, ahead, behind in zip(bridge.rates(t), bridge(t + h), bridge(t - h), strict=True):
        assert torch.allclose(rate, (ahead - behind) / (2 * h), rtol=1e-5, atol=1e-7)
    assert torch.allclose(bridge.time_of(bridge.lam(t)), t, rtol=1e-9)
    assert float(bridge.share(1.0)) == pytest.approx(1, rel=1e-12) and float(bridge.alpha(1.0)) == 0


def test_the_bridge_is_the_base_given_its_end() -> None:
    """x_t given x_0 and x_T of the base: Bayes for Gaussians, precisions added."""
    base, bridge, t = VPSchedule(), BRIDGES[0], torch.tensor(0.6, dtype=torch.float64)
    (a, s), (a_T, s_T) = base(t), base(1.0)
    ratio = a_T / a
    step = s_T**2 - ratio**2 * s**2
    precision = 1 / s**2 + ratio**2 / step
    assert float(bridge.sigma(t)) == pytest.approx(float(precision**-0.5), rel=1e-9)
    assert float(bridge.share(t)) == pytest.approx(float(ratio / step / precision), rel=1e-9)
    assert float(bridge.alpha(t)) == pytest.approx(float(a / s**2 / precision), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_on_the_bridge_is_dbim(eta: float) -> None:
    base, bridge = VPSchedule(), BRIDGES[0]
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.45, dtype=torch.float64)
    x, end, mean = normal(4, 1, 1, 1, key="x"), normal(4, 1, 1, 1, key="end"), normal(4, 1, 1, 1, key="mean")
    out = DDIM(eta).kernel(bridge, x - bridge.share(t) * end, mean, t, s)
    # Zheng et al., equation of the update, with their q
    q = eta * base.alpha(s) * base.noise_ratio(s) * torch.sqrt(1 - (base.noise_ratio(s) / base.noise_ratio(t)) ** 2)
    kept = torch.sqrt(bridge.sigma(s) ** 2 - q**2)
    expected = bridge.share(s) * end + bridge.alpha(s) * mean + kept * (x - bridge.share(t) * end - bridge.alpha(t) * mean) / bridge.sigma(t)
    assert torch.allclose(out.mean + bridge.share(s) * end, expected, rtol=1e-10)
    assert float(out.std) == pytest.approx(float(q), rel=1e-9, abs=1e-14)


class GaussianBridge(Denoiser):
    """E[x_0 | x_t, X] where x_0 given X is N(0.6 X, 0.4): the end is the second channel of the condition."""

    def __init__(self, schedule: Bridge, end: torch.Tensor) -> None:
        super().__init__()
        self.schedule, self.end = schedule, end

    def forward(self, x_t, t, cond=None):
        assert isinstance(self.schedule, Bridge)
        a, (b, c) = self.schedule.share(t), self.schedule(t)
        mean = 0.6 * self.end
        return mean + b * 0.4 / (b**2 * 0.4 + c**2).clamp_min(1e-300) * (x_t - a * self.end - b * mean)


@pytest.mark.parametrize("bridge", BRIDGES, ids=["vp", "edm", "brownian"])
def test_marginals_are_carried_exactly_in_the_limit(bridge: Bridge) -> None:
    """Mean and deviation of x_0 given X from the first draw's response alone, for the flow and with fresh noise."""
    end = torch.full((1, 1, 1, 1), 1.3, dtype=torch.float64)
    # steps of the first order with fresh noise lose 10 % here, of the second (in law) a few in a thousand
    for sampler, tolerance in ((UniPC(), 4e-3), (ExponentialMultistep(2, noise=1.0), 0.02)):
        rows: dict = {}
        walk_bridge(GaussianBridge(bridge, end), end, sampler, steps=60, rng=_Impulses(rows))
        out = walk_bridge(GaussianBridge(bridge, end), end.expand(len(rows) + 1, 1, 1, 1), sampler, steps=60, rng=_Impulses(rows)).flatten()
        assert float(out[0]) == pytest.approx(0.78, abs=2e-3)
        assert float((out[1:] - out[0]).square().sum().sqrt()) == pytest.approx(0.4**0.5, rel=tolerance)


def test_orders_on_a_mixture() -> None:
    """The mixture of the card given X; reference: order 5 with many steps."""
    bridge = BRIDGES[0]
    weights, means = torch.tensor([0.4, 0.6]).double(), torch.tensor([-1.5, 1.0]).double().reshape(2, 1, 1, 1)
    # in the coordinates of what is left, the mixture's own denoiser on the schedule (b, c)
    inner = MixtureDenoiser(bridge, weights, means, stds=torch.tensor([0.35, 0.5]).double())
    start = normal(16, 1, 1, 1, key="s")

    def end(found, steps: int) -> torch.Tensor:
        times = bridge.time_of(torch.linspace(-3, 3, steps + 1, dtype=torch.float64))
        return found.run(inner, start * bridge.sigma(times[0]), times, rng=Rng(0))

    right = end(UniPC(4), 320)
    for sampler, order in ((DDIM(), 1), (ExponentialMultistep(2), 2), (ExponentialMultistep(3), 3)):
        errors = [float((end(sampler, n) - right).square().mean().sqrt()) for n in (40, 80)]
        # the first steps are of lower order, as the card finds for DBIM (2.6 to 2.8 for three)
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)


def test_a_trained_interpolant_is_walked_by_samplers_of_diffusion() -> None:
    flat = torch.ones(1, 1, 1, dtype=torch.float64)
    drift = GaussianDrift(Interpolant(scale=0.8), torch.stack([1.3 * flat, 0.78 * flat]), torch.stack([0 * flat, 0.4 * flat]), covariance=0 * flat)
    denoiser, end = DriftDenoiser(drift), torch.full((3, 1, 1, 1), 1.3, dtype=torch.float64)
    x, t = normal(3, 1, 1, 1, key="x"), torch.tensor(0.4, dtype=torch.float64)
    assert torch.allclose(denoiser(x, t), GaussianBridge(BrownianBridge(0.8), end)(x, t), rtol=1e-10)
    rows: dict = {}
    walk_bridge(denoiser, end[:1], UniPC(), steps=12, rng=_Impulses(rows))
    out = walk_bridge(denoiser, end[:2], UniPC(), steps=12, rng=_Impulses(rows)).flatten()
    assert float(out[0]) == pytest.approx(0.78, abs=5e-3) and float(out[1] - out[0]) == pytest.approx(0.4**0.5, rel=0.02)
    # as a prior's sampler it is the same walk, from the noise that it is given
    noise = normal(2, 1, 1, 1, key="first")
    walked = BridgeSampler(UniPC(), 12)
    assert walked.evaluations() == 13
    expected = walk_bridge(denoiser, end[:2], UniPC(), steps=12, rng=Rng(0), first=noise)
    assert torch.equal(walked.run(drift, end[:2], rng=Rng(1), first=noise), expected)
    again = build(describe(walked))
    assert torch.equal(again.run(drift, end[:2], rng=Rng(1), first=noise), expected)
    with pytest.raises(InputError, match="at least 3 steps for UniPC, got 2"):
        BridgeSampler(UniPC(), 2)
    with pytest.raises(InputError, match="brownian gamma"):
        DriftDenoiser(GaussianDrift(Interpolant("linear", "sine"), drift.means, drift.variances, covariance=drift.covariance))


def test_mean_reversion_is_a_shift_to_the_last_bit() -> None:
    schedule = MeanRevertingSchedule(VPSchedule(), 0.4)
    weights, means = torch.tensor([0.4, 0.6]).double(), torch.tensor([-0.5, 0.5]).double().reshape(2, 1, 1, 1)
    plain = MixtureDenoiser(schedule, weights, means, stds=torch.tensor([0.2, 0.3]).double())
    mu = torch.full((6, 1, 1, 1), 2.0, dtype=torch.float64)  # a power of two: adding and taking away is exact but for rounding of sums

    class Reverting(Denoiser):
        """The same law around mu: the mean given x_t = mu + alpha (x_0 - mu) + sigma eps."""

        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x_t, t, cond=None):
            return mu[: len(x_t)] + plain(x_t - mu[: len(x_t)], t)

    times = torch.cat([schedule.time_of(torch.linspace(float(schedule.lam(1.0)), 4, 20, dtype=torch.float64)), LIKE[None]])
    times[0] = 1.0
    for sampler in (DDIM(), DDIM(1.0), UniPC()):
        found = walk_to_mean(Reverting(), mu, sampler, times=times, rng=Rng(2))
        noise = Rng(2).child("begin").normal_each(range(6), (1, 1, 1), like=LIKE)
        left = schedule.sigma(times[0]) * noise
        assert torch.allclose(found, mu + sampler.run(plain, left, times, rng=Rng(2).child("path")), rtol=0, atol=1e-12)
        # the same engine on x - mu, bit for bit
        assert torch.equal(found, mu + sampler.run(_Moved(Reverting(), mu, mean=True), left, times, rng=Rng(2).child("path")))
    ratio = schedule.sigma(0.3) / torch.sqrt(1 - schedule.alpha(0.3) ** 2)
    assert float(ratio) == pytest.approx(0.4, rel=1e-12)
    assert float(schedule.time_of(schedule.lam(0.3))) == pytest.approx(0.3, rel=1e-9)


def test_refusals() -> None:
    with pytest.raises(InputError, match="finite noise at t = 1, got RectifiedSchedule"):
        BridgeSchedule(RectifiedSchedule())
    with pytest.raises(InputError, match="alpha\\^2 \\+ sigma\\^2 = 1"):
        MeanRevertingSchedule(EDMSchedule(), 0.4)
    with pytest.raises(InputError, match="expected a Bridge"):
        inner = MixtureDenoiser(VPSchedule(), torch.ones(1), torch.zeros(1, 1, 1, 1), stds=torch.ones(1))
        walk_bridge(inner, torch.zeros(1, 1, 1, 1), DDIM(), rng=Rng(0))
