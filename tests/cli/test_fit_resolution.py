"""``physdiff fit --coarse``: a prior that adds resolution, on its own grid and on the next finer one."""

from __future__ import annotations

from functools import partial

import xarray as xr

from physdiff.cli.fit import module_of
from physdiff.cli.options import Training
from physdiff.data.open import open_dataset
from physdiff.diffusion.centred import residual_noise
from physdiff.networks.unet import UNet
from physdiff.training.trajectories import prepare_trajectories
from tests.cli.command import refuses, untouched, works

SMALL = "--network UNet --network.width 8 --network.attention false --network.multipliers [1,1] --training.max_steps 2"


def test_it_trains_and_adds_resolution_to_its_own_and_to_finer_grids(tmp_path, burgers):
    path = tmp_path / "a.prior"
    assert "wrote the prior" in works("fit --coarse 2", SMALL, "--data", burgers, "--out", path)
    fine = open_dataset(burgers).load()
    for points in (32, 64):  # trained 16 -> 32
        coarse = fine if points == 64 else fine.coarsen(x=2).mean()
        coarse["u"].attrs = fine["u"].attrs
        coarse["x"].attrs = fine["x"].attrs
        coarse.to_netcdf(tmp_path / "coarse.nc")
        out = tmp_path / f"{points}.nc"
        works("forecast", "--known {} --members 2 --prior", path, "--coarse", tmp_path / "coarse.nc", "--out", out)
        with xr.open_dataset(out, decode_timedelta=False) as drawn:
            assert drawn.sizes["x"] == points
            mean = drawn["u"].mean("member").isel(init_time=0).coarsen(x=2).mean()
            assert abs(float(mean.mean()) - float(coarse["u"].mean())) < 0.02


def test_what_cannot_be_trained_is_refused(tmp_path, era):
    with untouched(tmp_path):
        assert "expected a uniform box" in refuses("fit", "--coarse 2", SMALL, "--data", era, "--out", tmp_path / "a.prior")
        assert "coarse: expected a whole number, at least 2" in refuses("fit", "--coarse 1", SMALL, "--data", era, "--out", tmp_path / "a.prior")


def test_training_options_hold_for_what_adds_resolution(burgers):
    ds = open_dataset(burgers)
    prior, _ = prepare_trajectories(ds, [{}], coarse=2, network=partial(UNet, width=8, attention=False))
    module = module_of(prior, Training(roll="x", input_noise=0.1))
    assert module.roll == ("x",) and module.input_noise == 0.1
    assert (module.noise.mean, module.noise.std) == (residual_noise(prior).mean, residual_noise(prior).std) == (0.7, 1.4)
