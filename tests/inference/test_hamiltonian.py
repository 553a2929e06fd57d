"""Leapfrog: reversible, volume kept, second order. HMC and NUTS keep exact laws; detailed balance of HMC; parts that turn, by brute force."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy import stats
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.inference.hamiltonian import Point, _Part, _turned, energy, hmc_move, leapfrog, nuts_move

LIKE = torch.zeros((), dtype=torch.float64)
MASS = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)


def quartic(z: Tensor) -> Point:
    """-z^4/4 - (sum z)^2/2."""
    total = z.sum(1, keepdim=True)
    return Point(z, (-(z**4) / 4).sum(1) - 0.5 * total[:, 0] ** 2, -(z**3) - total, z)


def steps(z: Tensor, p: Tensor, count: int, step: float) -> tuple[Tensor, Tensor]:
    point = quartic(z)
    for _ in range(count):
        point, p = leapfrog(quartic, point, p, step=step, inverse_mass=MASS)
    return point.z, p


def test_leapfrog_runs_backwards() -> None:
    z, p = Rng(0).normal((2, 5, 3), like=LIKE)
    there, momentum = steps(z, p, 20, 0.1)
    back, turned = steps(there, -momentum, 20, 0.1)
    torch.testing.assert_close((back, -turned), (z, p), rtol=0, atol=1e-12)
    torch.testing.assert_close(steps(there, momentum, 20, -0.1), (z, p), rtol=0, atol=1e-12)


def test_leapfrog_keeps_volume() -> None:
    start = Rng(1).normal((6,), like=LIKE)
    jacobian = torch.autograd.functional.jacobian(lambda s: torch.cat([v[0] for v in steps(s[None, :3], s[None, 3:], 15, 0.2)]), start)
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-11)


def test_energy_is_kept_to_second_order() -> None:
    z, p = Rng(2).normal((2, 50, 3), like=LIKE)
    errors = []
    for count in (20, 40, 80):
        z2, p2 = steps(z, p, count, 2.0 / count)
        errors.append(float((energy(quartic(z2), p2, MASS) - energy(quartic(z), p, MASS)).abs().mean()))
    assert 3.5 < errors[0] / errors[1] < 4.6 and 3.7 < errors[1] / errors[2] < 4.3


WEIGHT, PLACE, WIDTH = torch.tensor([0.4, 0.6]).double(), torch.tensor([-1.0, 1.2]).double(), torch.tensor([0.4, 0.7]).double()


def modes(z: Tensor) -> Point:
    """A mixture of two normal laws on the line, (chains, 1)."""
    off = (z - PLACE) / WIDTH
    logs = torch.log(WEIGHT / WIDTH) - 0.5 * off**2
    return Point(z, torch.logsumexp(logs, 1), (torch.softmax(logs, 1) * -off / WIDTH).sum(1, keepdim=True), z)


def exact_draws(n: int, rng: Rng) -> Tensor:
    which = (rng.child("which").uniform((n,), like=LIKE) > 0.4).long()
    return (PLACE[which] + WIDTH[which] * rng.child("z").normal((n,), like=LIKE))[:, None]


def places(z: Tensor) -> Tensor:
    """Distribution function of the mixture: uniform for its draws."""
    return (WEIGHT * torch.special.ndtr((z - PLACE) / WIDTH)).sum(1)


@pytest.mark.parametrize("move", [partial(hmc_move, length=3), partial(nuts_move, depth=4)], ids=["HMC", "NUTS"])
@pytest.mark.parametrize("step", [0.3, 0.9])
def test_the_exact_law_stays(move, step) -> None:
    """20 000 chains that start with exact draws still have the law after three moves, whatever the step: chi squared of 20 equal bins, p > 1e-4.

    0.9 is long: a tenth to a third of all states is refused.
    """
    point, mass = modes(exact_draws(20_000, Rng(3))), torch.full((1,), 0.8, dtype=torch.float64)
    start = point.z
    for k in range(3):
        done = move(modes, point, step=step, inverse_mass=mass, rng=Rng(4).child(k))
        point = done.point
    assert float((point.z != start).double().mean()) > 0.8
    assert step < 0.5 or float(done.acceptance.mean()) < 0.95
    counts = torch.histc(places(point.z), 20, 0, 1).numpy()
    assert stats.chisquare(counts).pvalue > 1e-4


def test_detailed_balance() -> None:
    """As many chains of HMC go from one bin to another as come back, within 4 standard errors of either count."""
    start = exact_draws(40_000, Rng(5))
    done = hmc_move(modes, modes(start), step=0.8, inverse_mass=torch.ones(1).double(), rng=Rng(6), length=2)
    before, after = ((places(z) * 5).long().clamp_max(4) for z in (start, done.point.z))
    flow = torch.bincount(before * 5 + after, minlength=25).reshape(5, 5).double()
    assert bool(((flow - flow.T).abs() <= 4 * (flow + flow.T).clamp_min(1).sqrt()).all())
    assert float(flow.sum() - flow.diagonal().sum()) > 10_000


def turning_leaf(momenta: Tensor, mass: Tensor) -> int:
    """Number of states after which some binary part of them has turned, by recursion over all parts; their number if none has."""
    n = len(momenta)
    first = n
    size = 2
    while size <= n:
        for a in range(0, n, size):
            part = momenta[a : a + size]
            if bool(_turned(part[:1], part[-1:], part.sum(0, keepdim=True), mass)):
                first = min(first, a + size)
        size *= 2
    return first


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_parts_that_turn(size) -> None:
    """Each of 40 chains stops at the state where the first binary part has turned, as a search through all parts says."""
    z, p = Rng(7).normal((2, 40, 3), like=LIKE)
    point, ones = quartic(z), torch.ones(40, dtype=torch.float64)
    part = _Part(quartic, MASS, energy(point, p, MASS), Rng(8), torch.arange(40), 40)
    part.grow(point, p, 0.3 * ones[:, None], size)
    momenta, state = [], point
    for _ in range(size):
        state, p = leapfrog(quartic, state, p, step=0.3, inverse_mass=MASS)
        momenta.append(p)
    path = torch.stack(momenta, 1)
    expected = [turning_leaf(path[i], MASS) for i in range(40)]
    assert part.gradients.tolist() == expected
    if size == 16:
        assert 1 < len(set(expected)) and not bool(part.running.all())
    assert bool((part.running <= (part.gradients == size)).all())


def test_an_energy_that_runs_away_is_a_divergence() -> None:
    z = Rng(9).normal((4, 3), like=LIKE)
    for move in (partial(hmc_move, length=6), nuts_move):
        done = move(quartic, quartic(z), step=50.0, inverse_mass=MASS, rng=Rng(0))
        assert bool(done.diverged.all()) and torch.equal(done.point.z, z)
