"""``python -m tests.recipe_cards docs/recipes``: count what is new, and write the cards."""

from __future__ import annotations

import sys
from pathlib import Path

from .cards import PAGES, page
from .costs import write_costs


def main() -> None:
    folder = Path(sys.argv[1])
    write_costs()
    for name in PAGES:
        (folder / name).write_text(page(name), encoding="utf-8")


main()
