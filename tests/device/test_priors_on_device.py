"""Priors on an accelerator: training in each precision, one process of DDP, compiled networks, draws and posteriors as on the CPU."""

from __future__ import annotations

import copy
import os
import socket
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.heun import Heun
from physdiff.forecast.rollout import rollout
from physdiff.inference.guided import Guided
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.networks.unet import UNet
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar, line

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 3}


def problem(*, past: bool = True, dropout: float = 0.1):
    ds = calendar(40) if past else line()
    recipe = Recipe(history=2, horizon=2, guess="increment") if past else Recipe(history=0, horizon=1, wavelet="none")
    prior, data = prepare(ds, recipe, network=partial(UNet, width=4, multipliers=(1, 2), dropout=dropout), batch_size=8, seed=3)
    return DiffusionModule(prior, 3e-3, 0.9, seed=5), data


def trained(*, past: bool = True, dropout: float = 0.1, **options) -> DiffusionModule:
    module, data = problem(past=past, dropout=dropout)
    pl.Trainer(**QUIET, **options).fit(module, data)
    return module.eval()


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().cpu().flatten() for p in module.parameters()])


def test_the_seed_decides_and_not_the_device(accelerator):
    """Noise and order are the same (dropout alone is drawn where it is used); sums in another order move the weights a little."""
    here, there = (trained(dropout=0.0, accelerator=name, devices=1) for name in ("cpu", "gpu"))
    start, _ = problem(dropout=0.0)
    way = (weights(here) - weights(start)).norm()
    assert float((weights(there) - weights(here)).norm()) < 0.1 * float(way)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true"])
def test_half_precision(precision, accelerator):
    module = trained(accelerator="gpu", devices=1, precision=precision)
    assert bool(weights(module).isfinite().all())
    prior = module.prior.to(accelerator, torch.float32)
    cond = problem()[1].train_windows[0]["cond"][None].to(accelerator)
    draws = prior.sample(3, cond=cond, rng=Rng(0))
    assert draws.dtype == torch.float32 and bool(draws.isfinite().all())


def test_a_network_in_bf16_keeps_the_state_in_float32(accelerator):
    prior = trained(past=False, accelerator="gpu", devices=1).prior.to(accelerator)
    whole = prior.sample(64, rng=Rng(1))
    with torch.autocast("cuda", torch.bfloat16):
        half = prior.sample(64, rng=Rng(1))
    assert half.dtype == torch.float32
    # bf16 keeps three digits; 24 steps add up their errors
    assert 1e-6 < float((half - whole).norm() / whole.norm()) < 0.05


def test_one_process_of_ddp(accelerator, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    try:
        alone, ddp = trained(accelerator="gpu", devices=1), trained(accelerator="gpu", devices=1, strategy="ddp", use_distributed_sampler=False)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK"):
            os.environ.pop(name, None)
        torch.set_num_threads(1)  # Lightning gives a process of DDP all cores
    torch.testing.assert_close(weights(ddp), weights(alone), rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns of torch
def test_a_compiled_network(accelerator):
    prior = trained(past=False, accelerator="gpu", devices=1).prior.to(accelerator)
    plain = prior.sample(4, rng=Rng(2))
    compiled = copy.deepcopy(prior)
    compiled.denoiser.compile()
    torch.testing.assert_close(compiled.sample(4, rng=Rng(2)), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(), Heun(), DPMSolver2M()], ids=lambda s: type(s).__name__)
def test_draws_do_not_depend_on_the_device(sampler, accelerator):
    prior = trained(past=False, accelerator="cpu").prior.double()
    prior.sampler = sampler
    here = prior.sample(4, rng=Rng(2))
    there = prior.to(accelerator).sample(4, rng=Rng(2))
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=1e-7, atol=1e-7)


def test_a_posterior(accelerator):
    prior = trained(past=False, accelerator="cpu").prior.double()
    sensors = Sensors(prior.spec, points=torch.tensor([[0.1], [0.45], [0.8]]), names=("u",))
    found = []
    for device in ("cpu", accelerator):
        prior = prior.to(device)
        y = torch.tensor([[0.3], [-0.2], [0.5]], dtype=torch.float64, device=device).T
        posterior = Posterior(prior, (Observation(sensors, y=y, std=0.1),))
        found.append(Guided(steps=8).sample(posterior, 4, rng=Rng(3)).members.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-6)


def test_a_rollout_comes_back_as_a_dataset(accelerator):
    ds = calendar(40)
    prior = trained(accelerator="gpu", devices=1).prior.to(accelerator)
    forecast = rollout(prior, ds, every=12, lead=4, members=3, rng=Rng(0))
    assert bool(forecast["t2m"].notnull().all())
