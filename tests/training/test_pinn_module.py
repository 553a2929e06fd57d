"""PINNModule: every optimiser goes down, points and weights follow their rules, a resumed run is the uninterrupted one bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch

from physdiff.base.errors import DataError, Diverged, InputError
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.pde import PDE
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.collocation import CausalGate, redraw_by_residual
from physdiff.pinn.gradients import gradients_of
from physdiff.pinn.weighting import CausalWeights
from physdiff.training.callbacks.last_checkpoint import LastCheckpoint
from physdiff.training.fit import fit
from physdiff.training.pinn_module import EndlessSteps, PINNModule
from physdiff.training.pinn_settings import Descent, LossBalance, PINNTraining, Resampling
from tests.training.heat import BOX, problem, reference
from tests.training.test_resume import Stop, StopAfter, same


def run(training: PINNTraining, **options: Any) -> PINNModule:
    module = PINNModule(problem(), BOX, training=training, **options)
    fit(module, EndlessSteps(), max_steps=training.steps, progress=False, accelerator="cpu")
    return module


@pytest.mark.parametrize("kind", ["adam", "soap", "lbfgs", "broyden", "levenberg_marquardt"])
def test_every_optimiser_goes_down_and_is_measured(kind):
    steps = 6 if kind in ("adam", "soap") else 2
    training = PINNTraining((Descent(kind, steps, lr=0.05 if steps == 6 else None, inner=5),), Resampling(64, "fixed"), look=1)
    looks = run(training, reference=reference()).looks
    assert [look["step"] for look in looks] == list(range(1, steps + 1))
    assert looks[-1]["loss"] < looks[0]["loss"] and looks[-1]["error"] > 0 and set(looks[0]) == {"step", "seconds", "residual", "loss", "error"}


def test_the_loss_is_that_of_the_problem_at_the_points():
    module = run(PINNTraining((Descent("adam", 1, lr=1e-12),), Resampling(64, "fixed")))
    loss = sum(r.square().sum() for r in module._weighted().values())
    torch.testing.assert_close(loss, module.problem(module._points))


def test_points_follow_their_rule():
    def points(rule, steps, **options):
        return run(PINNTraining((Descent("adam", steps, **options),), Resampling(64, rule)))._points

    assert torch.equal(points("fixed", 1), points("fixed", 3))
    assert torch.equal(points("even", 1, redraw=2), points("even", 2, redraw=2)) and not torch.equal(points("even", 1), points("even", 3, redraw=2))
    kept = (points("r3", 1)[:, None] == points("r3", 2)[None]).all(-1).any(1)
    assert 0 < int(kept.sum()) < 64  # those above the mean stay
    training = PINNTraining((Descent("adam", 2, lr=1e-12, redraw=1),), Resampling(50, "rad", power=2.0, floor=0.0))
    module = run(training)
    block = module.rng.child("points", 1)
    candidates = BOX.draw(200, block)
    wanted = redraw_by_residual(candidates, module._fitness(candidates), 50, rng=block.child("redraw"), power=2.0, floor=0.0)
    torch.testing.assert_close(module._points, wanted)


def test_the_front_of_causal_points_moves_and_hides_what_is_behind():
    gate = CausalGate(t=(0.0, 1.0), rate=1.0, front=0.0, tolerance=1e-6, steepness=10.0)
    module = run(PINNTraining((Descent("adam", 2, lr=1e-9),), Resampling(64, "causal_r3", gate=gate)))
    assert module._gate.front == pytest.approx(0.2)  # the exponential is cut at 0.1
    omega = module._point_weights(module._points, module._left)
    torch.testing.assert_close(omega, module._gate(module._points[:, -1]).square())


def test_causal_weights_climb_their_ladder_and_see_time_in_order():
    causal = CausalWeights(ladder=(1e-9, 1.0), chunks=8)
    module = run(PINNTraining((Descent("adam", 1),), Resampling(64), LossBalance(causal=causal)))
    assert module._causal.rung == 1 and bool((module._points[1:, 1] >= module._points[:-1, 1]).all())
    omega = module._point_weights(module._points, module._left)
    losses = module._left.square().sum(-1).reshape(8, 8).sum(1) * 8  # mean squares of the spans
    wanted = torch.exp(-(losses.cumsum(0) - losses))
    torch.testing.assert_close(omega.reshape(8, 8), wanted[:, None].expand(8, 8))


@pytest.mark.parametrize("kind", ["gradient_norm", "tangent_kernel", "learning_rate", "relative"])
def test_terms_are_balanced(kind):
    module = run(PINNTraining((Descent("adam", 3),), Resampling(64), LossBalance(kind, every=2)))
    assert module._weights.shape == (3,) and bool((module._weights > 0).all()) and len(set(module._weights.tolist())) > 1
    if kind == "gradient_norm":  # no memory: the gradients come out equally long
        module.training_plan = PINNTraining(balance=LossBalance(kind, memory=0.0), sampling=Resampling(64))
        module._balance(0, Descent())
        terms = [r.square().sum() for r in module._weighted().values()]
        sizes = gradients_of(terms, module.problem.parameters()).norm(dim=1)
        torch.testing.assert_close(sizes, sizes[:1].expand(3))


PHASES = (Descent("adam", 2), Descent("broyden", 2, inner=2), Descent("lbfgs", 2, inner=2, redraw=1), Descent("levenberg_marquardt", 2, redraw=1))
PLANS = {
    "r3": PINNTraining(PHASES, Resampling(32, "r3"), LossBalance("relative"), look=3, keep_best=True),
    "rad": PINNTraining(PHASES, Resampling(32, "rad"), LossBalance("gradient_norm", every=2), look=3),
    "causal": PINNTraining(PHASES, Resampling(32), LossBalance(causal=CausalWeights(ladder=(1e-9, 1e-8, 1.0), chunks=4)), look=3),
}


def trained(folder, plan, stop=None):
    module = PINNModule(problem(unknown=("diffusivity",)), BOX, training=plan, reference=reference())
    last = LastCheckpoint(folder, every=1)
    callbacks: list[pl.Callback] = [last, *([] if stop is None else [StopAfter(stop)])]
    trainer = pl.Trainer(accelerator="cpu", max_steps=plan.steps, max_epochs=-1, callbacks=callbacks, logger=False, enable_progress_bar=False)
    path = str(last.path) if last.path.is_file() else None
    trainer.fit(module, EndlessSteps(), ckpt_path=path, weights_only=path is not None or None)
    kept = torch.load(last.path, weights_only=True)
    looks = [{k: v for k, v in look.items() if k != "seconds"} for look in module.looks]
    return {"final": module.state_dict(), "looks": looks, **{k: kept[k] for k in ("state_dict", "optimizer_states", "global_step")}}


@pytest.mark.parametrize("name", ["r3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rad", "causal"))])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, name):
    plan, torch_threads = PLANS[name], torch.get_num_threads()
    torch.set_num_threads(1)
    whole = trained(tmp_path / "whole", plan)
    assert whole["global_step"] == 8 and [look["step"] for look in whole["looks"]] == [3, 6, 8]
    for stop in (2, 5):
        with pytest.raises(Stop):
            trained(tmp_path / "cut", plan, stop=stop)
    same(whole, trained(tmp_path / "cut", plan))
    torch.set_num_threads(torch_threads)


def test_the_best_weights_are_those_of_the_least_loss():
    # a rate that throws the network far off in the last steps
    training = PINNTraining((Descent("levenberg_marquardt", 6), Descent("adam", 2, lr=3.0, decay="constant")), Resampling(64), look=1, keep_best=True)
    module = run(training)
    losses = [look["loss"] for look in module.looks]
    assert min(losses) < losses[-1]
    module._look(9)
    assert module.looks[-1]["loss"] == pytest.approx(min(losses), rel=1e-12)


def test_what_does_not_fit_the_reference_is_refused():
    with pytest.raises(InputError, match="within those of the data, 0 to 0.5, got 0 to 1"):
        PINNModule(problem(), BOX, reference=reference(0.5))
    with pytest.raises(DataError, match=r"fields of AdvectionDiffusion \(c\), got T; rename"):
        PINNModule(problem(), BOX, reference=reference().rename(c="T"))


def test_a_residual_that_is_not_finite_ends_the_run_and_says_where():
    net = problem().net
    net.names = ("u",)
    broken = Collocated(net, Burgers(0.1, forcing=lambda x, t: torch.log(x - 0.5) if isinstance(x, torch.Tensor) else (x - 0.5).log()))
    module = PINNModule(broken, BOX, training=PINNTraining((Descent("adam", 2),), Resampling(32)))
    with pytest.raises(Diverged, match=r"residual of u` is not finite at x = 0\.\d+ at time 0\.\d+: .* \(step 1 of the training\)"):
        fit(module, EndlessSteps(), max_steps=2, progress=False, accelerator="cpu")


@dataclass(frozen=True, eq=False)
class Rooted(PDE):
    """The root of what is above zero: below, its value is zero and its slope not a number."""

    fields: ClassVar[tuple[str, ...]] = ("c",)

    def nonstiff(self, u, D, t):
        return {"c": torch.sqrt(u["c"].clamp(min=0.0))}


def test_a_derivative_that_is_not_finite_says_of_which_equation_and_where():
    broken, plan = Collocated(problem().net, Rooted()), PINNTraining((Descent("levenberg_marquardt", 3),), Resampling(32))
    with pytest.raises(Diverged, match=r"derivative of residual \d+ of 32` .*; it is of the equation of c at x = 0\.\d+, t = 0\.\d+ \(step 1 of"):
        fit(PINNModule(broken, BOX, training=plan), EndlessSteps(), max_steps=3, progress=False, accelerator="cpu")
