"""Choosing where to read: three particles, the closed form of a Gaussian ensemble, the order of sequential Kalman updates, worded errors."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.exact import ar1_covariance
from physdiff.inference.sensor_choice import choose_sensors

LIKE = torch.zeros((), dtype=torch.float64)


def test_three_particles() -> None:
    """(0, 0), (1, 0), (0, 3): the second site tells one particle from both others, and wins; the first then tells these two apart."""
    particles = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]).double()
    chosen, entropies = choose_sensors(particles, 2, std=1.0)
    assert chosen == [1, 0]
    far, near = torch.tensor([4.5, 0.5]).double()
    one = -(2 * torch.log((2 + torch.exp(-far)) / 3) + torch.log((1 + 2 * torch.exp(-far)) / 3)) / 3
    torch.testing.assert_close(entropies[0], one)
    one, two, three = torch.exp(-near), torch.exp(-far), torch.exp(-near - far)
    rows = torch.stack([1 + one + two, 1 + one + three, 1 + two + three])
    torch.testing.assert_close(entropies[1], -torch.log(rows / 3).mean())


def test_the_entropy_of_a_gaussian_ensemble() -> None:
    """The closed form of the module, to the error of 3000 members (a hundredth)."""
    c, std = ar1_covariance(6, 0.8), torch.tensor([0.5, 0.3, 0.4, 0.6, 0.5, 0.7]).double()
    draws = Rng(0).normal((3000, 6), like=LIKE) @ torch.linalg.cholesky(c).T
    chosen, found = choose_sensors(draws, 2, std=std)
    for k in (1, 2):
        at = chosen[:k]
        s = c[at][:, at] / torch.outer(std[at], std[at])
        whole = torch.eye(k).double() + s
        exact = 0.5 * torch.linalg.slogdet(whole)[1] + 0.5 * torch.trace(s @ torch.linalg.inv(whole))
        assert float(found[k - 1]) == pytest.approx(float(exact), rel=0.02)


def test_sites_are_those_of_sequential_kalman_updates() -> None:
    """Noise that is the same everywhere: each site is the one of largest variance given those before it; duplicates are passed over."""
    spread = torch.tensor([1.0, 1.3, 0.9, 1.6, 1.2]).double()
    c = ar1_covariance(5, 0.9) * torch.outer(spread, spread)
    wide = torch.cat([torch.arange(5), torch.tensor([3])])  # the fourth site twice
    c = c[wide][:, wide]
    root = torch.cat([torch.linalg.cholesky(c[:5, :5]), torch.linalg.cholesky(c[:5, :5])[3:4]])
    draws = Rng(1).normal((1500, 5), like=LIKE) @ root.T
    order, now = [], c.clone()
    for _ in range(3):
        best = int(now.diagonal().argmax())
        order.append(best)
        now = now - torch.outer(now[best], now[best]) / (now[best, best] + 0.25)
    chosen, found = choose_sensors(draws, 3, std=0.5)
    assert chosen == order and bool((found.diff() > 0).all())
    assert choose_sensors(draws, 2, std=0.5, taken=order[:1])[0] == order[1:]


def test_weights_stand_for_copies() -> None:
    y = Rng(2).normal((4, 5), like=LIKE)
    weights = torch.tensor([0.5, 0.25, 0.125, 0.125]).double()
    copies = y[[0, 0, 0, 0, 1, 1, 2, 3]]
    one, two = choose_sensors(y, 2, std=0.3, weights=weights), choose_sensors(copies, 2, std=0.3)
    assert one[0] == two[0]
    torch.testing.assert_close(one[1], two[1])


def test_bad_input() -> None:
    y = torch.zeros(4, 3)
    with pytest.raises(ShapeError, match="expected what each member foretells at every site, .N, m., got .4, 1, 3."):
        choose_sensors(y[:, None], 1, std=1.0)
    with pytest.raises(ShapeError, match="one weight for each of 4 members, got .3,."):
        choose_sensors(y, 1, std=1.0, weights=torch.ones(3))
    with pytest.raises(InputError, match="two members or more and 1 to 2 sites, got 4 and 3"):
        choose_sensors(y, 3, std=1.0, taken=[0])
    with pytest.raises(InputError, match="taken sites within 0 to 2, got .5,."):
        choose_sensors(y, 1, std=1.0, taken=[5])
    with pytest.raises(InputError, match="a positive std for all sites or for each of 3, got 0.0"):
        choose_sensors(y, 1, std=0.0)
    with pytest.raises(InputError, match="expected finite predictions"):
        choose_sensors(y / 0, 1, std=1.0)
