"""A recording gives what its function gives, follows every input, and steps aside wherever the function is not a fixed list of operations."""

import copy
import math
import pickle

import pytest
import torch

from physdiff.operators.recording import Replay, record


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def kept(replay):
    """The recordings that have proved right or still may."""
    return [made for made, _ in replay._found.values() if made is not None]


def settle(replay, *shape, number=0.0):
    for seed in range(4):
        replay(number + 0.1 * seed, draw(*shape, seed=seed))
    return replay


def test_inputs_numbers_and_constants_all_count():
    weight = draw(5, seed=9)

    def function(t, x):
        return ((x * weight).sin() * t + torch.zeros_like(x), x.square().mean(-1, keepdim=True))

    replay = settle(Replay(function), 3, 5)
    assert len(kept(replay)) == 1
    for t, seed in ((0.7, 5), (-2.0, 6)):
        x = draw(3, 5, seed=seed)
        for got, wanted in zip(replay(t, x), function(t, x), strict=True):
            assert torch.equal(got, wanted)
    assert replay(1.0, draw(2, 5))[0].shape == (2, 5)
    assert len(kept(replay)) == 2


def test_memory_that_the_function_makes_and_fills_is_new_each_time():
    def function(t, x):
        both = torch.empty(2, *x.shape, dtype=x.dtype)
        torch.mul(x, x, out=both[0])
        torch.add(x, 1.0, out=both[1])
        total = torch.zeros_like(x)
        total += both[0]
        return (total, both)

    replay = settle(Replay(function), 6)
    assert kept(replay)
    x, y = draw(6, seed=7), draw(6, seed=8)
    first, second = replay(0.0, x), replay(0.0, y)
    for got, wanted in ((first, function(0.0, x)), (second, function(0.0, y))):
        assert all(map(torch.equal, got, wanted))


def test_a_result_that_is_an_input_or_a_constant_is_the_callers_own():
    fixed = draw(4, seed=3)
    replay = settle(Replay(lambda t, x: (x * torch.ones(4, dtype=x.dtype), fixed * 2)), 4)
    x = draw(4, seed=5)
    before = x.clone()
    for result in replay(0.0, x):
        result.zero_()
    assert torch.equal(x, before)
    assert torch.equal(replay(0.0, x)[1], fixed * 2)


COUNTS, STORE = [], torch.zeros(5, dtype=torch.float64)
REFUSED = {
    "a branch on values": lambda t, x: (x * 2 if float(x.max()) > 1.0 else x * 3,),
    "a branch on the number": lambda t, x: (x * 2 if t > 0.15 else x * 3,),
    "a function of Python of the number": lambda t, x: (x * math.cos(t),),
    "a shape that depends on values": lambda t, x: (x[x > 0].sum(),),
    "random numbers": lambda t, x: (x + torch.rand(5, dtype=x.dtype) * 0,),
    "numpy": lambda t, x: (x * float(x.numpy().max()),),
    "a tensor from outside that is written": lambda t, x: (STORE.copy_(x) * 2,),
    "what is kept elsewhere": lambda t, x: (x * (COUNTS.append(0) or len(COUNTS)),),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_fixed_list_is_not_recorded(why):
    function = REFUSED[why]
    replay = settle(Replay(function), 5)
    assert not kept(replay)
    if why != "what is kept elsewhere":
        x = draw(5, seed=6) / 3
        assert torch.equal(replay(0.9, x)[0], function(0.9, x)[0])


def test_a_tensor_from_outside_that_changes_is_read_again():
    rate = torch.tensor(2.0, dtype=torch.float64)
    replay = settle(Replay(lambda t, x: (x * (rate + 1),)), 5)
    x = draw(5, seed=6)
    assert kept(replay)
    rate.fill_(4.0)
    assert torch.equal(replay(0.0, x)[0], 5 * x)
    rate.requires_grad_()
    found = replay(0.0, x)[0]
    found.sum().backward()
    assert torch.equal(rate.grad, x.sum())
    with torch.no_grad():
        assert torch.equal(settle(replay, 5)(0.0, x)[0], 5 * x)


# torch's forward mode still loads torch.jit.script, which it deprecates itself
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_gradients_and_transforms_of_functions_go_through_the_function():
    replay = settle(Replay(lambda t, x: (t * x**3,)), 5)
    assert kept(replay)
    x = draw(5, seed=6)
    torch.testing.assert_close(torch.func.grad(lambda v: replay(2.0, v)[0].sum())(x), 6 * x**2)
    torch.testing.assert_close(torch.func.jvp(lambda v: replay(2.0, v)[0], (x,), (torch.ones_like(x),))[1], 6 * x**2)
    torch.testing.assert_close(torch.func.vmap(lambda v: replay(2.0, v)[0])(x[None]), 2 * x[None] ** 3)
    x.requires_grad_()
    replay(2.0, x)[0].sum().backward()
    torch.testing.assert_close(x.grad, 6 * x.detach() ** 2)
    with torch.inference_mode():
        torch.testing.assert_close(replay(2.0, draw(5, seed=6))[0], 2 * x.detach() ** 3)


def test_gradients_taken_inside_leave_none_behind():
    place = draw(5, seed=3)

    def function(t, x):
        with torch.enable_grad():
            own = place.clone().requires_grad_()
            (slope,) = torch.autograd.grad((own.sin() * t).sum(), own, create_graph=True)
        return (x * slope.detach(),)

    replay = settle(Replay(function), 5, number=0.5)
    assert kept(replay)
    x = draw(5, seed=6)
    found = replay(0.7, x)[0]
    assert not found.requires_grad
    torch.testing.assert_close(found, 0.7 * x * place.cos())


def test_an_error_of_the_function_is_its_own():
    def function(t, x):
        raise ValueError("no such law")

    with pytest.raises(ValueError, match="no such law"):
        Replay(function)(0.0, draw(3))
    assert record(function, 0.0, (draw(3),)) is None


def cubed(t, x):
    return (t * x**3,)


def test_copies_and_other_processes_record_anew():
    replay = settle(Replay(cubed), 5)
    for other in (copy.deepcopy(replay), pickle.loads(pickle.dumps(replay))):
        assert not other._found
        assert torch.equal(settle(other, 5)(2.0, draw(5))[0], cubed(2.0, draw(5))[0])


def test_several_numbers_are_told_apart():
    replay = Replay(lambda times, x: (x * times[0] + times[2],))
    for seed in range(4):
        replay((0.1 * seed, 0.0, 1.0), draw(5, seed=seed))
    assert kept(replay)
    x = draw(5, seed=6)
    assert torch.equal(replay((2.0, 7.0, -1.0), x)[0], x * 2.0 - 1.0)
