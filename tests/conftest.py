"""Device and dtype by option; one thread, repeatable examples, no global state left behind."""

from __future__ import annotations

import os

# Both are read when their package is loaded, so they stand before the imports.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

DTYPES = {"float32": torch.float32, "float64": torch.float64}

hypothesis.settings.register_profile("house", derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the tests that take one (default: cpu)")
    parser.addoption("--dtype", default="float64", choices=sorted(DTYPES), help="likewise (default: float64)")


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> torch.device:
    """The device of ``--device``."""
    return torch.device(pytestconfig.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(pytestconfig: pytest.Config) -> torch.dtype:
    """The dtype of ``--dtype``; a test that proves a law asks for float64 itself."""
    return DTYPES[pytestconfig.getoption("--dtype")]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files beside the repository (``../shared/data``)."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: expected the folder ../shared/data beside the repository")
    return folder


def global_state() -> dict[str, object]:
    """The switches of torch that a function could leave changed for everyone after it."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


@pytest.fixture(autouse=True)
def strict_globals() -> Iterator[None]:
    """Run on one thread, and fail a test that leaves a global switch of torch changed."""
    torch.set_num_threads(1)
    before = global_state()
    yield
    after = global_state()
    torch.set_default_dtype(before["default dtype"])
    torch.set_default_device(None)
    torch.set_grad_enabled(before["gradients"])
    torch.use_deterministic_algorithms(before["deterministic algorithms"])
    torch.set_num_threads(1)
    changed = {k: (before[k], after[k]) for k in before if before[k] != after[k]}
    assert not changed, f"the test left global state changed (before, after): {changed}"
