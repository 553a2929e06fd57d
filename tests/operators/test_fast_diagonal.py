"""The solver against dense matrices, for every pair of ends."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.operators.fast_diagonal import FastDiagonal, Line

ENDS = [("periodic", "periodic"), *((a, b) for a in ("closed", "face", "node") for b in ("closed", "face", "node"))]


def laplacian(lines):
    """The sum over axes, typed anew as Kronecker products."""
    size = math.prod(line.points for line in lines)
    total = torch.zeros(size, size, dtype=torch.float64)
    for axis, line in enumerate(lines):
        made = torch.ones(1, 1, dtype=torch.float64)
        for other, beside in enumerate(lines):
            made = torch.kron(made, line.matrix() if other == axis else torch.eye(beside.points, dtype=torch.float64))
        total += made
    return total


@pytest.mark.parametrize("ends", ENDS)
def test_it_inverts_the_matrix(ends):
    lines = (Line(4, 0.3, ("closed", "closed")), Line(5, 0.7, ends), Line(3, 0.5, ("periodic", "periodic")))
    dense, solver = laplacian(lines), FastDiagonal(lines)
    f = torch.randn(2, 4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = f.mean((1, 2, 3), keepdim=True) if ends in (("periodic",) * 2, ("closed",) * 2) else 0.0
    assert solver.singular == (ends in (("periodic",) * 2, ("closed",) * 2))
    torch.testing.assert_close(solver.laplacian(f), (f.reshape(2, -1) @ dense).reshape(f.shape), atol=1e-12, rtol=0)
    g = solver.poisson(f)
    torch.testing.assert_close((g.reshape(2, -1) @ dense).reshape(f.shape), f - mean, atol=1e-12, rtol=0)
    if solver.singular:
        assert float(g.mean((1, 2, 3)).abs().max()) < 1e-14
    a = torch.tensor([0.2, 3.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    h = solver.helmholtz(f, a)
    torch.testing.assert_close(h - a * (h.reshape(2, -1) @ dense).reshape(f.shape), f, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("ends", "shape"), [(("face", "face"), "sin"), (("closed", "closed"), "cos"), (("face", "closed"), "quarter")])
def test_the_second_difference_is_of_second_order(ends, shape):
    errors = []
    for n in (16, 32):
        x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        k = {"sin": math.pi, "cos": math.pi, "quarter": math.pi / 2}[shape]
        f = torch.cos(k * x) if shape == "cos" else torch.sin(k * x)
        errors.append(float((Line(n, 1 / n, ends).matrix() @ f + k * k * f).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_refusals():
    with pytest.raises(InputError, match="Line ends"):
        Line(4, 0.1, ("closed", "open"))
    solver = FastDiagonal([Line(4, 0.1, ("closed", "face"))])
    with pytest.raises(ShapeError, match="FastDiagonal: expected a field of shape"):
        solver.poisson(torch.zeros(2, 5))
    with pytest.raises(InputError, match="at least zero"):
        solver.helmholtz(torch.zeros(4), -1.0)
