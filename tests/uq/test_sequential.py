"""Sequential conformal intervals: exact on small cases, right in the long run under drift, narrow where the past tells."""

import math

import pytest
import scipy.optimize
import torch

from physdiff.base.errors import InputError
from physdiff.uq.sequential import adaptive_radius, quantile_regression, sequential_interval

F64 = torch.float64


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def ar1(steps, cells, rho, seed=0):
    e = noise(steps, cells, seed=seed)
    x = [e[0]]
    for k in range(1, steps):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * e[k])
    return torch.stack(x)


def inside(x, bounds, skip):
    return float(((bounds[0] <= x) & (x <= bounds[1]))[skip:].double().mean())


def test_quantile_regression_has_the_loss_of_the_linear_program():
    n, p = 120, 3
    x = torch.cat([noise(n, p - 1), torch.ones(n, 1, dtype=F64)], 1)
    y = x[:, 0] + (1 + x[:, 1].abs()) * noise(n, seed=1)
    levels = torch.tensor([0.05, 0.5, 0.9], dtype=F64)
    b = quantile_regression(x.expand(3, n, p), y.expand(3, n), levels, steps=400)
    for tau, found in zip(levels.tolist(), b, strict=True):
        u = y - x @ found
        loss = float((u * (tau - (u < 0).double())).sum())
        cost = [0.0] * (2 * p) + [tau] * n + [1 - tau] * n
        eye = torch.eye(n, dtype=F64)
        best = scipy.optimize.linprog(cost, A_eq=torch.cat([x, -x, eye, -eye], 1).numpy(), b_eq=y.numpy()).fun
        # the corner rounded over a thousandth of the spread costs less than that
        assert best - 1e-9 <= loss <= best * (1 + 1e-3)


def test_a_bound_sees_nothing_of_its_own_time_or_later():
    x = noise(110, 1)
    other = x.clone()
    other[80:] = 50.0
    for lag in (1, 4):
        for past in (None, 3, 0):
            a, b = (adaptive_radius(s.abs(), lag=lag) if past is None else sequential_interval(s, past=past, lag=lag)[0] for s in (x, other))
            known = 80 + lag                     # x[80] is known first at this time
            assert torch.equal(a[:known].nan_to_num(7.0), b[:known].nan_to_num(7.0))
            assert not torch.equal(a[known:].nan_to_num(7.0), b[known:].nan_to_num(7.0))


def test_without_adaptation_the_radius_is_the_split_conformal_one():
    s = torch.arange(30.0, dtype=F64)[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    r = adaptive_radius(s, rate=1e-12, window=30)
    for t in range(9, 30):
        k = math.ceil((t + 1) * 0.9 - 1e-9)
        assert r[t] == s[:t].sort().values[k - 1]
    assert r[:9].isnan().all()


def test_the_share_of_misses_is_bounded_whatever_the_series_does():
    # errors that grow tenfold and fall again: the theorem's bound (max(alpha, 1 - alpha) + gamma) / (gamma T)
    t = torch.arange(1500, dtype=F64)
    x = noise(1500).abs() * torch.exp(2.3 * torch.sin(t / 150))
    r = adaptive_radius(x, rate=0.05, window=100)
    misses = float((x > r)[9:].double().mean())
    assert abs(misses - 0.1) <= (0.9 + 0.05) / (0.05 * 1491)


def test_regression_makes_use_of_the_past():
    x = ar1(900, 2, 0.9)
    bounds = sequential_interval(x, past=1)
    width = float((bounds[1] - bounds[0])[300:].mean()) / (2 * 1.6449)
    # exact: sqrt(1 - rho^2) = 0.436 of the unconditional width; 300 residuals tell a 5 % quantile to some 10 %
    assert 0.40 < width < 0.50
    # 1200 intervals, dependent through a window of 300: a band of 0.03
    assert abs(inside(x, bounds, 300) - 0.9) < 0.03
    plain = sequential_interval(x, past=0)
    assert float((plain[1] - plain[0])[300:].mean()) > 1.7 * float((bounds[1] - bounds[0])[300:].mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4, 5, 6])
def test_under_drift_regression_covers_and_is_narrower_than_the_quantiles(seed):
    # variance that doubles, mean that wanders, errors that hang together
    t = torch.arange(3000, dtype=F64)[:, None]
    x = ar1(3000, 3, 0.8, seed=seed) * (1 + t / 3000) + torch.sin(t / 400)
    spci, enbpi = (sequential_interval(x, past=p) for p in (3, 0))
    # what was calibrated once, on the first 500, does not hold
    once = x[:500].abs().sort(0).values[math.ceil(501 * 0.9) - 1]
    split = float((x[500:].abs() <= once).double().mean())
    widths = [float((b[1] - b[0])[500:].mean()) for b in (spci, enbpi)]
    found = [inside(x, b, 500) for b in (spci, enbpi)]
    print(f"seed {seed}: regression {found[0]:.4f}, width {widths[0]:.3f}; quantiles {found[1]:.4f}, width {widths[1]:.3f}; split once {split:.4f}")
    assert 0.88 < found[0] < 0.92 and 0.88 < found[1] < 0.92
    assert widths[0] < 0.75 * widths[1] and split < 0.85


def test_the_narrowest_split_of_a_skewed_law_is_taken():
    x = noise(1200, seed=2).exp()
    low, high = (b[300:] for b in sequential_interval(x, past=0, rate=0.0))
    # of a log-normal the equal-tailed 90 % is 0.193 to 5.18; its narrowest starts near zero: beta = 1/60 of the five splits gives 0.119 to 4.05
    assert float(low.mean()) < 0.17 and float(high.mean()) < 4.7


def test_fields_are_series_of_cells():
    x = noise(200, 2, 3)
    whole = sequential_interval(x, past=0)[0]
    torch.testing.assert_close(whole[:, 1, 2], sequential_interval(x[:, 1, 2], past=0)[0], equal_nan=True)


def test_the_last_steps_may_be_unknown():
    x = noise(200, 1)
    later = x.clone()
    later[-3:] = float("nan")
    a, b = sequential_interval(x, lag=3), sequential_interval(later, lag=3)
    torch.testing.assert_close(a[0], b[0], equal_nan=True)


def test_refusals():
    x = noise(50)
    with pytest.raises(InputError, match="window of at least 9"):
        adaptive_radius(x, window=5)
    with pytest.raises(InputError, match="rate"):
        adaptive_radius(x, rate=2.0)
    with pytest.raises(InputError, match="window of 210 residuals"):
        sequential_interval(x, past=20, window=100)
    x[3] = float("nan")
    with pytest.raises(InputError, match="without missing values"):
        sequential_interval(x)
