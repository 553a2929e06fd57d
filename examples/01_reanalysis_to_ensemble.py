# %% [markdown]
# # 01 Reanalysis to a calibrated ensemble forecast
#
# At the end you have an ensemble forecast of 2 m temperature with its CRPS beside persistence, and bands of which you know how often they
# hold. The data are hourly ERA5 temperatures over the United Kingdom if they are there (`PHYSDIFF_DATA`), else a generated stand-in with a
# daily cycle.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import physdiff

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
path = Path(os.environ.get("PHYSDIFF_DATA", "../shared/data")) / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc"


def stand_in() -> xr.Dataset:
    """Twenty days of hourly temperature: a daily cycle and weather of a day's memory."""
    times = np.arange("2019-03-01", "2019-03-21", dtype="datetime64[h]").astype("datetime64[ns]")
    noise = np.random.default_rng(0).standard_normal((times.size, 16, 24)).cumsum(2) / 4
    weather = np.zeros_like(noise)
    for i in range(1, times.size):
        weather[i] = 0.95 * weather[i - 1] + 0.3 * noise[i]
    hour = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "h")
    t2m = 280 + 3 * np.sin(2 * np.pi * (hour - 9) / 24)[:, None, None] + weather
    coords = {"time": times, "latitude": np.linspace(58, 50, 16), "longitude": np.linspace(-10, 2, 24)}
    ds = xr.Dataset({"t2m": (("time", "latitude", "longitude"), t2m.astype("float32"), {"units": "K"})}, coords=coords)
    ds.latitude.attrs["units"], ds.longitude.attrs["units"] = "degrees_north", "degrees_east"
    return ds


made = Path("t2m_generated.nc")
if not path.exists():
    physdiff.write_dataset(stand_in(), made)
print("data:", "ERA5, United Kingdom" if path.exists() else "generated")
ds = physdiff.open_dataset(path if path.exists() else made, variables=["t2m"]).load()
if SMALL:
    ds = ds.isel(latitude=slice(0, 12), longitude=slice(0, 16))

# %% [markdown]
# Training ends where calibration begins, calibration where testing begins, each with a gap of half a day. `prepare` removes the mean of the
# hour of the day, fits a linear first guess and the wavelets' statistics, and sizes the network, which learns what the guess leaves.

# %%
train, rest = physdiff.split_time(ds, at="2019-03-11", gap="12h")
middle, test = physdiff.split_time(rest, at="2019-03-16", gap="12h")
prior, data = physdiff.prepare(train, physdiff.Recipe(history=2, horizon=6, wavelet="haar", levels=1, steps=8 if SMALL else 24))
physdiff.fit(physdiff.DiffusionModule(prior, lr=1e-3, ema=0.99, input_noise=0.05), data, max_steps=4 if SMALL else 400, progress=False)
prior.save("t2m.prior")

# %% [markdown]
# The forecast, and what one would say without a model. Members times starts are drawn together.

# %%
lead, members = 6, 6 if SMALL else 20
fc = physdiff.rollout(prior, test, every=24 if SMALL else 6, lead=lead, members=members, rng=physdiff.Rng(0))
starts = fc.init_time.values
scores = physdiff.evaluate(fc, test, {"crps": physdiff.crps, "spread": physdiff.spread, "rmse": physdiff.ensemble_rmse})
usual = physdiff.evaluate(physdiff.persistence(test, starts, lead=lead), test, {"mae": physdiff.mae})  # of one member: its CRPS
skill = 1 - scores.crps.sel(variable="t2m") / usual.mae.sel(variable="t2m")
print(scores.crps.sel(variable="t2m").to_series())
print(skill.to_series())

# %% [markdown]
# Past forecasts with their truths make bands for new ones. The guarantee is for exchangeable cases; starts of one record are not quite
# that, which the attribute says.

# %%
past = physdiff.rollout(prior, middle, every=lead + 6 if SMALL else lead + 2, lead=lead, members=members, rng=physdiff.Rng(1))
band = physdiff.calibrate(fc, with_pairs=(past, middle), level=0.9)
held = physdiff.evaluate(physdiff.band_members(band), test, {"coverage": physdiff.band_coverage, "width": physdiff.band_width})
print(band.attrs["guarantee"])
print(held.coverage.sel(variable="t2m").to_series())

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5))
place = {"latitude": ds.sizes["latitude"] // 2, "longitude": ds.sizes["longitude"] // 2}
one = fc.t2m.isel(init_time=0, **place)
truth = test.t2m.isel(place).sel(time=starts[0] + fc.lead_time.values)
truth = truth.rename(time="lead_time").assign_coords(lead_time=fc.lead_time.values)
physdiff.fan_plot(one, truth, axes[0])
physdiff.spread_skill_plot(scores.spread.sel(variable="t2m"), scores.rmse.sel(variable="t2m"), axes[1], members=members)
figure.tight_layout()

# %% [markdown]
# The number: skill over persistence at the last lead. Persistence misses the whole change of six hours, most of it the daily cycle; with
# the mean of the hour and a linear guess even an untrained network leaves two thirds of its error (0.67 with four steps of training). No
# skill at all would mean a broken chain, and 0.15 allows for the few starts of the small mode.

# %%
print(f"skill over persistence after {lead} h: {float(skill[-1]):.2f}")
assert float(skill[-1]) > 0.15
