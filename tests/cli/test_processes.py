"""`infer` under torchrun: two processes write what one does, and a method without particles is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.cli.infer import Against, Asked
from physdiff.cli.processes import joined_processes, processes
from physdiff.data.open import open_dataset
from tests.cli.command import works

SMOOTH = "--initial RandomField --initial.length 0.2"


def test_one_process_is_left_alone(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes() as first:
        assert first and processes() == 1


def test_methods_without_particles_are_refused(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="expected one of FKC, AFDPS, BootstrapSMC, TwistedSMC, TemperedSMC on 2 processes.*got Guided"):
        Asked(0.1, "Guided", 4, None, Against())


@pytest.mark.slow
def test_two_processes_write_what_one_does(tmp_path, monkeypatch) -> None:
    """The same ancestors, and draws to the rounding of float32 in batches of another size; said once."""
    data, prior = tmp_path / "train.nc", tmp_path / "a.prior"
    works("generate --pde Burgers --pde.viscosity 0.05 --grid.shape 16 --frames.count 2 --frames.dt 0.1 --samples 40", SMOOTH, "--out", data)
    works("fit --recipe.history 0 --recipe.horizon 1 --recipe.wavelet none --training.max_steps 3 --data", data, "--out", prior)
    (tmp_path / "sensors.csv").write_text("x,u\n0.1,0.5\n0.6,-0.3\n", encoding="utf-8")
    asked = f"infer --prior {prior} --sensors {tmp_path / 'sensors.csv'} --std 0.3 --method TwistedSMC --members 6 --against.steps 5".split()
    works(*asked, "--out", tmp_path / "one.nc")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "physdiff", *asked]
    more = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*run, "--out", str(tmp_path / "two.nc")], env={**os.environ, **more}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote 6 draws") == 1
    one, two = (xr.open_dataset(tmp_path / name).load() for name in ("one.nc", "two.nc"))
    np.testing.assert_allclose(one["u"].values, two["u"].values, rtol=0, atol=1e-4)
    assert one.attrs["mean_log_evidence"] == pytest.approx(two.attrs["mean_log_evidence"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_two_processes_generate_what_one_does(tmp_path, suffix) -> None:
    """Bit for bit, said once; a process that finds the file finished leaves it alone."""
    asked = "generate --pde Burgers --pde.viscosity 0.05 --grid.shape 32 --frames.count 3 --frames.dt 0.1 --samples 70 --out".split()
    works(*asked, tmp_path / f"one{suffix}")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "physdiff", *asked]
    more = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    for _ in range(2):
        shared = {"env": {**os.environ, **more}, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run([*run, str(tmp_path / f"two{suffix}")], **shared)
        assert done.returncode == 0 and done.stdout.count("wrote 70 trajectories") == 1, done.stderr[-3000:]
    one, two = (open_dataset(tmp_path / f"{name}{suffix}").load() for name in ("one", "two"))
    assert np.array_equal(one["u"].values, two["u"].values) and one["u"].shape == (70, 3, 32)
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_two_processes_draw_the_trajectories_that_one_does(tmp_path) -> None:
    data, prior = tmp_path / "train.nc", tmp_path / "a.prior"
    works("generate --pde Burgers --pde.viscosity 0.05 --grid.shape 16 --frames.count 4 --frames.dt 0.1 --samples 12 --out", data)
    works("fit --network UNet --network.width 8 --training.max_steps 2 --tasks", '[{"u":[0]}]', "--data", data, "--out", prior)
    asked = ["forecast", "--known", '{"u":[0]}', *f"--members 16 --prior {prior} --initial {data} --out".split()]
    works(*asked, tmp_path / "one.nc")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "physdiff", *asked]
    more = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*run, str(tmp_path / "two.nc")], env={**os.environ, **more}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.count("wrote 12 trajectories") == 1, done.stderr[-3000:]
    with xr.open_dataset(tmp_path / "one.nc") as one, xr.open_dataset(tmp_path / "two.nc") as two:
        xr.testing.assert_equal(one, two)
    assert not list(tmp_path.glob("*.parts"))
