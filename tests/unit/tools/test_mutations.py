"""What ``make mutations`` rests on: the rules, the sample, the list of equivalent faults, and a trial."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.mutations.__main__ import EQUIVALENT, equivalents, sampled
from tests.mutations.modules import TESTS
from tests.mutations.rules import plant
from tests.mutations.trial import PACKAGE


def faults(source: str) -> list[str]:
    """The changed lines of all faults in one line of source."""
    found = plant("m.py", source)
    for mutant in found:
        ast.parse(mutant.source)
    return [mutant.name.split(" => ")[1] for mutant in found]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a < b <= c", ["a <= b <= c", "a < b < c"]),
        ("a is not b", ["a is b"]),
        ("a not in b", ["a in b"]),
        ("x = a - b * c", ["x = (a + b * c)", "x = a - (b / c)"]),
        ("x = (a + b) // 2", ["x = ((a + b) * 2)", "x = (a - b) // 2".replace("a - b", "(a - b)"), "x = (a + b) // 3"]),
        ("x += a", ["x -= a"]),
        ("x = a or b or c", ["x = (a and b and c)"]),
        ("x = not a", ["x = (a)"]),
        ("x = -a", ["x = (a)"]),
        ("x = [0, 1, 7, 0.5, 0.0, True]", [
            "x = [1, 1, 7, 0.5, 0.0, True]", "x = [0, 0, 7, 0.5, 0.0, True]", "x = [0, 1, 8, 0.5, 0.0, True]",
            "x = [0, 1, 7, 1.0, 0.0, True]", "x = [0, 1, 7, 0.5, 1.0, True]", "x = [0, 1, 7, 0.5, 0.0, False]",
        ]),
        ("f(a)", ["pass"]),
        ("x = f(a, b=c, d=e)", ["x = f(a, d=e)", "x = f(a, b=c)"]),
        ("x = max(a, b)", ["x = min(a, b)"]),
        ("x = t.sum()", ["x = t.mean()"]),
        ("x = a if b else c", ["x = a if (not (b)) else c"]),
        ("def f(): return a", ["def f(): return None"]),
        ("x = 'ü' and a < b", ["x = ('ü' or a < b)", "x = 'ü' and a <= b"]),
    ],
)  # fmt: skip
def test_the_rules(source: str, wanted: list[str]) -> None:
    assert faults(source) == wanted


@pytest.mark.parametrize(
    "source",
    [
        "raise ValueError(a + b)",
        "assert a < b",
        "x = f'{a + b}'",
        "x: Literal[1]",
        "x = 'a' + b",
        "x = zip(a, b, strict=True)",
        "x = torch.zeros(a, device=b)",
        '"""A text."""',
    ],
)
def test_what_is_left_alone(source: str) -> None:
    assert faults(source) == []


def test_messages_are_dropped_but_not_reworded() -> None:
    assert faults("_LOG.warning('%d of %d', a + 1, 2)") == ["pass"]


def test_faults_have_names_of_their_own_that_hold_while_their_lines_do() -> None:
    source = "class A:\n    def f(self):\n        g(1)\n        g(1)\n"
    found = plant("m.py", source)
    assert [mutant.line for mutant in found] == [3, 3, 4, 4]
    assert [mutant.name for mutant in found] == [
        "m.py A.f dropped statement: g(1) => pass",
        "m.py A.f constant: g(1) => g(0)",
        "m.py A.f dropped statement: g(1) => pass #2",
        "m.py A.f constant: g(1) => g(0) #2",
    ]
    assert [m.name for m in plant("m.py", "x = 1\n\n" + source)[1:]] == [m.name for m in found]


def test_the_sample_follows_from_seed_and_names_alone() -> None:
    source = "".join(f"def f{i}():\n    return a + {i}\n" for i in range(20))
    drawn = [mutant.name for mutant in sampled(plant("m.py", source), 10, seed=0)]
    assert len(drawn) == 10
    shifted = [mutant.name for mutant in sampled(plant("m.py", "\n" + source), 10, seed=0)]
    assert shifted == drawn
    assert [mutant.name for mutant in sampled(plant("m.py", source), 10, seed=1)] != drawn


def test_equivalent_faults_need_a_reason() -> None:
    assert equivalents("# why\n\na: x => y\n    because\nb: x => y\n  so\n") == {
        "a: x => y": "because",
        "b: x => y": "so",
    }
    for text in ("a\nb\n  so\n", "a\n", "  so\n"):
        with pytest.raises(ValueError, match=r"no reason|no fault"):
            equivalents(text)


def test_the_tables_name_what_is_there() -> None:
    for module, tests in TESTS.items():
        assert (ROOT / PACKAGE / module).is_file()
        assert all((ROOT / test).is_file() for test in tests)
    for name in equivalents(EQUIVALENT.read_text(encoding="utf-8")):
        assert name.split(" ")[0] in TESTS


TRIALS = """
import sys, time
from pathlib import Path
from tests.mutations.trial import Trial, import_once

import_once()
source = Path("dckd_basicsr/losses/psnr_loss.py").read_text(encoding="utf-8")
changed = source.replace("10.0 /", "11.0 /"), source + "\\nwhile True:\\n    pass\\n"
for i, (text, limit) in enumerate([(source, 30), (changed[0], 30), (changed[1], 0.9)]):
    tests = ["tests/unit/losses/test_psnr_loss.py"]
    trial = Trial("losses/psnr_loss.py", text, tests, Path(sys.argv[1], str(i)), limit)
    while (outcome := trial.outcome()) is None:
        time.sleep(0.05)
    print(outcome.noticed, outcome.by)
"""


def test_a_trial_sees_the_fault_and_nothing_on_disk_changes(tmp_path: Path) -> None:
    file = ROOT / PACKAGE / "losses/psnr_loss.py"
    before = file.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", TRIALS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sound, changed, endless = done.stdout.splitlines()
    assert sound == "False exit status 0"
    assert changed.startswith("True tests/unit/losses/test_psnr_loss.py::")
    assert endless == "True time limit"
    assert file.read_bytes() == before
