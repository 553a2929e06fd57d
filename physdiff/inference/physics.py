"""A law as an observation: its residual should be zero within a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import Operator
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE

__all__ = ["PhysicsResidual"]


class PhysicsResidual(Operator):
    """Residual of a law on windows: ``dt u - rhs`` for every field of the law, and its constraints.

    Args:
        pde: The law; its fields must be among the names of `spec`.
        operators: Derivatives on the grid of `spec`, built with its time step (``Spectral(grid, dt=spec.dt)``).
        spec: What the windows are; at least two frames.
        parameters: {parameter of the law: channel of the windows that holds it, constant in space and time}.

    Raises:
        InputError: If a field or a parameter channel is missing, or windows have a single frame.
    """

    def __init__(self, pde: PDE, operators: Operators, spec: FieldSpec, *, parameters: Mapping[str, str] | None = None) -> None:
        missing = [n for n in (*pde.fields, *(parameters or {}).values()) if n not in spec.names]
        if missing:
            raise InputError(f"PhysicsResidual: expected the fields {', '.join(missing)} among {', '.join(spec.names)}")
        if spec.frames < 2:
            raise InputError("PhysicsResidual: expected windows of at least two frames, got one; a time derivative needs more")
        self.pde, self.operators, self.spec, self.parameters = pde, operators, spec, dict(parameters or {})

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> residuals (B, number of residuals, T, *S)."""
        fields = self.spec.split(x)
        pde = self.pde
        if self.parameters:
            values = {p: fields[c].flatten(1).mean(1) for p, c in self.parameters.items()}
            pde = replace(pde, **values)  # type: ignore[type-var]
        times = torch.arange(x.shape[2], dtype=x.dtype, device=x.device) * self.spec.dt
        t = times.reshape(-1, *[1] * self.spec.grid.ndim)
        residual = pde.residual({name: fields[name] for name in pde.fields}, self.operators, t)
        return torch.stack(list(residual.values()), dim=1)
