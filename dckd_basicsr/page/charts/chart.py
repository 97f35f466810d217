"""A chart: a Matplotlib figure whose points can be named, and what the page makes of it.

In the page a chart is inline SVG: its text is text, its colours are variables of the style, and each point has a name
that is shown under the pointer, read aloud, and reached by keyboard. A file for a paper has it as Matplotlib draws it.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure

from ...weight_files import atomic_write
from .colours import VARIABLES
from .style import own_style

__all__ = ["Chart"]

_HREF = "{http://www.w3.org/1999/xlink}href"
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_FONT = re.compile(r"font-family:[^;]*;?|font: [^;]*;?")


@dataclass(frozen=True)
class Chart:
    """A figure and the names of its points.

    Attributes:
        figure: drawn with the colours of :mod:`.colours` alone; points of one group look alike.
        title: above the chart in the page; not in the figure.
        description: a caption, and for those who do not see it; may be empty.
        names: group id (Matplotlib's ``gid``) -> a name for each point of that group, in the order in which it was
            drawn. Points outside the axes are not drawn, so they must not be there.
    """

    figure: Figure
    title: str
    description: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def markup(self, prefix: str) -> str:
        """Return the chart as SVG to stand in an HTML page.

        Args:
            prefix: of all ids, so that charts of one page do not share any.
        """
        root = ElementTree.fromstring(self._drawn("svg"))
        _without_namespaces(root)
        for child in [child for child in root if child.tag == "metadata" or child.find("style") is not None]:
            root.remove(child)  # a style in here would be one of the whole page
        groups = {group.get("id"): group for group in root.iter("g")}
        for gid, names in self.names.items():
            _name_points(groups[gid], names)
        for element in root.iter():
            _belong_to(element, prefix)
        box = root.get("viewBox", "")
        root.attrib.clear()
        root.attrib.update({"viewBox": box, "role": "group", "aria-label": f"{self.title}. {self.description}".strip()})
        return ElementTree.tostring(root, encoding="unicode")

    def write(self, file: Path) -> None:
        """Write the figure as the file's suffix says: ``.svg``, ``.pdf`` or ``.png``; whole or not at all."""
        data = self._drawn(file.suffix.removeprefix("."))
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda temporary: temporary.write_bytes(data))

    def _drawn(self, kind: str) -> bytes:
        buffer, date = io.BytesIO(), "Date" if kind == "svg" else "CreationDate"
        pixels: Any = {"dpi": 200, "facecolor": "white"} if kind == "png" else {"transparent": True}
        with own_style(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # that the font lacks a letter of somebody's title
            self.figure.savefig(buffer, format=kind, metadata={date: None}, **pixels)
        return buffer.getvalue()


def _without_namespaces(root: ElementTree.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))


def _name_points(group: ElementTree.Element, names: Sequence[str]) -> None:
    """Give each point its name; the first of a group is a stop of the Tab key, arrows lead on from there."""
    for parent in list(group.iter()):
        for child in [child for child in parent if child.tag == "defs"]:
            parent.remove(child)  # the marker, which is no point; it goes to the front
            group.insert(0, child)
    points = [each for child in group if child.tag != "defs" for each in child.iter() if each.tag in ("use", "path")]
    if len(points) != len(names):
        raise ValueError(f"group '{group.get('id')}' has {len(points)} points, and {len(names)} names")
    for i, (point, name) in enumerate(zip(points, names, strict=True)):
        title = ElementTree.Element("title")
        title.text = name
        point.insert(0, title)
        group.set("style", point.attrib.pop("style", ""))  # the same for all: a page may have thousands of points
        point.attrib.pop("clip-path", None)
        point.attrib.update({"class": "point", "tabindex": "-1" if i else "0", "role": "img"})
        for side in ("x", "y"):
            if side in point.attrib:
                point.set(side, f"{float(point.attrib[side]):.1f}")
    group.set("data-points", "")


def _belong_to(element: ElementTree.Element, prefix: str) -> None:
    """Make ids, colours and fonts those of the page."""
    for name, value in list(element.attrib.items()):
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == "href":
            element.set(name, value.replace("#", f"#{prefix}-", 1))
        elif name in ("clip-path", "style"):
            value = value.replace("url(#", f"url(#{prefix}-")
            value = _COLOUR.sub(lambda found: f"var({VARIABLES[found[0]]})", value)
            element.set(name, _FONT.sub("", value).strip() if element.tag == "text" else value)
