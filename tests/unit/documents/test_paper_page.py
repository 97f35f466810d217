"""What docs/method/paper.md promises: every row of the paper's tables has its run, and its commands pass the check."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from dckd_basicsr.compare import load_sweep, planned_runs
from dckd_basicsr.compare.sweep import packaged_sweeps
from dckd_basicsr.config import find_options, option_notes, option_problems
from dckd_basicsr.config.resolve import resolve_options
from tests import ROOT

PAGE = (ROOT / "docs" / "method" / "paper.md").read_text(encoding="utf-8")
SWEEPS = {name: file for name, file in packaged_sweeps().items() if name.startswith(("table", "fig"))}


def test_every_row_of_every_table_has_its_run() -> None:
    sections = dict(re.findall(r"^### [^\n]*: `(\w+)`\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE))
    assert sections.keys() == SWEEPS.keys()
    for name, text in sections.items():
        named = re.findall(rf"^\| [^|]+ \| `({name}_[\w.]+)` \|", text, re.MULTILINE)
        runs = {run.name for run in planned_runs(load_sweep(SWEEPS[name])) if run.seed in (None, 0)}
        # the teacher is a row of tables 2, 3 and 4 alone
        left_out = (
            {run for run in runs if run.endswith("_teacher")}
            if name[:6] not in ("table2", "table3", "table4")
            else set()
        )
        assert sorted(named) == sorted(runs - left_out)


def test_its_commands_pass_the_check_but_for_files() -> None:
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^basicsr .*", PAGE, re.MULTILINE)]
    flags = ("-opt", "--with", "--force_yml")
    found = 0
    for _, command, *words in lines:
        if command == "compare":
            assert words[0] in SWEEPS
            continue
        found += 1
        given: dict[str, list[str]] = {flag: [] for flag in flags}
        place = given["-opt"]
        for word in words:
            if word in flags:
                place = given[word]
            elif not word.startswith("--"):
                place.append(word)
        opt, _ = resolve_options(
            find_options(given["-opt"][0]), given["--force_yml"], given["--with"], is_train=command != "test"
        )
        assert option_problems(opt, is_train=command != "test") == []
        assert command == "test" or option_notes(opt) == []
    assert found >= 3


def test_its_sweep_compares_both_forms_of_the_method(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yml"
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file.write_text(text, encoding="utf-8")
    runs = {run.variant: run.options for run in planned_runs(load_sweep(file)) if run.seed == 0}
    assert all(option_problems(opt) == [] for opt in runs.values())
    forms = {name: opt["train"]["distribution_opt"]["form"] for name, opt in runs.items() if name != "logits"}
    assert forms == {"paper": "paper", "code": "released", "code_losses": "released"}
    ranges = {name: opt["train"]["encoder"]["input_range"] for name, opt in runs.items()}
    assert ranges == {"logits": [-1, 1], "paper": [-1, 1], "code": [0, 1], "code_losses": [0, 1]}
    assert runs["code"]["train"]["accumulate"] == 4
    assert [bool(runs[name]["train"].get("consistency_opt")) for name in ("paper", "code")] == [False, True]
