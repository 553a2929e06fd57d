"""Networks averaged: the mean of outputs, the file, what is refused."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import read, write
from physdiff.networks.averaged import AveragedNetwork
from physdiff.networks.fno import FNO


def nets(count: int = 3) -> tuple[FNO, ...]:
    torch.manual_seed(0)
    return tuple(FNO(2, 1, ndim=1, periodic=True, width=4, modes=2, layers=1) for _ in range(count))


def test_the_mean_of_what_they_say(tmp_path) -> None:
    parts, x = nets(), torch.randn(5, 2, 8)
    whole = AveragedNetwork(parts)
    torch.testing.assert_close(whole(x), (parts[0](x) + parts[1](x) + parts[2](x)) / 3)
    assert whole.ndim == 1
    again, _ = read(write(tmp_path / "net.prior", whole))
    assert torch.equal(again(x), whole(x))


def test_networks_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="got 0 on none"):
        AveragedNetwork(())
    with pytest.raises(InputError, match="same number of axes"):
        AveragedNetwork((*nets(1), FNO(2, 1, ndim=2, width=4, modes=2, layers=1)))
