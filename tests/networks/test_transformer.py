"""Diffusion transformer: symmetries, positions, derivatives, other grids, independence of the batch, storage."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe, read, write
from physdiff.networks.transformer import AxialViT, DiT, _in_line, _rotation, _shares, _turned


def trained(*args, seed=0, size=0.5, **options):
    """A transformer with none of its zeros left, as after training."""
    torch.manual_seed(seed)
    net = DiT(*args, **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=size / math.sqrt(p[0].numel() if p.ndim > 1 else p.numel()))
    return net.eval()


@pytest.mark.parametrize("axes", [(1,), (13,), (1, 8), (9, 6), (5, 3, 4)])
@pytest.mark.parametrize("circles", ["none", "all", "last"])
def test_any_lengths_of_the_axes(axes, circles):
    periodic = {"none": False, "all": True, "last": (False,) * (len(axes) - 1) + (True,)}[circles]
    net = trained(3, 2, ndim=len(axes), periodic=periodic, width=16, depth=1)
    y = net(torch.randn(2, 3, *axes), torch.tensor(0.2))
    assert y.shape == (2, 2, *axes) and y.isfinite().all() and y.is_contiguous()


@pytest.mark.parametrize(
    ("axes", "periodic", "shift", "patch"),
    [
        ((12,), (True,), (2,), 2),
        ((6, 9), (True, True), (2, 3), (2, 3)),
        ((5, 8), (False, True), (0, 4), 2),
        ((3, 4, 4), (True, False, True), (1, 0, 2), (1, 2, 2)),
    ],
)
def test_shifts_by_whole_boxes_along_circles_commute(axes, periodic, shift, patch):
    net = trained(2, 3, ndim=len(axes), periodic=periodic, width=32, depth=2, patch=patch).double()
    x, c = torch.randn(2, 2, *axes, dtype=torch.float64), torch.tensor([-0.5, 0.4])
    dims = tuple(range(2, 2 + len(axes)))
    # rounding of float64 through some twenty layers
    torch.testing.assert_close(net(x.roll(shift, dims), c), net(x, c).roll(shift, dims), rtol=1e-10, atol=1e-10)


def test_places_between_walls_differ_and_neighbours_are_told_from_strangers():
    x, c = torch.randn(1, 1, 12, dtype=torch.float64), torch.tensor(0.0)
    walled = trained(1, 1, ndim=1, width=32, depth=2).double()
    assert (walled(x.roll(2, 2), c) - walled(x, c).roll(2, 2)).abs().max() > 1e-3
    # without positions a transformer would not see the order of the boxes
    circle = trained(1, 1, ndim=1, periodic=True, width=32, depth=2).double()
    order = torch.tensor([0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11])
    assert (circle(x[..., order], c) - circle(x, c)[..., order]).abs().max() > 1e-3


@pytest.mark.parametrize("closed", [True, False])
def test_attention_depends_on_the_distance_alone_and_has_no_seam_on_a_circle(closed):
    n = 8
    turn = _rotation(_shares(torch.Size((n,)), like=torch.zeros((), dtype=torch.float64)), (closed,), 16)
    q, k = torch.randn(2, 16, dtype=torch.float64).unsqueeze(1).expand(2, n, 16)
    scores = _turned(q, turn) @ _turned(k, turn).T
    for i in range(n - 1):
        for j in range(n - 1):
            torch.testing.assert_close(scores[i, j], scores[i + 1, j + 1])
    if closed:  # from the last to the first box is one step
        torch.testing.assert_close(scores[n - 1, 0], scores[0, 1])
    else:
        assert abs(scores[n - 1, 0] - scores[0, 1]) > 1e-3


def test_a_finer_grid_of_the_same_domain_gives_nearly_the_same_field():
    """Positions are shares of the domain: boxes twice as fine see the same smooth field at the same places."""
    net = trained(1, 1, ndim=1, periodic=True, width=32, depth=2, patch=1, seed=2).double()
    c = torch.tensor(0.3)

    def field(n: int) -> torch.Tensor:
        x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        return net(torch.sin(2 * torch.pi * x).add(0.4 * torch.cos(4 * torch.pi * x)).reshape(1, 1, n), c)[0, 0]

    def mean(n: int) -> torch.Tensor:
        return field(n).reshape(32, -1).mean(1)

    # attention is a mean over boxes, the midpoint rule of an integral over a circle: exact for smooth fields; what is left is the mean over two cells
    assert (mean(64) - mean(128)).abs().max() < 0.02 * (mean(64).max() - mean(64).min())


def test_gradients_against_finite_differences():
    net = trained(2, 1, ndim=2, periodic=(False, True), width=16, depth=1).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    v = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    (g,) = torch.autograd.grad(net(x, torch.tensor(0.1)).square().sum(), x)
    h = 1e-5
    with torch.no_grad():
        left, right = (net(x + s * h * v, torch.tensor(0.1)).square().sum() for s in (-1, 1))
    # central differences: an error of h^2
    torch.testing.assert_close((g * v).sum(), (right - left) / (2 * h), rtol=1e-6, atol=1e-8)


def test_samples_do_not_see_each_other_and_levels_are_seen():
    net = trained(1, 1, ndim=1, width=16, depth=1).double()
    x, c = torch.randn(3, 1, 6, dtype=torch.float64), torch.tensor([0.1, -0.3, 0.6])
    torch.testing.assert_close(net(x, c)[1:2], net(x[1:2], c[1:2]), rtol=1e-12, atol=1e-12)
    assert (net(x[:1], c[:1]) - net(x[:1], c[1:2])).abs().max() > 1e-4


def test_a_fresh_one_gives_zero_and_gets_gradients(tmp_path):
    net = DiT(1, 1, ndim=1, width=16, depth=1)
    assert torch.equal(net(torch.randn(2, 1, 8), torch.tensor(0.0)), torch.zeros(2, 1, 8))
    net(torch.randn(2, 1, 8), torch.tensor(0.0)).sum().backward()
    assert net.head.bias.grad.abs().sum() > 0
    assert build(describe(net)).patch == (2,)
    net = trained(1, 2, ndim=2, periodic=(True, False), width=16, depth=1, patch=(1, 2))
    write(tmp_path / "net", net)
    x = torch.randn(1, 1, 3, 5)
    assert torch.equal(read(tmp_path / "net")[0].eval()(x, torch.tensor(0.1)), net(x, torch.tensor(0.1)))


@pytest.mark.parametrize("options", [{"width": 6}, {"dropout": 1.0}, {"depth": 0}, {"patch": 0}, {"ndim": 4}, {"patch": (1, 2)}])
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(InputError):
        DiT(1, 1, **{"ndim": 1, **options})


def _stirred_axial(**options) -> AxialViT:
    torch.manual_seed(0)
    net = AxialViT(2, 2, width=16, depth=2, patch=1, **options).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return net


def test_on_one_axis_axial_attention_is_all_attention():
    net = _stirred_axial(ndim=1)
    whole = DiT(2, 2, width=16, depth=2, patch=1, ndim=1).double()
    whole.load_state_dict(net.state_dict())
    x, level = torch.randn(2, 2, 9, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(net(x, level), whole(x, level), rtol=1e-10, atol=1e-10)


def test_axial_attention_by_brute_force():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 1, 12, 4, dtype=torch.float64)
    found = _in_line(q, k, v, torch.Size((3, 4))).reshape(2, 1, 3, 4, 4)
    q, k, v = (p.reshape(2, 1, 3, 4, 4) for p in (q, k, v))
    for i in range(3):
        for j in range(4):
            expected = 0
            for keys, values in ((k[:, 0, :, j], v[:, 0, :, j]), (k[:, 0, i], v[:, 0, i])):
                share = torch.softmax((keys * q[:, 0, i, j, None]).sum(-1) / 2, -1)
                expected = expected + (share[..., None] * values).sum(1)
            torch.testing.assert_close(found[:, 0, i, j], expected, rtol=1e-10, atol=1e-10)


def test_axial_shifts_commute_and_every_weight_gets_a_gradient():
    net, x = _stirred_axial(ndim=3, periodic=(False, True, True)), torch.randn(1, 2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll((2, 1), (3, 4))), net(x).roll((2, 1), (3, 4)), rtol=1e-9, atol=1e-9)
    net(x, torch.tensor(0.2, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())
