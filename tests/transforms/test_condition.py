"""What the network is told: completion, layout, statistics, shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, NotFitted
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.linear_forecast import LinearForecast
from physdiff.transforms.transform import Sample
from physdiff.transforms.wavelet import WaveletTransform

LIKE = torch.zeros((), dtype=torch.float64)
SPACE, HISTORY, HORIZON, FIELDS = (4, 8), 2, 3, 2
T = HISTORY + HORIZON


def normal(*shape: int, key: str) -> Tensor:
    return Rng(3).child(key).normal(shape, like=LIKE)


def windows(n: int = 50, extras: int = 2) -> Tensor:
    """Condition windows: two fields (kelvin, pascal), known in the first frames, one extra in time, one static."""
    mean, std = torch.tensor([[280.0, 1e5], [2.0, 500.0]]).double().reshape(2, 2, 1, 1, 1)
    values = mean + std * normal(n, 2, T, *SPACE, key="v")
    values[:, :, HISTORY:] = values[:, :, HISTORY - 1 : HISTORY]
    known = torch.zeros(n, 1, T, *SPACE).double()
    known[:, :, :HISTORY] = 1
    hour = torch.sin(torch.arange(n).double()).reshape(n, 1, 1, 1, 1).expand_as(known)
    static = (1000 + 100 * normal(*SPACE, key="s")).expand_as(known)
    return torch.cat([values, known, *[hour, static][:extras]], dim=1)


def climatology() -> Anomaly:
    return Anomaly("all", torch.tensor([280.0, 1e5]).reshape(1, 2, 1, 1) + normal(1, 2, *SPACE, key="c").float())


def guess() -> LinearForecast:
    """Half of the newest anomaly at every lead."""
    size = FIELDS * 32
    eye = torch.eye(size).reshape(size, FIELDS, *SPACE)
    half = torch.zeros(HORIZON, size, HISTORY * size)
    half[:, :, :size] = 0.5 * torch.eye(size)
    return LinearForecast(eye, eye, regression=half, damping=torch.zeros(HORIZON))


def wavelet(frames: int, levels: int = 2) -> WaveletTransform:
    return WaveletTransform("haar", levels, shape=(frames, *SPACE), dims=("y", "x"), periodic=(True, True))


def stream(transform: ConditionTransform, cond: Tensor):
    def batches() -> Iterator[Sample]:
        for part in cond.split(16):
            yield Sample(part[:, :FIELDS], transform.complete(part))

    return batches


def fitted(transform: ConditionTransform, cond: Tensor) -> ConditionTransform:
    return transform.fitted_from(stream(transform, cond))


# --------------------------------------------------------------------------------------------------------- completion


def test_the_guess_is_appended_last_and_is_of_the_anomaly() -> None:
    cond, anomaly = windows(), climatology()
    completed = ConditionTransform(FIELDS, anomaly, guess=guess()).complete(cond)
    assert torch.equal(completed[:, :5], cond)
    assert float(completed[:, 5:, :HISTORY].abs().max()) == 0
    newest = cond[:, :FIELDS, HISTORY - 1] - anomaly.climatology[0]
    # float32 weights of one half are exact
    torch.testing.assert_close(completed[:, 5:, HISTORY:], 0.5 * newest[:, :, None].expand(-1, -1, HORIZON, -1, -1), rtol=0, atol=1e-9)


def test_a_given_guess_takes_the_place_of_the_own() -> None:
    cond, other = windows(), normal(50, FIELDS, T, *SPACE, key="o")
    completed = ConditionTransform(FIELDS, climatology(), guess=guess()).complete(cond, other)
    assert torch.equal(completed, torch.cat([cond, other], dim=1))
    assert torch.equal(ConditionTransform(FIELDS).complete(cond, other), cond)


# -------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("history", [None, 0, 1, 2])
@pytest.mark.parametrize("guessed", [False, True])
@pytest.mark.parametrize("extras", [0, 2])
def test_out_shape_agrees_with_encode(levels: int, history: int | None, guessed: bool, extras: int) -> None:
    cond = windows(3, extras)
    frames = T if history is None else 1
    transform = ConditionTransform(
        FIELDS, climatology(), wavelet(frames, levels) if levels else None, guess=guess() if guessed else None, history=history
    )
    if history == 0 and not guessed and not extras:
        with pytest.raises(InputError, match="leave the condition out"):
            fitted(transform, cond).encode(cond)
        return
    transform = fitted(transform, cond)
    completed = transform.complete(cond)
    encoded = transform.encode(completed)
    assert tuple(encoded.shape[1:]) == transform.out_shape(tuple(cond.shape[1:]))
    assert encoded.shape[2:] == (frames, *(n // 2**levels for n in SPACE))
    parts, shares = 4**levels, (4**levels - 1) // 3 or 1
    if history is None:
        expected = FIELDS * parts * (1 + guessed) + shares + extras
    else:
        expected = FIELDS * history * parts + shares * history + extras + guessed * FIELDS * (T - history) * parts
    assert encoded.shape[1] == expected


def test_channels_come_in_the_documented_order_when_frames_become_channels() -> None:
    cond = windows()
    transform = fitted(ConditionTransform(FIELDS, climatology(), guess=guess(), history=HISTORY), cond)
    completed = transform.complete(cond)
    z = transform.encode(completed)[:, :, 0]
    mean, std = (s.double().flatten() for s in (transform.mean, transform.std))
    anomaly = cond[:, :FIELDS] - transform.anomaly.climatology[0][:, None]
    for c in range(FIELDS):
        for t in range(HISTORY):
            torch.testing.assert_close(z[:, c * HISTORY + t], (anomaly[:, c, t] - mean[c]) / std[c])
    assert bool((z[:, 4:6] == 1).all())
    torch.testing.assert_close(z[:, 6:8], (cond[:, 3:5, 0] - mean[2:4, None, None]) / std[2:4, None, None])
    ahead = (completed[:, 5:, HISTORY:] - mean[4:, None, None, None]) / std[4:, None, None, None]
    torch.testing.assert_close(z[:, 8:], ahead.flatten(1, 2))


# ---------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("history", [None, HISTORY])
def test_what_the_network_sees_has_zero_mean_and_unit_variance(history: int | None) -> None:
    cond = windows()
    cond[:, 3:4] = normal(50, 1, T, *SPACE, key="e")[:, :, :1] * 3 + 1
    transform = fitted(ConditionTransform(FIELDS, climatology(), guess=guess(), history=history), cond)
    z = transform.encode(transform.complete(cond))
    if history is None:
        groups = [z[:, 0, :HISTORY], z[:, 1, :HISTORY], z[:, 2, HISTORY:], z[:, 3, HISTORY:], z[:, 5], z[:, 6]]
    else:
        groups = [z[:, :2], z[:, 2:4], z[:, 8:11], z[:, 11:14], z[:, 6], z[:, 7]]
    for group in groups:
        # statistics are float32
        assert float(group.mean()) == pytest.approx(0, abs=1e-4)
        assert float(group.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_filled_entries_neither_count_nor_speak() -> None:
    """Whatever stands in unknown entries, statistics and encoded fields are the same."""
    cond = windows()
    other = cond.clone()
    other[:, :FIELDS, HISTORY:] = 77
    transform = ConditionTransform(FIELDS, climatology(), wavelet(T))
    one, two = fitted(transform, cond), fitted(transform, other)
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.std, two.std)
    assert torch.equal(one.encode(cond), two.encode(other))


def test_a_field_of_small_numbers_is_scaled_and_a_constant_is_not() -> None:
    cond = windows()
    cond[:, 0] = 1e-9 * normal(50, T, *SPACE, key="q")
    cond[:, 4] = 3.5
    transform = fitted(ConditionTransform(FIELDS), cond)
    z = transform.encode(cond)
    assert float(z[:, 0, :HISTORY].std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert float(transform.std[3]) == 1
    assert float(z[:, -1].abs().max()) == 0


def test_without_history_the_unknown_fields_stand_still() -> None:
    cond = windows()
    cond[:, 2] = 0
    transform = fitted(ConditionTransform(FIELDS, climatology(), history=0), cond)
    assert transform.encode(cond).shape[1] == 2


# ---------------------------------------------------------------------------------------------------------- the shares


@pytest.mark.parametrize("levels", [1, 2])
def test_masks_become_shares_of_the_cells_of_each_level(levels: int) -> None:
    cond = windows(2)
    cond[:, 2] = (Rng(1).uniform((2, T, *SPACE)) > 0.5).double()
    transform = fitted(ConditionTransform(FIELDS, None, wavelet(T, levels)), windows())
    z = transform.encode(cond)
    first = FIELDS * 4**levels
    n = 2**levels
    boxes = cond[:, 2].reshape(2, T, 4 // n, n, 8 // n, n)
    torch.testing.assert_close(z[:, first], boxes.mean((3, 5)))
    if levels == 2:
        # cells of the finer level, four in each coarse cell, row by row
        finer = cond[:, 2].reshape(2, T, 2, 2, 4, 2).mean((3, 5)).reshape(2, T, 1, 2, 2, 2)
        for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            torch.testing.assert_close(z[:, first + 1 + k], finer[:, :, :, i, :, j])


def test_fields_take_the_way_of_the_wavelet() -> None:
    cond = windows(4)
    transform = fitted(ConditionTransform(FIELDS, climatology(), wavelet(1, 1), history=HISTORY), cond)
    plain = ConditionTransform(FIELDS, climatology(), history=HISTORY, mean=transform.mean, std=transform.std)
    z, pixels = transform.encode(cond), plain.encode(cond)
    torch.testing.assert_close(z[:, :16], wavelet(1, 1).encode(pixels[:, :4]))
    # a static field is seen as its mean over a coarse cell
    torch.testing.assert_close(z[:, -1, 0], pixels[:, -1, 0].reshape(4, 2, 2, 4, 2).mean((2, 4)))


# ------------------------------------------------------------------------------------------------------ saving, errors


def test_built_again_it_encodes_alike() -> None:
    cond = windows(5)
    transform = fitted(ConditionTransform(FIELDS, climatology(), wavelet(1), guess=guess(), history=HISTORY), cond)
    again = build(describe(transform))
    assert torch.equal(again.encode(again.complete(cond)), transform.encode(transform.complete(cond)))


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="fields >= 1"):
        ConditionTransform(0)
    with pytest.raises(InputError, match="mean and std together"):
        ConditionTransform(1, mean=torch.zeros(1))
    with pytest.raises(NotFitted, match="fitted_from"):
        ConditionTransform(FIELDS).encode(windows(2))
    with pytest.raises(InputError, match="got none"):
        ConditionTransform(FIELDS).fitted_from(lambda: iter([Sample(torch.zeros(1))]))
