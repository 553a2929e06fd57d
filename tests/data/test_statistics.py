from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from physdiff.base.errors import DataError, InputError
from physdiff.data.statistics import fitted, mean_std, stream
from physdiff.data.windows import TrajectoryWindows
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform
from tests.data.files import box, earth, smooth


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.floats(-1e4, 1e4), st.sampled_from([("channel",), ("channel", "space"), ()]))
def test_streamed_statistics_equal_those_of_all_at_once(sizes, offset, per):
    x = torch.from_numpy(smooth(sum(sizes), 2, 3, 4, seed=len(sizes))).double() + offset
    x[0, 0, 0, 0] = torch.nan
    mean, std = mean_std(x.split(sizes), per=per)
    over = tuple(d for d, name in enumerate(("batch", "channel", "time", "space")) if name not in per)
    if sum(sizes) == 1 and per == ("channel", "space"):
        x[0, 0, 0, 0] = torch.nan
    expected = np.nanmean(x.numpy(), axis=over), np.nanstd(x.numpy(), axis=over)
    # cancellation: rounding 1e-16 of the offset squared, against deviations of order one
    np.testing.assert_allclose(mean.squeeze(), expected[0].squeeze(), rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(std.squeeze(), expected[1].squeeze(), rtol=1e-6, atol=1e-7)


def test_an_entry_that_is_never_known_is_refused():
    with pytest.raises(DataError, match="always missing"):
        mean_std([torch.full((2, 1, 1, 3), torch.nan)])


def test_normalizer_is_fitted_on_the_windows_of_the_data():
    ds = earth(10)
    ds.t2m[3, 1, 1] = np.nan
    norm = fitted(Normalizer(), ds)
    # float32 sums of numbers near 280
    assert float(norm.mean.squeeze()) == pytest.approx(float(ds.t2m.astype("float64").mean()), rel=1e-6)
    assert float(norm.std.squeeze()) == pytest.approx(float(ds.t2m.astype("float64").std()), rel=1e-5)


def test_parts_are_fitted_in_order_on_what_the_ones_before_leave():
    hours = np.arange(72)
    wave = 280 + 5 * np.sin(2 * np.pi * hours / 24)[:, None, None] + 0.1 * smooth(72, 4, 6)
    ds = earth(72, t2m=wave.astype(np.float32))
    chain = Compose((DropHistory(2), Anomaly(by="hour"), Normalizer()))
    windows = TrajectoryWindows(ds, history=2, horizon=4, extras=("hour_sin", "hour_cos"))
    done = fitted(chain, windows)
    samples = list(stream(windows, batch_size=7))
    z = torch.cat([done.encode(s.x, s.cond) for s in samples])
    # the cycle of amplitude 5 is gone, the noise of 0.1 has become one
    assert float(z.mean()) == pytest.approx(0, abs=1e-3) and float(z.std()) == pytest.approx(1, abs=2e-2)
    assert float(list(done)[2].std.max()) < 0.2
    assert all(a.shape == b.shape for a, b in zip(chain.state_dict().values(), chain.state_dict().values(), strict=True))
    back = torch.cat([done.decode(done.encode(s.x, s.cond), s.cond) for s in samples])
    torch.testing.assert_close(back, torch.cat([s.x for s in samples]), atol=1e-4, rtol=0)


def test_a_long_set_is_sampled_evenly():
    windows = TrajectoryWindows(box(frames=8), history=0, horizon=1)
    got = torch.cat([s.x for s in stream(windows, most=5, batch_size=2)])
    assert got.shape[0] == 5 and torch.equal(got[0], windows[0]["x"]) and torch.equal(got[-1], windows[23]["x"])
    assert torch.cat([s.x for s in stream(windows, batch_size=5)]).shape[0] == 24


def test_a_bare_wavelet_gets_a_normaliser_before_and_one_per_band_after():
    chain = fitted(WaveletTransform("haar"), earth(30))
    x = torch.from_numpy(earth(30).t2m.values)[:, None, None].float()
    z = chain.encode(x)
    # the mean square of the very windows it was fitted on is one; statistics are kept in float32
    assert torch.allclose(z.square().mean((0, 2, 3, 4)).sqrt(), torch.ones(4), atol=1e-3)
    assert torch.allclose(chain.decode(z), x, atol=1e-3)
    with pytest.raises(InputError, match="channel"):
        fitted(WaveletTransform("haar", axes=("channel",)), earth(5))


def test_an_anomaly_by_hour_brings_the_forcings_it_needs():
    ds = earth(72)
    alone = fitted(Anomaly(by="hour"), ds)
    given_extras = fitted(Anomaly(by="hour"), ds, extras=("hour_sin", "hour_cos"))
    assert torch.equal(alone.climatology, given_extras.climatology)
