"""``make gpu``: parts end in time, what was measured is kept, and a failure is a failure. No GPU is needed for this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests import ROOT, gpu
from tests.gpu import NO_GPU, PARTS, Part, run_parts, table

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


def run(tmp_path: Path, limit: float = 60, **parts: Part) -> dict:
    results = run_parts(list(parts), parts, tmp_path / "gpu.json", limit, {"gpu": "none"})
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == results
    return results


def test_parts_are_run_in_order_and_kept(tmp_path, capfd):
    parts = {
        "one": Part("tests", writing(PASSING), gpu._tests),
        "two": Part("a step", writing(json.dumps(STEP)), gpu._step),
    }
    results = run(tmp_path, **parts)
    assert [result["status"] for result in results.values()] == ["passed", "passed"]
    assert results["one"]["summary"] == "1 passed, 0 failed, 1 skipped"
    assert results["two"]["summary"] == "auto 10 of 40 ms, 2.0 of 4.0 GiB"
    assert results["two"]["edsr"] == STEP["edsr"]
    assert capfd.readouterr().out.count("hello") == 2
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
    results = run(tmp_path, bad=Part("x", command, gpu._tests), good=Part("y", writing(PASSING), gpu._tests))
    assert results["bad"]["status"] == "failed"
    assert results["bad"]["summary"] == summary
    assert results["good"]["status"] == "passed"


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
        "child": (10, Part("x", writing(json.dumps(STEP), child), gpu._step)),
        "deaf": (10, Part("x", writing(json.dumps(STEP), deaf), gpu._step)),
        "pytest": (20, Part("x", (*counted, str(tests)), gpu._tests)),
    }

    def one(name):
        limit, part = parts[name]
        (folder / name).mkdir()
        return run(folder / name, limit=limit, **{name: part})[name]

    start = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(gpu, "_GRACE", 5)
        results = dict(zip(parts, pool.map(one, parts)))
    assert time.monotonic() - start < 300
    return results


def test_a_part_out_of_time_is_ended_with_its_children_and_its_figures_are_kept(out_of_time):
    """The child would hold the pipe, and a GPU, for a minute."""
    found = out_of_time["child"]
    assert found["status"] == "out of time"
    assert found["edsr"] == STEP["edsr"]
    pid = next(int(line) for line in found["tail"] if line.isdigit())
    assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()


def test_what_pytest_counted_until_its_time_was_over_is_kept(out_of_time):
    """One of two; the one that was interrupted has not passed."""
    assert out_of_time["pytest"]["status"] == "out of time"
    assert out_of_time["pytest"]["summary"] == "1 passed, 0 failed, 0 skipped"


def test_a_part_that_ignores_the_interruption_is_ended_all_the_same(out_of_time):
    assert out_of_time["deaf"]["status"] == "out of time"
    assert out_of_time["deaf"]["seconds"] < 300


def test_windows_are_told_and_the_kernel_must_be_among_them(tmp_path):
    row = {"ms": {"original": 2.0, "sdpa": 1.5, "triton": 1.0}}
    figures = {"machine": {}, "teacher": {"forward": row}, "student": {"forward": row}}
    path = tmp_path / "figures"
    path.write_text(json.dumps(figures))
    assert gpu._windows(path)["summary"].startswith("teacher forward: original 2.00, sdpa 1.50, triton 1.00 ms; stu")
    path.write_text(json.dumps({**figures, "student": {"forward": {"ms": {"original": 2.0}}}}))
    with pytest.raises(ValueError, match="the kernel did not run: student forward"):
        gpu._windows(path)


def test_figures_are_there_after_every_part(tmp_path):
    seen = f"import json; print(list(json.load(open({str(tmp_path / 'gpu.json')!r}))['parts']))"
    results = run(
        tmp_path,
        one=Part("x", writing(PASSING), gpu._tests),
        two=Part("y", ("-c", seen), gpu._tests),
    )
    assert results["two"]["summary"] == "['one']"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json"]


def test_the_status_says_whether_all_passed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_machine", lambda: {"gpu": "one"})
    monkeypatch.setattr(
        gpu, "PARTS", {"good": Part("x", writing(PASSING), gpu._tests), "bad": Part("x", ("-c", ""), gpu._tests)}
    )
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
