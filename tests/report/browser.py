"""Pages in headless Chromium with real clicks and keys; skipped, saying so, where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
    "--window-size=1200,900",
)


def started() -> Any:
    """A driver of headless Chromium that keeps what the console says; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'physdiff[dev]'")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


def opened(driver: Any, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> Any:
    """The driver at a page, in a window of this size and light or dark; earlier messages of the console are gone."""
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
    feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [feature]})
    driver.get(path.absolute().as_uri())
    return driver


def complaints(driver: Any) -> list[str]:
    """What the console said since it was asked last."""
    return [entry["message"] for entry in driver.get_log("browser")]
