r"""The waves that an integrator keeps: the resolved part of a half-spectrum, with the wave number along x first.

By the two-thirds rule products see only waves $3|m| < n$. So the transform along x keeps $\lceil n/3 \rceil$ columns of $n/2 + 1$, and those
along y and z run on these columns alone:

$$f(z, y, x) \;\to\; \hat f(z, y, k_x) \;\to\; \text{cut } k_x \;\to\; \hat f(k_x, k_y, k_z).$$

With the axes in this order each pass is over neighbours in memory. Reference: Orszag (1971) for the rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.operators.half_spectrum import HalfSpectrum

__all__ = ["Symbol", "WaveBlock"]

Factor = tuple[str, int, int]
"""Name of a multiplier, and its two numbers (direction and order, or two directions)."""


class WaveBlock:
    """Transforms between fields (..., *S) and waves (..., k_x, [k_y, [k_z]]), whole or cut along x.

    Args:
        spectrum: Multipliers of the grid.
        cut: Whether waves that make products alias are left out.

    Attributes:
        count: Waves kept along x.
        root: Symbol one on the waves kept and zero on the others.
    """

    def __init__(self, spectrum: HalfSpectrum, cut: bool) -> None:
        self.spectrum, self.grid, self.cut = spectrum, spectrum.grid, cut
        self.ndim = self.grid.ndim
        points = self.grid.shape[-1]
        self.count = (points + 2) // 3 if cut else points // 2 + 1
        self._across = tuple(range(1 - self.ndim, 0))
        self.root = Symbol(self, ())

    def whole(self, f: Tensor) -> Tensor:
        """All waves of fields."""
        return self.turned(self.spectrum.forward(f)).contiguous()

    def fields(self, waves: Tensor) -> Tensor:
        """The fields of all waves; see `whole`."""
        return self.spectrum.inverse(self.turned(waves))

    def kept(self, waves: Tensor) -> Tensor:
        """A view of the columns kept of all waves."""
        return waves.narrow(-self.ndim, 0, self.count)

    def forward(self, f: Tensor) -> Tensor:
        """The columns kept of the waves of fields."""
        part = torch.fft.rfft(f, dim=-1).narrow(-1, 0, self.count)
        waves: Tensor = torch.fft.fftn(self.turned(part), dim=self._across) if self._across else part
        return waves

    def inverse(self, waves: Tensor) -> Tensor:
        """The fields whose waves are those given in the columns kept, and zero in the others."""
        part = self.turned(torch.fft.ifftn(waves, dim=self._across)) if self._across else waves
        f: Tensor = torch.fft.irfft(part, n=self.grid.shape[-1], dim=-1)
        return f

    def symmetric(self, waves: Tensor) -> Tensor:
        """All waves less the part that no real field has; see HalfSpectrum.symmetric."""
        return self.turned(self.spectrum.symmetric(self.turned(waves))).contiguous()

    def exact(self, factor: Factor) -> Tensor:
        """A multiplier in double precision on the columns kept, its axes in this class's order."""
        name, i, j = factor
        like = torch.empty(0, dtype=torch.float64, device="cpu")
        if name == "derivative":
            made = self.spectrum.derivative(i, j, like)
        elif name == "laplacian":
            made = self.spectrum.laplacian(like)
        elif name == "inverse_laplacian":
            made = self.spectrum.inverse_laplacian(like)
        elif name == "projection":
            made = self.spectrum.projection(i, j, like)
        else:  # "saddle"
            made = self.spectrum.derivative(0, 2, like) - self.spectrum.derivative(1, 2, like)
        return self.columns(made)

    def multiplicity(self) -> Tensor:
        """How many waves of a full spectrum each of the whole stands for: 2, and 1 where k_x = 0 or n / 2; (k_x, 1, ...)."""
        n = self.grid.shape[-1]
        counts = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64, device="cpu")
        counts[0] = 1.0
        if n % 2 == 0:
            counts[-1] = 1.0
        return counts.reshape(-1, *(1,) * (self.ndim - 1))

    def columns(self, multiplier: Tensor) -> Tensor:
        """The columns kept of a multiplier (..., *half), its axes in this class's order."""
        made = self.turned(multiplier)
        return made if made.shape[-self.ndim] == 1 else self.kept(made)

    def turned(self, x: Tensor) -> Tensor:
        """The last axes in opposite order."""
        lead = x.ndim - self.ndim
        return x.permute(*range(lead), *range(x.ndim - 1, lead - 1, -1))


class Symbol:
    """A product of multipliers on the waves kept, made in double precision and kept in each precision and device that asks.

    Args:
        block: The waves.
        path: The factors.
    """

    def __init__(self, block: WaveBlock, path: tuple[Factor, ...]) -> None:
        self._block, self._path = block, path
        self._next: dict[Factor, Symbol] = {}
        self._made: dict[tuple[object, ...], Tensor] = {}

    def then(self, name: str, i: int = 0, j: int = 0) -> Symbol:
        """This symbol times one more factor."""
        factor = (name, i, j)
        found = self._next.get(factor)
        if found is None:
            found = self._next[factor] = Symbol(self._block, (*self._path, factor))
        return found

    def like(self, waves: Tensor, sign: float = 1.0) -> Tensor:
        """The symbol times a sign (1 or -1), in the precision and on the device of the waves."""
        key = (sign, waves.dtype, waves.device)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = (sign * self._product()).to(waves.device, waves.dtype)
        return found

    def _product(self) -> Tensor:
        block = self._block
        like = torch.empty(0, dtype=torch.float64, device="cpu")
        total = block.columns(block.spectrum.resolved(like)) if block.cut else block.columns(torch.ones(block.spectrum.shape, dtype=torch.float64))
        for factor in self._path:
            total = total * block.exact(factor)
        return total.contiguous()
