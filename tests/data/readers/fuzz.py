"""Opens and reads every file named on its command line, a line of JSON for each (``python -m tests.data.readers.fuzz files``); a crash ends it."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

from physdiff.base.errors import PhysdiffError
from physdiff.data.open import open_dataset


def probe(path: str) -> dict[str, object]:
    """What became of a file: the sum of its values and how many there are, NaN apart, or the class and sentence of an error."""
    try:
        values = [v.values.astype(np.float64) for v in open_dataset(path).data_vars.values()]
        return {"path": path, "sum": sum(float(np.nansum(v)) for v in values), "count": sum(int(np.isfinite(v).sum()) for v in values)}
    except PhysdiffError as error:
        return {"path": path, "refused": str(error)[:200]}
    except Exception as error:  # what must not be
        return {"path": path, "error": f"{type(error).__name__}: {error}"[:300]}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        print(json.dumps(probe(name)), flush=True)
