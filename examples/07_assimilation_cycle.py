# %% [markdown]
# # 07 A cycle of forecasts and analyses
#
# At the end you have assimilated readings over time twice: on Lorenz's ring, where the truth is known and the error can be compared with a
# published one, and with a prior trained on temperature. The data are generated for the first part; for the second they are hourly ERA5
# temperatures if they are there (`PHYSDIFF_DATA`), else the part is left out and says so.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import physdiff

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
path = Path(os.environ.get("PHYSDIFF_DATA", "../shared/data")) / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc"
like = torch.zeros((), dtype=torch.float64)

# %% [markdown]
# ## A twin
# The law makes a truth and readings of it with noise 1 at all forty places; 24 members follow it by an ensemble transform Kalman filter.

# %%
rng, cycles = physdiff.Rng(0), 80 if SMALL else 600
model = physdiff.SolverModel(physdiff.RungeKutta(physdiff.Lorenz96(8.0), physdiff.Lattice(physdiff.CartesianGrid(40, extent=40.0))), 0.05, substeps=1)
start = 8 + rng.child("start").normal((1, 1, 1, 40), like=like)
truth = model.forecast(start, 0.0, steps=100, rng=rng)[0, :, -1:]
members = truth + rng.child("first").normal((24, 1, 1, 40), like=like)
analysis = physdiff.KalmanAnalysis("etkf", inflation=1.013)
twin = physdiff.twin_experiment(model, truth, members, analysis=analysis, std=1.0, rng=rng, sensors=(None, 1, cycles))
late = twin.isel(time=slice(cycles // 2, None))
error, spread, before = (float(late[f"{n}_state{w}"].mean()) for n, w in (("rmse", ""), ("spread", ""), ("rmse", "_forecast")))
print(f"data: generated; error {error:.3f}, spread {spread:.3f}, before each analysis {before:.3f}")

# %% [markdown]
# ## A trained prior and stations
# The prior's roll-out is the model; readings of a twentieth of the points come every three hours.

# %%
if path.exists():
    ds = physdiff.open_dataset(path, variables=["t2m"]).load()
    ds = ds.isel(latitude=slice(0, 12), longitude=slice(0, 16)) if SMALL else ds
    train, test = physdiff.split_time(ds, at="2019-03-16", gap="12h")
    prior, data = physdiff.prepare(train, physdiff.Recipe(history=2, horizon=3))
    physdiff.fit(physdiff.DiffusionModule(prior, lr=1e-3, ema=0.99, input_noise=0.05), data, max_steps=3 if SMALL else 300, progress=False)
    read_at = np.arange(4, 10 if SMALL else 44, 3)
    cells = rng.permutation(ds.t2m[0].size)[: max(10, ds.t2m[0].size // 20)]
    lat, lon = np.meshgrid(ds.latitude, ds.longitude, indexing="ij")
    places = torch.stack([torch.from_numpy(a.flatten()).double()[cells] for a in (lon, lat)], 1)
    values = torch.from_numpy(test.t2m.values[read_at].reshape(len(read_at), -1)).double()[:, cells]
    values = values + 0.3 * rng.child("noise").normal(values.shape).double()
    readings = physdiff.Readings(places.repeat(len(read_at), 1), values.reshape(1, -1), np.repeat(test.time.values[read_at], len(cells)))
    known = physdiff.to_tensor(test.isel(time=slice(0, 2)), prior.spec.with_frames(2))
    first = known + 0.5 * rng.child("first").normal((8 if SMALL else 20, 1, 1, 1, 1))
    local = physdiff.KalmanAnalysis("letkf", radius=1.5, inflation="adaptive")
    cycle = physdiff.assimilate(physdiff.PriorModel(prior), (first, test.time.values[1]), readings, analysis=local, std=0.3, rng=rng.child("cycle"))
    target = test.t2m.sel(time=cycle.time)
    for name in ("t2m_forecast", "t2m"):
        off = float(np.sqrt(((cycle[name].mean("member") - target) ** 2).mean()))
        print(f"ERA5, {'before' if 'forecast' in name else 'after'} the analyses: {off:.3f} K")
else:
    print("no reanalysis here: the second part is left out")

# %%
figure, axes = plt.subplots(figsize=(8, 3))
axes.plot(twin.time, twin.rmse_state, label="error of the analysis")
axes.plot(twin.time, twin.spread_state, label="spread")
axes.axhline(1.0, color="0.7", label="noise of the readings")
axes.set(xlabel="time", ylim=(0, 1.2))
axes.legend()
figure.tight_layout()

# %% [markdown]
# The number: the analysis's error on the ring. Published for this set-up is 0.18 (24 members, inflation 1.013; DAPPER); a few hundred
# cycles from a random start scatter by a third about it, so 0.3 is the bound, less than a third of the readings' noise.

# %%
print(f"error of the analysis: {error:.3f}")
assert error < 0.3
