"""Momentum diffusion: the law on ln p is the law in p, peaks, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.operators.autograd import Autograd
from physdiff.pdes.momentum_diffusion import MomentumDiffusion


def test_the_logarithmic_law_is_the_law_in_momentum():
    d0, q, b, tau = 0.7, 1.4, 0.3, 2.5

    def number(p, t):
        return p**1.3 * torch.exp(-0.4 * p - 0.2 * t)

    y = torch.linspace(-1.0, 1.5, 30, dtype=torch.float64).requires_grad_()
    t = torch.full_like(y, 0.4).requires_grad_()
    law = MomentumDiffusion(d0, q, b, tau, source=lambda p, t: torch.exp(-p) * (1 + t)).law()
    p = torch.exp(y)
    on_logarithm = law.residual({"density": p * number(p, t)}, Autograd((y,), t), t)["density"].detach()
    # by hand in p: n_t - d_p[D n_p - (2 D/p - b p^2) n] + n/tau - Q
    p, time = p.detach().requires_grad_(), t.detach().requires_grad_()
    n = number(p, time)
    n_t, n_p = torch.autograd.grad(n.sum(), (time, p), create_graph=True)
    spread = d0 * p**q
    (change,) = torch.autograd.grad((spread * n_p - (2 * spread / p - b * p**2) * n).sum(), p)
    by_hand = n_t - change + n / tau - torch.exp(-p) * (1 + time)
    assert torch.allclose(on_logarithm, (p * by_hand).detach(), atol=1e-12)


@pytest.mark.parametrize(("q", "peak", "balance"), [(5 / 3, 1.682, 2.650), (2.0, 2.000, 4.000)])
def test_golden_peaks(q, peak, balance):
    law = MomentumDiffusion(1.0, q, 1.0)
    assert law.peak() == pytest.approx(peak, abs=5e-4) and law.balance() == pytest.approx(balance, abs=5e-4)
    p = torch.linspace(0.5, 6.0, 100_001, dtype=torch.float64)
    assert float(p[law.equilibrium(p).argmax()]) == pytest.approx(peak, abs=1e-3)


def test_the_grid_spans_the_momenta():
    grid = MomentumDiffusion.grid(10, 0.01, 100.0)
    assert grid.origin == (math.log(0.01),) and grid.extent[0] == pytest.approx(math.log(1e4)) and grid.periodic == (False,)


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="diffusion: expected values that are positive"):
        MomentumDiffusion(0.0, 2.0)
    with pytest.raises(InputError, match="escape"):
        MomentumDiffusion(1.0, 2.0, escape=-1.0)
    with pytest.raises(InputError, match="to hold particles"):
        MomentumDiffusion(1.0, 2.0).peak()
    with pytest.raises(InputError, match="to hold particles"):
        MomentumDiffusion(1.0, 3.0, 1.0).equilibrium(torch.ones(3))
    with pytest.raises(InputError, match="highest above lowest"):
        MomentumDiffusion.grid(10, 2.0, 1.0)
