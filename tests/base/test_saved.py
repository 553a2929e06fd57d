"""Describe and build, write and read: what comes back is what went in, and a damaged file says so."""

from __future__ import annotations

import copy
import inspect
import json
import math
import os
import pickle
import random
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from physdiff.base.errors import SavedError
from physdiff.base.saved import Saved, build, describe, read, write
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory
from physdiff.transforms.linear_forecast import LinearForecast
from physdiff.transforms.normalizer import Normalizer


class Bag(Saved):
    """Holds anything."""

    def __init__(self, content: object = None, *, more: object = 2.5) -> None:
        self.content, self.more = content, more


class Bare(Saved):
    """Has no constructor of its own."""


class Net(Saved, nn.Module):
    """A network with weights, a counter, a table that is not part of the state, and a part that is Saved."""

    def __init__(self, width: int, table: Tensor | None = None, inner: Saved | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)
        self.inner = inner
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", table, persistent=False)


@dataclass(frozen=True, eq=False)
class Pair(Saved):
    left: int
    right: tuple[float, ...] = (1.0,)


OWN = (Bag, Bare, Net, Pair)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if isinstance(a, Saved):
        return type(a) is type(b) and same(a._saved_arguments, b._saved_arguments)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and (a == b or (a != a and b != b))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = draw(st.lists(st.floats(allow_infinity=True), min_size=math.prod(shape), max_size=math.prod(shape)))
    dtype = draw(st.sampled_from(DTYPES))
    whole = not dtype.is_floating_point
    return torch.tensor([0 if whole and not math.isfinite(v) else v % 100 if whole else v for v in values]).reshape(shape).to(dtype)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | tensors()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["tuple", "tensor", "class", "dict", "args", "a"]), inner, max_size=3)
        | inner.map(Bag)
    ),
    max_leaves=8,
)


@given(value=VALUES, inline=st.booleans())
def test_build_inverts_describe(value: object, inline: bool) -> None:
    kept: dict[str, Tensor] | None = None if inline else {}
    description = json.loads(json.dumps(describe(Bag(value, more=(value,)), kept)))
    assert same(build(description, classes=OWN, tensors=kept), Bag(value, more=(value,)))


@given(value=VALUES)
def test_read_inverts_write(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("saved") / "bag.physdiff"
    write(path, Bag(value), card={"seed": 3})
    obj, card = read(path, classes=OWN)
    assert same(obj, Bag(value))
    assert card == {"seed": 3}


def test_defaults_are_recorded_so_that_a_later_default_changes_nothing() -> None:
    assert describe(Bag()) == {"class": "Bag", "args": {"content": None, "more": 2.5}}
    assert describe(Pair(1)) == {"class": "Pair", "args": {"left": 1, "right": {"tuple": [1.0]}}}
    assert describe(Bare()) == {"class": "Bare", "args": {}}
    assert type(build(describe(Bare()), classes=OWN)) is Bare


def test_wrong_arguments_fail_where_the_object_is_made() -> None:
    with pytest.raises(TypeError):
        Bag(colour=1)
    with pytest.raises(TypeError):
        Bare(1)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "deepcopy", "pickle"])
def test_copies_describe_alike(copied) -> None:
    for obj in (Pair(4), Normalizer(("channel",), torch.zeros(2, 1, 1), torch.ones(2, 1, 1)), CartesianGrid((3, 4))):
        assert describe(copied(obj)) == describe(obj)


def test_numpy_numbers_and_arrays_come_back_as_numbers_and_tensors() -> None:
    value = (np.float32(0.5), np.int64(3), np.bool_(True), np.array([[1.0, 2.0]], dtype=">f4"), np.arange(3))
    back = build(describe(Bag(value)), classes=OWN).content
    assert back[:3] == (0.5, 3, True)
    assert same(back[3], torch.tensor([[1.0, 2.0]]))
    assert same(back[4], torch.arange(3))


@pytest.mark.parametrize("part", [object(), lambda x: x, {1: 2}, {"a"}, np.array(["a"]), 1j, nn.Linear(1, 1)])
def test_what_cannot_be_saved_is_named_with_its_place(part: object) -> None:
    with pytest.raises(SavedError, match=r"Bag\.content\[1\]\['key'\]: expected a number.*" + type(part).__name__):
        describe(Bag([0, {"key": part}]))


def test_complex_tensors_do_not_fit_json() -> None:
    with pytest.raises(SavedError, match="real and imaginary"):
        describe(Bag(torch.ones(2, dtype=torch.complex64)))


# ------------------------------------------------------------------------------------------------------------- modules


def net(dtype: torch.dtype = torch.float32) -> Net:
    made = Net(3, torch.arange(4.0), Net(1)).to(dtype)
    made.steps += 7
    return made


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_module_comes_back_with_its_state_in_its_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    made = net(dtype)
    obj, card = read(write(tmp_path / "net", made), classes=OWN)
    assert card == {}
    assert made.state_dict().keys() == obj.state_dict().keys()
    assert all(same(v, obj.state_dict()[k]) for k, v in made.state_dict().items())
    assert torch.equal(obj.table, torch.arange(4.0))
    assert all(p.requires_grad for p in obj.parameters())


def test_reading_draws_nothing_from_the_global_generator(tmp_path: Path) -> None:
    path = write(tmp_path / "net", net())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read(path, classes=OWN)
    assert torch.equal(torch.rand(3), expected)


def test_parts_of_physdiff_need_no_classes(tmp_path: Path) -> None:
    spec = FieldSpec(("t",), ("K",), CartesianGrid((3, 4), (1.0, 2.0)), 3600.0, mask=torch.ones(3, 4) > 0)
    chain = Compose((DropHistory(1), Normalizer(("channel",), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))))
    for obj in (spec, chain):
        back, _ = read(write(tmp_path / "part", obj))
        assert describe(back) == describe(obj)


# ----------------------------------------------------------------------------------------------------------- the files


def rewritten(path: Path, *, drop: str | None = None, tensors: dict[str, Tensor] | None = None, **meta: str) -> Path:
    """The file again with other metadata or tensors."""
    with safe_open(path, framework="pt") as file:
        old, kept = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    kept.update(tensors or {})
    kept.pop(drop, None)
    save_file(kept, path, metadata={k: v for k, v in {**old, **meta}.items() if k != drop})
    return path


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "net", net())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SavedError, match="damaged"):
        read(path, classes=OWN)


def test_a_missing_file_a_folder_and_a_stranger(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SavedError, match="found none; check the path"):
            read(path)
    save_file({"a": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(SavedError, match="expected physdiff format 1, got None"):
        read(tmp_path / "other")
    with pytest.raises(SavedError, match="got '2'"):
        read(rewritten(write(tmp_path / "new", Bare()), physdiff="2"), classes=OWN)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
@pytest.mark.parametrize("part", ["description", "card"])
def test_metadata_that_are_no_json(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(SavedError, match="damaged"):
        read(rewritten(write(tmp_path / "bare", Bare()), **{part: text}), classes=OWN)


@pytest.mark.parametrize("part", ["description", "card"])
def test_metadata_that_are_missing(tmp_path: Path, part: str) -> None:
    with pytest.raises(SavedError, match=f"'{part}'.*damaged"):
        read(rewritten(write(tmp_path / "bare", Bare()), drop=part), classes=OWN)


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"class": "Bag"},
        {"class": ["Bag"], "args": {}},
        {"class": "Bag", "args": [1]},
        {"class": "Bag", "args": {"content": {"tuple": 3}}},
        {"class": "Bag", "args": {"content": {"tensor": [1.0], "dtype": "nonsense", "shape": [1]}}},
        {"class": "Bag", "args": {"content": {"tensor": [1.0], "dtype": "load", "shape": [1]}}},
        {"class": "Bag", "args": {"content": {"tensor": [1.0], "dtype": "float32", "shape": [3]}}},
        {"class": "Bag", "args": {"content": {"tensor": [1.0]}}},
        {"class": "Bag", "args": {"content": {"tensor": "argument.9"}}},
    ],
)
def test_a_damaged_description(description: object) -> None:
    with pytest.raises(SavedError, match="damaged"):
        build(description, classes=OWN)


def test_unknown_classes_are_named_and_never_imported() -> None:
    with pytest.raises(SavedError, match=r"needs class 'Net'.*classes=\(Net,\)"):
        build({"class": "Net", "args": {"width": 2}})
    with pytest.raises(SavedError, match="needs class 'os.system'"):
        build({"class": "os.system", "args": {"command": "true"}})
    # known to Python, not Saved
    with pytest.raises(SavedError, match="needs class 'Linear'"):
        build({"class": "Linear", "args": {}})


def test_arguments_a_constructor_refuses() -> None:
    with pytest.raises(SavedError, match=r"Bag no longer takes the saved arguments \['colour'\]"):
        build({"class": "Bag", "args": {"colour": 1}}, classes=OWN)
    with pytest.raises(SavedError, match="CartesianGrid no longer takes .* positive sizes"):
        build({"class": "CartesianGrid", "args": {"shape": -3}})
    with pytest.raises(SavedError, match="Grid no longer takes"):
        build({"class": "Grid", "args": {}})


@pytest.mark.parametrize(
    "change",
    [
        {"drop": "state.linear.bias"},
        {"tensors": {"state.stranger": torch.zeros(1)}},
        {"tensors": {"state.linear.bias": torch.zeros(5)}},
    ],
    ids=["missing", "unknown", "shape"],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict) -> None:
    path = rewritten(write(tmp_path / "net", net()), **change)
    with pytest.raises(SavedError, match=r"linear\.bias|stranger"):
        read(path, classes=OWN)


def test_a_missing_argument_tensor(tmp_path: Path) -> None:
    path = rewritten(write(tmp_path / "net", net()), drop="argument.0")
    with pytest.raises(SavedError, match=r"'argument\.0'"):
        read(path, classes=OWN)


def test_writing_replaces_whole_files_only(tmp_path: Path) -> None:
    path = write(tmp_path / "deep" / "er" / "bag", Bag(1))
    with pytest.raises(SavedError):
        write(path, Bag(object()))
    with pytest.raises(TypeError):
        write(path, Bag(2), card={"how": object()})
    assert read(path, classes=OWN)[0].content == 1
    write(path, Bag(2))
    assert read(path, classes=OWN)[0].content == 2
    assert os.listdir(path.parent) == ["bag"]


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "bag", Bag(1))

    def broken(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        write(path, Bag(2))
    assert os.listdir(tmp_path) == ["bag"]
    assert read(path, classes=OWN)[0].content == 1


def test_a_file_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(write(tmp_path / "bag", Bag(1)).stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_help_shows_the_arguments_of_the_constructor():
    names = list(inspect.signature(CartesianGrid).parameters)
    assert names == ["shape", "extent", "origin", "periodic", "points", "length_unit"]
    assert list(inspect.signature(LinearForecast).parameters)[:2] == ["patterns", "projection"]


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SavedError, match="expected the name of a file to write, got a folder"):
        write(tmp_path, CartesianGrid((4,)))
    with pytest.raises(SavedError, match="expected a folder to write into, got .*; choose another place"):
        write(tmp_path / "file" / "a.grid", CartesianGrid((4,)))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_damaged_in_a_hundred_ways(tmp_path: Path) -> None:
    """Truncated, one bit flipped, a block zeroed: an error in words, or what was written."""
    written = net()
    whole, draw, counts = write(tmp_path / "whole", written, card={"seed": 3}).read_bytes(), random.Random(4), {"refused": 0, "right": 0}
    target = tmp_path / "damaged"
    for k in range(150):
        bad = bytearray(whole)
        place = draw.randrange(len(whole))
        if k % 3 == 0:
            del bad[place:]
        elif k % 3 == 1:
            bad[place] ^= 1 << draw.randrange(8)
        else:
            bad[place : place + 16] = bytes(len(bad[place : place + 16]))
        target.write_bytes(bytes(bad))
        try:
            found, card = read(target, classes=OWN)
        except SavedError:
            counts["refused"] += 1
            continue
        assert card == {"seed": 3} and describe(found) == describe(written), k
        assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), written.state_dict().values(), strict=True)), k
        counts["right"] += 1
    print(counts)
    assert counts["refused"] >= 140
