"""Objects that can be written to a file and built again.

A class that inherits `Saved` records the arguments it was constructed with. `describe` turns the object into JSON (class name and
arguments), `build` turns that back into an object, and `write`/`read` add the tensors of a module's state in one safetensors file.
Class names are looked up among the Saved subclasses of physdiff (and those the caller names), never by import path, so that a file
from a stranger runs no code.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from physdiff.base.errors import DataError, PhysdiffError, SavedError
from physdiff.base.whole_file import whole_file

__all__ = ["Saved", "build", "describe", "is_saved", "read", "write"]

FORMAT = 1
_ROOMS = ("grids", "networks", "pdes", "transforms", "diffusion", "diffusion.samplers", "solvers", "inference", "pinn")


class _ConstructorSignature:
    """What `inspect.signature` shows for a class: its constructor's arguments, which `Saved.__new__` would hide."""

    def __get__(self, instance: object | None, owner: type) -> inspect.Signature | None:
        if instance is not None:
            return None
        signature = inspect.signature(owner.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:], return_annotation=inspect.Signature.empty)


class Saved:
    """Mixin that remembers the bound arguments of the constructor (no ``*args``, no ``**kwargs``)."""

    __signature__ = _ConstructorSignature()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, D102 - it mirrors any constructor
        instance = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        # a class without a constructor inherits one that seems to take anything; it takes nothing
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = [p for p in signature.parameters.values() if p.kind not in variable]
        bound = signature.replace(parameters=named).bind_partial(instance, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        object.__setattr__(instance, "_saved_arguments", arguments)
        return instance


def describe(obj: object, tensors: dict[str, Tensor] | None = None) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON data from which `build` makes an equal object.

    Args:
        obj: A Saved object, a number, string, bool, None, Tensor (or numpy array, which comes back as a tensor), or a tuple, list or dict of these.
        tensors: Filled with the tensors met, by name; if None, tensors are written into the JSON as nested lists.

    Raises:
        SavedError: If a part is none of these; the message names it.
    """
    return _describe(obj, tensors, type(obj).__name__)


def _describe(obj: object, tensors: dict[str, Tensor] | None, where: str) -> Any:  # noqa: ANN401
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, np.generic):
        return _describe(obj.item(), tensors, where)
    if isinstance(obj, np.ndarray) and obj.dtype.kind in "biuf":
        obj = torch.from_numpy(np.array(obj, dtype=obj.dtype.newbyteorder("=")))
    if isinstance(obj, Tensor):
        if tensors is None:
            if obj.is_complex():
                raise SavedError(f"{where}: expected real numbers, got a complex tensor; store its real and imaginary parts")
            return {"tensor": obj.tolist(), "shape": list(obj.shape), "dtype": str(obj.dtype).removeprefix("torch.")}
        name = f"argument.{len(tensors)}"
        tensors[name] = obj.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(obj, Saved):
        arguments: dict[str, Any] = obj._saved_arguments  # type: ignore[attr-defined]
        return {"class": type(obj).__name__, "args": {k: _describe(v, tensors, f"{where}.{k}") for k, v in arguments.items()}}
    if isinstance(obj, tuple | list):
        parts = [_describe(v, tensors, f"{where}[{i}]") for i, v in enumerate(obj)]
        return {"tuple": parts} if isinstance(obj, tuple) else parts
    if isinstance(obj, Mapping) and all(isinstance(k, str) for k in obj):
        return {"dict": {k: _describe(v, tensors, f"{where}[{k!r}]") for k, v in obj.items()}}
    raise SavedError(
        f"{where}: expected a number, string, tuple, tensor or an object that inherits Saved, got {type(obj).__name__}; "
        "let its class inherit physdiff.base.saved.Saved"
    )


def build(description: Any, *, classes: Iterable[type] = (), tensors: Mapping[str, Tensor] | None = None) -> Any:  # noqa: ANN401
    """Build the object that `describe` described.

    Args:
        description: Output of `describe`.
        classes: Own classes (subclasses of Saved) besides those of physdiff.
        tensors: The tensors collected by `describe`.

    Raises:
        SavedError: If a class is unknown, its constructor no longer takes the arguments, or the description is damaged.
    """
    known = _known_classes()
    known.update({c.__name__: c for c in classes})
    return _build(description, known, tensors or {})


def _build(d: Any, known: Mapping[str, type], tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    if isinstance(d, list):
        return [_build(v, known, tensors) for v in d]
    if not isinstance(d, dict):
        return d
    if isinstance(d.get("tuple"), list):
        return tuple(_build(v, known, tensors) for v in d["tuple"])
    if isinstance(d.get("dict"), dict):
        return {k: _build(v, known, tensors) for k, v in d["dict"].items()}
    if "tensor" in d:
        if isinstance(d["tensor"], str):
            if d["tensor"] not in tensors:
                raise SavedError(f"expected a tensor named {d['tensor']!r} in the file, found none; the file is damaged or incomplete")
            return tensors[d["tensor"]]
        try:
            return torch.tensor(d["tensor"], dtype=getattr(torch, d["dtype"])).reshape(d["shape"])
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise SavedError(f"expected a tensor with its shape and dtype, got {str(d)[:60]} ({error}); the file is damaged") from error
    name = d.get("class")
    if not isinstance(name, str) or not isinstance(d.get("args"), dict):
        raise SavedError(f"expected a description with `class` and `args`, got keys {sorted(d)}; the file is damaged")
    if name not in known:
        raise SavedError(f"the file needs class {name!r}, which physdiff does not have; if it is yours, pass classes=({name},)")
    arguments = {k: _build(v, known, tensors) for k, v in d["args"].items()}
    try:
        return known[name](**arguments)
    except (TypeError, PhysdiffError) as error:
        raise SavedError(f"{name} no longer takes the saved arguments {sorted(arguments)}: {error}") from error


def _known_classes() -> dict[str, type]:
    for room in _ROOMS:
        package = importlib.import_module(f"physdiff.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"physdiff.{room}.{module.name}")
    found: dict[str, type] = {}
    queue: list[type] = [Saved]
    while queue:
        cls = queue.pop()
        queue.extend(cls.__subclasses__())
        if cls.__module__.startswith("physdiff."):
            found[cls.__name__] = cls
    return found


def write(path: str | os.PathLike[str], obj: Saved, *, card: Mapping[str, Any] | None = None) -> Path:
    """Write a Saved object (and, if it is a module, its state) to one file, atomically.

    Args:
        path: File to write; replaced only when the new one is complete.
        obj: The object.
        card: JSON data kept beside it (how it was made); `read` does not need it.

    Raises:
        SavedError: If the object cannot be described, or the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    description = describe(obj, tensors)
    if isinstance(obj, nn.Module):
        tensors.update({f"state.{k}": v.detach().cpu().contiguous().clone() for k, v in obj.state_dict().items()})
    meta = {"physdiff": str(FORMAT), "description": json.dumps(description), "card": json.dumps(dict(card or {}))}
    meta["sha256"] = _digest(tensors, meta)
    try:
        with whole_file(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata=meta)
            temporary.chmod(mode)  # safetensors leaves a file that its owner alone may read; the umask shall decide
    except DataError as error:
        raise SavedError(str(error)) from error
    return Path(path)


def read(path: str | os.PathLike[str], *, classes: Iterable[type] = ()) -> tuple[Any, dict[str, Any]]:
    """Read what `write` wrote.

    Args:
        path: The file.
        classes: Own classes besides those of physdiff.

    Returns:
        The object, and its card.

    Raises:
        SavedError: If the file is missing, not one of ours, damaged, of another format or of unknown classes.
    """
    target = Path(path)
    if not target.is_file():
        raise SavedError(f"{target}: expected a file written by physdiff, found none; check the path")
    try:
        with safe_open(target, framework="pt") as file:
            meta = file.metadata() or {}
            # into memory of their own: a tensor at an odd place in the file is added up in another order, and results differ in the last bit
            tensors = {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    except SafetensorError as error:
        raise SavedError(f"{target}: expected a file written by physdiff (safetensors), got something else or a damaged one: {error}") from error
    if meta.get("physdiff") != str(FORMAT):
        raise SavedError(f"{target}: expected physdiff format {FORMAT}, got {meta.get('physdiff')!r}; write it again with this version")
    damaged = "sha256" in meta and meta["sha256"] != _digest(tensors, meta)  # safetensors has no checksums of its own
    told = f"{target}: expected the contents that were written, got others (their SHA-256 differs); the file is damaged"
    try:
        obj, card = _built(target, meta, tensors, classes)
    except SavedError:
        raise
    except Exception as error:
        if damaged:
            raise SavedError(told) from error
        raise
    if damaged:
        raise SavedError(told)
    return obj, card


def is_saved(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that `write` wrote, whatever its state."""
    try:
        with safe_open(path, framework="pt") as file:
            return "physdiff" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _built(target: Path, meta: Mapping[str, str], tensors: Mapping[str, Tensor], classes: Iterable[type]) -> tuple[Any, dict[str, Any]]:
    """The object and the card of what a file holds."""
    try:
        description, card = json.loads(meta["description"]), json.loads(meta["card"])
    except (KeyError, ValueError, RecursionError) as error:
        raise SavedError(f"{target}: expected a description and a card in JSON, got {error!r}; the file is damaged") from error
    state = {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")}
    with torch.random.fork_rng(devices=[]):  # a network draws first weights, which are replaced at once
        obj = build(description, classes=classes, tensors=tensors)
    if isinstance(obj, nn.Module):
        _load_state(obj, state, target)
    return obj, card


def _digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """SHA-256 of description, card and all tensors, in an order of its own."""
    digest = hashlib.sha256(json.dumps([meta.get("description"), meta.get("card")]).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        if value.numel():
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = module.state_dict(keep_vars=True)
    wrong = [k for k in expected.keys() | state.keys() if k not in expected or k not in state or expected[k].shape != state[k].shape]
    if wrong:
        name = min(wrong)
        shapes = [tuple(t[name].shape) if name in t else "no such tensor" for t in (expected, state)]
        raise SavedError(
            f"{path}: expected {name} of shape {shapes[0]} for the described object, got {shapes[1]} ({len(wrong)} tensors do not fit); the file is "
            "damaged, or of a version of physdiff whose weights lay otherwise: train again, or read it with that version"
        )
    for name, tensor in expected.items():
        tensor.data = tensor.data.to(state[name].dtype)  # load_state_dict would round float64 weights to the dtype of a new module
    module.load_state_dict(state)
