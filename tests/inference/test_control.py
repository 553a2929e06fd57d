"""Control: the law of a normal prior tilted by a quadratic objective is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.windows import condition, condition_spec
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.control import ReadoutObjective, SteeredDenoiser, control
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform


class UnitNormal(Denoiser):
    """Posterior mean of independent standard normal numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = EDMSchedule(0.02, 80.0)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        return x_t * (alpha / (alpha**2 + sigma**2)).to(x_t)


def prior() -> DiffusionPrior:
    spec = FieldSpec(("a", "b"), ("1", "1"), CartesianGrid(1, 1.0), 1.0)
    scale = torch.full((2, 1, 1), 2.0)  # physical values are twice the coefficients
    return DiffusionPrior(UnitNormal(), Normalizer(mean=0 * scale, std=scale), spec, sampler=ExponentialMultistep(2, noise=1.0), steps=30)


class Together(UnitNormal):
    """Posterior mean of two standard normal numbers with correlation 0.8."""

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = (float(c) for c in self.schedule(t.reshape(-1)[0]))
        gain = COVARIANCE * alpha @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(2))
        return torch.einsum("ij,bjtx->bitx", gain.to(x_t), x_t)


COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]])


@pytest.mark.parametrize("spread", ["moments", "unit"])
def test_draws_follow_the_tilted_law(spread: str) -> None:
    # x = 2 z, J = (a - 3)^2 / 2, strength 1: p exp(-J) is normal with variance 1 / (1/4 + 1) = 0.8 and mean 0.8 * 3 = 2.4; b is left alone
    n = 600
    objective = lambda x: 0.5 * (x[:, 0] - 3).square().sum((1, 2))  # noqa: E731
    found = control(prior(), objective, n, spread=spread, rng=Rng(0), max_batch=n)[:, :, 0, 0]
    for c, (mean, variance) in enumerate(((2.4, 0.8), (0.0, 4.0))):
        assert float(found[:, c].mean()) == pytest.approx(mean, abs=4 * (variance / n) ** 0.5 + 0.02)  # and 0.02 for 30 steps
        assert float(found[:, c].var()) == pytest.approx(variance, rel=4 * (2 / n) ** 0.5 + 0.03)


def test_what_goes_with_the_objective_follows_it() -> None:
    # covariance of x = 2 z: [[4, 3.2], [3.2, 4]]; the objective of the test above, of a alone, is a reading a = 3 with unit noise:
    # a as above; b has mean 3.2 / (4 + 1) * 3 = 1.92, variance 4 - 3.2^2 / 5 = 1.952, covariance with a 3.2 - 3.2 * 4 / 5 = 0.64
    n = 600
    made = prior()
    parts = {"sampler": made.sampler, "steps": made.steps}
    correlated = DiffusionPrior(Together(), made.transform, made.spec, **parts)  # type: ignore[arg-type]
    found = control(correlated, lambda x: 0.5 * (x[:, 0] - 3).square().sum((1, 2)), n, rng=Rng(0), max_batch=n)[:, :, 0, 0]
    for c, (mean, variance) in enumerate(((2.4, 0.8), (1.92, 1.952))):
        assert float(found[:, c].mean()) == pytest.approx(mean, abs=4 * (variance / n) ** 0.5 + 0.02)
        assert float(found[:, c].var()) == pytest.approx(variance, rel=4 * (2 / n) ** 0.5 + 0.03)
    # of a sample covariance: std sqrt((0.8 * 1.952 + 0.64^2) / n) = 0.057
    assert float(torch.cov(found.T)[0, 1]) == pytest.approx(0.64, abs=4 * 0.057)


@pytest.mark.parametrize("spread", ["moments", "unit"])
def test_the_estimate_goes_to_the_minimum_and_never_up(spread: str) -> None:
    curved = torch.tensor([1.0, 1e4], dtype=torch.float64)  # very unequal curvatures: a fixed step would overshoot
    cost = lambda z: 0.5 * (curved * (z.flatten(1) - 1).square()).sum(1)  # noqa: E731
    inner = UnitNormal()
    x = torch.randn(5, 2, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = inner.schedule(t)
    v = float(sigma**2 / (alpha**2 + sigma**2))
    mean = inner(x, t)
    total = lambda z: cost(z) + (z - mean).square().flatten(1).sum(1) / (2 * v)  # noqa: E731
    one, two = (SteeredDenoiser(inner, cost, spread=spread, moves=m)(x, t) for m in (1, 2))
    assert bool((total(one) <= total(mean)).all())
    assert bool((total(two) <= total(one)).all())
    exact = (curved[:, None, None] + mean / v) / (curved[:, None, None] + 1 / v)
    torch.testing.assert_close(two, exact, rtol=0, atol=1e-8)  # two curvatures: conjugate gradients end in two steps; rounding of 1e4 times 1


def test_an_objective_that_is_no_parabola_never_rises() -> None:
    cost = lambda z: (4 * z.flatten(1)).cosh().sum(1) + (6 * z.flatten(1)).sin().sum(1)  # noqa: E731
    inner = UnitNormal()
    x, t = 3 * torch.randn(64, 2, 1, 1, generator=torch.Generator().manual_seed(1)), torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = inner.schedule(t)
    v = float(sigma**2 / (alpha**2 + sigma**2))
    mean = inner(x, t)
    total = lambda z: cost(z) + (z - mean).square().flatten(1).sum(1) / (2 * v)  # noqa: E731
    values = [total(SteeredDenoiser(inner, cost, moves=m)(x, t)) for m in (1, 2, 4, 8)]
    for before, after in zip([total(mean), *values], values, strict=False):
        assert bool((after <= before * (1 + 1e-5)).all())  # float32
    assert float((values[-1] / total(mean)).median()) < 0.5


class Decodings(Normalizer):
    """Counts how often it decodes."""

    count = 0

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        Decodings.count += 1
        return super()._decode(z, cond)


def test_an_objective_of_readings_is_the_same_without_decoding() -> None:
    spec = FieldSpec(("a", "b"), ("1", "1"), CartesianGrid(6, 1.0), 1.0)
    scale = torch.tensor([2.0, 0.5])[:, None, None]
    transform = Compose((Decodings(mean=scale - 1, std=scale), WaveletTransform("db2", 1, shape=(1, 6), dims=("x",), periodic=(True,))))
    cond_spec = condition_spec(spec, each=True)
    known = torch.full((3, 2, 1, 6), torch.nan)
    known[:, 1, :, :2] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]  # every row knows something else
    parts = {"sampler": ExponentialMultistep(2, noise=1.0), "steps": 6, "cond_spec": cond_spec}
    told = ConditionTransform(2, mean=torch.zeros(2, 1, 1), std=torch.ones(2, 1, 1), each=True)
    made = DiffusionPrior(UnitNormal(), transform, spec, cond_transform=told, **parts)  # type: ignore[arg-type]
    cond = condition(spec, cond_spec.names, known)
    aims = torch.tensor([1.0, -1.0, 4.0])
    reads = lambda x: torch.stack([x[:, 0, 0, 2:4].sum(-1) + 1, x[:, 1, 0].mean(-1)], 1)  # noqa: E731
    cost = lambda r: (r[:, 0] - aims.to(r)).square() + (r[:, 1] - 1).clamp_min(0)  # noqa: E731
    objective = ReadoutObjective(reads, cost)
    draws = [control(made, o, 3, cond=cond, strength=5.0, rng=Rng(0)) for o in (lambda x: objective(x), objective)]
    torch.testing.assert_close(draws[0], draws[1], rtol=1e-4, atol=1e-4)  # float32 through six steps
    missed = float((reads(draws[1])[:, 0] - aims).abs().max())
    assert missed < 0.5 < float((reads(control(made, lambda x: 0 * x[:, 0, 0, 0], 3, cond=cond, rng=Rng(0)))[:, 0] - aims).abs().max())
    Decodings.count = 0
    control(made, objective, 3, cond=cond, strength=5.0, rng=Rng(0))
    assert Decodings.count == 3  # the matrix, its check, the draw


def test_readings_that_are_not_affine_are_refused() -> None:
    with pytest.raises(InputError, match="readings that are affine in the coefficients, got ones off by"):
        control(prior(), ReadoutObjective(lambda x: x[:, 0, 0].square(), lambda r: r.sum(1)), 2, rng=Rng(0))
    with pytest.raises(ShapeError, match=r"expected readings \(1, m\), got \(1,\)"):
        control(prior(), ReadoutObjective(lambda x: x.sum((1, 2, 3)), lambda r: r), 2, rng=Rng(0))


def test_a_parabola_takes_three_evaluations_a_move() -> None:
    count = 0

    def cost(z: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return 0.5 * (z.flatten(1) - torch.tensor([3.0, -1.0])).square().sum(1)

    x = torch.randn(5, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    SteeredDenoiser(UnitNormal(), cost, moves=1)(x, torch.tensor(0.5))
    assert count == 3  # where it is, a secant, the bottom


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="strength >= 0"):
        control(prior(), lambda x: x.sum(), 2, strength=-1.0, rng=Rng(0))
    with pytest.raises(InputError, match="spread of control"):
        control(prior(), lambda x: x.sum((1, 2, 3)), 2, spread="none", rng=Rng(0))
    with pytest.raises(ShapeError, match="one cost per window"):
        control(prior(), lambda x: x.sum(), 2, rng=Rng(0))
