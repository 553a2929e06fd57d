"""Fluxes of carried values: conservation, square sums, no new extrema."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.solvers.face_terms import carried, second_difference


def around(f):
    return torch.cat([f[..., -2:], f, f[..., :2]], -1)


def test_the_mean_keeps_the_square_sum_in_uniform_flow():
    f = torch.randn(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flux = carried(around(f), torch.full((3, 21), 0.7, dtype=torch.float64), -1, limited=False, has_ends=False)
    assert float((f * flux.diff(dim=-1)).sum(-1).abs().max()) < 1e-14 * 20


@pytest.mark.parametrize("speed", [0.8, -0.8])
def test_limited_slopes_make_no_extrema_and_keep_the_sum(speed):
    x = torch.arange(40) / 40
    f = ((x > 0.2) & (x < 0.5)).double()[None] + 0.5 * (x > 0.7).double()
    start = f.clone()
    w = torch.full((1, 41), speed, dtype=torch.float64)
    for _ in range(60):  # Heun's method, Courant number 0.4
        first = f - 0.5 * carried(around(f), w, -1, limited=True, has_ends=False).diff(dim=-1)
        f = (f + first - 0.5 * carried(around(first), w, -1, limited=True, has_ends=False).diff(dim=-1)) / 2
    assert float(f.sum() - start.sum()) == pytest.approx(0, abs=1e-12)
    assert float(f.min()) > -1e-14 and float(f.max()) < 1 + 1e-14
    # 24 cells of 40 carried: first order would be below 0.8 at the top
    assert float(f.max()) > 0.97


@pytest.mark.parametrize("limited", [True, False])
def test_order_where_smooth(limited):
    errors = []
    for n in (40, 80):
        x = 2 * math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n
        flux = carried(around(torch.sin(x)), torch.ones(n + 1, dtype=torch.float64), -1, limited=limited, has_ends=False)
        errors.append(float((flux.diff() * n / (2 * math.pi) - torch.cos(x)).abs().mean()))
    # the slope is limited at extrema, which costs part of an order in the mean
    assert math.log2(errors[0] / errors[1]) > (1.6 if limited else 1.95)


def test_closed_faces_lend_no_slope():
    f = torch.tensor([[0.0, 1.0, 2.0, 50.0, 50.0]]).double()  # the last two are obstacle
    passed = torch.ones(1, 8).double()
    passed[0, 4] = 0.0  # between 2.0 and 50.0
    wide = torch.cat([f[..., :1], f[..., :1], f, f[..., -1:], f[..., -1:]], -1)
    w = torch.tensor([[1.0, 1, 1, 0, 0, 0]]).double()
    assert carried(wide, w, -1, limited=True, has_ends=False, passed=passed)[0].tolist() == [0.0, 0.0, 1.5, 0.0, 0.0, 0.0]


def test_what_comes_in_has_the_value_at_the_end():
    f, outside = torch.tensor([[0.0, 0.2, 0.4]]).double(), 1.0
    wide = torch.cat([2 * outside - f[..., :1]] * 2 + [f] + [2 * outside - f[..., -1:]] * 2, -1)
    w = torch.tensor([[0.5, 0.5, -0.5, -0.5]]).double()
    flux = carried(wide, w, -1, limited=True, has_ends=True)
    assert float(flux[0, 0]) == 0.5 and float(flux[0, -1]) == -0.5


def test_second_difference():
    f = torch.tensor([[5.0, 1.0, 4.0, 9.0, 16.0, 0.0]])
    assert second_difference(f, -1).tolist() == [[2.0, 2.0]]
