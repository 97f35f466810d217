"""What is being written: short names whatever the target is called, and nothing left of writers that were killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from dckd_basicsr.disk import Owner, clear_temporary, temporary_folder, temporary_in
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.portable import export_network
from dckd_basicsr.weight_files import atomic_write
from tests.unit.portable.export_nets import opened

WRITER = """
import sys
from pathlib import Path
from dckd_basicsr.disk import temporary_folder, temporary_in

with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "half.bin").write_bytes(b"half")
    temporary_in(Path(sys.argv[1])).write_bytes(b"half")
    print("writes", flush=True)
    sys.stdin.read()
"""


def listed(folder):
    return {path.name for path in folder.iterdir()}


def writer(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    return process


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "网" * 83 + ".png"], ids=["latin", "chinese"])
def test_a_name_as_long_as_names_may_be_is_written(tmp_path, name):
    atomic_write(tmp_path / name, lambda temporary: temporary.write_bytes(b"whole"))
    assert (tmp_path / name).read_bytes() == b"whole"
    assert listed(tmp_path) == {name}


def test_a_longer_name_is_told_and_leaves_nothing(tmp_path):
    name = "a" * 252 + ".png"
    with pytest.raises(CheckpointError, match=r"the name has 256 bytes, the path \d+, and one of them is too long"):
        atomic_write(tmp_path / name, lambda temporary: temporary.write_bytes(b"whole"))
    assert not listed(tmp_path)


def test_names_that_are_used_at_a_time_are_short_and_different(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node.cluster.example" * 4)
    names = {temporary_in(tmp_path).name for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) < 100 and name.rindex(".") == len(".dckd") for name in names)


def test_what_a_killed_export_left_goes_with_the_next_and_nothing_else(tmp_path):
    killed, alive = writer(tmp_path), None
    try:
        assert len(listed(tmp_path)) == 2
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        left = listed(tmp_path)
        alive = writer(tmp_path)  # clears, too
        written = listed(tmp_path)
        assert len(written) == 2
        assert not left & written
        others = {
            f".dckd.tmp-{Owner('elsewhere', '0' * 8, killed.pid)}",  # another container's
            temporary_in(tmp_path).name,  # our own
            ".dckd.tmp-mine",
            ".net.tmp-1a2b3c4d",
        }
        for name in others:
            (tmp_path / name).write_bytes(b"half")
        export_network(opened("EDSR"), ["pth"], tmp_path, name="net")
        card = {"net.pth", "README.md", "config.json", "openmodeldb.json"}
        assert listed(tmp_path) == card | written | others
    finally:
        for process in (killed, alive):
            if process is not None:
                process.kill()
                process.communicate()
    clear_temporary(tmp_path)
    assert listed(tmp_path) == card | others


def test_what_an_earlier_process_of_our_number_left_goes(tmp_path):
    """A container that is started again numbers its processes as before."""
    temporary_in(tmp_path).write_bytes(b"ours")
    ours = listed(tmp_path)
    (tmp_path / f".dckd.tmp-{str(Owner()).replace('.', '_')}").write_bytes(b"half")
    clear_temporary(tmp_path)
    assert listed(tmp_path) == ours


def test_a_folder_goes_when_its_writer_fails(tmp_path):
    def fail():
        with temporary_folder(tmp_path) as folder:
            (folder / "half").write_bytes(b"half")
            raise KeyError("half")

    with pytest.raises(KeyError, match="half"):
        fail()
    assert not listed(tmp_path)
    clear_temporary(tmp_path / "nowhere")
