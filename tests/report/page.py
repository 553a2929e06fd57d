"""A strict reader of the pages: balanced tags, what is referred to, what is said."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "link", "input"}


@dataclass
class Page(HTMLParser):
    """A page read once; raises AssertionError where tags do not match."""

    path: Path
    source: str = ""
    stack: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.source = self.path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.stack == [], f"not closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]} at {self.getpos()}"
        self.stack.pop()

    def handle_data(self, data):
        if data.strip() and self.stack:
            self.texts.setdefault(self.stack[-1], []).append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def check_self_contained(self) -> None:
        """Our one script, nothing fetched, every picture inside and described, every table captioned and scoped."""
        assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in self.tags}
        script = files("physdiff.report").joinpath("page.js").read_text(encoding="utf-8")
        assert self.all("script") == [{}] and self.texts["script"] == [script.strip()]
        (policy,) = (a["content"] for a in self.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy.startswith("default-src 'none';") and policy.endswith(f"script-src 'sha256-{digest}'")
        for tag, attrs in self.tags:
            for name, value in attrs.items():
                assert not name.startswith("on"), f"{tag} has {name}"
                if name in ("src", "href", "srcset", "poster", "action"):
                    assert value.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,", "#")), value[:80]
        assert "http://" not in self.source and "https://" not in self.source and "@import" not in self.source
        assert all(a.get("alt", "").strip() for a in self.all("img"))
        assert len(self.all("caption")) == len(self.all("table"))
        assert all(a.get("scope") in ("col", "row") for a in self.all("th"))
        ids = [attrs["id"] for _, attrs in self.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        targets = [a["href"][1:] for a in self.all("a")] + [a["aria-labelledby"] for _, a in self.tags if "aria-labelledby" in a]
        assert set(targets) <= set(ids)
