"""Products with a derivative and its transpose against central differences and each other."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.inference.linearised import Linearised

LIKE = torch.zeros((), dtype=torch.float64)


def curve(z):
    """(B, 3) -> (B, 2), and a number beside."""
    return torch.stack([z[:, 0] * z[:, 1].sin(), z[:, 2] ** 3 + z[:, 0]], 1), torch.ones(2)


def test_products_with_the_derivative() -> None:
    z, v, w = (Rng(k).normal((4, n), like=LIKE) for k, n in ((0, 3), (1, 3), (2, 2)))
    linear, h = Linearised(curve, z), 1e-5
    # central differences: h^2 times third derivatives, some 1e-10
    torch.testing.assert_close(linear.forward(v), (curve(z + h * v)[0] - curve(z - h * v)[0]) / (2 * h), rtol=0, atol=1e-8)
    torch.testing.assert_close((linear.transpose(w) * v).sum(1), (linear.forward(v) * w).sum(1), rtol=0, atol=1e-12)
    assert linear.products == 4 and torch.equal(linear.value, curve(z)[0])


def test_a_black_box_is_refused() -> None:
    with pytest.raises(InputError, match="got a black box"):
        Linearised(lambda z: (z.detach() ** 2, z), torch.ones(1, 2))
