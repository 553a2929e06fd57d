"""The pictures of docs/laws.md, one per family of laws, each from a solver of this package.

    python docs/images/make_law_pictures.py                 # all, some minutes
    python docs/images/make_law_pictures.py --only burgers --out docs/images

Where an exact solution is known it is drawn beside the solver's, and the largest difference stands in the title.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from law_pictures.flows import cavity, convection, inverse_cascade, turbulence
from law_pictures.lines import burgers, fokker_planck, lorenz, waves
from law_pictures.plane import patterns, porous, transport, underground
from law_pictures.shocks import gas, shallow_water
from law_pictures.smoke import smoke
from law_pictures.sphere import sphere
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["PICTURES", "main"]

PICTURES: dict[str, Callable[[], Figure]] = {
    "transport": transport,
    "burgers": burgers,
    "waves": waves,
    "fokker_planck": fokker_planck,
    "patterns": patterns,
    "lorenz": lorenz,
    "turbulence": turbulence,
    "inverse_cascade": inverse_cascade,
    "cavity": cavity,
    "convection": convection,
    "smoke": smoke,
    "gas": gas,
    "shallow_water": shallow_water,
    "sphere": sphere,
    "porous": porous,
    "underground": underground,
}


def main(argv: list[str] | None = None) -> None:
    """Read the arguments, draw, write the pictures."""
    parser = argparse.ArgumentParser(description="The pictures of docs/laws.md.")
    parser.add_argument("--only", nargs="*", choices=sorted(PICTURES), help="names of pictures; all if not given")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder to write to")
    options = parser.parse_args(argv)
    mpl.use("Agg")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or PICTURES:
        began = time.process_time()
        path = options.out / f"law_{name}.png"
        PICTURES[name]().savefig(path, dpi=100)
        with Image.open(path) as drawn:
            fewer = drawn.convert("RGB").quantize(128)
        fewer.save(path, optimize=True)  # 128 colours: maps in a third of the bytes
        print(f"wrote {path} ({path.stat().st_size // 1024} kB) in {time.process_time() - began:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
