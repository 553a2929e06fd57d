"""Readings from a table, and fields from them: closed forms for a single frame and for a window given its past."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, InputError, UnitError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.forecast.readings import Readings, read_readings
from physdiff.forecast.reconstruct import noise_of, reconstruct
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.exact import plain_prior
from physdiff.inference.guided import Guided
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from tests.forecast.test_rollout import HISTORY, HORIZON, PHI, ar1_prior, data

SPEC = FieldSpec(("t2m", "rain"), ("K", "kg m-2"), LatLonGrid(torch.tensor([50.0, 48.0, 46.0]), torch.arange(4.0)), 3600.0)
PLACES = torch.tensor([[1.0, 48.0], [2.0, 46.0]], dtype=torch.float64)
NOON, LATER = np.datetime64("2019-03-16T12", "ns"), np.datetime64("2019-03-16T15", "ns")
HEAD = "longitude,latitude,time,t2m [K]\n"


def table(tmp_path, text: str):
    path = tmp_path / "sensors.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_comes_back_as_it_was_written(tmp_path):
    text = "time,lat, lon ,t2m [kelvin],rain,name\n2019-03-16T12:00,48,1,281.5,,a\n2019-03-16T15:00:00Z,46,2,nan,0.25,b\n2019-03-16T15:00,46,3,,,c\n"
    found = read_readings(table(tmp_path, "\ufeff" + text), SPEC)
    # the third line has no reading; a byte-order mark is what spreadsheets write
    assert torch.equal(found.points, PLACES)
    assert torch.equal(found.values.nan_to_num(-1), torch.tensor([[281.5, -1], [-1, 0.25]]))
    assert found.times.tolist() == np.array([NOON, LATER]).tolist()
    assert found.moments().tolist() == np.array([NOON, LATER]).tolist()
    assert torch.equal(found.at(LATER).points, PLACES[1:]) and torch.equal(found.at(LATER).values[1], torch.tensor([0.25]))


def test_a_table_without_times_is_one_moment(tmp_path):
    found = read_readings(table(tmp_path, "longitude,latitude,rain\n1,48,3\n"), SPEC)
    assert found.times is None and found.moments().shape == (1,) and found.at(0) is found
    numbers = read_readings(table(tmp_path, "longitude,latitude,time,rain\n1,48,2.5,3\n1,48,0.5,3\n"), SPEC)
    assert numbers.moments().tolist() == [0.5, 2.5]


def test_fields_of_several_units_have_their_own_noise():
    both = Readings(PLACES, torch.tensor([[280.0, torch.nan], [1.0, 2.0]]))
    one = Readings(PLACES, torch.tensor([[280.0, 281.0], [torch.nan, torch.nan]]))
    assert noise_of((0.3, 2), both, SPEC) == (0.3, 2.0) and noise_of(0.3, one, SPEC) == (0.3, 0.3)
    for wrong in (0.3, (0.3, 1, 2), ()):
        with pytest.raises(InputError, match="one for each field .t2m in K, rain in kg m-2."):
            noise_of(wrong, both, SPEC)


def test_the_noise_of_each_field_counts():
    """Independent normal fields: mean y C / (C + s^2), variance C s^2 / (C + s^2), each with its own s."""
    shape, std, y = SPEC.shape, (0.5, 2.0), torch.tensor([[1.0], [3.0]])
    denoiser = GaussianDenoiser(EDMSchedule(), torch.zeros(shape), dense_covariance(torch.eye(24, dtype=torch.float64)))
    drawn = reconstruct(plain_prior(denoiser, SPEC), Readings(PLACES[:1], y), Guided(steps=40), std=std, members=2000, rng=Rng(0))
    for name, s, value in zip(SPEC.names, std, (1.0, 3.0), strict=True):
        here = drawn[name].sel(longitude=1, latitude=48).values
        # sampling error of 2000 draws; the sampler's steps change a variance by some percent
        assert abs(here.mean() - value / (1 + s**2)) < 4 * here.std() / 2000**0.5
        assert abs(here.var() / (s**2 / (1 + s**2)) - 1) < 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header and at least one station"),
        (HEAD, "expected a header and at least one station"),
        ("longitude,t2m\n1,280\n", "expected a column 'latitude', got longitude, t2m"),
        ("longitude;latitude;t2m\n1;48;280\n", "expected a column 'longitude'"),
        ("longitude,latitude\n1,48\n", "expected a column for one of the fields t2m, rain, got places only"),
        ("longitude,latitude,wind\n1,48,3\n", "got wind"),
        (HEAD + "1,48,2019-03-16,280\n1,48,2019-03-16,warm\n", "line 3, column 't2m': expected a number or an empty cell, got 'warm'"),
        (HEAD + "1,48,2019-03-16,inf\n", "line 2, column 't2m'.*got 'inf'"),
        (HEAD + "east,48,2019-03-16,280\n", "line 2, column 'longitude': expected a number, got 'east'"),
        (HEAD + "1\n", "line 2, column 'latitude': expected a number, got None"),
        (HEAD + "1,48,,280\n", "line 2, column 'time': expected a date or a number, got an empty cell"),
        (HEAD + "1,48,yesterday,280\n", "expected dates in UTC .* or numbers in the column 'time'"),
        (HEAD + "1,48,2019-03-16T12:00+02:00,280\n", "has an offset; convert it to UTC"),
        (HEAD + "1,48,2019-03-16,\n2,48,2019-03-16,nan\n", "expected at least one reading of t2m or rain, got empty cells only"),
    ],
)
def test_a_bad_table_is_refused_in_words(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_readings(table(tmp_path, text), SPEC)


def test_a_table_in_another_unit_or_of_no_text_is_refused(tmp_path):
    with pytest.raises(UnitError, match=r"column 't2m \[degC\]': expected the unit 'K', got 'degC'"):
        read_readings(table(tmp_path, "longitude,latitude,t2m [degC]\n1,48,8\n"), SPEC)
    path = tmp_path / "binary.csv"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match="expected a CSV table of stations, got something else"):
        read_readings(path, SPEC)
    with pytest.raises(DataError, match="found no file"):
        read_readings(tmp_path / "none.csv", SPEC)


def gaussian_frame():
    """A prior of single frames of one field and its covariance between points, (12, 12)."""
    spec = FieldSpec(("t2m",), ("K",), SPEC.grid, 3600.0)
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], 1).double()
    covariance = torch.exp(-torch.cdist(places, places) / 2)
    # anomalies: a prior that is not normalised has to lie within the reach of the largest noise
    return plain_prior(
        GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape, dtype=torch.float64), dense_covariance(covariance)), spec, steps=40
    ), covariance


def test_single_frames_follow_the_closed_form():
    prior, covariance = gaussian_frame()
    readings = Readings(PLACES, torch.tensor([[1.0, -1.5]]), np.array([NOON, NOON]))
    n, std, seen = 1500, 0.5, [5, 10]  # (48 N, 1 E) and (46 N, 2 E) in storage order
    found = reconstruct(prior, readings, Guided(), std=std, members=n, rng=Rng(0))
    assert found["t2m"].dims == ("member", "time", "latitude", "longitude") and found["time"].values.tolist() == [NOON.astype(int)]
    assert found["t2m"].attrs["units"] == "K"
    gain = torch.linalg.solve(covariance[seen][:, seen] + std**2 * torch.eye(2, dtype=torch.float64), covariance[seen]).T
    mean = gain @ torch.tensor([1.0, -1.5], dtype=torch.float64)
    variance = (covariance - gain @ covariance[seen]).diagonal()
    drawn = torch.from_numpy(found["t2m"].values).double().reshape(n, 12)
    # four standard errors, and half a per cent of the prior's spread for the steps of the sampler
    assert ((drawn.mean(0) - mean).abs() < 4 * (variance / n).sqrt() + 0.005).all()
    assert ((drawn.var(0) / variance).log().abs() < 4 * math.sqrt(2 / n) + 0.01).all()


def test_draws_that_miss_their_readings_say_so(caplog):
    """Guidance that does not follow: no spread for what the denoiser does not know, a thousandth of the step, and sharp readings."""
    prior, _ = gaussian_frame()
    readings = Readings(PLACES, torch.tensor([[1.0, -1.5]]), np.array([NOON, NOON]))
    with caplog.at_level("WARNING", logger="physdiff"):
        reconstruct(prior, readings, Guided(), std=0.01, members=8, rng=Rng(0))
        assert not caplog.records
        reconstruct(prior, readings, Guided(spread="residual", strength=1e-3), std=0.01, members=8, rng=Rng(0))
    assert "draws miss their own readings at 1 of 1 times" in caplog.text and "take Guided or TwistedSMC" in caplog.text


def test_the_draws_of_a_time_do_not_depend_on_the_other_times():
    prior, _ = gaussian_frame()
    past = np.datetime64("1959-03-16T12", "ns")
    both = Readings(PLACES, torch.tensor([[1.0, -1.5]]), np.array([NOON, past]))
    whole = reconstruct(prior, both, Guided(), std=0.5, members=3, rng=Rng(0))
    assert whole["time"].values.tolist() == [past.astype(int), NOON.astype(int)]
    for k, moment in enumerate((past, NOON)):
        rows = torch.from_numpy(both.times == moment)
        alone = Readings(both.points[rows], both.values[:, rows], both.times[both.times == moment])
        one = reconstruct(prior, alone, Guided(), std=0.5, members=3, rng=Rng(0))
        assert np.array_equal(one["t2m"].values[:, 0], whole["t2m"].values[:, k])
    drawn = whole["t2m"].values
    assert not np.allclose(drawn[:, 0] - drawn[:, 0].mean(0), drawn[:, 1] - drawn[:, 1].mean(0))


def test_a_window_follows_the_past_and_the_readings():
    """AR(1) in a cell: frames to come are normal given the last known one; a reading of the second moves them all."""
    prior, ds, n, std = ar1_prior(steps=40), data(6), 1500, 0.4
    times = ds["time"].values
    step = times[1] - times[0]
    grid = prior.spec.grid
    point = torch.tensor([[grid.axes()[1][1], grid.axes()[0][0]]], dtype=torch.float64)
    readings = Readings(point, torch.tensor([[1.2]]), np.array([times[-1] + 2 * step]))
    found = reconstruct(prior, readings, Guided(), std=std, members=n, rng=Rng(0), initial=ds)
    assert np.array_equal(found["time"].values, times[-1] + step * np.arange(1, HORIZON + 1))
    k = np.arange(1, HORIZON + 1)
    covariance = PHI ** np.abs(k[:, None] - k) * (1 - PHI ** (2 * np.minimum(k[:, None], k)))
    for cell, seen in (((0, 1), True), ((1, 2), False)):
        mean = PHI**k * float(ds["c"].values[-1][cell])
        variance = covariance.diagonal()
        if seen:
            gain = covariance[:, 1] / (covariance[1, 1] + std**2)
            mean, variance = mean + gain * (1.2 - mean[1]), variance - gain * covariance[1]
        drawn = found["c"].values[:, :, *cell]
        # four standard errors, and a hundredth for the steps of the sampler
        assert (np.abs(drawn.mean(0) - mean) < 4 * np.sqrt(variance / n) + 0.01).all()
        assert (np.abs(np.log(drawn.var(0) / variance)) < 4 * math.sqrt(2 / n) + 0.02).all()
    # without times the readings are of the last frame
    last = reconstruct(prior, Readings(point, torch.tensor([[1.2]])), Guided(), std=std, members=2, rng=Rng(0), initial=ds)
    assert last.sizes["time"] == HORIZON


def test_readings_and_prior_that_do_not_fit_are_refused():
    frame, window, ds = gaussian_frame()[0], ar1_prior(), data(6)
    inside = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    one = torch.tensor([[1.0]])

    def run(prior, readings, **options):
        return reconstruct(prior, readings, Guided(), **{"std": 0.5, "members": 2, "rng": Rng(0), **options})

    noon = np.array([NOON])
    with pytest.raises(InputError, match="members: expected at least 1, got 0"):
        run(frame, Readings(PLACES[:1], one, noon), members=0)
    with pytest.raises(InputError, match="longitude 30.5, expected 0 to 3"):
        run(frame, Readings(torch.tensor([[30.5, 48.0]]), one, noon))
    with pytest.raises(InputError, match=f"expected the {HISTORY} known frames of this prior"):
        run(window, Readings(inside, one))
    with pytest.raises(InputError, match="expected no initial data, for this prior knows no frames"):
        run(frame, Readings(PLACES[:1], one, noon), initial=ds)
    with pytest.raises(DataError, match="expected times of the 3 frames to come"):
        run(window, Readings(inside, one, ds["time"].values[-1:]), initial=ds)
    with pytest.raises(DataError, match="expected calendar times or plain numbers in both"):
        run(window, Readings(inside, one, np.array([2.0])), initial=ds)
    with pytest.raises(DataError, match="one trajectory, got 2 samples"):
        run(window, Readings(inside, one), initial=ds.expand_dims(sample=2))


def two_frames(dt: float = 0.5, unit: str = "1"):
    """Windows of two frames of independent unit normals whose frames have correlation 0.8."""
    spec = FieldSpec(("c",), ("K",), CartesianGrid((6,), periodic=True), dt, 2, time_unit=unit)
    frames = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    covariance = torch.kron(frames, torch.eye(6, dtype=torch.float64))
    return plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape, dtype=torch.float64), dense_covariance(covariance)), spec, steps=40)


AT = torch.tensor([[0.5]], dtype=torch.float64)  # the fourth of six points on the unit interval


def test_a_window_without_a_past_follows_the_closed_form() -> None:
    """Of frames (f, s) with correlation 0.8 the second is read with variance 1/4: f ~ N(0.8 y / 1.25, 1 - 0.64 / 1.25)."""
    read, n = Readings(AT, torch.tensor([[1.0]]), np.array([3.0])), 500
    drawn = reconstruct(two_frames(), read, Guided(), std=0.5, members=n, rng=Rng(0), initial=2.5)
    assert drawn["c"].dims == ("member", "time", "x") and drawn["time"].values.tolist() == [2.5, 3.0]
    first = drawn["c"].isel(time=0, x=3).values
    # sampling error of the draws; the sampler's steps change a variance by some percent
    assert abs(first.mean() - 0.64) < 4 * first.std() / n**0.5
    assert abs(first.var() / (1 - 0.64 / 1.25) - 1) < 0.25
    assert reconstruct(two_frames(), read, Guided(), std=0.5, members=1, rng=Rng(0))["time"].values.tolist() == [3.0, 3.5]


class Heights(ConditionTransform):
    def encode(self, completed):
        return completed[:, 2:]

    def out_shape(self, shape):
        return (1, *shape[1:])


@pytest.mark.parametrize("frames", [1, 2])
def test_a_prior_without_a_past_takes_its_static_fields_from_data(frames) -> None:
    """The mean of the prior is the height that it is told: where nothing is read, draws lie around it."""
    spec = FieldSpec(("c",), ("1",), CartesianGrid(6, 1.0), 0.5, frames=frames)
    size = 6 * frames
    flat = torch.eye(size, dtype=torch.float64)
    denoiser = GaussianDenoiser(EDMSchedule(), torch.zeros(1, frames, 6, dtype=torch.float64), dense_covariance(flat), gain=flat)
    cond_spec = FieldSpec(("c", "known", "height"), ("1", "1", "m"), spec.grid, 0.5, frames=frames)
    parts = {"sampler": Heun(), "steps": 30, "cond_transform": Heights(1), "cond_spec": cond_spec}
    prior = DiffusionPrior(denoiser, Compose(()), spec, **parts)
    height = np.array([5.0, -5, 5, 0, 5, -5], dtype=np.float32)
    there = to_dataset(torch.zeros(1, 1, 3, 6), spec.with_frames(3), np.arange(3) * 0.5).isel(member=0, drop=True)
    there = there.assign(height=(("x",), height, {"units": "m"}))
    read = Readings(AT, torch.tensor([[1.0]]), np.array([3.0]))
    words = {"std": 0.5, "members": 40, "rng": Rng(0)}
    drawn = reconstruct(prior, read, Guided(), initial=there, **words)["c"]
    assert drawn["time"].values.tolist() == [3.0, 3.5][:frames]
    assert np.abs(drawn.mean("member").values[0, [0, 1, 2, 4, 5]] - height[[0, 1, 2, 4, 5]]).max() < 4 / 40**0.5  # of deviation 1
    assert abs(float(drawn[:, 0, 3].mean()) - 0.8) < 4 * 0.45 / 40**0.5
    with pytest.raises(InputError, match="expected data with height, which this prior is told .initial., got None"):
        reconstruct(prior, read, Guided(), **words)
    with pytest.raises(DataError, match="expected a variable 'height'"):
        reconstruct(prior, read, Guided(), initial=there.drop_vars("height"), **words)


def test_a_law_is_an_observation_of_the_whole_window() -> None:
    """That the first frame is zero within 0.1 leaves it a variance of 1 / (1 + 100) about where nothing was read."""
    prior = two_frames()
    weights = torch.zeros(6, 1, 2, 6)
    weights[range(6), 0, 0, range(6)] = 1
    law = Observation(MatrixOperator(weights), torch.zeros(6), std=0.1)
    drawn = reconstruct(prior, Readings(AT, torch.ones(1, 1), np.zeros(1)), Guided(), std=1e3, members=60, rng=Rng(0), laws=(law,))
    spread = drawn["c"].isel(time=0).values.std()
    assert spread == pytest.approx(101**-0.5, rel=0.2)


def test_times_of_a_window_are_numbers_or_dates() -> None:
    hourly = two_frames(3600.0, "s")
    dates = Readings(AT, torch.ones(1, 1), np.array([NOON]))
    drawn = reconstruct(hourly, dates, Guided(), std=1.0, members=1, rng=Rng(0))
    assert drawn["time"].values.tolist() == np.array([NOON, NOON + np.timedelta64(1, "h")]).tolist()
    words = {"std": 1.0, "members": 1, "rng": Rng(0)}
    with pytest.raises(DataError, match="expected a column 'time' in the readings, for windows of 2 frames"):
        reconstruct(two_frames(), Readings(AT, torch.ones(1, 1)), Guided(), **words)
    with pytest.raises(DataError, match="times of the window, 0 to 0.5 by 0.5 1, got 0.7; drop it or set initial"):
        reconstruct(two_frames(), Readings(AT, torch.ones(1, 1), np.array([0.7])), Guided(), **words, initial=0.0)
    with pytest.raises(DataError, match="expected a number, in 1, as this prior's times are, got the date 2019-03-16T12"):
        reconstruct(two_frames(), dates, Guided(), **words)
    with pytest.raises(InputError, match="knows no frames but the time of the first one at most, got some"):
        reconstruct(two_frames(), dates, Guided(), **words, initial=data(6))
    with pytest.raises(InputError, match="expected no initial data, for this prior knows no frames, got 2.0"):
        reconstruct(gaussian_frame()[0], dates, Guided(), **words, initial=2.0)
