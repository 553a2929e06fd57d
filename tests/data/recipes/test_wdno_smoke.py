"""The tank, the flow through it, and what counts as gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.recipes import wdno_smoke
from physdiff.data.recipes.wdno_smoke import WDNOSmoke, _carried, _Course, _mouth, _tank


def test_the_tank_has_seven_openings():
    solid = _tank().pressure_solver.solid
    for line in (solid[112, 16:112], solid[16:112, 16], solid[16:112, 112]):
        gaps = np.flatnonzero(np.diff(np.concatenate([[1], (~line).int().numpy(), [0]])) == 1)
        assert len(gaps) in (2, 3)
    assert bool(solid[16, 16:112].all()) and not bool(solid[112, 24:40].any()) and not bool(solid[:16].any())
    assert int(_mouth(None).sum()) == 3 * 15 * 20 + 2 * 20 * 16 + 2 * 20 * 15 and int(_mouth(1).sum()) == 300


def test_a_flow_without_divergence_carries_smoke_that_stays():
    made, rng = WDNOSmoke(intervals=2, every=1), Rng(0)
    both, one = made.generate(2, rng, batch_size=2), made.generate(2, rng, batch_size=1)
    for name in made.names:
        np.testing.assert_allclose(both[name], one[name], atol=2e-4)  # float32 through some solves
    assert float(both.smoke.max()) < 1 + 1e-4 and float(both.smoke.min()) > -1e-4 and float(both.target.max()) == 0.0
    inside = both.control_x[..., 9:55, 9:55]
    assert float(abs(inside).max()) == 0.0 and float(abs(both.control_x[:, 1]).max()) > 0.0
    stepper = _tank()
    faces = tuple(torch.randn(1, 127 + (i == 1), 127 + (i == 0), generator=torch.Generator().manual_seed(0)).double() for i in (0, 1))
    flow, _ = stepper.pressure_solver.project(tuple(f * w for f, w in zip(faces, stepper.pressure_solver.fluid, strict=True)))
    assert float(stepper.pressure_solver.divergence(flow).abs().max()) < 1e-11
    smoke = torch.from_numpy(_Course(rng.generator(), 256).smoke())[None]
    moved = _carried(stepper, tuple(f / 4 for f in flow), smoke)
    assert float(moved.sum()) == pytest.approx(121.0, abs=1e-10) and float(moved.min()) > -1e-14 and float(moved.max()) < 1 + 1e-12
    assert float(moved[:, stepper.pressure_solver.solid].abs().max()) == 0.0


def test_courses():
    courses = [_Course(Rng(i).generator(), 256) for i in range(200)]
    starts = np.array([np.argwhere(c.smoke())[0] for c in courses])
    assert starts[:, 0].min() >= 22 and starts[:, 0].max() < 25 and starts[:, 1].min() >= 22 and starts[:, 1].max() < 97
    set_at = [[n for n in range(257) if c.velocity(n) is not None] for c in courses]
    assert all(len(moments) == 4 and moments[0] == 0 for moments in set_at)
    # every leg goes upwards; its speed is drawn with a quarter of itself as standard deviation
    up = np.array([[c.velocity(n)[1] for n in moments] for c, moments in zip(courses, set_at, strict=True)])
    assert (up > 0).mean() > 0.999 and np.isfinite(up).all()
    with pytest.raises(InputError, match="WDNOSmoke every"):
        WDNOSmoke(every=0)


def test_a_control_of_ones_own_drives_the_flow_that_was_recorded_with_it():
    made = WDNOSmoke(intervals=3, every=4, noise=1e-9)
    ds = made.generate(1, Rng(0), batch_size=1)
    control = torch.stack([torch.from_numpy(ds[name].values) for name in ("control_x", "control_y")], 1)
    smoke = torch.from_numpy(ds["smoke"].values[:, 0])
    found = made.driven(smoke, control)
    for name in ("velocity_x", "velocity_y", "control_x", "control_y"):
        recorded = torch.from_numpy(ds[name].values)
        # every second cell of the frame, with a tenth of noise that its neighbours do not share, is all that driven knows of it
        assert float((found[name] - recorded).norm() / recorded.norm()) < 0.12, name
    assert not torch.equal(made.driven(smoke, control.flip(1))["velocity_x"], found["velocity_x"])
    inside = control.clone()
    inside[..., 10:54, 10:54] = 7.0  # where the flow is held
    assert all(torch.equal(a, b) for a, b in zip(made.driven(smoke, inside).values(), found.values(), strict=True))
    with pytest.raises(ShapeError, match="driven: expected"):
        made.driven(smoke, control[:, :, :2])


def test_a_coarse_tank_is_the_same_tank():
    fine, coarse = _tank().pressure_solver.solid, _tank(2).pressure_solver.solid
    # every wall of the fine tank lies in a wall of the coarse one, and the openings are where they were
    blocks = torch.nn.functional.max_pool2d(torch.nn.functional.pad(fine.float(), (0, 1, 0, 1))[None], 2)[0] > 0
    assert torch.equal(blocks, coarse)
    assert int(_mouth(None, 2).sum()) == 3 * 8 * 10 + 4 * 10 * 8
    made, rough = (WDNOSmoke(intervals=3, every=16, noise=0.0, coarse=c).generate(2, Rng(0), batch_size=2) for c in (1, 2))
    assert made.sizes == rough.sizes
    for name in ("velocity_x", "velocity_y"):
        assert float(((made[name] - rough[name]) ** 2).mean() / (made[name] ** 2).mean()) ** 0.5 < 0.2, name
    for line in ("x", "y"):  # where the smoke is, which has gone ten cells or so
        at = [float(abs((f.smoke[:, 3] * f[line]).sum() / f.smoke[:, 3].sum())) for f in (made, rough)]
        assert abs(at[0] - at[1]) < 1.0, (line, at)
    assert float(rough.smoke[:, -1].sum()) == pytest.approx(float(rough.smoke[:, 0].sum()), rel=1e-5)
    assert float(rough.smoke[:, 0].sum()) == pytest.approx(2 * 121 / 4)
    with pytest.raises(InputError, match="WDNOSmoke coarse"):
        WDNOSmoke(coarse=4)


def test_batches_and_compiled_transport_are_single_runs(monkeypatch):
    made = WDNOSmoke(intervals=2, every=2, coarse=2)
    single = made.generate(3, Rng(0), batch_size=1)
    both = made.generate(3, Rng(0), batch_size=3)
    for name in made.names:
        np.testing.assert_allclose(both[name], single[name], atol=1e-5)
    calls = []
    monkeypatch.setattr(torch, "compile", lambda step, **_: lambda *args: calls.append(1) or step(*args))
    wdno_smoke._compiled.cache_clear()
    compiled = WDNOSmoke(intervals=2, every=2, coarse=2, compiled=True).generate(3, Rng(0), batch_size=3)
    wdno_smoke._compiled.cache_clear()
    assert calls
    for name in made.names:
        np.testing.assert_array_equal(compiled[name], both[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on its way through the compiler
def test_the_compiler_keeps_the_numbers():
    plain, compiled = (WDNOSmoke(intervals=1, every=2, coarse=2, compiled=c).generate(2, Rng(0), batch_size=2) for c in (False, True))
    for name in plain.data_vars:
        np.testing.assert_allclose(compiled[name], plain[name], atol=1e-6)
