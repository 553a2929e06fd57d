"""What a law keeps and a forecast shall keep too: means over the grid, and the divergence of a flow.

Each frame moves to the nearest one that keeps it: by a shift, the same everywhere (means), by an orthogonal projection (`Solenoidal`). The next
block of a forecast begins there. Nothing else that is wrong is mended.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.solenoidal import Solenoidal

__all__ = ["Conserved"]


class Conserved:
    """Moves frames to what they shall keep of the last known one.

    Args:
        spec: Of the prior.
        keep: Names of fields whose means stay, and ``divergence(u v)`` for the divergence of a velocity (components in the order x, y, z).

    Raises:
        InputError: If a field is missing, or a flow cannot be projected (see `Solenoidal`).
        UnitError: If the units of a flow's components differ.
    """

    def __init__(self, spec: FieldSpec, keep: tuple[str, ...]) -> None:
        self.spec = spec
        flows = [_components(name) for name in keep]
        self._flows = [Solenoidal(spec, flow) for flow in flows if flow]
        self._means = [spec.channel(name) for name, flow in zip(keep, flows, strict=True) if not flow]

    def __call__(self, new: Tensor, known: Tensor) -> Tensor:
        """New frames (B, C, T, *S) that keep what the last of the known frames (B, C, history, *S) has; `new` itself is left alone."""
        last, spec, new = known[:, :, -1:], self.spec, new.clone()
        for flow in self._flows:
            new = flow(new, last)
        share = spec.grid.weights().to(new) * (1 if spec.mask is None else spec.mask.to(new.device))
        axes = tuple(range(2, 2 + spec.grid.ndim))
        for c in self._means:
            means = [(torch.nan_to_num(x[:, c]) * share).sum(axes, keepdim=True) / share.sum() for x in (new, last)]
            new[:, c] += means[1] - means[0]
        return new


def _components(text: str) -> tuple[str, ...]:
    """The components of ``divergence(u v)``, none of a field's name."""
    match = re.fullmatch(r"\s*divergence\((.*)\)\s*", text)
    if match is None:
        return ()
    found = tuple(match.group(1).split())
    if not found:
        raise InputError(f"keep: expected the components of the velocity, as divergence(u v), got {text!r}")
    return found
