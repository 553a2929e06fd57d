"""``physdiff forecast --known``: a prior of whole trajectories from the command line, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cli.command import refuses, untouched, works

SMALL = "--network UNet --network.width 8 --network.multipliers [1,1] --training.max_steps 2"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory, burgers):
    path = tmp_path_factory.mktemp("simulator") / "a.prior"
    works("fit", "--tasks", '[{"u":[0]}]', SMALL, "--data", burgers, "--out", path)
    return path


def test_simulation_keeps_what_is_known_and_is_scored(tmp_path, burgers, simulator):
    out = tmp_path / "drawn.nc"
    said = works("forecast", "--known", '{"u":[0]}', "--members 3 --prior", simulator, "--initial", burgers, "--out", out)
    assert "wrote 4 trajectories of 12 frames with 3 members" in said
    with xr.open_dataset(out, decode_timedelta=False) as drawn:
        assert drawn["u"].dims == ("sample", "init_time", "member", "lead_time", "x")
        assert drawn["lead_time"].values[0] == 0
        assert float(np.ptp(drawn["u"].isel(lead_time=0).values, axis=2).max()) == 0
        assert float(drawn["u"].isel(lead_time=5).std("member").min()) > 0
        before = drawn["u"].values
    works("forecast", "--known", '{"u":[0]}', "--members 3 --prior", simulator, "--initial", burgers, "--out", out)
    with xr.open_dataset(out, decode_timedelta=False) as drawn:
        np.testing.assert_array_equal(drawn["u"].values, before)
    works("evaluate --forecast", out, "--truth", burgers, "--out", tmp_path / "page")
    assert "CRPS" in (tmp_path / "page" / "index.html").read_text()


def test_what_cannot_be_drawn_is_refused(tmp_path, burgers, simulator, burgers_prior):
    with untouched(tmp_path):
        rest = ("--initial", burgers, "--out", tmp_path / "b.nc")
        assert "expected one of the fields u" in refuses("forecast", "--known", '{"rain":[0]}', "--prior", simulator, *rest)
        assert 'as in {"u": [0], "force": "all"}, got ' in refuses("forecast", "--known", '{"u":0}', "--prior", simulator, *rest)
        assert "expected a prior of whole trajectories" in refuses("forecast", "--known", '{"u":[0]}', "--prior", burgers_prior, *rest)
        assert "forecast --known" in refuses("forecast", "--lead 2 --prior", simulator, *rest)
        said = refuses("forecast", "--known", '{"u":[0]}', "--prior", simulator, "--out", tmp_path / "b.nc")
        assert "expected data that hold u" in said
        assert "priors trained with --coarse" in refuses("forecast", "--known", "{}", "--coarse", burgers, "--prior", simulator, *rest)
