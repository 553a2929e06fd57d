"""Forecasts with a prior whose law is known: AR(1) in every cell, drawn by an exact denoiser."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from tqdm import tqdm

from physdiff.base.errors import DataError, Diverged, GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset
from physdiff.data.leads import KnownFrames
from physdiff.data.open import open_forecast
from physdiff.data.windows import condition_spec
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.forecast.rollout import Rollout, history_of, known_frames, rollout
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frames import DropHistory, FramesToChannels
from tests.evaluation.processes import HOUR, ar1, hours, simulations
from tests.training.problems import calendar, tiny

PHI, HISTORY, HORIZON = 0.8, 2, 3


def plane(shape=(2, 3)) -> FieldSpec:
    return FieldSpec(("c",), ("K",), CartesianGrid(shape, periodic=True), 3600.0)


def data(frames: int = 8, shape=(2, 3)) -> xr.Dataset:
    spec = plane(shape)
    return to_dataset(ar1(frames, PHI, spec=spec)[0], spec, hours(frames))


def ar1_prior(sampler=None, steps: int = 12, shape=(2, 3)) -> DiffusionPrior:
    """c_{t+k} given c_t is normal with mean phi^k c_t and covariance phi^|j-k| (1 - phi^(2 min(j, k))), cell by cell."""
    spec = plane(shape).with_frames(HISTORY + HORIZON)
    cells = shape[0] * shape[1]
    k = torch.arange(1, HORIZON + 1, dtype=torch.float64)
    within = PHI ** (k[:, None] - k).abs() * (1 - PHI ** (2 * torch.minimum(k[:, None], k)))
    covariance = torch.kron(within, torch.eye(cells, dtype=torch.float64))
    # the encoded condition: two known frames, then their two known shares
    gain = torch.zeros(HORIZON, 2 * HISTORY, dtype=torch.float64)
    gain[:, HISTORY - 1] = PHI**k
    gain = torch.kron(gain, torch.eye(cells, dtype=torch.float64))
    denoiser = GaussianDenoiser(EDMSchedule(), torch.zeros(HORIZON, 1, *shape), dense_covariance(covariance), gain=gain)
    one = torch.ones(1, 1, 1, 1)
    return DiffusionPrior(
        denoiser,
        Compose((DropHistory(HISTORY), FramesToChannels(HORIZON))),
        spec,
        sampler=sampler or Heun(),
        steps=steps,
        cond_transform=ConditionTransform(1, history=HISTORY, mean=0 * one, std=one),
        cond_spec=condition_spec(spec),
    )


def test_the_layout():
    ds = data()
    fc = rollout(ar1_prior(), ds, every=3, lead=4, members=5, rng=Rng(0))
    assert fc["c"].dims == ("init_time", "member", "lead_time", "y", "x") and fc["c"].shape == (3, 5, 4, 2, 3)
    assert (fc["init_time"].values == ds["time"].values[1::3]).all()
    assert (fc["lead_time"].values == np.arange(1, 5) * HOUR).all()
    assert fc["c"].attrs["units"] == "K" and fc["lead_time"].attrs["standard_name"] == "forecast_period"


def test_the_law_of_the_members_is_that_of_the_process_over_three_blocks():
    ds, members, lead = data(frames=3, shape=(4, 5)), 400, 8
    values = rollout(ar1_prior(shape=(4, 5), steps=30), ds, starts=ds["time"].values[-1:], lead=lead, members=members, rng=Rng(0))["c"].values[0]
    k = np.arange(1, lead + 1)
    var = 1 - PHI ** (2 * k)
    departure = values - PHI ** k[:, None, None] * ds["c"].values[-1]
    # 400 x 20 draws: standard error of a mean sqrt(var / 8000) and of a variance var sqrt(2 / 8000); four of them, and 2 % for 30 Heun steps
    assert (np.abs(departure.mean((0, 2, 3))) < 4 * np.sqrt(var / 8000)).all()
    assert np.abs(departure.var((0, 2, 3)) / var - 1).max() < 4 * np.sqrt(2 / 8000) + 0.02
    across = (departure[:, 2] * departure[:, 3]).mean()  # the seam between the first block and the second
    assert abs(across - PHI * var[2]) < 4 * np.sqrt(2 / 8000) + 0.02


@pytest.mark.parametrize("sampler", [Heun(), DDPM()])
def test_a_start_depends_neither_on_the_batch_nor_on_other_starts(sampler):
    ds, prior = data(), ar1_prior(sampler)
    one = rollout(prior, ds, lead=7, members=3, rng=Rng(1))
    for batch in (1, 2, 4, 7):
        again = Rollout(prior, 7, 3, rng=Rng(1), max_batch=batch).run(ds)
        # float32: rounding differs between batches of different sizes
        np.testing.assert_allclose(again["c"].values, one["c"].values, rtol=0, atol=2e-5)
    some = rollout(prior, ds.isel(time=slice(3, None)), starts=ds["time"].values[[6]], lead=7, members=3, rng=Rng(1))
    np.testing.assert_allclose(some["c"].values[0], one["c"].sel(init_time=some["init_time"].values[0]).values, rtol=0, atol=2e-5)
    fewer = rollout(prior, ds, lead=4, members=2, rng=Rng(1))
    np.testing.assert_allclose(fewer["c"].values, one["c"].values[:, :2, :4], rtol=0, atol=2e-5)
    assert np.abs(one["c"].values[:, 0] - one["c"].values[:, 1]).min() > 0
    assert np.abs(rollout(prior, ds, lead=7, members=3, rng=Rng(2))["c"].values - one["c"].values).max() > 0.1


def interrupted(prior: DiffusionPrior, after: int):
    """The prior's `sample`, stopped at one call."""
    calls, sample = [], prior.sample

    def stopping(*args, **kwargs):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    return stopping, calls


def test_an_interrupted_run_goes_on_and_ends_in_the_same_file(tmp_path, monkeypatch):
    ds, prior = data(), ar1_prior(DDPM())
    run = Rollout(prior, 5, 3, rng=Rng(4), max_batch=7)  # 7 starts in groups of 2, two blocks each
    whole = run.run(ds, out=tmp_path / "whole.nc")
    assert not (tmp_path / "whole.nc.parts").exists()
    stopping, _ = interrupted(prior, after=5)
    with monkeypatch.context() as patch:
        patch.setattr(prior, "sample", stopping)
        with pytest.raises(KeyboardInterrupt):
            run.run(ds, out=tmp_path / "fc.nc")
    assert not (tmp_path / "fc.nc").exists() and len(list((tmp_path / "fc.nc.parts").iterdir())) == 4
    counting, calls = interrupted(prior, after=100)
    monkeypatch.setattr(prior, "sample", counting)
    run.run(ds, out=tmp_path / "fc.nc")
    assert len(calls) == 4  # two groups of two blocks were left
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fc.nc", "whole.nc"]
    one, other = open_forecast(tmp_path / "whole.nc"), open_forecast(tmp_path / "fc.nc")
    assert one.equals(other) and np.array_equal(one["c"].values, whole["c"].values)


def test_parts_of_another_run_are_not_taken(tmp_path, monkeypatch, caplog):
    ds, prior, out = data(), ar1_prior(), tmp_path / "fc.nc"
    stopping, _ = interrupted(prior, after=4)
    with monkeypatch.context() as patch:
        patch.setattr(prior, "sample", stopping)
        with pytest.raises(KeyboardInterrupt):
            Rollout(prior, 3, 2, rng=Rng(0), max_batch=2).run(ds, out=out)
    changed = ds.copy(deep=True)
    changed["c"][3] += 1.0
    with caplog.at_level(logging.WARNING):
        Rollout(prior, 3, 2, rng=Rng(0), max_batch=2).run(changed, out=out)
    # frame 3 is known to the third and the fourth of the four starts that were done
    assert sum("computed anew" in r.message for r in caplog.records) == 2
    fresh = Rollout(prior, 3, 2, rng=Rng(0), max_batch=2).run(changed)
    assert np.array_equal(open_forecast(out)["c"].values, fresh["c"].values)


def test_simulations_are_forecast_from_every_sample():
    ds = simulations(3, 5)[["c"]]
    spec = spec_of(ds).with_frames(3)
    one = torch.ones(1, 1, 1, 1)
    k = PHI ** torch.arange(1, 3, dtype=torch.float64)
    gain = torch.kron(torch.stack([k, 0 * k], dim=1), torch.eye(40, dtype=torch.float64))
    tiny = dense_covariance(1e-12 * torch.eye(80, dtype=torch.float64))
    prior = DiffusionPrior(
        GaussianDenoiser(EDMSchedule(), torch.zeros(2, 1, 5, 8), tiny, gain=gain),
        Compose((DropHistory(1), FramesToChannels(2))),
        spec,
        sampler=Heun(),
        cond_transform=ConditionTransform(1, history=1, mean=0 * one, std=one),
        cond_spec=condition_spec(spec),
    )
    fc = rollout(prior, ds, lead=3, members=2, rng=Rng(0))
    assert fc["c"].dims == ("sample", "init_time", "member", "lead_time", "y", "x")
    assert fc["lead_time"].values.tolist() == [0.25, 0.5, 0.75] and fc["sample"].values.tolist() == [10, 11, 12]
    # without noise the forecast is phi^k times the last known frame of the same sample, float32
    expected = ds["c"].transpose("sample", "time", "y", "x").values[:, :, None, None] * PHI ** np.arange(1, 4)[:, None, None]
    np.testing.assert_allclose(fc["c"].values, np.broadcast_to(expected, fc["c"].shape), atol=2e-5)


def test_hours_and_static_fields_reach_the_network():
    ds = data().assign(height=(("y", "x"), np.arange(6.0).reshape(2, 3)))
    spec = plane().with_frames(5)
    cond_spec = condition_spec(spec, ("hour_sin", "hour_cos"), ("height",))
    seen = []

    class Listening(DiffusionPrior):
        def sample(self, n, *, cond=None, rng, max_batch=64, numbers=None):
            seen.append(cond)
            return torch.zeros(n, *self.spec.shape)

        def complete(self, cond, guess=None):
            return None

    plain = ar1_prior()
    prior = Listening(plain.denoiser, plain.transform, spec, sampler=Heun(), cond_transform=plain.cond_transform, cond_spec=cond_spec)
    prior.denoiser.gain = None
    fc = rollout(prior, ds, every=4, lead=6, members=2, rng=Rng(0))
    assert len(seen) == 2 and seen[0].shape == (4, 5, 5, 2, 3)
    for block in range(2):
        for row, start in enumerate(np.repeat(fc["init_time"].values, 2)):
            times = start + (np.arange(-1, 4) + 3 * block) * HOUR
            angle = 2 * np.pi * ((times - times.astype("datetime64[D]")) / HOUR) / 24
            np.testing.assert_allclose(seen[block][row, 2, :, 0, 0], np.sin(angle), atol=1e-6)
            np.testing.assert_allclose(seen[block][row, 3, :, 1, 2], np.cos(angle), atol=1e-6)
            assert np.array_equal(seen[block][row, 4, 0].numpy(), ds["height"].values)
    assert torch.equal(seen[0][0, 1, :, 0, 0], torch.tensor([1.0, 1, 0, 0, 0]))
    assert np.array_equal(seen[0][2, 0, :2].numpy(), ds["c"].values[4:6].astype(np.float32))
    assert not seen[1][:, 0].any()


def test_the_cost_is_logged_first(caplog):
    with caplog.at_level(logging.INFO, logger="physdiff.forecast.rollout"):
        rollout(ar1_prior(), data(), lead=7, members=2, rng=Rng(0))
    assert "7 starts x 2 members x 7 steps in 3 blocks of 12 sampler steps" in caplog.records[0].message


def test_a_number_is_no_source_of_randomness():
    with pytest.raises(InputError, match="rollout rng: expected a source of randomness"):
        rollout(ar1_prior(), data(), lead=1, members=1, rng=0)


def test_the_prior_keeps_its_mode():
    prior = ar1_prior().train()
    rollout(prior, data(), lead=1, members=1, rng=Rng(0))
    assert prior.training


def test_a_forecast_that_is_not_finite_is_named(monkeypatch):
    prior = ar1_prior()
    sample = prior.sample

    def broken(n, **kwargs):
        x = sample(n, **kwargs)
        x[1, 0, 3] = torch.inf
        return x

    monkeypatch.setattr(prior, "sample", broken)
    with pytest.raises(Diverged, match="field `c` is not finite at time 7200: member 1 of start 2020-01-01T01:00"):
        rollout(prior, data(), lead=3, members=2, rng=Rng(0))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"lead": 0}, InputError, "lead"),
        ({"members": 0}, InputError, "members"),
        ({"every": 0}, InputError, "every >= 1"),
        ({"starts": ["2020-01-01T00:00"]}, DataError, "2 known frames"),
        ({"starts": ["2020-01-01T03:00"], "every": 2}, InputError, "either starts or every"),
        ({"ds": data(frames=8, shape=(2, 4))}, GridMismatch, "regrid"),
        ({"ds": data().isel(time=slice(0, 1))}, DataError, "known frames"),
        ({"ds": data().rename(c="d")}, DataError, "'c'"),
        ({"ds": data().isel(time=slice(None, None, 2))}, DataError, "time step"),
    ],
)
def test_errors(wrong, error, message):
    arguments = {"ds": data(), "lead": 2, "members": 2, "rng": Rng(0)} | wrong
    with pytest.raises(error, match=message):
        rollout(ar1_prior(), arguments.pop("ds"), **arguments)


@pytest.mark.parametrize("anomaly", ["hour", "none"])
def test_a_forecast_is_told_what_training_was_told_where_values_are_missing(anomaly):
    ds = calendar(80)
    values = ds["t2m"].values.copy()
    values[:, 0, 0], values[20:40, 2, 3], values[31, :, 1] = np.nan, np.nan, np.nan  # land, a station that is out, a lost column
    ds["t2m"] = ds["t2m"].copy(data=values)
    prior, windows = prepare(ds, Recipe(history=2, horizon=2, anomaly=anomaly), network=tiny)
    run, known = Rollout(prior, 2, 1, rng=Rng(0)), KnownFrames(ds, history=2, spec=prior.spec)
    for k in (0, 25, 30):
        cond = run._condition(known, [(0, k)], range(1), known_frames=run._start(known, [(0, k)], range(1)), block=0)
        assert torch.equal(cond[0], windows.train_windows[k]["cond"])
        if anomaly == "hour" and k == 25:  # no far field stands for a value that is not known
            mean = prior.cond_transform.anomaly.climatology[:, 0].mean(0)
            assert torch.equal(cond[0, 0, :, 2, 3], mean[2, 3].expand(4)) and torch.equal(cond[0, 0, :, 0, 0], mean[0, 0].expand(4))
    later = run._forecast(known, [(0, 25)], range(1), tqdm(disable=True))
    assert np.isnan(later[..., 0, 0]).all() and np.isnan(later).sum() == later[..., 0, 0].size


def test_a_prior_without_known_frames_is_refused():
    prior = ar1_prior()
    assert history_of(prior) == HISTORY
    free = DiffusionPrior(prior.denoiser, FramesToChannels(5), prior.spec, sampler=Heun())
    with pytest.raises(InputError, match="known frames, got one without"):
        rollout(free, data(), lead=2, members=2, rng=Rng(0))


def test_known_frames_come_from_the_condition_where_the_chain_keeps_them():
    prior = ar1_prior()
    whole = replace(prior.cond_spec, history=2)
    chain = Compose(tuple(p for p in prior.transform if not isinstance(p, DropHistory)))
    kept = DiffusionPrior(prior.denoiser, chain, prior.spec, sampler=Heun(), cond_transform=prior.cond_transform, cond_spec=whole)
    assert known_frames(kept) == 2
    assert known_frames(DiffusionPrior(prior.denoiser, chain, prior.spec, sampler=Heun())) == 0


def test_means_that_the_law_keeps_are_kept_through_all_blocks(tmp_path) -> None:
    ds, prior = data(), ar1_prior()
    free = Rollout(prior, 7, 2, rng=Rng(0)).run(ds)
    kept = Rollout(prior, 7, 2, rng=Rng(0), keep=("c",)).run(ds, out=tmp_path / "a.nc")
    start = ds["c"].sel(time=kept["init_time"].values).mean(["y", "x"]).values[:, None, None]
    means = kept["c"].mean(["y", "x"]).values
    np.testing.assert_allclose(means, np.broadcast_to(start, means.shape), rtol=0, atol=1e-5)
    assert float(abs(free["c"].mean(["y", "x"]).values - start).max()) > 0.3
    # in the first block it is the nearest field with that mean: a shift of each frame
    off = (kept["c"] - free["c"]).isel(lead_time=slice(0, HORIZON))
    np.testing.assert_allclose(off.std(["y", "x"]).values, 0, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="expected one of the fields c"):
        Rollout(prior, 2, 2, rng=Rng(0), keep=("rain",))
