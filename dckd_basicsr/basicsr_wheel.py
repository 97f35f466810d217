"""A wheel of BasicSR 1.4.2, written from its released source archive without running its ``setup.py``.

BasicSR is pure Python and has no wheel of its own. Its ``setup.py`` stops with a KeyError on Python 3.13 and newer (it
reads a variable that ``exec`` has set out of ``locals()``), and elsewhere asks for PyTorch to be installed for the
build alone. What it would have built is known: every file of the archive's ``basicsr/`` as it stands (its
``version.py``, made for the release, included), and metadata whose parts lie beside that folder.

Needs the standard library alone and runs before anything is installed, as a file::

    python dckd_basicsr/basicsr_wheel.py             # install it into this Python
    python dckd_basicsr/basicsr_wheel.py -o FOLDER   # write the wheel there, and install nothing

``basicsr setup`` is the same. The archive comes from where pip is told to look (its index, its ``find-links``), or is
given with ``--sdist``; it has to be, byte for byte, the one that was released.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from email.parser import HeaderParser
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

__all__ = [
    "SDIST",
    "SHA256",
    "VERSION",
    "WHEEL",
    "WheelError",
    "add_arguments",
    "fetch",
    "main",
    "run",
    "write_wheel",
]

VERSION = "1.4.2"
SDIST = f"basicsr-{VERSION}.tar.gz"
SHA256 = "b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87"
"""Of the archive on PyPI (https://pypi.org/project/basicsr/1.4.2/#files), released on 30 August 2022."""
WHEEL = f"basicsr-{VERSION}-py3-none-any.whl"
_TOP, _INFO = f"basicsr-{VERSION}", f"basicsr-{VERSION}.dist-info"
_TAGS = b"Wheel-Version: 1.0\nGenerator: dckd_basicsr\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_RELEASED = (2022, 8, 30, 4, 33, 52)
_KEPT = ("Summary", "Home-page", "Author", "Author-email", "License", "Keywords", "Classifier")
_LIMIT = 1 << 26  # bytes of an index page or the archive; PyPI's are below 200 kB
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_PLAIN = (OSError, ValueError, http.client.HTTPException)


class WheelError(Exception):
    """What stopped it, in one sentence."""


def write_wheel(sdist: bytes, folder: Path) -> Path:
    """Write the wheel of a source archive; the same archive gives the same bytes on every machine.

    Args:
        sdist: the archive, a gzipped tar. Nothing of it is unpacked to the disk or run.
        folder: made if missing; a wheel of that name in it is replaced once the new one is whole.

    Returns:
        The wheel's path.

    Raises:
        WheelError: the archive is not laid out as BasicSR's, or the folder cannot be written.
    """
    given = _files(sdist)
    files = {name: data for name, data in given.items() if name.startswith("basicsr/")}
    try:
        files |= {
            f"{_INFO}/METADATA": _metadata(given).encode(),
            f"{_INFO}/WHEEL": _TAGS,
            f"{_INFO}/licenses/LICENSE.txt": given["LICENSE.txt"],
            f"{_INFO}/top_level.txt": b"basicsr\n",
        }
        files["basicsr/version.py"]
    except KeyError as error:
        raise WheelError(f"the archive has no {error.args[0]}; {SDIST} as released does") from error
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}\n" for name, data in files.items()]
    files[f"{_INFO}/RECORD"] = "".join([*rows, f"{_INFO}/RECORD,,\n"]).encode()
    path = folder / WHEEL
    part = folder / f".{WHEEL}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _zip(files, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WheelError(f"the wheel cannot be written to '{folder}': {error.strerror or error}") from error
    return path


def _files(sdist: bytes) -> dict[str, bytes]:
    """Read an archive's files by name, without the folder that holds them all; no name leads out of it."""
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(sdist), mode="r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if "\\" in member.name or ".." in name.parts or name.parts[:1] != (_TOP,):
                    raise WheelError(f"the archive has a path outside of {_TOP}/: {member.name!r}")
                reader = archive.extractfile(member) if member.isreg() else None
                if reader is not None:
                    files[PurePosixPath(*name.parts[1:]).as_posix()] = reader.read()
                elif not member.isdir():
                    raise WheelError(f"the archive has something that is neither file nor folder: {member.name!r}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise WheelError(f"the archive cannot be read: {error}") from error
    return files


def _metadata(given: dict[str, bytes]) -> str:
    """What setuptools makes of BasicSR's setup.py: its fields, the lines of requirements.txt, the README."""
    facts = HeaderParser().parsestr(given["PKG-INFO"].decode())
    lines = ["Metadata-Version: 2.4", "Name: basicsr", f"Version: {VERSION}"]
    lines += [f"{key}: {value}" for key in _KEPT for value in facts.get_all(key, [])]
    lines += ["Description-Content-Type: text/markdown", "License-File: LICENSE.txt"]
    lines += [f"Requires-Dist: {line}" for line in given["requirements.txt"].decode().split("\n") if line.strip()]
    return "\n".join(lines) + "\n\n" + given["README.md"].decode()


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _zip(files: dict[str, bytes], path: Path) -> None:
    """Files as they are: what compression gives depends on the zlib at hand."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _RELEASED)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data)


def fetch() -> bytes:
    """Find the source archive where pip would, folders first, and check that it is the released one.

    Raises:
        WheelError: it is nowhere, or a file of that name is another.
    """
    settings = _pip_settings()
    links, tried = settings.get("find-links", "").split(), []
    for folder in filter(None, map(_folder, links)):
        if (folder / SDIST).is_file():
            return read(folder / SDIST)
        tried.append(f"'{folder}' (no {SDIST})")
    pages = [link for link in links if _folder(link) is None]
    if settings.get("no-index", "").lower() not in ("1", "true", "yes", "on", "y", "t"):
        indexes = [settings.get("index-url") or "https://pypi.org/simple", *settings.get("extra-index-url", "").split()]
        pages += [f"{index.rstrip('/')}/basicsr/" for index in indexes]
    for page in pages:
        try:
            address = _link(page, settings.get("cert"))
            if address is not None:
                return _checked(_download(address, settings.get("cert"))[0], _shown(address))
            tried.append(f"{_shown(page)} (no {SDIST})")
        except _PLAIN as error:
            tried.append(f"{_shown(page)} ({getattr(error, 'reason', None) or error})")
    raise WheelError(
        f"{SDIST} was found nowhere: {', '.join(tried) or 'pip is told to use no index, and no find-links'}. "
        f"Download it from https://pypi.org/project/basicsr/{VERSION}/#files and give it with --sdist FILE"
    )


def read(path: Path) -> bytes:
    """Read a source archive from the disk and check that it is the released one; WheelError says what is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WheelError(f"'{path}' cannot be read: {error.strerror or error}") from error
    return _checked(data, f"'{path}'")


def _checked(data: bytes, name: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise WheelError(f"{name} is not {SDIST} as released: its sha256 is {found}, expected is {SHA256}")
    return data


def _pip_settings() -> dict[str, str]:
    """What pip is told by its files and the environment, by option; the environment alone where there is no pip."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    for section, key, value in re.findall(r"^([\w:]+)\.([\w-]+)=(.*)$", done.stdout, re.MULTILINE):
        with contextlib.suppress(ValueError, SyntaxError):
            found.get(section, {})[key] = str(ast.literal_eval(value))
    for name, value in os.environ.items() if done.returncode else ():
        if name.startswith("PIP_"):
            found[":env:"][name[4:].lower().replace("_", "-")] = value
    return {**found["global"], **found["install"], **found[":env:"]}


def _folder(link: str) -> Path | None:
    """Return the folder that a path or a file: address means, or None for an address of the network."""
    parts = urlsplit(link)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return None if "://" in link else Path(link)


def _link(page: str, cert: str | None) -> str | None:
    """Return the archive's address on a page of an index (JSON or HTML), or None."""
    folder = _folder(page)
    if folder is not None:
        data, base, kind = (folder / "index.html").read_bytes(), page, "text/html"
    else:
        data, base, kind = _download(page, cert)
        if urlsplit(base).netloc == _host(page):  # else a server that knows nothing of the password
            base = urlsplit(base)._replace(netloc=urlsplit(page).netloc).geturl()
    text = data.decode("utf-8", "replace")
    links = [file["url"] for file in json.loads(text)["files"]] if "json" in kind else list(_hrefs(text))
    for link in links:
        address = urldefrag(urljoin(base, link)).url
        if unquote(PurePosixPath(urlsplit(address).path).name) == SDIST:
            return address
    return None


def _hrefs(text: str) -> Iterator[str]:
    found: list[str] = []

    class Anchors(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value for key, value in attrs if tag == "a" and key == "href" and value)

    Anchors().feed(text)
    yield from found


def _download(address: str, cert: str | None) -> tuple[bytes, str, str]:
    """Return what an address holds, where it was after redirections, and its media type."""
    parts = urlsplit(address)
    request = urllib.request.Request(_shown(address), headers={"Accept": _ACCEPT})
    if _host(address) != parts.netloc:  # the name and password of a private index
        user = unquote(parts.netloc.rpartition("@")[0]).encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(user).decode()}")
    with urllib.request.urlopen(request, timeout=60, context=_trust(cert)) as response:
        data = response.read(_LIMIT + 1)
        if len(data) > _LIMIT:
            raise ValueError(f"more than {_LIMIT >> 20} MiB")
        return data, response.geturl(), response.headers.get_content_type()


def _trust(cert: str | None) -> ssl.SSLContext:
    """Return what to trust: pip's setting, the system's certificates, or pip's where Python knows of none (macOS)."""
    context = ssl.create_default_context(cafile=cert)
    if not cert and not context.cert_store_stats()["x509_ca"]:
        with contextlib.suppress(ImportError):
            from pip._vendor import certifi

            context.load_verify_locations(certifi.where())
    return context


def _shown(address: str) -> str:
    """Return an address without name and password."""
    return urlsplit(address)._replace(netloc=_host(address)).geturl()


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command line takes."""
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="write the wheel there, and install nothing")
    parser.add_argument("--sdist", type=Path, metavar="FILE", help=f"{SDIST}, where it is at hand (default: fetch it)")


def run(options: argparse.Namespace) -> int:
    """Write the wheel, or install it into the Python that runs this; the status is 0 or pip's.

    Raises:
        WheelError: what stopped it.
    """
    if options.out is not None:
        print(write_wheel(_archive(options), options.out))
        return 0
    with contextlib.suppress(metadata.PackageNotFoundError):
        if metadata.version("basicsr") == VERSION:
            print(f"BasicSR {VERSION} is installed in {sys.prefix}.")
            return 0
    with tempfile.TemporaryDirectory() as folder:
        wheel = write_wheel(_archive(options), Path(folder))
        return subprocess.run([sys.executable, "-m", "pip", "install", str(wheel)], check=False).returncode


def _archive(options: argparse.Namespace) -> bytes:
    return fetch() if options.sdist is None else read(options.sdist)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run this file's command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=f"Install BasicSR {VERSION}, or write its wheel, without its setup.py."
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except WheelError as error:
        print(f"basicsr_wheel: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
