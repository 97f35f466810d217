"""A network to files that other programs load, each read back and compared, with a card beside them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..archs.complexity import multiply_adds
from ..archs.networks.spandrel_arch import merged
from ..disk import temporary_folder
from ..errors import CheckpointError, ConfigError, DCKDError, message_of, near_miss
from ..inference.padding import run_padded
from ..report.cost import parameter_count
from ..version import __version__
from ..weight_files import write_safetensors
from .card import CARD, CARD_FILES, CONFIG, Subject, write_card
from .card_facts import CardFacts, facts_of_run
from .checking import Check, Picture, agreement, pictures_for, require
from .ncnn_files import NcnnNetwork, ncnn_refusal, require_ncnn, write_ncnn
from .onnx_files import require_onnx, write_onnx
from .onnx_network import OnnxNetwork
from .opening import Opened, open_network
from .published import Published, published, without_tlc

__all__ = ["FORMATS", "Exported", "earlier_files", "export_network", "file_stem", "known_formats", "require_formats"]

FORMATS = {"safetensors": ("safetensors",), "pth": ("pth",), "onnx": ("onnx",), "ncnn": ("param", "bin")}
"""Suffixes of the files, by format."""
_NO_FLOAT16 = ("SwinIR", "Swin2SR")
_LEAST_INSIDE = 0.05
"""Of the network's values how many must lie between 0 and 1 for a comparison to tell something."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: by format.
        checks: how their outputs compare with the network's.
        card: README.md; config.json and openmodeldb.json are beside it.
        notes: what the card says of limits that showed while the files were written.
    """

    files: dict[str, list[Path]]
    checks: list[Check]
    card: Path
    notes: tuple[str, ...] = ()


@dataclass
class _Export:
    """An export under way: the network as it is written, and what is found on the way."""

    opened: Opened
    net: nn.Module
    channels: int
    half: bool
    opset: int
    pictures: Sequence[Picture]
    weights: Published
    folder: Path
    name: str
    checks: list[Check] = field(default_factory=list)
    onnx_way: str | None = None

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}.{suffix}"

    def compare(self, file: Path, program: str, other: Callable[[Tensor], Tensor]) -> list[Check]:
        facts = self.opened.facts

        def network(x: Tensor) -> Tensor:
            return run_padded(self.net, x, facts)

        return agreement(file.name, program, network, other, self.pictures, facts, half=self.half)


def export_network(
    opened: Opened,
    formats: Sequence[str],
    folder: Path,
    *,
    name: str,
    half: bool = False,
    opset: int = 18,
    photos: Sequence[Path] = (),
    gt: Sequence[Path] = (),
    about: CardFacts | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a network as files of several formats, with a card. Either all are there in the end, or none.

    Args:
        opened: the network.
        formats: of ``safetensors``, ``pth``, ``onnx``, ``ncnn``.
        folder: where to; made if it is not there.
        name: stem of the files.
        half: float16: weights of all formats, and ONNX's input and output.
        opset: of ONNX.
        photos: inputs to compare outputs on; without any scikit-image's photos, or random pictures.
        gt: ground truth of ``photos``.
        about: what the card says; None takes what the run's folder tells.
        overwrite: replace files that are there.

    Raises:
        ConfigError: an unknown format, name or opset.
        CheckpointError: the network has no such form, a file exists, or one does not give the network's outputs.
        DatasetError: a photo cannot be read.
        DCKDError: a package is missing.
    """
    kinds = _judged(opened, formats, name, half, opset)
    targets = [f"{name}.{suffix}" for kind in kinds for suffix in FORMATS[kind]] + list(CARD_FILES)
    _require_room(opened, folder, targets, overwrite)
    channels = _channels(opened)
    pictures, compared_on = pictures_for(opened.facts, channels[0], photos, gt)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder) as inner:
            weights = published(opened, half=half)
            job = _Export(opened, without_tlc(opened.net), channels[0], half, opset, pictures, weights, inner, name)
            bar = tqdm(kinds, desc="export", unit="format", disable=None, leave=False)
            files = {kind: _WRITERS[kind](job) for kind in bar}
            subject = _subject(job, channels, compared_on, files)
            card = write_card(job.folder, subject, files, job.checks, about or facts_of_run(opened))
            for path in [*(path for paths in files.values() for path in paths), *card]:
                path.replace(folder / path.name)
    except OSError as error:
        raise CheckpointError(f"'{folder}' cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):  # what an export that failed made and left empty
            for each in made:
                each.rmdir()
    written = {kind: [folder / path.name for path in paths] for kind, paths in files.items()}
    return Exported(written, job.checks, folder / CARD, subject.notes)


def file_stem(text: str) -> str:
    """Return a stem that files can have on every system, as near to ``text`` as that goes."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("._+-")[:100] or "network"


def earlier_files(folder: Path) -> list[Path]:
    """Return the files of networks in ``folder`` of which a card of an earlier export tells."""
    try:
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        ours = str(told["producer"]).startswith("dckd_basicsr")
        names = [Path(str(name)).name for kind in told["files"].values() for name in kind] if ours else []
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
    return [folder / name for name in names if (folder / name).is_file()]


def _require_room(opened: Opened, folder: Path, targets: Sequence[str], overwrite: bool) -> None:
    """Raise CheckpointError where files would go that are not to go."""
    there = [target for target in targets if (folder / target).exists()]
    if there and not overwrite:
        listed = f"'{folder / there[0]}'" + "".join(f", {name}" for name in there[1:])
        verb = "exist" if there[1:] else "exists"
        raise CheckpointError(f"{listed} {verb}; choose another folder (-o) or pass --overwrite, which replaces them")
    if any((folder / target).resolve() == opened.file.resolve() for target in there):
        raise CheckpointError(
            f"'{opened.file}' is what is exported, and would be replaced; choose another folder (-o) or name (--name)"
        )
    left = [path.name for path in earlier_files(folder) if path.name not in targets]
    if left:
        raise CheckpointError(
            f"'{folder}' holds {', '.join(left)} of an earlier export, of which the new card would not tell any more; "
            "name their formats in --to too, delete them, or choose another folder (-o)"
        )


def _judged(opened: Opened, formats: Sequence[str], name: str, half: bool, opset: int) -> list[str]:
    """Return the formats, each once, or raise before anything is made."""
    kinds = _known(formats)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
        raise ConfigError(
            f"files cannot be called '{name}': letters, digits and . _ + - go, a letter or digit first (--name)"
        )
    if isinstance(opened.net, OnnxNetwork):
        raise CheckpointError(f"'{opened.file}' is an ONNX file already; export from the run or the weight file")
    if "onnx" in kinds and half and opened.name in _NO_FLOAT16:
        raise CheckpointError(
            f"{opened.name} does not compute in float16: its attention gives black or shifted pictures there; "
            "leave --fp16 out"
        )
    require_formats(opened.name, kinds, f"'{opened.file}'", opset)
    return kinds


def known_formats(text: str) -> list[str]:
    """Return the formats that a text names, with commas between; each once.

    Raises:
        ConfigError: one is unknown, or there is none.
    """
    return _known([part.strip() for part in text.split(",") if part.strip()])


def _known(formats: Sequence[str]) -> list[str]:
    for kind in formats:
        if kind not in FORMATS:
            hint = near_miss(kind, FORMATS) or f". There are: {', '.join(FORMATS)}"
            raise ConfigError(f"there is no format '{kind}' to export to{hint}")
    if not formats:
        raise ConfigError(f"name at least one format to export to: {', '.join(FORMATS)}")
    return list(dict.fromkeys(formats))


def require_formats(architecture: str, formats: Sequence[str], subject: str, opset: int = 18) -> None:
    """Refuse formats that an architecture has no form for, or whose packages are missing.

    Args:
        architecture: name of the network's class.
        formats: known ones.
        subject: what is exported, for the message.
        opset: of ONNX.

    Raises:
        CheckpointError: there is no such form.
        DCKDError: a package is missing.
    """
    if "onnx" in formats:
        require_onnx(opset)
    if "ncnn" in formats:
        reason = ncnn_refusal(architecture)
        if reason:
            raise CheckpointError(f"{subject} cannot be exported to ncnn: {reason}")
        require_ncnn()


def _channels(opened: Opened) -> tuple[int, int]:
    told = opened.options or {}

    def first(names: tuple[str, ...], default: int) -> int:
        return next((int(told[name]) for name in names if isinstance(told.get(name), int)), default)

    into = opened.facts.input_channels or first(("num_in_ch", "in_chans", "inp_channels", "img_channel"), 3)
    return into, opened.facts.output_channels or first(("num_out_ch", "out_channels"), into)


def _write_weights(job: _Export, suffix: str, write: Callable[[Path], object]) -> list[Path]:
    path = job.path(suffix)
    write(path)
    if job.weights.spandrel is not None:
        import spandrel

        program, loaded = "spandrel", spandrel.ModelLoader().load_from_file(str(path))
        if not isinstance(loaded, spandrel.ImageModelDescriptor) or loaded.scale != job.opened.facts.scale:
            raise CheckpointError(
                f"spandrel takes the weights for a {loaded.architecture.name} of scale {loaded.scale}, and they are of "
                f"a {job.opened.name} of scale {job.opened.facts.scale}; nothing was written"
            )
        loaded.eval()
        run: Callable[[Tensor], Tensor] = loaded
    else:
        program = "open_network"
        try:
            read = open_network(path)
        except DCKDError as error:
            raise CheckpointError(
                f"nobody can tell from {path.name} alone which {job.opened.name} it is of; nothing was written. A "
                "network with options (a run's) can be exported to safetensors, which carry them, and to onnx"
            ) from error

        def run(x: Tensor) -> Tensor:
            return run_padded(read.net, x, read.facts)

    checks = job.compare(path, program, run)
    require(checks)
    job.checks += checks
    return [path]


def _safetensors(job: _Export) -> list[Path]:
    told = {"format": "pt", "producer": f"dckd_basicsr {__version__}", "architecture": job.opened.name}
    if job.weights.config is not None:
        told["config"] = json.dumps(dict(job.weights.config))
    return _write_weights(job, "safetensors", lambda path: write_safetensors(job.weights.state, path, told))


def _pth(job: _Export) -> list[Path]:
    return _write_weights(job, "pth", lambda path: torch.save({"params": job.weights.state}, path))


def _onnx(job: _Export) -> list[Path]:
    path, found = job.path("onnx"), [[Check("", "", "", 0.0, 0.0, None, None, agrees=False, inside=0.0)]]

    def disagreement(written: Path) -> str:
        read = OnnxNetwork(written)
        found[0] = job.compare(written, "onnxruntime", lambda x: run_padded(read, x, read.facts))
        try:
            require(found[0])
        except DCKDError as error:
            return message_of(error).split("; nothing")[0]
        return ""

    told = {"name": job.name, "architecture": job.opened.name}
    job.onnx_way = write_onnx(
        job.net, job.opened.facts, job.channels, path, disagreement, half=job.half, opset=job.opset, metadata=told
    )
    job.checks += found[0]
    return [path]


def _ncnn(job: _Export) -> list[Path]:
    facts = job.opened.facts
    paths = write_ncnn(job.net, job.opened.name, facts, job.channels, job.folder / job.name, half=job.half)
    read = NcnnNetwork(*paths)
    checks = job.compare(paths[0], "ncnn", lambda x: run_padded(read, x, facts))
    require(checks)
    job.checks += checks
    return paths


_WRITERS = {"safetensors": _safetensors, "pth": _pth, "onnx": _onnx, "ncnn": _ncnn}


def _subject(job: _Export, channels: tuple[int, int], compared_on: str, files: Mapping[str, Sequence[Path]]) -> Subject:
    opened = job.opened
    notes = list(job.weights.notes) if files.keys() & {"safetensors", "pth"} else []
    if job.net is not opened.net:
        notes.append(
            "Trained or validated with test-time local conversion (tlc), a way of running that no other program has: "
            "all of these files run without it, and were compared without it. PSNR measured with TLC is not reproduced."
        )
    if job.checks and all(check.inside < _LEAST_INSIDE for check in job.checks):
        notes.append(
            "Nearly all answers of the network to the pictures that were compared lie below 0 or above 1, where "
            "everything is black or white: that files agree tells little. It was not trained, or wants other pictures."
        )
    if opened.guessed:
        notes.append("The weight file told no arguments; those that leave no trace in it have their usual values.")
    return Subject(
        job.name,
        opened.name,
        opened.facts,
        channels,
        job.weights.spandrel,
        parameter_count(merged(job.net)),
        _multiply_adds(job, channels[0]),
        job.half,
        job.opset,
        job.onnx_way,
        compared_on,
        tuple(notes),
    )


def _multiply_adds(job: _Export, channels: int) -> int | None:
    try:
        return multiply_adds(merged(job.net), (1, channels, *job.opened.facts.padded(256, 256)))
    except Exception:  # whatever a network does without values
        return None
