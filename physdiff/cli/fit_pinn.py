"""``physdiff fit-pinn``."""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass

import torch
import xarray as xr

from physdiff.base.checks import check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.base.saved import write
from physdiff.cli.generate import LAWS  # noqa: F401 - the parser knows the classes that are loaded
from physdiff.cli.options import check_at_least, checked_file, checked_folder
from physdiff.cli.parse import command_line
from physdiff.cli.pinn_network import Network, network_problem
from physdiff.cli.splits import as_list
from physdiff.data.convert import spec_of, to_dataset
from physdiff.data.open import open_dataset
from physdiff.data.write import write_dataset
from physdiff.forecast.readings import read_readings
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.pdes.pde import PDE
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.lagrangian import Lagrangian, labels_on_grid, lagrangian_on_grid
from physdiff.pinn.weighting import CausalWeights
from physdiff.report.html import run_facts
from physdiff.report.pinn_page import pinn_report
from physdiff.training.fit_pinn import fit_pinn as fit_net
from physdiff.training.pinn_conditions import Conditions, box_and_known
from physdiff.training.pinn_reference import points_of, seconds_of, trained_dataset
from physdiff.training.pinn_settings import Descent, LossBalance, PINNTraining, Resampling

__all__ = ["Schedule", "Sensors", "fit_pinn"]

@dataclass(frozen=True)
class Sensors:
    """Readings at points.

    Args:
        path: CSV table (``x, time`` and a column per field), or netCDF.
        std: Standard deviation of their noise.
        unknown: Numbers of the law that are found too, ``[viscosity]``.
    """

    path: str | None = None
    std: float | None = None
    unknown: str | list[str] | None = None

    def __post_init__(self) -> None:
        if self.path is not None and self.std is None:
            raise InputError(f"sensors.std: expected the standard deviation of the readings in {self.path}, got none; give --sensors.std")
        if self.std is not None:
            check_positive(self.std, "sensors.std")


@dataclass(frozen=True)
class Schedule:
    """How it is trained, in float64.

    Args:
        optimiser: levenberg_marquardt, broyden, lbfgs, soap or adam.
        steps: Number of steps (in each window).
        warm_up: Steps of adam before it.
        points: Number of points that the law is asked at.
        rule: fixed, even, rad, r3 or causal_r3.
        causal: Whether later times wait for earlier ones (rules fixed, even).
        balance: none, gradient_norm, tangent_kernel, learning_rate or relative.
        windows: Spans of time solved one after the other.
        look: Steps between looks at residual and error.
        keep_best: Whether the weights of the least loss at the looks are kept.
        seed: Seed of everything random.
    """

    optimiser: str = "levenberg_marquardt"
    steps: int = 150
    warm_up: int = 0
    points: int = 1500
    rule: str = "rad"
    causal: bool = False
    balance: str = "none"
    windows: int = 1
    look: int = 10
    keep_best: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(self.warm_up, 0, "training.warm_up")
        check_at_least(self.seed, 0, "training.seed")

    def plan(self) -> PINNTraining:
        """As `fit_pinn` takes it."""
        phases = (*([Descent("adam", self.warm_up)] if self.warm_up else []), Descent(self.optimiser, self.steps))
        chunks = 30 if self.points % 30 == 0 else 32
        balance = LossBalance(self.balance, causal=CausalWeights(chunks=chunks) if self.causal else None)
        return PINNTraining(
            phases, Resampling(self.points, self.rule), balance, windows=self.windows, look=self.look, keep_best=self.keep_best, seed=self.seed
        )


def fit_pinn(
    out: str,
    pde: PDE,
    data: str,
    *,
    conditions: Conditions = Conditions(),  # noqa: B008 - a frozen value
    sensors: Sensors = Sensors(),  # noqa: B008
    network: Network = Network(),  # noqa: B008
    training: Schedule = Schedule(),  # noqa: B008
) -> None:
    """Solve a law by a network of the coordinates and write the field; run again to go on after an interruption.

    The data give the box, the initial state, values at the ends of axes that do not close, and what the error is measured against. To find
    coefficients of the law from readings, leave the conditions out that are not known (``--conditions.initial false --conditions.walls none``):
    then the data give the box and the error alone.

    Args:
        out: netCDF file of the field on the grid and times of the data; network, checkpoint, table and report lie in the folder with ``.fit`` added.
        pde: The law, as in ``--pde Burgers --pde.viscosity 0.01``.
        data: One trajectory (netCDF) with the fields of the law.
        conditions: What is taken from the data as known.
        sensors: Readings, and what is to be found from them.
        network: The network.
        training: How it is trained.
    """
    begin = time.monotonic()
    if training.optimiser == "levenberg_marquardt" and (network.kind == "pirate" or network.factorised):
        what = "network.factorised" if network.factorised else "network.kind pirate"
        raise InputError(f"training.optimiser: expected broyden, lbfgs, soap or adam for {what}, got levenberg_marquardt, which takes linear layers")
    target, folder = checked_file(out), checked_folder(f"{out}.fit")
    plan, truth = training.plan(), open_dataset(data)
    box, known = box_and_known(truth, pde, conditions)
    spec = spec_of(truth, pde.fields, periodic=conditions.periodic, gaps=True)
    if sensors.path is not None:
        known.append(_read(sensors, spec, box))
    if not known:
        raise InputError("fit-pinn: expected known values, got none; give --sensors.path, or leave conditions.initial as it is")
    torch.manual_seed(training.seed)
    problem = network_problem(network, pde, box, known=known, unknown=tuple(as_list(sensors.unknown) or ()), seed=training.seed)
    reference = truth[list(pde.fields)]
    # along lines the columns are labels and not places
    net = fit_net(problem, box, training=plan, reference=None if network.speed is not None else reference, out=folder)
    ds, left = _fields(net, problem, spec, truth, box)
    write_dataset(ds, target, command=command_line())
    write(folder / "net.safetensors", net)
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    found = {name: float(value.detach()) for name, value in problem.coefficients().items()}
    page, error = pinn_report(folder, ds, left, truth=reference, found=found, facts=facts)
    told = "".join(f", {name} = {value:.6g}" for name, value in found.items())
    print(("the data are zero everywhere" if math.isnan(error) else f"relative error against the data {error:.3g}") + told)
    print(f"wrote {target} and {page} after {time.monotonic() - begin:.0f} s")


def _read(sensors: Sensors, spec: FieldSpec, box: UniformPoints) -> Known:
    """Readings as known values."""
    readings = read_readings(str(sensors.path), spec).only_points("sensors")
    if readings.times is None or readings.times.dtype.kind not in "fiu":
        raise DataError(f"{sensors.path}: expected a column time of numbers, as the data's, got none; add it")
    times = torch.as_tensor(readings.times, dtype=torch.float64)
    points = torch.cat((readings.points.double(), times[:, None]), dim=1)
    outside = ((points < box.lower - 1e-9) | (points > box.upper + 1e-9)).any(1)
    if bool(outside.any()):
        low, high, place = (", ".join(f"{v:g}" for v in row.tolist()) for row in (box.lower, box.upper, points[outside][0]))
        raise InputError(f"{sensors.path}: expected readings within ({low}) to ({high}), got one at ({place}); drop it")
    values, there = readings.values.double(), readings.values.isfinite().all(0)
    if not bool(there.all()):
        raise DataError(f"{sensors.path}: expected a value of every field in every line, got {int((~there).sum())} lines with gaps; drop these")
    # misfits in standard deviations: a mean square of one each, beside a law that is met
    return Known(points, {name: values[i] for i, name in enumerate(spec.names)}, scale=float(sensors.std or 1.0), exact=False)


def _fields(net: CoordinateNet, problem: Collocated, spec: FieldSpec, truth: xr.Dataset, box: UniformPoints) -> tuple[xr.Dataset, xr.Dataset]:
    """Field and residual on the grid of the data, at its times within the box."""
    times = seconds_of(truth)
    assert box.t is not None
    times = times[(times >= box.t[0] - 1e-9) & (times <= box.t[1] + 1e-9)]
    units = {n: spec.units[spec.names.index(n)] if n in spec.names else "1" for n in net.names}
    law = Collocated(net, problem.current_law()) if not problem.theta else problem
    points = points_of(spec.grid, times)
    if isinstance(problem.law, Lagrangian):
        assert isinstance(spec.grid, CartesianGrid)
        fields = FieldSpec(spec.names, tuple(units[n] for n in spec.names), spec.grid, spec.dt, time_unit=spec.time_unit)
        ds = to_dataset(lagrangian_on_grid(net, spec.grid, times)[0], fields, times.numpy())
        points[:, 0] = labels_on_grid(net, spec.grid, times).reshape(-1)
    else:
        ds = trained_dataset(net, spec.grid, times, units=tuple(units.values()), time_unit=spec.time_unit)
    rows = []
    with torch.no_grad():
        for part in points.split(16384):
            rows.append(torch.stack(list(law.law_residuals(part).values())))
    names = tuple(law.law_residuals(points[:1]))
    values = torch.cat(rows, dim=1).detach().reshape(len(names), len(times), *spec.grid.shape)
    left = to_dataset(values, FieldSpec(names, ("1",) * len(names), spec.grid, spec.dt, time_unit=spec.time_unit), times.numpy())
    return ds, left
