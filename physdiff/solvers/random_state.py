r"""Random initial states of a law: each variable about its usual size, positive where it must be, consistent where the law demands it.

A law says in which variables a state is drawn and how large they usually are (`PDE.usual`: density, velocity and pressure of a gas), and makes its
fields of them (`PDE.initial`: momentum and energy; a velocity without divergence; a probability of integral one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.solvers.initial import RandomField, initial_fields

__all__ = ["RandomState"]


@dataclass(frozen=True)
class RandomState(Saved):
    """What `generate` draws whole states from, for any law.

    Args:
        noise: Shape of the departures from the usual state; its `std` counts in the usual standard deviations, its `mean` likewise.
        named: Variables that are drawn as these fields say instead, in their own units, by the names of ``law.usual``.
    """

    noise: RandomField
    named: Mapping[str, RandomField] = field(default_factory=dict)

    def sample(self, law: PDE, D: Operators, *, grid: Grid, indices: range, rng: Rng, like: Tensor | None = None) -> dict[str, Tensor]:
        """The law's fields (len(indices), *S) of the samples with these indices.

        Args:
            law: Whose fields.
            D: Operators of the grid, for what the law demands of them.
            grid: Where.
            indices: Of the samples; each depends on `rng` and its own index only.
            rng: Source of randomness; every variable has its own stream of it.
            like: Gives dtype and device.

        Raises:
            InputError: If a name is none of the law's, or values are drawn that the law does not allow.
        """
        table = {}
        for name, (mean, std) in law.usual.items():
            table[name] = replace(self.noise, mean=mean + std * self.noise.mean, std=std * self.noise.std, positive=name in law.positive)
        for name, given in self.named.items():
            check_one_of(name, table, f"initial variables of {type(law).__name__}")
            if not isinstance(given, RandomField):
                raise InputError(f"RandomState {name}: expected a RandomField, got {type(given).__name__}")
            table[name] = given
        drawn = initial_fields(table, tuple(table), grid, n=len(indices), rng=rng, start=indices.start, like=like)
        return dict(law.initial(drawn, D, grid=grid))
