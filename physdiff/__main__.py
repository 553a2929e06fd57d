"""``python -m physdiff`` is the command ``physdiff``."""

from __future__ import annotations

import sys

from physdiff.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
