"""``physdiff fit --tasks --transform``: whole trajectories in latents, on grids and at points."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from physdiff.diffusion.window_prior import WindowPrior
from physdiff.networks.transformer import DiT
from physdiff.transforms.autoencoder import Autoencoder
from tests.cli.command import refuses, untouched, works
from tests.data.files import save

SMALL = "--network UNet --network.width 8 --network.multipliers [1,1] --training.max_steps 2"
CODER = "--transform Autoencoder --transform.compression 4 --transform.width 8"
TASKS = ("--tasks", '[{"u":[0]}]')


def test_whole_trajectories_in_latents_by_name(tmp_path, burgers):
    words = (*TASKS, CODER, "--network DiT --network.width 16 --network.depth 1 --training.max_steps 2 --data", burgers)
    said = works("fit", *words, "--out", tmp_path / "a.prior")
    assert "latents  2 channels on (4,)" in said and "coefficients (2, 12, 4)" in said
    prior = WindowPrior.load(tmp_path / "a.prior")
    assert isinstance(prior.denoiser.network, DiT) and any(isinstance(p, Autoencoder) for p in prior.transform.modules())
    kept = tmp_path / "a.prior.fit" / "autoencoder" / "autoencoder.safetensors"
    before = kept.stat().st_mtime_ns
    works("fit", *words, "--out", tmp_path / "a.prior")
    assert kept.stat().st_mtime_ns == before  # taken up again, not trained anew
    again = WindowPrior.load(tmp_path / "a.prior")
    assert all(torch.equal(a, b) for a, b in zip(prior.state_dict().values(), again.state_dict().values(), strict=True))
    works("forecast", "--known", '{"u":[0]}', "--members 2 --prior", tmp_path / "a.prior", "--initial", burgers, "--out", tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc", decode_timedelta=False) as drawn, xr.open_dataset(burgers) as data:
        first = drawn["u"].isel(lead_time=0, member=1).squeeze("init_time").values
        np.testing.assert_array_equal(first, data["u"].isel(time=0).values.astype(np.float32))


def test_trajectories_at_points(tmp_path):
    g, t = np.random.default_rng(0), np.arange(6.0)
    x, y = g.uniform(0, 2, 40), g.uniform(-1, 1, 40)
    u = np.sin(3 * x + y - 0.5 * t[:, None] + np.arange(5.0)[:, None, None])
    places = {"x": ("point", x, {"units": "m"}), "y": ("point", y, {"units": "m"})}
    field = (("sample", "time", "point"), u.astype(np.float32), {"units": "m s-1"})
    cloud = save(xr.Dataset({"u": field}, coords={"time": t, **places}), tmp_path / "cloud.nc")
    words = "--transform MeshAutoencoder --transform.grid 8 --transform.width 4 --transform.compression 4"
    assert "latents  1 channels on (4, 4)" in works("fit", *TASKS, words, SMALL, "--data", cloud, "--out", tmp_path / "a.prior")
    works("forecast", "--known", '{"u":[0]}', "--members 2 --prior", tmp_path / "a.prior", "--initial", cloud, "--out", tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc", decode_timedelta=False) as drawn:
        assert drawn["u"].shape == (5, 1, 2, 6, 40) and bool(np.isfinite(drawn["u"]).all())


def test_what_does_not_fit_is_refused_before_anything_is_trained(tmp_path, burgers):
    with untouched(tmp_path):
        rest = (SMALL, "--data", burgers, "--out", tmp_path / "a.prior")
        assert "expected one of the fields u" in refuses("fit", "--tasks", '[{"rain":[0]}]', CODER, *rest)
        assert "expected Autoencoder for CartesianGrid" in refuses("fit", *TASKS, "--transform MeshAutoencoder", *rest)
