"""The prior: draws in physical units, what is known stays known, files give the same draws, wrong input is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from physdiff.base.errors import GridMismatch, InputError, SavedError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved, write
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frames import FramesToChannels
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform

GRID = CartesianGrid((4, 6), extent=(1.0, 3.0), periodic=(False, True))
SPEC = FieldSpec(("u", "p"), ("m s-1", "Pa"), GRID, 2.0, frames=3)
COND_SPEC = FieldSpec(("u", "p", "known", "mask"), ("m s-1", "Pa", "1", "1"), GRID, 2.0, frames=3)
MEAN, STD = torch.tensor([3.0, 1e5]).reshape(2, 1, 1, 1), torch.tensor([2.0, 300.0]).reshape(2, 1, 1, 1)
FAST = EDMSchedule(0.02, 80.0)


def transform() -> Compose:
    wavelet = WaveletTransform("haar", 1, shape=(1, 4, 6), dims=GRID.dims, periodic=GRID.periodic)
    return Compose((Normalizer(("channel",), MEAN, STD), FramesToChannels(3), wavelet))


def network(channels: int, out: int, *, dropout: float = 0.1) -> UNet:
    """A U-Net whose output is not zero, though it has not been trained."""
    net = UNet(channels, out, ndim=2, periodic=GRID.periodic, width=4, multipliers=(1, 2), dropout=dropout)
    with torch.no_grad():
        for i, (name, p) in enumerate(net.named_parameters()):
            if name.startswith("head"):
                p.copy_(0.1 * Rng(1).child(i).normal(p.shape))
    return net.eval()


def unconditional(spec: FieldSpec = SPEC, **options: object) -> DiffusionPrior:
    return DiffusionPrior(PreconditionedDenoiser(network(24, 24), FAST), transform(), spec, sampler=DPMSolver2M(), steps=4, **options)


def conditional(**options: object) -> DiffusionPrior:
    # 3 frames of 2 fields, the mask of the known and the static mask, each a cell share or four wavelet parts
    mean, std = torch.cat([MEAN, torch.zeros(1, 1, 1, 1)]), torch.cat([STD, torch.ones(1, 1, 1, 1)])
    cond = ConditionTransform(2, None, transform().parts[2], history=3, mean=mean, std=std)
    extra = cond.out_shape((4, 3, 4, 6))[0]
    options = {"sampler": DPMSolver2M(), "steps": 4, **options}
    denoiser = PreconditionedDenoiser(network(24 + extra, 24), FAST)
    return DiffusionPrior(denoiser, transform(), SPEC, cond_transform=cond, cond_spec=COND_SPEC, **options)


def window(batch: int, *, key: str = "window") -> Tensor:
    """A condition window whose first frame, and one column of the second, is known."""
    values = MEAN + STD * Rng(4).child(key).normal((batch, 2, 3, 4, 6))
    known = torch.zeros(batch, 1, 3, 4, 6)
    known[:, :, 0], known[:, :, 1, :, 2] = 1, 1
    return torch.cat([values, known, torch.ones_like(known)], 1)


class Linear(Saved, nn.Module):
    """A network of one weight, unknown to physdiff."""

    def __init__(self, ndim: int = 2) -> None:
        super().__init__()
        self.ndim, self.gain = ndim, nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.gain * x[:, :24]


def test_draws_of_a_gaussian_have_its_moments_in_physical_units() -> None:
    grid = CartesianGrid((3,), extent=(1.0,))
    spec = FieldSpec(("u",), ("K",), grid, 1.0)
    variances = torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64).reshape(1, 1, 3)
    denoiser = GaussianDenoiser(FAST, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 1, 3), DiagonalCovariance(variances))
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    prior = DiffusionPrior(denoiser, Normalizer(("channel",), 280 * one, 10 * one), spec, sampler=Heun(), steps=40)
    n = 4000
    x = prior.sample(n, rng=Rng(0), max_batch=n)
    # a denoiser without parameters, only float64 buffers, is sampled in float64
    assert x.shape == (n, 1, 1, 3) and x.dtype == torch.float64
    mean, std = 280 + 10 * denoiser.mean[0, 0], 10 * variances[0, 0].sqrt()
    # four standard errors; 40 steps of Heun on a Gaussian leave less than 1 % of the spread
    assert ((x.mean((0, 1, 2)) - mean).abs() < 4 * std / n**0.5).all()
    assert ((x.std((0, 1, 2)) / std - 1).abs() < 4 / (2 * n) ** 0.5 + 0.01).all()


def test_known_entries_come_back_bit_for_bit() -> None:
    prior, cond = conditional(), window(5)
    x = prior.sample(5, cond=cond, rng=Rng(1))
    known = (cond[:, 2:3] == 1).expand_as(x)
    assert torch.equal(x[known], cond[:, :2][known])
    assert (x[~known] != cond[:, :2][~known]).all()


@pytest.mark.parametrize("sampler", [DPMSolver2M(), Heun()], ids=lambda s: type(s).__name__)
def test_a_draw_depends_on_its_number_alone(sampler) -> None:
    prior, cond = conditional(sampler=sampler), window(7)
    whole = prior.sample(7, cond=cond, rng=Rng(1))
    # a convolution of another batch size rounds differently; float32 on numbers of size 1e5
    close = {"rtol": 1e-5, "atol": 1e-4}
    assert torch.allclose(prior.sample(7, cond=cond, rng=Rng(1), max_batch=3), whole, **close)
    assert torch.allclose(prior.sample(4, cond=cond[:4], rng=Rng(1)), whole[:4], **close)
    assert not torch.allclose(whole[0], whole[1], rtol=1e-3)
    assert not torch.allclose(prior.sample(7, cond=cond, rng=Rng(2)), whole, rtol=1e-3)


def test_one_condition_is_shared() -> None:
    prior, cond = conditional(), window(1)
    shared = prior.sample(5, cond=cond, rng=Rng(3), max_batch=2)
    assert torch.allclose(shared, prior.sample(5, cond=cond.expand(5, *cond.shape[1:]), rng=Rng(3), max_batch=2), rtol=1e-6)
    other = prior.sample(5, cond=window(1, key="other"), rng=Rng(3), max_batch=2)
    assert not torch.allclose(shared[:, :, 2], other[:, :, 2], rtol=1e-4)


def test_nan_where_the_mask_says_that_nothing_is() -> None:
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[1, 2:4] = False
    spec = FieldSpec(SPEC.names, SPEC.units, GRID, 2.0, frames=3, mask=mask)
    x = unconditional(spec).sample(2, rng=Rng(0))
    assert torch.equal(x.isfinite(), mask.expand_as(x))


def test_missing_values_encode_to_the_centre() -> None:
    prior = unconditional()
    x = prior.sample(2, rng=Rng(0))
    gaps = x.clone()
    gaps[0, :, 1] = torch.nan
    filled = x.clone()
    filled[0, :, 1] = MEAN[:, 0].expand(2, 4, 6)
    # float32 rounds pressure at 0.008 Pa, 3e-5 of its spread, a few times on the way
    assert torch.allclose(prior.encode(gaps), prior.encode(filled), atol=3e-4)
    assert ((prior.decode(prior.encode(x)) - x) / STD).abs().max() < 3e-4


def test_sampling_ignores_dropout_and_leaves_the_mode() -> None:
    prior = unconditional()
    expected = prior.sample(2, rng=Rng(0))
    prior.train()
    prior.transform.eval()
    state = torch.get_rng_state()
    assert torch.equal(prior.sample(2, rng=Rng(0)), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert prior.training and prior.denoiser.network.training and not prior.transform.training


def test_double() -> None:
    prior, cond = conditional(), window(2)
    single = prior.sample(2, cond=cond, rng=Rng(0))
    double = prior.double().sample(2, cond=cond.double(), rng=Rng(0))
    assert double.dtype == torch.float64 and single.dtype == torch.float32
    assert torch.equal(double[:, :, 0], cond[:, :2, 0].double())
    assert all(b.dtype == torch.float64 for b in prior.buffers() if b.is_floating_point())


def test_moving_the_prior_moves_every_tensor() -> None:
    """The device without memory stands for any: a tensor left behind would still have values."""
    prior = conditional().to("meta")
    held = [*prior.parameters(), *prior.buffers()]
    assert len(held) > 10 and all(v.is_meta for v in held)
    assert prior.transform.parts[0].std.is_meta and prior.cond_transform.mean.is_meta


@pytest.mark.parametrize("make", [unconditional, conditional])
def test_a_file_gives_the_same_draws_bit_for_bit(make, tmp_path: Path) -> None:
    prior = make(sampler=DDPM()) if make is conditional else make()
    cond = window(3) if make is conditional else None
    again = DiffusionPrior.load(prior.save(tmp_path / "p.prior", card={"seed": 1}))
    assert torch.equal(again.sample(3, cond=cond, rng=Rng(5)), prior.sample(3, cond=cond, rng=Rng(5)))
    assert again.spec.names == SPEC.names and again.steps == 4 and not again.training
    again.check_grid(SPEC, "file")


def test_own_networks_need_to_be_named(tmp_path: Path) -> None:
    prior = DiffusionPrior(PreconditionedDenoiser(Linear(), FAST), transform(), SPEC, sampler=DPMSolver2M(), steps=2)
    path = prior.save(tmp_path / "own.prior")
    with pytest.raises(SavedError, match="classes=\\(Linear"):
        DiffusionPrior.load(path)
    assert torch.equal(DiffusionPrior.load(path, classes=(Linear,)).sample(2, rng=Rng(0)), prior.sample(2, rng=Rng(0)))


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="found none"):
        DiffusionPrior.load(tmp_path / "missing.prior")
    (tmp_path / "text.prior").write_text("no prior")
    with pytest.raises(SavedError, match="damaged"):
        DiffusionPrior.load(tmp_path / "text.prior")
    whole = unconditional().save(tmp_path / "whole.prior").read_bytes()
    (tmp_path / "half.prior").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SavedError, match="damaged"):
        DiffusionPrior.load(tmp_path / "half.prior")
    write(tmp_path / "grid.prior", GRID)
    with pytest.raises(SavedError, match="expected a DiffusionPrior, got CartesianGrid"):
        DiffusionPrior.load(tmp_path / "grid.prior")


def test_conditions_are_checked() -> None:
    cond = window(2)
    with pytest.raises(InputError, match="unconditional"):
        unconditional().sample(2, cond=cond, rng=Rng(0))
    prior = conditional()
    with pytest.raises(InputError, match="got none"):
        prior.sample(2, rng=Rng(0))
    with pytest.raises(ShapeError, match="batch 1 or 3"):
        prior.sample(3, cond=cond, rng=Rng(0))
    with pytest.raises(ShapeError, match="3 frames"):
        prior.sample(2, cond=cond[:, :, :2], rng=Rng(0))
    with pytest.raises(ShapeError, match="cond"):
        prior.sample(2, cond=cond[:, :3], rng=Rng(0))
    cond[0, 0, 2, 0, 0] = torch.nan
    with pytest.raises(InputError, match="fill"):
        prior.sample(2, cond=cond, rng=Rng(0))


def test_numbers_are_checked() -> None:
    prior = unconditional()
    assert prior.sample(0, rng=Rng(0)).shape == (0, 2, 3, 4, 6)
    for numbers in ({"n": -1}, {"n": 1, "max_batch": 0}):
        with pytest.raises(InputError, match="max_batch"):
            prior.sample(rng=Rng(0), **numbers)
    with pytest.raises(InputError, match="steps"):
        DiffusionPrior(prior.denoiser, prior.transform, SPEC, sampler=DPMSolver2M(), steps=0)
    with pytest.raises(InputError, match="together"):
        DiffusionPrior(prior.denoiser, prior.transform, SPEC, sampler=DPMSolver2M(), cond_spec=COND_SPEC)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (FieldSpec(("u", "p"), ("m s-1", "Pa"), CartesianGrid((4, 6), extent=(1.0, 3.1), periodic=(False, True)), 2.0), GridMismatch, "data"),
        (FieldSpec(("u", "p"), ("m s-1", "Pa"), CartesianGrid((4, 7), extent=(1.0, 3.0), periodic=(False, True)), 2.0), GridMismatch, "data"),
        (FieldSpec(("u", "T"), ("m s-1", "Pa"), GRID, 2.0), InputError, "fields"),
        (FieldSpec(("u", "p"), ("m s-1", "hPa"), GRID, 2.0), InputError, "hPa"),
        (FieldSpec(("u", "p"), ("m s-1", "Pa"), GRID, 4.0), GridMismatch, "time step"),
        (FieldSpec(("u", "p"), ("m s-1", "Pa"), GRID, 2.0, time_unit="1"), GridMismatch, "time step"),
    ],
)
def test_data_of_another_kind_are_refused(spec, error, words) -> None:
    with pytest.raises(error, match=words):
        unconditional().check_grid(spec, "data")
