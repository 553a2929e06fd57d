"""Variogram score against brute force and its reason to exist; structure functions against closed forms."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.scores.crps import crps
from physdiff.scores.variogram import structure_function, variogram_score

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_against_pairs_one_by_one():
    x, y = draws(3, 2, 4, 5), draws(2, 4, 5, seed=1)
    y[1, 2, 3] = float("nan")
    area = draws(4, 5, seed=2).abs()
    found = variogram_score(x, y, area, order=0.5, reach=2)
    for b in range(2):
        total = 0.0
        for axis in (0, 1):
            for h in (1, 2):
                top = bottom = 0.0
                for i in range(4):
                    for j in range(5):
                        k, n = (i + h, j) if axis == 0 else (i, j + h)
                        if k >= 4 or n >= 5 or bool((y[b, i, j] + y[b, k, n]).isnan()):
                            continue
                        seen = (y[b, i, j] - y[b, k, n]).abs() ** 0.5
                        expected = ((x[:, b, i, j] - x[:, b, k, n]).abs() ** 0.5).mean()
                        w = area[i, j] * area[k, n]
                        top, bottom = top + w * (seen - expected) ** 2, bottom + w
                total = total + top / bottom / h
        assert float(found[b]) == pytest.approx(float(total), rel=1e-12)


def test_it_sees_correlations_that_the_crps_does_not():
    def field(n, rho, seed):
        e = draws(n, 400, seed=seed)
        x = [e[:, 0]]
        for k in range(1, 400):
            x.append(rho * x[-1] + (1 - rho**2) ** 0.5 * e[:, k])
        return torch.stack(x, 1)

    y = field(20, 0.9, 1)
    right, wrong = (torch.stack([field(20, rho, s) for s in range(10, 20)]) for rho in (0.9, 0.0))
    w = torch.ones(400, dtype=F64)
    assert float(variogram_score(right, y, w).mean()) < 0.5 * float(variogram_score(wrong, y, w).mean())
    assert abs(float(crps(right, y).mean() / crps(wrong, y).mean()) - 1) < 0.1


def test_structure_functions():
    x = torch.arange(10, dtype=F64)[:, None] * 3
    torch.testing.assert_close(structure_function(x, order=1.0, axis=0), 3 * torch.arange(1, 6, dtype=F64))
    wave = torch.sin(2 * torch.pi * torch.arange(64, dtype=F64) / 64)
    h = torch.arange(1, 33, dtype=F64)
    # of a sine of amplitude 1: 1 - cos(k h)
    torch.testing.assert_close(structure_function(wave, periodic=True), 1 - torch.cos(2 * torch.pi * h / 64))
    holes = wave.clone()
    holes[3] = float("nan")
    assert structure_function(holes, reach=4).isfinite().all()


def test_refusals():
    with pytest.raises(InputError, match="positive order"):
        variogram_score(draws(3, 4), draws(4), order=0.0)
    with pytest.raises(InputError, match="reach of 1 to 3"):
        structure_function(draws(4), reach=4)
