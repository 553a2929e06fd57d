r"""Jets: values that carry their own derivatives through any network or law (Taylor mode, several variables).

A jet of f at the points $x$ holds the coefficients $c_\alpha = \partial^\alpha f / \alpha!$ for a set of multi-indices $\alpha$ that contains with
each its lower ones, say $\{1, x, t, x^2\}$. It is a polynomial with everything outside the set cut off:

$$(fg)_\gamma = \sum_{\alpha + \beta = \gamma} f_\alpha g_\beta, \qquad
\phi(f) = \sum_k \tfrac{1}{k!}\phi^{(k)}(f_0)\,(f - f_0)^k, \qquad (\partial_i f)_\beta = (\beta_i + 1)\, f_{\beta + e_i}.$$

Torch's functions dispatch to the rules below, so networks and laws are used as they are written, and one forward pass of a few rows takes the
place of nested backward passes. A function's backward pass is the transpose of multiplying by the jet of $\phi'(f)$. Griewank and Walther,
Evaluating Derivatives, 2008.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from physdiff.base.errors import UnsupportedOperator
from physdiff.operators.jet_chain import tanh_chain
from physdiff.operators.jet_orders import Order, lowered, products, raised
from physdiff.operators.jet_rows import Rows
from physdiff.operators.jet_series import SERIES, power_series

__all__ = ["Jet", "MissingOrders"]

class MissingOrders(Exception):  # noqa: N818 - asked for, not wrong: `derivatives_needed` answers it
    """A derivative was asked for that the jets do not carry."""

    def __init__(self, orders: frozenset[Order]) -> None:
        super().__init__(f"derivatives {sorted(orders)}")
        self.orders = orders


class Jet(Rows):
    """Taylor coefficients of a tensor: `data` (orders, *shape); arithmetic and torch's smooth functions act on it as on a tensor of `shape`."""

    def like(self, data: Tensor) -> Jet:
        """A jet of the same orders with other coefficients."""
        return Jet(data, self.orders, self.taken)

    def partial(self, i: int) -> Jet:
        """The derivative along input i, one order lower.

        Raises:
            MissingOrders: If no coefficient is left to take it from.
        """
        taken = frozenset(raised(a, i) for a in self.taken)
        rows, orders, factors = lowered(self.orders, i)
        if not orders:
            raise MissingOrders(taken)
        return Jet.later(lambda k: _scaled(self.row(rows[k]), factors[k]), self.shape, orders, taken=taken)

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401, D105
        rule = _RULES.get(func) or _CHAINS.get(getattr(func, "__name__", ""))
        if rule is None:
            name = getattr(func, "__name__", str(func))
            raise UnsupportedOperator(name, "Jet", "use smooth functions of torch (tanh, sin, exp, sqrt, ...), or derivatives by Autograd")
        return rule(*args, **(kwargs or {}))

    def __add__(self, other: Any) -> Jet:  # noqa: ANN401, D105 - a jet, a tensor or a number, here and below
        return _add(self, other)

    def __sub__(self, other: Any) -> Jet:  # noqa: ANN401, D105
        return _add(self, -other)

    def __rsub__(self, other: Any) -> Jet:  # noqa: ANN401, D105
        return _add(-self, other)

    def __mul__(self, other: Any) -> Jet:  # noqa: ANN401, D105
        return _mul(self, other)

    def __truediv__(self, other: Any) -> Jet:  # noqa: ANN401, D105
        return _mul(self, _power(other, -1) if isinstance(other, Jet) else 1 / other)

    def __rtruediv__(self, other: Any) -> Jet:  # noqa: ANN401, D105
        return _mul(_power(self, -1), other)

    def __pow__(self, exponent: float) -> Jet:  # noqa: D105
        return _power(self, exponent)

    def __neg__(self) -> Jet:  # noqa: D105
        return _mul(self, -1)

    def __matmul__(self, other: Tensor) -> Jet:  # noqa: D105
        return _linear(self, other.mT)

    def __getitem__(self, key: Any) -> Jet:  # noqa: ANN401, D105
        return self.like(self.data[(slice(None), *(key if isinstance(key, tuple) else (key,)))])

    __radd__, __rmul__ = __add__, __mul__

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - methods of tensors: f.sin() is torch.sin(f)
        rule = _RULES.get(getattr(Tensor, name, None)) if not name.startswith("_") else None
        if rule is None:
            raise AttributeError(f"Jet has no {name!r}; use torch's smooth functions and plain arithmetic, or derivatives by Autograd")
        return functools.partial(rule, self)


class _Compose(torch.autograd.Function):
    """A smooth function of a jet; its backward pass correlates with the jet of the function's derivative."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, kind: str, orders: tuple[Order, ...]) -> Tensor:  # noqa: ANN401, D102
        start, series = SERIES[kind]
        base = start(a[0])
        out = _polynomial(a, series(base, max(map(sum, orders))), orders)
        ctx.kind, ctx.orders = kind, orders
        ctx.save_for_backward(a, out, *base)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401, D102
        a, out, *base = ctx.saved_tensors
        start, series = SERIES[ctx.kind]
        if ctx.kind == "tanh":
            slope = _one_minus_square(out, ctx.orders)
        else:
            # with gradients on, a second backward pass must see where the values came from
            terms = series(start(a[0]) if torch.is_grad_enabled() else base, max(map(sum, ctx.orders)) + 1)
            slope = _polynomial(a, [terms[1], *(k * f for k, f in enumerate(terms[2:], start=2))], ctx.orders)
        back = g * slope[0]
        for row, pairs in enumerate(products(ctx.orders)):
            for i, j in pairs:
                if j:
                    back[i].addcmul_(g[row], slope[j])
        return back, None, None


class _Linear(torch.autograd.Function):
    """A linear layer of every coefficient, the bias on the values only."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401, D102
        ctx.save_for_backward(a, weight)
        out = functional.linear(a, weight)
        out[0] += bias
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # noqa: ANN401, D102
        a, weight = ctx.saved_tensors
        inner = g @ weight if ctx.needs_input_grad[0] else None
        return inner, g.flatten(0, -2).mT @ a.flatten(0, -2), g[0].reshape(-1, g.shape[-1]).sum(0)


def _polynomial(a: Tensor, terms: list[Tensor], orders: tuple[Order, ...]) -> Tensor:
    """sum_k terms_k (a - a_0)^k, cut to the orders."""
    out = a * terms[1] if len(terms) > 1 else torch.empty_like(a)
    out[0] = terms[0]
    power: dict[int, Tensor] = {row: a[row] for row in range(1, len(orders))}
    for term in terms[2:]:
        power = _power_up(power, a, orders)
        for row, value in power.items():
            out[row].addcmul_(term, value)
    return out


def _power_up(power: dict[int, Tensor], a: Tensor, orders: tuple[Order, ...]) -> dict[int, Tensor]:
    """The next power of a jet without its value."""
    found: dict[int, Tensor] = {}
    for row, pairs in enumerate(products(orders)):
        for i, j in pairs:
            if i in power and j:
                found[row] = found[row].addcmul(power[i], a[j]) if row in found else power[i] * a[j]
    return found


def _one_minus_square(a: Tensor, orders: tuple[Order, ...]) -> Tensor:
    """The jet 1 - a^2, the slope of a = tanh."""
    out = a * (-2 * a[0])
    out[0] = torch.addcmul(torch.ones_like(a[0]), a[0], a[0], value=-1)
    for row, pairs in enumerate(products(orders)):
        for i, j in pairs:
            if i and j:
                out[row].addcmul_(a[i], a[j], value=-1)
    return out


def _common(a: Jet, b: Jet) -> tuple[Jet, Jet]:
    """Both with the orders that both have."""
    if a.orders != b.orders:
        keep = tuple(order for order in a.orders if order in b.orders)
        a, b = (j if j.orders == keep else _cut(j, keep) for j in (a, b))
    return a, b


def _cut(a: Jet, keep: tuple[Order, ...]) -> Jet:
    rows = [a.orders.index(order) for order in keep]
    return Jet.later(lambda k: a.row(rows[k]), a.shape, keep, taken=a.taken)


def _scaled(row: Tensor, factor: Any) -> Tensor:  # noqa: ANN401 - a number or a tensor
    return row if isinstance(factor, int) and factor == 1 else row * factor


def _of_features(a: Jet, b: Any) -> bool:  # noqa: ANN401
    """Whether b is a number, or a number for each feature of points."""
    axes = getattr(b, "ndim", 0)
    return bool(axes == 0 or axes == 1 < a.ndim)


def _shape(a: Jet, b: Any) -> torch.Size:  # noqa: ANN401
    """Shape of a sum or a product."""
    other = getattr(b, "shape", a.shape)
    if other == a.shape or not other:
        return a.shape
    return torch.broadcast_shapes(a.shape, other)  # type: ignore[no-untyped-call, no-any-return]


def _add(a: Any, b: Any, *, alpha: float = 1.0) -> Jet:  # noqa: ANN401 - jets, tensors, numbers
    if alpha != 1.0:
        b = alpha * b
    if not isinstance(a, Jet):
        a, b = b, a
    assert isinstance(a, Jet)
    if isinstance(b, Jet):
        x, y = _common(a, b)
        if x.whole and y.whole:
            return Jet(_aligned(x, y).data + _aligned(y, x).data, x.orders, x.taken | y.taken)
        return Jet.later(lambda i: x.row(i) + y.row(i), _shape(x, y), x.orders, taken=x.taken | y.taken)
    if a.slopes is not None and _of_features(a, b):
        return Jet.line(a.value + b, a.slopes, a.orders)
    shape = _shape(a, b)
    return Jet.later(lambda i: a.row(i).expand(shape) if i else a.row(0) + b, shape, a.orders, taken=a.taken)


def _mul(a: Any, b: Any) -> Jet:  # noqa: ANN401
    if not isinstance(a, Jet):
        a, b = b, a
    assert isinstance(a, Jet)
    if not isinstance(b, Jet):
        if a.slopes is not None and _of_features(a, b):
            return Jet.line(a.value * b, a.slopes * b, a.orders)
        return a.like(a.data * b) if a.whole else Jet.later(lambda i: a.row(i) * b, _shape(a, b), a.orders, taken=a.taken)
    x, y = _common(a, b)
    pairs = products(x.orders)

    def row(i: int) -> Tensor:
        if a is not b:
            return _correlated(x, y, pairs[i])
        square = [x.row(j).square() for j, k in pairs[i] if j == k]
        twice = [(j, k) for j, k in pairs[i] if j < k]
        if not twice:
            return square[0]
        out = _correlated(x, x, twice)
        return torch.add(square[0], out, alpha=2) if square else 2 * out

    return Jet.later(row, _shape(x, y), x.orders, taken=x.taken | y.taken)


def _correlated(x: Jet, y: Jet, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """The sum of x_j y_k over pairs of rows j, k."""
    out = x.row(pairs[0][0]) * y.row(pairs[0][1])
    for j, k in pairs[1:]:
        out = torch.addcmul(out, x.row(j), y.row(k))
    return out


def _aligned(a: Jet, b: Jet) -> Jet:
    """Axes of length one added after the orders, where the other has more axes."""
    return a if a.ndim >= b.ndim else a.like(a.data.reshape(len(a.data), *[1] * (b.ndim - a.ndim), *a.shape))


def _power(a: Jet, exponent: float) -> Jet:
    if isinstance(exponent, int) and exponent > 0:
        half = a if exponent == 1 else _power(a, exponent // 2)
        if exponent == 1:
            return half
        square = _mul(half, half)
        return _mul(square, a) if exponent % 2 else square
    return a.like(_polynomial(a.data, power_series(a.data[0], float(exponent), max(map(sum, a.orders))), a.orders))


def _linear(a: Jet, weight: Tensor, bias: Tensor | None = None) -> Jet:
    if bias is None:
        return a.like(functional.linear(a.data, weight))
    return a.like(_Linear.apply(a.data, weight, bias))  # type: ignore[no-untyped-call]


def _joined(jets: Sequence[Any], dim: int, join: Callable[..., Tensor]) -> Jet:
    """Jets and constant tensors, put together along an axis."""
    first = next(j for j in jets if isinstance(j, Jet))
    full = [j if isinstance(j, Jet) else first.like(torch.cat((j[None], j.new_zeros(len(first.orders) - 1, *j.shape)))) for j in jets]
    keep = functools.reduce(lambda a, b: _common(a, b)[0], full)
    same = [_common(j, keep)[0] for j in full]
    taken = frozenset().union(*(j.taken for j in same))
    return Jet(join([j.data for j in same], dim=dim if dim < 0 else dim + 1), keep.orders, taken)


def _sum(a: Jet, dim: int) -> Jet:
    return a.like(a.data.sum(dim if dim < 0 else dim + 1))


def _unbind(a: Jet, dim: int = 0) -> tuple[Jet, ...]:
    return tuple(a.like(part) for part in a.data.unbind(dim if dim < 0 else dim + 1))


def _to(value: Tensor | Jet, like: Any) -> Any:  # noqa: ANN401
    target = like.data if isinstance(like, Jet) else like
    return value.like(value.data.to(target)) if isinstance(value, Jet) else value.to(target)


def _ones_like(a: Jet) -> Jet:
    data = torch.zeros_like(a.data)
    data[0] = 1
    return a.like(data)


def _clamp(a: Jet, min: float | None = None, max: float | None = None) -> Jet:  # noqa: A002 - torch's names
    """Guards of laws (a depth above zero): the derivatives stop where the value is held."""
    value = a.value.clamp(min, max)
    return a.like(torch.cat((value[None], a.data[1:] * (value == a.value))))


def _function(kind: str) -> Callable[..., Jet]:
    def apply(a: Jet) -> Jet:
        return a.like(_Compose.apply(a.data, kind, a.orders))  # type: ignore[no-untyped-call]

    return apply


def _gelu(a: Jet, approximate: str = "none") -> Jet:
    if approximate != "none":
        raise UnsupportedOperator("gelu(approximate='tanh')", "Jet", "use the exact form, its default")
    return _function("gelu")(a)


def _softplus(a: Jet, beta: float = 1, threshold: float = 20) -> Jet:
    if beta != 1:
        raise UnsupportedOperator("softplus(beta)", "Jet", "use beta = 1, its default")
    return _function("softplus")(a)


def _silu(a: Jet, inplace: bool = False) -> Jet:
    return _function("silu")(a)


def _tanh_layers(a: Jet, layers: Sequence[Any]) -> Jet:
    out = tanh_chain(a.data if a.slopes is None else a.value, a.orders, layers, slopes=a.slopes)
    if out is not None:
        return a.like(out)
    for layer in layers[:-1]:
        a = _function("tanh")(layer(a))
    last: Jet = layers[-1](a)
    return last


_CHAINS: dict[str, Callable[..., Any]] = {"tanh_layers": _tanh_layers}
"""Functions of the networks, which stand beside this room and are known by name."""
_RULES: dict[Any, Callable[..., Any]] = {
    functional.linear: _linear,
    functional.silu: _silu,
    functional.gelu: _gelu,
    functional.softplus: _softplus,
    torch.cat: lambda jets, dim=0: _joined(jets, dim, torch.cat),
    torch.stack: lambda jets, dim=0: _joined(jets, dim, torch.stack),
    torch.zeros_like: lambda a: a.like(torch.zeros_like(a.data)),
    torch.ones_like: _ones_like,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "sub": lambda a, b: _add(a, -b),
    "mul": _mul,
    "div": lambda a, b: _mul(a, _power(b, -1) if isinstance(b, Jet) else 1 / b),
    "neg": lambda a: -a,
    "pow": _power,
    "square": lambda a: _mul(a, a),
    "sqrt": lambda a: _power(a, 0.5),
    "rsqrt": lambda a: _power(a, -0.5),
    "reciprocal": lambda a: _power(a, -1),
    "matmul": lambda a, b: a @ b,
    "clamp": _clamp,
    "sum": _sum,
    "unbind": _unbind,
    **{kind: _function(kind) for kind in ("tanh", "sin", "cos", "exp", "log", "atan", "sigmoid")},
}
for _name, _rule in _METHODS.items():
    _RULES[getattr(torch, _name)] = _RULES[getattr(Tensor, _name)] = _rule
_RULES |= {Tensor.__add__: _add, Tensor.__radd__: _add, Tensor.__mul__: _mul, Tensor.__rmul__: _mul, Tensor.to: _to}
_RULES |= {Tensor.__sub__: _METHODS["sub"], Tensor.__rsub__: lambda b, a: _add(a, -b), torch.rsub: lambda b, a: _add(a, -b)}
_RULES |= {Tensor.__truediv__: _METHODS["div"], Tensor.__rtruediv__: lambda b, a: _METHODS["div"](a, b), torch.true_divide: _METHODS["div"]}
