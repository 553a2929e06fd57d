r"""A law as exponential steppers see it: $\partial_t\hat u = \lambda\,\hat u + \hat N(\hat u, t)$.

The state is all waves of each field, k_x first; the stiff part advances them all. The explicit part sees and changes the waves that do not
alias, which are a view of the state (see `WaveBlock`).
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from physdiff.base.errors import UnsupportedOperator
from physdiff.grids.field_spec import Fields
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.operators import Operators
from physdiff.operators.recording import Replay
from physdiff.operators.spectral import Spectral
from physdiff.operators.wave_operators import WaveOperators
from physdiff.pdes.pde import PDE
from physdiff.pdes.steady import SteadyFunction
from physdiff.solvers.stepper import spectral_radius

__all__ = ["FourierForm", "Times", "WaveState", "Waves", "Weights", "times_of"]

Waves = Mapping[str, Tensor]
"""Waves of each field, (B, k_x, [k_y, [k_z]])."""
Weights = Mapping[str, Mapping[str, Tensor]]
"""Weights of a step for each field, by name."""
Times = tuple[float, float, float]
"""Beginning, middle and end of a step."""
_KEPT = 16


def times_of(t: float, dt: float) -> Times:
    """The times of a step."""
    return t, t + dt / 2, t + dt


class WaveState(dict[str, Tensor]):
    """All waves of each field, with the explicit part there.

    Args:
        waves: Of each field.
        slopes: The explicit part at these waves.
    """

    def __init__(self, waves: Waves, slopes: Waves) -> None:
        super().__init__(waves)
        self.slopes = slopes


class FourierForm:
    """A law in Fourier space: symbols, explicit part, and the weights of the last few step lengths.

    Args:
        pde: The law.
        operators: Spectral derivatives.
        what: Name of the stepper, for messages.
        weights: Weights of a step by name, from a symbol and the length of the step; `full` is that of all waves.

    Raises:
        UnsupportedOperator: If the operators are not Spectral, or the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators, *, what: str, weights: Callable[[Tensor, float], dict[str, Tensor]]) -> None:
        if not isinstance(operators, Spectral):
            remedy = "it advances Fourier amplitudes; build it with Spectral(grid), or use RungeKutta"
            raise UnsupportedOperator(what, type(operators).__name__, remedy)
        self._pde, self._operators = pde, WaveOperators(operators)
        self._block = self._operators.block
        self._law = pde.bound(operators.ndim)
        place = torch.empty((), dtype=torch.float64, device=pde.device)
        symbols = FourierSymbol(operators.grid).symbol(self._law.stiff, pde.fields, like=place)
        self._symbols = {n: self._block.turned(s) for n, s in symbols.items()}
        # only there does the half-spectrum hold waves k and -k
        double = [0, -1] if operators.grid.shape[-1] % 2 == 0 else [0]
        self._grows = any(bool((s.real[..., double] > 0).any()) for s in symbols.values())
        self._weights, self._counts = weights, self._block.multiplicity()
        self._replays, self._replay = not _asks(self._law), Replay(self._values)
        self._kept: OrderedDict[tuple[object, ...], dict[str, dict[str, Tensor]]] = OrderedDict()

    def slopes(self, state: Fields, t: float) -> Waves:
        """The explicit part of a state, kept from the step before if that found it."""
        return state.slopes if isinstance(state, WaveState) else self.from_text(self.kept(state), t)

    def inverse(self, kept: Tensor, like: Tensor) -> Tensor:
        """The field of the waves kept, with as many samples as the state `like`."""
        return self._block.inverse(kept.expand(self._block.kept(like).shape))

    def norm(self, waves: Tensor) -> Tensor:
        """Root mean square of the fields of these waves, (B,)."""
        counts = self._counts.to(waves.device, waves.real.dtype).narrow(0, 0, waves.shape[-self._block.ndim])
        energy = torch.view_as_real(waves).square().sum(-1) if waves.is_complex() else waves.square()
        total = (energy * counts).flatten(-self._block.ndim).sum(-1)
        return total.sqrt() / math.prod(self._block.grid.shape)

    def waves(self, u: Fields) -> dict[str, Tensor]:
        """All waves of the fields."""
        return {n: self._block.whole(u[n]) for n in self._pde.fields}

    def fields(self, state: Fields) -> dict[str, Tensor]:
        """The fields of all waves."""
        return {n: self._block.fields(v) for n, v in state.items()}

    def kept(self, state: Fields) -> dict[str, Tensor]:
        """The waves that do not alias, views."""
        return {n: self._block.kept(v) for n, v in state.items()}

    def explicit(self, kept: Mapping[str, Tensor], t: float) -> dict[str, Tensor]:
        """The waves of the law's explicit part, of and into those that do not alias."""
        names = self._pde.fields
        if not self._replays:
            return self.from_text(kept, t)
        return dict(zip(names, self._replay(t, *(kept[n] for n in names)), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """The law's fields, in order."""
        return self._pde.fields

    @property
    def replays(self) -> bool:
        """Whether the law gives the same again, so that what it does may be recorded."""
        return self._replays

    def from_text(self, kept: Mapping[str, Tensor], t: float) -> dict[str, Tensor]:
        """The same, not from a recording."""
        D = self._operators
        return D.end(self._law.explicit(D.begin(kept), D, t))

    def _values(self, t: float, *kept: Tensor) -> tuple[Tensor, ...]:
        names = self._pde.fields
        found = self.from_text(dict(zip(names, kept, strict=True)), t)
        return tuple(found[n] for n in names)

    def tidy(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state less what no real field has, where growth would raise it from rounding."""
        return {n: self._block.symmetric(v) for n, v in state.items()} if self._grows else state

    def weights(self, state: Fields, dt: float) -> dict[str, dict[str, Tensor]]:
        """The weights of a step for each field, in the waves' precision and on their device."""
        like = next(iter(state.values()))
        key = (dt, like.dtype, like.device)
        if key in self._kept:
            return self._kept[key]
        made = {}
        for n, s in self._symbols.items():
            made[n] = {k: self._ready(w if k == "full" else self._block.kept(w), like) for k, w in self._weights(s, dt).items()}
        # weights that carry gradients belong to one backward pass only
        if not any(s.requires_grad for s in self._symbols.values()):
            self._kept[key] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def _ready(self, weight: Tensor, like: Tensor) -> Tensor:
        """A weight as it is multiplied; what would leave nothing of a wave is zero, for numbers near the smallest one are a hundred times slower."""
        weight = torch.where(weight.abs() < torch.finfo(like.dtype).tiny ** 0.5, 0.0, weight)
        # results take the order in memory of their first factor
        return weight.to(like).contiguous()

    def limit(self, u: Fields, t: float, reach: float) -> float:
        """Reach over the largest eigenvalue of the explicit part; inf if that is zero."""

        def rhs(v: Fields) -> Fields:
            state = self.waves(v)
            found = self.explicit(self.kept(state), t)
            return {n: self.inverse(found[n], w) for n, w in state.items()}

        radius = spectral_radius(rhs, {n: u[n] for n in self._pde.fields})
        return reach / radius if radius > 0 else float("inf")


def _asks(value: object) -> bool:
    """Whether a law holds functions that need not give the same again: those of time, or of what its author keeps elsewhere."""
    if isinstance(value, SteadyFunction | Tensor):
        return False
    if isinstance(value, tuple | list):
        return any(_asks(v) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not callable(value):
        return any(_asks(getattr(value, field.name)) for field in dataclasses.fields(value))
    return callable(value)
