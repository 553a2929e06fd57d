"""Frames as channels, and known frames that go and come back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.transforms.frames import DropHistory, FramesToChannels


def numbers(*shape: int) -> Tensor:
    return torch.arange(torch.tensor(shape).prod(), dtype=torch.float64).reshape(shape)


@given(shape=st.tuples(*[st.integers(1, 4)] * 4), extra=st.integers(0, 1))
def test_frames_become_channels_and_frames_again(shape: tuple[int, ...], extra: int) -> None:
    batch, channels, frames, space = shape
    x = numbers(batch, channels, frames, space, *[2] * extra)
    transform = FramesToChannels(frames)
    z = transform.encode(x)
    assert tuple(z.shape[1:]) == transform.out_shape(tuple(x.shape[1:]))
    assert torch.equal(transform.decode(z), x)
    assert torch.equal(transform.weight(x), z)
    # channel c T + t is frame t of field c
    assert torch.equal(z[:, (channels - 1) * frames, 0], x[:, channels - 1, 0])


def test_another_number_of_frames_is_refused() -> None:
    transform = FramesToChannels(3)
    for call in (lambda: transform.encode(numbers(1, 1, 4, 2)), lambda: transform.out_shape((1, 4, 2))):
        with pytest.raises(ShapeError, match="windows of 3 frames"):
            call()
    for shape in ((1, 4, 1, 2), (1, 3, 2, 2)):
        with pytest.raises(ShapeError, match="a multiple of 3, 1"):
            transform.decode(numbers(*shape))
    with pytest.raises(InputError, match="frames >= 1"):
        FramesToChannels(0)


@given(history=st.integers(0, 3), horizon=st.integers(1, 3), shared=st.booleans())
def test_known_frames_come_back_from_the_condition(history: int, horizon: int, shared: bool) -> None:
    x = numbers(2, 2, history + horizon, 3)
    if shared:
        x[:, :, :history] = x[:1, :, :history]
    cond = torch.cat([x, torch.full((2, 2, history + horizon, 3), -1.0)], dim=1)
    cond[:, :, history:] = -7
    transform = DropHistory(history)
    z = transform.encode(x, cond)
    assert tuple(z.shape[1:]) == transform.out_shape((2, history + horizon, 3))
    assert torch.equal(z, x[:, :, history:])
    assert torch.equal(transform.weight(x), z)
    assert torch.equal(transform.decode(z, cond[:1] if shared else cond), x)


def test_one_window_of_coefficients_for_many_conditions() -> None:
    z, cond = numbers(1, 1, 2, 3), numbers(4, 2, 3, 3)
    x = DropHistory(1).decode(z, cond)
    assert torch.equal(x, torch.cat([cond[:, :1, :1], z.expand(4, 1, 2, 3)], dim=2))


def test_what_drop_history_refuses() -> None:
    with pytest.raises(InputError, match="history >= 0"):
        DropHistory(-1)
    with pytest.raises(InputError, match="pass cond"):
        DropHistory(1).decode(numbers(1, 1, 1, 2))
    for call in (lambda: DropHistory(2).encode(numbers(1, 1, 2, 2)), lambda: DropHistory(2).out_shape((1, 2, 2))):
        with pytest.raises(ShapeError, match="more than 2 frames"):
            call()
