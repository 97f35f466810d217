"""What the documents promise: the README's loop runs, links lead somewhere, the named commands and files exist."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dckd_basicsr.config import option_notes, option_problems, packaged_options
from dckd_basicsr.config.resolve import resolve_options
from tests import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("datasets_prep/*.md")])


def test_the_training_loop_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    loop = next(block for block in blocks if "distiller.follow" in block)
    done = subprocess.run([sys.executable, "-c", loop], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 2
    assert all(f"'{name}'" in lines[0] for name in ("l_pix", "l_logits", "l_contrast", "l_dist"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)", document.read_text(encoding="utf-8"))
    missing = []
    for target, anchor in links:
        there = document.parent / target if target else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            missing.append(f"{target}#{anchor}")
    assert not missing


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub, and the site, give the headings of a page; of two headings alike neither's."""
    text = re.sub(r"^ *(```+).*?^ *\1`*$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # of a link its text
        found[re.sub(r"[^\w\- ]", "", shown).strip().lower().replace(" ", "-")] += 1
    return frozenset(anchor for anchor, times in found.items() if times == 1)


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / "page.md"
    fence = "```bash\n# no heading\n```"
    page.write_text(
        f"# A `key_x.yml`: what, and why\n\n{fence}\n## [Link](b.md#c) (DCKD\\*)\n## Twice\n## Twice\n", "utf-8"
    )
    assert anchors(page) == {"a-key_xyml-what-and-why", "link-dckd"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_option_files_and_tests_exist(document):
    text = document.read_text(encoding="utf-8")
    options = set(re.findall(r"-opt (?:options/)?((?:dckd|test|teacher|demo)_\w+\.yml)", text))
    tests = set(re.findall(r"`(test_\w+\.py)`", text))
    assert all((ROOT / "options" / name).is_file() for name in options)
    assert all(list((ROOT / "tests").rglob(name)) for name in tests)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_option_files_to_write_have_a_name_of_their_own(document):
    """Without one a run takes that of the packaged file, and moves the folder of that file's run away."""
    if document.name == "options.md":  # has the keys one by one
        return
    for block in re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
        if re.search(r"^ *_base_:", block, re.MULTILINE):
            assert re.search(r"^ *name: ", block, re.MULTILINE), block


def trainings(document: Path) -> list[tuple[str, list[str]]]:
    """The packaged file and the overrides of every training that a document has as a command."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:3] == ["basicsr", "train", "-opt"] and "--force_yml" in words:
                name = f"{Path(words[3]).stem}.yml"
                if name in packaged_options():
                    found.append((name, words[words.index("--force_yml") + 1 :]))
    return found


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", ROOT / "docs" / "guide" / "your_own_data.md"], ids=lambda p: p.name
)
def test_trainings_that_are_advised_have_a_schedule_that_fits(document):
    commands = trainings(document)
    assert any("train:total_iter" in override for _, overrides in commands for override in overrides)
    for name, overrides in commands:
        options, _ = resolve_options(packaged_options()[name], overrides)
        assert option_problems(options) == []
        assert option_notes(options) == []
