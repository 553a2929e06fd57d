"""Training an autoencoder: every term against its formula, and networks that gain on the linear part where there is something to gain."""

from __future__ import annotations

import math

import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError, NotFitted
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.windows import TrajectoryWindows
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.physics import PhysicsResidual
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.training.autoencoder_module import AutoencoderLosses, AutoencoderModule, _slopes
from physdiff.training.fit_autoencoder import AutoencoderTraining, fit_autoencoder
from physdiff.training.recipe import Recipe, head_of
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.transform import Sample

GRID = CartesianGrid((16,), extent=(1.0,), periodic=True)
SPEC = FieldSpec(("u",), ("m s-1",), GRID, 0.1, time_unit="1", frames=4)


def pulses(samples: int = 24, frames: int = 4) -> xr.Dataset:
    """Narrow pulses anywhere on the circle: two numbers each, on a manifold that no linear map of few channels holds."""
    x = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    place = Rng(3).uniform((samples, 1, 1)) + 0.02 * torch.arange(frames, dtype=torch.float64)[:, None]
    size = 0.5 + Rng(4).uniform((samples, 1, 1))
    values = size * torch.exp(15 * (torch.cos(2 * torch.pi * (x - place)) - 1))
    return to_dataset(values.float().unsqueeze(1), SPEC.with_frames(frames), batch="sample")


def module(losses: AutoencoderLosses, *, stir: float = 0.05) -> tuple[AutoencoderModule, dict[str, torch.Tensor]]:
    windows = TrajectoryWindows(pulses(), history=1, horizon=3)
    head = head_of(windows, None)
    made = Autoencoder(4.0, 4, 8, blocks=1).fitted_from(lambda: iter([_sample(windows, head)]), windows.spec)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(stir * torch.randn_like(p))
    x = torch.stack([windows[i]["x"] for i in range(4)])
    return AutoencoderModule(made, head, windows.spec, losses=losses).double(), {"x": x.double(), "index": torch.arange(4)}


def _sample(windows, head):
    return Sample(head.encode(torch.stack([windows[i]["x"] for i in range(len(windows))])))


def test_each_term_is_its_formula():
    law = PhysicsResidual(Burgers(viscosity=0.05), Spectral(GRID), SPEC)
    losses = AutoencoderLosses(slopes=0.3, means=0.7, noise=0.0, law=law, residual=0.2)
    made, batch = module(losses)
    found = made.terms(batch, Rng(0))
    u = made.head.encode(batch["x"])
    out = made.autoencoder.decode(made.autoencoder.encode(u))
    off = out - u
    wanted = {"squares": off.square().mean(), "means": 0.7 * off.mean(3).square().mean()}
    wanted["slopes"] = 0.3 * (off.roll(-1, 3) - off).square().mean() / (u.roll(-1, 3) - u).square().mean()
    physical = made.head.decode(out)
    wanted["residual"] = 0.2 * (law(physical) - law(batch["x"])).square().mean() / law(batch["x"]).square().mean()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)
    found["residual"].backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in made.autoencoder.parameters())


def test_the_slopes_weigh_the_spectrum_of_the_error_by_the_wavenumber():
    """The error of one wave k counts as 4 sin^2(pi k/n) = (2 pi k/n)^2 up to the order of the difference (Parseval)."""
    x = torch.arange(64, dtype=torch.float64)
    for k in (1, 5, 20):
        wave = (2 * math.pi * k * x / 64).sin().reshape(1, 1, 1, 64)
        assert float(_slopes(wave, (True,))) == pytest.approx(0.5 * 4 * math.sin(math.pi * k / 64) ** 2, rel=1e-12)
    ramp = x.reshape(1, 1, 1, 64)
    assert float(_slopes(ramp, (False,))) == 1.0  # no jump from one wall to the other


def test_noise_is_on_the_latents_and_keyed():
    made, batch = module(AutoencoderLosses(slopes=0.0, means=0.0, noise=0.5))
    first, again, other = (made.terms(batch, Rng(k))["squares"].item() for k in (0, 0, 1))
    quiet, _ = module(AutoencoderLosses(slopes=0.0, means=0.0, noise=0.0))
    assert first == again != other and first > quiet.terms(batch, Rng(0))["squares"].item()


def test_a_few_steps_lose_nothing_of_the_linear_part_and_leave_normal_latents():
    train, recipe = pulses(), Recipe(history=1, horizon=3)
    linear = fit_autoencoder(train, recipe, Autoencoder(4.0, 4, 0))
    made = fit_autoencoder(train, recipe, Autoencoder(4.0, 4, 8, blocks=1), training=AutoencoderTraining(max_steps=12))
    assert float(made.error) < float(linear.error) and not any(p.requires_grad for p in made.parameters())
    z = made.encode(head_of(TrajectoryWindows(train, history=1, horizon=3), None).encode(torch.from_numpy(train["u"].values).unsqueeze(1)))
    # one window of all four frames from each trajectory: all that the latents were scaled by
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(made.latent), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.square().mean((0, 2, 3)), torch.ones(made.latent), rtol=1e-4, atol=0)


@pytest.mark.slow
def test_training_gains_on_the_linear_part():
    ds = pulses(48)
    train, val = ds.isel(sample=slice(0, 40)), ds.isel(sample=slice(40, 48))
    recipe = Recipe(history=1, horizon=3)
    linear = fit_autoencoder(train, recipe, Autoencoder(8.0, 8, 0))
    plan = AutoencoderTraining(max_steps=150, lr=3e-3, batch_size=16, roll=("x",))
    made = fit_autoencoder(train, recipe, Autoencoder(8.0, 8, 16, blocks=1), val=val, training=plan)
    assert float(made.error) < 0.6 * float(linear.error)


def test_what_makes_no_sense_is_refused():
    norm = Normalizer(("channel",), mean=torch.zeros(1, 1, 1), std=torch.ones(1, 1, 1))
    with pytest.raises(InputError, match="width 0"):
        AutoencoderModule(Autoencoder(width=0), norm, SPEC)
    with pytest.raises(NotFitted, match="linear part"):
        AutoencoderModule(Autoencoder(), norm, SPEC)
    made, _ = module(AutoencoderLosses())
    with pytest.raises(InputError, match="axes that close"):
        AutoencoderModule(made.autoencoder, norm, SPEC, roll=("y",))
    with pytest.raises(InputError):
        AutoencoderLosses(slopes=-1.0)
