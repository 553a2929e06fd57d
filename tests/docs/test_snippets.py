"""The code printed in the documentation runs: every block of a page is run in a folder with small data.

A block follows a comment that is invisible on the page, `<!-- test: old => new; old => new -->`: the replacements make it small.
`<!-- not run: reason -->` exempts a block; one without either fails here. Of shell blocks the `physdiff` lines run, by the command's main function.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from physdiff.cli.demo import Size, demo
from physdiff.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/start.md",
    "docs/how_to_add.md",
    "docs/choose_a_solver.md",
    "docs/choose_a_network.md",
    "docs/choose_a_sampler.md",
    "docs/concepts.md",
    "docs/data_formats.md",
    "docs/observations.md",
    "docs/trust_a_prior.md",
    "docs/paired_states.md",
    "docs/pinns.md",
    "docs/uncertainty.md",
    "docs/scaling.md",
    "docs/whole_trajectories.md",
)
FENCE = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (test|not run)(?:: (.*?))? -->\s*\Z")


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Language, mark and code of every block, with the replacements made."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        language, code = found.groups()
        mark = MARK.search(text[: found.start()])
        if language == "sh" and "physdiff " not in code:
            continue
        line = text.count("\n", 0, found.start()) + 1
        assert mark is not None, f"{page}, line {line}: expected <!-- test --> or <!-- not run: reason --> before the block"
        if mark[1] == "not run":
            assert mark[2], f"{page}, line {line}: say why the block is not run"
            continue
        for change in filter(None, (mark[2] or "").split("; ")):
            old, new = change.split(" => ")
            assert old in code, f"{page}, line {line}: {old!r} is no longer in the block"
            code = code.replace(old, new)
        yield language, f"{page}, line {line}", code


SNIPPETS = [block for page in PAGES for block in blocks(page)]


def hourly(path: Path) -> None:
    """Ten days of hourly temperature with a daily cycle and weather of a day's memory, on 8 x 12 points."""
    times = np.arange("2019-03-10", "2019-03-20", dtype="datetime64[h]").astype("datetime64[ns]")
    noise = np.random.default_rng(0).standard_normal((times.size, 8, 12)).cumsum(2) / 3
    weather = np.zeros_like(noise)
    for i in range(1, times.size):
        weather[i] = 0.95 * weather[i - 1] + 0.3 * noise[i]
    hour = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "h")
    t2m = 280 + 3 * np.sin(2 * np.pi * (hour - 9) / 24)[:, None, None] + weather
    coords = {
        "time": times,
        "latitude": ("latitude", np.linspace(54, 50, 8), {"units": "degrees_north"}),
        "longitude": ("longitude", np.linspace(-6, 0, 12), {"units": "degrees_east"}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    xr.Dataset({"t2m": (("time", "latitude", "longitude"), t2m.astype(np.float32), {"units": "K"})}, coords=coords).to_netcdf(path)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the snippets read: reanalysis-like files, a table of stations, a finished demo."""
    folder = tmp_path_factory.mktemp("snippets")
    for name in ("era5.nc", "era5/t2m_2019-03.nc"):
        hourly(folder / name)
    table = "longitude,latitude,time,t2m [K]\n-3.1,52.2,2019-03-17T05:00,281.2\n-1.5,51.1,2019-03-17T05:00,280.4\n"
    (folder / "stations.csv").write_text(table, encoding="utf-8")
    demo(str(folder / "demo"), members=3, size=Size(points=16, samples=8, frames=14, cases=2, lead=4, seconds=0.01, floor=2))
    return folder


@pytest.mark.parametrize(("language", "where", "code"), SNIPPETS, ids=[where for _, where, _ in SNIPPETS])
def test_what_is_printed_runs(language: str, where: str, code: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    if language == "python":
        exec(compile(code, where, "exec", dont_inherit=True), {"__name__": "snippet"})
        return
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "physdiff":
            try:
                assert main(words[1:]) == 0, line
            except SystemExit as done:  # --print_config and --help end the program
                assert done.code in (0, None), line


def test_the_picture_of_the_readme_can_be_drawn_again(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "docs" / "images" / "make_demo_picture.py"
    names: dict[str, object] = {"__name__": "picture"}
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec", dont_inherit=True), names)
    figure = names["demo_picture"](workplace / "demo", lead=8)  # type: ignore[operator]
    panels = [a for a in figure.axes if a.get_title()]
    assert [a.get_title() for a in panels] == ["truth", "ensemble mean", "member 1", "standard deviation"] * 2
    # each truth panel shows the trajectory itself: the frame forecast, and the frame read by the sensors
    with xr.open_dataset(workplace / "demo" / "turbulence.nc") as flow, xr.open_dataset(workplace / "demo" / "forecast.nc") as forecast:
        truth = flow.vorticity.sel(sample=forecast.sample.values[0])
        lead = float(forecast.init_time[0] + forecast.lead_time[-1])
        for panel, time in ((panels[0], lead), (panels[4], float(flow.time[5]))):
            drawn = np.asarray(panel.collections[0].get_array()).reshape(16, 16)
            np.testing.assert_allclose(drawn, truth.sel(time=time, method="nearest").values, rtol=1e-6)
