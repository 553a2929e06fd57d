"""The line search against the conditions it promises, on lines that are hard in different ways."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.pinn.line_search import Place, strong_wolfe

# value and slope: More and Thuente (1994), function 1; one with many minima; one that is infinite beyond a wall
LINES = {
    "bowl": lambda a: (-a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2),
    "ripples": lambda a: (-a + 0.1 * math.sin(9 * a) + 0.05 * a * a, -1 + 0.9 * math.cos(9 * a) + 0.1 * a),
    "wall": lambda a: (-math.log(1 - a) - 3 * a, 1 / (1 - a) - 3) if a < 1 else (math.inf, math.inf),
}


def place(name, step):
    return Place(step, *LINES[name](step), torch.zeros(1))


@pytest.mark.parametrize("first", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize(("name", "curvature"), [("bowl", 0.9), ("bowl", 0.01), ("ripples", 0.1), ("wall", 0.1)])
def test_steps_satisfy_the_strong_wolfe_conditions(name, curvature, first):
    start = place(name, 0.0)
    found = strong_wolfe(lambda a: place(name, a), start, first=first, curvature=curvature)
    assert found is not None
    assert found.value <= start.value + 1e-4 * found.step * start.slope
    assert abs(found.slope) <= curvature * abs(start.slope)


def test_an_upward_line_has_no_step():
    start = Place(0.0, 0.0, -1.0, torch.zeros(1))  # a wrong gradient: the function goes up
    assert strong_wolfe(lambda a: Place(a, a, 1.0, torch.zeros(1)), start) is None


def test_a_parabola_is_met_exactly_by_one_cubic():
    asked = []

    def at(a):
        asked.append(a)
        return Place(a, (a - 0.3) ** 2, 2 * (a - 0.3), torch.zeros(1))

    found = strong_wolfe(at, Place(0.0, 0.09, -0.6, torch.zeros(1)), curvature=1e-3)
    assert found.step == pytest.approx(0.3) and len(asked) == 2
