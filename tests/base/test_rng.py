"""Rng as a value: asked twice it answers alike, children are independent, rows depend on their index alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng

LIKE = torch.zeros((), dtype=torch.float64)
KEYS = st.lists(st.integers(0, 2**32 - 1), max_size=3)


@given(seed=st.integers(0, 2**70), path=KEYS)
def test_streams_are_numpys_seed_sequence_into_philox(seed: int, path: list[int]) -> None:
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=tuple(path))))
    assert np.array_equal(Rng(seed).child(*path).normal((5,), like=LIKE).numpy(), generator.standard_normal(5))


@given(seed=st.integers(0, 99), path=KEYS, more=KEYS)
def test_asking_twice_and_going_in_two_steps_is_the_same(seed: int, path: list[int], more: list[int]) -> None:
    rng = Rng(seed)
    direct = rng.child(*path, *more)
    rng.normal((7,))
    assert rng.child(*path).child(*more) == direct
    assert torch.equal(direct.normal((3, 2)), rng.child(*path).child(*more).normal((3, 2)))


def test_spawned_children_are_those_of_numpy() -> None:
    child = np.random.SeedSequence(11).spawn(3)[2]
    expected = np.random.Generator(np.random.Philox(child)).random(4)
    assert np.array_equal(Rng(11).child(2).uniform((4,), like=LIKE).numpy(), expected)


def test_no_two_paths_give_the_same_stream() -> None:
    big = 2**32
    paths = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (big,), (big + 1,), (2 * big,), (1, 1), (1, 2), (big**2,), (0, 0, 1)]
    words = [("noise",), ("start",), ("noise", 0), (0, "noise"), ("",)]
    draws = {keys: Rng(0).child(*keys).normal((4,)) for keys in [*paths, *words]}
    for a, b in combinations(draws, 2):
        assert not torch.equal(draws[a], draws[b]), f"{a} and {b} give the same numbers"
    assert not torch.equal(Rng(1).normal((4,)), Rng(0).normal((4,)))


def test_children_are_uncorrelated_with_their_parent_and_each_other() -> None:
    n = 20_000
    rng = Rng(3)
    streams = torch.stack([rng.normal((n,)), rng.child(0).normal((n,)), rng.child(1).normal((n,)), rng.child("a").normal((n,))])
    # the correlation of independent streams has standard deviation 1/sqrt(n)
    assert (torch.corrcoef(streams) - torch.eye(4)).abs().max() < 4.5 / n**0.5


@given(indices=st.lists(st.integers(0, 1000), max_size=8))
def test_row_i_depends_on_index_i_alone(indices: list[int]) -> None:
    rng = Rng(5).child("particles")
    draw = rng.normal_each(indices, (2, 3))
    assert draw.shape == (len(indices), 2, 3)
    for row, i in zip(draw, indices, strict=True):
        assert torch.equal(row, rng.child(i).normal((2, 3)))


def test_indices_may_be_a_tensor_or_a_range() -> None:
    assert torch.equal(Rng(5).normal_each(torch.tensor([2, 0]), (3,)), Rng(5).normal_each(range(3), (3,))[[2, 0]])


def test_moments_of_normal_and_uniform() -> None:
    n = 100_000
    z, u = Rng(1).normal((n,), like=LIKE), Rng(1).child(1).uniform((n,), like=LIKE)
    # 4 standard errors: 1/sqrt(n), sqrt(2/n), sqrt(1/(12 n)), sqrt(1/(180 n))
    assert abs(float(z.mean())) < 4 / n**0.5
    assert abs(float(z.var()) - 1) < 4 * (2 / n) ** 0.5
    assert abs(float(u.mean()) - 0.5) < 4 / (12 * n) ** 0.5
    assert abs(float(u.var()) - 1 / 12) < 4 / (180 * n) ** 0.5
    assert float(u.min()) >= 0
    assert float(u.max()) < 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_follows_like(dtype: torch.dtype) -> None:
    like = torch.zeros(2, dtype=dtype)
    for draw in (Rng(0).normal((3,), like=like), Rng(0).uniform((3,), like=like), Rng(0).normal_each([], (3,), like=like)):
        assert draw.dtype == dtype
    assert Rng(0).normal((3,)).dtype == torch.float32


def test_integers_and_permutation() -> None:
    draw = Rng(2).integers(3, 6, (1000,))
    assert draw.dtype == torch.int64
    assert sorted(set(draw.tolist())) == [3, 4, 5]
    assert Rng(2).integers(0, 10).shape == ()
    order = Rng(2).permutation(50)
    assert sorted(order.tolist()) == list(range(50))
    assert not torch.equal(order, torch.arange(50))


def test_nothing_touches_the_global_generators() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Rng(0).normal((5,))
    Rng(0).permutation(5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "0", None])
def test_a_seed_is_an_integer_from_zero(seed: object) -> None:
    with pytest.raises(InputError, match="expected a seed"):
        Rng(seed)


@pytest.mark.parametrize("key", [-1, 0.5, None])
def test_a_key_is_an_integer_or_a_word(key: object) -> None:
    with pytest.raises(InputError, match="expected keys"):
        Rng(0).child(key)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_real_numbers_are_not_cut_to_another_kind(dtype: torch.dtype) -> None:
    like = torch.zeros(1, dtype=dtype)
    for draw in (Rng(0).normal, Rng(0).uniform):
        with pytest.raises(InputError, match="floating-point"):
            draw((2,), like=like)
