"""The picture of the README, from the files that `physdiff demo` writes: forecast.nc, posterior.nc, turbulence.nc, sensors.csv.

    python docs/images/make_demo_picture.py --demo demo --out docs/images/demo.png

Upper row: a forecast, some frames after the last known one. Lower row: the last frame that the demo reconstructs from two known frames and noisy
readings at the dots. Both show the truth, the mean of the members, one member, and their standard deviation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from physdiff.data.open import open_dataset, open_forecast
from physdiff.inference.sensors import read_stations
from physdiff.plots.maps import ensemble_maps

__all__ = ["demo_picture", "main"]

FIELD = "vorticity"


def demo_picture(folder: Path, lead: int = 8) -> Figure:
    """Draw the picture from the files in the folder of a demo; `lead` is the frame of the forecast that is shown."""
    flow = open_dataset(folder / "turbulence.nc")[FIELD]
    forecast = open_forecast(folder / "forecast.nc")[FIELD].isel(init_time=0)
    drawn = open_dataset(folder / "posterior.nc")[FIELD].isel(time=[-1])
    # the demo forecasts its test trajectories, and reconstructs the first of them
    sample = forecast["sample"].values[0]
    one = forecast.sel(sample=sample, drop=True).isel(lead_time=[min(lead, forecast.sizes["lead_time"]) - 1])
    when = float(forecast["init_time"]) + one["lead_time"].values
    truth = flow.sel(sample=sample, drop=True)
    then = truth.sel(time=when, method="nearest").rename(time="lead_time").assign_coords(lead_time=one["lead_time"])
    places = read_stations(folder / "sensors.csv").points.numpy()
    figure = Figure(figsize=(10.0, 6.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    above = ensemble_maps(one, then, upper.subplots(1, 4, squeeze=False), shown=1)
    below = ensemble_maps(drawn, truth.sel(time=drawn["time"], method="nearest"), lower.subplots(1, 4, squeeze=False), shown=1, sensors=places)
    for panel in below.flat:
        # dots beyond the centre of the last cell of a periodic axis would widen the map
        panel.set(xlim=above[0, 0].get_xlim(), ylim=above[0, 0].get_ylim())
    frames, points = min(lead, forecast.sizes["lead_time"]), f"{truth.sizes['y']} x {truth.sizes['x']} points"
    upper.suptitle(f"forecast, {frames} frames after the last known one, {forecast.sizes['member']} members, {points}", fontsize=10)
    lower.suptitle(f"reconstruction from {len(places)} noisy point readings (dots)", fontsize=10)
    return figure


def main(argv: list[str] | None = None) -> None:
    """Read the arguments, draw, write the picture."""
    parser = argparse.ArgumentParser(description="The picture of the README from a finished demo.")
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder that `physdiff demo` wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/images/demo.png"), help="PNG file to write")
    parser.add_argument("--lead", type=int, default=8, help="frame of the forecast that is shown")
    options = parser.parse_args(argv)
    mpl.use("Agg")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    demo_picture(options.demo, options.lead).savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
