"""``python -m tests.recipe_cards docs/recipes``: count what is new, and write the cards."""

from __future__ import annotations

import argparse
from pathlib import Path

from .cards import PAGES, page
from .costs import write_costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    write_costs()
    for name in PAGES:
        (folder / name).write_text(page(name), encoding="utf-8")


main()
