"""``python docs/site/check.py build/site``: list what a browser would load from other hosts to show the site."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
"""Attributes whose addresses are loaded with a page."""

LINKS = {"canonical", "next", "prev", "alternate", "license", "author"}
"""What a link element may say without anything being loaded."""

SLEEPING = {
    "https://unpkg.com/mermaid@11/dist/mermaid.min.js": 'class="mermaid"',
    "https://unpkg.com/resize-observer-polyfill": "",  # for browsers of before 2020 alone
    "https://api.github.com": 'data-md-component="source"',
    "https://gitlab.com": 'data-md-component="source"',
}
"""Addresses that the theme's script may load, and what must be on a page before it does: no page may have that."""

_ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_CSS = re.compile(r"(?:url\(\s*|@import\s+)['\"]?\s*((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_FETCHED = re.compile(r"""[\"'`](https?://(?:unpkg\.com|api\.[\w.-]+|gitlab\.com|cdn[\w.-]*|fonts[\w.-]*)[^\"'`\s]*)""")


class _Loads(HTMLParser):
    """Collects the addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        addresses = [given.get(key, "") for key in LOADED.get(tag, ())]
        if tag == "link" and not LINKS & set(given.get("rel", "").split()):
            addresses.append(given.get("href", ""))
        self.found += [each for each in addresses if _ELSEWHERE.match(each.strip()) or ", http" in each]
        self.found += _CSS.findall(given.get("style", ""))
        self.style = tag == "style"

    def handle_data(self, data: str) -> None:
        if self.style:
            self.found += _CSS.findall(data)


def loads(path: Path) -> Iterator[str]:
    """Yield the addresses on other hosts that a file of the site would have a browser load."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".html":
        parser = _Loads()
        parser.feed(text)
        yield from parser.found
        yield from (
            f"{sign} wakes a script that loads from {host}" for host, sign in SLEEPING.items() if sign and sign in text
        )
    elif path.suffix == ".css":
        yield from _CSS.findall(text)
    elif path.suffix == ".js" and "search_index" not in path.name:
        yield from (each for each in _FETCHED.findall(text) if not each.startswith(tuple(SLEEPING)))


def main() -> int:
    """Print what there is, and return the exit status."""
    folder = Path(sys.argv[1])
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".html", ".css", ".js"))
    found = [f"{path.relative_to(folder)}: {each}" for path in files for each in loads(path)]
    print("\n".join([*found, f"{len(files)} files, {len(found)} loads from other hosts"]))
    return int(bool(found) or not files)


if __name__ == "__main__":
    sys.exit(main())
