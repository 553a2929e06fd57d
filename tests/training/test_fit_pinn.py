"""A law solved in one call: to a known solution, in windows of time, with an unknown coefficient, and its tables and pictures."""

from __future__ import annotations

import csv

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import read, write
from physdiff.evaluation.physics import physics_residual
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.time_windows import TimeWindows
from physdiff.training.fit_pinn import fit_pinn
from physdiff.training.pinn_reference import trained_dataset
from physdiff.training.pinn_settings import Descent, PINNTraining, Resampling
from tests.training.heat import BOX, GRID, D, exact, problem, reference

GAUSS_NEWTON = PINNTraining((Descent("levenberg_marquardt", 30),), Resampling(120), look=15)


def error(net):
    points = BOX.draw(400, Rng(7))
    with torch.no_grad():
        return float((net.fields(points)["c"] - exact(points)).norm() / exact(points).norm())


def test_a_heated_line_and_what_the_field_is_good_for(tmp_path):
    trained = problem(width=8)
    net = fit_pinn(trained, BOX, training=GAUSS_NEWTON, reference=reference(), out=tmp_path, progress=False)
    assert net is trained.net and not net.training
    assert error(net) < 3e-3  # eight neurons and 30 steps; 1e-3 is found with 60
    looks = list(csv.DictReader((tmp_path / "looks.csv").read_text().splitlines()))
    assert [row["step"] for row in looks] == ["15", "30"] and float(looks[-1]["error"]) < 3e-3
    assert (tmp_path / "look.png").stat().st_size > 5000 and (tmp_path / "last.ckpt").is_file()
    # on another grid, as data: judged by the same law on that grid
    grid = CartesianGrid(41, extent=1.0, periodic=False)
    ds = trained_dataset(net, grid, torch.linspace(0, 1, 51))
    left = physics_residual(ds, trained.law, FiniteDifference(grid, order=2))["c"]
    assert ds["c"].dims == ("time", "x") and float(abs(left).mean()) < 0.02 * D * 9.87
    again = fit_pinn(problem(width=8), BOX, training=GAUSS_NEWTON, out=tmp_path, progress=False)  # nothing is left to do
    assert error(again) == error(net)


def test_windows_of_time_are_joined_and_saved(tmp_path):
    training = PINNTraining((Descent("levenberg_marquardt", 20),), Resampling(80), windows=2, look=20)
    net = fit_pinn(problem(), BOX, training=training, reference=reference(), out=tmp_path / "run", progress=False)
    assert isinstance(net.network, TimeWindows) and error(net) < 1e-2
    assert (tmp_path / "run" / "window_1" / "looks.csv").is_file()
    jump = torch.tensor([[0.4, 0.5 - 1e-9], [0.4, 0.5]], dtype=torch.float64)
    values = net(jump)[:, 0].detach()
    assert abs(float(values[1] - values[0])) < 5e-3  # the second window starts from the end of the first
    write(tmp_path / "net", net)
    same, _ = read(tmp_path / "net")
    torch.testing.assert_close(same.double()(jump), net(jump))


@pytest.mark.slow
def test_an_unknown_coefficient_is_found_and_followed():
    inverse = problem(width=8, unknown=("diffusivity",))
    fit_pinn(inverse, BOX, training=GAUSS_NEWTON, progress=False)
    assert float(inverse.coefficients()["diffusivity"].detach()) == pytest.approx(D, rel=0.02)
    with pytest.raises(InputError, match="got unknown diffusivity; take windows = 1"):
        fit_pinn(inverse, BOX, training=PINNTraining(windows=2))


def test_a_net_over_another_box_is_refused():
    with pytest.raises(InputError, match="expected a network over the box of the points"):
        fit_pinn(problem(), UniformPoints(GRID, t=(0.0, 2.0)))
