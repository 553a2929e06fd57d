"""``physdiff fit-pinn`` with networks in boxes and along lines: the fields they leave, and choices that make no sense."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import read
from physdiff.cli.pinn_network import Network, network_problem
from physdiff.data.convert import to_dataset
from physdiff.data.open import open_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pinn.collocated import Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.lagrangian import Lagrangian
from tests.cli.command import refuses, works

T = torch.float64
WIND = 20.0


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """sin(x - 20 t) on the closed line, t to 1: three turns."""
    path = tmp_path_factory.mktemp("wind") / "wind.nc"
    grid, t = CartesianGrid(32, extent=2 * math.pi), torch.linspace(0, 1, 11, dtype=T)
    values = torch.sin(grid.coordinates()[0].double() - WIND * t[:, None])
    to_dataset(values[None], FieldSpec(("c",), ("1",), grid, 0.1), t.numpy()).to_netcdf(path)
    return path


LAW = f"--pde AdvectionDiffusion --pde.diffusivity 0.0 --pde.velocity [{WIND}] --conditions.periodic true --network.width 8 --network.depth 1"


def test_a_fast_wind_is_followed_along_its_lines(carried, tmp_path):
    how = f"--network.speed {WIND} --training.steps 20 --training.points 80 --training.look 20"
    said = works("fit-pinn", LAW, how, "--data", carried, "--out", tmp_path / "a.nc")
    assert float(said.split("against the data ")[1].split()[0]) < 0.02
    field, truth = open_dataset(tmp_path / "a.nc"), open_dataset(carried)
    assert list(field.data_vars) == ["c"] and float(abs(field["c"] - truth["c"].values).max()) < 0.05
    net, _ = read(tmp_path / "a.nc.fit" / "net.safetensors")
    assert net.names == ("c", "displacement")
    # at fixed places the same steps leave the wave where it was
    said = works("fit-pinn", LAW, how.replace(f"--network.speed {WIND}", ""), "--data", carried, "--out", tmp_path / "b.nc")
    assert float(said.split("against the data ")[1].split()[0]) > 0.2


def test_networks_in_boxes(carried, tmp_path):
    how = "--training.optimiser broyden --training.steps 2 --training.points 80 --training.look 2"
    works("fit-pinn", LAW, how, "--network.cells [1,3]", "--data", carried, "--out", tmp_path / "a.nc")
    net, _ = read(tmp_path / "a.nc.fit" / "net.safetensors")
    assert type(net.network).__name__ == "WindowedNet" and net.network.cells == (1, 1, 3) and len(net.network.networks) == 3


BOX = UniformPoints(CartesianGrid(16, extent=1.0, periodic=False), dtype=T)
CLOSED = UniformPoints(CartesianGrid(16, extent=1.0), dtype=T)
START = Known(torch.tensor([[0.25, 0.0], [0.75, 0.0]], dtype=T), {"c": torch.tensor([1.0, -1.0], dtype=T)})
LATER = Known(torch.tensor([[0.25, 0.5]], dtype=T), {"c": torch.tensor([1.0], dtype=T)})
HEAT = AdvectionDiffusion(diffusivity=0.1, velocity=(3.0,))


def test_cuts_are_joined_and_windows_are_not():
    torch.manual_seed(0)
    cut = network_problem(Network(width=4, depth=1, cells=[2, 3], overlap=0.0), HEAT, BOX, known=[START])
    # a value and a residual on the one cut along x and on the two along t
    assert [m.what for m in cut.matched] == ["value", "residual"] * 3 and len(cut.net.network.networks) == 6
    assert not network_problem(Network(width=4, depth=1, cells=[2, 3]), HEAT, BOX, known=[START]).matched


def test_along_lines_the_displacement_starts_from_zero_and_has_the_size_of_the_way():
    torch.manual_seed(0)
    made = network_problem(Network(width=4, depth=1, speed=3.0), HEAT, CLOSED, known=[START])
    assert isinstance(made.law, Lagrangian) and made.net.mean == (0.0, 1.5) and made.net.std[1] == 3.0
    assert set(made.known_terms()) == {"known 0 c", "known 1 displacement"}
    assert float(made.known[1].values["displacement"].abs().max()) == 0


@pytest.mark.parametrize(
    ("network", "box", "known", "said"),
    [
        ({"cells": [2, 2, 2]}, BOX, START, r"along each of x, \[y, \[z,\]\] t, \[n, n\], got \[2, 2, 2\]"),
        ({"cells": [2, 2]}, CLOSED, START, r"\[1 \(the axis closes\), n\], got \[2, 2\]"),
        ({"speed": 1.0}, BOX, START, "a closed line"),
        ({"speed": 1.0}, CLOSED, LATER, "the start alone"),
    ],
)
def test_what_does_not_suit_the_box_is_refused(network, box, known, said):
    with pytest.raises(InputError, match=said):
        network_problem(Network(**network), HEAT, box, known=[known])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--network.cells [0,2]", "at least one box along each axis, got [0, 2]"),
        ("--network.cells [1,2] --network.speed 3.0", "expected one box along lines, got cells [1, 2]"),
        ("--network.speed inf", "network.speed: expected a number, got 'inf'"),
        ("--network.cells [1,2] --network.overlap 2.0", "overlap: expected a share of a cell from 0 to 1, got 2.0"),
    ],
)
def test_nonsense_is_refused(carried, tmp_path, words, said):
    assert said in refuses("fit-pinn", LAW, words, "--data", carried, "--out", tmp_path / "x.nc")
