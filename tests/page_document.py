"""A page as tests look at it: its elements, in order."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "path", "use"}


class Document(HTMLParser):
    """A page's elements: tag, attributes, text directly inside; checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.feed(text)
        assert not self.open, [self.found[i][0] for i in self.open]

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        if tag not in VOID or (tag in ("path", "use") and self.get_starttag_text()[-2:] != "/>"):
            self.open.append(len(self.found) - 1)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.found[self.open.pop()][0] == tag

    def handle_data(self, data):
        if self.open:
            self.found[self.open[-1]][2].append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.found if name == tag]

    def texts(self, tag: str) -> list[str]:
        return ["".join(text).strip() for name, _, text in self.found if name == tag]

    @property
    def labels(self) -> list[str]:
        """Names of all points; the first title is the page's own."""
        found = self.texts("title")[1:]
        assert len(found) == len(self.points)
        assert all(found)
        return found

    @property
    def points(self) -> list[dict[str, str | None]]:
        return [attributes for _, attributes, _ in self.found if attributes.get("class") == "point"]
