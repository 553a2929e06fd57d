"""Numbers of every family are those that are stored; `make baselines REASON="..."` renews them and keeps the reason.

A change of a number is no error by itself: it says that users get other numbers, which has to be meant and told.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
from pathlib import Path

import pytest

from tests.baselines.families import FAMILIES

STORED = Path(__file__).with_name("numbers.json")
# float32 networks sum in another order on another processor; draws pass some of that on. Gauss-Newton
# steps magnify rounding by the condition of their matrix. All else is float64.
TOLERANCE = {"networks": 1e-4, "posteriors": 1e-4, "pinns": 1e-5}


def read() -> dict[str, object]:
    return json.loads(STORED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_numbers_are_those_stored(family: str) -> None:
    stored, found = read()["numbers"][family], FAMILIES[family]()
    assert stored.keys() == found.keys(), 'say make baselines REASON="..."'
    for name, value in found.items():
        assert value == pytest.approx(stored[name], rel=TOLERANCE.get(family, 1e-7)), f'{family}, {name}: if meant, make baselines REASON="..."'


def test_every_renewal_has_a_reason() -> None:
    stored = read()
    assert stored["numbers"].keys() == FAMILIES.keys() and stored["reasons"]
    assert all(entry["reason"].strip() and entry["date"] for entry in stored["reasons"])
    assert all(math.isfinite(v) for numbers in stored["numbers"].values() for v in numbers.values())


def renew(reason: str) -> None:
    """Write all numbers, and which changed, with the reason."""
    if len(reason.split()) < 2:
        raise SystemExit('baselines: expected a reason in words: make baselines REASON="the default wavelet is db4 now"')
    old = read() if STORED.exists() else {"numbers": {}, "reasons": []}
    new = {family: make() for family, make in FAMILIES.items()}
    changed = sorted(f"{f}.{n}" for f, values in new.items() for n, v in values.items() if old["numbers"].get(f, {}).get(n) != v)
    entry = {"date": datetime.date.today().isoformat(), "reason": reason, "changed": changed}
    STORED.write_text(json.dumps({"numbers": new, "reasons": [*old["reasons"], entry]}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(changed)} numbers renewed: {', '.join(changed)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("reason")
    renew(parser.parse_args().reason)
