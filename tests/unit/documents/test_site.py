"""The site: what its pages quote and name is there, its Markdown comes out right, and it loads nothing of others."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dckd_basicsr.config import find_options, option_problems
from dckd_basicsr.config.resolve import resolve_options
from tests import ROOT
from tests.browser import Page, browser

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = (ROOT / "docs" / "reference" / "messages.md").read_text(encoding="utf-8")
BLOCKS = [
    (lead.strip(), text)
    for lead, text in re.findall(r"^([^\n]*)\n\n```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
]
OTHERS = ("BasicSR", "PyTorch", "pip", "torch.distributed.launch")
"""How the line before a message begins that is not ours."""


@pytest.mark.parametrize("text", [text for _, text in BLOCKS if text.startswith("basicsr: ")])
def test_our_messages_are_those_that_are_printed(text: str) -> None:
    for line in text.splitlines():
        assert line in MESSAGES


def test_messages_of_other_programs_are_told_apart() -> None:
    others = [lead for lead, text in BLOCKS if not text.startswith(("basicsr: ", "iteration "))]
    assert len(others) >= 10
    for lead in others:
        assert lead.startswith(OTHERS) or lead.endswith(("says", "says:")), lead


def test_a_step_that_is_left_out_is_logged_in_these_words() -> None:
    (text,) = [text for _, text in BLOCKS if text.startswith("iteration ")]
    code = (ROOT / "dckd_basicsr/training/divergence.py").read_text(encoding="utf-8")
    assert 'f"iteration {report.iteration}: {bad}; the step was left out{where}"' in code
    norm = re.search(r'_NORM = "(.*?)"', code)
    assert norm is not None
    assert text == f"iteration 1234: l_pix is nan, {norm[1]} is nan; the step was left out\n"


def test_options_that_are_advised_are_there() -> None:
    keys = (ROOT / "tests/golden/option_keys.txt").read_text(encoding="utf-8").split()
    advised = set(re.findall(r"`((?:train|val|datasets|path):[a-z_:]+)=", PAGE))
    assert len(advised) >= 6
    for option in advised:
        place = option.replace(":", ".").replace("datasets.train.", "datasets.NAME.")
        assert place in keys or place.rsplit(".", 1)[0] in keys, option


def test_values_that_are_advised_pass_the_check() -> None:
    advised = re.findall(r'`"?((?:train|val|datasets|path):[\w:]+=[^`"]+)"?`', PAGE)
    assert len(advised) >= 8
    for option in advised:
        is_train = not option.startswith("val:")
        file = find_options("dckd_x4_edsr.yml" if is_train else "test_x4_edsr.yml")
        found, _ = resolve_options(file, [option], is_train=is_train)
        assert option_problems(found, is_train=is_train) == [], option


def test_names_of_the_reference_are_public() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    names = re.findall(r"^<!-- ::: ([\w.]+)(?: with members)? -->$", page, re.MULTILINE)
    assert len(names) >= 15
    for name in names:
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(module)
        assert attribute in found.__all__, name
        assert getattr(found, attribute).__doc__, name


def of_the_site(name: str) -> ModuleType:
    """A module of docs/site, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_to_pages_of_the_site_or_become_text() -> None:
    links = of_the_site("hooks").with_links
    text = "[a](../../README.md#try-it) [b](export.md) [c](../../dckd_basicsr/cli.py) [d](https://x.org/a.md) [e](#f)"
    found = links(text, "guide/distill.md")
    assert found == "[a](../project/readme.md#try-it) [b](export.md) c [d](https://x.org/a.md) [e](#f)"
    of_readme = links(
        "![p](docs/images/demo.png)\n```text\n[a](docs/x.md)\n```\n[b](docs/guide/export.md)", "project/readme.md"
    )
    assert of_readme == "![p](../images/demo.png)\n```text\n[a](docs/x.md)\n```\n[b](../guide/export.md)"
    assert links("[export.md](export.md#tiles)", "guide/distill.md") == "[Export](export.md#tiles)"
    assert links("[w](dckd_basicsr/weights/README.md)", "project/readme.md") == "[w](../reference/weights.md)"


def test_lists_are_what_python_markdown_takes_for_lists() -> None:
    lists = of_the_site("hooks").with_lists
    assert lists("Limits:\n- one\n- two\n  more") == "Limits:\n\n- one\n- two\n  more"
    steps = "1. do\n\n   ```py\n   if x:\n       y\n   ```\n\n   so\n2. then\n   that\n3. end\n\ntext"
    found = "1. do\n\n    ```py\n    if x:\n        y\n    ```\n\n    so\n\n2. then\n    that\n3. end\n\ntext"
    assert lists(steps) == found
    assert lists("```text\na\n- b\n```") == "```text\na\n- b\n```"


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.html", '<a href="https://x.org"><img src="b.png"><link rel="canonical" href="https://x.org">', 0),
        ("a.html", '<script src="https://x.org/a.js"></script><img src="//x.org/b.png">', 2),
        ("a.html", '<link rel="stylesheet" href="http://x.org/a.css"><p style="background: url(https://x.org/b)">', 2),
        ("a.html", "<style>@import 'https://x.org/a.css';</style>", 1),
        ("a.html", '<pre class="mermaid">', 1),
        ("a.css", "a { background: url(data:image/png;base64,AA) } b { background: url('https://x.org/b.woff') }", 1),
        ("a.js", 'fetch("https://api.example.org/x"); see = "https://x.org"', 1),
    ],
)
def test_what_is_loaded_from_other_hosts_is_found(name: str, text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, str(ROOT / "docs/site/check.py"), str(tmp_path)]
    assert len(list(of_the_site("check").loads(tmp_path / name))) == count
    if name == "a.css":
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "1 files, 1 loads from other hosts")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; skips where the extra is not installed."""
    for needed in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(needed, reason='the extra "docs" is not installed')
    folder = tmp_path_factory.mktemp("built") / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_names_nothing_to_load_from_elsewhere(site: Path) -> None:
    found = of_the_site("check")
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css", ".js")]
    assert len(files) > 50
    assert [each for path in files for each in found.loads(path)] == []
    shown = (site / "reference/api.html").read_text(encoding="utf-8")
    assert "A loss term: built from its options" in shown  # the docstring of Term
    assert ":class:" not in shown
    assert "&lt;!--" not in shown


def test_a_browser_loads_nothing_from_elsewhere_and_searches_the_files(site: Path, tmp_path: Path) -> None:
    page = Page(browser(), tmp_path / "profile")
    try:
        for name, width, dark in (
            ("index", 390, True),
            ("reference/options", 390, False),
            ("guide/students", 1280, True),
        ):
            page.open(site / f"{name}.html", width, dark)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), name  # nothing sticks out
            assert [each for each in page.loaded if not each.startswith(("file:", "data:", "about:"))] == []
        page.run(
            "const field = document.querySelector('[data-md-component=search-query]'); field.focus();"
            "field.value = 'cut short'; field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true})); 0"
        )
        found = page.run(
            "new Promise(done => { const look = setInterval(() => {"
            "const links = [...document.querySelectorAll('.md-search-result__link')].map(a => a.href);"
            "if (links.length) { clearInterval(look); done(links.join(' ')); } }, 100); })"
        )
        assert "reference/messages.html?h=cut+short#datamdb-cut-short" in found
        assert page.said == []
    finally:
        page.close()


def test_every_page_is_in_the_contents() -> None:
    """What the strict build says too, where mkdocs is not installed."""
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    listed = set(re.findall(r"[\w/]+\.md", contents))
    assert pages | set(of_the_site("hooks").OUTSIDE.values()) == listed
