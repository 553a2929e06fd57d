"""``physdiff fit-pinn``: a field from a law and its conditions, a coefficient from readings, nonsense refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.saved import read
from physdiff.cli.pinn_network import Network, network_problem
from physdiff.data.open import open_dataset
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.training.pinn_conditions import Conditions, box_and_known
from tests.cli.command import refuses, untouched, works
from tests.training.heat import D, exact, reference

HEAT = f"--pde AdvectionDiffusion --pde.diffusivity {D} --pde.velocity [0.0] --network.width 8 --network.depth 1 --training.points 90"


@pytest.fixture(scope="module")
def heat(tmp_path_factory):
    path = tmp_path_factory.mktemp("heat") / "heat.nc"
    reference().to_netcdf(path)
    return path


def test_a_field_its_report_and_its_network(heat, tmp_path):
    out = tmp_path / "field.nc"
    said = works("fit-pinn", HEAT, "--training.steps 20 --training.look 20 --data", heat, "--out", out)
    assert float(said.split("against the data ")[1].split()[0]) < 0.02 and "index.html" in said
    field, truth = open_dataset(out), open_dataset(heat)
    assert float(abs(field["c"] - truth["c"].values).max()) < 0.02
    with xr.open_dataset(out) as raw:
        assert "physdiff" in raw.attrs["history"]
    folder = tmp_path / "field.nc.fit"
    assert {"index.html", "c.png", "looks.csv", "look.png", "net.safetensors", "last.ckpt"} <= {p.name for p in folder.iterdir()}
    net, _ = read(folder / "net.safetensors")
    point = torch.tensor([[0.5, 0.3]], dtype=torch.float64)
    assert float(abs(net.double()(point).detach()[0, 0] - exact(point))) < 0.03


@pytest.mark.parametrize(
    ("kind", "made", "most"),
    [pytest.param("separable", "SeparableNetwork", 0.1, marks=pytest.mark.slow), ("pirate", "PirateNet", 0.9)],
)
def test_other_networks(heat, tmp_path, kind, made, most):
    out = tmp_path / "field.nc"
    how = f"--network.kind {kind} --network.factorised true --training.optimiser lbfgs --training.steps 12 --training.look 12"
    said = works("fit-pinn", HEAT, how, "--data", heat, "--out", out)
    assert float(said.split("against the data ")[1].split()[0]) < most
    net, _ = read(tmp_path / "field.nc.fit" / "net.safetensors")
    assert type(net.network).__name__ == made and any("log_scale" in name for name, _ in net.named_parameters())


@pytest.mark.slow
def test_a_coefficient_from_readings(heat, tmp_path):
    rng = np.random.default_rng(0)
    points = torch.from_numpy(np.stack([rng.uniform(0.05, 0.95, 40), rng.uniform(0, 1, 40)], 1))
    rows = ["x,time,c", *(f"{x},{t},{c}" for (x, t), c in zip(points.tolist(), exact(points).tolist(), strict=True))]
    (tmp_path / "sensors.csv").write_text("\n".join(rows) + "\n")
    words = HEAT.replace(str(D), "0.2") + " --conditions.initial false --conditions.walls none --sensors.std 0.01 --sensors.unknown [diffusivity]"
    said = works("fit-pinn", words, "--training.steps 40 --data", heat, "--out", tmp_path / "a.nc", "--sensors.path", tmp_path / "sensors.csv")
    assert float(said.split("diffusivity = ")[1].split()[0]) == pytest.approx(D, rel=0.03)


def test_readings_that_cannot_be_are_refused(heat, tmp_path):
    for row, said in (
        ("0.525,0.0,-3.0", "contradict each other, c = 0.996917 and a reading of -3 with standard deviation 0.01 at [0.525, 0.0]; drop one"),
        ("0.5,1.5,0.3", "expected readings within (0.025, 0) to (0.975, 1), got one at (0.5, 1.5); drop it"),
    ):
        (tmp_path / "sensors.csv").write_text(f"x,time,c\n{row}\n")
        sensors = ("--sensors.std 0.01 --sensors.path", tmp_path / "sensors.csv")
        assert said in refuses("fit-pinn", HEAT, *sensors, "--data", heat, "--out", tmp_path / "x.nc")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--conditions.times [0.0,3.0]", "times: expected within those of the data, 0 to 1, got 0 to 3; shorten them"),
        ("--conditions.times [0.05,1.0]", "to start at a frame of the data, got 0.05"),
        ("--conditions.initial false --conditions.walls none", "expected known values, got none; give --sensors.path"),
        ("--sensors.path x.csv", "sensors.std: expected the standard deviation"),
        ("--sensors.unknown [porosity]", "expected numbers of AdvectionDiffusion, got porosity"),
        ("--training.optimiser newton", "kind"),
        ("--training.steps 0", "Descent steps"),
        ("--network.kind tree", "network.kind"),
        ("--network.kind siren --network.factorised true", "network.factorised: expected a network other than siren"),
        ("--network.kind pirate", "training.optimiser: expected broyden, lbfgs, soap or adam for network.kind pirate"),
        ("--network.factorised true", "training.optimiser: expected broyden, lbfgs, soap or adam for network.factorised"),
        ("--pde Burgers --pde.viscosity 0.1", "expected the fields u of Burgers, got c; rename"),
    ],
)
def test_nonsense_is_refused(heat, tmp_path, words, said):
    with untouched(tmp_path):
        law = "--pde AdvectionDiffusion --pde.diffusivity 0.1 --pde.velocity [0.0]" if "--pde" not in words else ""
        assert said in refuses("fit-pinn", law, words, "--data", heat, "--out", tmp_path / "a" / "x.nc")


def test_a_residual_that_is_not_finite_says_where_and_leaves_the_network_before(heat, tmp_path, monkeypatch):
    """A law that ends at c = 0.9, which the start exceeds: some steps in, a point has no residual."""
    out = tmp_path / "x.nc"
    monkeypatch.setattr(AdvectionDiffusion, "nonstiff", lambda self, u, D, t: {"c": 1e-3 * torch.log(0.9 - u["c"])})
    said = refuses("fit-pinn", HEAT, "--training.steps 150 --data", heat, "--out", out)
    where = r"`residual of c` is not finite at x = (\S+) at time (\S+): the network has c = (\S+) there; .* \(step (\d+) of the training\)"
    found = re.search(where, said)
    assert found and "last.ckpt holds the last network that is finite" in said and not out.exists()
    x, t, c, step = map(float, found.groups())
    kept = torch.load(tmp_path / "x.nc.fit" / "last.ckpt", weights_only=True)
    assert 0 < step - 1 <= kept["global_step"] < 50  # before the first of the regular checkpoints
    law = AdvectionDiffusion(diffusivity=D, velocity=(0.0,))
    box, known = box_and_known(open_dataset(heat), law, Conditions())
    problem = network_problem(Network(width=8, depth=1), law, box, known=known)
    problem.load_state_dict({name.removeprefix("problem."): value for name, value in kept["state_dict"].items()})
    assert c > 0.9 and float(problem.net(torch.tensor([[x, t]], dtype=torch.float64)).detach()) == pytest.approx(c, rel=1e-3)
