"""The command ``physdiff``: one typed function per verb, each in the file of its name.

The parser of a verb is made from its function's signature (jsonargparse), so that every option has a type, a default and a help text, and
may come from a YAML file (``--config``; ``--print_config`` writes one). Nothing heavy is imported before the verb is known.

Exit codes: 0 done; 2 the command or its input is wrong (one sentence, no traceback); 1 a bug (with traceback); 130 interrupted.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from physdiff.cli.memory import keep_freed_memory

__all__ = ["main"]

VERBS = {
    "inspect": "what a file holds and what physdiff will do with it",
    "info": "the card of a prior, a checkpoint or another file that physdiff wrote",
    "convert": "any file to netCDF or Zarr: other chunks, fewer variables, axes that close",
    "generate": "training data from a law and a solver",
    "fit": "train a prior on trajectories",
    "fit-pinn": "a law solved by a network of the coordinates, coefficients from readings",
    "ensemble": "an ensemble of a trained forecast: other trainings, dropout, SWAG, Laplace, chains, perturbed inputs",
    "forecast": "an ensemble forecast from a prior; with --watch, marks members that had not settled",
    "infer": "fields from sparse sensors and a prior",
    "assimilate": "an ensemble forecast corrected by readings, cycle after cycle",
    "evaluate": "scores of a forecast against truth and baselines, and a report",
    "compare": "several evaluated forecasts on one page, the best marked",
    "calibrate": "bands around a forecast that hold the truth with a stated probability",
    "diagnose": "whether a prior can be trusted, and with --sensors a posterior sampler",
    "tune": "the sampler and time grid that a number of evaluations is best spent on",
    "demo": "the whole chain on generated data, in minutes",
}

# what a place to write to may lack: space, or leave
_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)

_STOPPED = 75  # sysexits' "try again": a run that was ended from outside and goes on with the same command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    # before torch is loaded: spinning OpenMP threads make shared cores 30 to 50 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from physdiff import __version__

        print(f"physdiff {__version__}")
        return 0
    if arguments[0] not in VERBS:
        return _unknown(arguments[0])
    keep_freed_memory()
    with _messages():
        return _run(arguments[0], arguments[1:])


def _unknown(verb: str) -> int:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    print(f"physdiff: expected one of {', '.join(VERBS)}; got {verb!r}{f'; did you mean {near[0]}?' if near else ''}", file=sys.stderr)
    return 2


def _run(verb: str, arguments: list[str]) -> int:
    from physdiff.base.errors import PhysdiffError, Stopped

    try:
        from physdiff.cli.parse import parsed

        function, options = parsed(verb, arguments)
        function(**options)
        sys.stdout.flush()
    except PhysdiffError as error:
        print(f"physdiff {verb}: {' '.join(str(error).split()).removeprefix(f'{verb}: ')}", file=sys.stderr)
        return _STOPPED if isinstance(error, Stopped) else 2
    except KeyboardInterrupt:
        return _interrupted(verb)
    except SystemExit as stop:
        # --help and --print_config end so; Lightning turns Ctrl-C into an exit of its own
        if isinstance(stop.__context__, KeyboardInterrupt):
            return _interrupted(verb)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        # the reader (head, less) has gone; nothing more can be printed, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _PLACE:
            raise
        print(f"physdiff {verb}: expected to write {error.filename or 'its output'}, got {error.strerror}; choose another place", file=sys.stderr)
        return 2
    return 0


def _interrupted(verb: str) -> int:
    print(f"physdiff {verb}: interrupted; run the same command again to go on where it can", file=sys.stderr)
    return 130


@contextmanager
def _messages() -> Iterator[None]:
    """What physdiff logs (costs, warnings) goes to the standard error as plain sentences."""
    log, handler = logging.getLogger("physdiff"), logging.StreamHandler(sys.stderr)
    level, onward = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = onward


def _help() -> str:
    lines = ["usage: physdiff VERB [options]        (physdiff VERB --help tells the options)", ""]
    lines += [f"  {verb:10} {what}" for verb, what in VERBS.items()]
    lines += ["", "Every verb takes --config FILE.yaml and prints all its settings with --print_config."]
    lines += ["Classes named there are physdiff's own; --allow-classes takes any, and runs their code."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
