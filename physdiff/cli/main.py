"""The command ``physdiff``: one typed function per verb, each in the file of its name.

The parser of a verb is made from its function's signature (jsonargparse), so that every option has a type, a default and a help text, and
may come from a YAML file (``--config``; ``--print_config`` writes one). Nothing heavy is imported before the verb is known.

Exit codes: 0 done; 2 the command or its input is wrong (one sentence, no traceback); 1 a bug (with traceback); 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

VERBS = {
    "inspect": "what a file holds and what physdiff will do with it",
    "generate": "training data from a law and a solver",
    "fit": "train a prior on trajectories",
    "forecast": "an ensemble forecast from a prior",
    "infer": "fields from sparse sensors and a prior",
    "evaluate": "scores of a forecast against truth and baselines, and a report",
    "demo": "the whole chain on generated data, in minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    # before torch is loaded: spinning OpenMP threads make shared cores 30 to 50 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from physdiff import __version__

        print(f"physdiff {__version__}")
        return 0
    return _run(arguments[0], arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    from physdiff.base.errors import PhysdiffError

    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, n=1)
        print(f"physdiff: expected one of {', '.join(VERBS)}; got {verb!r}{f'; did you mean {near[0]}?' if near else ''}", file=sys.stderr)
        return 2
    from physdiff.cli.parse import parsed

    try:
        function, options = parsed(verb, arguments)
        function(**options)
    except PhysdiffError as error:
        print(f"physdiff {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"physdiff {verb}: interrupted; run the same command again to go on where it can", file=sys.stderr)
        return 130
    return 0


def _help() -> str:
    lines = ["usage: physdiff VERB [options]        (physdiff VERB --help tells the options)", ""]
    lines += [f"  {verb:10} {what}" for verb, what in VERBS.items()]
    lines += ["", "Every verb takes --config FILE.yaml and prints all its settings with --print_config."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
