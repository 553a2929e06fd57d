"""Implicit stages: roots against closed forms and a dense solve, gradients by the implicit function theorem, refusals."""

import pytest
import torch

from physdiff.base.errors import Diverged, InputError
from physdiff.solvers.newton import Newton, implicit_stage


def rough(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(dtype)


def cubic(rate):
    """A stiff map that mixes neighbours, both fields and all powers up to three."""

    def rhs(u):
        a, b = u["a"], u["b"]
        spread = a.roll(1, -1) - 2 * a + a.roll(-1, -1)
        return {"a": rate * spread - a**3 + 0.3 * b, "b": -0.5 * b * a**2 - 5e-4 * a}

    return rhs


def test_a_root_in_closed_form():
    # Y = r - s Y^2 has the root (sqrt(1 + 4 s r) - 1) / 2s
    r = torch.tensor([[0.0, 0.5, 3.0, 100.0]], dtype=torch.float64)
    got = implicit_stage(lambda u: {"u": -(u["u"] ** 2)}, {"u": r}, 0.7)["u"]
    torch.testing.assert_close(got, ((1 + 2.8 * r).sqrt() - 1) / 1.4, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
def test_a_stiff_system_of_fields_in_different_units(dtype, tolerance):
    """The equation holds; field b is a thousand times smaller, and the matrix has a condition of some 1e4."""
    known = {"a": 1 + rough(2, 24, dtype=dtype), "b": 1e-3 * rough(2, 24, dtype=dtype)}
    rhs = cubic(torch.tensor([[2e3], [1.0]], dtype=dtype))
    got = implicit_stage(rhs, known, 1.0)
    found = rhs(got)
    for name, size in (("a", 1e4), ("b", 1e-3)):
        # the residual of `a` carries the rounding of differences times 4 rate
        assert float((got[name] - known[name] - found[name]).abs().max()) < tolerance * size


def test_samples_do_not_mix():
    known, rate = {"a": 1 + rough(2, 24), "b": 1e-3 * rough(2, 24)}, torch.tensor([[2e3], [1.0]], dtype=torch.float64)
    both = implicit_stage(cubic(rate), known, 1.0)
    for i in range(2):
        alone = implicit_stage(cubic(rate[i : i + 1]), {n: v[i : i + 1] for n, v in known.items()}, 1.0)
        for name in known:
            torch.testing.assert_close(both[name][i : i + 1], alone[name], rtol=1e-9, atol=1e-12)  # the tolerance of the last step, squared


def test_gradients_are_those_of_the_root():
    """Against differences, for the known part and the parameter; and for two samples, each with its own parameter."""

    def root(a, b, rate):
        return tuple(implicit_stage(cubic(rate), {"a": a, "b": b}, 0.5, newton=Newton(1e-12)).values())

    a, b = (1 + 0.3 * rough(2, 8)).requires_grad_(), (0.2 * rough(2, 8)).requires_grad_()
    rate = torch.tensor([[3.0], [0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(root, (a, b, rate), fast_mode=True)


def test_the_graph_of_a_root_does_not_grow_with_the_work():
    """Of all that Newton's method computed, the result keeps one evaluation of the right-hand side."""
    known = {"a": (1 + 0.3 * rough(1, 8)).requires_grad_()}

    def nodes(newton):
        seen, todo = set(), [implicit_stage(lambda u: {"a": -(u["a"] ** 3)}, known, 5.0, newton=newton)["a"].grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo.extend(parent for parent, _ in node.next_functions)
        return len(seen)

    assert nodes(Newton(1e-13)) == nodes(Newton(1e-1)) < 10


def test_second_derivatives_are_refused():
    r = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    out = implicit_stage(lambda u: {"u": -(u["u"] ** 3)}, {"u": r}, 1.0)["u"]
    with pytest.raises(InputError, match="first derivatives only, got create_graph=True; leave it out"):
        torch.autograd.grad(out.sum(), r, create_graph=True)


def test_an_equation_without_root_diverges_in_words():
    # Y = 1 + Y^2 has no real root
    with pytest.raises(Diverged, match="field `u` is not found by Newton's method at time 2.5.*shorter steps"):
        implicit_stage(lambda u: {"u": u["u"] ** 2}, {"u": torch.ones(1, 4)}, 1.0, time=2.5)
    with pytest.raises(Diverged, match="not found"):
        implicit_stage(lambda u: {"u": u["u"].log()}, {"u": -torch.ones(1, 4)}, 1.0)


def test_parts_that_do_not_depend_on_the_fields():
    known = {"a": torch.ones(1, 4, dtype=torch.float64), "b": torch.zeros(1, 4, dtype=torch.float64)}
    got = implicit_stage(lambda u: {"a": torch.full_like(u["a"], 2.0), "b": u["a"] * 0 + 1.0}, known, 0.5)
    assert torch.equal(got["a"], 2 * known["a"])
    assert torch.equal(got["b"], known["b"] + 0.5)


def test_inference_mode():
    with torch.inference_mode():
        got = implicit_stage(lambda u: {"u": -(u["u"] ** 3)}, {"u": 2 * torch.ones(1, 4, dtype=torch.float64)}, 1.0)["u"]
    torch.testing.assert_close(got, torch.ones(1, 4, dtype=torch.float64), rtol=1e-11, atol=0)  # 1 + 1 = 2
