"""A solver between the unknowns and the readings: initial state and parameters in, readings of what the law makes of them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import Operator
from physdiff.pdes.pde import PDE
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper

__all__ = ["Solved"]

Channel = str | tuple[str, Callable[[Tensor], Tensor]]


class Solved(Operator):
    """Readings of the trajectory that starts with the state in a window of one frame, and with the parameters in its other channels.

    Args:
        pde: The law; its fields must be among the names of `spec`.
        stepper: Makes the stepper of a law, as ``lambda law: ETDRK4(law, Spectral(spec.grid))``.
        spec: What the windows are; one frame.
        times: Times of the trajectory (T,), the first that of the state.
        reading: Operator on trajectories (B, fields of the law, T, *S); the trajectory itself if None.
        parameters: {parameter of the law: channel that holds it, constant in space}; or (channel, function of it), for what must be positive
            ``("log_viscosity", torch.exp)``.
        substeps: Steps between neighbouring times.
        checkpoint: Steps between states that are kept for a gradient, see `solve`.

    Raises:
        InputError: If a field, a parameter or its channel is missing, or windows have several frames.
    """

    spec: FieldSpec

    def __init__(
        self,
        pde: PDE,
        stepper: Callable[[PDE], Stepper],
        spec: FieldSpec,
        *,
        times: Tensor,
        reading: Operator | None = None,
        parameters: Mapping[str, Channel] | None = None,
        substeps: int = 1,
        checkpoint: int | None = None,
    ) -> None:
        self.parameters = {name: (given, None) if isinstance(given, str) else given for name, given in (parameters or {}).items()}
        missing = [n for n in (*pde.fields, *(c for c, _ in self.parameters.values())) if n not in spec.names]
        if missing:
            raise InputError(f"Solved: expected the channels {', '.join(missing)} among {', '.join(spec.names)}; rename the prior's fields")
        known: list[str] = [f.name for f in dataclasses.fields(pde)] if dataclasses.is_dataclass(pde) else []
        for name in self.parameters:
            if name not in known:
                raise InputError(f"Solved: expected parameters among {', '.join(known) or 'none'} of {type(pde).__name__}, got {name!r}")
        if spec.frames != 1:
            raise InputError(f"Solved: expected windows of one frame, the state at the start, got {spec.frames}")
        self.pde, self.stepper, self.spec, self.times, self.reading = pde, stepper, spec, times, reading
        self.substeps, self.checkpoint = substeps, checkpoint

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, 1, *S) -> readings (B, *m).

        Raises:
            ShapeError: If windows do not fit.
            Diverged: If the solver leaves the finite numbers; take more substeps, or keep parameters in their range by a function.
        """
        self.spec.check(x, "Solved")
        if x.shape[2] != 1:
            raise ShapeError(f"Solved: expected windows of one frame, got {x.shape[2]}")
        fields = {name: f[:, 0] for name, f in self.spec.split(x).items()}
        read = {name: (fields[channel].flatten(1).mean(1), link) for name, (channel, link) in self.parameters.items()}
        pde = self.pde.unchecked(**{name: value if link is None else link(value) for name, (value, link) in read.items()})
        start = {name: fields[name] for name in pde.fields}
        run = solve(self.stepper(pde), start, self.times, substeps=self.substeps, checkpoint=self.checkpoint)
        trajectory = torch.stack([run[name] for name in pde.fields], dim=1)
        return trajectory if self.reading is None else self.reading(trajectory)
