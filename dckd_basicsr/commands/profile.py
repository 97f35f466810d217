"""``basicsr profile``: what networks cost, side by side, and their quality against it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import ConfigError, DCKDError, near_miss
from ..user_modules import add_import_flag
from .arguments import count

if TYPE_CHECKING:
    from ..report import Profile, Subject

__all__ = ["add_profile_parser", "run_profile"]

_SUFFIXES = (".svg", ".png", ".pdf")
_REFERENCE = "edsr-m"
"""What presets are compared with, where it is among them."""


def add_profile_parser(commands: Any) -> None:
    """Add ``profile`` to the command line's subparsers."""
    parser = commands.add_parser(
        "profile",
        help="what networks cost: parameters, multiply-adds, memory, latency; and quality against it",
        description="Measure networks side by side. They take turns, so that a slow phase of the machine hits all "
        "alike; float32. Of networks that train as several branches (SPAN) it is the merged one that other programs "
        "run, with the parameters that remain. What the columns mean is in docs/guide/students.md.",
    )
    parser.add_argument(
        "networks",
        nargs="*",
        metavar="NETWORK",
        help="the folder of a run; a .pth, .safetensors or .onnx file; builtin:NAME; a student by name (span-s); or "
        "an option file (NAME.yml), for its network_g and teachers with random weights",
    )
    parser.add_argument("--presets", action="store_true", help="all students that there are by name, and what for")
    parser.add_argument(
        "--scale",
        type=count,
        metavar="S",
        help="of students by name (default: that of the first other network, or else 4)",
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        default=((64, 64), (128, 128)),
        metavar="WxH,...",
        help="sizes of the input in px (default: 64x64,128x128)",
    )
    parser.add_argument("--repeats", type=count, default=7, metavar="N", help="rounds that are timed (default: 7)")
    parser.add_argument("--threads", type=count, metavar="N", help="of the CPU (default: as PyTorch has it)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "all"), default="all", help="default: the CPU, and the GPU if there is one"
    )
    parser.add_argument("--reference", metavar="NAME", help="the network to compare times with (default: the first)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number, and the machine")
    parser.add_argument(
        "--plot", type=_plot, metavar="FILE.svg", help="write quality against latency (.svg, .png or .pdf)"
    )
    parser.add_argument(
        "--results",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders of results/ that `basicsr test` wrote, each of the network that has its name",
    )
    parser.add_argument("--set", metavar="NAME", help="which test set of --results (default: the first)")
    parser.add_argument("--metric", metavar="NAME", help="which metric of --results (default: the first)")
    parser.add_argument(
        "--quality",
        nargs="+",
        action="extend",
        type=_quality,
        default=[],
        metavar="NAME=dB",
        help="quality of networks, by name",
    )
    add_import_flag(parser)
    parser.set_defaults(func=run_profile)


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    found = []
    for part in text.split(","):
        sides = part.strip().split("x")
        if len(sides) != 2 or not all(side.isdecimal() and int(side) >= 1 for side in sides):
            raise argparse.ArgumentTypeError(f"must be sizes such as 128x128,320x180 (width x height), got '{text}'")
        found.append((int(sides[0]), int(sides[1])))
    return tuple(dict.fromkeys(found))


def _plot(text: str) -> Path:
    if Path(text).suffix not in _SUFFIXES:
        raise argparse.ArgumentTypeError(f"must end in {', '.join(_SUFFIXES)}, got '{text}'")
    return Path(text)


def _quality(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be NAME=dB, such as span-s=28.1, got '{text}'")
    return name, number


def run_profile(options: argparse.Namespace) -> int:
    """Measure, print and write; returns the exit status."""
    install.everything()
    from functools import partial

    import torch

    from ..compare.environment import environment
    from ..prepare.parallel import progress
    from ..report import measure, profile_records, profile_table, write_profile_csv, write_profile_json
    from ..user_modules import import_modules, import_plugins
    from .profile_subjects import preset_columns, profile_subjects

    import_plugins()
    import_modules(options.imports)
    if not options.networks and not options.presets:
        raise ConfigError("nothing to profile: name networks (a run, a weight file, span-s, ...), or give --presets")
    devices = _devices(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)  # before ONNX networks are opened, which have as many
    subjects = profile_subjects(options.networks, options.presets, options.scale)
    names = [each.name for each in subjects]
    reference = options.reference or (_REFERENCE if options.presets and _REFERENCE in names else names[0])
    _known(reference, names, "--reference")
    label, quality = _qualities(options, names)
    watch = partial(progress, what="profile", unit="call")
    profiles = measure(
        subjects,
        options.sizes,
        devices,
        repeats=options.repeats,
        reference=reference,
        watch=lambda calls: watch(calls, total=len(calls)),
    )
    where = {
        **environment(gpu="cuda" in devices),
        "threads": str(torch.get_num_threads()),
        "precision": "float32",
        "rounds": str(options.repeats),
    }
    further = preset_columns(subjects) if options.presets else {}
    if quality:
        further = {label: {name: f"{value:.2f}" for name, value in quality.items()}, **further}
    print(_told(where))
    print(f"\n{profile_table(profiles, reference, further)}")
    records = profile_records(profiles, quality)
    if options.csv:
        write_profile_csv(records, options.csv)
    if options.json:
        write_profile_json(records, where, options.json)
    if options.plot:
        _draw(options.plot, profiles, quality, label, devices[0])
    for file in filter(None, (options.csv, options.json, options.plot)):
        print(f"written: {file}")
    return 0


def _devices(asked: str) -> list[str]:
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise DCKDError("--device cuda: PyTorch finds no GPU here; `basicsr doctor` says more, --device cpu measures")
    return {"cpu": ["cpu"], "cuda": ["cuda"], "all": ["cpu", "cuda"] if there else ["cpu"]}[asked]


def _told(where: Mapping[str, str]) -> str:
    return (
        f"{where['device']}; threads on the CPU: {where['threads']}; torch {where['torch']}, {where['precision']}. "
        f"Sizes are of the input. Times: median (quartiles) of {where['rounds']} rounds, in which the networks take "
        "turns. Parameters: after branches are merged."
    )


def _known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        hint = near_miss(name, names) or f"; there are: {', '.join(names)}"
        raise ConfigError(f"{what}: no network of this profile is called '{name}'{hint}")


def _qualities(options: argparse.Namespace, names: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Return what quality is called, and that of the networks of which it is known."""
    from ..inference.results import read_results

    found: dict[str, float] = {}
    label, chosen = "quality (dB)", (options.set, options.metric)
    for folder in options.results:
        results = read_results(folder)
        data = _pick(chosen[0], results, f"'{folder}' has no test set")
        metric = _pick(chosen[1], results[data]["mean"], f"'{folder}' has no metric of {data}")
        chosen, label = (data, metric), f"{metric} on {data}"  # all the same one
        matched = [name for name in names if folder.resolve().name in (name, Path(name).stem)]
        found.update(dict.fromkeys(matched, float(results[data]["mean"][metric])))
    if options.results and not found:
        folder = options.results[0].resolve().name
        hint = near_miss(folder, names) or f"; networks are: {', '.join(names)}"
        raise ConfigError(f"--results: no network of this profile has the name of one, as of '{folder}'{hint}")
    for name, value in options.quality:
        _known(name, names, "--quality")
        found[name] = value
    if options.plot and not found:
        raise ConfigError("--plot shows quality against latency: give --results FOLDER or --quality NAME=dB")
    return label, found


def _pick(wanted: str | None, known: Mapping[str, Any], what: str) -> str:
    if wanted is None and known:
        return next(iter(known))
    if wanted not in known:
        hint = near_miss(str(wanted), known) or f"; it has: {', '.join(known) or 'none'}"
        raise ConfigError(f"{what} '{wanted}'{hint}")
    return str(wanted)


def _draw(file: Path, profiles: Sequence[Profile], quality: Mapping[str, float], label: str, device: str) -> None:
    """Write the chart: one dot for each network of known quality, at the largest size."""
    from ..page.charts import Dot, dot_chart

    dots: list[Dot] = []
    size = (0, 0)
    for each in profiles:
        subject: Subject = each.subject
        known = [found for found in each.latencies if found.device == device]
        if subject.name in quality and known:
            at = max(known, key=lambda found: found.size[0] * found.size[1])
            size, y = at.size, quality[subject.name]
            text = f"{subject.name}: {y:.2f}, {at.milliseconds:.1f} ms"
            dots.append(Dot(subject.name, at.milliseconds, y, y, y, len(dots) % 7, text))
    x_label = f"milliseconds at {size[0]}x{size[1]} ({device}), logarithmic"
    dot_chart(dots, "Quality against latency", "", x_label, label, logarithmic=True).write(file)
