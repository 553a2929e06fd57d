"""The learning rate: it rises over a twentieth, falls as a cosine, and ends at zero."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.training.warm_cosine import warm_cosine


def rates(steps: float, count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=2.0)
    schedule = warm_cosine(optimizer, steps)["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_a_run_with_an_end():
    found = rates(100, 101)
    assert found[0] == pytest.approx(2.0 / 5) and max(found) == pytest.approx(2.0, rel=0.01) and found[100] == pytest.approx(0.0, abs=1e-12)
    assert found[50] == pytest.approx(1.0)


def test_a_run_without_end_stays_at_the_peak():
    found = rates(math.inf, 120)
    assert found[49] == pytest.approx(1.0) and found[119] == 2.0
