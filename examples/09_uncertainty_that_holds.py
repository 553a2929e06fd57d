# %% [markdown]
# # 09 Uncertainty that holds
#
# At the end you have bands for a forecast with a stated guarantee, and know from counting how often they hold. The data are hourly ERA5
# temperatures over the United Kingdom if they are there (`PHYSDIFF_DATA`); a generated law with separate trajectories shows the guarantee
# where it is exact.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import physdiff

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
path = Path(os.environ.get("PHYSDIFF_DATA", "../shared/data")) / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc"

# %% [markdown]
# ## Where the guarantee is exact
# Separate trajectories are exchangeable. The forecast is too sure of itself on purpose: members have half the spread that they should have.

# %%
level, cases, cells = 0.9, 99, 40
rng = np.random.default_rng(0)


def pairs(count: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Forecasts (sample, init_time, member, lead_time, x) with too little spread, and truths (sample, time, x)."""
    centre = rng.standard_normal((count, 1, 1, 1, cells)).cumsum(-1) / 4
    drawn = centre + 0.5 * rng.standard_normal((count, 1, 20, 1, cells))
    happened = np.stack([np.zeros((count, cells)), centre[:, 0, 0, 0] + rng.standard_normal((count, cells))], 1)
    x = ("x", np.arange(cells) / cells, {"units": "1", "axis": "X"})
    fc = xr.Dataset({"u": (("sample", "init_time", "member", "lead_time", "x"), drawn, {"units": "1"})})
    fc = fc.assign_coords(x=x, sample=np.arange(count), init_time=[0.0], lead_time=[1.0], member=np.arange(20))
    truth = xr.Dataset({"u": (("sample", "time", "x"), happened, {"units": "1"})})
    return fc, truth.assign_coords(x=x, sample=np.arange(count), time=[0.0, 1.0])


(past, past_truth), (new, new_truth) = pairs(cases), pairs(200 if SMALL else 1000)
band = physdiff.calibrate(new, with_pairs=(past, past_truth), level=level)
counted = physdiff.evaluate(physdiff.band_members(band), new_truth, {"coverage": physdiff.band_coverage}).coverage
raw = physdiff.evaluate(new, new_truth, {"coverage": physdiff.coverage}).coverage
held, before = float(counted.squeeze()), float(raw.squeeze())
print(f"generated: the members' own 90 % interval holds {before:.3f}, the band {held:.3f}")
print(band.attrs["guarantee"])

# %% [markdown]
# ## One record, starts one after another
# The first thirty starts are not counted, as no errors are known yet. Starts of one record are not exchangeable; bands that move with the
# errors seen so far keep their level in the long run.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.3))
axes[0].bar(["members", "calibrated"], [before, held])
axes[0].axhline(level, color="k", lw=0.8)
axes[0].set(title="separate trajectories: share inside", ylim=(0, 1))
if path.exists():
    ds = physdiff.open_dataset(path, variables=["t2m"]).load()
    ds = ds.isel(latitude=slice(0, 40, 8), longitude=slice(0, 40, 8)) if SMALL else ds.isel(latitude=slice(0, None, 2), longitude=slice(0, None, 2))
    train, test = physdiff.split_time(ds, at="2019-03-10", gap="12h")
    starts = test.time.values[2 : 50 if SMALL else -6]
    fc = physdiff.linear_inverse(train, test, starts, lead=3, members=20, rng=physdiff.Rng(0))
    moving = physdiff.sequential_bands(fc, test, level=level, method="quantiles", progress=False)
    shares = {
        "members": physdiff.evaluate(fc, test, {"c": physdiff.coverage}).c.squeeze(),
        "moving": physdiff.evaluate(physdiff.band_members(moving.isel(init_time=slice(30, None))), test, {"c": physdiff.band_coverage}).c.squeeze(),
    }
    for name, share in shares.items():
        print(f"ERA5, {name}: share inside by lead", share.values.round(3))
        axes[1].plot(share.lead_time / np.timedelta64(1, "h"), share, marker="o", label=name)
    axes[1].axhline(level, color="k", lw=0.8)
    axes[1].set(title="ERA5: share inside", xlabel="lead time, h")
    axes[1].legend()
else:
    print("no reanalysis here: the second part is left out")
figure.tight_layout()

# %% [markdown]
# The number: the share of new cases inside the calibrated band. Given the 99 calibration cases the coverage of a cell is random, Beta(90,
# 10), with mean 0.9 and standard deviation 0.03; the mean over forty cells, whose errors are independent here, has 0.005, and counting 200
# cases adds 0.004. So 0.02 is three standard deviations.

# %%
print(f"share inside: {held:.3f}, stated {level}")
assert abs(held - level) < 0.02
