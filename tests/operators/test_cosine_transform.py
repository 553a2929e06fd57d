from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from physdiff.operators.cosine_transform import (
    cosine_transform,
    inverse_cosine_transform,
    inverse_sine_transform,
    second_difference_symbol,
    sine_transform,
)

F = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("axis", [1, -1])
def test_scipy_agrees_and_the_inverse_returns(axis):
    for forward, back, peer in (
        (cosine_transform, inverse_cosine_transform, scipy.fft.dct),
        (sine_transform, inverse_sine_transform, scipy.fft.dst),
    ):
        np.testing.assert_allclose(forward(F, axis).numpy(), peer(F.numpy(), type=2, axis=axis), atol=1e-12)
        torch.testing.assert_close(back(forward(F, axis), axis), F)
        assert back(forward(F.float(), axis), axis).dtype == torch.float32


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize(("kind", "forward", "sign"), [("cosine", cosine_transform, 1.0), ("sine", sine_transform, -1.0)])
def test_the_second_difference_is_diagonal(n, kind, forward, sign):
    h, f = 0.3, torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wide = torch.cat([sign * f[:1], f, sign * f[-1:]])
    second = (wide[2:] - 2 * wide[1:-1] + wide[:-2]) / h**2
    torch.testing.assert_close(forward(second, 0), second_difference_symbol(n, h, kind) * forward(f, 0), atol=1e-11, rtol=0)


def test_gradients():
    f = F[:1, :3, :4].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: inverse_sine_transform(cosine_transform(v, -1), 1), (f,))
