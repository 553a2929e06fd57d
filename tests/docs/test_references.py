"""Every arXiv number named in code and pages stands in docs/references.bib; entries are whole and keys are distinct."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIB = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
NAMED = re.compile(r"arXiv[:\s]\s*((?:\d{4}\.\d{4,5}(?:,\s|\sand\s)?)+)")


def named() -> dict[str, str]:
    """Number -> a file that names it; a line may break between the word and the number."""
    found: dict[str, str] = {}
    folders = [ROOT / "physdiff", ROOT / "docs", ROOT / "datasets"]
    for path in [ROOT / "README.md", *(p for f in folders for p in f.rglob("*") if p.suffix in (".py", ".md"))]:
        for group in NAMED.finditer(path.read_text(encoding="utf-8")):
            found.update({number: path.name for number in re.findall(r"\d{4}\.\d{4,5}", group[1])})
    return found


def test_every_arxiv_number_has_an_entry() -> None:
    numbers = named()
    assert len(numbers) > 40  # the pattern finds them
    missing = {n: where for n, where in numbers.items() if f"eprint = {{{n}}}" not in BIB}
    assert not missing


def test_entries_are_whole() -> None:
    entries = re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}", BIB, re.MULTILINE | re.DOTALL)
    keys = [key for _, key, _ in entries]
    assert len(keys) == len(set(keys)) == BIB.count("\n@")
    for kind, key, text in entries:
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", text, re.MULTILINE))
        assert {"author", "title", "year"} <= fields.keys() and (kind != "misc" or "eprint" in fields), key
        assert re.fullmatch(r"(19|20)\d\d", fields["year"]) and text.count("{") == text.count("}"), key


def test_every_data_card_names_a_work_that_has_an_entry() -> None:
    """A card says (Name et al., year) or (Name and Name, year): its first author and year stand together in an entry."""
    entries = re.findall(r"^@\w+\{\w+,\n(.*?)^\}", BIB, re.MULTILINE | re.DOTALL)
    known = {(re.search(r"author = \{(\w+)", e)[1], re.search(r"year = \{(\d+)", e)[1]) for e in entries}  # type: ignore[index]
    cards = [p.read_text(encoding="utf-8") for p in (ROOT / "datasets").glob("*/README.md")]
    named = {found for text in cards for found in re.findall(r"\((\w+)(?: et al\.| and \w+), (\d{4})\)", text)}
    assert len(named) >= 8 and named <= known, named - known


def test_the_citation_file_is_read() -> None:
    import yaml

    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert told["cff-version"] == "1.2.0" and told["license"] == "BSD-3-Clause" and {"title", "message", "authors"} <= told.keys()
