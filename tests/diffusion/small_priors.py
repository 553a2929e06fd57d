"""A forecaster and a diffusion prior of two known frames and two coming ones on 4 x 5 points, and data for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.data.convert import to_dataset
from physdiff.data.windows import condition, condition_spec
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.normalizer import Normalizer

HISTORY, HORIZON = 2, 2
GRID = CartesianGrid((4, 5), extent=(4.0, 5.0), periodic=True)
SPEC = FieldSpec(("c",), ("K",), GRID, 1.0, frames=HISTORY + HORIZON, time_unit="1")


class Cells(Saved, nn.Module):
    """A network of each cell, with dropout in its middle; noise is not looked at."""

    def __init__(self, inputs: int, outputs: int, width: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.ndim = 2
        self.first, self.last = nn.Conv2d(inputs, width, 1), nn.Conv2d(width, outputs, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, noise=None):
        return self.last(self.dropout(torch.tanh(self.first(x))))


def parts(std=1.0):
    one = torch.ones(1, 1, 1, 1)
    frames = Compose((DropHistory(HISTORY), Normalizer(("channel",), mean=0 * one, std=std * one), FramesToChannels(HORIZON)))
    cond = ConditionTransform(1, history=HISTORY, mean=0 * one, std=one)
    return frames, {"cond_transform": cond, "cond_spec": condition_spec(SPEC, history=HISTORY)}


def forecaster(*, seed=0, width=4, dropout=0.0, std=1.0):
    transform, cond = parts(std)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Forecaster(Cells(inputs(cond), HORIZON, width, dropout), transform, SPEC, **cond).eval()


def diffusing(*, seed=0):
    transform, cond = parts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Cells(HORIZON + inputs(cond), HORIZON)
    return DiffusionPrior(PreconditionedDenoiser(net, EDMSchedule()), transform, SPEC, sampler=DDPM(), steps=4, **cond).eval()


def inputs(cond):
    return cond["cond_transform"].out_shape((len(cond["cond_spec"].names), SPEC.frames, *GRID.shape))[0]


def condition_windows(count):
    x = Rng(3).normal((count, 1, HISTORY, 4, 5))
    unknown = x.new_full((count, 1, HORIZON, 4, 5), torch.nan)
    return condition(SPEC, condition_spec(SPEC, history=HISTORY).names, torch.cat([x, unknown], 2))


def series(frames=6, samples=None):
    shape = (1 if samples is None else samples, 1, frames, 4, 5)
    x = Rng(4).normal(shape)
    spec = SPEC.with_frames(1)
    return to_dataset(x if samples else x[0], spec, np.arange(float(frames)), **({"batch": "sample"} if samples else {}))
