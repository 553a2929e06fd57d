"""Where the command computes: on the accelerator that torch sees, else on the CPU (``CUDA_VISIBLE_DEVICES=`` hides it)."""

from __future__ import annotations

import torch

__all__ = ["best_device"]


def best_device() -> torch.device:
    """The current CUDA device (the first, but under torchrun) if there is one, else the CPU. Noise is drawn on the CPU: results agree to rounding."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
