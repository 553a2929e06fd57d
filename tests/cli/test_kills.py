"""SIGKILL at random moments of `physdiff fit`, `generate` and `forecast --known`: each run goes on, and the end is that of one left alone.

Moments are drawn over the whole run: reading, preparing, training, checkpoints, the last write. Every third kill waits for a file that is being
written. After each kill every file under its final name is read whole.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from tests.cli.command import works
from tests.cli.zygote import Zygote, gone
from tests.data.files import earth, save

KILLS = 20


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


def killed(zygote: Zygote, words: list[object], *, folder: Path, moment: float | None) -> tuple[int, bool, int]:
    """Kill a run after so many seconds, or while it writes a file: its exit code, whether a half file was left, and its process group."""
    process = zygote.start(*words)
    deadline = time.monotonic() + (60 if moment is None else moment)
    while time.monotonic() < deadline and (moment is not None or not list(folder.rglob(f".*.{process}.part"))):
        if not Path(f"/proc/{process}").exists():
            break
        time.sleep(0.0005)
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
    half = bool(list(folder.rglob(f".*.{process}.part")))
    code, said = zygote.end()
    assert code in (0, -signal.SIGKILL), said
    return code, half, process


def until_killed_often(
    zygote: Zygote, words: Callable[[Path], list[object]], *, root: Path, whole: Callable[[Path], None], same: Callable[[Path], None], seed: int
) -> dict[str, int]:
    """Kill runs until there were enough kills; a run that reaches its end is compared, and the next one begins in a new folder."""
    began = time.monotonic()
    (root / "left_alone").mkdir()
    code, said = zygote.run(*words(root / "left_alone"))
    seconds = time.monotonic() - began
    assert code == 0, said
    draw, counts, groups, k = random.Random(seed), {"kills": 0, "while writing": 0, "finished": 0}, [], 0
    folder = root / "0"
    folder.mkdir()
    while counts["kills"] < KILLS:
        k += 1
        code, half, group = killed(zygote, words(folder), folder=folder, moment=None if k % 3 == 0 else draw.uniform(0, 0.6 * seconds))
        counts["kills"] += code != 0
        counts["while writing"] += half
        groups.append(group)
        whole(folder)
        if code == 0:
            same(folder)
            counts["finished"] += 1
            folder = root / str(counts["finished"])
            folder.mkdir()
    code, said = zygote.run(*words(folder))
    assert code == 0, said
    same(folder)
    assert not list(folder.rglob(".*.part")), "nothing half-written is left"
    assert all(gone(group, 20) for group in groups), "no loader process outlives its parent"
    return counts


def read_prior(folder: Path) -> None:
    """Read all that a fit has under final names."""
    if (folder / "a.prior").is_file():
        load_file(folder / "a.prior")
    if (folder / "a.prior.fit" / "last.ckpt").is_file():
        torch.load(folder / "a.prior.fit" / "last.ckpt", weights_only=True)
    for name in ("settings.json", "plan.json"):
        if (folder / "a.prior.fit" / name).is_file():
            json.loads((folder / "a.prior.fit" / name).read_text())


def same_prior(left_alone: Path, folder: Path) -> None:
    for name in ("a.prior",):
        one, other = load_file(left_alone / name), load_file(folder / name)
        assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    one, other = (torch.load(f / "a.prior.fit" / "last.ckpt", weights_only=True) for f in (left_alone, folder))
    for part in ("state_dict", "current_model_state", "optimizer_states", "global_step", "lr_schedulers"):
        assert str(one[part]) == str(other[part]), part
    steps = [[int(line.split(",")[0]) for line in (f / "a.prior.fit/log/metrics.csv").read_text().splitlines()[1:]] for f in (left_alone, folder)]
    assert steps[1] == sorted(set(steps[1])) and steps[1][-1] == steps[0][-1]


# of windows with a first guess, which processes read and not threads
CROPS = "--training.crop [4,8] --training.coarser [1,2] --recipe.wavelet none --recipe.guess linear"


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "views"), [(0, ""), (2, ""), (2, CROPS)])
def test_fit(zygote, tmp_path, workers, views, capsys) -> None:
    data = tmp_path / "data.nc"
    if views:
        save(earth(60, ny=8, nx=16), data)
    else:
        works("generate --pde Burgers --pde.viscosity 0.02 --grid.shape 32 --samples 4 --frames.count 12 --out", data)

    def words(folder: Path) -> list[object]:
        tiny = "fit --network UNet --network.width 8 --training.max_steps 60 --training.save_every 4 --training.batch_size 8 --training.workers"
        return [tiny, workers, *views.split(), "--data", data, "--out", folder / "a.prior"]

    alone = tmp_path / "left_alone"
    counts = until_killed_often(
        zygote, words, root=tmp_path, whole=read_prior, same=lambda folder: same_prior(alone, folder), seed=workers
    )
    with capsys.disabled():
        print(f"fit with {workers} workers {views}: {counts}")
    assert counts["while writing"] >= 2


def read_data(folder: Path) -> None:
    """Read all that a generation has under final names."""
    for path in [p for p in folder.rglob("*.nc") if not p.name.startswith(".")]:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as ds:
            assert bool(np.isfinite(ds.load()["u"].values).all())
    if (folder / "a.nc.parts" / "run.json").is_file():
        json.loads((folder / "a.nc.parts" / "run.json").read_text())


@pytest.mark.slow
def test_generate(zygote, tmp_path, capsys) -> None:
    def words(folder: Path) -> list[object]:
        return ["generate --pde Burgers --pde.viscosity 0.02 --grid.shape 64 --frames.count 30 --samples 96 --out", folder / "a.nc"]

    def same(folder: Path) -> None:
        one, other = (netCDF4.Dataset(f / "a.nc") for f in (tmp_path / "left_alone", folder))
        with one, other:
            assert one.variables.keys() == other.variables.keys()
            for name, variable in one.variables.items():
                np.testing.assert_array_equal(variable[...], other[name][...])
            dated = {"history"}  # tells when and by which process it was made
            assert {k: v for k, v in one.__dict__.items() if k not in dated} == {k: v for k, v in other.__dict__.items() if k not in dated}
        assert [p.name for p in folder.iterdir()] == ["a.nc"]

    counts = until_killed_often(zygote, words, root=tmp_path, whole=read_data, same=same, seed=5)
    with capsys.disabled():
        print(f"generate: {counts}")
    assert counts["while writing"] >= 2


@pytest.mark.slow
def test_whole_trajectories(zygote, tmp_path, capsys) -> None:
    data, prior, root = tmp_path / "data.nc", tmp_path / "a.prior", tmp_path / "runs"
    root.mkdir()
    works("generate --pde Burgers --pde.viscosity 0.02 --grid.shape 32 --samples 32 --frames.count 12 --out", data)
    works("fit --network UNet --network.width 8 --training.max_steps 2 --tasks", '[{"u":[0]}]', "--data", data, "--out", prior)

    def words(folder: Path) -> list[object]:
        return ["forecast --known", '{"u":[0]}', "--members 20 --prior", prior, "--initial", data, "--out", folder / "a.nc"]

    def whole(folder: Path) -> None:
        for path in [p for p in folder.rglob("*.nc") if not p.name.startswith(".")]:
            with xr.open_dataset(path, engine="netcdf4", decode_times=False) as ds:
                assert all(bool(np.isfinite(v.values).all()) for v in ds.data_vars.values())

    def same(folder: Path) -> None:
        with xr.open_dataset(root / "left_alone" / "a.nc") as one, xr.open_dataset(folder / "a.nc") as other:
            xr.testing.assert_equal(one, other)
        assert [p.name for p in folder.iterdir()] == ["a.nc"]

    counts = until_killed_often(zygote, words, root=root, whole=whole, same=same, seed=6)
    with capsys.disabled():
        print(f"forecast --known: {counts}")
    assert counts["while writing"] >= 2
