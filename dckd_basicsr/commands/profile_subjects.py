"""The networks that ``basicsr profile`` is asked about: opened, merged, and named apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..archs import PRESETS, build, merged, preset
from ..config import builtin_weights, find_options, load_options, packaged_options
from ..config.networks import networks_of, teachers_of
from ..errors import ConfigError, DCKDError, near_miss
from ..portable import OnnxNetwork, initializer_count, open_network, programs_of
from ..report import Subject, parameter_count

__all__ = ["preset_columns", "profile_subjects"]

_SCALE = 4
_FILES = (".pth", ".safetensors", ".onnx", ".yml")


def profile_subjects(sources: Sequence[str], presets: bool, scale: int | None) -> list[Subject]:
    """Open networks.

    Args:
        sources: as the command line names them.
        presets: all students by name of that scale too.
        scale: of students by name; None for that of the first other network, or 4.

    Returns:
        At least one, each with a name of its own.

    Raises:
        DCKDError: something is no network; names the nearest thing there is.
    """
    others = {source: list(_opened(source)) for source in dict.fromkeys(sources) if source not in PRESETS}
    first = next((found[0].facts.scale for found in others.values() if found), _SCALE)
    scale = scale or first
    found = []
    for source in dict.fromkeys(sources):
        found += others[source] if source in others else [_of_preset(source, scale)]
    if presets:
        known = [name for name, each in PRESETS.items() if scale in each.scales and name not in sources]
        if not known and not found:
            scales = sorted({s for each in PRESETS.values() for s in each.scales})
            raise ConfigError(f"there is no student by name for scale {scale}; scales are: {scales}")
        found += [_of_preset(name, scale) for name in known]
    return _apart(found)


def preset_columns(subjects: Sequence[Subject]) -> dict[str, dict[str, str]]:
    """Return what students by name are good for, and which programs load each network."""
    uses = {each.name: PRESETS[each.name].use for each in subjects if each.name in PRESETS}
    programs = {each.name: ", ".join(p.name for p in programs_of(each.architecture)) for each in subjects}
    return {"good for": uses, "loaded by": programs}


def _of_preset(name: str, scale: int) -> Subject:
    net, facts = build(preset(name).block(scale), frozen=True)
    net = merged(net)
    return Subject(name, net, facts, type(net).__name__, parameter_count(net))


def _opened(source: str) -> Iterator[Subject]:
    """Yield the networks that one word of the command line stands for."""
    path = next((each for each in (Path(source).expanduser(), Path("experiments", source)) if each.exists()), None)
    if path is not None and path.suffix in (".yml", ".yaml"):
        yield from _of_options(path)
    elif path is not None or source.startswith("builtin:"):
        yield _of_file(source if path is None else str(path))
    elif source.endswith((".yml", ".yaml")):
        yield from _of_options(find_options(source))  # a packaged one, or an error that names the nearest
    else:
        raise ConfigError(f"there is no network '{source}': {_what_there_is(source)}")


def _what_there_is(source: str) -> str:
    known = [*PRESETS, *(f"builtin:{name}" for name in builtin_weights()), *packaged_options()]
    known += [file.parent.name for file in sorted(Path("experiments").glob("*/options.yml"))]
    known += [str(each) for each in Path(source).parent.glob("*") if each.suffix in _FILES or each.is_dir()]
    hint = near_miss(source, known).removeprefix("; ")
    return hint or f"no file or run, and students by name are: {', '.join(PRESETS)}"


def _of_file(source: str) -> Subject:
    opened = open_network(source, autoencoders=True)
    name = opened.run.resolve().name if opened.run else Path(source).name if ":" not in source else source
    if isinstance(opened.net, OnnxNetwork):
        count = initializer_count(opened.file)
        return Subject(name, opened.net, opened.facts, opened.name, count, torch_network=False)
    net = merged(opened.net)
    return Subject(name, net, opened.facts, opened.name, parameter_count(net))


def _of_options(file: Path) -> Iterator[Subject]:
    options, _ = load_options(file)
    scale = options.get("scale")
    networks = [network for label, network in networks_of(options).items() if label == "g"] + teachers_of(options)
    if not networks:
        raise ConfigError(f"option file '{file}' has neither network_g nor a teacher; nothing to profile")
    for network in networks:
        name = file.stem if network.label == "g" else f"{file.stem} {network.label}"
        try:
            net, facts = build(network.block, scale=scale if isinstance(scale, int) else None, frozen=True)
        except DCKDError:
            raise
        except Exception as error:  # an unregistered type, or whatever a constructor raises
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"option file '{file}': {network.place} cannot be built ({reason})") from error
        net = merged(net)
        yield Subject(name, net, facts, type(net).__name__, parameter_count(net))


def _apart(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the networks under names of which no two are alike."""
    found: list[Subject] = []
    for each in subjects:
        taken, name, count = {other.name for other in found}, each.name, 1
        while name in taken:
            count += 1
            name = f"{each.name} ({count})"
        found.append(replace(each, name=name))
    return found
