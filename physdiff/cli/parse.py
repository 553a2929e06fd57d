"""From a verb's typed function to its options."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from physdiff.base.errors import InputError, PhysdiffError

__all__ = ["command_line", "parsed"]

_POSITIONAL = {"inspect": "path"}


def parsed(verb: str, arguments: Sequence[str]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of a verb and its arguments, built.

    Raises:
        InputError: If an option is unknown, missing, or of another type.
    """
    function = getattr(importlib.import_module(f"physdiff.cli.{verb}"), verb)
    parser = ArgumentParser(prog=f"physdiff {verb}", description=(function.__doc__ or "").split("\n\n")[0], exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the options")
    positional = verb in _POSITIONAL
    parser.add_function_arguments(function, as_positional=positional, fail_untyped=True)
    try:
        config = parser.parse_args(list(arguments))
        return function, _plain(parser.instantiate(config))
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error


def _plain(namespace: Any) -> dict[str, Any]:  # noqa: ANN401 - jsonargparse's Namespace
    return {k: v for k, v in vars(namespace).items() if k not in ("config", "print_config")}


def command_line() -> str:
    """The command as typed, for the history of files."""
    return shlex.join(["physdiff", *sys.argv[1:]])
