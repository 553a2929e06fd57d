r"""Derivatives of a network of coordinates by Taylor mode: all orders along a direction in one forward pass.

Along a line $x + s v$ a chain of layers carries $a_k = d^k a / ds^k$ at s = 0 from its input to its output. Linear layers act on each of
them; an activation $\sigma$ by the formula of Faa di Bruno,

$$b_1 = \sigma' a_1,\quad b_2 = \sigma'' a_1^2 + \sigma' a_2,\quad b_3 = \sigma''' a_1^3 + 3\sigma'' a_1 a_2 + \sigma' a_3,$$
$$b_4 = \sigma'''' a_1^4 + 6\sigma''' a_1^2 a_2 + \sigma''(3 a_2^2 + 4 a_1 a_3) + \sigma' a_4.$$

All directions share the values, and are carried together. Mixed second derivatives come from diagonals,
$f_{xy} = \tfrac12(D^2_{x+y} - D^2_x - D^2_y)f$. The result is an `Autograd` that knows these derivatives by heart and takes all others (of
products, of fluxes) in reverse mode. Reference: Griewank and Walther, Evaluating Derivatives, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.errors import InputError, ShapeError
from physdiff.operators.autograd import Autograd
from physdiff.operators.operators import Vector

__all__ = ["taylor_fields"]

Part = nn.Module | Callable[[Tensor], Tensor]
Slopes = Callable[[Tensor, int], list[Tensor]]
_MOST = 4


def taylor_fields(
    chain: Sequence[Part], names: Sequence[str], coordinates: Vector, *, time: Tensor | None = None, order: int = 2, mixed: bool = False
) -> tuple[dict[str, Tensor], Autograd]:
    """The outputs of a chain of layers at scattered points, and operators that know their derivatives.

    Args:
        chain: Linear layers and activations in turn (`MLP.chain()`), of the inputs (x, [y, [z,]] [t]); activations are tanh, sin, silu, gelu,
            softplus as functions or modules of torch.
        names: Names of the outputs.
        coordinates: Points x, y, z, each (points,), requiring gradients.
        time: Times of the points (points,), requiring gradients; None for none.
        order: Highest order of the pure derivatives that are carried, 1 to 4.
        mixed: Whether mixed second derivatives are carried too.

    Returns:
        Fields (points,) by name, and the operators for them: what is not carried is differentiated in reverse mode.

    Raises:
        InputError: If a part is neither a linear layer nor one of the activations, or the order is not from 1 to 4.
        ShapeError: If the number of names is not that of the outputs, or points differ in shape.
    """
    if order not in range(1, _MOST + 1) or (mixed and order < 2):
        raise InputError(f"taylor_fields order: expected 1 to {_MOST} (2 or more with mixed), got {order!r}; higher ones come from Autograd")
    operators = Autograd(coordinates, time)
    inputs = (*coordinates, time) if time is not None else tuple(coordinates)
    if inputs[0].ndim != 1:
        raise ShapeError(f"taylor_fields: expected points of shape (points,), got {tuple(inputs[0].shape)}; flatten them")
    lines: list[tuple[int, ...]] = [(i,) for i in range(len(inputs))]
    if mixed:
        lines += combinations(range(len(inputs)), 2)
    values = torch.stack(inputs, dim=-1)
    directions = values.new_zeros(len(lines), 1, len(inputs))
    for row, line in enumerate(lines):
        directions[row, 0, list(line)] = 1.0
    jet = [values, directions.expand(-1, len(values), -1), *(values.new_zeros(len(lines), 1, 1) for _ in range(order - 1))]
    for part in chain:
        jet = _through(part, jet)
    if jet[0].shape[-1] != len(names):
        raise ShapeError(f"taylor_fields: expected {jet[0].shape[-1]} names, one per output, got {', '.join(names)}")
    fields = {}
    for i, name in enumerate(names):
        f = jet[0][..., i]
        fields[name] = f
        operators.learn(f, _table([a[..., i] for a in jet[1:]], lines, len(inputs)))
    return fields, operators


def _table(jet: list[Tensor], lines: list[tuple[int, ...]], ndim: int) -> dict[tuple[int, ...], Tensor]:
    """Derivatives by their order along each input."""
    pure = {line[0]: row for row, line in enumerate(lines) if len(line) == 1}
    table = {tuple(k * (i == j) for j in range(ndim)): a[row] for i, row in pure.items() for k, a in enumerate(jet, start=1)}
    for row, line in enumerate(lines):
        if len(line) == 2:
            one, other = line
            table[tuple(int(j in line) for j in range(ndim))] = 0.5 * (jet[1][row] - jet[1][pure[one]] - jet[1][pure[other]])
    return table


def _through(part: Part, jet: list[Tensor]) -> list[Tensor]:
    if isinstance(part, nn.Sequential):
        for inner in part:
            jet = _through(inner, jet)
        return jet
    if isinstance(part, nn.Linear):
        # a coefficient that is zero everywhere has one entry
        return [part(jet[0]), *(functional.linear(a, part.weight) if a.shape[-1] == part.in_features else a for a in jet[1:])]
    slopes = _slopes_of(part)
    s = slopes(jet[0], len(jet))
    a = jet
    out = [s[0], s[1] * a[1]]
    if len(a) > 2:
        out.append(s[2] * a[1] ** 2 + s[1] * a[2])
    if len(a) > 3:
        out.append(s[3] * a[1] ** 3 + 3 * s[2] * a[1] * a[2] + s[1] * a[3])
    if len(a) > 4:
        out.append(s[4] * a[1] ** 4 + 6 * s[3] * a[1] ** 2 * a[2] + s[2] * (3 * a[2] ** 2 + 4 * a[1] * a[3]) + s[1] * a[4])
    return out


def _slopes_of(part: Part) -> Slopes:
    """The function that gives an activation and its derivatives."""
    kinds: list[tuple[type[nn.Module], Slopes]] = [(nn.Tanh, _tanh), (nn.SiLU, _silu), (nn.Softplus, _softplus), (nn.GELU, _gelu)]
    for kind, slopes in kinds:
        if isinstance(part, kind):
            plain = not (isinstance(part, nn.GELU) and part.approximate != "none")
            plain = plain and not (isinstance(part, nn.Softplus) and part.beta != 1)
            if not plain:
                raise InputError(f"taylor_fields: expected the exact form of {part!r}; use its default arguments")
            return slopes
    known: list[tuple[Part, Slopes]] = [
        (torch.tanh, _tanh),
        (torch.sin, _sin),
        (functional.silu, _silu),
        (functional.softplus, _softplus),
        (functional.gelu, _gelu),
    ]
    for function, found in known:
        if part is function:
            return found
    raise InputError(f"taylor_fields: expected Linear layers and the activations tanh, sin, silu, gelu, softplus, got {part!r}; use Autograd for it")


def _tanh(x: Tensor, n: int) -> list[Tensor]:
    s = torch.tanh(x)
    s1 = 1 - s * s
    s2 = -2 * s * s1
    s3 = -2 * (s1 * s1 + s * s2)
    return [s, s1, s2, s3, -6 * s1 * s2 - 2 * s * s3][:n]


def _sin(x: Tensor, n: int) -> list[Tensor]:
    s, c = torch.sin(x), torch.cos(x)
    return [s, c, -s, -c, s][:n]


def _logistic(x: Tensor) -> list[Tensor]:
    s = torch.sigmoid(x)
    s1 = s * (1 - s)
    s2 = s1 * (1 - 2 * s)
    s3 = s2 * (1 - 2 * s) - 2 * s1 * s1
    return [s, s1, s2, s3, s3 * (1 - 2 * s) - 6 * s1 * s2]


def _softplus(x: Tensor, n: int) -> list[Tensor]:
    return [functional.softplus(x), *_logistic(x)][:n]


def _times_x(x: Tensor, gate: list[Tensor], n: int) -> list[Tensor]:
    return [x * gate[0], *(x * gate[k] + k * gate[k - 1] for k in range(1, n))]


def _silu(x: Tensor, n: int) -> list[Tensor]:
    return _times_x(x, _logistic(x), n)


def _gelu(x: Tensor, n: int) -> list[Tensor]:
    bell = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return _times_x(x, [torch.special.ndtr(x), bell, -x * bell, (x * x - 1) * bell, (3 - x * x) * x * bell], n)
