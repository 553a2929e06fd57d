"""Work in turns: every piece once, in order, the same results everywhere; a roll-out on two processes is that on one, to the last bit."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import xarray as xr

from physdiff.base.errors import Diverged, InputError, Stopped
from physdiff.base.rng import Rng
from physdiff.forecast.crew import Crew
from physdiff.forecast.rollout import Rollout
from physdiff.inference.sharding import Sharded
from tests.cli.command import TINY, works
from tests.forecast.test_rollout import ar1_prior, data

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = datetime.timedelta(seconds=300)


def test_one_process_does_all() -> None:
    crew = Crew(7)
    assert (crew.count, crew.processes, crew.rank, crew.told("x")) == (7, 1, 0, "x")
    assert list(crew.done([1, 2, 3], lambda k: 10 * k)) == [(1, 10), (2, 20), (3, 30)]

    def fails(k: int) -> int:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        list(crew.done([1], fails))


def rolled(members: int | Sharded, out: Path | None = None) -> xr.Dataset:
    """More batches than processes, one start larger than a batch, both precisions of what the prior computes."""
    return Rollout(ar1_prior().double(), 5, members, rng=Rng(2), max_batch=3).run(data(), every=3, out=out)


def other(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=PATIENCE)
    crew = Crew(Sharded(4))
    found = list(crew.done(range(5), lambda k: (k, rank)))
    assert found == [(k, (k, k % 2)) for k in range(5)] and crew.told(rank) == 0
    try:
        list(crew.done([0, 1], lambda k: 1 if k == 0 else (_ for _ in ()).throw(Diverged("u", 3.0, "try again"))))
    except (Stopped, Diverged) as error:
        Path(folder, f"said{rank}").write_text(f"{type(error).__name__}: {error}")
    rolled(Sharded(4)).to_netcdf(f"{folder}/{rank}.nc")
    rolled(Sharded(4), Path(folder, "out.nc"))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes(tmp_path) -> None:
    torch.multiprocessing.spawn(other, (str(tmp_path),), nprocs=2)
    assert (tmp_path / "said1").read_text().startswith("Diverged: field `u`")
    assert (tmp_path / "said0").read_text().startswith("Stopped: expected all processes to do their part, one of them could not: field `u`")
    alone = rolled(4)
    for name in ("0.nc", "1.nc", "out.nc"):
        with xr.open_dataset(tmp_path / name, decode_times=False) as found:
            for field in alone.data_vars:
                assert (found[field].values == alone[field].values).all(), "bit for bit: batches are the same"
    assert not (tmp_path / "out.nc.parts").exists()


@pytest.mark.slow
def test_under_torchrun(tmp_path) -> None:
    """The command writes the same file, once."""
    train, prior = tmp_path / "train.nc", tmp_path / "a.prior"
    works("generate --pde Burgers --pde.viscosity 0.05 --grid.shape 16 --frames.count 8 --frames.dt 0.1 --samples 4 --out", train)
    works("fit", *TINY, "--data", train, "--out", prior)
    asked = ["forecast", "--lead", "3", "--members", "30", "--prior", str(prior), "--initial", str(train), "--out"]
    works(*asked, tmp_path / "one.nc")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "physdiff", *asked, str(tmp_path / "two.nc")]
    more = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, env={**os.environ, **more}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    with xr.open_dataset(tmp_path / "one.nc") as one, xr.open_dataset(tmp_path / "two.nc") as two:
        xr.testing.assert_identical(one.drop_attrs(), two.drop_attrs())
