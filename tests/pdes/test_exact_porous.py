"""Fronts of the porous medium: golden numbers, masses."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.pdes.exact_porous import StefanFront, barenblatt, travelling_front, travelling_front_mass


@pytest.mark.parametrize(("threshold", "golden"), [(0.5, 0.6200626), (0.6, 0.5256698)])
def test_golden_stefan_fronts(threshold, golden):
    front = StefanFront(threshold)
    assert abs(front.z - golden) < 5e-8
    assert front.front(0.25) == pytest.approx(golden, abs=5e-8)
    n = 200_000
    x = (torch.arange(n, dtype=torch.float64) + 0.5) * 2.0 / n
    u = front(x, 0.3)
    # the midpoint rule is off by a cell at the jump
    assert float(u.sum() * 2.0 / n) == pytest.approx(front.mass(0.3), abs=1e-5)
    # Stefan's condition: what flows to the front fills it as it moves, -du/dx = u* dfront/dt
    near = front.front(0.3) * (1 - torch.tensor([2e-4, 1e-4, 0.0], dtype=torch.float64))
    slope = float((front(near, 0.3)[1] - front(near, 0.3)[0]) / (near[1] - near[0]))
    assert -slope == pytest.approx(threshold * front.z / 0.3**0.5, rel=1e-3)


def test_masses():
    n = 100_000
    x = (torch.arange(n, dtype=torch.float64) + 0.5) * 1.5 / n
    exponents = torch.tensor([[1.0], [3.0], [6.0]], dtype=torch.float64)
    mass = travelling_front(x, 0.8, exponent=exponents).sum(-1) * 1.5 / n
    # the front of u^(1/6) is steep: a cell's share
    assert torch.allclose(mass, travelling_front_mass(0.8, exponent=exponents)[:, 0], rtol=1e-4)
    line = (torch.arange(n, dtype=torch.float64) + 0.5) * 10.0 / n - 5
    first, later = (barenblatt(line, t, exponent=2.0).sum() * 10.0 / n for t in (0.5, 3.0))
    assert float(first) == pytest.approx(float(later), rel=1e-5) and float(first) > 1


def test_wrong_thresholds_are_named():
    with pytest.raises(InputError, match="between 0 and 1"):
        StefanFront(1.2)
