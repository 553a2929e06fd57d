r"""The symbol of a linear law: the same text applied to Fourier amplitudes.

With constant coefficients $\widehat{L u}(k) = \lambda(k)\,\hat u(k)$; exponential integrators need
$\lambda$. It is read off the law's own `stiff`, which is run on amplitudes: derivatives become products with
$i k$, the Laplacian with $-|k|^2$. Waves are those of `Spectral`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError, UnsupportedOperator
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.half_spectrum import HalfSpectrum
from physdiff.operators.operators import Operators, PoissonOperators, Vector

__all__ = ["FourierSymbol"]

Stiff = Callable[[Fields, Operators], Fields]
_MOVE = "put the term into `nonstiff`; `stiff` is linear with constant coefficients, without source and without mixing of fields"


class FourierSymbol(PoissonOperators):
    """Operators on Fourier amplitudes (..., *half), the half-spectrum of torch's rfftn.

    Args:
        grid: A uniform CartesianGrid, periodic along every axis.

    Raises:
        UnsupportedOperator: If an axis is not uniform or not periodic.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.spectrum = HalfSpectrum(grid, "FourierSymbol")

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self.grid.ndim

    @property
    def coordinates(self) -> Vector:
        """None in Fourier space.

        Raises:
            UnsupportedOperator: Always.
        """
        raise UnsupportedOperator("coordinates", "FourierSymbol", f"a coefficient depends on the place; {_MOVE}")

    def dt(self, f: Tensor) -> Tensor:
        """None in Fourier space.

        Raises:
            UnsupportedOperator: Always.
        """
        raise UnsupportedOperator(
            "dt",
            "FourierSymbol",
            "a stiff part has no time derivative; use Spectral(grid, dt=...) for residuals",
        )

    def grad(self, f: Tensor) -> Vector:
        """Products with i k_x, i k_y, i k_z; zero for the shortest wave of an even axis."""
        return tuple(self.partial(f, i) for i in range(self.ndim))

    def div(self, v: Vector) -> Tensor:
        """Sum of i k_a v_a."""
        terms = [self.partial(c, i) for i, c in enumerate(self.check_vector(v, "div"))]
        return sum(terms[1:], terms[0])

    def lap(self, f: Tensor) -> Tensor:
        """Product with -|k|^2."""
        return self.spectrum.laplacian(f) * self._checked(f)

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Product with (i k)^order of one direction."""
        return self.spectrum.derivative(direction, order, f) * self._checked(f)

    def inv_lap(self, f: Tensor) -> Tensor:
        """Quotient by -|k|^2, zero for the mean."""
        return self.spectrum.inverse_laplacian(f) * self._checked(f)

    def project(self, v: Vector) -> Vector:
        """Leray projection of amplitudes."""
        return tuple(self.spectrum.project([self._checked(c) for c in self.check_vector(v, "project")]))

    def symbol(self, stiff: Stiff, names: Sequence[str], like: Tensor | None = None) -> dict[str, Tensor]:
        """The diagonal symbol of each field, (..., *half) complex, with d/dt u_hat = symbol * u_hat for the stiff part.

        The law's own text is probed with two random amplitudes per field; parameters of shape (B, 1, ...)
        give a symbol (B, *half), and gradients flow into them.

        Args:
            stiff: `pde.stiff` (of the bound law): fields and operators to tendencies; a missing name means
                zero.
            names: Names of the fields that evolve.
            like: A field whose precision and device the symbols shall fit; float64 on the CPU if None.
                Probing is done in float64.

        Raises:
            UnsupportedOperator: If the stiff part has a source, mixes fields, or is not linear with constant
                coefficients; the message names the field and the rule.
        """
        device = torch.device("cpu") if like is None else like.device
        dtype = torch.complex128 if like is None else torch.promote_types(like.dtype, torch.complex64)
        zero = torch.zeros(self.shape, dtype=torch.complex128, device=device)
        one = torch.ones_like(zero)
        nothing = dict.fromkeys(names, zero)
        for name, value in self._probe(stiff, nothing).items():
            if bool((value != 0).any()):
                _refuse(name, "has a source: it is not zero where all fields are zero")
        symbols = {}
        for name in names:
            response = self._probe(stiff, {**nothing, name: one})
            for other, value in response.items():
                if other != name and bool((value != 0).any()):
                    _refuse(other, f"depends on {name!r}: it mixes fields")
            symbols[name] = response[name]
        self._check_linear(stiff, symbols)
        return {name: value.to(dtype) for name, value in symbols.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the half-spectrum, storage order."""
        return self.spectrum.shape

    def _check_linear(self, stiff: Stiff, symbols: dict[str, Tensor]) -> None:
        for seed in (1, 2):
            amplitudes = {name: _random(self.shape, seed + 2 * i).to(value.device) for i, (name, value) in enumerate(symbols.items())}
            for name, got in self._probe(stiff, amplitudes).items():
                wanted = amplitudes[name] * symbols[name]
                # rounding of a few products, relative to the largest wave; a broken rule is off by far more
                if bool((got - wanted).abs().amax() > 1e-10 * wanted.abs().amax()):
                    _refuse(name, "is not linear with constant coefficients: stiff(c u) differs from c stiff(u)")

    def _probe(self, stiff: Stiff, amplitudes: Fields) -> dict[str, Tensor]:
        try:
            found = dict(stiff(amplitudes, self))
        except KeyError as error:
            raise UnsupportedOperator("stiff", "FourierSymbol", f"it asks for {error}, which does not evolve; {_MOVE}") from error
        unknown = [name for name in found if name not in amplitudes]
        if unknown:
            raise UnsupportedOperator("stiff", "FourierSymbol", f"it changes {', '.join(unknown)}, which does not evolve; {_MOVE}")
        some = next(iter(amplitudes.values()))
        return {n: torch.as_tensor(found.get(n, 0.0), device=some.device) + torch.zeros_like(some) for n in amplitudes}

    def _checked(self, f: Tensor) -> Tensor:
        if tuple(f.shape[-self.ndim :]) != self.shape:
            raise ShapeError(f"FourierSymbol: expected amplitudes (..., {self.shape}), got {tuple(f.shape)}; use Spectral on fields")
        return f


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    # any amplitudes do, as long as they are always the same, of either sign, and near one in size
    waves = torch.arange(torch.Size(shape).numel(), dtype=torch.float64, device="cpu").reshape(shape)
    return torch.polar(1.0 + 0.5 * torch.sin(waves * (1.0 + 0.37 * seed)), waves * (0.7 + seed))


def _refuse(name: str, why: str) -> NoReturn:
    raise UnsupportedOperator("stiff", "FourierSymbol", f"stiff[{name!r}] {why}; {_MOVE}")
