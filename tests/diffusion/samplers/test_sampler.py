"""What every sampler promises: keys of the noise, shapes, dtypes, gradients, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle
from physdiff.diffusion.samplers.er_sde import ERSDE, ERSDEMultistep
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.genie import GENIE
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.langevin import LangevinCorrected
from physdiff.diffusion.samplers.restart import Restart
from physdiff.diffusion.samplers.sampler import KernelSampler, check_kernel, level_at
from physdiff.diffusion.samplers.sde_single import SDESolverSingle
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VESchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
BASE = GaussianDenoiser(VPSchedule(), torch.full((2, 1, 3), 0.2).double(), DiagonalCovariance(torch.linspace(0.2, 1.4, 6).double().reshape(2, 1, 3)))
STOCHASTIC = {
    "ddim_half": DDIM(0.5),
    "ddpm": DDPM(),
    "churn": Heun(5.0),
    "er": ERSDE(),
    "er_3": ERSDEMultistep(3),
    "sde_2m": ExponentialMultistep(2, noise=1.0),
    "sde_2s": SDESolverSingle(),
    "restart": Restart(low=0.5, high=5.0, repeats=1, steps=1),
    "langevin": LangevinCorrected(DDIM(), 2),
}
DETERMINISTIC = {
    "ddim": DDIM(),
    "heun": Heun(),
    "2m": DPMSolver2M(),
    "single_2": DPMSolverSingle(2),
    "single_3_noise": DPMSolverSingle(3, "noise"),
    "unipc": UniPC(3),
    "multistep_noise": ExponentialMultistep(3, "noise", lower_final=True),
    "deis": ExponentialMultistep(3, "noise", variable="u"),
    "exact_linear": ExactLinear(base=BASE),
    "genie": GENIE(),
}
NAMED = STOCHASTIC | DETERMINISTIC
SAMPLERS, NAMES = list(NAMED.values()), list(NAMED)
KERNELS = {n: s for n, s in NAMED.items() if isinstance(s, KernelSampler)}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=NAMES)


def normal(*shape: int, key: str = "x") -> Tensor:
    return Rng(4).child(key).normal(shape, like=LIKE)


def mixture(schedule=None, shape: tuple[int, ...] = (2, 1, 3)) -> MixtureDenoiser:
    return MixtureDenoiser(schedule or VPSchedule(), torch.ones(2).double(), normal(2, *shape, key="m"), stds=torch.tensor([0.3, 0.6]).double())


class Broken(Denoiser):
    """NaN from its third call on."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.calls = VPSchedule(), 0

    def forward(self, x_t, t, cond=None):
        self.calls += 1
        return x_t * (torch.nan if self.calls > 2 else 0.5)


@every_sampler
def test_a_sample_does_not_depend_on_the_batch(sampler) -> None:
    denoiser, x = mixture(), normal(5, 2, 1, 3)
    times = timesteps(denoiser.schedule, 8)
    whole = sampler.run(denoiser, x, times, rng=Rng(1))
    assert torch.equal(sampler.run(denoiser, x[:2], times, rng=Rng(1)), whole[:2])
    assert torch.equal(sampler.run(denoiser, x, times, rng=Rng(1)), whole)


@every_sampler
def test_other_noise_moves_stochastic_samplers_only(sampler) -> None:
    denoiser, x = mixture(), normal(5, 2, 1, 3)
    times = timesteps(denoiser.schedule, 8)
    same = torch.equal(sampler.run(denoiser, x, times, rng=Rng(1)), sampler.run(denoiser, x, times, rng=Rng(2)))
    assert same == any(sampler is s for s in DETERMINISTIC.values())


@every_sampler
def test_shape_is_a_view(sampler) -> None:
    flat, deep = (2, 1, 3), (1, 2, 3)
    values, x = normal(*flat, key="m"), normal(4, *flat)
    outs = []
    sampler = ExactLinear() if isinstance(sampler, ExactLinear) else sampler  # with the base that has the shape
    for shape in (flat, deep):
        denoiser = GaussianDenoiser(VPSchedule(), values.reshape(shape), DiagonalCovariance(torch.full(shape, 0.3).double()))
        out = sampler.run(denoiser, x.reshape(4, *shape), timesteps(VPSchedule(), 6), rng=Rng(1))
        outs.append(out.flatten(1))
    # the modes of a base are summed in the same order too
    assert torch.equal(*outs)


@every_sampler
def test_bf16_networks_leave_the_state_in_float32(sampler) -> None:
    class Narrow(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule, self.inner = VPSchedule(), mixture()

        def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            assert x_t.dtype == torch.float32
            return self.inner(x_t, t).bfloat16()

    x, times = normal(3, 2, 1, 3).float(), timesteps(VPSchedule(), 8)
    out = sampler.run(Narrow(), x, times, rng=Rng(1))
    assert out.dtype == torch.float32
    # bf16 has 8 bits: its rounding, 0.4 % of each mean, is not blown up by the steps
    assert torch.allclose(out, sampler.run(mixture(), x, times, rng=Rng(1)), atol=0.15)


@pytest.fixture(scope="module")
def compiled() -> MixtureDenoiser:
    """Traced by torch.compile, once for all samplers; no code is made, which would take a minute and change no number."""
    denoiser = mixture()
    denoiser.compile(backend="eager", dynamic=False)
    return denoiser


@every_sampler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns of torch
def test_a_compiled_denoiser_gives_the_same(sampler, compiled) -> None:
    if isinstance(sampler, GENIE):
        return  # torch's compiler traces no product with a Jacobian
    x, times = normal(3, 2, 1, 3), timesteps(VPSchedule(), 8)
    expected = sampler.run(mixture(), x, times, rng=Rng(1))
    torch.testing.assert_close(sampler.run(compiled, x, times, rng=Rng(1)), expected, rtol=1e-12, atol=1e-12)


@every_sampler
def test_dtype_is_kept_float32_at_least(sampler) -> None:
    denoiser = mixture()
    times = timesteps(denoiser.schedule, 4)
    wide = sampler.run(denoiser, normal(2, 2, 1, 3), times, rng=Rng(1))
    assert wide.dtype == torch.float64
    for dtype in (torch.float32, torch.bfloat16):
        assert sampler.run(denoiser, normal(2, 2, 1, 3).to(dtype), times, rng=Rng(1)).dtype == torch.float32


@every_sampler
def test_gradient_through_all_steps(sampler) -> None:
    denoiser, times = mixture(), timesteps(VPSchedule(), 10)
    x, direction = normal(1, 2, 1, 3).requires_grad_(), normal(1, 2, 1, 3, key="d")

    def out(v: Tensor) -> Tensor:
        return (sampler.run(denoiser, v, times, rng=Rng(1)) * normal(2, 1, 3, key="w")).sum()

    (gradient,) = torch.autograd.grad(out(x), x)
    h = 1e-5
    central = (out(x.detach() + h * direction) - out(x.detach() - h * direction)) / (2 * h)
    assert float((gradient * direction).sum()) == pytest.approx(float(central), rel=1e-6, abs=1e-9)


@every_sampler
def test_shift_and_scale_of_the_data(sampler) -> None:
    scale, shift = 2.5, -1.3
    if isinstance(sampler, ExactLinear | ERSDE | ERSDEMultistep | Restart):
        return  # the base of the first moves with the data (test_exact_linear.py); the others' functions and ranges of u have a unit
    one, means = VESchedule(0.01, 40.0), normal(2, 2, 1, 3, key="m")
    two = VESchedule(0.01 * scale, 40.0 * scale)
    stds = torch.tensor([0.3, 0.6]).double()
    x, times = 40 * normal(3, 2, 1, 3), timesteps(one, 12)
    first = sampler.run(MixtureDenoiser(one, torch.ones(2), means, stds=stds), x, times, rng=Rng(1))
    moved = MixtureDenoiser(two, torch.ones(2), scale * means + shift, stds=scale * stds)
    second = sampler.run(moved, scale * x + shift, times, rng=Rng(1))
    # the last digits of a state of size 100
    assert torch.allclose(second, scale * first + shift, rtol=0, atol=1e-10)


@every_sampler
def test_a_nan_names_the_step(sampler) -> None:
    steps = 3 if isinstance(sampler, Restart) else 6  # it counts within a stretch
    with pytest.raises(Diverged, match=rf"step [123] of {steps} .*entry \(0, 0, 0, 0\)"):
        sampler.run(Broken(), normal(2, 2, 1, 3), timesteps(VPSchedule(), 6), rng=Rng(1))


@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0], [1.0, 0.5, 0.5, 0.0], [1.5, 0.0], [1.0, -0.1]])
def test_times_must_decrease(times: list[float]) -> None:
    with pytest.raises(InputError, match="strictly decreasing"):
        DDIM().run(mixture(), normal(2, 2, 1, 3), torch.tensor(times), rng=Rng(1))


@every_sampler
def test_the_step_to_time_zero_is_the_mean(sampler) -> None:
    for schedule in (VPSchedule(), EDMSchedule(), RectifiedSchedule()):
        denoiser, x = mixture(schedule), normal(3, 2, 1, 3)
        times = torch.tensor([0.4, 0.0], dtype=torch.float64)
        if isinstance(sampler, ExactLinear | Restart) or (isinstance(sampler, Heun) and sampler.churn > 0):
            continue  # the first needs no mean at the end, the second a node between, the third adds noise before
        out = sampler.run(denoiser, x, times, rng=Rng(1))
        assert torch.allclose(out, denoiser(x, times[0]), rtol=1e-13)


@pytest.mark.parametrize("sampler", KERNELS.values(), ids=KERNELS)
def test_run_is_a_walk_of_kernels(sampler) -> None:
    denoiser, x = mixture(), normal(3, 2, 1, 3)
    times = timesteps(denoiser.schedule, 5)
    state = x
    for i in range(5):
        step = sampler.kernel(denoiser.schedule, state, denoiser(state, times[i]), times[i], times[i + 1])
        state = step.mean + step.std * Rng(1).child("step", i).normal_each(range(3), (2, 1, 3), like=x)
    assert torch.allclose(sampler.run(denoiser, x, times, rng=Rng(1)), state, rtol=1e-14)


def test_time_zero_is_clean_on_every_schedule() -> None:
    for schedule in (VPSchedule(), EDMSchedule(), RectifiedSchedule()):
        level = level_at(schedule, torch.tensor([0.0, 0.5]))
        assert (level.alpha[0], level.sigma[0], level.lam[0]) == (1, 0, torch.inf)
        assert float(level.sigma[1]) == float(schedule.sigma(0.5))


@every_sampler
def test_steps_for_a_budget(sampler) -> None:
    class Counting(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule, self.inner, self.calls = VPSchedule(), mixture(), 0

        def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            self.calls += 1
            return self.inner(x_t, t)

    for budget in (7, 12):
        denoiser, steps = Counting(), sampler.steps_for(budget)
        sampler.run(denoiser, normal(1, 2, 1, 3), timesteps(VPSchedule(), steps), rng=Rng(1))
        # the Jacobian-vector product of GENIE is no evaluation of its budget, but a call
        calls = denoiser.calls - (steps - 1) * isinstance(sampler, GENIE)
        assert budget - sampler.evaluations_per_step() < calls <= budget
    with pytest.raises(InputError, match="evaluations, got 0"):
        sampler.steps_for(0)


def test_too_few_evaluations_for_the_order() -> None:
    with pytest.raises(InputError, match="UniPC: expected at least 3 evaluations, got 2"):
        UniPC(3).steps_for(2)


def test_what_needs_a_kernel_says_so() -> None:
    assert isinstance(check_kernel(ERSDE(), "SMC"), ERSDE)
    with pytest.raises(InputError, match="SMC: expected a sampler with a kernel, got Heun"):
        check_kernel(Heun(), "SMC")


def test_saved_and_senseless() -> None:
    with pytest.raises(TypeError, match="too many"):
        DDPM(0.5)
    for sampler in SAMPLERS:
        assert describe(build(describe(sampler))) == describe(sampler)
    for wrong in (lambda: DDIM(1.5), lambda: DDIM(-0.1), lambda: Heun(-1.0), lambda: Heun(1.0, churn_from=2.0, churn_to=1.0)):
        with pytest.raises(InputError, match="expected"):
            wrong()
