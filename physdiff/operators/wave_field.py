r"""A field that is transformed to the grid only when somebody looks at its values.

Between two products of fields a law's text is linear: derivatives, signs, sums. On waves these are multiplications, so a field is kept as

$$\hat f = \sum_j c_j\, s_j\, \hat a_j + \widehat{g},$$

with numbers $c_j$, symbols $s_j$ of derivatives, waves $\hat a_j$ and a part g known on the grid. Its values cost one inverse transform, taken
when a product needs them and together with the other components of the same gradient; a result that is only added up costs none. Any
function of torch that is not linear sees the values.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from physdiff.operators.wave_block import Symbol, WaveBlock

__all__ = ["Transforms", "WaveField", "joined", "plain"]

Term = tuple[float, Symbol, Tensor]
Part = tuple[float, Tensor]


class Transforms:
    """The transforms of one stepper, with the waves of the last fields that were transformed.

    Args:
        block: The waves kept.
    """

    def __init__(self, block: WaveBlock) -> None:
        self.block = block
        self._blanks: dict[tuple[object, ...], Tensor] = {}
        self._stacked: dict[tuple[object, ...], Tensor] = {}
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        self._steady: dict[int, tuple[Tensor, Tensor]] = {}

    def put(self, f: Tensor, waves: Tensor) -> None:
        """Remember the waves of a field for this evaluation."""
        self._known[id(f)] = (f, waves)

    def forget(self) -> None:
        """Start a new evaluation: drop the waves of the last one's fields."""
        self._known.clear()

    def waves(self, *fields: Tensor) -> list[Tensor]:
        """Waves of plain fields, all that are new in one transform."""
        new = [f for f in fields if self._find(f) is None]
        if len(new) == 1:
            self._known[id(new[0])] = (new[0], self.block.forward(new[0]))
        elif new:
            for f, made in zip(new, self.block.forward(_stack(new)).unbind(0), strict=True):
                self._known[id(f)] = (f, made)
        return [self._find(f) for f in fields]  # type: ignore[misc]

    def keep(self, f: Tensor) -> None:
        """Remember the waves of a field that will come back, until the stepper is gone."""
        self._steady[id(f)] = (f, self.block.forward(f))

    def blank(self, lead: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor without memory that has the shape, precision and device of fields with these leading axes."""
        dtype = like.dtype.to_real() if like.dtype.is_complex else like.dtype
        key = (lead, dtype, like.device)
        found = self._blanks.get(key)
        if found is None:
            found = self._blanks[key] = torch.zeros((), dtype=dtype, device=like.device).expand(*lead, *self.block.grid.shape)
        return found

    def stacked(self, terms: Sequence[Term]) -> Tensor:
        """Symbols with signs one above the other, to be multiplied with one tensor of waves."""
        waves = terms[0][2]
        key = (waves.dtype, waves.device, waves.ndim, *((c, s) for c, s, _ in terms))
        found = self._stacked.get(key)
        if found is None:
            rows = torch.stack([s.like(waves, c) for c, s, _ in terms])
            ones = (1,) * (waves.ndim - self.block.ndim)
            found = self._stacked[key] = rows.reshape(len(terms), *ones, *rows.shape[1:])
        return found

    def _find(self, f: Tensor) -> Tensor | None:
        for entry in (self._known.get(id(f)), self._steady.get(id(f))):
            if entry is not None and entry[0] is f:
                return entry[1]
        return None


class WaveField(Tensor):
    """A scalar field (..., *S) of a WaveOperators; made by `wave_field`.

    It is a Tensor so that a law's text may do with it what it does with any field.
    """

    _on: Transforms
    _terms: tuple[Term, ...]
    _parts: tuple[Part, ...]
    _group: tuple[weakref.ref[WaveField], ...]
    _seen: Tensor | None

    @classmethod
    def make(cls, on: Transforms, terms: tuple[Term, ...], parts: tuple[Part, ...], *, blank: Tensor) -> WaveField:
        """A field from its terms and its parts on the grid."""
        field: WaveField = torch.Tensor._make_subclass(cls, blank)
        field._on, field._terms, field._parts, field._group, field._seen = on, terms, parts, (), None
        field._blank = blank
        return field

    _blank: Tensor

    # metadata is asked often and is that of the blank
    shape = property(lambda self: self._blank.shape)
    ndim = property(lambda self: self._blank.ndim)
    dtype = property(lambda self: self._blank.dtype)
    device = property(lambda self: self._blank.device)

    def values(self) -> Tensor:
        """The field on the grid, a plain Tensor."""
        if self._seen is None:
            alive = [f for f in (r() for r in self._group) if f is not None and f._seen is None] or [self]
            _realise(self._on, alive)
        return self._seen  # type: ignore[return-value]

    def waves(self) -> Tensor:
        """The waves kept of the field, zero where products alias."""
        root = self._on.block.root
        terms = self._terms
        if self._parts:
            whole = sum((f if c == 1 else c * f for c, f in self._parts[1:]), _times(*self._parts[0]))
            terms = (*terms, (1.0, root, self._on.waves(whole)[0]))
        if not terms:
            return root.like(torch.empty((), dtype=self.dtype.to_complex(), device=self.device)) * 0
        number, symbol, waves = terms[0]
        total = symbol.like(waves, number) * waves if number in (1, -1) else symbol.like(waves) * (number * waves)
        for number, symbol, waves in terms[1:]:
            if total.ndim >= waves.ndim and total.shape[: -self._on.block.ndim] != () and not total.requires_grad and not waves.requires_grad:
                total = total.addcmul_(symbol.like(waves), waves, value=number)
            else:
                total = torch.addcmul(total, symbol.like(waves), waves, value=number)
        return total

    def terms(self) -> tuple[Term, ...]:
        """The field as waves alone, its parts on the grid transformed and cut."""
        if not self._parts:
            return self._terms
        found = self._on.waves(*(f for _, f in self._parts))
        return (*self._terms, *((c, self._on.block.root, w) for (c, _), w in zip(self._parts, found, strict=True)))

    def scaled(self, number: float) -> WaveField:
        """The field times a number."""
        terms = tuple((number * c, s, w) for c, s, w in self._terms)
        return WaveField.make(self._on, terms, tuple((number * c, f) for c, f in self._parts), blank=self._blank)

    def plus(self, other: object, sign: float) -> WaveField | Tensor:
        """The sum with a field, a constant in space or a number."""
        if isinstance(other, WaveField):
            terms = (*self._terms, *((sign * c, s, w) for c, s, w in other._terms))
            parts = (*self._parts, *((sign * c, f) for c, f in other._parts))
            return WaveField.make(self._on, terms, parts, blank=self._blank if self.ndim >= other.ndim else other._blank)
        if isinstance(other, Tensor) and other.shape[-self._on.block.ndim :] == self._on.block.grid.shape:
            blank = self._blank if self.ndim >= other.ndim else self._on.blank(tuple(other.shape[: -self._on.block.ndim]), other)
            return WaveField.make(self._on, self._terms, (*self._parts, (sign, other)), blank=blank)
        if not isinstance(other, Tensor) and other == 0:
            return self
        total: Tensor = self.values() + sign * other  # type: ignore[operator]
        return total

    def __neg__(self) -> WaveField:
        return self.scaled(-1.0)

    def __add__(self, other: object) -> Any:  # noqa: ANN401 - a WaveField or a plain Tensor
        return self.plus(other, 1.0)

    def __radd__(self, other: object) -> Any:  # noqa: ANN401 - a WaveField or a plain Tensor
        return self.plus(other, 1.0)

    def __sub__(self, other: object) -> Any:  # noqa: ANN401 - a WaveField or a plain Tensor
        return self.plus(other, -1.0)

    def __rsub__(self, other: object) -> Any:  # noqa: ANN401 - a WaveField or a plain Tensor
        return self.scaled(-1.0).plus(other, 1.0)

    def __mul__(self, other: object) -> Any:  # noqa: ANN401 - a WaveField or a plain Tensor
        if isinstance(other, int | float):
            return self.scaled(float(other))
        if isinstance(other, Tensor) and not isinstance(other, WaveField) and self._constant(other):
            terms = tuple((c, s, w * other) for c, s, w in self._terms)
            return WaveField.make(self._on, terms, tuple((c, f * other) for c, f in self._parts), blank=self._blank)
        return self.values() * plain(other)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Any:  # noqa: ANN401 - a WaveField or a plain Tensor
        return self.scaled(1.0 / other) if isinstance(other, int | float) else self.values() / plain(other)

    def __pow__(self, exponent: Any) -> Any:  # noqa: ANN401 - a plain Tensor
        return self.values() ** plain(exponent)

    def _constant(self, other: Tensor) -> bool:
        """Whether a plain tensor is constant in space and does not add axes or samples."""
        if other.ndim == 0:
            return True
        lead = self._on.block.ndim
        return other.ndim == self.ndim and other.shape[-lead:].numel() == 1 and all(n in (1, m) for n, m in zip(other.shape, self.shape, strict=True))

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - any function of torch
        if func is torch.zeros_like and not kwargs and isinstance(args[0], WaveField):
            return WaveField.make(args[0]._on, (), (), blank=args[0]._blank)
        return func(*plain(args), **plain(kwargs or {}))


def plain(value: Any) -> Any:  # noqa: ANN401 - arguments of any function of torch
    """The arguments with plain Tensors in place of WaveFields."""
    if isinstance(value, WaveField):
        return value.values()
    if isinstance(value, tuple | list):
        return type(value)(*(plain(v) for v in value)) if hasattr(value, "_fields") else type(value)(plain(v) for v in value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def joined(fields: Sequence[WaveField]) -> tuple[WaveField, ...]:
    """The same fields; when one is looked at, all that still live are transformed at once."""
    group = tuple(weakref.ref(f) for f in fields)
    for f in fields:
        f._group = group
    return tuple(fields)


def _realise(on: Transforms, fields: Sequence[WaveField]) -> None:
    """Values of all, by one inverse transform."""
    spread = [f for f in fields if f._terms]
    made: list[Tensor] = []
    if spread:
        first = spread[0]._terms[0][2]
        single = all(len(f._terms) == 1 and f._terms[0][2] is first and f._terms[0][0] in (1, -1) for f in spread)
        terms = [f._terms[0] for f in spread]
        if len(spread) == 1:
            made = [on.block.inverse(_summed(spread[0]))]
        elif single:
            made = list(on.block.inverse(on.stacked(terms) * first).unbind(0))
        else:
            made = list(on.block.inverse(_stack([_summed(f) for f in spread])).unbind(0))
    values = dict(zip(map(id, spread), made, strict=True))
    for f in fields:
        parts = [_times(c, g) for c, g in f._parts]
        if id(f) in values:
            parts.insert(0, values[id(f)])
        f._seen = sum(parts[1:], parts[0]) if parts else torch.zeros(f.shape, dtype=f.dtype, device=f.device)


def _stack(fields: Sequence[Tensor]) -> Tensor:
    """One above the other; some may lack leading axes of the others, or have them of length one."""
    first = fields[0].shape
    if any(f.shape != first for f in fields):
        fields = torch.broadcast_tensors(*fields)  # type: ignore[no-untyped-call]
    return torch.stack(tuple(fields))


def _summed(f: WaveField) -> Tensor:
    """Waves of the terms alone."""
    return WaveField.make(f._on, f._terms, (), blank=f._blank).waves()


def _times(number: float, f: Tensor) -> Tensor:
    return f if number == 1 else number * f
