# %% [markdown]
# # 10 Your own netCDF, from inspect to report
#
# At the end a file of your own has gone through the command line: inspected, trained on, forecast, scored beside baselines, and shown on a
# page. The file is written here with names of its own, from the wake of a cylinder if the data are there (`PHYSDIFF_DATA`), else from a
# generated wave; replace it with yours.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import physdiff
from physdiff.cli.main import main

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
path = Path(os.environ.get("PHYSDIFF_DATA", "../shared/data")) / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc"
if path.exists():
    wake = physdiff.open_dataset(path)
    name = "vorticity" if "vorticity" in wake else list(wake.data_vars)[-1]
    values = wake[name].transpose("time", "y", "x").isel(time=slice(60, None), y=slice(0, None, 4), x=slice(32, None, 4)).fillna(0).values
    print("data: wake of a cylinder at Reynolds number 100,", name)
else:
    t, y, x = np.meshgrid(np.arange(100) * 0.5, np.linspace(-2, 2, 16), np.linspace(0, 8, 24), indexing="ij")
    values = np.exp(-(y**2)) * np.sin(2 * np.pi * (x / 4 - 0.17 * t)) * (1 + 0.1 * np.sin(0.3 * t))
    print("data: a generated wave")
own = xr.Dataset(
    {"omega": (("time", "y", "x"), values.astype("float32"), {"units": "s-1", "long_name": "vorticity"})},
    coords={
        "time": ("time", 0.5 * np.arange(len(values)), {"units": "1"}),
        "y": ("y", 0.25 * np.arange(values.shape[1]), {"units": "m"}),
        "x": ("x", 0.25 * np.arange(values.shape[2]), {"units": "m"}),
    },
)
own.to_netcdf("own.nc")


def run(*words: str) -> None:
    """A verb of the command, as in a shell."""
    print("$ physdiff", *words)
    code = main([part for word in words for part in word.split()])
    assert code == 0


# %% [markdown]
# What is in the file, and what will be done with it. What does not fit is refused with a sentence that says what to change.

# %%
run("inspect own.nc")

# %% [markdown]
# The first two thirds train, the rest is for testing.

# %%
edge = float(own.time[2 * own.sizes["time"] // 3])
later = float(own.time[2 * own.sizes["time"] // 3 + 3])
steps = "3" if SMALL else "400"
run(f"fit --data own.nc --select.stop {edge} --recipe.history 2 --recipe.horizon 2 --recipe.anomaly all --training.max_steps {steps} --out own.prior")
starts, members = (8, 5) if SMALL else (2, 20)
run(f"forecast --prior own.prior --initial own.nc --select.start {later} --every {starts} --lead 4 --members {members} --out forecast.nc")
run(f"evaluate --forecast forecast.nc --truth own.nc --baselines.train own.nc --baselines.stop {edge} --out report")

# %%
fc, truth = physdiff.open_forecast("forecast.nc"), physdiff.open_dataset("own.nc")
figure, axes = plt.subplots(1, 4, figsize=(13, 2.6), layout="constrained", squeeze=False)
physdiff.ensemble_maps(
    fc.omega.isel(init_time=0, lead_time=[-1]).rename(lead_time="time"),
    truth.omega.sel(time=[float(fc.init_time[0]) + float(fc.lead_time[-1])]).assign_coords(time=fc.lead_time.values[-1:]),
    axes,
    shown=1,
)

# %% [markdown]
# The number: CRPS over persistence's error at the last lead. The page `report/index.html` has all of them. A wake repeats itself every
# dozen frames, and in four frames the field moves by a third of that: persistence is then wrong by about the field's own size, and a linear
# first guess from two frames follows the wave. Above 0.7 the chain would be broken.

# %%
scores = physdiff.evaluate(fc, truth, {"crps": physdiff.crps}).crps.squeeze()
usual = physdiff.evaluate(physdiff.persistence(truth, fc.init_time.values, lead=4), truth, {"mae": physdiff.mae}).mae.squeeze()
ratio = float(scores[-1] / usual[-1])
print(f"CRPS over persistence's error after 4 frames: {ratio:.2f}; page: {Path('report/index.html').exists()}")
assert ratio < 0.7
