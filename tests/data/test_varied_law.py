"""A law with numbers of its own for each trajectory: decays one by one, log-uniform, dependent on seed and index alone, worded errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.generate import generate
from physdiff.data.open import open_dataset
from physdiff.data.varied_law import VariedLaw
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.solvers.stepper import Stepper

GRID = CartesianGrid((16,), (1.0,), periodic=True)
TIMES = torch.linspace(0, 0.2, 3, dtype=torch.float64)
LIKE = torch.zeros((), dtype=torch.float64)


def stepper(law: PDE) -> Stepper:
    return ETDRK4(law, Spectral(GRID))


def varied(**between) -> VariedLaw:
    return VariedLaw(AdvectionDiffusion(1.0, (0.5,)), stepper, between or {"diffusivity": (0.01, 0.1)})


def made(samples: int, **options):
    return generate(varied(), RandomField(length=0.3), TIMES, samples=samples, rng=Rng(3), substeps=2, **options)


def test_every_trajectory_decays_by_its_own_number() -> None:
    """The longest wave decays as exp(-k^2 D t), exactly in this integrator, with the D that stands beside it."""
    ds = made(5)
    assert ds["diffusivity"].dims == ds["c"].dims and ds["diffusivity"].dtype == np.float64
    number = ds["diffusivity"].values.reshape(5, -1)
    assert (number == number[:, :1]).all() and len(set(number[:, 0])) == 5
    wave = np.abs(np.fft.rfft(ds["c"].values, axis=-1)[..., 1])
    np.testing.assert_allclose(wave[:, 2] / wave[:, 0], np.exp(-((2 * math.pi) ** 2) * number[:, 0] * 0.2), rtol=1e-9)


def test_numbers_are_log_uniform_and_depend_on_their_own_index_alone() -> None:
    values = varied().values(range(400), Rng(0), like=LIKE)["diffusivity"]
    u = (values / 0.01).log10()
    assert float(u.min()) >= 0 and float(u.max()) <= 1
    # mean 1/2 and variance 1/12 of a uniform law, to four standard errors
    assert abs(float(u.mean()) - 0.5) < 4 * (12 * 400) ** -0.5 and abs(float(u.var()) - 1 / 12) < 4 * (180 * 400) ** -0.5
    assert torch.equal(varied().values(range(7, 9), Rng(0), like=LIKE)["diffusivity"], values[7:9])
    both = varied(diffusivity=(0.01, 0.1), reaction=(1.0, 2.0)).values(range(3), Rng(0), like=LIKE)
    assert torch.equal(both["diffusivity"], values[:3]) and bool((both["reaction"] > 1).all())


def test_a_file_in_batches_holds_the_same(tmp_path) -> None:
    made(5, out=tmp_path / "a.nc", batch_size=2)
    np.testing.assert_allclose(open_dataset(tmp_path / "a.nc")["c"].values, made(5)["c"].values, atol=1e-6)  # FFTs of other batches
    assert np.array_equal(open_dataset(tmp_path / "a.nc", dtype="float64")["diffusivity"].values, made(5)["diffusivity"].values)


@pytest.mark.parametrize(
    ("between", "said"),
    [
        ({"viscosity": (1.0, 2.0)}, "expected numbers of AdvectionDiffusion, which are .*diffusivity.*; got 'viscosity'"),
        ({"velocity": (1.0, 2.0)}, "got 'velocity'"),
        ({"diffusivity": (0.1, 0.01)}, "two positive numbers, the lower first, got .0.1, 0.01."),
        ({"diffusivity": (0.0, 1.0)}, "two positive numbers"),
        ({"diffusivity": (1.0, float("nan"))}, "two positive numbers"),
        ({"diffusivity": (1.0,)}, "two positive numbers"),
    ],
)
def test_nonsense_is_refused(between, said) -> None:
    with pytest.raises(InputError, match=said):
        varied(**between)
    with pytest.raises(InputError, match="got none"):
        VariedLaw(AdvectionDiffusion(1.0, (0.5,)), stepper, {})
