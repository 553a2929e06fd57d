"""Exact shallow water: residuals by automatic differentiation, the bore's jump conditions, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.operators.autograd import Autograd
from physdiff.pdes.exact_shallow_water import ritter, stoker, water_vortex
from physdiff.pdes.shallow_water import ShallowWater


def left_over(law, w, places, time):
    u = {"depth": w["depth"], **{f"momentum_{x}": w["depth"] * w[f"velocity_{x}"] for x in "xy"[: law.ndim]}}
    return max(float(r.detach().abs().max()) for r in law.residual(u, Autograd(places, time), time).values())


@pytest.mark.parametrize("rotation", [(0.0, (0.6, -0.4)), (1.3, (0.0, 0.0)), (-0.8, (0.0, 0.0))])
def test_vortex(rotation):
    generator = torch.Generator().manual_seed(0)
    x, y, t = ((3 * torch.rand(50, dtype=torch.float64, generator=generator)).requires_grad_() for _ in range(3))
    w = water_vortex((x, y), t, extent=(12.0, 10.0), centre=(1.0, 2.0), strength=2.0, depth=2.0, gravity=1.7, rotation=rotation)
    assert left_over(ShallowWater(1.7, coriolis=rotation[0]), w, (x, y), t) < 1e-13
    assert left_over(ShallowWater(1.7, coriolis=rotation[0] + 0.1), w, (x, y), t) > 1e-3


@pytest.mark.parametrize("flow", [lambda x, t: ritter(x, t, depth=1.3, gravity=2.0), lambda x, t: stoker(x, t, depths=(1.3, 0.4), gravity=2.0)])
def test_fans_obey_the_equations(flow):
    law, made = ShallowWater(2.0, ndim=1), []
    x = torch.linspace(-0.9, 0.15, 80, dtype=torch.float64)
    for s in (0.6 - 1e-5, 0.6, 0.6 + 1e-5):
        place = x.clone().requires_grad_()
        w = flow(place, s)
        made.append((place, {"depth": w["depth"], "momentum_x": w["depth"] * w["velocity_x"]}))
    place, u = made[1]
    right = law.rhs(u, Autograd((place,)), 0.6)
    for name in law.fields:
        rate = (made[2][1][name] - made[0][1][name]) / 2e-5
        assert float((rate - right[name]).detach().abs().max()) < 1e-8  # of the difference quotient


def test_bore_obeys_the_jump_conditions():
    x = torch.linspace(0.5, 3.0, 100_001, dtype=torch.float64)
    w = stoker(x, 1.0, depths=(1.0, 0.2), gravity=1.0)
    i = int(w["depth"].diff().abs().argmax())
    h, v, speed = float(w["depth"][i]), float(w["velocity_x"][i]), float(x[i] + x[i + 1]) / 2
    assert abs(h * v - speed * (h - 0.2)) < 2e-5  # half a spacing
    assert abs(h * v * v + h * h / 2 - 0.02 - speed * h * v) < 2e-5


def test_dam_before_dry_ground_by_its_formula():
    x = torch.tensor([-2.0, 0.0, 0.9, 5.0], dtype=torch.float64)
    w = ritter(x, 0.5, depth=1.0, gravity=1.0)
    torch.testing.assert_close(w["depth"], torch.tensor([1.0, 4 / 9, (2 - 1.8) ** 2 / 9, 0.0], dtype=torch.float64))
    assert ritter(x, 0.0, depth=1.0, gravity=1.0)["depth"].tolist()[::3] == [1.0, 0.0]
    assert float(w["velocity_x"][3]) == 0.0


def test_refusals():
    x = torch.zeros(2)
    with pytest.raises(InputError, match="expected deeper water on the left"):
        stoker(x, 1.0, depths=(0.2, 1.0))
    with pytest.raises(InputError, match="rotation f = 0 or no mean flow"):
        water_vortex((x, x), 0.0, extent=(10.0, 10.0), rotation=(1.0, (1.0, 0.0)))
    with pytest.raises(InputError, match="dry in its centre"):
        water_vortex((x, x), 0.0, extent=(10.0, 10.0), strength=10 * math.pi)
