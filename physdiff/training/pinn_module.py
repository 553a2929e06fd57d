r"""Training a network of the coordinates on a law: a LightningModule around `Collocated`.

Each step minimises, at the points of the moment,

$$L = \sum_k \lambda_k \sum_i \omega_i\, r_{ki}^2 + \sum_j \lambda_j \sum_i d_{ji}^2,$$

with the scaled terms r of the law and d of known values, weights $\lambda$ of terms (`LossBalance`) and $\omega$ of points (causal weights, or the
square of a `CausalGate`). Optimisers follow each other in phases. Points and weights are values keyed by (seed, step) and lie in the
checkpoint, so that a run that was killed and resumed gives the network of an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from physdiff.base.errors import Diverged
from physdiff.base.rng import Rng
from physdiff.pinn.broyden import SelfScaledBroyden
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.collocation import CausalGate, UniformPoints, in_time_order, redraw_by_residual, retain_resample
from physdiff.pinn.gradients import gradients_of, tangent_kernel_trace
from physdiff.pinn.levenberg_marquardt import LevenbergMarquardt
from physdiff.pinn.soap import SOAP
from physdiff.pinn.weighting import (
    CausalWeights,
    RelativeLossWeights,
    gradient_norm_weights,
    learning_rate_weights,
    smoothed_weights,
    tangent_kernel_weights,
    time_chunks,
)
from physdiff.training.pinn_reference import Reference
from physdiff.training.pinn_settings import FIRST_ORDER, Descent, PINNTraining
from physdiff.training.warm_cosine import rise_and_fall

__all__ = ["EndlessSteps", "PINNModule"]

_LOOKED = 8192  # points of a look at most


class EndlessSteps(pl.LightningDataModule):
    """What a `PINNModule` trains on: steps without end; the module draws its points itself."""

    def train_dataloader(self) -> DataLoader[int]:
        """Nothing, again and again."""
        return DataLoader(_Steps(), batch_size=None)


class _Steps(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


class PINNModule(pl.LightningModule):
    """Fit the network (and the unknown coefficients) of a `Collocated` problem; ``fit(module, EndlessSteps(), max_steps=training.steps)``.

    Args:
        problem: Law, network and known values; trained in place.
        points: The box in space and time.
        training: Optimisers, points, weights; its `windows` are the business of `fit_pinn`.
        reference: A Dataset with fields of the law, to measure the error against; it is never trained on.

    Attributes:
        looks: What was measured so far, one dict a look: step, seconds, residual, loss, error (with a reference) and unknown coefficients.

    Raises:
        InputError: If the time of the box reaches out of the reference's.
    """

    def __init__(
        self, problem: Collocated, points: UniformPoints, *, training: PINNTraining = PINNTraining(), reference: xr.Dataset | None = None  # noqa: B008
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.problem, self.training_plan = problem, training
        dtype = next(problem.net.parameters()).dtype
        self.box = replace(points, dtype=dtype)
        self.rng = Rng(training.seed)
        self.reference = None if reference is None else Reference.of(reference, problem, self.box)
        self.looks: list[dict[str, float]] = []
        gate = training.sampling.gate
        self._gate = (gate or CausalGate(t=self.box.t or (0.0, 1.0))) if training.sampling.rule == "causal_r3" else None
        self._causal: CausalWeights | None = training.balance.causal
        self._relative = RelativeLossWeights() if training.balance.kind == "relative" else None
        self._points: Tensor | None = None
        self._weights: Tensor | None = None
        self._omega: Tensor | None = None
        self._left: Tensor | None = None
        self._best: dict[str, Any] | None = None
        self._seconds, self._since = 0.0, time.perf_counter()
        looked = self.rng.child("look")
        self._looked = self.box.draw(min(_LOOKED, 2 * training.sampling.n), looked)

    # ---- what Lightning calls

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for each phase."""
        return [self._optimiser(phase) for phase in self.training_plan.phases]

    def _optimiser(self, phase: Descent) -> torch.optim.Optimizer:
        parameters = [p for p in self.problem.parameters() if p.requires_grad]
        if phase.kind == "adam":
            return torch.optim.Adam(parameters, lr=phase.peak, fused=True)
        if phase.kind == "soap":
            return SOAP(parameters, lr=phase.peak)
        if phase.kind == "broyden":
            return SelfScaledBroyden(parameters, max_iter=phase.inner)
        if phase.kind == "levenberg_marquardt":
            return LevenbergMarquardt(self.problem)
        search = {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-12, "tolerance_change": 0.0}
        return torch.optim.LBFGS(parameters, max_iter=phase.inner, max_eval=2 * phase.inner, history_size=100, **search)  # type: ignore[arg-type]

    def on_train_start(self) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        """One step of the optimiser whose turn it is."""
        step = int(self.global_step)
        try:
            return self._step(step)
        except Diverged as error:
            error.args = (f"{error}{self._owner(error)} (step {step + 1} of the training)",)
            raise

    def _owner(self, error: Diverged) -> str:
        """Which equation and point, or which known values, an entry of the residuals belongs to."""
        if error.entry is None or self._points is None:
            return ""
        entry = error.entry
        with torch.no_grad():
            law, known = self.problem.law_terms(self._points), self.problem.known_terms()
        ends = torch.tensor([len(r) for r in (*law.values(), *known.values())]).cumsum(0)
        which = int(torch.searchsorted(ends, entry, right=True))
        name, entry = [*law, *known][which], entry - int(ends[which - 1] if which else 0)
        if which >= len(law):
            return f"; it is of {name}, point {entry}"
        at = ", ".join(f"{axis} = {v:g}" for axis, v in zip((*"xyz"[: self.problem.ndim], "t"), self._points[entry].tolist(), strict=True))
        return f"; it is of the equation of {name} at {at}"

    def _step(self, step: int) -> Tensor:
        index, within = self._phase(step)
        phase = self.training_plan.phases[index]
        found = self.optimizers()
        optimiser = found[index] if isinstance(found, list) else found
        self._place_points(step, phase, within, optimiser)
        self._balance(step, phase)
        if phase.kind in FIRST_ORDER:
            factor = rise_and_fall(within, phase.steps if phase.decay == "cosine" else None)
            for group in optimiser.param_groups:
                group["lr"] = phase.peak * factor
        tried = 0

        def closure() -> Any:  # noqa: ANN401 - a loss, or the vectors of residuals
            nonlocal tried
            tried += 1
            optimiser.zero_grad()
            try:
                vectors = list(self._weighted(freeze=phase.kind not in FIRST_ORDER).values())
            except Diverged:
                if tried == 1 or phase.kind in ("levenberg_marquardt", *FIRST_ORDER):
                    raise
                return torch.tensor(float("inf"), dtype=self.box.dtype, device=self.device)  # a step too long, for the line search to shorten
            if phase.kind == "levenberg_marquardt":
                return vectors
            loss = torch.stack([r.square().sum() for r in vectors]).sum()
            self.manual_backward(loss)
            return loss

        loss = torch.as_tensor(optimiser.step(closure)).detach()
        if not bool(loss.isfinite()):
            raise Diverged("loss of the network", step, "lower the learning rate or look at the known values; the last checkpoint is kept")
        self._after(step, phase)
        if (step + 1) % self.training_plan.look == 0 or step + 1 == self.trainer.max_steps:
            self._look(step + 1)
            self.log_dict({k: v for k, v in self.looks[-1].items() if k in ("residual", "error")}, batch_size=1)
        return loss

    def on_train_end(self) -> None:
        """Put the best weights in place, if they are to be kept."""
        if self._best is not None:
            self.problem.load_state_dict(self._best["weights"])

    @torch.no_grad()
    def _look(self, step: int) -> None:
        """Measure loss and rms residual at points of their own, the error against the reference, the coefficients."""
        self._seconds += time.perf_counter() - self._since
        law = torch.stack([r.square().sum() for r in self.problem.law_terms(self._looked.to(self.device)).values()]).sum()
        loss = law + sum(r.square().sum() for r in self.problem.known_terms(joined=True).values())
        found = {"residual": float((law / self.problem.weight).sqrt()), "loss": float(loss)}
        if self.reference is not None:
            found["error"] = self.reference.error(self.problem.net)
        found |= {name: float(value) for name, value in self.problem.coefficients().items()}
        self.looks.append({"step": step, "seconds": round(self._seconds, 3), **found})
        if self.training_plan.keep_best and (self._best is None or found["loss"] < self._best["loss"]):
            weights = {name: value.detach().clone() for name, value in self.problem.state_dict().items()}
            self._best = {"loss": found["loss"], "weights": weights}
        self._since = time.perf_counter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep points, weights and looks."""
        relative = None if self._relative is None else asdict(self._relative)
        checkpoint["pinn"] = {
            "points": self._points,
            "weights": self._weights,
            "relative": relative,
            "front": None if self._gate is None else self._gate.front,
            "rung": None if self._causal is None else self._causal.rung,
            "looks": self.looks,
            "best": self._best,
            "seconds": self._seconds + time.perf_counter() - self._since,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up."""
        kept = checkpoint["pinn"]
        self._points, self._weights, self._seconds = kept["points"], kept["weights"], kept["seconds"]
        self.looks, self._best = kept["looks"], kept["best"]
        if self._relative is not None:
            self._relative = RelativeLossWeights(**kept["relative"])
        if self._gate is not None:
            self._gate = replace(self._gate, front=kept["front"])
        if self._causal is not None:
            self._causal = replace(self._causal, rung=kept["rung"])

    # ---- points

    def _phase(self, step: int) -> tuple[int, int]:
        """Which phase a step belongs to, and which step of the phase it is; the last phase goes on."""
        phases = self.training_plan.phases
        for index, phase in enumerate(phases[:-1]):
            if step < phase.steps:
                return index, step
            step -= phase.steps
        return len(phases) - 1, step

    def _place_points(self, step: int, phase: Descent, within: int, optimiser: Any) -> None:  # noqa: ANN401
        """New points, where they are due."""
        rule = self.training_plan.sampling.rule
        due = within == 0 or (phase.every > 0 and within % phase.every == 0)
        following = rule.endswith("r3") and (phase.kind in FIRST_ORDER)
        if self._points is not None and (rule == "fixed" or not due or following):
            return
        self._points = self._new_points(self.rng.child("points", step))
        if phase.kind == "lbfgs":
            optimiser.state.clear()  # differences of gradients at other points are no curvature

    def _new_points(self, rng: Rng) -> Tensor:
        sampling = self.training_plan.sampling
        if self._points is not None and sampling.rule.endswith("r3"):
            return retain_resample(self._points, self._fitness(self._points), lambda n: self.box.draw(n, rng)).to(self.device)
        if sampling.rule != "rad" or self._points is None:
            points = self.box.draw(sampling.n, rng)
            return (points if self._causal is None else in_time_order(points)).to(self.device)
        candidates = self.box.draw(sampling.candidates * sampling.n, rng).to(self.device)
        options = {"power": sampling.power, "floor": sampling.floor}
        return redraw_by_residual(candidates, self._fitness(candidates), sampling.n, rng=rng.child("redraw"), **options)

    @torch.no_grad()
    def _fitness(self, points: Tensor) -> Tensor:
        """Residuals (n, equations) at points, behind the front if there is one."""
        left = torch.stack(list(self.problem.law_residuals(points).values()), dim=-1)
        return left if self._gate is None else left * self._gate(points[:, -1:])

    # ---- weights

    def _weighted(self, *, freeze: bool = False) -> dict[str, Tensor]:
        """The terms of the loss with all their weights; frozen weights of points stay the same within a step."""
        assert self._points is not None
        law, known = self.problem.law_terms(self._points), self.problem.known_terms(joined=not freeze)
        self._left = torch.stack([r.detach() for r in law.values()], dim=-1)
        omega = self._omega if freeze and self._omega is not None else self._point_weights(self._points, self._left)
        self._omega = omega
        if omega is not None:
            law = {name: r * omega.sqrt() for name, r in law.items()}
        terms = {**law, **known}
        if self._weights is None:
            return terms
        return {name: r * w.sqrt() for (name, r), w in zip(terms.items(), self._weights, strict=True)}

    def _point_weights(self, points: Tensor, left: Tensor) -> Tensor | None:
        """Omega at each point, or None for ones."""
        if self._gate is not None:
            return self._gate(points[:, -1]).square()
        if self._causal is None:
            return None
        losses = time_chunks(left.square().sum(-1) * len(left), self._causal.chunks)
        return self._causal.weights(losses).repeat_interleave(len(left) // self._causal.chunks)

    def _balance(self, step: int, phase: Descent) -> None:
        """New weights of the terms, where they are due."""
        plan = self.training_plan.balance
        self._omega = None
        if plan.kind in ("none", "relative") or step % plan.every:
            return
        weights, self._weights = self._weights, None
        terms = self._weighted()
        parameters = [p for p in self.problem.net.parameters() if p.requires_grad]
        if plan.kind == "tangent_kernel":
            rng = self.rng.child("probes", step)
            traces = torch.stack([tangent_kernel_trace(r, parameters, rng=rng.child(i)) for i, r in enumerate(terms.values())])
            target = tangent_kernel_weights(traces, torch.ones_like(traces))  # the terms are divided by the root of their numbers already
        else:
            gradients = gradients_of([r.square().sum() for r in terms.values()], parameters)
            target = gradient_norm_weights(gradients) if plan.kind == "gradient_norm" else learning_rate_weights(gradients)
        self._weights = target.detach() if weights is None else smoothed_weights(weights.to(target), target, memory=plan.memory)
        self._omega = None

    @torch.no_grad()
    def _after(self, step: int, phase: Descent) -> None:
        """What follows from a step: the ladder, the front, the points kept, relative weights."""
        assert self._left is not None and self._points is not None
        left, rng = self._left * (len(self._left) / self.problem.weight) ** 0.5, self.rng.child("after", step)
        if self._causal is not None:
            self._causal = self._causal.update(time_chunks((self._left.square() * len(left)).sum(-1), self._causal.chunks))
        gated = left if self._gate is None else left * self._gate(self._points[:, -1:])
        if self.training_plan.sampling.rule.endswith("r3") and phase.kind in FIRST_ORDER:
            self._points = retain_resample(self._points, gated, lambda n: self.box.draw(n, rng.child("points")))
        if self._gate is not None:
            self._gate = self._gate.update(gated)
        if self._relative is not None:
            weights, self._weights = self._weights, None
            losses = torch.stack([r.square().sum() for r in self._weighted().values()])
            self._relative = self._relative.update(losses, rng.child("relative"))
            self._weights = self._relative.weights if self._relative.weights is not None else weights
