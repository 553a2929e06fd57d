"""Real two-metre temperatures from 5 % of their points: a covariance of 360 training hours, localised and shrunk, as the prior.

The closed form (optimal interpolation with this covariance) is the best a Gaussian prior can do; a guided sampler has to reach it, up to the
finite number of its members and steps. Without localisation, and without spreading readings, both are worse by known amounts.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.sample_covariance import pairwise_distance, tapered_covariance
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.exact import plain_prior
from physdiff.inference.guided import Guided
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import crps

TRAINING, SENSORS, NOISE, MEMBERS = 360, 81, 0.3, 20


def anomalies(shared_data: Path) -> tuple[Tensor, LatLonGrid]:
    """Temperatures minus the training hours' mean at that time of day, (480, 33, 49) in kelvin."""
    path = shared_data / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc"
    if not path.exists():
        pytest.skip("no ERA5 temperatures among the shared data")
    with xr.open_dataset(path) as ds:
        t2m, grid = torch.tensor(ds.t2m.values), LatLonGrid(ds.latitude.values, ds.longitude.values)
    hour = torch.arange(len(t2m)) % 24
    climate = torch.stack([t2m[:TRAINING][hour[:TRAINING] == h].mean(0) for h in range(24)])
    return t2m - climate[hour], grid


@pytest.mark.slow
def test_guidance_reaches_the_closed_form_on_real_fields(shared_data) -> None:
    """Measured over 30 hours, 20 members, 24 steps: RMSE 0.426 K (closed form 0.414), CRPS 0.210 K, 90 % intervals cover 0.868."""
    fields, grid = anomalies(shared_data)
    spec = FieldSpec(("t2m",), ("K",), grid, 3600.0)
    covariance = tapered_covariance(fields[:TRAINING, None, None], pairwise_distance(grid), 0.1, length=4.0)
    dense = covariance(torch.eye(grid.shape[0] * grid.shape[1]).reshape(-1, *spec.shape)).flatten(1).double()
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape), covariance), spec)
    latitude, longitude = torch.meshgrid(*grid.axes(), indexing="ij")
    places = torch.stack([longitude.flatten(), latitude.flatten()], 1)
    even = torch.full(grid.shape, 1 / math.prod(grid.shape))
    found: dict[str, list[Tensor]] = {"exact": [], "mse": [], "crps": [], "inside": []}
    for frame in range(TRAINING, len(fields), 4):
        rng, truth = Rng(0).child(frame), fields[frame]
        chosen = rng.child("places").permutation(len(places))[:SENSORS]
        y = truth.flatten()[chosen] + NOISE * rng.child("noise").normal((SENSORS,))
        posterior = Posterior(prior, Observation(Sensors(spec, places[chosen]), y, std=NOISE))
        members = Guided(DDIM(), 24).sample(posterior, MEMBERS, rng=rng).members[:, 0, 0]
        system = dense[chosen][:, chosen] + NOISE**2 * torch.eye(SENSORS).double()
        mean = (torch.linalg.solve(system, y.double()) @ dense[chosen]).reshape(grid.shape)
        found["exact"].append((mean - truth).square().mean())
        found["mse"].append((members.mean(0) - truth).square().mean())
        found["crps"].append(crps(members, truth, even))
        found["inside"].append(coverage(members, truth, level=0.9).mean())
    score = {name: float(torch.stack([v.double() for v in values]).mean()) for name, values in found.items()}
    exact, rmse = math.sqrt(score["exact"]), math.sqrt(score["mse"])
    # practice.md E2 on other places: 0.409 in closed form, 0.428 and CRPS 0.215 by 24 Euler steps with 16 members
    assert exact < 0.43
    # the mean of 20 draws adds 1/20 of their variance, the steps less than that
    assert rmse < exact * math.sqrt(1 + 1.5 / MEMBERS)
    assert rmse < 0.44 and score["crps"] < 0.225
    assert 0.82 < score["inside"] < 0.96
