"""Preconditioned drifts: nothing is left to learn of Gaussian ends; invariants are kept to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved, build, describe
from physdiff.diffusion.interpolant import GaussianDrift, Interpolant, interpolant_loss
from physdiff.diffusion.interpolant_sampler import InterpolantSampler
from physdiff.diffusion.network_drift import ConservingDrift, NetworkDrift
from physdiff.networks.unet import UNet

LIKE = torch.zeros((), dtype=torch.float64)


class Nothing(Saved, nn.Module):
    """A network that gives zeros, twice as many channels as it is asked for."""

    ndim = 1

    def forward(self, x, c_noise):
        return torch.zeros(x.shape[0], 2, *x.shape[2:], dtype=x.dtype)


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(8).child(key).normal(shape, like=LIKE)


@pytest.mark.parametrize("path", [Interpolant(), Interpolant("trigonometric", "quadratic"), Interpolant("one-sided")], ids=lambda p: p.path)
def test_a_network_of_zeros_is_exact_for_gaussian_ends(path: Interpolant) -> None:
    moments = (0.0, 0.7, 0.0) if path.path == "one-sided" else (1.3, 0.7, 0.5)
    drift = NetworkDrift(Nothing(), path, moments)
    flat = torch.ones(1, 1, 6, dtype=torch.float64)
    exact = GaussianDrift(path, torch.zeros(2, 1, 1, 6).double(), torch.stack([moments[0] * flat, moments[1] * flat]), covariance=moments[2] * flat)
    t, x = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), normal(3, 1, 1, 6, key="x")
    for mine, right in zip(drift(x, t), exact(x, t), strict=True):
        assert torch.allclose(mine, right, rtol=1e-10, atol=1e-12)


def test_targets_have_unit_size_at_every_time() -> None:
    n, rest = 40_000, 0.7 - 0.5**2 / 1.3
    x_0 = normal(n, 1, 1, 1, key="0") * 1.3**0.5
    x_1 = 0.5 / 1.3 * x_0 + rest**0.5 * normal(n, 1, 1, 1, key="1")
    drift = NetworkDrift(Nothing(), Interpolant(), (1.3, 0.7, 0.5))
    for at in (0.02, 0.3, 0.8):
        t = torch.full((n,), at, dtype=torch.float64)
        # half the sum of two squares of unit targets; four standard errors of a mean of squares of n normals
        assert float(interpolant_loss(drift, (x_0, x_1), t, noise=normal(n, 1, 1, 1, key="z")).mean()) == pytest.approx(1.0, abs=4 * (2 / n) ** 0.5)


def test_what_both_ends_share_is_kept_on_the_whole_way() -> None:
    rows = torch.stack([torch.ones(1, 1, 12), torch.linspace(-1, 1, 12).expand(1, 1, 12)]).double()
    inner = NetworkDrift(UNet(1, 2, ndim=1, periodic=True, width=8).double(), Interpolant(), (1.0, 1.0, 0.5))
    for p in inner.parameters():
        nn.init.normal_(p, std=0.2)
    free, kept = inner.eval(), ConservingDrift(inner, rows)
    x = normal(3, 1, 1, 12, key="x")
    sums = lambda y: torch.einsum("rcts,bcts->br", rows, y)  # noqa: E731
    with torch.no_grad():
        for sampler in (InterpolantSampler(3, 0.5), InterpolantSampler(3)):
            assert torch.allclose(sums(sampler.run(kept, x, rng=Rng(0))), sums(x), atol=1e-12)
            assert not torch.allclose(sums(sampler.run(free, x, rng=Rng(0))), sums(x), atol=1e-2)


def test_saved_and_refusals() -> None:
    drift = NetworkDrift(UNet(2, 4, ndim=1, width=8), Interpolant("linear", "sine", scale=0.5), (1.0, 1.0, 0.2))
    again = build(describe(drift))
    assert describe(again) == describe(drift)
    x, t = torch.zeros(2, 2, 1, 8), torch.tensor(0.5, dtype=torch.float64)
    with pytest.raises(ShapeError, match="cond on the grid"):
        drift(x, t, torch.zeros(2, 1, 1, 4))
    with pytest.raises(ShapeError, match="FramesToChannels"):
        drift(torch.zeros(2, 2, 3, 8), t)
    with pytest.raises(InputError, match="c\\^2 <= v_0 v_1"):
        NetworkDrift(Nothing(), Interpolant(), (0.1, 1.0, 0.9))
    with pytest.raises(InputError, match="linear path"):
        ConservingDrift(NetworkDrift(Nothing(), Interpolant("trigonometric")), torch.ones(1, 1, 1, 4))
    with pytest.raises(InputError, match="independent"):
        ConservingDrift(drift, torch.ones(2, 2, 1, 8))
