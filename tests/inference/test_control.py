"""Control: the law of a normal prior tilted by a quadratic objective is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.control import SteeredDenoiser, control
from physdiff.transforms.normalizer import Normalizer


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


def test_draws_follow_the_tilted_law() -> None:
    # x = 2 z, J = (a - 3)^2 / 2, strength 1: p exp(-J) is normal with variance 1 / (1/4 + 1) = 0.8 and mean 0.8 * 3 = 2.4; b is left alone
    n = 600
    found = control(prior(), lambda x: 0.5 * (x[:, 0] - 3).square().sum((1, 2)), n, moves=12, rng=Rng(0), max_batch=n)[:, :, 0, 0]
    for c, (mean, variance) in enumerate(((2.4, 0.8), (0.0, 4.0))):
        assert float(found[:, c].mean()) == pytest.approx(mean, abs=4 * (variance / n) ** 0.5 + 0.02)  # and 0.02 for 30 steps
        assert float(found[:, c].var()) == pytest.approx(variance, rel=4 * (2 / n) ** 0.5 + 0.03)


def test_the_estimate_goes_to_the_minimum_and_never_up() -> None:
    curved = torch.tensor([1.0, 1e4])  # very unequal curvatures: a fixed step would overshoot
    cost = lambda z: 0.5 * (curved * (z.flatten(1) - 1).square()).sum(1)  # noqa: E731
    inner = UnitNormal()
    x, t = torch.randn(5, 2, 1, 1, generator=torch.Generator().manual_seed(0)), torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = inner.schedule(t)
    v = float(sigma**2 / (alpha**2 + sigma**2))
    mean = inner(x, t)
    total = lambda z: cost(z) + (z - mean).square().flatten(1).sum(1) / (2 * v)  # noqa: E731
    few, many = (SteeredDenoiser(inner, cost, moves=m)(x, t) for m in (8, 300))
    assert bool((total(few) <= total(mean)).all())
    assert bool((total(many) <= total(few)).all())
    exact = (curved[:, None, None] + mean / v) / (curved[:, None, None] + 1 / v)
    torch.testing.assert_close(many[:, 1], exact[:, 1], rtol=0, atol=1e-3)  # the stiff direction; the other one has 1e4 times to go
    assert float((total(many) - total(exact)).max()) < 0.02 * float((total(mean) - total(exact)).max())


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="strength >= 0"):
        control(prior(), lambda x: x.sum(), 2, strength=-1.0, rng=Rng(0))
    with pytest.raises(ShapeError, match="one cost per window"):
        control(prior(), lambda x: x.sum(), 2, rng=Rng(0))
