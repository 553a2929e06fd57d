"""U-Net: symmetries, derivatives, independence of the batch, any shape, storage."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe, read, write
from physdiff.networks.unet import UNet


def trained(*args, seed=0, **options):
    """A U-Net with none of its zeros left, as after training."""
    torch.manual_seed(seed)
    net = UNet(*args, **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.3 / math.sqrt(p[0].numel() if p.ndim > 1 else p.numel()))
    return net.eval()


SHAPES = [(1,), (2,), (13,), (64,), (1, 1), (1, 8), (33, 49), (16, 5), (1, 6, 7), (4, 8, 8), (5, 3, 9)]


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("circles", ["none", "all", "last"])
def test_any_lengths_of_the_axes(axes, circles):
    periodic = {"none": False, "all": True, "last": (False,) * (len(axes) - 1) + (True,)}[circles]
    net = trained(3, 2, ndim=len(axes), periodic=periodic, width=8)
    y = net(torch.randn(2, 3, *axes), torch.tensor(0.2))
    assert y.shape == (2, 2, *axes) and y.isfinite().all() and y.is_contiguous()


@pytest.mark.parametrize(
    ("axes", "periodic", "shift"),
    [
        ((16,), (True,), (4,)),
        ((12, 20), (True, True), (8, 4)),
        ((9, 16), (False, True), (0, 12)),
        ((4, 7, 8), (True, False, True), (0, 0, 4)),
    ],
)
def test_shifts_along_circles_commute(axes, periodic, shift):
    net = trained(2, 3, ndim=len(axes), periodic=periodic, width=8).double()
    x, c = torch.randn(2, 2, *axes, dtype=torch.float64), torch.tensor([-0.5, 0.4])
    dims = tuple(range(2, 2 + len(axes)))
    # rounding of float64 through some forty layers
    torch.testing.assert_close(net(x.roll(shift, dims), c), net(x, c).roll(shift, dims), rtol=1e-10, atol=1e-10)


def test_a_shift_by_less_than_the_coarsest_cell_does_not_commute():
    # so that the test above can fail
    net = trained(1, 1, ndim=1, periodic=True, width=8).double()
    x, c = torch.randn(1, 1, 16, dtype=torch.float64), torch.tensor(0.0)
    assert (net(x.roll(1, 2), c) - net(x, c).roll(1, 2)).abs().max() > 1e-3


def test_walls_do_not_see_the_other_end():
    # ten convolutions of 3 cells reach 10 cells at most; attention would reach all
    options = {"ndim": 1, "width": 8, "multipliers": (1,), "attention": False}
    x = torch.zeros(1, 1, 64)
    bump = x.clone()
    bump[..., 0] = 1.0
    for periodic in (False, True):
        net = trained(1, 1, periodic=periodic, **options)
        for module in net.modules():  # group norm looks at the whole field on purpose
            if isinstance(module, nn.GroupNorm):
                module.forward = lambda h: h
        difference = (net(bump, torch.tensor(0.0)) - net(x, torch.tensor(0.0))).abs()[0, 0]
        assert difference[:8].max() > 1e-3
        assert (difference[-1].item() > 1e-4) is periodic
        assert difference[20:44].max() == 0


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients_against_finite_differences(ndim):
    net = trained(1, 1, ndim=ndim, periodic=(False,) * (ndim - 1) + (True,), width=2, multipliers=(1, 2)).double()
    x = torch.randn(1, 1, *(3, 4, 2)[:ndim], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x, c))


def test_a_sample_does_not_depend_on_its_batch():
    net = trained(4, 4, periodic=(False, True), width=16)
    x, c = torch.randn(16, 4, 17, 16), torch.linspace(-1, 1, 16)
    with torch.no_grad():
        together, alone = net(x, c), torch.cat([net(x[i : i + 1], c[i : i + 1]) for i in range(16)])
    # float32 rounding, 6e-8 of sums of some hundred terms
    assert (together - alone).abs().max() < 1e-5 * together.abs().max()


@pytest.mark.parametrize("multipliers", [(1, 2, 2), ((1, 1), (2, 3))])
def test_all_parameters_receive_gradients(multipliers):
    net = trained(2, 2, periodic=True, width=8, multipliers=multipliers, attention=True).train()
    net(torch.randn(3, 2, 8, 8), torch.tensor([-1.0, 0.0, 1.0])).square().sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert idle == []


def test_noise_changes_the_output_and_only_of_its_sample():
    net = trained(1, 1, width=8)
    x = torch.randn(1, 1, 8, 8).expand(2, -1, -1, -1)
    low, high = net(x, torch.tensor([-1.0, 1.0]))
    assert (low - high).abs().max() > 1e-2 * low.abs().max()
    torch.testing.assert_close(net(x, torch.tensor(-1.0)), low.expand(2, -1, -1, -1), rtol=1e-4, atol=1e-5)


def test_every_residual_block_hears_the_noise():
    net = trained(1, 1, width=8)
    heard = []
    for module in net.modules():
        if type(module).__name__ == "AdaptiveNorm":
            module.register_forward_hook(lambda m, args, out: heard.append((out[0] - out[1]).abs().max().item()))
    net(torch.zeros(2, 1, 8, 8), torch.tensor([-1.0, 1.0]))
    assert len(heard) == 8 and min(heard) > 1e-3


def test_fresh_network_returns_zero():
    assert not UNet(2, 3, width=8)(torch.randn(1, 2, 8, 8), torch.tensor(0.0)).any()


def test_dropout_acts_in_training_only():
    net = trained(1, 1, width=8, dropout=0.5)
    x, c = torch.randn(1, 1, 8, 8), torch.tensor(0.0)
    assert torch.equal(net(x, c), net(x, c))
    net.train()
    assert not torch.equal(net(x, c), net(x, c))


def test_attention_where_it_is_asked_for():
    def count(**options):
        return sum(type(m).__name__ == "SelfAttention" for m in UNet(1, 1, width=8, **options).modules())

    assert [count(attention=a) for a in (False, True, (True, False, True))] == [0, 2, 4]


def test_described_written_and_built_again(tmp_path):
    net = trained(
        3,
        2,
        ndim=1,
        periodic=(True,),
        width=4,
        multipliers=((1, 1), (2, 2)),
        attention=(False, True),
        dropout=0.1,
    )
    x, c = torch.randn(2, 3, 9), torch.tensor([0.1, 0.2])
    twin = build(describe(net)).eval()
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(x, c), net(x, c))
    loaded, _ = read(write(tmp_path / "net", net))
    assert torch.equal(loaded.eval()(x, c), net(x, c))


def test_default_size():
    assert 0.8e6 < sum(p.numel() for p in UNet(16, 16, periodic=True).parameters()) < 1.3e6


@pytest.mark.parametrize(
    "options",
    [
        {"ndim": 4},
        {"width": 0},
        {"multipliers": ()},
        {"multipliers": (1, 0)},
        {"multipliers": (1, ())},
        {"attention": (True,)},
        {"dropout": 1.0},
        {"periodic": (True,)},
    ],
)
def test_refuses_arguments_without_sense(options):
    with pytest.raises(InputError, match="expected"):
        UNet(1, 1, **options)


@pytest.mark.parametrize(("shape", "noise"), [((1, 2, 8), ()), ((1, 3, 8, 8), ()), ((2, 2, 8, 8), (3,)), ((2, 2, 8, 8), (2, 1))])
def test_refuses_shapes_that_do_not_fit(shape, noise):
    with pytest.raises(ShapeError, match="expected"):
        UNet(2, 2, width=4)(torch.zeros(shape), torch.zeros(noise))
