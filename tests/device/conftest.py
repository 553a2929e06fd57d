"""Tests of this folder need an accelerator; without one they skip, saying so."""

import pytest
import torch


@pytest.fixture
def accelerator() -> torch.device:
    """The first CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip("no accelerator: torch sees no CUDA device")
    return torch.device("cuda", 0)
