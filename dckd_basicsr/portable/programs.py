"""Which programs load a student, by its architecture."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Program", "programs_of"]


class Program(NamedTuple):
    """A program, or several alike, that a student of some architecture runs in.

    Attributes:
        name: for instance ``chaiNNer, ComfyUI``.
        needs: the file that it takes: ``.pth or .safetensors``, ``.onnx``, ``.param and .bin``.
        note: what to know; may be empty.
    """

    name: str
    needs: str
    note: str = ""


_SPANDREL = Program("chaiNNer, ComfyUI (spandrel)", ".pth or .safetensors")
_EXTRA = Program("spandrel with spandrel_extra_arches", _SPANDREL.needs, "a package of its own, for non-commercial use")
_ONNX = Program("ONNX runtimes", ".onnx")
_NCNN = Program("ncnn tools", ".param and .bin")
_DARKTABLE = Program(
    "darktable",
    ".onnx and config.json",
    "asks for a config.json of its own, which changes between its versions; not tried",
)

_READ_BY_SPANDREL: dict[str, str] = {
    "Compact": "",
    "SPAN": "",
    "PLKSR": "",
    "RCAN": "under the names of the official release",
    "SwinIR": "",
    "NAFNet": "runs without local converters (TLC), so what was measured with them is not reached there",
}
"""Architecture -> what to know of its files."""
_CONVERTED_TO_NCNN = ("Compact", "SPAN", "EDSR", "RCAN", "PLKSR")
_ALIASES = {"SRVGGNetCompact": "Compact"}


def programs_of(architecture: str) -> list[Program]:
    """Return the programs that load a network of this architecture.

    Args:
        architecture: the name of its class, with or without ``spandrel:`` before it: ``SPAN``, ``spandrel:SPAN``.
    """
    of_spandrel = architecture.startswith("spandrel:")
    name = architecture.removeprefix("spandrel:")
    name = _ALIASES.get(name, name)
    found = []
    if name in _READ_BY_SPANDREL or of_spandrel:
        found.append(_SPANDREL._replace(note=_READ_BY_SPANDREL.get(name, "")))
    elif name == "Restormer":
        found.append(_EXTRA)
    found.append(_ONNX)
    if name in _CONVERTED_TO_NCNN:
        found.append(_NCNN)
    if name == "NAFNet":
        found.append(_DARKTABLE)
    return found
