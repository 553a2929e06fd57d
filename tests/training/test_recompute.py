"""Recomputed blocks: the same gradients, less kept for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.networks.fno import FNO
from physdiff.networks.unet import UNet
from physdiff.training.recompute import recomputed


def gradient(net: nn.Module, x: torch.Tensor, *args: torch.Tensor) -> tuple[list[torch.Tensor], int]:
    """Gradients, and the bytes that were kept to compute them."""
    kept = 0

    def note(part: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += part.numel() * part.element_size()
        return part

    net.zero_grad()
    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda part: part):
        loss = net(x, *args).square().mean()
    loss.backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None], kept


@pytest.mark.parametrize("kind", ["unet", "fno"])
def test_the_same_gradients_and_less_kept(kind) -> None:
    torch.manual_seed(0)
    if kind == "unet":
        net: nn.Module = UNet(2, 2, ndim=1, periodic=True, width=8, multipliers=(1, 2), dropout=0.2)
        arguments = (torch.randn(4, 2, 64), torch.linspace(0.1, 0.9, 4))
    else:
        net, arguments = FNO(2, 2, ndim=1, width=8), (torch.randn(4, 2, 64),)
    for p in net.parameters():  # last layers begin at zero and would hide the others' gradients
        p.data.add_(0.01 * torch.randn_like(p))
    plain, all_kept = gradient(net.train(), *arguments)
    with recomputed(net) as count:
        again, less_kept = gradient(net, *arguments)
    print(f"{kind}: {count} blocks, {all_kept} bytes kept, {less_kept} where recomputed")
    assert count >= 2 and less_kept < 0.5 * all_kept
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert all("forward" not in vars(part) for part in net.modules())
    assert gradient(net, *arguments)[1] == all_kept


def test_a_network_without_blocks() -> None:
    with pytest.raises(InputError, match="lists of blocks, got Linear without; leave recompute out"), recomputed(nn.Linear(2, 2)):
        pass
