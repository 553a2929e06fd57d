"""``physdiff infer``: from a table of readings to fields, scores and a page, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.cli.infer import interpolated
from physdiff.data.open import open_dataset
from physdiff.evaluation.optimal_interpolation import field_covariance, optimal_interpolation
from physdiff.forecast.readings import Readings
from tests.cli.command import physdiff, refuses, untouched, works
from tests.cli.conftest import weather
from tests.data.files import earth, save

HEAD = "longitude,latitude,time,t2m [K]\n"
INSIDE = "2.5,47.2,2020-01-02T09:00,281\n"


def table(folder, text: str, name: str = "table.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_fields_at_the_times_that_were_read(tmp_path, frame_prior, sensors):
    words = ("--prior", frame_prior, "--sensors", sensors, "--members 5 --std 0.3 --against.steps 6 --out", tmp_path / "posterior.nc")
    said = works("infer", *words)
    assert "5 draws at 2 times, 2020-01-02T09:00 to 2020-01-03T00:00, from 3 readings" in said and str(tmp_path / "posterior.nc") in said
    drawn = open_dataset(tmp_path / "posterior.nc")
    assert drawn["t2m"].dims == ("member", "time", "latitude", "longitude") and drawn["t2m"].attrs["units"] == "K"
    assert drawn["time"].values.tolist() == np.array(["2020-01-02T09", "2020-01-03T00"], "datetime64[ns]").tolist()
    first = drawn["t2m"].values
    # draws near the second sensor are near what it read: prior spread of some kelvin, noise 0.3 K
    assert abs(float(drawn["t2m"].sel(latitude=42, longitude=10).isel(time=0).mean()) - 282.5) < 1.5
    works("infer", *words)
    assert np.array_equal(open_dataset(tmp_path / "posterior.nc")["t2m"].values, first)
    works("infer", *words, "--against.seed 1")
    assert not np.array_equal(open_dataset(tmp_path / "posterior.nc")["t2m"].values, first)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("PiGDM", "SDA", "MCG", "DDNM", "DiffPIR", "SplitGibbs", "REDDiff")]


@pytest.mark.parametrize("method", ["DPS", "MMPS", "DDRM", "DAPS", *SLOW])
def test_heuristics(tmp_path, frame_prior, sensors, method):
    """Every method by its name gives finite fields on a trained network."""
    words = ("--prior", frame_prior, "--sensors", sensors, "--std 0.3 --against.steps 3 --out", tmp_path / "a.nc")
    works("infer", *words, "--members 2 --method", method)
    drawn = open_dataset(tmp_path / "a.nc")
    assert drawn.sizes["member"] == 2 and np.isfinite(drawn["t2m"].values).all()
    assert drawn.attrs["mean_nfe"] >= 3 and drawn.attrs["mean_operator_calls"] >= 1


@pytest.mark.parametrize(("method", "members"), [("FKC", 3), ("AFDPS", 3), ("BootstrapSMC", 64), ("TwistedSMC", 3), ("TemperedSMC", 3)])
def test_weighted_samplers(tmp_path, frame_prior, sensors, method, members):
    """64 members are as many as particles run: their weights differ, and the file holds equal ones."""
    words = ("--prior", frame_prior, "--sensors", sensors, "--std 3 --against.steps 6 --out", tmp_path / "a.nc")
    works("infer", *words, "--members", members, "--method", method)
    drawn = open_dataset(tmp_path / "a.nc")
    assert drawn.sizes["member"] == members and np.isfinite(drawn["t2m"].values).all()
    assert np.isfinite(drawn.attrs["mean_log_evidence"]) and drawn.attrs["mean_particles"] == 64


@pytest.mark.parametrize("method", ["EKI", "ETKF", "EnKF"])
def test_ensemble_kalman_samplers(tmp_path, frame_prior, sensors, method):
    words = ("--prior", frame_prior, "--sensors", sensors, "--std 0.3 --against.steps 6 --out", tmp_path / "a.nc")
    works("infer", *words, "--members 3 --method", method)
    drawn = open_dataset(tmp_path / "a.nc")
    assert drawn.sizes["member"] == 3 and drawn.attrs["mean_ensemble"] == 64
    assert abs(float(drawn["t2m"].sel(latitude=42, longitude=10).isel(time=0).mean()) - 282.5) < 1.5


def test_scores_and_a_page_beside_optimal_interpolation(tmp_path, era, frame_prior, sensors):
    words = ("--members 4 --std 0.3 --against.steps 4 --against.stop 2020-01-04 --against.truth", era, "--against.train", era)
    said = works("infer", "--prior", frame_prior, "--sensors", sensors, "--out", tmp_path / "posterior.nc", *words)
    assert "posterior" in said and "optimal interpolation" in said and "crps" in said
    page = tmp_path / "posterior.nc.report" / "index.html"
    assert str(page) in said and "optimal interpolation" in page.read_text()


def test_a_window_after_known_frames(tmp_path, era, era_prior):
    late = table(tmp_path, HEAD + "2.5,47.2,2020-01-06T12:00,281\n5,44,2020-01-06T18:00,279\n")
    works("infer --members 3 --std 0.3 --against.steps 4 --prior", era_prior, "--sensors", late, "--initial", era, "--out", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as drawn:
        # the file ends at 2020-01-06T09:00; three frames are modelled at once
        assert drawn["time"].values.tolist() == np.array(["2020-01-06T12", "2020-01-06T15", "2020-01-06T18"], "datetime64[ns]").tolist()
        assert dict(drawn["t2m"].sizes) == {"member": 3, "time": 3, "latitude": 6, "longitude": 8}


def test_interpolation_goes_time_by_time():
    train = weather(40)
    law = field_covariance(train)
    times = train["time"].values[[3, 3, 7]]
    readings = Readings(torch.tensor([[2.5, 48.0], [5.0, 44.0], [5.0, 44.0]]).double(), torch.tensor([[281.0, 282.0, 279.0]]), times)
    found = interpolated(train, readings, std=0.3, members=3, rng=Rng(0))
    assert found.sizes["time"] == 2
    alone = optimal_interpolation(law, readings.points[2:], readings.values[:, 2:], std=0.3, time=times[2], members=3, rng=Rng(0).child(1))
    assert np.array_equal(found["t2m"].isel(time=1).values, alone.members["t2m"].isel(time=0).values)
    assert found.equals(interpolated(law, readings, std=0.3, members=3, rng=Rng(0)))


TABLES = [
    ("", "expected a header and at least one station, got an empty table"),
    (HEAD, "expected a header and at least one station, got an empty table"),
    (HEAD + INSIDE + "30.5,47.2,2020-01-02T09:00,281\n", "point 1 has longitude 30.5, expected 0 to 17.5; drop it"),
    (HEAD + "nan,47.2,2020-01-02T09:00,281\n", "expected finite coordinates, got [nan, 47.2] for point 0"),
    (HEAD.replace("K", "degC") + INSIDE, "column 't2m [degC]': expected the unit 'K', got 'degC'"),
    (HEAD.replace(" [K]", "") + INSIDE.replace("281", "8"), "expected readings in the prior's units (t2m in K)"),
    ("longitude,time,t2m\n2.5,2020-01-02,281\n", "expected a column 'latitude', got longitude, time, t2m"),
    ("longitude,latitude,time\n2.5,47.2,2020-01-02\n", "expected a column for one of the fields t2m, got time"),
    ("longitude,latitude,t2m\n2.5,47.2,281\n", "expected a column 'time' in the readings, for this prior depends on the time of day"),
    ("x,u\n0.5,281\n", "expected a column 'longitude', got x, u"),
    (HEAD + INSIDE.replace("281", "warm"), "line 2, column 't2m': expected a number or an empty cell, got 'warm'"),
    (HEAD + INSIDE.replace("2.5", "east"), "line 2, column 'longitude': expected a number, got 'east'"),
    (HEAD + INSIDE.replace("2020-01-02T09:00", "yesterday"), "expected dates in UTC (2019-03-16T05:00) or numbers in the column 'time'"),
    (HEAD + INSIDE.replace("2020-01-02T09:00", "3.5"), "expected calendar times"),
    (HEAD + INSIDE.replace("281", ""), "expected at least one reading of t2m, got empty cells only"),
]


@pytest.mark.parametrize(("text", "said"), TABLES)
def test_a_bad_table_is_refused(tmp_path, frame_prior, text, said):
    path = table(tmp_path, text)
    with untouched(tmp_path):
        assert said in refuses("infer", "--std 0.3 --members 2 --prior", frame_prior, "--sensors", path, "--out", tmp_path / "a.nc")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--std 0", "std: expected a positive finite number, got 0.0"),
        ("--std -1", "std: expected a positive finite number, got -1.0"),
        ("--std .nan", "std: expected a positive finite number, got nan"),
        ("--members 0", "members: expected a whole number, at least 1, got 0"),
        ("--method TwistdSMC", "got 'TwistdSMC'; did you mean TwistedSMC"),
        ("--against.steps 0", "against.steps: expected a whole number, at least 1, got 0"),
        ("--against.seed -1", "against.seed: expected a whole number, at least 0, got -1"),
    ],
)
def test_nonsense_is_refused(tmp_path, frame_prior, sensors, words, said):
    with untouched(tmp_path):
        assert said in refuses("infer", "--std 0.3 --members 2 --prior", frame_prior, "--sensors", sensors, "--out", tmp_path / "a.nc", words)


def test_priors_tables_and_places_that_are_none_are_refused(tmp_path, frame_prior, era_prior, burgers_prior, sensors, era):
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    (tmp_path / "cut.prior").write_bytes(frame_prior.read_bytes()[:500])
    out = ("--std 0.3 --members 2 --out", tmp_path / "a.nc")
    with untouched(tmp_path):
        assert "expected a CSV table of stations, found no file" in refuses("infer", *out, "--prior", frame_prior, "--sensors", tmp_path / "none.csv")
        assert "expected a CSV table of stations, got something else" in refuses(
            "infer", *out, "--prior", frame_prior, "--sensors", tmp_path / "binary.csv"
        )
        assert "got something else or a damaged one" in refuses("infer", *out, "--prior", tmp_path / "cut.prior", "--sensors", sensors)
        assert "found none; check the path" in refuses("infer", *out, "--prior", tmp_path / "none", "--sensors", sensors)
        assert "expected a column 'x', got longitude" in refuses("infer", *out, "--prior", burgers_prior, "--sensors", sensors)
        assert "expected the 2 known frames of this prior" in refuses("infer", *out, "--prior", era_prior, "--sensors", sensors)
        assert "expected no initial data" in refuses("infer", *out, "--prior", frame_prior, "--sensors", sensors, "--initial", era)
        assert "got the folder" in refuses("infer", *out, "--prior", frame_prior, "--sensors", sensors, "--out", tmp_path)


def test_known_frames_that_do_not_fit_are_refused(tmp_path, era, era_prior, burgers, burgers_prior):
    out = ("--std 0.3 --members 2 --out", tmp_path / "a.nc", "--prior")
    scaled = weather()
    scaled["t2m"] = ((scaled["t2m"] - scaled["t2m"].mean()) / scaled["t2m"].std()).assign_attrs(units="K")
    paths = {
        "grid": save(earth(8), tmp_path / "grid.nc"),
        "scaled": save(scaled, tmp_path / "scaled.nc"),
        "step": save(weather().isel(time=slice(None, None, 2)), tmp_path / "step.nc"),
    }
    normalised = "they look normalised; give them as they were measured"
    good = table(tmp_path, HEAD + INSIDE.replace("2020-01-02T09:00", "2020-01-06T12:00"))
    late = table(tmp_path, HEAD + INSIDE.replace("2020-01-02T09:00", "2020-01-07T12:00"), "late.csv")
    places = table(tmp_path, "x,u\n0.5,0.1\n", "places.csv")
    with untouched(tmp_path):
        said = refuses("infer", *out, era_prior, "--sensors", late, "--initial", era)
        assert "expected times of the 3 frames to come, 2020-01-06T12:00 to 2020-01-06T18:00, got 2020-01-07T12:00" in said
        assert "regrid one of them first" in refuses("infer", *out, era_prior, "--sensors", good, "--initial", paths["grid"])
        assert "expected a time step of 10800 s, got 21600 s" in refuses("infer", *out, era_prior, "--sensors", good, "--initial", paths["step"])
        said = refuses("infer", *out, era_prior, "--sensors", good, "--initial", paths["scaled"])
        assert "initial: expected t2m like the training data" in said and normalised in said
        assert "one trajectory, got 4 samples" in refuses("infer", *out, burgers_prior, "--sensors", places, "--initial", burgers)


def test_a_comparison_that_cannot_be_made_is_refused_before_the_draws(tmp_path, era, frame_prior, sensors, burgers):
    celsius = weather()
    celsius["t2m"].attrs["units"] = "degC"
    scaled = weather()
    scaled["t2m"] = ((scaled["t2m"] - scaled["t2m"].mean()) / scaled["t2m"].std()).assign_attrs(units="K")
    others = (("unit", celsius), ("scaled", scaled), ("grid", earth(8)), ("early", weather(3)), ("one", weather(1)))
    paths = {name: save(ds, tmp_path / f"{name}.nc") for name, ds in others}
    words = ("--std 0.3 --members 2 --prior", frame_prior, "--sensors", sensors, "--out", tmp_path / "a.nc", "--against.truth")
    with untouched(tmp_path):
        assert "against.truth: expected the fields {'t2m': 'K'}, got {'t2m': 'degC'}" in refuses("infer", *words, paths["unit"])
        assert "against.truth: expected t2m like the training data" in refuses("infer", *words, paths["scaled"])
        assert "against.truth: expected LatLonGrid with latitude 6" in refuses("infer", *words, paths["grid"])
        assert "against.truth: expected some of the times that were read" in refuses("infer", *words, paths["early"])
        assert "expected a variable 't2m', got only u" in refuses("infer", *words, burgers)
        assert "found nothing there" in refuses("infer", *words, era, "--against.train", tmp_path / "none.nc")
        assert "expected at least two time steps" in refuses("infer", *words, era, "--against.train", paths["one"])
        assert "against.train: expected LatLonGrid" in refuses("infer", *words, era, "--against.train", paths["grid"])


def test_readings_of_several_kinds_and_laws_of_noise(tmp_path, frame_prior):
    """Points with outliers, a beam with its own std, a mean of the grid that must hold, from two tables."""
    points = table(tmp_path, HEAD + INSIDE + "10,42,2020-01-02T09:00,282.5\n", "points.csv")
    more = "longitude,latitude,time,fwhm,std,exact,t2m [K]\n7.5,45,2020-01-02T09:00,4e5,0.5,,281\n0,45,2020-01-02T09:00,all,,yes,280.5\n"
    both = f"[{points},{table(tmp_path, more, 'more.csv')}]"
    words = ("--against.steps 6 --members 12 --prior", frame_prior, "--sensors", both, "--out", tmp_path / "a.nc")
    said = works("infer", *words, "--std 0.3")
    assert "from 4 readings" in said
    drawn = open_dataset(tmp_path / "a.nc")
    weights = np.cos(np.deg2rad(drawn["latitude"]))
    means = drawn["t2m"].weighted(weights).mean(("latitude", "longitude")).values
    # area weights are those of the cells' edges, not the cosine of their centres: 0.05 K here
    assert np.ptp(means) < 0.05 and abs(means.mean() - 280.5) < 0.1
    said = works("infer", *words, "--method BootstrapSMC --members 64 --std.scale 3 --std.law StudentNoise --std.dof 3")
    assert "64 draws" in said
    assert "use" in refuses("infer", *words, "--std.scale 0.3 --std.law StudentNoise")  # Guided takes normal noise, and says who takes others
    works("infer", *words, "--std.scale 0.3 --std.length 2e5")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--std.law Cauchy --std.scale 1", "std.law"),
        ("--std.scale 0", "std: expected a positive finite number, got 0"),
        ("--std.law StudentNoise --std.scale 1 --std.length 5", "expected it with GaussianNoise"),
        ("--std.law StudentNoise", "std: expected the standard deviation of the readings, got none"),
        ("--std.law PoissonNoise --method TwistedSMC", "expected counts 0, 1, 2, ..."),
    ],
)
def test_laws_of_noise_that_make_no_sense(tmp_path, frame_prior, words, said):
    path = table(tmp_path, HEAD + INSIDE.replace("281", "281.5"))
    with untouched(tmp_path):
        assert said in refuses("infer", "--members 2 --prior", frame_prior, "--sensors", path, "--out", tmp_path / "a.nc", words)


def test_weights_that_collapse_say_what_to_do(tmp_path, frame_prior):
    """Readings that no particle explains, within the range that units allow."""
    path = table(tmp_path, HEAD + INSIDE.replace("281", "330") + "10,42,2020-01-02T09:00,230\n")
    words = ("--members 2 --against.steps 4 --method BootstrapSMC --prior", frame_prior, "--sensors", path, "--out", tmp_path / "a.nc")
    done = physdiff("infer", *words, "--std 1e-3")
    assert done.code == 0 and "weights collapsed at 1 of 1 times" in done.err and "take another method" in done.err
    assert "collapsed" not in physdiff("infer", *words, "--std 100").err
