"""Training data from a law: many trajectories of one solver as a CF data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.timeline import time_axis
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.solvers.initial import RandomField, initial_fields
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper

__all__ = ["Generated", "generate"]
