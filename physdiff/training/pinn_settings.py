"""How a network of the coordinates is trained: optimisers one after the other, points, weights of the terms."""

from __future__ import annotations

from dataclasses import dataclass

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.pinn.collocation import CausalGate
from physdiff.pinn.weighting import CausalWeights

__all__ = ["LossBalance", "Descent", "PINNTraining", "Resampling"]

OPTIMISERS = ("adam", "soap", "lbfgs", "broyden", "levenberg_marquardt")
FIRST_ORDER = ("adam", "soap")
RULES = ("fixed", "even", "rad", "r3", "causal_r3")
BALANCES = ("none", "gradient_norm", "tangent_kernel", "learning_rate", "relative")
_REDRAW = {"adam": 100, "soap": 100, "lbfgs": 0, "broyden": 25, "levenberg_marquardt": 5}


@dataclass(frozen=True)
class Descent:
    """One optimiser for some steps.

    Args:
        kind: adam, soap, lbfgs, broyden (self-scaled, float64, to 20000 weights) or levenberg_marquardt (linear layers, to some thousand weights).
        steps: Number of steps.
        lr: Peak learning rate of adam (1e-3) and soap (3e-3): a short rise, then as `decay` says.
        decay: cosine (to zero at the end of the phase), or constant.
        inner: Steps of lbfgs and broyden within one step, at the same points.
        redraw: Steps between new points; 0 keeps those of the phase's start. By the kind if not given: adam and soap 100, levenberg_marquardt 5,
            broyden 25, lbfgs 0. The rules r3 and causal_r3 draw after each step of adam and soap.
    """

    kind: str = "adam"
    steps: int = 1000
    lr: float | None = None
    decay: str = "cosine"
    inner: int = 20
    redraw: int | None = None

    def __post_init__(self) -> None:
        check_one_of(self.kind, OPTIMISERS, "Descent kind")
        check_one_of(self.decay, ("cosine", "constant"), "Descent decay")
        check_positive(self.steps, "Descent steps")
        check_positive(self.inner, "Descent inner")
        if self.lr is not None:
            check_positive(self.lr, "Descent lr")
            if self.kind not in FIRST_ORDER:
                raise InputError(f"Descent: expected no lr for {self.kind}, which finds its step length itself, got {self.lr:g}; leave it out")
        if self.redraw is not None:
            check_positive(self.redraw, "Descent redraw", zero=True)

    @property
    def peak(self) -> float:
        """The learning rate."""
        return self.lr or (3e-3 if self.kind == "soap" else 1e-3)

    @property
    def every(self) -> int:
        """Steps between new points, 0 for none."""
        return _REDRAW[self.kind] if self.redraw is None else self.redraw


@dataclass(frozen=True)
class Resampling:
    """Points that the law is asked at.

    Args:
        n: Number of points.
        rule: fixed, even (drawn anew), rad (by the residual, `redraw_by_residual`), r3 (`retain_resample`) or causal_r3 (behind a front in time).
        candidates: Of rad, as a multiple of n.
        power: Exponent of rad.
        floor: Constant of rad.
        gate: The front of causal_r3; `CausalGate` of the time span if not given.
    """

    n: int = 2000
    rule: str = "even"
    candidates: int = 4
    power: float = 1.0
    floor: float = 1.0
    gate: CausalGate | None = None

    def __post_init__(self) -> None:
        check_positive(self.n, "Resampling n")
        check_one_of(self.rule, RULES, "Resampling rule")
        check_positive(self.candidates, "Resampling candidates")
        if self.gate is not None and self.rule != "causal_r3":
            raise InputError(f"Resampling: expected a gate with rule causal_r3 alone, got one with {self.rule}; leave it out")


@dataclass(frozen=True)
class LossBalance:
    """Weights of the terms beside each other, measured in training and multiplied with the given ones.

    Args:
        kind: none, gradient_norm, tangent_kernel, learning_rate or relative (ReLoBRaLo, after each step).
        every: Steps between measurements.
        memory: Of the exponential mean of the weights.
        causal: Weights of spans of time, with a ladder that the run climbs; None for none.
    """

    kind: str = "none"
    every: int = 100
    memory: float = 0.9
    causal: CausalWeights | None = None

    def __post_init__(self) -> None:
        check_one_of(self.kind, BALANCES, "LossBalance kind")
        check_positive(self.every, "LossBalance every")
        if not 0 <= self.memory < 1:
            raise InputError(f"LossBalance memory: expected at least 0 and below 1, got {self.memory}")


@dataclass(frozen=True)
class PINNTraining:
    """All of it.

    Args:
        phases: Optimisers, one after the other.
        sampling: Points.
        balance: Weights.
        windows: Spans of time that are trained one after the other, each by a network of its own that starts from the one before it.
        look: Steps between looks at the residual and the error.
        keep_best: Whether the weights that left the least loss at the points of the looks are kept, instead of the last ones.
        seed: Of points and weights.
    """

    phases: tuple[Descent, ...] = (Descent(),)
    sampling: Resampling = Resampling()
    balance: LossBalance = LossBalance()
    windows: int = 1
    look: int = 100
    keep_best: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self.windows, "PINNTraining windows")
        check_positive(self.look, "PINNTraining look")
        if not self.phases:
            raise InputError("PINNTraining phases: expected at least one, got none; give (Descent(),)")
        causal = self.balance.causal
        if causal is not None and self.sampling.n % causal.chunks:
            raise InputError(f"PINNTraining: expected points in {causal.chunks} equal spans of time, got n = {self.sampling.n}; take a multiple")
        if causal is not None and self.sampling.rule not in ("fixed", "even"):
            rule = self.sampling.rule
            raise InputError(f"PINNTraining: expected rule fixed or even with causal weights, got {rule}; causal_r3 has a front of its own")

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)
