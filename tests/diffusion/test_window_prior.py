"""What all priors share is tested where they are made; here: the parts that must come together."""

from __future__ import annotations

import pytest

from physdiff.base.errors import InputError
from physdiff.diffusion.interpolant import Interpolant
from physdiff.diffusion.window_prior import WindowPrior
from tests.diffusion.test_interpolant_prior import SPEC, made


def test_condition_and_its_transform_come_together() -> None:
    with pytest.raises(InputError, match="InterpolantPrior: expected cond_transform and cond_spec together"):
        made(Interpolant(), "centre", cond_spec=SPEC)


def test_it_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        WindowPrior()  # type: ignore[abstract]
    assert made().base(None).shape == (1, 1, 1, 6)
