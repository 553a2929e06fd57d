"""``physdiff infer --law.pde``: readings and a law together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.cli.infer import Against, Asked, drawn
from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.look import Errors
from physdiff.forecast.reconstruct import parameters_of
from physdiff.inference.observation import Observation
from physdiff.inference.physics import PhysicsResidual, calibrated
from physdiff.pdes.pde import PDE
from physdiff.solvers.stepper_for import stepper_for

__all__ = ["Law", "infer_law", "law_of"]

_WINDOWS = 64  # true windows that a tolerance is taken from


@dataclass(frozen=True)
class Law:
    """A law that the drawn windows obey within a tolerance.

    Args:
        pde: The law, as in ``--law.pde Burgers --law.pde.viscosity 0.01``; a parameter that the prior draws is taken from each draw instead.
        truth: Data of true windows, best such that the prior was not trained on: their residual, as the prior can draw them, is the tolerance.
        tolerance: Standard deviation of the residual, in each field's unit per time, instead of that of true windows.
        initial: As ``--initial`` of infer without a law.
        shared: Take the law's derivative once for all draws (``Guided``), at their mean; false: each draw's own, some 20 times the work.
    """

    pde: PDE
    truth: str | None = None
    tolerance: float | None = None
    initial: str | float | list[str] | None = None
    shared: bool = True

    def __post_init__(self) -> None:
        if (self.truth is None) == (self.tolerance is None):
            got = "none" if self.truth is None else "both"
            raise InputError(f"law: expected law.truth (true windows, the tolerance is measured on them) or law.tolerance (a number), got {got}")
        if self.tolerance is not None:
            check_positive(self.tolerance, "law.tolerance")


def infer_law(
    prior: str,
    sensors: str | list[str],
    out: str,
    *,
    std: float | list[float] | Errors | None = None,
    law: Law,
    method: str = "Guided",
    members: int = 20,
    against: Against = Against(),  # noqa: B008 - a frozen value
) -> None:
    """Draw fields, and parameters of their law if the prior has some, from the posterior given readings of point sensors and the law.

    Args:
        prior: File of the prior, of windows of three frames or more (``--recipe.history 0 --recipe.horizon 9``); parameters of the law that it
            draws (``--recipe.parameters [viscosity]``) are written as draws (member).
        sensors: CSV table or netCDF, as ``infer`` takes it without a law.
        out: netCDF file to write, dims (member, time, space).
        std: Standard deviation of the noise of the readings, in the field's unit; ``[0.3, 1]`` for two fields, in the prior's order.
        law: The law and how closely it is obeyed.
        method: Posterior sampler; those that take gradients of readings that are not linear, see ``physdiff infer --help``.
        members: Number of draws.
        against: What the result is compared with.
    """
    asked = Asked(std, method, members, law.initial, against, law.shared)

    def observed(model: DiffusionPrior) -> Sequence[Observation]:
        return (law_of(model, law),)

    drawn(prior, sensors, out, asked=asked, laws=observed)


def law_of(model: DiffusionPrior, law: Law) -> Observation:
    """The law as an observation of the windows of a prior.

    Raises:
        InputError: If the law has other fields or parameters than the prior, or true windows do not fit.
    """
    unknown = {n: n for n in parameters_of(model)}
    known = [f.name for f in law.pde.parameter_fields()]
    if other := [n for n in unknown if n not in known]:
        what = f"{type(law.pde).__name__}, which are {', '.join(known) or 'none'}"
        raise InputError(f"law: expected the prior's parameters to be some of {what}; got {', '.join(other)}; take the law of the training data")
    operators = stepper_for(law.pde, model.spec.grid).operators
    residual = PhysicsResidual(law.pde, operators, model.spec, parameters=unknown)
    if law.tolerance is not None:
        return Observation(residual, 0.0, std=law.tolerance)
    return calibrated(residual, _windows(model, law.truth or ""), dependent=True, prior=model)


def _windows(model: DiffusionPrior, path: str) -> Tensor:
    """True windows of the prior's kind, evenly from all there are, (N, C, T, *S)."""
    truth: xr.Dataset = open_dataset(path, variables=list(model.spec.names))
    model.check_grid(spec_of(truth, model.spec.names, gaps=True), "law.truth")
    windows = TrajectoryWindows(truth, history=0, horizon=model.spec.frames, spec=model.spec.with_frames(1))
    if len(windows) < 8:
        raise DataError(f"law.truth: expected 8 windows of {model.spec.frames} frames or more, got {len(windows)}; give more data or law.tolerance")
    chosen = torch.linspace(0, len(windows) - 1, min(_WINDOWS, len(windows))).round().long().tolist()
    return torch.stack([windows[i]["x"] for i in chosen])
