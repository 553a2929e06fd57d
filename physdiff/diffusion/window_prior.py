r"""What every prior of windows shares: units, transform, condition, drawing in batches, saving.

A final class says how coefficients are drawn (`draw`) and which network it is trained through (`model`): `DiffusionPrior` by denoising,
`InterpolantPrior` by carrying a base to the data. What needs a posterior mean of noised coefficients (posterior samplers) asks for a
`DiffusionPrior` by type.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_finite
from physdiff.base.errors import GridMismatch, InputError, SavedError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved, read, write
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Transform

__all__ = ["WindowPrior"]


class WindowPrior(Saved, nn.Module, ABC):
    """A distribution over windows (C, T, *S), possibly given a condition window; abstract.

    A final class sets these and gives `model` and `draw`.
    """

    transform: Transform
    spec: FieldSpec
    cond_transform: ConditionTransform | None
    cond_spec: FieldSpec | None
    steps: int
    no_posterior: ClassVar[str] = "its state on the way is no noised sample, so that no denoiser E[x_0 | x_t] belongs to it"

    def _check_parts(self) -> None:
        """Raise InputError if the condition's transform and spec do not come together, or there are no steps."""
        what = type(self).__name__
        if (self.cond_transform is None) != (self.cond_spec is None):
            raise InputError(f"{what}: expected cond_transform and cond_spec together; give both or neither")
        if self.steps < 1:
            raise InputError(f"{what}: expected steps >= 1, got {self.steps}")

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """What is trained, called with (coefficients, times, encoded condition)."""

    @abstractmethod
    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """Coefficients (B, C', T', *S') from standard normal start noise of that shape, given a completed condition window.

        Args:
            noise: Start noise.
            completed: Completed condition window (B or 1, ...), or None.
            rng: Noise on the way.
        """

    def base(self, completed: Tensor | None) -> Tensor | None:
        """Where coefficients start from, (B, C', T', *S'); None for priors that start from noise."""
        return None

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape (C', T', *S') of the coefficients of one window."""
        return self.transform.out_shape(self.spec.shape)

    def complete(self, cond: Tensor | None, guess: Tensor | None = None) -> Tensor | None:
        """Check a condition window (B, C', T, *S) and append the first guess.

        Raises:
            InputError: If the prior needs a condition and none came, or the other way round.
            ShapeError: If it is not a window of `cond_spec`.
        """
        if self.cond_transform is None or self.cond_spec is None:
            if cond is not None:
                raise InputError("this prior is unconditional: expected no cond, got one; leave it out")
            return None
        if cond is None:
            names = ", ".join(self.cond_spec.names)
            raise InputError(f"this prior is conditional: expected cond with {names}, got none; build it with data.windows.condition")
        self.cond_spec.check(cond, "cond")
        if cond.shape[2] != self.spec.frames:
            raise ShapeError(f"cond: expected {self.spec.frames} frames, got {cond.shape[2]}")
        return self.cond_transform.complete(cond, guess)

    def encode_cond(self, completed: Tensor | None) -> Tensor | None:
        """Encode a completed condition window for the denoiser."""
        return None if completed is None or self.cond_transform is None else self.cond_transform.encode(completed)

    def encode(self, x: Tensor, completed: Tensor | None = None) -> Tensor:
        """Physical windows to coefficients; missing entries (NaN) get the value that encodes to zero, the centre of the training data."""
        known = x.isfinite()
        if not bool(known.all()):
            x = torch.where(known, x, self.centre(completed, like=x))
        return self.transform.encode(x, completed)

    def centre(self, completed: Tensor | None, *, like: Tensor) -> Tensor:
        """The window that encodes to zero (climatology, first guess), (B or 1, C, T, *S)."""
        batch = 1 if completed is None else completed.shape[0]
        zero = like.new_zeros(batch, *self.latent_shape)
        return self.transform.decode(zero, completed)

    def decode(self, z: Tensor, completed: Tensor | None = None) -> Tensor:
        """Coefficients to physical windows; entries the condition knows are written back as they are."""
        x = self.transform.decode(z, completed)
        if completed is None:
            return x
        n = len(self.spec.names)
        known = completed[:, n : n + (1 if self.cond_transform is None else self.cond_transform.masks)].to(x) > 0.5
        return torch.where(known, completed[:, :n].to(x), x)

    @torch.no_grad()
    def sample(
        self, n: int, *, cond: Tensor | None = None, rng: Rng, max_batch: int = 64, numbers: Sequence[int] | None = None
    ) -> Tensor:
        """Draw windows.

        Args:
            n: Number of draws.
            cond: Condition window of batch 1 (shared) or n (one each), physical units.
            rng: Randomness; draw i depends on i, not on n or on `max_batch`, up to rounding in the network and a sampler's own noise.
            max_batch: Number of windows that go through the network at once.
            numbers: Which member each draw is, for priors whose members differ in more than noise (`WeightEnsemble`); 0, 1, ... if left out.

        Returns:
            (n, C, T, *S) in physical units, dtype of the denoiser, float32 at least; NaN where the spec's mask says that there are no values.
            Dropout is off, whatever mode the prior is in.

        Raises:
            InputError: If a number makes no sense, a condition is missing, not expected, or holds NaN.
            ShapeError: If the condition is no window of `cond_spec`, or its batch is neither 1 nor n.
        """
        if n < 0 or max_batch < 1:
            raise InputError(f"sample: expected n >= 0 and max_batch >= 1, got {n} and {max_batch}")
        if cond is not None:
            check_finite(cond, "cond", "fill unknown entries; data.windows.condition does it for you")
        if cond is not None and cond.shape[0] not in (1, n):
            raise ShapeError(f"cond: expected batch 1 or {n}, got {cond.shape[0]}")
        numbers = range(n) if numbers is None else numbers
        if len(numbers) != n or any(k < 0 for k in numbers):
            raise InputError(f"sample: expected {n} numbers of members, at least 0, got {list(numbers)[:8]}")
        with _evaluating(self):
            return self._sample(n, cond, rng=rng, max_batch=max_batch, numbers=numbers)

    def _sample(self, n: int, cond: Tensor | None, *, rng: Rng, max_batch: int, numbers: Sequence[int]) -> Tensor:
        like = self._state()
        draws = []
        for start in range(0, n, max_batch):
            rows = range(start, min(start + max_batch, n))
            part = None if cond is None else (cond if cond.shape[0] == 1 else cond[start : rows.stop]).to(like)
            completed = self.complete(part)
            noise = rng.child("start").normal_each(rows, self.latent_shape, like=like)
            z = self._drawn(noise, completed, rng=rng.child("path", start), numbers=[numbers[i] for i in rows])
            draws.append(self.decode(z, completed))
        return self.masked(torch.cat(draws)) if draws else like.new_empty(0, *self.spec.shape)

    def _drawn(self, noise: Tensor, completed: Tensor | None, *, rng: Rng, numbers: Sequence[int]) -> Tensor:
        """As `draw`, told which members the rows are."""
        return self.draw(noise, completed, rng=rng)

    @property
    def onward(self) -> WindowPrior:
        """What a forecast goes on with after its first block: itself, but for priors that change the state it begins from."""
        return self

    def _state(self) -> Tensor:
        """An empty tensor with the device of the model and the dtype of the sampler's state."""
        held = (v for v in chain(self.model.parameters(), self.model.buffers()) if v.is_floating_point())
        like = next(held, torch.empty((), dtype=torch.float32))
        return torch.empty((), dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)

    def masked(self, x: Tensor) -> Tensor:
        """`x` with NaN where the spec's mask says that there are no values."""
        return x if self.spec.mask is None else torch.where(self.spec.mask.to(x.device), x, torch.nan)

    def check_grid(self, spec: FieldSpec, what: str) -> None:
        """Raise GridMismatch or InputError unless `spec` has this prior's grid, names, units and time step."""
        self.spec.grid.check_same(spec.grid, what)
        if spec.names != self.spec.names or spec.units != self.spec.units:
            expected, got = (dict(zip(s.names, s.units, strict=True)) for s in (self.spec, spec))
            raise InputError(f"{what}: expected the fields {expected}, got {got}; select and convert them")
        if abs(spec.dt - self.spec.dt) > 1e-6 * self.spec.dt or spec.time_unit != self.spec.time_unit:
            wanted, found = (f"{s.dt:g} {s.time_unit}" for s in (self.spec, spec))
            raise GridMismatch(f"{what}: expected a time step of {wanted}, got {found}; subsample it")

    def save(self, path: str | os.PathLike[str], *, card: Mapping[str, Any] | None = None) -> Path:
        """Write the prior to one file, atomically; `card` is JSON kept beside it (data, command, seed)."""
        return write(path, self, card=card)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, classes: Iterable[type] = ()) -> Self:
        """Read a prior that `save` wrote (of any kind if called on WindowPrior); `classes` are your own networks or transforms.

        Raises:
            SavedError: If the file is missing, damaged, or holds something else.
        """
        obj, _ = read(path, classes=classes)
        if not isinstance(obj, cls):
            raise SavedError(f"{path}: expected a {cls.__name__}, got {type(obj).__name__}; give a prior of that kind")
        return obj.eval()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every part gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
