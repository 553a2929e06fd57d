r"""A function of tensors written down once as a flat list of tensor operations, and carried out again without the Python that made them.

A law's explicit part is the same few transforms and products at every stage of every step; on small grids the objects that find them (see
`wave_field`) take as long as the transforms. So one evaluation is watched operation by operation, and what does not depend on the inputs is
kept as a number. The list is then shortened where the result is the same to rounding: products with ones and sums with zeros fall away, a square
is a product, a number that multiplies a field moves behind the transform into the symbol there.

A list is only right if the function always does the same operations. It is refused where the function reads a value (a branch, a Python
number), draws random numbers, or writes into a tensor that it has not made; and it is tried on the next inputs beside the function itself
before it takes its place (`Replay`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode

from physdiff.operators.shortening import shorten

__all__ = ["Recording", "Replay", "record"]

Function = Callable[..., tuple[Tensor, ...]]
Numbers = float | tuple[float, ...]
_aten = torch.ops.aten
_SHAPE_ONLY = {"zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty", "new_full"}
_SAME = {_aten.detach.default, _aten.alias.default, _aten.lift_fresh.default}
_TRIALS, _LARGEST, _MOST = 2, 1 << 22, 16


class _Refused(Exception):
    """The function is not a fixed list of operations."""


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """All operations, in order, with what they took and gave."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # nothing here is compiled; True (the default) would import the compiler, some seconds
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        self.entries.append((func, args, kwargs or {}, out))
        return out


class Recording:
    """The list of a function, called like it.

    Args:
        graph: From the numbers, the inputs and then the constants to the results.
        constants: Values that do not depend on the inputs.
        origins: Tensors from outside that the function has read.
        numbers: How many numbers there are.
    """

    def __init__(self, graph: fx.Graph, constants: Sequence[Tensor], origins: Sequence[Tensor], *, numbers: int = 1) -> None:
        self._run, self._constants = fx.GraphModule(torch.nn.Module(), graph).forward, tuple(constants)
        self._unread = (None,) * numbers
        self._timed = any(node.users for node, _ in zip(graph.nodes, self._unread, strict=False))
        self._origins = tuple(t for t in origins if not t.is_inference())
        self._versions = self._now()

    def fresh(self) -> bool:
        """Whether the tensors that the function has read are still what they were, and carry no gradient if gradients are wanted."""
        if torch.is_grad_enabled() and any(t.requires_grad for t in self._origins):
            return False
        return self._versions == self._now()

    def __call__(self, number: Numbers, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results; those of the function to rounding."""
        # a tensor of a number takes as long as a product on a small grid
        moments = _moments(number) if self._timed else self._unread
        found: tuple[Tensor, ...] = self._run(*moments, *inputs, *self._constants)
        return found

    def _now(self) -> list[int]:
        return [t._version for t in self._origins]


class Replay:
    """A function of tensors that gives way to its recording, one for each shape, precision and device, once that has proved right.

    The recording is made beside the first call and compared with the function on the next two; what differs by more than rounding, or cannot
    be recorded, is never used. Calls with gradients, in a transform of functions (vmap, jvp) or under a compiler, and large ones, for which
    Python costs nothing, go to the function.

    Args:
        function: Of a number (or a tuple of some) and of tensors, to a tuple of tensors.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._found: dict[tuple[object, ...], tuple[Recording | None, int]] = {}

    # recordings are of this process
    def __getstate__(self) -> dict[str, object]:
        return {"_function": self._function, "_found": {}}

    def __call__(self, number: Numbers, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results of the function, to rounding."""
        key = tuple((t.shape, t.stride(), t.dtype, t.device) for t in inputs)
        made, trials = self._found.get(key, (None, 0))
        if _ordinary(inputs):
            if made is not None and made.fresh():
                if trials == 0:
                    return made(number, *inputs)
                return self._try(key, number, inputs)
            if made is not None or key not in self._found:
                return self._begin(key, number, inputs)
        return self._function(number, *inputs)

    def _begin(self, key: tuple[object, ...], number: Numbers, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The results, and a new recording unless they carry gradients."""
        results = self._function(number, *inputs)
        self._found.pop(key, None)
        if not any(t.requires_grad for t in results) and sum(t.numel() for t in inputs) <= _LARGEST:
            if len(self._found) == _MOST:
                self._found.pop(next(iter(self._found)))
            self._found[key] = (record(self._function, number, inputs), _TRIALS)
        return results

    def _try(self, key: tuple[object, ...], number: Numbers, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The results, and one trial less to go if the recording gives them too; else no recording."""
        made, trials = self._found[key]
        results = self._function(number, *inputs)
        right = made is not None and all(map(_agree, made(number, *inputs), results))
        self._found[key] = (made, trials - 1) if right else (None, 0)
        return results


def _ordinary(inputs: tuple[Tensor, ...]) -> bool:
    """Whether these are plain values: no gradient wanted, forward or backward, no transform of functions, no compiler."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        return False
    functional = torch._C._functorch.maybe_current_level() is not None or torch.autograd.forward_ad._current_level >= 0
    return not functional and not torch.compiler.is_compiling()


def _moments(number: Numbers) -> list[Tensor]:
    numbers = number if isinstance(number, tuple) else (number,)
    return [torch.scalar_tensor(n, dtype=torch.float64, device="cpu") for n in numbers]


def _agree(got: Tensor, wanted: Tensor) -> bool:
    """Whether two results are the same to the rounding of some hundred operations."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    difference, size = (got - wanted).abs().amax(), wanted.abs().amax()
    return bool(difference <= 1e3 * torch.finfo(got.dtype).eps * size)


def record(function: Function, number: Numbers, inputs: Sequence[Tensor]) -> Recording | None:
    """The operations of a function at these inputs; None if it is not a fixed list of them, or fails.

    Args:
        function: Of a number (or a tuple of some) and of tensors, to a tuple of tensors.
        number: The number or numbers, which the function is given as tensors.
        inputs: Of the shapes, precisions and devices for which the list is to be used; none of them carries a gradient.
    """
    tape = _Tape()
    try:
        moments = _moments(number)
        with torch.no_grad(), tape:
            results = function(tuple(moments) if isinstance(number, tuple) else moments[0], *inputs)
        graph, constants, origins = _graph(tape.entries, [*moments, *inputs], list(results))
    except Exception:  # noqa: BLE001 - the function itself is called next, and says what is wrong
        return None
    return Recording(graph, constants, origins, numbers=len(moments))


def _graph(entries: list[Any], inputs: list[Tensor], results: list[Tensor]) -> tuple[fx.Graph, list[Tensor], list[Tensor]]:
    """The operations that depend on the inputs, the constants they take, and the tensors from outside."""
    seen, written = {id(t) for t in inputs}, set[int]()
    origins: dict[int, Tensor] = {}
    for func, args, kwargs, out in entries:
        written |= {_storage(t) for t in _written(func, args, kwargs)}
        # in order: what an operation writes into comes out of it too
        origins.update({id(t): t for t in _tensors((args, kwargs)) if id(t) not in seen})
        seen |= {id(t) for t in _tensors((args, kwargs, out))}
    if any(_storage(t) in written for t in [*inputs, *origins.values()]):
        raise _Refused
    graph = fx.Graph()
    nodes: dict[int, fx.Node] = {id(t): graph.placeholder(f"x{i}") for i, t in enumerate(inputs)}
    for t, node in zip(inputs, nodes.values(), strict=True):
        node.meta["value"] = t
    pool = _Pool(graph, nodes)
    for func, args, kwargs, out in entries:
        moves = any(pool.moves(t) for t in _tensors((args, kwargs)))
        if moves and torch.Tag.data_dependent_output in func.tags:
            raise _Refused
        if torch.Tag.nondeterministic_seeded in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            raise _Refused
        keeps = all(_storage(t) not in written for t in _tensors(out))
        if keeps and (not moves or func.overloadpacket.__name__ in _SHAPE_ONLY):
            continue
        if func in _SAME and keeps:
            nodes[id(out)] = nodes[id(args[0])]
            continue
        _put(graph, pool, (func, args, kwargs, out), free=keeps)
    last = [pool.node(t) for t in results]
    # a result is the caller's own: neither an input nor a constant
    fixed = {n for n in graph.nodes if n.op == "placeholder"}
    graph.output(tuple(graph.call_function(_aten.clone.default, (n,)) if n in fixed else n for n in last))
    shorten(graph, pool.constant)
    for node in graph.nodes:
        node.meta.clear()
    return graph, pool.constants, list(origins.values())


class _Pool:
    """Nodes of tensors; one that no operation on inputs has made becomes a constant."""

    def __init__(self, graph: fx.Graph, nodes: dict[int, fx.Node]) -> None:
        self.graph, self.nodes = graph, nodes
        self.constants: list[Tensor] = []

    def node(self, t: Tensor) -> fx.Node:
        if id(t) not in self.nodes:
            self.nodes[id(t)] = self.constant(t)
        return self.nodes[id(t)]

    def moves(self, value: Any) -> bool:  # noqa: ANN401 - an argument
        """Whether it depends on the inputs."""
        node = self.nodes.get(id(value)) if isinstance(value, Tensor) else None
        return node is not None and not node.meta.get("constant")

    def constant(self, t: Tensor) -> fx.Node:
        places = [n for n in self.graph.nodes if n.op == "placeholder"]
        with self.graph.inserting_after(places[-1]):
            node = self.graph.placeholder(f"c{len(self.constants)}")
        node.meta.update(value=t, constant=True)
        # a function that differentiates inside may have asked for gradients with respect to it
        self.constants.append(t.detach())
        return node


def _put(graph: fx.Graph, pool: _Pool, entry: Any, *, free: bool) -> None:  # noqa: ANN401 - an entry of the tape
    """One operation as a node, or as the node it equals."""
    func, args, kwargs, out = entry
    if free and isinstance(out, Tensor):
        same = _identity(func, args, kwargs, out, pool)
        if same is not None:
            pool.nodes[id(out)] = pool.nodes[id(same)]
            return
        if func is _aten.pow.Tensor_Scalar and args[1] == 2:
            func, args = _aten.mul.Tensor, (args[0], args[0])
    node = graph.call_function(func, _mapped(args, pool), _mapped(kwargs, pool))
    node.meta.update(value=out, free=free)
    if isinstance(out, Tensor):
        pool.nodes[id(out)] = node
        return
    for i, t in enumerate(out):
        pool.nodes[id(t)] = part = graph.call_function(operator.getitem, (node, i))
        part.meta.update(value=t, free=free)


def _identity(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor, pool: _Pool) -> Tensor | None:  # noqa: ANN401
    """The argument that the result equals: the other factor of ones, the other term of zeros."""
    neutral = {_aten.mul.Tensor: 1, _aten.add.Tensor: 0}.get(func)
    if neutral is None or kwargs:
        return None
    for x, other in (args[:2], args[1::-1]):
        if isinstance(x, Tensor) and pool.moves(x) and not pool.moves(other) and x.shape == out.shape and x.dtype == out.dtype:
            if bool((torch.as_tensor(other) == neutral).all()):
                return x
    return None


def _mapped(value: Any, pool: _Pool) -> Any:  # noqa: ANN401 - arguments of an operation
    if isinstance(value, Tensor):
        return pool.node(value)
    if isinstance(value, tuple | list):
        return type(value)(_mapped(v, pool) for v in value)
    if isinstance(value, dict):
        return {k: _mapped(v, pool) for k, v in value.items()}
    return value


def _tensors(value: Any) -> list[Tensor]:  # noqa: ANN401 - arguments or results of an operation
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, tuple | list) else []


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:  # noqa: ANN401
    """The arguments that the operation changes in place."""
    if not func._schema.is_mutable:
        return []
    found = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += _tensors(kwargs.get(argument.name, args[i] if i < len(args) else None))
    return found


def _storage(t: Tensor) -> int:
    return int(t.untyped_storage()._cdata)
