"""What the parser finds wrong, in one sentence of the house: expected, got, what to do.

jsonargparse explains itself over many lines that nest option within option. `sentence` finds the option that is meant, what it should be and
what it was. Text it does not know comes out on one line as it is.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

__all__ = ["sentence"]

_KEY = re.compile(r'(?:Parser key|Key) "([^"]+)":?')
_TYPE = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>")
_WANTED = re.compile(r"Expected an? ([^\n]+?)(?:\.? Got value: ([^\n]*))?(?:\. Got value: Namespace.*)?$", re.M)


def sentence(message: str, function: Callable[..., Any], options: Sequence[str]) -> str:
    """One sentence.

    Args:
        message: What jsonargparse says.
        function: The verb's function, whose annotations name the classes there are.
        options: The options there are, as ``--grid.shape``.
    """
    house = re.search(r"^[\s-]*(\S[^\n]*\bexpected [^\n]+, got [^\n]+|\S[^\n]*\bexpected [^\n]+; got [^\n]+)$", message, re.M)
    if house:
        return house.group(1)
    name = _option(message)
    rules: tuple[Callable[[str, str, Callable[..., Any], Sequence[str]], str | None], ...] = (_missing, _unknown, _class, _file, _type)
    found = next((text for rule in rules if (text := rule(message, name, function, options))), None)
    return found or " ".join(f"{name + ': ' if name else ''}{_KEY.sub('', message)}".split())


def _option(message: str) -> str:
    """The option meant, ``--pde.viscosity``; empty if none is named."""
    parts: list[str] = []
    for key in _KEY.findall(message):
        if key not in parts:
            parts.append(key)
    return f"--{'.'.join(parts)}" if parts else ""


def _missing(message: str, name: str, function: Callable[..., Any], options: Sequence[str]) -> str | None:
    match = re.search(r"arguments are required: ([^\n]+)", message)
    if match:
        lacking = [a.strip() for a in match.group(1).split(",")]
        flags = [f"{name}.{a}" if name else f"--{a}" if f"--{a}" in options else a for a in lacking]
        return f"expected {' and '.join(flags)}, got {'none of them' if len(flags) > 1 else 'none'}; --help tells all options"
    match = re.search(r"argument (--[\w.]+)[^\n:]*: expected (one|at least one) argument", message)
    return f"{match.group(1)}: expected a value after it, got none" if match else None


def _unknown(message: str, name: str, function: Callable[..., Any], options: Sequence[str]) -> str | None:
    match = re.search(r"unrecognized arguments: ([^\n]+)", message)
    if match:
        first = match.group(1).split()[0]
        if not first.startswith("-"):
            return f"expected options alone, got {match.group(1)!r}; quote patterns and write lists as '[a, b]'"
        return f"expected options of this verb, got {match.group(1)}; {_near(first.split('=')[0], options)}"
    match = re.search(r"Option '([^']+)' is not accepted", message)
    if match is None:
        return None
    given = f"{name}.{match.group(1)}" if name else f"--{match.group(1)}"
    cls = next((c for c in _classes(function, name) if c.__name__ == _class_path(message)), None)
    own = [] if cls is None else [f"{name}.{p}" for p in inspect.signature(cls).parameters]
    classes = [] if own else [c for c in _classes(function, name) if not inspect.isabstract(c)]
    if not own:
        own = sorted({f"{name}.{p}" for c in classes for p in inspect.signature(c).parameters})
    return f"expected options that there are, got {given}; {_near(given, own or options)}"


def _class(message: str, name: str, function: Callable[..., Any], options: Sequence[str]) -> str | None:
    match = re.search(r"Expected a dot import path string: ([^\n]+)", message)
    if match is None or "Errors:" in message and "Expected a <class 'float'>" in message:
        return None
    classes = _classes(function, name)
    known = [c.__name__ for c in classes if len(classes) == 1 or not c.__subclasses__()]
    given = match.group(1).strip()
    near = difflib.get_close_matches(given, known, n=1)
    what = f"{'one of ' if len(known) > 1 else ''}{', '.join(known)}" if known else "the name of a class"
    return f"{name}: expected {what}, got {given!r}{f'; did you mean {near[0]}?' if near else ''}"


def _file(message: str, name: str, function: Callable[..., Any], options: Sequence[str]) -> str | None:
    remedy = "--print_config > FILE.yaml writes one to begin with"
    match = re.search(r"(File does not exist|Path is not a file|not readable)[^:]*: '?([^'\n]+)'?", message)
    if match:
        return f"{name or '--config'}: expected a YAML file, got {match.group(2)}, which is none; {remedy}"
    if "codec can't decode" in message or "Problems parsing config" in message or "Unexpected config" in message:
        return f"--config: expected a YAML file of options, got something else ({' '.join(message.split())}); {remedy}"
    match = re.search(r"Unable to load config [\"']([^\"'\n]*)[\"']", message)
    return f"{name}: expected a YAML file or an option of this group, got {match.group(1)!r}; --help tells them" if match else None


def _type(message: str, name: str, function: Callable[..., Any], options: Sequence[str]) -> str | None:
    subtypes = re.search(r"Subtypes: \[(.*)\]", message)
    if subtypes:
        given = re.search(r"Given value: (.*)", message, re.S)
        wanted = [_plain(t) for t in re.split(r", (?![^\[]*\])", subtypes.group(1))]
    else:
        matches = list(_WANTED.finditer(message))
        if not matches:
            return None
        match = matches[-1]  # the innermost
        wanted, given = [_plain(match.group(1))], match if match.group(2) else None
    got = "" if given is None else " ".join(given.group(given.lastindex or 0).split())
    got = re.sub(r"\. Got value: Namespace.*", "", got)
    return f"{name}: expected {' or '.join(w for w in wanted if w)}, got {got!r}"


def _plain(text: str) -> str:
    """A type in words."""
    words = {
        "int": "a whole number",
        "float": "a number",
        "str": "a text",
        "bool": "true or false",
        "dict": "names with values as '{a: 1}'",
        "NoneType": "",
        "Tensor": "",
    }
    match = _TYPE.fullmatch(text.strip())
    inner = match.group(1) if match else text.strip()
    return words.get(inner, "a list as '[a, b]'" if re.match(r"(list|tuple)\b", inner) else inner)


def _near(given: str, options: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, options, n=1)
    return f"did you mean {near[0]}?" if near else "--help tells them"


def _class_path(message: str) -> str:
    match = re.search(r"given class_path '([\w.]+)'", message)
    return match.group(1).rsplit(".", 1)[-1] if match else ""


def _classes(function: Callable[..., Any], name: str) -> list[type]:
    """The classes an option may be, with their subclasses."""
    hint = get_type_hints(function).get(name.removeprefix("--").split(".")[0])
    queue, found = [hint], []
    while queue:
        one = queue.pop()
        if isinstance(one, type) and one.__module__.startswith("physdiff."):
            if one not in found:
                found.append(one)
            queue.extend(one.__subclasses__())
        else:
            queue.extend(get_args(one))
    return sorted(found, key=lambda c: c.__name__)
