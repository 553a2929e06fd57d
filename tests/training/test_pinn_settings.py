"""Settings of a network's training: defaults by kind, and what makes no sense."""

import pytest

from physdiff.base.errors import InputError
from physdiff.pinn.collocation import CausalGate
from physdiff.pinn.weighting import CausalWeights
from physdiff.training.pinn_settings import Descent, LossBalance, PINNTraining, Resampling


def test_defaults_follow_the_kind():
    assert (Descent().peak, Descent("soap").peak, Descent(lr=0.1).peak) == (1e-3, 3e-3, 0.1)
    assert [Descent(kind).every for kind in ("adam", "lbfgs", "levenberg_marquardt")] == [100, 0, 5] and Descent(redraw=0).every == 0
    assert PINNTraining((Descent(steps=3), Descent("lbfgs", 4))).steps == 7


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Descent("newton"), "kind"),
        (lambda: Descent("lbfgs", lr=0.1), "finds its step length itself"),
        (lambda: Resampling(rule="grid"), "rule"),
        (lambda: Resampling(gate=CausalGate(t=(0.0, 1.0))), "with rule causal_r3 alone"),
        (lambda: LossBalance("ntk"), "kind"),
        (lambda: LossBalance(memory=1.0), "below 1"),
        (lambda: PINNTraining(phases=()), "at least one"),
        (lambda: PINNTraining(sampling=Resampling(100), balance=LossBalance(causal=CausalWeights())), "take a multiple"),
        (lambda: PINNTraining(sampling=Resampling(64, "rad"), balance=LossBalance(causal=CausalWeights())), "fixed or even with causal weights"),
    ],
)
def test_nonsense_is_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
