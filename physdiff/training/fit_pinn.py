"""`fit_pinn`: a law solved by a network of the coordinates, in one call."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import torch
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.time_windows import joined_windows, known_in_window, matched_in_window, windowed_net
from physdiff.training.callbacks.looks import Looks
from physdiff.training.fit import fit
from physdiff.training.pinn_module import EndlessSteps, PINNModule
from physdiff.training.pinn_settings import PINNTraining

__all__ = ["fit_pinn"]


def fit_pinn(
    problem: Collocated,
    points: UniformPoints,
    *,
    training: PINNTraining = PINNTraining(),  # noqa: B008 - a frozen value
    reference: xr.Dataset | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> CoordinateNet:
    """Train the network of a problem, by any optimisers and points, over the whole time or window by window.

    Args:
        problem: Law, network, known values, unknown coefficients. Without windows it is trained in place: afterwards ``problem.coefficients()``
            are those found.
        points: The box in space and time.
        training: How.
        reference: A Dataset that the error is measured against; never trained on.
        out: Folder for checkpoint, ``looks.csv`` (residual, error, coefficients over the steps) and ``look.png``; None: nothing is written.
        resume: Go on from where the folder stands; exact.
        progress: Show a progress bar; by default if the standard error is a terminal.

    Returns:
        The trained field in evaluation mode: ``net.on_grid(grid, times)``, ``net.fields(points)``.

    Raises:
        InputError: If the box and the network do not cover the same, times reach out of the reference's, or coefficients are unknown in windows.
        Diverged: If a residual is not finite; the message says where.
    """
    _check_box(problem.net, points)
    folder = None if out is None else Path(out)
    options = {"reference": reference, "resume": resume, "progress": progress}
    if training.windows == 1:
        return _train(problem, points, training=training, folder=folder, **options)  # type: ignore[arg-type]
    if points.t is None or problem.theta:
        what = "a steady problem" if points.t is None else f"unknown {', '.join(problem.theta)}"
        raise InputError(f"fit_pinn: expected windows of time for a problem in time with known coefficients, got {what}; take windows = 1")
    start, span = points.t[0], points.t[1] - points.t[0]
    nets: list[CoordinateNet] = []
    for k in range(training.windows):
        t = (start + span * k / training.windows, points.t[1] if k + 1 == training.windows else start + span * (k + 1) / training.windows)
        source = nets[-1].network if nets else problem.net.network
        net = windowed_net(problem.net, copy.deepcopy(source), t)
        known = known_in_window(problem.known, t, start=start, before=nets[-1] if nets else None)
        part = Collocated(net, problem.law, [*known, *matched_in_window(problem.matched, t)], weight=problem.weight)
        plan = replace(training, windows=1, seed=training.seed + k)
        place = None if folder is None else folder / f"window_{k}"
        nets.append(_train(part, replace(points, t=t), training=plan, folder=place, **options))  # type: ignore[arg-type]
    return joined_windows(nets).eval()


def _train(
    problem: Collocated,
    points: UniformPoints,
    *,
    training: PINNTraining,
    folder: Path | None,
    reference: xr.Dataset | None,
    resume: bool,
    progress: bool | None,
) -> CoordinateNet:
    module = PINNModule(problem, points, training=training, reference=reference)
    fit(
        module,
        EndlessSteps(),
        max_steps=training.steps,
        out=folder,
        resume=resume,
        progress=progress,
        callbacks=[Looks(folder)],
        accelerator="cpu" if not next(problem.parameters()).is_cuda else "auto",
    )
    return problem.net.eval()


def _check_box(net: CoordinateNet, points: UniformPoints) -> None:
    lower, upper = points.lower, points.upper
    own = torch.tensor((net.lower, net.upper), dtype=torch.float64)
    slack = 1e-6 * (own[1] - own[0])
    if len(lower) != own.shape[1] or bool(((lower - own[0]).abs() > slack).any() or ((upper - own[1]).abs() > slack).any()):
        got = f"{list(net.lower)} to {list(net.upper)}"
        box = f"{lower.tolist()} to {upper.tolist()}"
        raise InputError(f"fit_pinn: expected a network over the box of the points, {box}, got {got}; make both the same")
