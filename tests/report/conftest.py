"""One browser for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.report.browser import started


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A driver of headless Chromium."""
    driver = started()
    yield driver
    driver.quit()
