"""From a data set to a prior: what is chosen, and that it fits together."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.windows import condition
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.bridge import BridgeSampler
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.persistence import persistence
from physdiff.forecast.rollout import Rollout, static_names
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import mae
from physdiff.scores.spread_skill import spread_skill
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.operator_module import OperatorModule
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform
from physdiff.transforms.zonal_forecast import ZonalForecast
from tests.training.problems import calendar, line, tiny


def parts(prior: DiffusionPrior) -> list[type]:
    assert isinstance(prior.transform, Compose)
    return [type(p) for p in prior.transform]


FOLD = [FramesToChannels, WaveletTransform, Normalizer]


@pytest.mark.parametrize(
    ("ds", "recipe", "expected"),
    [
        (calendar(80), Recipe(history=2, horizon=2), [DropHistory, Anomaly, SubtractGuess, Normalizer, *FOLD]),
        (calendar(80), Recipe(history=2, horizon=2, guess="increment"), [DropHistory, Anomaly, Increment, Normalizer, *FOLD]),
        (calendar(30), Recipe(history=2, horizon=2, guess="none"), [DropHistory, Anomaly, Normalizer, *FOLD]),
        (calendar(80), Recipe(history=2, horizon=2, wavelet="none"), [DropHistory, Anomaly, SubtractGuess, Normalizer, FramesToChannels]),
        (line(), Recipe(history=1, horizon=2), [DropHistory, Increment, Normalizer, *FOLD]),
        (line(), Recipe(history=0, horizon=1, gaussian="no"), [Normalizer, *FOLD]),
        (calendar(80), Recipe(history=0, horizon=1), [Anomaly, Normalizer, *FOLD]),
    ],
)
def test_the_chain(ds, recipe, expected) -> None:
    prior, data = prepare(ds, recipe, network=tiny)
    assert parts(prior) == expected
    batch = default_collate([data.train_windows[i] for i in range(len(data.train_windows))])
    completed = prior.complete(batch.get("cond"), batch.get("guess"))
    z, c = prior.encode(batch["x"], completed), prior.encode_cond(completed)
    assert z.shape[1:] == prior.latent_shape and prior.denoiser.network.in_channels == z.shape[1] + (0 if c is None else c.shape[1])
    # encoded training data have variance one in every channel, or nearly so where a linear guess took part
    assert torch.allclose(z.square().mean((0, 2, *range(3, z.ndim))).sqrt(), torch.ones(z.shape[1]), atol=0.05)
    # float32 near 280 K
    assert torch.allclose(prior.decode(z, completed), batch["x"], atol=3e-4)
    draws = prior.sample(2, cond=None if batch.get("cond") is None else batch["cond"][:1], rng=Rng(0))
    assert draws.shape[1:] == prior.spec.shape and bool(draws.isfinite().all())


@pytest.mark.parametrize("anomaly", ["hour", "all", "none"])
def test_increments_are_of_the_size_of_changes(anomaly: str) -> None:
    """Not of the field: against 280 K a network cannot tell changes of 1 K from nothing."""
    prior, data = prepare(calendar(80), Recipe(history=2, horizon=2, anomaly=anomaly, guess="increment"), network=tiny)
    first = next(p for p in prior.transform if isinstance(p, Normalizer))
    assert float(first.std.max()) < 3.0
    draws = prior.sample(4, cond=data.train_windows[5]["cond"][None], rng=Rng(0))
    assert float((draws - data.train_windows[5]["x"]).abs().max()) < 15.0


def test_the_hour_needs_three_days() -> None:
    for frames, by in ((71, "all"), (72, "hour")):
        prior, _ = prepare(calendar(frames), Recipe(history=0, horizon=1), network=tiny)
        assert next(p for p in prior.transform if isinstance(p, Anomaly)).by == by
    with pytest.raises(DataError, match="hour"):
        prepare(line(), Recipe(history=1, horizon=1, anomaly="hour"), network=tiny)


def test_the_step_is_that_of_the_axis_not_of_its_first_frames() -> None:
    ds = calendar(100).isel(time=[0, *range(7, 100)])  # frames are missing after the first
    prior, _ = prepare(ds, Recipe(history=0, horizon=1), network=tiny)
    assert next(p for p in prior.transform if isinstance(p, Anomaly)).by == "hour"


@pytest.mark.parametrize("recipe", [Recipe(history=2, horizon=2), Recipe(history=1, horizon=1, guess="increment"), Recipe(history=0, horizon=1)])
def test_where_data_never_have_values_draws_have_none(recipe) -> None:
    land = np.zeros((4, 6), dtype=bool)
    land[1:3, 2:4] = True
    train, val = (ds.assign(t2m=ds["t2m"].copy(data=np.where(land, np.nan, ds["t2m"].values))) for ds in (calendar(80), calendar(30, key="val")))
    prior, data = prepare(train, recipe, val=val, network=tiny)
    assert torch.equal(prior.spec.mask, torch.from_numpy(~land)) and torch.equal(data.val_windows.spec.mask, prior.spec.mask)
    draws = prior.sample(2, cond=data.train_windows[0]["cond"][None], rng=Rng(0))
    assert torch.equal(draws.isnan(), torch.from_numpy(land).expand(draws.shape))


def test_training_guesses_have_not_seen_their_window() -> None:
    prior, data = prepare(calendar(80), Recipe(history=2, horizon=2), network=tiny)
    item = data.train_windows[10]
    own, honest = prior.complete(item["cond"][None]), prior.complete(item["cond"][None], item["guess"][None])
    assert own.shape == honest.shape and not torch.allclose(own[:, -1, 2:], honest[:, -1, 2:], atol=1e-4)


def test_a_station_that_is_out_does_not_mislead_the_first_guess_of_the_others() -> None:
    ds = calendar(120)
    north = 10 * (ds["latitude"].values - 53)[:, None]  # far from the mean of the field in most places
    values = ds["t2m"].values - north
    errors = {}
    for out in (False, True):
        values[40:80, 0, 2:4] = np.nan if out else values[40:80, 0, 2:4]
        ds["t2m"] = ds["t2m"].copy(data=values.astype("float32"))
        _, data = prepare(ds, Recipe(history=2, horizon=2), network=tiny)
        left = [i["x"] - data.train_windows.anomaly.mean_at(i["cond"][None], i["x"][None])[0] - i["guess"] for i in data.train_windows]
        errors[out] = torch.stack(left)[45:75, :, 2:, 1:].square().mean().sqrt().item()
    assert errors[True] < 1.05 * errors[False]


def test_a_gaussian_with_the_training_covariance_lies_under_a_prior_without_a_past() -> None:
    prior, data = prepare(calendar(120), Recipe(history=0, horizon=1), network=tiny)
    base = prior.denoiser.base
    assert isinstance(base, GaussianDenoiser) and prior.latent_shape == (4, 1, 2, 3)
    batch = default_collate([data.train_windows[i] for i in range(len(data.train_windows))])
    z = prior.encode(batch["x"], prior.complete(batch["cond"]))
    assert torch.allclose(base.mean, z.mean(0), atol=1e-5)
    # an untrained network adds nothing: the prior IS the Gaussian; tapering and shrinking leave the variances of the points as they are, and
    # hours that depend on each other ask for one factor of inflation for all, within 1 and 4
    draws = prior.sample(2000, cond=batch["cond"][:1], rng=Rng(0), max_batch=500)
    ratio = draws.std(0) / (batch["x"] - _hour_mean(prior, batch)).std(0)
    assert 1 <= ratio.mean() <= 2
    assert ((ratio / ratio.mean() - 1).abs() < 4 / (2 * 2000) ** 0.5 + 0.03).all()


def _hour_mean(prior: DiffusionPrior, batch: dict) -> torch.Tensor:
    anomaly = next(p for p in prior.transform if isinstance(p, Anomaly))
    return anomaly.mean_at(batch["cond"], batch["x"])


def test_wide_windows_get_a_covariance_of_low_rank() -> None:
    prior, data = prepare(line(), Recipe(history=1, horizon=2, gaussian="yes"), network=tiny)
    assert prior.denoiser.base is not None
    assert prior.sample(2, cond=data.train_windows[0]["cond"][None], rng=Rng(0)).isfinite().all()


def test_a_prepared_prior_goes_through_a_file(tmp_path) -> None:
    for recipe in (Recipe(history=2, horizon=2), Recipe(history=0, horizon=1)):
        prior, data = prepare(calendar(80), recipe)
        again = DiffusionPrior.load(prior.save(tmp_path / "p.prior"))
        # what is not learnt either: statistics, climatology and covariance keep their dtype and values
        held = dict(prior.named_buffers())
        assert all(v.dtype == held[k].dtype and torch.equal(v, held[k]) for k, v in again.named_buffers() if k in held)
        cond = data.train_windows[0]["cond"][None]
        assert torch.equal(again.sample(2, cond=cond, rng=Rng(0)), prior.sample(2, cond=cond, rng=Rng(0)))


def test_the_seed_makes_the_weights_and_leaves_the_callers_numbers_alone() -> None:
    state = torch.get_rng_state()
    nets = [prepare(line(), Recipe(history=1, horizon=1), network=tiny, seed=seed)[0].denoiser.network for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    first = [torch.cat([p.flatten() for p in net.parameters()]) for net in nets]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_validation_windows_are_of_the_same_kind() -> None:
    prior, data = prepare(calendar(80), Recipe(history=2, horizon=2), val=calendar(30, key="val"), network=tiny)
    batch = next(iter(data.val_dataloader()))
    assert batch["x"].shape[1:] == prior.spec.shape and batch["cond"].shape[1] == len(prior.cond_spec.names)


def test_the_wavelet_of_the_command_line() -> None:
    assert Recipe().with_wavelet(WaveletTransform("db4", 2)) == Recipe(wavelet="db4", levels=2)
    with pytest.raises(InputError, match="one wavelet"):
        Recipe().with_wavelet(WaveletTransform("haar", 1, ("x",)))


@pytest.mark.parametrize(
    "options", [{"history": -1}, {"horizon": 0}, {"anomaly": "day"}, {"guess": "best"}, {"gaussian": "maybe"}, {"parameters": ("nu",)}]
)
def test_choices_are_checked(options) -> None:
    with pytest.raises(InputError, match="Recipe"):
        Recipe(**options)


@pytest.mark.parametrize(("process", "evaluations"), [("interpolant", 24), ("bridge", 24)])
def test_paired_states_start_from_the_guess_or_from_persistence(process: str, evaluations: int) -> None:
    for guess, start in (("increment", "centre"), ("none", "persistence")):
        prior, data = prepare(calendar(80), Recipe(history=2, horizon=2, guess=guess, process=process), network=tiny)
        assert isinstance(prior, InterpolantPrior) and prior.start == start and prior.steps == evaluations
        draws = prior.sample(2, cond=data.train_windows[0]["cond"][None], rng=Rng(0))
        assert draws.shape[1:] == prior.spec.shape and bool(draws.isfinite().all())
    assert isinstance(prior.sampler, BridgeSampler) == (process == "bridge")
    with pytest.raises(InputError, match=f"history >= 1 and no Gaussian base for process '{process}'"):
        Recipe(history=0, process=process)


@pytest.mark.slow
def test_a_trained_bridge_beats_persistence_on_paired_states() -> None:
    """A wave whose phase walks at random, 300 steps of a small network: fair CRPS below 0.75 of persistence's error, and spread to it."""
    phase = 0.5 * Rng(0).normal((40, 13)).cumsum(1)
    x = torch.sin(2 * torch.pi * torch.arange(16) / 16 + phase[..., None])[:, None]
    spec = FieldSpec(("u",), ("m",), CartesianGrid((16,), extent=(1.0,), periodic=True), 0.1, time_unit="1")
    ds = to_dataset(x, spec, batch="sample")
    prior, data = prepare(ds.isel(sample=slice(32)), Recipe(history=1, horizon=1, guess="none", process="bridge"), network=partial(UNet, width=16))
    fit(DiffusionModule(prior, 2e-3, 0.99, seed=0), data, max_steps=300, progress=False)
    forecast = Rollout(prior.eval(), 1, 16, rng=Rng(1)).run(ds.isel(sample=slice(32, None)), every=2)
    table = evaluate(forecast, ds, {"crps": crps, "ssr": spread_skill}).mean("variable")
    other = evaluate(persistence(ds.isel(sample=slice(32, None)), forecast["init_time"].values, 1), ds, {"mae": mae}).mean("variable")
    # steps of the phase have std 0.5, so nothing forecasts without error: for a normal law the best CRPS is 0.564 std, persistence's error 0.798 std
    assert float(table["crps"].mean()) < 0.75 * float(other["mae"].mean())
    assert 0.6 < float(table["ssr"].mean()) < 1.6


def test_a_guess_of_waves_on_a_circle() -> None:
    ds = line(1, 80).isel(sample=0)
    prior, data = prepare(ds, Recipe(history=2, horizon=2, guess="zonal", wavelet="none"), network=tiny)
    assert isinstance(prior.cond_transform.guess, ZonalForecast) and "guess" in data.train_windows[0]
    cond = torch.stack([data.train_windows[i]["cond"] for i in range(3)])
    drawn = prior.sample(3, cond=cond, rng=Rng(0))
    assert drawn.isfinite().all() and torch.equal(drawn[:, :, :2], cond[:, :1, :2])
    with pytest.raises(DataError, match="periodic last axis"):
        prepare(calendar(60), Recipe(history=2, horizon=2, guess="zonal"), network=tiny)


def hills(frames: int = 120):
    """Every frame is the same heights under new noise of their size, so that the heights are all there is to know."""
    grid = CartesianGrid(64, extent=1.0, periodic=False)
    g = torch.Generator().manual_seed(0)
    height = torch.randn(64, generator=g)
    ds = to_dataset(height + torch.randn(1, 1, frames, 64, generator=g), FieldSpec(("u",), ("1",), grid, 1.0), np.arange(float(frames)))
    ds = ds.isel(member=0, drop=True)
    return ds.assign(height=(("x",), height.numpy().astype("float32"), {"units": "m"}))


def test_a_static_field_is_told_and_used(tmp_path):
    ds, errors = hills(), {}
    for statics in ((), ("height",)):
        recipe = Recipe(1, 1, "none", "none", "none", process="deterministic", statics=statics)
        prior, data = prepare(ds.isel(time=slice(0, 90)), recipe, network=partial(UNet, width=8, multipliers=(1,), dropout=0.0))
        assert prior.spec.names == ("u",) and static_names(prior) == statics
        fit(OperatorModule(prior, 1e-2, 0.0), data, max_steps=80, progress=False)
        again = type(prior).load(prior.save(tmp_path / f"{len(statics)}.prior"))
        made = Rollout(again, 1, 1, rng=Rng(0)).run(ds.isel(time=slice(89, 120)))
        errors[statics] = _miss(made, ds)
    # the noise alone is left, 1; from the frame before, the height is known to half of its variance: 1.22
    assert errors[("height",)] < 1.08 and errors[()] > 1.17
    with pytest.raises(DataError, match="expected a variable 'height'"):
        Rollout(again, 1, 1, rng=Rng(0)).run(ds.drop_vars("height"))


@pytest.mark.parametrize("gaussian", ["no", "auto"])
def test_a_prior_without_a_past_is_told_static_fields(gaussian):
    ds = hills(40)
    prior, data = prepare(ds, Recipe(0, 2, "none", "none", "none", gaussian=gaussian, statics=("height",)), network=tiny)
    assert prior.cond_spec is not None and prior.cond_spec.names == ("u", "known", "height") and static_names(prior) == ("height",)
    cond = data.train_windows[3]["cond"][None]
    told, height = prior.encode_cond(prior.complete(cond)), ds["height"].values
    # all that it is told is the height, as numbers of mean 0 and deviation 1
    assert told.shape[1] == 1 and np.allclose(told[0, 0, 0].numpy(), (height - height.mean()) / height.std(), atol=1e-4)
    fit(DiffusionModule(prior), data, max_steps=2, progress=False)
    assert prior.sample(2, cond=cond, rng=Rng(0)).shape == (2, 1, 2, 64)
    with pytest.raises(InputError, match="expected cond with u, known, height, got none"):
        prior.sample(2, rng=Rng(0))


def _miss(made, ds) -> float:  # noqa: ANN001
    """Root mean square error of forecasts of one step."""
    truth = np.stack([ds["u"].sel(time=t + 1.0).values for t in made["init_time"].values if t + 1.0 <= 119.0])
    return float(np.sqrt(np.mean((made["u"].values[: len(truth), 0, 0] - truth) ** 2)))


def test_a_static_field_in_time_is_no_field_of_its_own():
    ds = hills(40)
    ds = ds.assign(height=ds["height"].expand_dims(time=ds["time"]))
    prior, _ = prepare(ds, Recipe(1, 1, "none", "none", "none", statics=("height",)), network=tiny)
    assert prior.spec.names == ("u",) and prior.cond_spec is not None and prior.cond_spec.names == ("u", "known", "height")


def test_data_of_several_years_tell_the_time_of_the_year_too() -> None:
    """u is high in winter and low in summer: given a last frame between them, the date tells which is more likely."""
    days, rng = np.arange(800), np.random.default_rng(0)
    slope = np.cos(2 * np.pi * days / 365.2425)[:, None]
    values = (slope + rng.standard_normal((800, 16))).astype("float32")
    times = np.datetime64("2001-01-01", "ns") + days * np.timedelta64(1, "D")
    spec = FieldSpec(("u",), ("1",), CartesianGrid((16,), 1.0, periodic=True), 86400.0)
    ds = to_dataset(torch.from_numpy(values)[None, None], spec, times).isel(member=0, drop=True)
    recipe = Recipe(history=1, horizon=1, anomaly="none", guess="none", wavelet="none", process="deterministic")
    prior, data = prepare(ds, recipe, network=partial(UNet, width=8, multipliers=(1,), dropout=0.0))
    assert prior.cond_spec is not None and prior.cond_spec.names == ("u", "known", "day_sin", "day_cos")
    fit(OperatorModule(prior, 1e-2, 0.0), data, max_steps=120, progress=False)
    known = torch.zeros(2, 1, 2, 16)  # the same frame in winter and in summer
    known[:, :, 1] = torch.nan
    when = np.array([np.datetime64("2003-01-10") + np.arange(2), np.datetime64("2003-07-10") + np.arange(2)], dtype="datetime64[ns]")
    drawn = prior.sample(2, cond=condition(prior.spec, prior.cond_spec.names, known, times=when), rng=Rng(0))[:, 0, 1].mean(-1)
    assert float(drawn[0] - drawn[1]) > 1.0  # 2 by the data; the last frame alone would say no difference
    assert Rollout(prior, 2, 1, rng=Rng(0)).run(ds.isel(time=slice(0, 8))).sizes["lead_time"] == 2
    year = prepare(ds.isel(time=slice(0, 300)), recipe, network=partial(UNet, width=4, multipliers=(1,)))[0]
    assert year.cond_spec is not None and year.cond_spec.names == ("u", "known")
