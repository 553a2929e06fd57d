"""The whole chain, help, exit codes, and what the command says of itself."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import xarray as xr

import physdiff
from physdiff.cli.main import VERBS, main
from tests.architecture.sources import ROOT
from tests.cli.command import physdiff as command, refuses, works

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_the_chain_from_law_to_scores(made, burgers, burgers_prior, burgers_forecast):
    """generate -> inspect -> fit -> forecast -> evaluate: each verb reads what the one before has written, and says where its own output is."""
    assert "4 trajectories of 12 frames" in works("inspect", burgers)
    with xr.open_dataset(burgers_forecast) as fc:
        assert dict(fc["u"].sizes) == {"sample": 4, "init_time": 3, "member": 4, "lead_time": 3, "x": 32}
        assert bool(fc["u"].notnull().all()) and fc.attrs["Conventions"] == "CF-1.8"
    said = works("evaluate", "--forecast", burgers_forecast, "--truth", burgers, "--out", f"{made / 'report'}/")
    assert str(made / "report" / "scores.nc") in said and str(made / "report" / "index.html") in said
    assert (made / "report" / "index.html").read_text().startswith("<!DOCTYPE html>")
    with xr.open_dataset(made / "report" / "scores.nc") as scores:
        assert scores["forecast"].values.tolist() == ["forecast", "persistence"]
        # the rollout of an untrained prior is bad, but both are of the size of the field's changes
        assert bool((scores["crps"] > 0).all()) and bool((scores["crps"] < 1).all())


def test_the_chain_ends_with_a_field_from_sensors(tmp_path, burgers_prior):
    """generate -> infer: known frames of one new trajectory and two readings of the last frame to come."""
    works("generate --pde Burgers --pde.viscosity 0.02 --grid.shape 32 --samples 1 --seed 7 --frames.count 6 --out", tmp_path / "new.h5")
    (tmp_path / "sensors.csv").write_text("x,u [1]\n0.25,0.1\n0.6,-0.2\n")
    words = ("--prior", burgers_prior, "--sensors", tmp_path / "sensors.csv", "--initial", tmp_path / "new.h5", "--out", tmp_path / "posterior.nc")
    assert str(tmp_path / "posterior.nc") in works("infer --std 0.05 --members 3 --against.steps 4", *words)
    with xr.open_dataset(tmp_path / "posterior.nc") as drawn:
        assert dict(drawn["u"].sizes) == {"member": 3, "time": 4, "x": 32} and bool(drawn["u"].notnull().all())
        # the last known frame is at 0.125, frames are 0.025 apart
        assert drawn["time"].values == pytest.approx([0.15, 0.175, 0.2, 0.225])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb):
    text = works(verb, "--help")
    assert text.startswith(f"usage: physdiff {verb}") and "--config" in text and "\narguments:\n" in text
    # the list of known laws grows with every law a program (here: other tests of this process) has defined
    text = re.sub(r"known subclasses:[^)]*\)", "known subclasses)", text)
    # a verb that lists every torch class is not read by anyone
    assert len(text.splitlines()) < 160 and "torch." not in text and "``" not in text


def test_help_and_version():
    text = works("--help")
    assert all(f"  {verb} " in text for verb in VERBS)
    assert works("help") == works("-h") == text
    assert works("--version").strip() == f"physdiff {physdiff.__version__}"
    nothing = command()
    assert nothing.code == 2 and "usage: physdiff VERB" in nothing.err


def test_an_unknown_verb_is_answered_with_the_nearest():
    done = command("forcast")
    assert done.code == 2 and done.err.strip().endswith("got 'forcast'; did you mean forecast?") and len(done.err.splitlines()) == 1
    assert "did you mean" not in command("xyz").err


def test_python_dash_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "physdiff", "forcast"], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "did you mean forecast?" in done.stderr and not done.stdout


def test_a_bug_is_not_hidden(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise KeyError("a bug")

    monkeypatch.setattr("physdiff.cli.generate.generate_data", broken)
    with pytest.raises(KeyError, match="a bug"):
        command("generate --pde Burgers --pde.viscosity 0.1 --grid.shape 8 --out", tmp_path / "x.nc")


@pytest.mark.parametrize("how", ["pressed", "as Lightning passes it on"])
def test_interrupted_is_130(monkeypatch, tmp_path, how):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    def passed_on(*_, **__):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr("physdiff.cli.generate.generate_data", pressed if how == "pressed" else passed_on)
    done = command("generate --pde Burgers --pde.viscosity 0.1 --grid.shape 8 --out", tmp_path / "x.nc")
    assert done.code == 130 and done.err.startswith("physdiff generate: interrupted") and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_control_c_in_the_middle_of_training(tmp_path, era):
    words = [
        "fit",
        "--data",
        str(era),
        "--out",
        str(tmp_path / "a.prior"),
        "--network.width",
        "8",
        "--max_epochs",
        "100000",
        "--training.save_every",
        "5",
    ]
    # a shell starts its background jobs with interrupts ignored, and Python keeps that: a suite that runs in one must take it back for the child
    taken = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    run = [sys.executable, "-m", "physdiff", *words]
    process = subprocess.Popen(run, env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=taken)
    end = time.monotonic() + 60
    while not (tmp_path / "a.prior.fit" / "last.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and err.strip().endswith("run the same command again to go on where it can")
    assert not (tmp_path / "a.prior").exists()


def test_a_full_disk_is_said_in_one_sentence(monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr("physdiff.cli.generate.generate_data", full)
    said = refuses("generate", "--pde Burgers --pde.viscosity 0.1 --grid.shape 8 --out", tmp_path / "a")
    assert "No space left on device" in said


def test_costs_are_said_on_the_standard_error_and_the_loggers_are_as_before(made, burgers, burgers_prior):
    log = logging.getLogger("physdiff")
    before = (list(log.handlers), log.level, log.propagate)
    done = command("forecast --lead 1 --members 1 --every 20 --prior", burgers_prior, "--initial", burgers, "--out", made / "one.nc")
    assert done.code == 0 and done.err.startswith("rollout: 4 starts x 1 members x 1 steps") and len(done.err.splitlines()) == 1
    assert (log.handlers, log.level, log.propagate) == before


def test_main_takes_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["physdiff", "--version"])
    assert main() == 0 and capsys.readouterr().out.startswith("physdiff ")
