"""A page from its template: everything in one file, text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..version import __version__
from ..weight_files import atomic_write
from .charts import Chart

__all__ = ["Drawn", "draw", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawn:
    """A chart as the template takes it: its texts, which are escaped there, and its SVG, which is not."""

    title: str
    description: str
    svg: Markup


def draw(charts: Sequence[Chart], prefix: str) -> list[Drawn]:
    """Return charts for a template.

    Args:
        charts: to draw.
        prefix: of their ids in the page; no other call for this page may have it.
    """
    return [Drawn(c.title, c.description, Markup(c.markup(f"{prefix}{i}"))) for i, c in enumerate(charts)]


def write_page(template: str, file: Path, **values: Any) -> None:
    """Fill a template in and write it, whole or not at all."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template(template).render(version=__version__, **values)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
