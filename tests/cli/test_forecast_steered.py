"""``physdiff forecast --known --steer``: towards a goal by command, and what is refused."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tests.cli.command import refuses, untouched, works

SMALL = "--network UNet --network.width 8 --network.multipliers [1,1] --training.max_steps 2"


def test_it_steers_and_refuses(tmp_path, burgers):
    works("fit", "--tasks", '[{"u":[0]}]', SMALL, "--data", burgers, "--out", tmp_path / "a.prior")
    rest = ("--prior", tmp_path / "a.prior", "--initial", burgers, "--steer.goal", burgers, "--known", '{"u":[0]}')
    aim = ("--steer.frames", '{"u":[-1]}', "--members 2")
    said = works("forecast", *rest, *aim, "--steer.strength 1000 --out", tmp_path / "a.nc")
    assert "wrote 4 trajectories of 12 frames with 2 members, steered" in said
    works("forecast", *rest, *aim, "--steer.strength 1e-6 --out", tmp_path / "b.nc")
    missed = []
    for name in ("a.nc", "b.nc"):
        with xr.open_dataset(tmp_path / name, decode_timedelta=False) as drawn, xr.open_dataset(burgers) as data:
            missed.append(float(np.square(drawn["u"].isel(lead_time=-1, init_time=0) - data["u"].isel(time=-1)).mean()))
    assert missed[0] < 0.1 * missed[1]
    with untouched(tmp_path):
        out = ("--out", tmp_path / "c.nc")
        assert "expected one of the fields u" in refuses("forecast", *rest, "--steer.frames", '{"rain":[0]}', *out)
        assert "expected frames of a field" in refuses("forecast", *rest, "--steer.frames", "{}", *out)
        assert "spread" in refuses("forecast", *rest, *aim, "--steer.spread none", *out)
