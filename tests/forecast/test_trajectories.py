"""Whole trajectories from what is known: what is told is kept, draws have streams of their own, grids and gaps are refused in words."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset, to_tensor
from physdiff.forecast.trajectories import draw_trajectories
from physdiff.grids.blocks import coarsened, reconstructed
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.training.trajectories import prepare_trajectories

KNOWN = {"u": (0, -1), "force": "all"}


def trajectories(points: int = 8, *, frames: int = 4, periodic: bool = False, origin: float = 0.0) -> xr.Dataset:
    spec = FieldSpec(("u", "force"), ("1", "1"), CartesianGrid(points, 1.0, origin, periodic=periodic), 0.5, frames=frames)
    x = torch.randn(3, 2, frames, points, generator=torch.Generator().manual_seed(0))
    return to_dataset(x, spec, 2 + 0.5 * np.arange(frames), batch="sample")


def made(coarse: int = 1, *, periodic: bool = False):  # noqa: ANN201
    net = partial(UNet, width=8, attention=False)
    return prepare_trajectories(trajectories(periodic=periodic), [KNOWN if coarse == 1 else {}], coarse=coarse, steps=2, network=net)[0]


def test_what_is_known_is_kept_and_every_draw_has_its_own_stream() -> None:
    prior, ds = made(), trajectories()
    found = draw_trajectories(prior, KNOWN, ds, members=3, rng=Rng(1))
    assert found["u"].dims == ("sample", "init_time", "member", "lead_time", "x")
    assert found["init_time"].values.tolist() == [2.0] and found["lead_time"].values.tolist() == [0.0, 0.5, 1.0, 1.5]
    for m in range(3):
        member = found.isel(init_time=0, member=m)
        np.testing.assert_array_equal(member["force"].values, ds["force"].values)
        np.testing.assert_array_equal(member["u"].values[:, [0, -1]], ds["u"].values[:, [0, -1]])
    assert float(found["u"].std("member").isel(lead_time=1).min()) > 0
    # batches change nothing, and neither do the other members and samples
    small = draw_trajectories(prior, KNOWN, ds.isel(sample=slice(0, 2)), members=2, rng=Rng(1), max_batch=3)
    xr.testing.assert_allclose(small, found.isel(sample=slice(0, 2), member=slice(0, 2)), rtol=0, atol=1e-5)


def test_only_what_is_named_has_to_be_there() -> None:
    ds = trajectories().isel(sample=0, drop=True)
    first = ds[["u"]].isel(time=slice(0, 1))
    found = draw_trajectories(made(), {"u": (0,)}, first, rng=Rng(0))
    assert found["force"].dims == ("init_time", "member", "lead_time", "x")
    np.testing.assert_array_equal(found["u"].values[0, 0, 0], first["u"].values[0])


def test_an_interrupted_run_goes_on_with_the_first_batch_that_is_missing(tmp_path, monkeypatch) -> None:
    prior, ds, calls = made(), trajectories(), []

    def run(out: str) -> xr.Dataset:
        return draw_trajectories(prior, KNOWN, ds, members=3, rng=Rng(1), max_batch=2, out=tmp_path / out)

    whole, sample = run("whole.nc"), prior.sample

    def stopping(*args, **kwargs):  # noqa: ANN002, ANN003, ANN202
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    monkeypatch.setattr(prior, "sample", stopping)
    with pytest.raises(KeyboardInterrupt):
        run("a.nc")
    assert len(list((tmp_path / "a.nc.parts").iterdir())) == 3 and not (tmp_path / "a.nc").exists()
    found = run("a.nc")
    assert len(calls) == 6  # five batches, one of them begun twice
    xr.testing.assert_equal(found, whole)
    with xr.open_dataset(tmp_path / "a.nc", decode_timedelta=False) as kept:
        np.testing.assert_array_equal(kept["u"].values, whole["u"].values)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nc", "whole.nc"]


@pytest.mark.parametrize("periodic", [False, True])
def test_an_untrained_prior_of_resolution_scatters_about_lines_in_the_coarse_cells(periodic: bool) -> None:
    prior = made(2, periodic=periodic)
    fine = trajectories(32, periodic=periodic)
    x = coarsened(to_tensor(fine, FieldSpec(("u", "force"), ("1", "1"), CartesianGrid(32, 1.0, periodic=periodic), 0.5)), 2)
    # of a circle the first coarse point is the middle of the two first fine ones
    first = 0.5 / 32 if periodic else 0.0
    spec = FieldSpec(("u", "force"), ("1", "1"), CartesianGrid(16, 1.0, first, periodic=periodic), 0.5)
    coarse = to_dataset(x, spec, fine["time"].values, batch="sample")
    found = draw_trajectories(prior, {}, coarse=coarse, members=40, rng=Rng(0)).isel(init_time=0)
    assert found.sizes["x"] == 32
    lines = reconstructed(x, 2, (periodic,))[:, 0].numpy()
    off = found["u"].mean("member").values - lines
    spread = found["u"].std("member").values
    assert float(np.abs(off).max()) < 5 * float(spread.max()) / 40**0.5  # 384 means of 40 draws
    np.testing.assert_allclose(found["x"].values, fine["x"].values, rtol=0, atol=1e-6)


def test_errors_say_what_to_do() -> None:
    prior, ds = made(), trajectories()
    draw = partial(draw_trajectories, rng=Rng(0))
    with pytest.raises(InputError, match="rain"):
        draw(prior, {"rain": (0,)}, ds)
    with pytest.raises(InputError, match="'all' or frames of 4 for u"):
        draw(prior, {"u": (7,)}, ds)
    with pytest.raises(InputError, match="expected data that hold u"):
        draw(prior, {"u": (0,)})
    with pytest.raises(DataError, match="expected frame 3 of each trajectory, got 2"):
        draw(prior, KNOWN, ds.isel(time=slice(0, 2)))
    with pytest.raises(DataError, match="got gaps"):
        draw(prior, KNOWN, ds.where(ds["x"] > 0.3))
    with pytest.raises(GridMismatch):
        draw(prior, KNOWN, trajectories(16))
    with pytest.raises(GridMismatch, match="take every n-th frame"):
        draw(prior, {"u": (0,)}, ds.assign_coords(time=2 * ds["time"]))
    with pytest.raises(InputError, match="trained with --coarse take one"):
        draw(prior, KNOWN, ds, coarse=ds)
    with pytest.raises(InputError, match="got none; priors trained"):
        draw(made(2), {})
    with pytest.raises(GridMismatch, match="multiple of"):
        draw(made(2), {}, coarse=trajectories(6))
    with pytest.raises(InputError, match="members and max_batch"):
        draw(prior, KNOWN, ds, members=0)
