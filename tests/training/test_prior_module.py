"""What training shares: an abstract module that needs a loss; its parts are tested with the modules that have one."""

from __future__ import annotations

import pytest

from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.operator_module import OperatorModule
from physdiff.training.prior_module import PriorModule


def test_it_is_abstract_and_both_kinds_share_it():
    with pytest.raises(TypeError, match="abstract"):
        PriorModule()
    shared = ("configure_optimizers", "configure_gradient_clipping", "training_step", "validation_step", "encoded")
    for name in shared:
        assert getattr(DiffusionModule, name) is getattr(OperatorModule, name) is getattr(PriorModule, name)
