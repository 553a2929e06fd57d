"""How budgets and batches of laws are checked."""

import torch

from physdiff.operators.autograd import Autograd


def assert_budget(law, u, D, grid, *, t=0.0, least=1e-3):
    """The invariants change along the right-hand side as `expected_rates` says, and (all but those that are kept) by something to see."""
    rate, step = law.rhs(u, D, t), 1e-4
    ahead, behind = (law.invariants({k: u[k] + sign * step * rate[k] for k in law.fields}, grid) for sign in (1, -1))
    expected = law.expected_rates(u, D, t, grid=grid)
    assert set(expected) == set(ahead)
    for name, wanted in expected.items():
        change = (ahead[name] - behind[name]) / (2 * step)
        # the central difference of smooth functions: step squared times the third derivative, and rounding over the step (1e-12)
        torch.testing.assert_close(change, wanted, rtol=1e-6, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}")
        assert bool((wanted == 0).all()) or float(wanted.abs().min()) > least, name


def assert_batched(make, values, u, D, *, t=0.0):
    """A law with one parameter per sample does to each sample what the law of that parameter does."""
    together = make(torch.tensor(values, dtype=torch.float64)).rhs({k: v.expand(len(values), *v.shape[1:]) for k, v in u.items()}, D, t)
    for i, value in enumerate(values):
        alone = make(value).rhs(u, D, t)
        for name, wanted in alone.items():
            torch.testing.assert_close(together[name][i], wanted[0])
    first = next(iter(together))
    assert not torch.equal(together[first][0], together[first][1])


def residual_at_points(law, exact, *bounds, count=60, seed=0):
    """Residuals by autograd of an exact solution at random points between bounds (x, [y, [z,]] t), and the largest rate of change."""

    generator = torch.Generator().manual_seed(seed)
    points = [low + (high - low) * torch.rand(count, dtype=torch.float64, generator=generator) for low, high in bounds]
    *x, t = (p.requires_grad_() for p in points)
    u = {k: v + 0 * t for k, v in exact(*x, t).items()}
    D = Autograd(tuple(x), t)
    left = law.residual(u, D, t)
    scale = max(float(D.dt(u[name]).detach().abs().max()) for name in law.fields)
    return {name: float(value.detach().abs().max()) for name, value in left.items()}, scale
