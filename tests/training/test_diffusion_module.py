"""Training a prior: plain Trainers, the loss and its randomness, missing values, shifts, precision."""

from __future__ import annotations

import copy

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import default_collate

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.coupled_flow import CoupledFlow, CoupledPrior
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.interpolant import Interpolant
from physdiff.diffusion.network_drift import NetworkDrift
from physdiff.diffusion.objective import NoiseLaw, denoising_loss
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.evaluation.consistency import ConsistencyTerm
from physdiff.training import diffusion_module
from physdiff.training.callbacks.weight_average import WeightAverage
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.encoded import encode_batch
from physdiff.training.fit import fit
from physdiff.training.prior_module import _rolled, shifted
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar, line, tiny


def problem(ds=None, recipe: Recipe = Recipe(history=2, horizon=2, guess="increment"), *, val: bool = False, workers: int = 0, **options):  # noqa: B008
    prior, data = prepare(calendar(31) if ds is None else ds, recipe, network=tiny, batch_size=8, seed=3)
    data = TrajectoryDataModule(data.train_windows, data.train_windows if val else None, batch_size=8, num_workers=workers, seed=3)
    return DiffusionModule(prior, 1e-2, 0.9, seed=5, **options), data


def trainer(**options) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", **{**quiet, **options})


def weights(module: DiffusionModule) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize(
    ("ds", "recipe"),
    [(calendar(31), Recipe(history=2, horizon=2)), (line(), Recipe(history=1, horizon=2)), (line(), Recipe(history=0, horizon=1, gaussian="no"))],
    ids=["sphere", "line", "without a past"],
)
def test_a_plain_trainer_fits_validates_and_tests(ds, recipe) -> None:
    module, data = problem(ds, recipe, val=True)
    run = trainer(max_epochs=3)
    run.fit(module, data)
    assert {"loss", "val_loss"} <= run.callback_metrics.keys()
    assert any(isinstance(c, WeightAverage) for c in run.callbacks)
    (checked,), (tested,) = run.validate(module, data, verbose=False), run.test(module, data, verbose=False)
    # at the end the module holds the average, which validation at the end of the last epoch saw too
    assert checked["val_loss"] == tested["test_loss"] == pytest.approx(float(run.callback_metrics["test_loss"]))
    assert not module.prior.training
    draws = module.prior.sample(2, cond=None if data.cond_spec is None else data.train_windows[0]["cond"][None], rng=Rng(0))
    assert draws.shape == (2, *module.prior.spec.shape) and bool(draws.isfinite().all())


def test_validation_sees_the_average() -> None:
    module, data = problem(val=True)
    run = trainer(max_epochs=2)
    run.fit(module, data)
    during = float(run.callback_metrics["val_loss"])
    assert run.validate(module, data, verbose=False)[0]["val_loss"] == pytest.approx(during, rel=1e-6)


def test_the_loss_goes_down() -> None:
    """One wave of random size: 16 numbers with one degree of freedom, which the network has to find out."""
    ds = line(12, 6)
    ds["u"].values[:] = ds["u"].values[..., :1] * torch.linspace(0, 2 * torch.pi, 17)[:-1].cos().numpy()
    module, data = problem(ds, Recipe(history=0, horizon=1, gaussian="no", wavelet="none"), val=True)
    run = trainer(max_steps=100, max_epochs=-1)
    before = run.validate(module, data, verbose=False)[0]["val_loss"]
    run.fit(module, data)
    after = run.validate(module, data, verbose=False)[0]["val_loss"]
    assert before == pytest.approx(1.0, abs=0.15)  # effective weight: an untrained network is as good as the Wiener filter of white noise
    assert after < 0.6 * before


def test_the_loss_is_the_weighted_error_at_keyed_noise() -> None:
    """Brute force: window by window, from the same streams."""
    module, data = problem()
    module.eval()
    batch = next(iter(data.train_dataloader()))
    rng = Rng(9)
    loss = module._loss(batch, rng, train=False)
    denoiser = module.prior.denoiser
    for k, index in enumerate(batch["index"].tolist()):
        x, cond = batch["x"][k : k + 1], batch["cond"][k : k + 1]
        z, c = module.prior.encode(x, cond), module.prior.encode_cond(cond)
        t = module.noise.times(denoiser.schedule, [index], rng.child("level"))
        alpha, sigma = denoiser.schedule(t)
        z_t = float(alpha) * z + float(sigma) * rng.child("noise", index).normal(z.shape[1:])
        error = ((denoiser(z_t, t, c) - z) ** 2).mean() * denoiser.weight(t).item()
        # batches of another size round differently
        assert loss[k].item() == pytest.approx(error.item(), rel=1e-4)


def test_steps_leave_the_callers_random_numbers_alone_and_repeat() -> None:
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module, data = problem(input_noise=0.1)
        state = torch.get_rng_state()
        trainer(max_steps=4, max_epochs=-1).fit(module, data)
        assert torch.equal(torch.get_rng_state(), state)
        runs.append(weights(module))
    assert torch.equal(*runs)


def test_a_window_gets_new_noise_and_dropout_in_every_epoch(monkeypatch) -> None:
    module, data = problem()
    seen: dict[int, list[torch.Tensor]] = {}
    kept = []

    def recorded(denoiser, z, t, **options):
        for index, noise in zip(batches.pop(0), options["noise"], strict=True):
            seen.setdefault(index, []).append(noise)
        return denoising_loss(denoiser, z, t, **options)

    class Note(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            batches.append(batch["index"].tolist())

    batches: list[list[int]] = []
    monkeypatch.setattr(diffusion_module, "denoising_loss", recorded)
    block = module.prior.denoiser.network.middle.blocks[0]
    block.register_forward_hook(lambda _, __, ___: kept.append(torch.rand(())))  # where dropout's generator stands
    trainer(max_epochs=3, callbacks=[Note()]).fit(module, data)
    repeated = [noises for noises in seen.values() if len(noises) > 1]
    assert len(repeated) > 10
    assert not any(torch.equal(a, b) for noises in repeated for a, b in zip(noises, noises[1:], strict=False))
    assert len({float(k) for k in kept}) == len(kept) == 9


def test_the_seed_counts() -> None:
    results = []
    for seed in (5, 6):
        module, data = problem()
        module = DiffusionModule(module.prior, 1e-2, 0.9, seed=seed)
        trainer(max_steps=2, max_epochs=-1).fit(module, data)
        results.append(weights(module))
    assert not torch.equal(*results)


class FixedNoise(NoiseLaw):
    """One level for all."""

    def __init__(self, lam: float) -> None:
        self.lam = lam

    def lam_of(self, z: torch.Tensor) -> torch.Tensor:
        return torch.full_like(z, self.lam)


@pytest.mark.parametrize("wavelet", ["none", "haar"])
def test_missing_values_have_no_influence(wavelet) -> None:
    """A finite loss; what a gap is filled with matters neither to it nor to its gradient."""
    ds = calendar(31)
    ds["t2m"][12:15, 0:2, 0:2] = float("nan")  # whole haar cells
    module, data = problem(ds, Recipe(history=2, horizon=2, guess="increment", wavelet=wavelet), noise=FixedNoise(1.0))
    batch = default_collate([data.train_windows[i] for i in (9, 10, 11)])
    assert batch["x"].isnan().any()
    module.eval()
    loss = module._loss(batch, Rng(1), train=False)
    assert bool(loss.isfinite().all())
    # the same from z and weights, by hand: coefficients of weight zero may be anything
    z, w = module.prior.encode(batch["x"], batch["cond"]), module.prior.transform.weight(batch["x"].isfinite().float())
    assert set(w.unique().tolist()) == {0.0, 1.0}
    denoiser = module.prior.denoiser
    t = module.noise.times(denoiser.schedule, batch["index"].tolist(), Rng(1).child("level"))
    z_t = z + float(denoiser.schedule(t)[1][0]) * Rng(1).child("noise").normal_each(batch["index"].tolist(), z.shape[1:])
    error = (denoiser(z_t, t, module.prior.encode_cond(batch["cond"])) - z) ** 2
    expected = torch.stack([e[u > 0].mean() for e, u in zip(error, w, strict=True)]) * denoiser.weight(t).float()
    assert torch.allclose(loss, expected, rtol=1e-4)
    # filled with the centre of the training data, which float32 holds to 3e-5 K
    assert bool((z[w == 0].abs() < 1e-3).all())


def test_training_on_data_with_gaps() -> None:
    ds = calendar(31)
    ds["t2m"][::3, 1, 2] = float("nan")
    ds["t2m"][20] = float("nan")
    module, data = problem(ds)
    run = trainer(max_steps=4, max_epochs=-1)
    run.fit(module, data)
    assert bool(weights(module).isfinite().all()) and float(run.callback_metrics["loss"]) > 0


def test_shifts_along_periodic_axes() -> None:
    module, data = problem(line(), Recipe(history=1, horizon=2, wavelet="none"), roll=("x",))
    batch = default_collate([data.train_windows[i] for i in range(6)])
    moved = shifted(batch, module.prior, ("x",), rng=Rng(0))
    rolled, cond = moved["x"], moved["cond"]
    shifts = []
    for k in range(6):
        fits = [s for s in range(16) if torch.equal(rolled[k], batch["x"][k].roll(s, -1))]
        assert len(fits) == 1
        shifts += fits
        assert torch.equal(cond[k], batch["cond"][k].roll(fits[0], -1))  # what is known moves with it
    assert len(set(shifts)) > 2  # each window by its own
    assert module.encoded(data.train_windows) is data.train_windows  # shifted before it is encoded, so nothing can be kept
    trainer(max_steps=2, max_epochs=-1).fit(module, data)


def test_shifts_need_periodic_axes() -> None:
    for name in ("y", "longitude"):
        with pytest.raises(InputError, match="axes that close"):
            problem(roll=(name,))


def test_the_mean_field_stays_in_its_place_while_departures_are_shifted() -> None:
    ds = line().isel(sample=0)  # one trajectory: the recipe takes its mean out
    module, data = problem(ds, Recipe(history=1, horizon=2, wavelet="none", guess="increment"), roll=("x",))
    batch = default_collate([data.train_windows[i] for i in range(len(data.train_windows))])
    index = batch["index"].tolist()
    moved = shifted(batch, module.prior, ("x",), rng=Rng(0))
    z, c, _ = encode_batch(module.prior, batch["x"], batch["cond"])
    z_moved, c_moved, _ = encode_batch(module.prior, moved["x"], moved["cond"])
    # a shift of departures is a shift of the coefficients; float32 of fields with a mean
    torch.testing.assert_close(z_moved, _rolled(z, (-1,), index, Rng(0)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(c_moved, _rolled(c, (-1,), index, Rng(0)), atol=1e-4, rtol=1e-4)
    trainer(max_steps=2, max_epochs=-1).fit(module, data)


def test_input_noise_is_for_training() -> None:
    quiet, data = problem()
    loud = DiffusionModule(quiet.prior, input_noise=3.0)
    with torch.no_grad():
        for p in quiet.prior.denoiser.network.head.parameters():
            p.fill_(0.1)  # an untrained network would not look at its input
    quiet.eval()
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(quiet._loss(batch, Rng(0), train=False), loud._loss(batch, Rng(0), train=False))
    assert not torch.allclose(quiet._loss(batch, Rng(0), train=True), loud._loss(batch, Rng(0), train=True), rtol=1e-3)


def test_worker_processes_give_the_same_weights() -> None:
    results = []
    for workers in (0, 2):
        module, data = problem(workers=workers)
        trainer(max_steps=7, max_epochs=-1).fit(module, data)
        results.append(weights(module))
    # workers hand over windows, which are encoded in batches; in this process they are encoded in blocks, which may round differently
    assert torch.allclose(*results, rtol=1e-4, atol=1e-5)


def test_bf16_mixed_keeps_float32_state() -> None:
    module, data = problem()
    run = trainer(max_steps=2, max_epochs=-1, precision="bf16-mixed", gradient_clip_val=1.0)
    seen = []
    module.prior.denoiser.network.stem.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    before = weights(module)
    run.fit(module, data)
    assert torch.bfloat16 in seen
    assert all(p.dtype == torch.float32 for p in module.parameters()) and not torch.equal(before, weights(module))
    state = run.optimizers[0].state_dict()["state"]
    assert all(v.dtype == torch.float32 for entry in state.values() for v in entry.values())
    assert module.prior.sample(1, cond=data.train_windows[0]["cond"][None], rng=Rng(0)).dtype == torch.float32


def test_learning_rate_rises_and_falls() -> None:
    module, data = problem()
    rates = []

    class Note(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer(max_steps=60, max_epochs=-1, callbacks=[Note()]).fit(module, data)
    expected = [1e-2 * min(1, (k + 1) / 3) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * k / 60, dtype=torch.float64)).item()) for k in range(60)]
    assert rates == pytest.approx(expected, rel=1e-9)


def test_gradients_are_clipped() -> None:
    norms = []
    for bound in (None, 1e-3, 0.0):
        module, data = problem()
        module.configure_optimizers = lambda m=module: torch.optim.SGD(m.parameters(), lr=1.0)
        with torch.no_grad():
            for p in module.prior.denoiser.network.head.parameters():
                p.fill_(5.0)  # far off, so that the gradient is long
        module.ema, before = 0.0, weights(module)
        trainer(max_steps=1, max_epochs=-1, gradient_clip_val=bound).fit(module, data)
        norms.append(float((weights(module) - before).norm()))
    # a step of SGD is as long as the gradient; the norm adds up some thousand float32 numbers
    assert norms[0] == pytest.approx(1.0, rel=1e-3) and norms[1] == pytest.approx(1e-3, rel=2e-2) and norms[2] > 10


def test_a_loss_that_is_not_finite_is_named() -> None:
    module, data = problem()
    with torch.no_grad():
        next(module.prior.denoiser.network.head.parameters()).fill_(torch.inf)
    with pytest.raises(Diverged, match="training loss"):
        trainer(max_steps=2, max_epochs=-1).fit(module, data)


def test_the_gaussian_base_is_no_weight() -> None:
    """Only the network learns; the covariance under it is data."""
    prior, data = prepare(line(), Recipe(history=0, horizon=1, gaussian="no"), network=tiny, batch_size=8)
    old = prior.denoiser
    base = GaussianDenoiser(old.schedule, torch.zeros(prior.latent_shape), DiagonalCovariance(torch.ones(prior.latent_shape)))
    prior.denoiser = PreconditionedDenoiser(old.network, old.schedule, base=base)
    module = DiffusionModule(prior)
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in old.network.parameters())
    fit(module, data, max_steps=2)
    assert torch.equal(base.mean, torch.zeros(prior.latent_shape))


def test_a_trained_prior_can_be_trained_on() -> None:
    module, data = problem()
    fit(module, data, max_steps=2)
    again = DiffusionModule(copy.deepcopy(module.prior), 1e-2, seed=1)
    modes = []

    class Note(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            modes.append(all(part.training for part in pl_module.modules()))

    trainer(max_steps=2, max_epochs=-1, callbacks=[Note()]).fit(again, data)
    assert modes == [True, True] and not torch.equal(weights(again), weights(module))


def test_a_run_without_end_keeps_its_rate() -> None:
    module, data = problem()

    class Halt(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            trainer.should_stop = trainer.global_step >= 3

    run = trainer(max_epochs=-1, max_steps=-1, callbacks=[Halt()], min_steps=1)
    run.fit(module, data)
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 * 4 / 100)


@pytest.mark.parametrize("options", [{"lr": 0.0}, {"ema": 1.0}, {"ema": -0.1}, {"input_noise": -1.0}])
def test_numbers_are_checked(options) -> None:
    prior, _ = prepare(line(), Recipe(history=0, horizon=1, gaussian="no"), network=tiny)
    with pytest.raises(InputError, match="DiffusionModule"):
        DiffusionModule(prior, **options)


def test_a_coupled_flow_is_trained_as_every_prior() -> None:
    recipe = Recipe(history=0, horizon=1, gaussian="no")
    prior, data = prepare(line(), recipe, network=lambda i, o, **k: tiny(i, 2 * o, **k), seed=3)
    flow = CoupledFlow(NetworkDrift(prior.denoiser.network, Interpolant("one-sided")))
    coupled = CoupledPrior(flow, prior.transform, prior.spec, steps=2)
    before = torch.cat([p.detach().flatten() for p in flow.parameters()]).clone()
    fit(DiffusionModule(coupled, 1e-2, 0.0), data, max_steps=2, progress=False)
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in flow.parameters()]))
    assert bool(coupled.sample(2, rng=Rng(0)).isfinite().all())


def test_a_term_counts_in_training_at_its_steps_alone() -> None:
    module, data = problem(line(), Recipe(history=0, horizon=1, gaussian="no"))
    batch = default_collate([data.train_windows[i] for i in range(2)])
    module.eval()
    for p in module.prior.model.parameters():  # a network of zeros leaves the Wiener filter, which a law has
        torch.nn.init.normal_(p, std=0.2, generator=torch.Generator().manual_seed(0))

    def loss(step: int, *, train: bool = True) -> torch.Tensor:
        return module._loss(batch, Rng(0), train=train, step=step).detach()

    plain = loss(0)
    module.with_term(ConsistencyTerm(fokker_planck=10.0, symmetry=1.0, every=2))
    assert not torch.allclose(loss(0), plain, rtol=1e-4)
    assert torch.equal(loss(1), plain) and torch.equal(loss(0, train=False), plain)
