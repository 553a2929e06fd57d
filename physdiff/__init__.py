"""physdiff: physics-informed diffusion surrogates for gridded trajectories.

A law is written once and serves the solver, the grid residual, the PINN and the guidance of a posterior sampler; a prior is trained once and
serves forecast, gap filling and inversion. This module is the only door: it holds names, not code, and loads a room when one of its names
is first asked for, so that ``import physdiff`` costs nothing (torch included). Inside the package nobody imports from here.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_DOOR: dict[str, str] = {}


def __dir__() -> list[str]:
    return sorted([*globals(), *_DOOR])


if TYPE_CHECKING:
    pass
else:

    def __getattr__(name):
        """Load the room that defines `name` (PEP 562)."""
        if name not in _DOOR:
            raise AttributeError(f"module 'physdiff' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_DOOR[name]), name)
        return value
