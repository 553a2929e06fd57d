"""Anomalies: the daily cycle is recovered, frames align, the three differences are inverted exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import DataError, InputError, NotFitted
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory
from physdiff.transforms.transform import Sample

LIKE = torch.zeros((), dtype=torch.float64)
GRID = CartesianGrid((2, 3))
FRAMES = 4


def specs(hours: float) -> tuple[FieldSpec, FieldSpec]:
    """Two fields, and their condition: known, day of the year, hour of the day."""
    names, units = ("t", "p"), ("K", "Pa")
    extras = ("known", "day_sin", "hour_sin", "hour_cos")
    return (
        FieldSpec(names, units, GRID, 3600 * hours, frames=FRAMES),
        FieldSpec((*names, *extras), (*units, *("1" for _ in extras)), GRID, 3600 * hours, frames=FRAMES),
    )


def cycle(hour: Tensor) -> Tensor:
    """A daily cycle that is no sine and differs from point to point, (..., C, *S)."""
    phase = 2 * math.pi * hour[..., None, None, None] / 24
    place = Rng(0).normal((2, *GRID.shape), like=LIKE)
    return 280 + 5 * torch.sin(phase + place) + 3 * torch.cos(5 * phase) * place


def windows(hours: float, n: int, *, first: float = 0.0, history: int = 0, dtype: torch.dtype = torch.float32) -> Sample:
    """`n` windows of the cycle, starting `hours` apart, as batches (B, C, T, *S) with their condition."""
    hour = first + hours * (torch.arange(n)[:, None] + torch.arange(FRAMES)).double()
    x = cycle(torch.remainder(hour, 24)).movedim(2, 1)
    angle = (2 * math.pi * hour / 24)[:, None, :, None, None].expand(n, 1, FRAMES, *GRID.shape)
    known = torch.zeros_like(angle)
    known[:, :, :history] = 1
    return Sample(x.to(dtype), torch.cat([x, known, 0.3 * known, angle.sin(), angle.cos()], dim=1).to(dtype))


def batches(sample: Sample, size: int = 7):
    def stream() -> Iterator[Sample]:
        for i in range(0, len(sample.x), size):
            known = None if sample.known is None else sample.known[i : i + size]
            yield Sample(sample.x[i : i + size], sample.cond[i : i + size], known)

    return stream


# The climatology is float32: 280 K to 2e-5.
ROUNDING = 5e-5


@pytest.mark.parametrize("hours", [1, 3, 6, 24, 0.25])
@pytest.mark.parametrize("offset", [0.0, 0.5, 1 / 3], ids=lambda o: f"offset{o:.2f}")
def test_a_daily_cycle_is_recovered_and_leaves_nothing(hours: float, offset: float) -> None:
    """Also for times that lie within their slots, as hourly means dated at half past do."""
    slots = round(24 / hours)
    sample = windows(hours, slots + 3, first=hours * offset)
    anomaly = Anomaly("hour").fitted_from(batches(sample), *specs(hours))
    expected = cycle(hours * (torch.arange(slots) + offset))
    torch.testing.assert_close(anomaly.climatology.double(), expected, rtol=0, atol=ROUNDING)
    assert float(anomaly.encode(sample.x, sample.cond).abs().max()) < ROUNDING


def test_missing_hours_do_not_disturb_the_others() -> None:
    sample = windows(3, 40)
    gaps = Rng(1).uniform(sample.x.shape) < 0.5
    x = torch.where(gaps, torch.nan, sample.x)
    anomaly = Anomaly("hour").fitted_from(batches(Sample(x, sample.cond)), *specs(3))
    assert float(anomaly.encode(sample.x, sample.cond).abs().max()) < ROUNDING
    # the same with fill values and their shares
    filled = Sample(torch.where(gaps, -999.0, sample.x), sample.cond, 1 - gaps.float())
    torch.testing.assert_close(Anomaly("hour").fitted_from(batches(filled), *specs(3)).climatology, anomaly.climatology)


def test_a_slot_never_seen_takes_the_mean_of_the_day_and_a_point_never_seen_that_of_its_channel() -> None:
    sample = windows(6, 9)
    x = sample.x.clone()
    hour = torch.remainder(torch.arange(9)[:, None] + torch.arange(FRAMES), 4)
    x.movedim(2, 1)[hour == 2] = torch.nan
    x[:, :, :, 1, 1] = torch.nan
    table = Anomaly("hour").fitted_from(batches(Sample(x, sample.cond)), *specs(6)).climatology
    mean = x.nanmean((0, 2))
    torch.testing.assert_close(table[2, :, 0], mean[:, 0], rtol=0, atol=ROUNDING)
    # the mean of a channel weighs every value once
    torch.testing.assert_close(table[:, :, 1, 1], x.nanmean((0, 2, 3, 4)).expand(4, 2), rtol=0, atol=ROUNDING)
    torch.testing.assert_close(table[1, :, 0].double(), cycle(torch.tensor(6.0))[:, 0], rtol=0, atol=ROUNDING)


def test_over_all_times() -> None:
    sample = windows(6, 8)
    anomaly = Anomaly("all").fitted_from(batches(sample), *specs(6))
    assert anomaly.climatology.shape == (1, 2, *GRID.shape)
    torch.testing.assert_close(anomaly.climatology[0], sample.x.mean((0, 2)), rtol=0, atol=ROUNDING)
    assert torch.equal(anomaly.encode(sample.x), sample.x - anomaly.climatology[0][None, :, None])


def test_frames_align_with_the_end_of_the_condition() -> None:
    """Behind DropHistory the window is shorter than the condition: hours of the last frames count."""
    sample = windows(3, 24, history=2)
    chain = Compose((DropHistory(2), Anomaly("hour"))).fitted_from(batches(sample), *specs(3))
    assert float(chain.encode(sample.x, sample.cond).abs().max()) < ROUNDING
    shared = chain.decode(torch.zeros(5, 2, 2, *GRID.shape), sample.cond[:1])
    torch.testing.assert_close(shared, sample.x[:1].expand(5, -1, -1, -1, -1), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("by", ["hour", "all"])
def test_round_trip_in_float64_and_after_saving(by: str) -> None:
    sample = windows(3, 10, dtype=torch.float64)
    anomaly = Anomaly(by).fitted_from(batches(sample), *specs(3))
    again = build(describe(anomaly))
    x = 100 * Rng(2).normal(sample.x.shape, like=LIKE)
    torch.testing.assert_close(again.decode(anomaly.encode(x, sample.cond), sample.cond), x, rtol=0, atol=1e-12)
    assert again.out_shape((2, 4, 2, 3)) == (2, 4, 2, 3)
    assert anomaly.fitted_from(batches(windows(3, 9, first=1.0)), *specs(3)) is anomaly


def test_what_anomaly_refuses() -> None:
    spec, cond_spec = specs(6)
    sample = windows(6, 4)
    with pytest.raises(InputError, match="Anomaly by"):
        Anomaly("month")
    with pytest.raises(NotFitted, match="use fitted"):
        Anomaly().encode(sample.x, sample.cond)
    fitted = Anomaly().fitted_from(batches(sample), spec, cond_spec)
    with pytest.raises(InputError, match="hour_sin and hour_cos"):
        fitted.encode(sample.x)
    with pytest.raises(DataError, match="divides a day, got 18000 s"):
        Anomaly().fitted_from(batches(sample), *specs(5))
    with pytest.raises(DataError, match="use by='all'"):
        Anomaly().fitted_from(batches(sample), FieldSpec(("t", "p"), ("K", "Pa"), GRID, 0.1, time_unit="1"), cond_spec)
    for without in (None, spec):
        with pytest.raises(DataError, match="extras hour_sin"):
            Anomaly().fitted_from(batches(sample), spec, without)
    with pytest.raises(DataError, match="got none"):
        Anomaly("all").fitted_from(lambda: iter(()), spec)


# ---------------------------------------------------------------------------------------------------- guess, increment


def test_subtract_guess_takes_the_last_channels_and_frames() -> None:
    x, cond = Rng(0).normal((3, 2, 2, 5), like=LIKE), Rng(1).normal((3, 6, 4, 5), like=LIKE)
    z = SubtractGuess().encode(x, cond)
    assert torch.equal(z, x - cond[:, 4:, 2:])
    torch.testing.assert_close(SubtractGuess().decode(z, cond), x, rtol=0, atol=1e-15)
    assert float(SubtractGuess().encode(cond[:, 4:, 2:], cond).abs().max()) == 0
    assert SubtractGuess().out_shape((2, 2, 5)) == (2, 2, 5)
    assert isinstance(build(describe(SubtractGuess())), SubtractGuess)


def test_subtract_guess_refuses_a_condition_that_cannot_hold_one() -> None:
    x = torch.zeros(1, 2, 2, 5)
    with pytest.raises(InputError, match="pass cond"):
        SubtractGuess().encode(x)
    with pytest.raises(InputError, match="complete the condition window"):
        SubtractGuess().encode(x, torch.zeros(1, 4, 2, 5))


@pytest.mark.parametrize("dropped", [False, True])
def test_increments_are_from_the_last_known_frame(dropped: bool) -> None:
    x = Rng(0).normal((3, 2, 5, 4), like=LIKE)
    cond = torch.cat([x, torch.ones(3, 1, 5, 4)], dim=1)
    cond[:, :2, 2:] = x[:, :, 1:2]
    chain = Compose((DropHistory(2), Increment(2)) if dropped else (Increment(2),))
    z = chain.encode(x, cond)
    assert torch.equal(z, x[:, :, 2 if dropped else 0 :] - x[:, :, 1:2])
    torch.testing.assert_close(chain.decode(z, cond), x, rtol=0, atol=1e-15)
    # no change: the last known frame persists
    persisted = chain.decode(torch.zeros_like(z[:1]), cond)
    assert torch.equal(persisted[:, :, 2:], x[:, :, 1:2].expand(3, 2, 3, 4))


@pytest.mark.parametrize("by", ["hour", "all"])
@pytest.mark.parametrize("dropped", [False, True])
def test_behind_an_anomaly_increments_are_those_of_the_anomaly(by: str, dropped: bool) -> None:
    sample = windows(6, 8, history=2, dtype=torch.float64)
    spec, cond_spec = specs(6)
    anomaly = Anomaly(by).fitted_from(lambda: iter([sample]), spec, cond_spec)
    x, cond = sample.x, sample.cond.clone()
    cond[:, :2] = x  # frames to come are never looked at
    chain = Compose((*((DropHistory(2),) if dropped else ()), anomaly, Increment(2, anomaly)))
    z = chain.encode(x, cond)
    departure = x - anomaly.mean_at(cond, x)
    expected = (departure - departure[:, :, 1:2])[:, :, 2 if dropped else 0 :]
    # means are kept in float32, 280 K
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(chain.decode(z, cond), x, rtol=0, atol=1e-9)
    if by == "hour":  # a pure daily cycle: nothing is left of it
        assert float(z.abs().max()) < 1e-4
    assert torch.equal(build(describe(chain)).encode(x, cond), z)


def test_what_increment_refuses() -> None:
    with pytest.raises(InputError, match="history >= 1"):
        Increment(0)
    with pytest.raises(InputError, match="pass cond"):
        Increment(1).encode(torch.zeros(1, 1, 2, 3))
