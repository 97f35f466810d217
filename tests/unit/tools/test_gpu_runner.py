"""``make gpu``: parts end in time, what was measured is kept, and a failure is a failure. No GPU is needed for this."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests import ROOT, gpu
from tests.gpu import GRACE, NO_GPU, PARTS, Part, run_parts, table

ONE = '<testcase classname="a" name="one"'
PASSING = f'<testsuite>{ONE}/><testcase classname="a" name="two"><skipped/></testcase></testsuite>'
FAILING = f"<testsuite>{ONE}><failure/></testcase></testsuite>"
SKIPPED = f"<testsuite>{ONE}><skipped/></testcase></testsuite>"
STEP = {
    "ceilings": {"copy": 1.0},
    "edsr": {"auto": {"ms": 10.0, "reference_ms": 40.0, "gib": 2.0, "reference_gib": 4.0}},
}


def writing(text: str, then: str = "") -> tuple[str, ...]:
    """A part that prints and writes its figures, and goes on with ``then``."""
    return (
        "-c",
        f"import pathlib, sys, time; print('hello'); pathlib.Path(sys.argv[1]).write_text({text!r}); {then}",
        "{out}",
    )


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def xml(command: tuple[str, ...], limit: float = 60) -> Part:
    """A part that writes what pytest would."""
    return Part("x", command, gpu._tests, limit)


def run(tmp_path: Path, limit: float | None = None, total: float = math.inf, **parts: Part) -> dict:
    results = run_parts(list(parts), parts, tmp_path / "gpu.json", {"gpu": "none"}, limit, total)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == results
    return results


def test_parts_are_run_in_order_and_kept(tmp_path, capfd):
    parts = {
        "one": xml(writing(PASSING)),
        "two": Part("a step", writing(json.dumps(STEP)), gpu._step, 50),
    }
    results = run(tmp_path, **parts)
    assert [result["status"] for result in results.values()] == ["passed", "passed"]
    assert results["one"]["summary"] == "1 passed, 0 failed, 1 skipped"
    assert results["two"]["summary"] == "auto 10 of 40 ms, 2.0 of 4.0 GiB"
    assert results["two"]["edsr"] == STEP["edsr"]
    said = capfd.readouterr().out
    assert said.count("hello") == 2
    assert "=== one: x (at most 60 s)" in said
    assert "=== two: a step (at most 50 s)" in said
    assert table(results).count("passed") == 3


@pytest.mark.parametrize(
    ("command", "summary"),
    [
        (writing(FAILING), "0 passed, 1 failed, 0 skipped: a.one"),
        (writing(SKIPPED), "0 passed, 0 failed, 1 skipped"),  # nothing ran, so nothing is shown
        (writing("no xml"), "hello"),
        (("-c", "import sys; sys.exit('it broke')"), "it broke"),
        (("-c", ""), "it said nothing"),  # a part that does not write what it was to write
        (writing(PASSING, "sys.exit(4)"), "1 passed, 0 failed, 1 skipped"),
    ],
)
def test_a_part_that_fails_is_told_and_the_next_one_runs(tmp_path, command, summary):
    results = run(tmp_path, bad=xml(command), good=xml(writing(PASSING)))
    assert results["bad"]["status"] == "failed"
    assert results["bad"]["summary"] == summary
    assert results["good"]["status"] == "passed"


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and " Z " in stat.read_text()


@pytest.fixture(scope="module")
def out_of_time(tmp_path_factory):
    """Three parts that never end, each run by itself and all at the same time, for they mostly wait."""
    folder = tmp_path_factory.mktemp("slow")
    child = (
        "import subprocess; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print(c.pid, flush=True); time.sleep(600)"
    )
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    tests = folder / "test_slow.py"
    tests.write_text("import time\ndef test_one(): pass\ndef test_two(): time.sleep(600)\n")
    counted = ("-m", "pytest", "-p", "no:cacheprovider", "-q", "--junitxml", "{out}", "--rootdir", str(folder))
    parts = {
        "child": Part("x", writing(json.dumps(STEP), child), gpu._step, 10),
        "deaf": Part("x", writing(json.dumps(STEP), deaf), gpu._step, 10),
        "pytest": xml((*counted, str(tests)), 20),
    }

    def one(name):
        (folder / name).mkdir()
        return run(folder / name, **{name: parts[name]})[name]

    start = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(gpu, "GRACE", 5)
        results = dict(zip(parts, pool.map(one, parts)))
    assert time.monotonic() - start < 300
    return results


def test_a_part_out_of_time_is_ended_with_its_children_and_its_figures_are_kept(out_of_time):
    """The child would hold the pipe, and a GPU, for a minute."""
    found = out_of_time["child"]
    assert found["status"] == "out of time"
    assert found["edsr"] == STEP["edsr"]
    pid = next(int(line) for line in found["tail"] if line.isdigit())
    assert gone(pid)


def test_what_pytest_counted_until_its_time_was_over_is_kept(out_of_time):
    """One of two; the one that was interrupted has not passed."""
    assert out_of_time["pytest"]["status"] == "out of time"
    assert out_of_time["pytest"]["summary"] == "1 passed, 0 failed, 0 skipped"


def test_a_part_that_ignores_the_interruption_is_ended_all_the_same(out_of_time):
    assert out_of_time["deaf"]["status"] == "out of time"
    assert out_of_time["deaf"]["seconds"] < 300


def test_windows_are_told_and_the_kernel_must_be_among_them(tmp_path):
    """Also of a part that ended before the student's turn; what failed keeps its figures."""
    row = {"ms": {"original": 2.0, "sdpa": 1.5, "triton": 1.0}, "launched": ["original"]}
    figures = {"machine": {}, "teacher": {"forward": row}}
    text = "teacher forward: original 2.00 launched, sdpa 1.50, triton 1.00 ms"
    results = run(tmp_path, good=Part("x", writing(json.dumps(figures)), gpu._windows, 60))
    assert results["good"]["status"] == "passed"
    assert results["good"]["summary"] == text
    figures["student"] = {"forward": {"ms": {"original": 2.0}, "launched": []}}
    results = run(tmp_path, bad=Part("x", writing(json.dumps(figures)), gpu._windows, 60))
    assert results["bad"]["status"] == "failed"
    assert results["bad"]["summary"].startswith(f"the kernel did not run: student forward; {text}; student forward: or")
    assert results["bad"]["teacher"] == {"forward": row}


def test_a_variant_that_failed_is_told(tmp_path):
    figures = {**STEP, "failed": {"edsr, auto without graph": "RuntimeError: no memory"}}
    (found,) = run(tmp_path, one=Part("x", writing(json.dumps(figures), "sys.exit(1)"), gpu._step, 60)).values()
    assert found["status"] == "failed"
    assert found["summary"].endswith("4.0 GiB; edsr, auto without graph failed: RuntimeError: no memory")
    assert found["edsr"] == STEP["edsr"]


def test_the_total_cuts_the_last_part_and_leaves_out_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 1)
    slow = xml(writing(PASSING, "time.sleep(600)"), 300)
    results = run(tmp_path, total=9, slow=slow, late=xml(writing(PASSING)), later=xml(writing(PASSING)))
    assert [result["status"] for result in results.values()] == ["out of time", "not run", "not run"]
    assert results["slow"]["summary"] == "1 passed, 0 failed, 1 skipped"
    assert 7 < results["slow"]["limit"] <= 8
    assert results["late"]["summary"] == "the time for all parts was over"
    assert "| later | x | not run | 0.0 |" in table(results)


def test_one_limit_for_all_takes_the_place_of_each_ones(tmp_path):
    results = run(tmp_path, limit=40, one=xml(writing(PASSING)), two=xml(writing(PASSING), 30))
    assert [result["limit"] for result in results.values()] == [40, 40]


RUNNER = """
import json, sys
from pathlib import Path
from tests import gpu
gpu._machine = lambda: {"gpu": "one"}
commands = json.loads(sys.argv[1])
gpu.PARTS = {name: gpu.Part("x", tuple(command), gpu._step, 300) for name, command in commands.items()}
sys.exit(gpu.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_part_that_runs_too(tmp_path, number):
    """With its children; what was measured is kept, and the table closes the run all the same."""
    child = "import subprocess; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    pids = "import os; print('pids', os.getpid(), c.pid, os.getsid(0), flush=True); time.sleep(600)"
    commands = {"slow": writing(json.dumps(STEP), child + pids), "late": writing(json.dumps(STEP))}
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, json.dumps(commands), "--json", str(tmp_path / "gpu.json")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert runner.stdout is not None
    try:
        said = next(line for line in runner.stdout if line.startswith("pids"))
        part, grandchild, session = map(int, said.split()[1:])
        os.kill(runner.pid, number)
        rest = runner.communicate(timeout=120)[0]
    finally:
        runner.kill()
    assert all(gone(pid) for pid in (part, grandchild))
    if sys.version_info >= (3, 11):
        assert session == runner.pid, "who ends the runner's session ends the part too"
    assert runner.returncode == 1
    assert "| slow | x | stopped |" in rest
    assert "| late | x | not run | 0.0 | the run was stopped before |" in rest
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert found["slow"]["edsr"] == STEP["edsr"]
    assert found["late"]["status"] == "not run"


def test_the_options_are_the_runs(tmp_path, monkeypatch):
    """The total counts from the start, with what it takes to look at the machine."""
    asked = []
    monkeypatch.setattr(gpu, "_machine", lambda: {"gpu": "one"})
    monkeypatch.setattr(gpu, "run_parts", lambda *arguments: asked.append(arguments) or {})
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)  # of this process
    assert gpu.main(["--json", "x.json", "--limit", "60", "--total", "450", "doctor"]) == 0
    assert gpu.main([]) == 0
    (names, parts, path, machine, limit, left), plain = asked
    assert (names, parts, path, machine, limit) == (["doctor"], PARTS, Path("x.json"), {"gpu": "one"}, 60)
    assert 300 < left < 450
    assert plain == (list(PARTS), PARTS, Path("gpu.json"), {"gpu": "one"}, None, math.inf)


def test_figures_are_there_after_every_part(tmp_path):
    seen = f"import json; print(list(json.load(open({str(tmp_path / 'gpu.json')!r}))['parts']))"
    results = run(
        tmp_path,
        one=xml(writing(PASSING)),
        two=xml(("-c", seen)),
    )
    assert results["two"]["summary"] == "['one']"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json"]


def test_the_status_says_whether_all_passed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_machine", lambda: {"gpu": "one"})
    monkeypatch.setattr(gpu, "PARTS", {"good": xml(writing(PASSING)), "bad": xml(("-c", ""))})
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)  # of this process
    out = ["--json", str(tmp_path / "gpu.json")]
    assert gpu.main(["good", *out]) == 0
    assert gpu.main(out) == 1
    with pytest.raises(SystemExit):
        gpu.main(["goood"])
    assert "no part 'goood'; there are good, bad" in capsys.readouterr().err


def test_without_a_gpu_it_says_so():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == NO_GPU
    assert done.stderr.splitlines()[-1] == "make gpu: PyTorch finds no CUDA device here, so nothing was run"


@pytest.mark.parametrize("name", [name for name in PARTS if "pytest" in PARTS[name].command])
def test_parts_name_tests_that_are_there(name, monkeypatch, capsys):
    module, pytest_itself, *words = (word for word in PARTS[name].command if word not in ("--junitxml", "{out}"))
    assert (module, pytest_itself) == ("-m", "pytest")
    monkeypatch.chdir(ROOT)
    status = pytest.main([*words, "--collect-only", "-q"])  # here, where the tests' modules are imported already
    said = capsys.readouterr().out
    assert status == 0, said
    assert "gpu" in said


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if "tests.benchmarks.step" in part.command])
def test_parts_name_variants_that_are_there(name):
    from tests.benchmarks.recipes import RECIPES
    from tests.benchmarks.step import variants

    command = PARTS[name].command
    assert set(command[command.index("--variants") + 1 :]) <= set(variants(torch.device("cuda")))
    assert command[command.index("--recipes") + 1] in RECIPES["paper"]


def test_every_test_for_a_gpu_is_in_one_part():
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py") if "@pytest.mark.gpu" in read(path)]
    files.remove(Path(__file__).relative_to(ROOT))
    assert len(files) > 4
    for file in files:
        folders = {str(folder) for folder in file.parents}
        parts = [name for name, part in PARTS.items() if "pytest" in part.command and folders & set(part.command)]
        assert len(parts) == 1, (file, parts)


def test_a_test_that_hangs_shows_where_and_ends_its_part(tmp_path):
    tests = tmp_path / "test_hanging.py"
    tests.write_text(
        "import time\nimport pytest\n\n"
        "@pytest.mark.gpu\ndef test_one(): pass\n\n@pytest.mark.gpu\ndef test_two(): time.sleep(600)\n"
    )
    (found,) = run(tmp_path, hanging=xml(gpu._pytest(str(tests), seconds=3), 300)).values()
    assert found["status"] == "failed"
    said = "\n".join(found["tail"])
    assert "test_one PASSED" in said
    assert re.search(r"test_hanging\.py\W+line 8 in test_two", said)


def test_the_documentation_says_what_is_so():
    """Its plan for a quarter of an hour leaves three minutes to start and to set up."""
    text = read(ROOT / "docs/guide/performance.md")
    assert re.findall(r"killed (\d+)\s+seconds\s+later", text) == [str(GRACE)]
    hangs = re.search(r"takes (\d+) seconds \((\d+) in\s+`resume`\)", text)
    assert hangs is not None
    for part, seconds in zip(("tests", "resume"), hangs.groups()):
        assert f"faulthandler_timeout={seconds}" in PARTS[part].command
    plan = re.findall(r"^ +make gpu .*TOTAL=(\d+)", text, re.MULTILINE)
    assert len(plan) == 2
    assert sum(map(int, plan)) <= 12 * 60
    assert max(map(int, plan)) <= 8 * 60
    (first, second) = (line for line in text.splitlines() if "make gpu" in line and "TOTAL=" in line)
    assert "PARTS" not in first, "in the order of importance"
    (names,) = re.findall('PARTS="(.*?)"', second)
    assert set(names.split()) <= set(PARTS)
