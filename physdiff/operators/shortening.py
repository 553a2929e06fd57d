"""A recorded list of operations made shorter where its results stay the same to rounding (see `recording`).

A node carries in `meta` its `value` where it was recorded, whether that memory is `free` of writes by others, and whether it is `constant`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["shorten"]

Constant = Callable[[Tensor], fx.Node]
_aten = torch.ops.aten
_LINEAR = {"_fft_r2c", "_fft_c2r", "_fft_c2c", "slice", "permute", "view", "unsqueeze", "select", "constant_pad_nd", "expand"}
_OUT: dict[Any, Callable[..., Tensor]] = {_aten.mul.Tensor: torch.mul, _aten.add.Tensor: torch.add, _aten.addcmul.default: torch.addcmul}
_DIRECT: dict[Any, Any] = {
    **_OUT,
    _aten.sub.Tensor: torch.sub,
    _aten.unbind.int: torch.unbind,
    _aten.permute.default: torch.permute,
    _aten.select.int: torch.select,
    _aten._fft_c2c.default: torch._fft_c2c,
    _aten._fft_c2r.default: torch._fft_c2r,
    _aten._fft_r2c.default: torch._fft_r2c,
    _aten.addcmul_.default: Tensor.addcmul_,
    _aten.mul_.Tensor: Tensor.mul_,
    _aten.add_.Tensor: Tensor.add_,
}


def shorten(graph: fx.Graph, constant: Constant) -> None:
    """Shorten the list in place.

    Args:
        graph: The list.
        constant: Makes the node of a new constant.
    """
    _move_numbers(graph, constant)
    _add_constants(graph, constant)
    _keep_paddings(graph)
    _multiply_in_place(graph)
    graph.eliminate_dead_code()
    _name_directly(graph)


def _move_numbers(graph: fx.Graph, constant: Constant) -> None:
    """Numbers that multiply a field become part of the symbol after its transform."""
    for node in list(graph.nodes):
        if node.target is not _aten.mul.Tensor or not node.meta.get("free") or not isinstance(node.args[1], float | int):
            continue
        last = node
        while len(last.users) == 1:
            user = next(iter(last.users))
            if not user.meta.get("free"):
                break
            if user.target is _aten.mul.Tensor:
                _merge(node, user, constant)
                break
            if getattr(user.target, "overloadpacket", None) is None or user.target.overloadpacket.__name__ not in _LINEAR or len(user.args) > 4:
                break
            last = user


def _merge(node: fx.Node, product: fx.Node, constant: Constant) -> None:
    """The number of the one into the constant factor of the other, if it has one."""
    for place in (0, 1):
        factor = product.args[place]
        if isinstance(factor, fx.Node) and factor.meta.get("constant"):
            new = constant(factor.meta["value"] * node.args[1])
            product.update_arg(place, new)
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            return


def _add_constants(graph: fx.Graph, constant: Constant) -> None:
    """A constant that is cut by ones and zeros is cut once; other products of constants are left, for they may be rounded with the sum."""
    for node in list(graph.nodes):
        if node.target not in (_aten.addcmul.default, _aten.addcmul_.default) or node.kwargs.get("value", 1) != 1:
            continue
        factors = [a.meta["value"] for a in node.args[1:] if isinstance(a, fx.Node) and a.meta.get("constant")]
        if len(factors) == 2 and any(bool(((f == 0) | (f == 1)).all()) for f in factors):
            node.target = _aten.add_.Tensor if node.target is _aten.addcmul_.default else _aten.add.Tensor
            node.args, node.kwargs = (node.args[0], constant(factors[0] * factors[1])), {}


class _Padded:
    """A result with zeros behind it, in memory that is used again; for a transform, which reads it and is done with it.

    Args:
        whole: That memory.
        part: Of the result.
        make: Writes the result to where `out` says.
    """

    def __init__(self, whole: Tensor, part: torch.Size, make: Callable[..., Tensor]) -> None:
        self.__name__ = "padded"
        self._whole, self._make = whole, make
        self._part = whole[tuple(slice(0, n) for n in part)]

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - those of the operation
        self._make(*args, **kwargs, out=self._part)
        return self._whole


def _copied(part: Tensor, *, out: Tensor) -> Tensor:
    return out.copy_(part)


def _keep_paddings(graph: fx.Graph) -> None:
    """Zeros behind what is transformed are written once, and what only the transform reads is made in front of them."""
    memory: dict[tuple[object, ...], Tensor] = {}
    for node in list(graph.nodes):
        if node.target is not _aten.constant_pad_nd.default or any(node.args[2:]) or node.kwargs or any(node.args[1][::2]):
            continue
        if not all(user.target is _aten._fft_c2r.default for user in node.users):
            continue
        made, whole = node.args[0], node.meta["value"]
        part = made.meta["value"].shape
        new = torch.zeros_like(whole, memory_format=torch.contiguous_format)
        if list(node.users) == [node.next]:
            # read at once, so that the next one may write there
            new = memory.setdefault((whole.shape, part, whole.dtype, whole.device), new)
        make = _OUT.get(made.target)
        if make is not None and made.meta.get("free") and len(made.users) == 1 and _nothing_written(made, node):
            node.target, node.args, node.kwargs = _Padded(new, part, make), made.args, made.kwargs
        else:
            node.target, node.args = _Padded(new, part, _copied), (made,)


def _nothing_written(first: fx.Node, last: fx.Node) -> bool:
    """Whether no operation between the two changes a tensor."""
    node = first.next
    while node is not last:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            return False
        node = node.next
    return True


def _multiply_in_place(graph: fx.Graph) -> None:
    """A product takes the place of the transform that nothing else reads."""
    for node in graph.nodes:
        if node.target is _aten.mul.Tensor and node.meta.get("free") and isinstance(node.args[0], fx.Node):
            first = node.args[0]
            fresh = first.target is _aten._fft_c2r.default and len(first.users) == 1
            value, made = first.meta["value"], node.meta["value"]
            if fresh and (value.shape, value.dtype) == (made.shape, made.dtype):
                node.target = _aten.mul_.Tensor


def _name_directly(graph: fx.Graph) -> None:
    """Torch's own functions in place of the operations' handles, which take some two microseconds longer to call."""
    for node in graph.nodes:
        if node.target in _DIRECT:
            node.target = _DIRECT[node.target]
        elif node.target is _aten.slice.Tensor and len(node.args) == 4 and node.args[2] >= 0:
            x, axis, first, _ = node.args
            node.target, node.args = torch.narrow, (x, axis, first, node.meta["value"].shape[axis])
