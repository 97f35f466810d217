"""What the site does differently from the repository's pages as they stand; mkdocs.yml names this file.

The pages are GitHub's Markdown and link to files all over the repository. Here some of these files become pages of the
site, links lead there and bear their titles, links to other files become plain text, lists get the blank lines and the
indentation that Python-Markdown asks for, and docs/reference/api.md gets the docstrings. The theme's one script of
another host is exchanged for docs/site/worker.js.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "datasets_prep/README.md": "guide/datasets.md",
    "dckd_basicsr/weights/README.md": "reference/weights.md",
}
"""Pages of the site that lie elsewhere in the repository."""

_SHIM = "https://unpkg.com/iframe-worker/shim"
_INSIDE = {page: source for source, page in OUTSIDE.items()}
_TITLES = {
    page: title for title, page in re.findall(r"- (.+): (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
}
"""What the contents call each page."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_ITEM = re.compile(r"^(\s*)(?:[-*]|\d+\.) ")
_API = re.compile(r"<!-- (::: [\w.]+)( with members)? -->")
_MEMBERS = "\n    options:\n      members: null\n      filters: ['!^_']\n"
_ROLE = re.compile(r":(?:func|class|mod|attr|meth|data|obj):<code>[~.]?(?:\w+\.)*(\w+)</code>")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside docs/."""
    from mkdocs.structure.files import File  # here, so that tests of the text need no mkdocs

    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn GitHub's Markdown into that of the site."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation"]
    text = with_lists(with_links(markdown, here))
    return _API.sub(lambda found: found[1] + (_MEMBERS if found[2] else ""), text)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Take Sphinx's roles out of docstrings; keep the list of contents of the messages at its themes."""
    if page.file.src_uri == "reference/messages.md":
        for top in page.toc.items:
            for theme in top.children:
                theme.children = []
    return _ROLE.sub(r"<code>\1</code>", html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Exchange the script that lets the search work in pages that are opened as files."""
    return output.replace(_SHIM, posixpath.relpath("site/worker.js", posixpath.dirname(page.file.url) or "."))


def on_post_template(output_content: str, **_: Any) -> str:
    """Take that script out of the page that says that there is no such page: only servers show it."""
    return output_content.replace(f'<script src="{_SHIM}"></script>', "")


def with_links(markdown: str, page: str) -> str:
    """Return the text with its relative links as the site needs them.

    Args:
        markdown: text of a page.
        page: its address in the site, such as ``guide/distill.md``.
    """
    source = _INSIDE.get(page, f"docs/{page}")

    def link(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups()
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        address = OUTSIDE.get(there) or (there.removeprefix("docs/") if there.startswith("docs/") else "")
        if not address or (ROOT / there).is_dir():
            return text  # a file or folder of the repository that is no page
        if text.endswith(".md"):
            text = _TITLES.get(address, text)
        return f"{image}[{text}]({posixpath.relpath(address, posixpath.dirname(page) or '.')}{anchor or ''})"

    return _outside_code(markdown, lambda part: _LINK.sub(link, part))


def with_lists(markdown: str) -> str:
    """Return the text with a blank line before every list, and what belongs to a numbered item indented by four."""
    out: list[str] = []
    fence, numbered, parted = "", False, False
    for line in markdown.split("\n"):
        mark, before = _FENCE.match(line), out[-1] if out else ""
        if not fence:
            item = _ITEM.match(line)
            goes_on = _ITEM.match(before) or (before.startswith(" ") and not parted) or before.startswith(("|", "#"))
            if item and before.strip() and not goes_on:
                out.append("")
            if line and not line.startswith(" "):
                numbered, parted = bool(re.match(r"\d+\. ", line)), False
            parted = parted or not line.strip()
        if numbered and line.startswith("   ") and (fence or not line.startswith("    ")):
            line = f" {line}"
        out.append(line)
        if mark:
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
    return "\n".join(out)


def _outside_code(markdown: str, change: Any) -> str:
    """Apply ``change`` to the text between fenced blocks."""
    parts, kept, fence = [], list[str](), ""

    def flush() -> None:
        parts.append(change("\n".join(kept)) if not fence else "\n".join(kept))
        kept.clear()

    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            flush()
            fence = mark[1]
            kept.append(line)
        elif mark and mark[1].startswith(fence):
            kept.append(line)
            flush()
            fence = ""
        else:
            kept.append(line)
    flush()
    return "\n".join(parts)
