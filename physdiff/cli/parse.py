"""From a verb's typed function to its options."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse._common import parsing_settings

from physdiff.base.errors import InputError, PhysdiffError
from physdiff.cli.wording import sentence

__all__ = ["command_line", "parsed"]

_POSITIONAL = {"inspect": "path", "info": "path"}
# a verb whose leading words without an option are a list of this name
_LEADING = {"compare": "runs"}
# a verb that is another function where this option, or one of its group, is given; of several, where all are
_VARIANTS = {
    "generate": {"--recipe": "generate_recipe", "--vary": "generate_varied"},
    "fit": {
        "--coarse": "fit_resolution",
        "--patterns": "fit_patterns",
        "--tasks --transform": "fit_latent_trajectories",
        "--tasks": "fit_trajectories",
        "--plan": "fit_plan",
        "--folds": "fit_folds",
    },
    "forecast": {"--known --steer": "forecast_steered", "--known": "forecast_trajectories", "--watch": "forecast_watched", "--keep": "forecast_kept"},
    "diagnose": {"--sensors": "diagnose_posterior"},
    "infer": {"--law": "infer_law"},
}


# short names of options: the first words of what is typed, and what is meant
_SHORT = {"fit": {"--trainer.": "--training.trainer."}}


_ALLOW = "--allow-classes"
# options without a value that choose a variant
_BARE = ("--plan",)


class _Parser(ArgumentParser):
    """A parser whose help is for a terminal: no marks of code, and the verb's first sentence once."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - as the parent, which differs between versions
        """The help text."""
        text: str = super().format_help(*args, **kwargs).replace("``", "")
        title = (self.description or "").rstrip(".")
        return text.replace(f"\n{title}:\n", "\narguments:\n")


def parsed(verb: str, arguments: Sequence[str]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of a verb and its arguments, built.

    Classes that options or YAML files name are those of physdiff, unless ``--allow-classes`` is among the arguments: to import another one runs its
    code.

    Raises:
        InputError: If an option is unknown, missing, of another type, or names a class of somebody else's.
    """
    allowed, arguments = _ALLOW in arguments, [a for a in arguments if a != _ALLOW]
    if verb in _LEADING and arguments and not arguments[0].startswith("-"):
        count = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
        arguments = [f"--{_LEADING[verb]}={json.dumps(list(arguments[:count]))}", *arguments[count:]]
    for short, meant in _SHORT.get(verb, {}).items():
        arguments = [f"{meant}{a.removeprefix(short)}" if a.startswith(short) else a for a in arguments]
    given = {re.split(r"[.=]", a)[0] for a in arguments} | _in_files(arguments)
    name = next((variant for option, variant in _VARIANTS.get(verb, {}).items() if set(option.split()) <= given), verb.replace("-", "_"))
    lost = [option for option in _BARE if option in given and name != _VARIANTS.get(verb, {}).get(option, name)]
    if lost:  # it would be dropped, and the verb would do more than it was asked for
        other = next(option for option, variant in _VARIANTS[verb].items() if variant == name)
        raise InputError(f"expected {lost[0]} without {other}, of which there is no plan, got both; leave one of them out")
    arguments = [a for a in arguments if a not in _BARE]
    asked = bool({"-h", "--help"} & set(arguments))
    if asked:  # the option that chooses a variant needs no value then
        bare = [a in " ".join(_VARIANTS.get(verb, {})).split() and b.startswith("-") for a, b in zip(arguments, [*arguments[1:], "--"], strict=True)]
        arguments = [a for a, without in zip(arguments, bare, strict=True) if not without]
    function = getattr(importlib.import_module(f"physdiff.cli.{name}"), name)
    summary, *more = (function.__doc__ or "").split("\n\n")
    more = [" ".join(part.split()) for part in more if not part.strip().startswith("Args:")]
    more += _others(verb) if asked and name == verb.replace("-", "_") else []
    positional = verb in _POSITIONAL
    usage = f"physdiff {verb} {f'{_POSITIONAL[verb]} ...' if positional else '--OPTION VALUE ...'}"
    about, end = summary.replace("``", ""), " ".join(more) or None
    parser = _Parser(prog=f"physdiff {verb}", usage=usage, description=about, epilog=end, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the options")
    parser.add_function_arguments(function, as_positional=positional, fail_untyped=True)
    try:
        with _own_classes(allowed):
            config = parser.parse_args(_one_list(arguments) if positional else list(arguments))
            return function, _plain(parser.instantiate(config))
    except PhysdiffError:
        raise
    except (argparse.ArgumentError, TypeError, ValueError, OSError) as error:
        denied = re.search(r"Importing '([\w.]+)' is not allowed", str(error))
        if denied:
            raise InputError(f"expected classes of physdiff, got {denied.group(1)}; {_ALLOW} takes any, and runs their code") from error
        options = [name for action in parser._actions for name in action.option_strings]
        raise InputError(sentence(str(error), function, options)) from error


def _in_files(arguments: Sequence[str]) -> set[str]:
    """Options that the files after ``--config`` give; the parser says what is wrong with a file."""
    found: set[str] = set()
    for a, b in zip(arguments, [*arguments[1:], ""], strict=False):
        path = b if a == "--config" else a.removeprefix("--config=") if a.startswith("--config=") else ""
        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) if path else None
        except (OSError, UnicodeError, yaml.YAMLError):
            continue
        found |= {f"--{key}" for key, value in settings.items() if value is not None} if isinstance(settings, dict) else set()
    return found


def _others(verb: str) -> list[str]:
    """What the verb does with the options that make it another function."""
    found = []
    for option, variant in _VARIANTS.get(verb, {}).items():
        document = getattr(importlib.import_module(f"physdiff.cli.{variant}"), variant).__doc__ or ""
        found.append(f"physdiff {verb} {option} --help: {document.split(chr(10))[0]}")
    return found


@contextmanager
def _own_classes(allowed: bool) -> Iterator[None]:
    """Let the parser import nothing but physdiff's own for a while, or anything; the rules of a program around it come back."""
    before = dict(parsing_settings)
    if not allowed:
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=["physdiff"])
    try:
        yield
    finally:
        parsing_settings.update(before)


def _one_list(arguments: Sequence[str]) -> list[str]:
    """Several files, as a shell makes them of a pattern, as the one list the parser takes."""
    first = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    files = list(arguments[:first])
    return [json.dumps(files), *arguments[first:]] if len(files) > 1 else list(arguments)


def _plain(namespace: Any) -> dict[str, Any]:  # noqa: ANN401 - jsonargparse's Namespace
    return {k: v for k, v in vars(namespace).items() if k not in ("config", "print_config")}


def command_line() -> str:
    """The command as typed, for the history of files."""
    return shlex.join(["physdiff", *sys.argv[1:]])
