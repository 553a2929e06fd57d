"""Training deterministic operators: the losses, an exact law learned, resuming, missing values."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.networks.fno import FNO
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.operator_module import OperatorModule, operator_loss
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import line, tiny

RECIPE = Recipe(history=1, horizon=1, guess="increment", wavelet="none", process="deterministic")


def small(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...]) -> FNO:
    return FNO(i, o, ndim=ndim, periodic=periodic, width=8, modes=8, layers=1)


def advected(samples: int = 40, frames: int = 3):
    """Noise carried along a circle of 16 points by one point a frame."""
    ds = line(samples, frames)
    first = torch.from_numpy(ds["u"].values[:, :1])
    ds["u"].values[:] = torch.cat([first.roll(k, -1) for k in range(frames)], 1).numpy()
    return ds


def weights(module: OperatorModule) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_losses_by_hand():
    z, predicted = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(operator_loss(predicted, z, loss="relative"), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(operator_loss(predicted, z, loss="mse"), torch.tensor([12.5, 0.5]))
    share = torch.tensor([[0.0, 1.0]])
    hidden = torch.where(share > 0, z, torch.nan)
    torch.testing.assert_close(operator_loss(predicted, hidden, loss="relative", weights=share), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(operator_loss(predicted, hidden, loss="mse", weights=share), torch.tensor([16.0, 1.0]))
    exact = z.clone().requires_grad_()
    operator_loss(exact, z, loss="relative").sum().backward()
    assert torch.equal(exact.grad, torch.zeros_like(z))


@pytest.mark.parametrize("loss", ["mse", "relative"])
def test_an_exact_law_is_learned(loss):
    """A shift by one point is diagonal in Fourier modes: the smallest operator holds it."""
    prior, data = prepare(advected(), RECIPE, network=small, batch_size=16, seed=0)
    module = OperatorModule(prior, 2e-2, 0.9, loss=loss, seed=0)
    fit(module, data, max_steps=60)
    ds = advected(samples=60)
    u = torch.from_numpy(ds["u"].values[40:])
    cond = torch.stack([u[:, :2].clone(), torch.ones_like(u[:, :2])], 1)
    cond[:, 1, 1] = 0
    cond[:, 0, 1] = cond[:, 0, 0]
    ahead = prior.sample(len(u), cond=cond, rng=Rng(0))[:, 0, 1]
    error = (ahead - u[:, 1]).norm() / u[:, 1].norm()
    assert error < 0.3, error  # 0.1 to 0.25 after these few steps, 0.05 after 150; persistence 0.8


@pytest.mark.slow
def test_a_refiner_learns_the_law_too():
    """Levels drawn anew for each window, and a forecast better than its first guess' persistence."""
    recipe = replace(RECIPE, process="refiner")
    prior, data = prepare(advected(), recipe, network=partial(FNO, width=16, modes=8, layers=2), batch_size=16, seed=0)
    fit(OperatorModule(prior, 1e-2, 0.9, seed=0), data, max_steps=250)
    u = torch.from_numpy(advected(samples=60)["u"].values[40:])
    cond = torch.stack([u[:, :2].clone(), torch.ones_like(u[:, :2])], 1)
    cond[:, 1, 1] = 0
    cond[:, 0, 1] = cond[:, 0, 0]
    ahead = prior.sample(len(u), cond=cond, rng=Rng(0))[:, 0, 1]
    error = (ahead - u[:, 1]).norm() / u[:, 1].norm()
    assert error < 0.4, error  # persistence 0.8


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    def run(steps: int, **options) -> OperatorModule:
        prior, data = prepare(advected(8), RECIPE, network=small, batch_size=4, seed=0)
        module = OperatorModule(prior, 1e-2, 0.9, input_noise=0.1, roll=("x",), seed=3)
        module.configure_optimizers = _constant(module)  # type: ignore[method-assign]
        fit(module, data, max_steps=steps, **options)
        return module

    whole, part = run(6), run(3, out=tmp_path, save_every=1)
    assert not torch.equal(weights(part), weights(whole))
    assert torch.equal(weights(run(6, out=tmp_path, save_every=1)), weights(whole))


def _constant(module):
    """A constant rate: a run cut short at 3 steps shall not plan its rate for 3."""
    return lambda: torch.optim.AdamW(module.prior.model.parameters(), lr=1e-2)


def test_bf16_trains():
    prior, data = prepare(advected(8), RECIPE, network=small, batch_size=4, seed=0)
    before = weights(module := OperatorModule(prior, 1e-2, 0.0, seed=0)).clone()
    fit(module, data, max_steps=2, precision="bf16-mixed")
    after = weights(module)
    assert after.dtype == torch.float32 and bool(after.isfinite().all()) and not torch.equal(before, after)


def test_validation_and_bad_arguments():
    prior, data = prepare(advected(8), RECIPE, network=small, batch_size=4, seed=0)
    data = TrajectoryDataModule(data.train_windows, data.train_windows, batch_size=4)
    module = OperatorModule(prior, 1e-2, 0.0)
    fit(module, data, max_epochs=1)
    assert float(module.trainer.callback_metrics["val_loss"]) > 0
    with pytest.raises(InputError, match="loss"):
        OperatorModule(prior, loss="l1")
    with pytest.raises(InputError, match="roll"):
        OperatorModule(prior, roll=("y",))


def test_each_module_refuses_the_others_priors():
    forecast = prepare(line(), RECIPE, network=tiny)[0]
    with pytest.raises(InputError, match="got a Forecaster; take OperatorModule"):
        DiffusionModule(forecast)
    drawn = prepare(line(), Recipe(history=1, horizon=1, guess="increment", wavelet="none"), network=tiny)[0]
    with pytest.raises(InputError, match="got a DiffusionPrior; take DiffusionModule"):
        OperatorModule(drawn)
