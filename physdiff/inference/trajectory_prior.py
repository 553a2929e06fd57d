r"""Long trajectories from a prior of short windows: the score of a chain composed of the scores of its windows.

A frame of a trajectory depends on the frames near it. Its component of the score of a noised trajectory $x_{1:L}$ is taken from the window centred
on it, $\nabla_{x_i} \log p(x_{1:L}) \approx \nabla_{x_i} \log p(x_{i-k:i+k})$; the first and last frames from the first and last window. Scores and
posterior means are the same up to factors of the level, so that windows of denoised frames are put together. Exact where one window covers all, and
for chains of Markov order k as the noise vanishes; in between noise couples frames beyond a window: for AR(1) of correlation 0.9 the composed score
is off by 0.31, 0.18, 0.06 and 0.01 of its size at k = 1, 2, 4, 8 where noise and signal are equal. Langevin corrections (`LangevinCorrected`) lead
particles back to the law that the composed score has at low noise. Reference: Rozet and Louppe, Score-based data assimilation, 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.langevin import LangevinCorrected
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import FramesToChannels
from physdiff.transforms.transform import Transform

__all__ = ["ComposedDenoiser", "trajectory_prior"]


class ComposedDenoiser(Denoiser):
    """E[x_0 | x_t] of trajectories (B, C, L, *S), composed of that of windows of W frames.

    Args:
        window: Denoiser of windows (B, C, W, *S), or (B, C W, 1, *S) if `folded`.
        width: W, at least 1.
        folded: Whether the window's denoiser has the frames among its channels (see `FramesToChannels`).
        max_batch: Number of windows that go through the network at once.

    Raises:
        InputError: If the width is below one.
    """

    def __init__(self, window: Denoiser, width: int, *, folded: bool = False, max_batch: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"ComposedDenoiser: expected a width of 1 or more frames, got {width}")
        self.window, self.width, self.folded, self.max_batch = window, width, folded, max_batch
        self.schedule = window.schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See Denoiser.forward; trajectories of W frames or more, without a condition.

        Raises:
            ShapeError: If a trajectory is shorter than a window.
            InputError: If there is a condition.
        """
        batch, length, width = x_t.shape[0], x_t.shape[2], self.width
        if length < width:
            raise ShapeError(f"ComposedDenoiser: expected trajectories of {width} frames or more, got {length}")
        if cond is not None:
            raise InputError("ComposedDenoiser: expected no condition, got one; compose a prior without")
        count = length - width + 1
        windows = torch.stack([x_t[:, :, i : i + width] for i in range(count)], 1).flatten(0, 1)
        times = torch.as_tensor(t).expand(batch).repeat_interleave(count)
        parts = [self._denoised(x, s) for x, s in zip(windows.split(self.max_batch), times.split(self.max_batch), strict=True)]
        means = torch.cat(parts).unflatten(0, (batch, count))
        centre = width // 2
        first, last = means[:, 0, :, :centre], means[:, -1, :, centre + 1 :]
        return torch.cat([first, means[:, :, :, centre].movedim(1, 2), last], 2)

    def _denoised(self, x: Tensor, t: Tensor) -> Tensor:
        if not self.folded:
            return self.window(x, t)
        return self.window(x.flatten(1, 2).unsqueeze(2), t).reshape(x.shape)


def trajectory_prior(prior: DiffusionPrior, frames: int, *, sampler: Sampler | None = None, steps: int | None = None) -> DiffusionPrior:
    """The prior of long trajectories made of one of windows; every posterior sampler takes it.

    Args:
        prior: Prior of windows without a condition, whose transform treats every frame alike (normaliser of one mean for all frames, anomalies
            from one field, frames to channels).
        frames: Length of the trajectories, at least that of the windows; odd windows have as many frames before as after the centre.
        sampler: Heun with two Langevin corrections that renew a tenth of the noise after each step, if None.
        steps: Number of its steps; the prior's own if None.

    Raises:
        InputError: If the prior has a condition (known frames: assimilate them one window after the other), the trajectory is shorter than a
            window, or the transform treats frames differently.
    """
    width = prior.spec.frames
    if prior.cond_spec is not None:
        names = ", ".join(prior.cond_spec.names)
        raise InputError(
            f"trajectory_prior: expected a prior of windows without a condition, got one given {names}; assimilate goes window by window"
        )
    if frames < width:
        raise InputError(f"trajectory_prior: expected at least the {width} frames of a window, got {frames}")
    parts = list(prior.transform) if isinstance(prior.transform, Compose) else [prior.transform]
    folded = isinstance(parts[-1], FramesToChannels)
    each: Transform = Compose(tuple(parts[:-1] if folded else parts))
    _check_frame_by_frame(each, prior)
    denoiser = ComposedDenoiser(prior.denoiser, width, folded=folded)
    chosen = sampler or LangevinCorrected(Heun(), 2, size=0.1)
    return DiffusionPrior(denoiser, each, prior.spec.with_frames(frames), sampler=chosen, steps=steps or prior.steps)


def _check_frame_by_frame(transform: Transform, prior: DiffusionPrior) -> None:
    x = prior.centre(None, like=Rng(0).normal((1,)))
    x = x + Rng(0).child("frames").normal(x.shape, like=x) * x.abs().mean().clamp_min(1)
    try:
        whole = transform.encode(x)
        single = torch.cat([transform.encode(frame) for frame in x.split(1, 2)], 2)
    except RuntimeError:
        single = whole = x.new_zeros(0)
    if not whole.numel() or whole.shape != single.shape or whole.shape[2] != x.shape[2] or not torch.allclose(whole, single, rtol=1e-4, atol=1e-4):
        raise InputError("trajectory_prior: expected a transform that treats all frames alike; build one with Normalizer(('channel',)) and pixels")
