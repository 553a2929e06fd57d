"""Wells: golden numbers of Theis, images, Stehfest's inversion, late times."""

import math

import pytest
import scipy.special
import torch

from physdiff.base.errors import InputError
from physdiff.pdes.exact_wells import closed_reservoir_rate, distance_to_fault, exponential_integral, finite_well, line_source, stehfest


def test_golden_values_and_a_twin():
    u = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    assert torch.allclose(exponential_integral(u), torch.tensor([4.03793, 1.82292, 0.21938]).double(), atol=5e-6)
    x = torch.logspace(-12, 2.5, 400, dtype=torch.float64)
    twin = torch.from_numpy(scipy.special.exp1(x.numpy()))
    assert float((exponential_integral(x) / twin - 1).abs().max()) < 1e-13


def test_its_derivative_is_minus_exp_over_x():
    x = torch.tensor([1e-3, 0.3, 0.999, 1.0, 1.001, 4.0, 30.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(exponential_integral(x).sum(), x)
    assert torch.allclose(slope, -torch.exp(-x) / x, rtol=1e-12)
    assert torch.autograd.gradcheck(exponential_integral, (x[1:],))


def test_images_at_a_straight_boundary():
    t, y = torch.tensor([0.2, 5.0], dtype=torch.float64), 0.8
    # well at 0, boundary at x = 1.5: by symmetry no slope across a fault, no change at constant pressure
    x = torch.full((2,), 1.5, dtype=torch.float64, requires_grad=True)
    r, image = (x**2 + y**2).sqrt(), ((3.0 - x) ** 2 + y**2).sqrt()
    fault = line_source(r, t, diffusivity=0.7, distance=1.5, image=image)
    (slope,) = torch.autograd.grad(fault.sum(), x)
    assert float(slope.abs().max()) < 1e-14 and float(fault.detach().min()) > 1e-3
    held = line_source(r, t, diffusivity=0.7, distance=1.5, boundary="constant pressure", image=image)
    assert float(held.detach().abs().max()) < 1e-14


def test_a_fault_doubles_the_slope_and_the_crossing_gives_its_distance():
    eta, distance = 0.7, 12.0
    t = torch.tensor([2e5, 4e5], dtype=torch.float64)
    r = torch.full_like(t, 0.1)
    late = line_source(r, t, diffusivity=eta, distance=distance)
    assert float((late[1] - late[0]) / math.log(2)) == pytest.approx(2.0, rel=1e-3)
    early = torch.tensor([1.0, 2.0], dtype=torch.float64)
    first = line_source(r, early, diffusivity=eta, distance=distance)
    a, b = float(first[0]), float(late[0]) - 2 * math.log(2e5)
    assert float((first[1] - first[0]) / math.log(2)) == pytest.approx(1.0, rel=5e-3)
    # a + ln t = b + 2 ln t
    assert distance_to_fault(math.exp(a - b), eta) == pytest.approx(distance, rel=5e-3)
    assert distance_to_fault(1.0, 1.0) == pytest.approx(0.7493, abs=1e-4)


def test_stehfest_inverts_known_transforms():
    t = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64)
    assert torch.allclose(stehfest(lambda s: 1 / s**2, t), t, rtol=1e-5)
    assert torch.allclose(stehfest(lambda s: 1 / (s + 0.4), t), torch.exp(-0.4 * t), rtol=2e-3)
    # a line source at unit distance
    source = stehfest(lambda s: torch.special.modified_bessel_k0(s.sqrt()) / s, t)
    assert torch.allclose(source, 0.5 * exponential_integral(1 / (4 * t)), rtol=1e-3)


def test_a_finite_well_ends_as_a_line_source_and_begins_as_a_vessel():
    t = torch.tensor([1e4, 1e5, 1e6], dtype=torch.float64)
    semilog = 0.5 * (t.log() + 0.80907)
    assert torch.allclose(finite_well(t), semilog, rtol=1e-3)
    assert torch.allclose(finite_well(t, skin=3.0), semilog + 3.0, rtol=1e-3)
    early = torch.tensor([1e-2, 1e-1], dtype=torch.float64)
    assert torch.allclose(finite_well(early, storage=100.0, skin=5.0), early / 100, rtol=1e-2)


def test_a_closed_reservoir_loses_what_the_well_takes():
    assert closed_reservoir_rate(3.0, storage=1e-2, thickness=10.0, area=60.0) == pytest.approx(-0.5)


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="above zero"):
        exponential_integral(torch.tensor([0.0]))
    with pytest.raises(InputError, match="even number"):
        stehfest(lambda s: s, torch.ones(1), terms=7)
    with pytest.raises(InputError, match="boundary"):
        line_source(torch.ones(1), 1.0, diffusivity=1.0, distance=1.0, boundary="open")
