"""The recipe cards are what the option files make of them, and their costs are counted of these very files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dckd_basicsr.config import packaged_options
from tests import ROOT
from tests.recipe_cards.cards import PAGES, page
from tests.recipe_cards.costs import counted_of, kept, network_cost, options_of, trainings

FOLDER = ROOT / "docs" / "recipes"
AGAIN = "write it anew: python -m tests.recipe_cards docs/recipes"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_files_make_of_it(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == page(name), AGAIN


def test_every_training_has_a_card_and_every_test_is_on_one() -> None:
    text = "".join((FOLDER / name).read_text(encoding="utf-8") for name in PAGES)
    assert sorted(re.findall(r"^## (.+)$", text, re.MULTILINE)) == sorted(trainings())
    on_cards = set(re.findall(r"^basicsr test -opt (\S+)$", text, re.MULTILINE))
    assert on_cards | {"demo_test_x4.yml"} == {name for name in packaged_options() if "test_" in name}


def test_the_costs_are_those_of_the_files() -> None:
    costs = kept()
    stale = [name for name in trainings() if costs.get(name, {}).get("of") != counted_of(options_of(name))]
    assert stale == [], AGAIN
    assert set(costs) == set(trainings())
    opt = options_of("demo_x4_edsr.yml")
    assert network_cost(opt["network_g"], 4) == costs["demo_x4_edsr.yml"]["network_g"]


def test_parameters_are_those_that_the_files_state() -> None:
    """In their comments, which tests/unit/options/test_option_files.py holds to the networks."""
    text = (FOLDER / "super_resolution.md").read_text(encoding="utf-8")
    for stated in ("| teacher | SwinIR, 11,900,199 parameters", "| student | SwinIR, 1,235,439 parameters"):
        assert stated in text
    assert "| loss | 1 x `pixel_opt` (L1Loss) + 1 x `logits_opt` (L1Loss) + 0.1 x `contrastive_opt`" in text


def test_the_papers_numbers_are_on_the_cards_of_its_pairs(shared: Path) -> None:
    """Every figure of the tables 2 to 4 of these pairs, against the transcript."""
    paper = yaml.safe_load((ROOT / "tests/recipe_cards/paper.yml").read_text(encoding="utf-8"))
    assert len(paper) == 9
    transcript = (shared / "spec" / "targets.md").read_text(encoding="utf-8")
    figures = [figure for table in paper.values() for row in table["rows"].values() for figure in row]
    assert len(figures) == 3 * 2 * 6 * 4 + 2 * 4 + 2 * 4 + 4 * 5
    assert all(figure in transcript for figure in figures)
