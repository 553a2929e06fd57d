"""Guidance: matrix against matrix-free, every covariance, conditions, precision, what the ensemble reports, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance, FourierCovariance, LowRankCovariance, dense_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import GaussianTarget, ar1_covariance, plain_prior
from physdiff.inference.guided import Guided, GuidedDenoiser, prior_covariance
from physdiff.inference.noise import Noise
from physdiff.inference.observation import MatrixOperator, Observation, Operator
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.networks.unet import UNet
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.normalizer import Normalizer

LIKE = torch.zeros((), dtype=torch.float64)
SPEC = FieldSpec(("u", "v"), ("K", "K"), CartesianGrid((4, 6), extent=(1.0, 2.0)), 1.0, 2)
POINTS = torch.tensor([[0.3, 0.4], [1.7, 0.9], [1.1, 0.1]])
SIZE = math.prod(SPEC.shape)


class Square(Operator):
    """Readings of the square of every value: no matrix serves two states."""

    def __call__(self, x: Tensor) -> Tensor:
        return x**2 / 10


class Laplace(Noise):
    """A noise law that is not Gaussian."""

    def log_prob(self, residual, extra_var=None):
        return -residual.abs().flatten(1).sum(1)

    def variance(self, like):
        return torch.ones_like(like)


def covariances() -> dict:
    root = Rng(1).normal((SIZE, SIZE), like=LIKE)
    dense = dense_covariance(root @ root.T / SIZE)
    power = torch.fft.fftn(Rng(2).normal(SPEC.shape, like=LIKE), dim=(-2, -1)).abs() ** 2
    return {
        "dense": dense,
        "low rank": LowRankCovariance(dense.eigenvectors[-10:], dense.eigenvalues[-10:], 0.05),
        "diagonal": DiagonalCovariance(Rng(3).uniform(SPEC.shape, like=LIKE)),
        "fourier": FourierCovariance(power / power.mean(), 2),
    }


def prior(covariance, dtype=torch.float64, steps: int = 20):
    return plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(SPEC.shape, dtype=dtype), covariance), SPEC, steps=steps)


def readings(**arguments) -> Observation:
    sensors = Sensors(SPEC, POINTS, **arguments)
    y = Rng(4).normal(tuple(sensors(torch.zeros(1, *SPEC.shape)).shape[1:]), like=LIKE)
    y[0, 0, 0] = torch.nan
    return Observation(sensors, y, std=0.3)


@pytest.mark.parametrize("name", covariances())
@pytest.mark.parametrize("t", [0.9, 0.5, 0.1])
def test_matrix_and_matrix_free_agree(name, t) -> None:
    c = covariances()[name]
    mean = Observation(MatrixOperator(torch.full((1, *SPEC.shape), 1 / SIZE).double()), 0.2, std=0.05)
    posterior = Posterior(prior(c), (readings(names=("u",)), mean))
    x_t = Rng(5).normal((3, *SPEC.shape), like=LIKE)
    results = [GuidedDenoiser(posterior, c, matrix=m, tolerance=1e-12)(x_t, torch.tensor(t)) for m in (True, False)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-9)


def test_a_step_is_the_formula_with_every_matrix_written_out() -> None:
    c = covariances()["dense"]
    posterior = Posterior(prior(c), readings())
    x_t, t = Rng(5).normal((2, *SPEC.shape), like=LIKE), torch.tensor(0.5)
    sigma = EDMSchedule().sigma(t)
    dense = c(torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SPEC.shape)).flatten(1)
    spread = torch.linalg.inv(torch.linalg.inv(dense) + torch.eye(SIZE, dtype=torch.float64) / sigma**2)
    o = posterior.observations[0]
    seen = o.y.isfinite().flatten()
    h = o.operator(torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SPEC.shape)).flatten(1).T[seen]
    mean = posterior.prior.denoiser(x_t, t)
    gain = spread @ h.T @ torch.linalg.inv(h @ spread @ h.T + 0.09 * torch.eye(len(h), dtype=torch.float64))
    expected = mean.flatten(1) + (o.y.flatten()[seen] - mean.flatten(1) @ h.T) @ gain.T
    torch.testing.assert_close(GuidedDenoiser(posterior, c)(x_t, t).flatten(1), expected, rtol=0, atol=1e-10)


def test_times_of_its_own_for_each_sample() -> None:
    c = covariances()["dense"]
    guided = GuidedDenoiser(Posterior(prior(c), readings()), c)
    x_t, times = Rng(5).normal((3, *SPEC.shape), like=LIKE), torch.tensor([0.8, 0.3, 0.3])
    each = torch.cat([guided(x[None], t) for x, t in zip(x_t, times, strict=True)])
    torch.testing.assert_close(guided(x_t, times), each, rtol=0, atol=1e-12)
    torch.testing.assert_close(guided(x_t, torch.full((3,), 0.3))[1:], each[1:], rtol=0, atol=1e-12)


def test_what_is_affine_is_found_by_trying() -> None:
    c = covariances()["dense"]
    assert GuidedDenoiser(Posterior(prior(c), readings()), c)._matrix is not None
    assert GuidedDenoiser(Posterior(prior(c), (readings(), Observation(Square(), 0.1, std=1.0))), c)._matrix is None


def test_nonlinear_readings_move_the_posterior_towards_them() -> None:
    c = covariances()["dense"]
    law = Observation(Square(), 0.4, std=0.05)
    free = prior(c).sample(16, rng=Rng(0))
    ensemble = Guided(steps=30).sample(Posterior(prior(c), law), 16, rng=Rng(0))
    # prior draws miss by many standard deviations; |x| = 2 lies within the prior's reach for most values
    assert float(law.residual(free).square().mean()) > 4 * float(law.residual(ensemble.members).square().mean())
    assert 0 < float(ensemble.info["solve_error"]) < 1e-3


@pytest.mark.parametrize("sampler", [Heun(), DDIM(), DDPM()], ids=lambda s: type(s).__name__)
def test_draws_do_not_depend_on_the_batch(sampler) -> None:
    posterior = Posterior(prior(covariances()["dense"]), readings())
    whole, parts = (Guided(sampler, 8, max_batch=b).sample(posterior, 5, rng=Rng(1)) for b in (5, 2))
    if not isinstance(sampler, DDPM):  # its own noise is keyed by batch
        torch.testing.assert_close(whole.members, parts.members, rtol=0, atol=1e-9)
    assert whole.info["nfe"] == parts.info["nfe"] == (15 if isinstance(sampler, Heun) else 8)
    assert whole.members.shape == (5, *SPEC.shape) and whole.equally_weighted and whole.info["misfit"].shape == (5,)


class Seen(Denoiser):
    """A denoiser that remembers the times it was asked at."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner, self.schedule, self.times = inner, inner.schedule, []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.times.append(float(t))
        return self.inner(x_t, t, cond)


def test_the_samplers_own_grid_is_walked() -> None:
    c, fixed = covariances()["dense"], FixedGrid(DDIM(), torch.tensor([1.0, 0.6, 0.3, 0.1, 0.0]).double())
    base = GaussianDenoiser(EDMSchedule(), torch.zeros(SPEC.shape).double(), c)
    angle = ExactLinear(base=base)
    for own, steps, wanted in (
        (fixed, 4, fixed.times[:-1]),
        (fixed, 3, DDIM().grid(base, 3)[:-1]),  # another number of steps: the inner sampler's own
        (FixedGrid(angle, fixed.times), 4, DPMSolver2M().grid(base, 4)[:-1]),  # neither its linear part nor its grid is that of the posterior
    ):
        seen = Seen(base)
        Guided(steps=steps, covariance=c).sample(Posterior(plain_prior(seen, SPEC, sampler=own, steps=4), readings()), 1, rng=Rng(0))
        assert seen.times[-steps:] == pytest.approx(wanted.tolist(), rel=1e-12)
    seen = Seen(base)
    Guided(angle, 5, c).sample(Posterior(plain_prior(seen, SPEC), readings()), 1, rng=Rng(0))
    assert seen.times[-5:] == pytest.approx(angle.grid(base, 5)[:-1].tolist(), rel=1e-12)


def test_float32_follows_float64() -> None:
    c = covariances()["dense"]
    single = LowRankCovariance(c.eigenvectors.float(), c.eigenvalues.float())
    priors = prior(c), prior(single, torch.float32)
    wide, narrow = (Guided().sample(Posterior(p, readings()), 64, rng=Rng(2)).members for p in priors)
    assert wide.dtype == torch.float64 and narrow.dtype == torch.float32
    # other numbers are drawn, the law is the same: means of 64 draws differ by some 0.18 standard deviations
    z = (wide.mean(0) - narrow.mean(0)) / (wide.std(0) * math.sqrt(2 / 64))
    assert float(z.square().mean()) < 2


def test_masked_cells_come_out_missing() -> None:
    mask = torch.ones(SPEC.grid.shape, dtype=torch.bool)
    mask[0, 0] = False
    spec = FieldSpec(SPEC.names, SPEC.units, SPEC.grid, SPEC.dt, SPEC.frames, mask)
    ones = torch.ones(spec.shape)
    posterior = Posterior(
        plain_prior(GaussianDenoiser(EDMSchedule(), 0 * ones, DiagonalCovariance(ones)), spec, steps=4),
        Observation(Sensors(spec, torch.tensor([[1.0, 0.5]])), 0.0, std=1.0),
    )
    members = Guided().sample(posterior, 3, rng=Rng(0)).members
    assert torch.equal(members.isnan(), ~mask.expand_as(members))


class Given(Denoiser):
    """Standard normal coefficients around the first channel of the encoded condition."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = EDMSchedule()

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None
        variance = self.schedule.sigma(t) ** 2
        return (x_t + variance * cond[:, :1]) / (1 + variance)


def test_a_condition_reaches_the_denoiser_and_known_entries_stay() -> None:
    spec = FieldSpec(("u",), ("K",), SPEC.grid, 1.0, 2)
    cond_spec = FieldSpec(("u", "known"), ("K", "1"), SPEC.grid, 1.0, 2)
    conditional = DiffusionPrior(
        Given().double(), Normalizer((), torch.zeros(()).double(), torch.ones(()).double()), spec,
        sampler=Heun(), steps=20, cond_spec=cond_spec,
        cond_transform=ConditionTransform(1, mean=torch.zeros(2, 1, 1, 1), std=torch.ones(2, 1, 1, 1)),
    )  # fmt: skip
    values = Rng(6).normal((1, 1, 2, 4, 6), like=torch.zeros(()))
    known = torch.zeros_like(values)
    known[:, :, 0] = 1
    sensors = Sensors(spec, POINTS)
    y = sensors(values)[0].clone()
    y[0, 1] += 1
    posterior = Posterior(conditional, Observation(sensors, y, std=1e-3), torch.cat([values, known], 1))
    members = Guided().sample(posterior, 200, rng=Rng(1)).members
    assert torch.equal(members[:, :, 0], values[:, :, 0].expand(200, 1, 4, 6))
    # far from the sensors the draws are around the encoded condition: 4 standard errors of a mean of 200
    far = (sensors.adjoint(torch.ones(1, 1, 2, 3))[0, 0, 1] == 0).nonzero()
    centre = conditional.encode_cond(posterior.completed)[0, 0, 1]
    off = members[:, 0, 1].mean(0) - centre
    assert float(off[far[:, 0], far[:, 1]].abs().max()) < 4 / math.sqrt(200) + 0.02
    torch.testing.assert_close(sensors(members)[:, 0, 1], y[0, 1].expand(200, 3), rtol=0, atol=0.01)


def test_which_covariance_is_the_priors() -> None:
    c = covariances()["dense"]
    base = GaussianDenoiser(EDMSchedule(), torch.zeros(SPEC.shape).double(), c)
    net = UNet(2, 2, ndim=3, width=8)
    unit = torch.ones(1, *SPEC.shape, dtype=torch.float64)
    for denoiser, expected in (
        (base, c(unit)),
        (PreconditionedDenoiser(net, EDMSchedule(), base=base), c(unit)),
        (PreconditionedDenoiser(net, EDMSchedule(), 0.5), unit / 4),
        (MixtureDenoiser(EDMSchedule(), torch.ones(1), torch.zeros(1, *SPEC.shape), stds=torch.ones(1)), unit),
        # two points at -2 and 2 of every entry: variance 4 along the diagonal, where `unit` lies, of each of SIZE entries
        (MixtureDenoiser(EDMSchedule(), torch.ones(2), torch.stack([-2 * unit[0], 2 * unit[0]]), stds=torch.zeros(2)), 4 * SIZE * unit),
    ):
        posterior = Posterior(plain_prior(denoiser, SPEC), readings())
        torch.testing.assert_close(prior_covariance(posterior)(unit), expected)


def test_a_network_in_float32_is_guided() -> None:
    torch.manual_seed(0)
    denoiser = PreconditionedDenoiser(UNet(2, 2, ndim=3, width=8), EDMSchedule())
    ensemble = Guided(steps=20).sample(Posterior(plain_prior(denoiser, SPEC), readings()), 3, rng=Rng(0))
    assert ensemble.members.dtype == torch.float32
    # the last step ends on the readings: C = I lets every value follow its own sensor
    assert float(ensemble.info["misfit"].mean()) < 3


def test_readings_in_another_unit_are_refused() -> None:
    celsius, std = torch.full((3,), 10.0).double(), torch.full((3,), 0.3).double()
    target = GaussianTarget(torch.full((8,), 283.0).double(), ar1_covariance(8, 0.9), torch.eye(8).double()[:3], celsius, std)
    with pytest.raises(InputError, match=r"readings in the prior's units \(u0 in 1\), got some 2\d\d prior standard deviations off; convert them"):
        Guided().sample(target.posterior(), 2, rng=Rng(0))


class Broken(Denoiser):
    """Finite coefficients so large that decoding overflows."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = EDMSchedule()

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.full_like(x_t, 3e38)


def test_worded_errors() -> None:
    c = covariances()["dense"]
    with pytest.raises(InputError, match="expected Gaussian noise on every observation"):
        Guided().sample(Posterior(prior(c), Observation(Sensors(SPEC, POINTS), 0.0, noise=Laplace())), 2, rng=Rng(0))
    with pytest.raises(InputError, match="expected n >= 1 members, got 0"):
        Guided().sample(Posterior(prior(c), readings()), 0, rng=Rng(0))
    with pytest.raises(ShapeError, match="DiagonalCovariance: expected vectors"):
        Guided(covariance=DiagonalCovariance(torch.ones(3, 3))).sample(Posterior(prior(c), readings()), 2, rng=Rng(0))
    overflow = plain_prior(Broken(), SPEC)
    overflow.transform = Normalizer((), torch.zeros(()), torch.tensor(2.0))
    with pytest.raises(Diverged, match="is not finite"):
        Guided(steps=3).sample(Posterior(overflow, readings()), 2, rng=Rng(0))


class BlackBox(Operator):
    """Readings that torch cannot look through."""

    def __init__(self, power: int) -> None:
        self.power = power

    def __call__(self, x: Tensor) -> Tensor:
        return x.detach() ** self.power


@pytest.mark.parametrize("power", [1, 2], ids=["linear", "not linear"])
def test_a_black_box_is_refused(power) -> None:
    """A linear one too: its matrix by derivatives would be zero, and guidance would leave the prior as it is."""
    posterior = Posterior(prior(covariances()["dense"]), Observation(BlackBox(power), 0.1, std=0.3))
    with pytest.raises(InputError, match="expected operators that torch can differentiate, got a black box"):
        Guided(steps=2).sample(posterior, 1, rng=Rng(0))
