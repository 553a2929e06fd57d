r"""A law some of whose numbers are unknown: drawn anew for each trajectory, and kept beside it.

Each is log-uniform between two positive numbers, $p = l\,(h/l)^u$ with u uniform on (0, 1): every factor is as likely as every other, as suits a
viscosity of which no more than the order of magnitude is known. In the data it is a field of its own name, constant in space and time, which
`Recipe(parameters=...)` makes a coordinate of a prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.pdes.pde import PDE
from physdiff.solvers.stepper import Stepper

__all__ = ["VariedLaw"]


@dataclass(frozen=True, eq=False)
class VariedLaw:
    """A law with parameters of its own for each trajectory, for `generate`.

    Args:
        law: The law; what it has for the varied parameters is not used.
        stepper: From a law to the solver of it.
        between: {parameter of the law: (lowest, highest)}, positive.

    Raises:
        InputError: If the law has no such parameter, or not one number for it, or the two are not positive and in order.
    """

    law: PDE
    stepper: Callable[[PDE], Stepper]
    between: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        what, known = type(self.law).__name__, _numbers(self.law)
        if not self.between:
            raise InputError(f"VariedLaw: expected parameters of {what} and two numbers for each, got none")
        for name, pair in self.between.items():
            if name not in known:
                raise InputError(f"vary: expected numbers of {what}, which are {', '.join(known) or 'none'}; got {name!r}")
            if name in (*self.law.fields, *self.law.diagnostics):
                raise InputError(f"vary {name}: expected a parameter with a name of its own, got that of a field of {what}")
            if len(pair) != 2 or not 0 < pair[0] < pair[1] < float("inf"):
                raise InputError(f"vary {name}: expected two positive numbers, the lower first, got {list(pair)}; as in [0.01, 0.1]")

    def values(self, indices: range, rng: Rng, *, like: Tensor) -> dict[str, Tensor]:
        """Each parameter of the samples with these indices, (len(indices),); every one depends on `rng`, its name and its own index only."""
        drawn = {}
        for name, (low, high) in self.between.items():
            u = torch.stack([rng.child("parameter", name, i).uniform((), like=torch.zeros((), dtype=torch.float64)) for i in indices])
            drawn[name] = (low * (high / low) ** u).to(like)
        return drawn

    def stepper_of(self, values: Mapping[str, Tensor]) -> Stepper:
        """The solver of the law with these parameters."""
        return self.stepper(self.law.with_parameters(**values))


def _numbers(law: PDE) -> list[str]:
    """The law's parameters that are, or may be, one number for a sample."""
    wanted = {"float", "Parameter", "Coefficient"}
    kinds = {f.name: f.type if isinstance(f.type, str) else getattr(f.type, "__name__", "") for f in law.parameter_fields()}
    return [n for n, kind in kinds.items() if isinstance(getattr(law, n), float | Tensor) or wanted & {part.strip() for part in kind.split("|")}]
