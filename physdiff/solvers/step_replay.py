"""A step in Fourier space that gives way to its recording, whatever its length.

The recording takes the waves, the weights and the times as inputs, so one serves all steps. See `recording` for when it is not used.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.operators.recording import Replay
from physdiff.solvers.fourier_form import FourierForm, Times, WaveState, Weights, times_of

__all__ = ["StepReplay"]


class StepReplay:
    """One kind of step of a law.

    Args:
        form: The law.
        text: The step, from a state, its weights and its times to tensors.
        kinds: Names of the weights it takes.
    """

    def __init__(self, form: FourierForm, text: Callable[[Fields, Weights, Times], tuple[Tensor, ...]], kinds: tuple[str, ...]) -> None:
        self._form, self._text, self._kinds = form, text, kinds
        self._replay = Replay(self._flat)

    def __call__(self, state: Fields, t: float, dt: float) -> tuple[Tensor, ...]:
        """What the text gives."""
        weights = self._form.weights(state, dt)
        if not self._form.replays:
            return self._text(state, weights, times_of(t, dt))
        names = self._form.names
        slopes = [state.slopes[n] for n in names] if isinstance(state, WaveState) else []
        given = [state[n] for n in names] + slopes + [weights[n][kind] for n in names for kind in self._kinds]
        return self._replay(times_of(t, dt), *given)

    def _flat(self, times: Times, *tensors: Tensor) -> tuple[Tensor, ...]:
        names, kinds = self._form.names, self._kinds
        n, m = len(names), len(kinds)
        state: Fields = dict(zip(names, tensors[:n], strict=True))
        slopes, weights = tensors[n : -n * m], tensors[-n * m :]
        if slopes:
            state = WaveState(state, dict(zip(names, slopes, strict=True)))
        of = {name: dict(zip(kinds, weights[i * m : (i + 1) * m], strict=True)) for i, name in enumerate(names)}
        return self._text(state, of, times)
