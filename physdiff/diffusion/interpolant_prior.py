r"""A prior that carries a base to the data: today's state, or a first guess, to tomorrow's.

The base of a window is what the transform makes of the completed condition window (unknown frames filled with the last known one: persistence),
or the centre of the coefficients (the first guess, where the transform subtracts one). Given the known frames the base is a point, and the noise
at the beginning and on the way makes the ensemble. Forecasts, scores and files are those of every prior; a posterior is refused by type, for
the state on the way is no noised sample.
"""

from __future__ import annotations

from torch import Tensor, nn

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.interpolant import Drift
from physdiff.diffusion.interpolant_sampler import DriftSampler, InterpolantSampler
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Transform

__all__ = ["InterpolantPrior"]


class InterpolantPrior(WindowPrior):
    """A distribution over windows (C, T, *S), drawn by a stochastic interpolant.

    Args:
        drift: The two means on coefficients.
        transform: Between physical windows and coefficients, fitted.
        spec: Names, units, grid, time step and number of frames of the windows.
        sampler: How it is walked: `InterpolantSampler`, whose noise may be changed after training (`match_spread`), or `BridgeSampler`.
        cond_transform: How a condition window is completed and encoded.
        cond_spec: Names and units of the condition window.
        start: "persistence": the completed condition window, encoded; "centre": zero coefficients; "noise": for a one-sided path.

    Raises:
        InputError: If the path and the start do not fit, or persistence has no condition.
    """

    def __init__(
        self,
        drift: Drift,
        transform: Transform,
        spec: FieldSpec,
        *,
        sampler: DriftSampler,
        cond_transform: ConditionTransform | None = None,
        cond_spec: FieldSpec | None = None,
        start: str = "persistence",
    ) -> None:
        super().__init__()
        check_one_of(start, ("persistence", "centre", "noise"), "InterpolantPrior start")
        self.drift, self.transform, self.cond_transform = drift, transform, cond_transform
        self.spec, self.cond_spec, self.sampler, self.start = spec, cond_spec, sampler, start
        self.steps = sampler.evaluations()
        self._check_parts()
        if (start == "noise") == drift.interpolant.two_sided:
            raise InputError(f"InterpolantPrior: expected start 'noise' for the one-sided path alone, got {start!r} on {drift.interpolant.path!r}")
        if start == "persistence" and cond_spec is None:
            raise InputError("InterpolantPrior: expected a condition with the known frames for start 'persistence', got none; take 'centre'")
        if start == "centre" and drift.interpolant.gamma == "none":
            raise InputError("InterpolantPrior: expected a path with noise for start 'centre', got gamma 'none': all draws would be one")

    @property
    def model(self) -> nn.Module:
        """The drift."""
        return self.drift

    def base(self, completed: Tensor | None) -> Tensor | None:
        """Coefficients of the base (B or 1, C', T', *S'); None where the path starts from noise."""
        if self.start == "persistence" and completed is not None:
            return self.encode(completed[:, : len(self.spec.names)], completed)
        if self.start == "centre":
            return self._state().new_zeros(1, *self.latent_shape)
        return None

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """Coefficients from the base, see `WindowPrior.draw`; the start noise is that of the beginning."""
        base = self.base(completed)
        x = noise if base is None else base.to(noise).expand_as(noise).contiguous()
        first = None if base is None else noise
        return self.sampler.run(self.drift, x, cond=self.encode_cond(completed), rng=rng, first=first)

    def with_noise(self, noise: float) -> InterpolantPrior:
        """The same prior with another size of the noise on the way.

        Raises:
            InputError: If it is not walked by an `InterpolantSampler`.
        """
        old = self.sampler
        if not isinstance(old, InterpolantSampler):
            raise InputError(f"with_noise: expected an InterpolantSampler, got {type(old).__name__}; with_sampler puts one in")
        return self.with_sampler(InterpolantSampler(old.steps, noise, shape=old.shape, cut=old.cut))

    def with_sampler(self, sampler: DriftSampler) -> InterpolantPrior:
        """The same prior, parts shared, walked otherwise."""
        return InterpolantPrior(
            self.drift,
            self.transform,
            self.spec,
            sampler=sampler,
            cond_transform=self.cond_transform,
            cond_spec=self.cond_spec,
            start=self.start,
        ).eval()
