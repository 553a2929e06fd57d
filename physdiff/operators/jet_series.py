r"""Taylor coefficients $\phi^{(k)}(x)/k!$ up to order five of the functions that jets pass through.

Each function is a pair: what is computed once at the values (a tanh, a sine and a cosine), and the coefficients made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["SERIES", "power_series"]

Base = Sequence[Tensor]


def power_series(x: Tensor, exponent: float, n: int) -> list[Tensor]:
    """Coefficients 0 to n of x^exponent."""
    terms, factor = [], 1.0
    for k in range(n + 1):
        terms.append(factor * x ** (exponent - k))
        factor *= (exponent - k) / (k + 1)
    return terms


def _tanh(base: Base, n: int) -> list[Tensor]:
    (s,) = base
    p = torch.addcmul(torch.ones_like(s), s, s, value=-1)
    terms = [s, p]
    if n > 1:
        terms.append((-s).mul_(p))
    q = 1 - p if n > 2 else p
    if n > 2:
        terms.append(p * (q - 1 / 3))
    if n > 3:
        terms.append(s * p * (2 / 3 - q))
    if n > 4:
        terms.append(p * (q * q - q + 2 / 15))
    return terms[: n + 1]


def _turning(base: Base, n: int, signs: tuple[int, ...]) -> list[Tensor]:
    """Derivatives that go round: (f, f', -f, -f') for sine and cosine."""
    return [base[k % 2] * (signs[k % 4] / math.factorial(k)) for k in range(n + 1)]


def _exp(base: Base, n: int) -> list[Tensor]:
    return [base[0] / math.factorial(k) for k in range(n + 1)]


def _log(base: Base, n: int) -> list[Tensor]:
    x, value = base
    return [value, *((-1) ** (k - 1) / k * x**-k for k in range(1, n + 1))]


def _atan(base: Base, n: int) -> list[Tensor]:
    x, value = base
    bell = 1 / (1 + x * x)
    slopes = [bell, -2 * x * bell * bell]  # of 1/(1 + x^2): (1 + x^2) p_k + 2 x p_{k-1} + p_{k-2} = 0
    for _ in range(n - 2):
        slopes.append(-(2 * x * slopes[-1] + slopes[-2]) * bell)
    return [value, *(slopes[k - 1] / k for k in range(1, n + 1))]


def _sigmoid(base: Base, n: int) -> list[Tensor]:
    s = base[0]
    p = s * (1 - s)
    terms = [s, p]
    if n > 1:
        terms.append(p * (1 - 2 * s) / 2)
    if n > 2:
        terms.append(p * (1 - 6 * p) / 6)
    if n > 3:
        terms.append(p * (1 - 2 * s) * (1 - 12 * p) / 24)
    if n > 4:
        terms.append(p * (1 - 30 * p + 120 * p * p) / 120)
    return terms[: n + 1]


def _softplus(base: Base, n: int) -> list[Tensor]:
    slopes = _sigmoid(base, max(n - 1, 0))
    return [base[1], *(slopes[k - 1] / k for k in range(1, n + 1))]


def _times_x(x: Tensor, gate: list[Tensor]) -> list[Tensor]:
    return [x * gate[0], *(x * now + before for before, now in zip(gate[:-1], gate[1:], strict=True))]


def _silu(base: Base, n: int) -> list[Tensor]:
    return _times_x(base[1], _sigmoid(base, n))


def _gelu(base: Base, n: int) -> list[Tensor]:
    x, share = base
    bell = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    hermite = [torch.ones_like(x), -x, x * x - 1, 3 * x - x**3, x**4 - 6 * x * x + 3]
    return _times_x(x, [share, *(hermite[k - 1] * bell / math.factorial(k) for k in range(1, n + 1))])


SERIES: dict[str, tuple[Callable[[Tensor], Base], Callable[[Base, int], list[Tensor]]]] = {
    "tanh": (lambda x: (torch.tanh(x),), _tanh),
    "sin": (lambda x: (torch.sin(x), torch.cos(x)), lambda base, n: _turning(base, n, (1, 1, -1, -1))),
    "cos": (lambda x: (torch.cos(x), torch.sin(x)), lambda base, n: _turning(base, n, (1, -1, -1, 1))),
    "exp": (lambda x: (torch.exp(x),), _exp),
    "log": (lambda x: (x, torch.log(x)), _log),
    "atan": (lambda x: (x, torch.atan(x)), _atan),
    "sigmoid": (lambda x: (torch.sigmoid(x),), _sigmoid),
    "softplus": (lambda x: (torch.sigmoid(x), functional.softplus(x)), _softplus),
    "silu": (lambda x: (torch.sigmoid(x), x), _silu),
    "gelu": (lambda x: (x, torch.special.ndtr(x)), _gelu),
}
