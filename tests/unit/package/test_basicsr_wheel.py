"""BasicSR's wheel, from an archive laid out like the released one: its content, where it comes from, what stops it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from dckd_basicsr import basicsr_wheel
from dckd_basicsr.basicsr_wheel import SDIST, WHEEL, WheelError
from dckd_basicsr.cli import main

FILE = Path(basicsr_wheel.__file__)
PARTS = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: basicsr\nVersion: 1.4.2\nSummary: Restoration\n"
    "License: Apache License 2.0\nDescription: # Title\n        \n        text\n        \nKeywords: one,two\n"
    "Classifier: A :: B\nClassifier: C :: D\n",
    "README.md": "# Title\n\ntext with 中文\n",
    "LICENSE.txt": "Apache\n",
    "requirements.txt": "addict\nnumpy>=1.17\n\n",
    "setup.py": "raise SystemExit('setup.py was run')\n",
    "scripts/plot.py": "raise SystemExit\n",
    "basicsr/__init__.py": "from .version import __version__\n",
    "basicsr/version.py": "__version__ = '1.4.2'\n",
    "basicsr/ops/dcn/src/kernel.cu": "// CUDA\n",
}


def archive(parts: dict[str, str], *more: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in parts.items():
            entry = tarfile.TarInfo(f"basicsr-1.4.2/{name}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        for entry in more:
            tar.addfile(entry)
    return file.getvalue()


SOURCE = archive(PARTS)


@pytest.fixture(autouse=True)
def _its_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive of these tests stands in for the released one; pip has no settings but those of a test."""
    monkeypatch.setattr(basicsr_wheel, "SHA256", hashlib.sha256(SOURCE).hexdigest())
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def test_the_wheel_holds_the_package_and_installs(tmp_path: Path) -> None:
    wheel = basicsr_wheel.write_wheel(SOURCE, tmp_path / "new")
    assert wheel == tmp_path / "new" / WHEEL
    assert wheel.read_bytes() == basicsr_wheel.write_wheel(SOURCE, tmp_path).read_bytes()
    assert [path.name for path in wheel.parent.iterdir()] == [WHEEL]
    files = zipfile.ZipFile(wheel)
    info = {f"basicsr-1.4.2.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "top_level.txt")}
    package = {name for name in PARTS if name.startswith("basicsr/")}
    assert set(files.namelist()) == package | info | {"basicsr-1.4.2.dist-info/licenses/LICENSE.txt"}
    for row in files.read("basicsr-1.4.2.dist-info/RECORD").decode().splitlines()[:-1]:
        name, recorded, size = row.split(",")
        digest = base64.urlsafe_b64encode(hashlib.sha256(files.read(name)).digest()).decode().rstrip("=")
        assert (recorded, int(size)) == (f"sha256={digest}", files.getinfo(name).file_size)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
    ]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = metadata.distributions(path=[str(tmp_path / "site")])
    assert (found.version, found.requires) == ("1.4.2", ["addict", "numpy>=1.17"])
    assert found.metadata.get_all("Classifier") == ["A :: B", "C :: D"]
    assert (found.metadata["Summary"], found.metadata["License"]) == ("Restoration", "Apache License 2.0")
    assert found.metadata["Keywords"] == "one,two"
    assert found.read_text("METADATA").endswith("\n\n# Title\n\ntext with 中文\n")
    assert (tmp_path / "site/basicsr/ops/dcn/src/kernel.cu").read_text() == "// CUDA\n"


def link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (tarfile.TarInfo("basicsr-1.4.2/../../evil.py"), "a path outside of basicsr-1.4.2/"),
        (tarfile.TarInfo("/basicsr-1.4.2/basicsr/evil.py"), "a path outside"),
        (tarfile.TarInfo("basicsr-1.4.2/basicsr\\..\\evil.py"), "a path outside"),
        (tarfile.TarInfo("evil.py"), "a path outside"),
        (link("basicsr-1.4.2/basicsr/evil.py", "/etc/passwd"), "neither file nor folder: 'basicsr-1.4.2/basicsr/evil"),
    ],
)
def test_nothing_leads_out_of_the_archive(tmp_path: Path, entry: tarfile.TarInfo, said: str) -> None:
    with pytest.raises(WheelError, match=said.replace(".", r"\.")):
        basicsr_wheel.write_wheel(archive(PARTS, entry), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_no_archive_of_basicsr_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="the archive cannot be read: not a gzip file"):
        basicsr_wheel.write_wheel(b"no archive", tmp_path)
    with pytest.raises(WheelError, match="the archive cannot be read"):
        basicsr_wheel.write_wheel(SOURCE[:-40], tmp_path)
    for name in ("requirements.txt", "basicsr/version.py"):
        with pytest.raises(WheelError, match=f"the archive has no {name}"):
            basicsr_wheel.write_wheel(archive({key: text for key, text in PARTS.items() if key != name}), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(WheelError, match=r"cannot be written to '.*file': File exists"):
        basicsr_wheel.write_wheel(SOURCE, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def index() -> Iterator[str]:
    """The address of a private index: JSON below /json, HTML below /html, nothing below /empty."""
    files = [{"url": "/x/other.tar.gz"}, {"url": f"../../files/{SDIST}"}]
    pages = {
        "/json/basicsr/": ("application/vnd.pypi.simple.v1+json", {"files": files}),
        "/html/basicsr/": ("text/html; charset=utf-8", f'<a href="../../files/{SDIST}#sha256=00">basicsr</a>'),
        "/wrong/basicsr/": ("text/html", f'<a href="/wrong/{SDIST}">basicsr</a>'),
        "/empty/basicsr/": ("text/html", "<a>nothing</a>"),
        f"/files/{SDIST}": ("application/octet-stream", SOURCE),
        f"/wrong/{SDIST}": ("application/octet-stream", SOURCE + b"more"),
    }  # fmt: skip

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = pages.get(self.path, ("", None))
            allowed = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:p@ss").decode()
            self.send_response((200 if body is not None else 404) if allowed else 401)
            self.send_header("Content-Type", kind)
            self.end_headers()
            if allowed and body is not None:
                text = json.dumps(body) if isinstance(body, dict) else body
                self.wfile.write(text.encode() if isinstance(text, str) else text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:p%40ss@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("first", ["json", "html"])
def test_it_comes_from_the_index_of_pip(index: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/empty/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{index}/gone {index}/{first}")
    assert basicsr_wheel.fetch() == SOURCE


def test_an_index_without_it_is_named_and_its_password_is_not(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = index.partition("@")[2]
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/empty")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{index}/gone http://you:no@{host}/json http://127.0.0.1:9/simple")
    with pytest.raises(WheelError) as caught:
        basicsr_wheel.fetch()
    said = str(caught.value)
    assert said.startswith(f"{SDIST} was found nowhere: http://{host}/empty/basicsr/ (no {SDIST}), ")
    for text in (
        f"{host}/gone/basicsr/ (Not Found)",
        f"{host}/json/basicsr/ (Unauthorized)",
        "refused",
        "--sdist FILE",
    ):
        assert text in said
    assert "p%40ss" not in said
    assert "you:no" not in said
    assert "\n" not in said


def test_another_file_of_that_name_is_refused(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/wrong")
    with pytest.raises(
        WheelError, match=rf"/wrong/{SDIST} is not {SDIST} as released: its sha256 is [0-9a-f]{{64}}, exp"
    ):
        basicsr_wheel.fetch()


def test_it_comes_from_folders_where_there_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} {folder.as_uri()}")
    with pytest.raises(WheelError, match=r"found nowhere: '.*' .no basicsr-1.4.2.tar.gz., '.*links' .no basicsr"):
        basicsr_wheel.fetch()
    (folder / SDIST).write_bytes(SOURCE)
    assert basicsr_wheel.fetch() == SOURCE


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / SDIST).write_bytes(SOURCE)
    assert main(["setup", "--sdist", str(tmp_path / SDIST), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / WHEEL}\n"
    assert (tmp_path / "out" / WHEEL).is_file()
    assert main(["setup"]) == 0  # it is installed here
    assert capsys.readouterr().out.startswith("BasicSR 1.4.2 is installed in ")
    (tmp_path / SDIST).write_bytes(SOURCE[:-1])
    assert main(["setup", "--sdist", str(tmp_path / SDIST), "-o", str(tmp_path)]) == 1
    assert f"basicsr: error: '{tmp_path / SDIST}' is not {SDIST} as released: its sha256" in capsys.readouterr().err


def test_the_file_runs_before_anything_is_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-X", "importtime", str(FILE), "--sdist", "nowhere", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    *imported, said = done.stderr.splitlines()
    assert (done.returncode, said) == (1, "basicsr_wheel: error: 'nowhere' cannot be read: No such file or directory")
    assert not any("dckd_basicsr" in line or "torch" in line for line in imported)
    assert not list(tmp_path.iterdir())


WITHOUT = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "basicsr" else find(name, package)
"""


def test_without_basicsr_one_line_says_what_installs_it() -> None:
    command = f"{Path(sys.executable).name} -m dckd_basicsr setup"
    line = f"BasicSR 1.4.2 is not installed in this Python; install it with: {command}"
    done = [
        subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, check=False)
        for code in (
            "import dckd_command; sys.exit(dckd_command.main(['train', '-opt', 'dckd_x4_edsr']))",
            "try: import dckd_basicsr\nexcept ImportError as error: print(error)",
        )
    ]
    assert (done[0].returncode, done[0].stderr.strip()) == (1, f"basicsr: error: {line}")
    assert (done[1].returncode, done[1].stdout.strip()) == (0, line), done[1].stderr
