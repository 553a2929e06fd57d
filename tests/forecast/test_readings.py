"""Tables whose columns say what a reading is of, fields on a coarser grid, and what a posterior makes of them beside the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, GridMismatch, InputError, UnitError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.sample_covariance import pairwise_distance
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.forecast.look import Errors, Look
from physdiff.forecast.readings import Readings, read_readings
from physdiff.forecast.reconstruct import reconstruct
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.exact import plain_prior
from physdiff.inference.guided import Guided
from physdiff.inference.sensors import Sensors
from physdiff.inference.weighted_cells import block_means, footprints, line_integrals

GRID = CartesianGrid((4, 6), extent=(4.0, 6.0), periodic=False, length_unit="m")
SPEC = FieldSpec(("c",), ("K",), GRID, 1.0)
WIND = FieldSpec(("u", "v"), ("m s-1", "m s-1"), GRID, 1.0)
NEAR = torch.exp(-pairwise_distance(GRID) / 3.0)
PRIOR = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(SPEC.shape).double(), dense_covariance(NEAR)), SPEC)


def table(tmp_path, text: str):
    path = tmp_path / "readings.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_say_what_is_read(tmp_path) -> None:
    text = 'x,y,time,fwhm,std,exact,c [K]\n1,1,0,,0.1,,5\n3,2,0,3,0.2,no,6\n3,2,1,3,0.3,,7\n2,2,0,all,1,yes,8\n'
    read = read_readings(table(tmp_path, text), SPEC)
    point, beam, whole = read.parts()
    assert point.look.fwhm is None and point.values.tolist() == [[5.0]] and point.std.tolist() == [0.1] and not point.exact
    assert beam.look.fwhm == 3.0 and beam.values.tolist() == [[6.0, 7.0]] and beam.times.tolist() == [0.0, 1.0]
    assert whole.look.block == (4, 6) and whole.exact
    assert read.moments().tolist() == [0.0, 1.0] and [p.values.tolist() for p in read.at(1.0).parts()] == [[[7.0]]]
    assert [len(p.points) for p in read.at(0.0).parts()] == [1, 1, 1] and all(p.errors.dof == 3.0 for p in read.under(Errors(dof=3.0)).parts())


def test_lines_and_derived_fields(tmp_path) -> None:
    lines = read_readings(table(tmp_path, "x,y,x_end,y_end,std,c [K m]\n1,1,4,3,0.1,5\n"), SPEC)
    assert lines.look.ends.tolist() == [[4.0, 3.0]]
    both = read_readings(table(tmp_path, "x,y,u [m s-1],wind_speed(u v) [m/s],vorticity(u v) [s-1]\n1,1,2,3,\n2,2,,4,5\n"), WIND)
    fields, speed, spin = both.parts()
    assert fields.values.shape == (2, 1) and speed.look.derived == "wind_speed(u v)" and speed.values.tolist() == [[3.0, 4.0]]
    assert spin.values.tolist() == [[5.0]] and spin.points.tolist() == [[2.0, 2.0]]
    alone = read_readings(table(tmp_path, "x,y,std,wind_speed(u v)\n1,1,1,2\n"), WIND)
    assert [p.look.derived for p in alone.parts()] == ["wind_speed(u v)"]


@pytest.mark.parametrize("ascending", [True, False])
def test_a_coarser_grid_is_means_of_blocks(tmp_path, ascending) -> None:
    grid = LatLonGrid(torch.linspace(50, 44, 4), torch.linspace(0, 5, 6))
    spec = FieldSpec(("t2m",), ("K",), grid, 3600.0)
    x = 280 + Rng(0).normal((1, *spec.shape), like=torch.zeros(()).double())
    means = block_means(spec, (2, 3))(x)[0, 0, 0]
    values = means.reshape(2, 2).numpy()
    coarse = xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values[None], {"units": "K"})},
        {"time": np.array(["2020-01-01"], "datetime64[ns]"), "latitude": [49.0, 45.0], "longitude": [1.0, 4.0]},
    )
    coarse["t2m"][0, 1, 0] = np.nan
    (coarse.sortby("latitude") if ascending else coarse).to_netcdf(tmp_path / "coarse.nc")
    read = read_readings(tmp_path / "coarse.nc", spec)
    assert read.look.block == (2, 3) and read.look.cells.tolist() == [0, 1, 3]
    # files are float32 here and there
    torch.testing.assert_close(read.values[0].double(), read.look.operator(spec, read.points)(x)[0, 0, 0], rtol=0, atol=1e-4)
    coarse.assign_coords(longitude=[1.0, 4.2]).to_netcdf(tmp_path / "off.nc")
    with pytest.raises(GridMismatch, match="a coarser grid is taken where each of its cells is a block"):
        read_readings(tmp_path / "off.nc", spec)


def conditional(matrix: torch.Tensor, y: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    gain = torch.linalg.solve(matrix @ NEAR @ matrix.T + noise, matrix @ NEAR).T
    return gain @ y, (NEAR - gain @ matrix @ NEAR).diagonal().clamp_min(0).sqrt()


def test_all_kinds_together_give_the_exact_conditional(tmp_path) -> None:
    """A beam and a line, each with its own std, and points whose errors go together: Guided on a Gaussian prior against linear algebra."""
    beams = table(tmp_path, "x,y,fwhm,std,c\n3,2,2,0.2,1.5\n")
    read = [read_readings(beams, SPEC)]
    read.append(read_readings(table(tmp_path, "x,y,x_end,y_end,std,c [K m]\n1,1,5,3,0.5,-2\n"), SPEC))
    at = read_readings(table(tmp_path, "x,y,c\n0.5,0.5,1\n1.5,0.5,1.4\n"), SPEC).under(Errors(length=2.0, share=0.8))
    whole = Readings(at.points, at.values, errors=at.errors, more=tuple(read))
    drawn = reconstruct(PRIOR, whole, Guided(steps=24), std=0.3, members=1000, rng=Rng(0))
    unit = torch.eye(24).double().reshape(24, *SPEC.shape)
    rows = [Look().operator(SPEC, at.points), footprints(SPEC, read[0].points, 2.0), line_integrals(SPEC, read[1].points, read[1].look.ends)]
    matrix = torch.cat([o(unit).reshape(24, -1) for o in rows], 1).T
    noise = torch.diag(torch.tensor([0.09, 0.09, 0.04, 0.25]).double())
    noise[0, 1] = noise[1, 0] = 0.09 * 0.8 * np.exp(-1 / 2)
    mean, std = conditional(matrix, torch.tensor([1.0, 1.4, 1.5, -2.0]).double(), noise)
    x = torch.from_numpy(drawn["c"].values[:, 0]).double().flatten(1)
    # four standard errors, and 4 % of the spread for 24 steps
    assert bool(((x.mean(0) - mean).abs() < 4 * std / 1000**0.5 + 0.02).all())
    assert bool(((x.std(0) / std - 1).abs() < 4 / (2 * 1000) ** 0.5 + 0.04).all())


def test_exact_readings_are_obeyed_as_conditioning_has_it(tmp_path) -> None:
    """The mean of the grid given without error, beside one point: draws obey to rounding, with the law of the conditional."""
    read = read_readings(table(tmp_path, "x,y,fwhm,exact,c\n0.5,0.5,,,1\n2,2,all,yes,0.4\n"), SPEC)
    drawn = reconstruct(PRIOR, read, Guided(steps=24), std=0.3, members=1000, rng=Rng(0))
    x = torch.from_numpy(drawn["c"].values[:, 0]).double().flatten(1)
    assert float((x.mean(1) - 0.4).abs().max()) < 1e-5  # the file is float32
    point = Look().operator(SPEC, torch.tensor([[0.5, 0.5]]))(torch.eye(24).double().reshape(24, *SPEC.shape)).reshape(24, -1).T
    matrix = torch.cat([point, torch.full((1, 24), 1 / 24).double()])
    mean, std = conditional(matrix, torch.tensor([1.0, 0.4]).double(), torch.diag(torch.tensor([0.09, 1e-12]).double()))
    assert bool(((x.mean(0) - mean).abs() < 5 * std / 1000**0.5 + 0.02).all())
    # few members do not know their covariance: the nearest field that obeys, and a word of it
    few = reconstruct(PRIOR, read, Guided(steps=4), std=0.3, members=3, rng=Rng(0))
    assert float(np.abs(few["c"].values.mean((2, 3)) - 0.4).max()) < 1e-5


def test_means_over_time_condition_as_they_should(tmp_path) -> None:
    """A prior of four frames, correlated in time: the mean over three frames at a place and one reading, against the closed form."""
    spec, times = SPEC.with_frames(4), torch.arange(4).double()
    ar = torch.exp(-(times[:, None] - times).abs() / 2)
    covariance = torch.kron(ar, NEAR)
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape).double(), dense_covariance(covariance)), spec)
    text = "x,y,time,time_start,c\n0.5,0.5,2,0,1\n2.5,1.5,3,,-0.5\n2.5,1.5,3,3,-0.4\n"
    read = read_readings(table(tmp_path, text), spec)
    point, mean = read.parts()
    assert (point.look.span, mean.look.span) == (1, 3) and not mean.look.at_points and len(point.points) == 2
    drawn = reconstruct(prior, read, Guided(steps=24), std=0.3, members=300, rng=Rng(0), initial=0.0)
    places = [Sensors(SPEC, p)(torch.eye(24).double().reshape(24, *SPEC.shape)).flatten() for p in torch.tensor([[[0.5, 0.5]], [[2.5, 1.5]]])]
    shares = [torch.tensor([1.0, 1, 1, 0]).double() / 3, torch.tensor([0.0, 0, 0, 1]).double(), torch.tensor([0.0, 0, 0, 1]).double()]
    matrix = torch.stack([torch.kron(s, places[i]) for s, i in zip(shares, (0, 1, 1), strict=True)])
    noise = 0.09 * torch.eye(3).double()
    gain = torch.linalg.solve(matrix @ covariance @ matrix.T + noise, matrix @ covariance).T
    exact, std = gain @ torch.tensor([1.0, -0.5, -0.4]).double(), (covariance - gain @ matrix @ covariance).diagonal().sqrt()
    x = torch.from_numpy(drawn["c"].values).double().flatten(1)
    # four standard errors of 300 draws, and 2 % of the prior's spread for 24 steps
    assert bool(((x.mean(0) - exact).abs() < 4 * std / 300**0.5 + 0.02).all())
    early = read_readings(table(tmp_path, "x,y,time,time_start,c\n1,1,1,-1,5\n"), spec)
    with pytest.raises(DataError, match="over frames of the window, which begins at 0, got one over 3 up to 1"):
        reconstruct(prior, early, Guided(steps=2), std=0.3, members=2, rng=Rng(0), initial=0.0)
    with pytest.raises(InputError, match="expected means over 1 frames at most, those of the prior's windows, got 3"):
        reconstruct(PRIOR, read, Guided(steps=2), std=0.3, members=2, rng=Rng(0))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("x,y,x_end,c\n1,1,2,5\n", DataError, "expected the columns x_end, y_end of lines, got x_end only"),
        ("x,y,x_end,y_end,fwhm,c\n1,1,2,2,3,5\n", DataError, "either beams .fwhm. or lines"),
        ("x,y,x_end,y_end,c\n1,1,2,,5\n", DataError, "column 'y_end': expected a number in every line"),
        ("x,y,fwhm,c\n1,1,wide,5\n", DataError, "line 2, column 'fwhm': expected a number or an empty cell, got 'wide'"),
        ("x,y,exact,c\n1,1,maybe,5\n", DataError, "line 2, column 'exact': expected yes, no or an empty cell, got 'maybe'"),
        ("x,y,time_start,c\n1,1,0,5\n", DataError, "expected a column 'time' beside 'time_start'"),
        ("x,y,time,time_start,c\n1,1,2,0.5,5\n", DataError, "column 'time_start': expected a frame before 'time', which are 1 s apart, got 1.5"),
        ("x,y,time,time_start,c\n1,1,2,3,5\n", DataError, "expected a frame before 'time', which are 1 s apart, got -1"),
        ("x,y,time,time_start,c\n1,1,2,2019-03-16,5\n", DataError, "expected a number, as in the column 'time', got '2019-03-16'"),
        ("x,y,x_end,y_end,c [K]\n1,1,2,2,5\n", UnitError, "expected the unit 'K m', got 'K'"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, text, error, message) -> None:
    with pytest.raises(error, match=message):
        read_readings(table(tmp_path, text), SPEC)


@pytest.mark.parametrize(
    ("text", "std", "message"),
    [
        ("x,y,std,c\n1,1,0,5\n", None, "column 'std': expected positive finite numbers, got 0"),
        ("x,y,std,c\n1,1,-2,5\n", 0.3, "column 'std': expected positive finite numbers, got -2"),
        ("x,y,c\n1,1,5\n", None, "std: expected the standard deviation of the readings, got none"),
        ("x,y,x_end,y_end,c\n1,1,4,2,5\n", 0.3, "expected a column 'std' beside line integrals, in K m"),
        ("x,y,fwhm,c\n1,1,0.5,5\n", 0.3, "1.5 cells"),
        ("x,y,c\n9,1,5\n", 0.3, "expected"),
    ],
)
def test_what_a_posterior_cannot_take(tmp_path, text, std, message) -> None:
    with pytest.raises(InputError, match=message):
        reconstruct(PRIOR, read_readings(table(tmp_path, text), SPEC), Guided(steps=2), std=std, members=2, rng=Rng(0))


def test_others_may_ask_for_points_only(tmp_path) -> None:
    plain = read_readings(table(tmp_path, "x,y,c\n1,1,5\n"), SPEC)
    assert plain.only_points("assimilate") is plain
    for text in ("x,y,fwhm,c\n1,1,3,5\n", "x,y,std,c\n1,1,3,5\n"):
        with pytest.raises(InputError, match="assimilate: expected readings of the fields at points"):
            read_readings(table(tmp_path, text), SPEC).only_points("assimilate")
    ds = to_dataset(torch.zeros(1, 1, 1, 4, 6), SPEC)
    assert ds["c"].shape[-2:] == (4, 6)
