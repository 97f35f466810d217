"""A profile as a table for people, and as records for programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..weight_files import atomic_write
from .profile import Latency, Profile, Size
from .table import markdown_table

__all__ = ["profile_records", "profile_table", "write_profile_csv", "write_profile_json"]


def profile_table(
    profiles: Sequence[Profile], reference: str, further: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Return a Markdown table with one line a network.

    Args:
        profiles: measured together.
        reference: the network that latencies were compared with.
        further: columns to add: heading -> network -> text.
    """
    devices, sizes = _devices_and_sizes(profiles)
    largest, several = max(sizes, key=lambda size: size[0] * size[1]), len(devices) > 1
    header = ["network", "scale", "parameters", "G multiply-adds / megapixel"]
    header += [f"activations at {_text(largest)}{f', {device}' if several else ''} (MiB)" for device in devices]
    for device in devices:
        on = f", {device}" if several else ""
        header += [f"ms at {_text(size)}{on}" for size in sizes]
        header += [f"ms / megapixel{on}", f"time / {reference}{on}"]
    columns = further or {}
    rows = []
    for each in profiles:
        row = [each.subject.name, str(each.subject.facts.scale), f"{each.subject.parameters:,}"]
        row += ["-" if each.multiply_adds is None else f"{each.multiply_adds / 1e9:.1f}"]
        row += [_mebibytes(each.activations.get(device)) for device in devices]
        for device in devices:
            known = {found.size: found for found in each.latencies if found.device == device}
            row += [_spread(known.get(size)) for size in sizes]
            at = known.get(largest)
            row += ["-" if at is None else f"{at.per_megapixel:.0f}"]
            row += ["-" if at is None or at.relative is None else f"{at.relative:.2f}"]
        rows.append([*row, *(values.get(each.subject.name, "-") for values in columns.values())])
    return markdown_table([*header, *columns], rows)


def profile_records(profiles: Sequence[Profile], quality: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return one flat record for each network, device and size: numbers as measured, None where unknown."""
    found = []
    for each in profiles:
        for at in each.latencies:
            found.append(
                {
                    "network": each.subject.name,
                    "architecture": each.subject.architecture,
                    "scale": each.subject.facts.scale,
                    "parameters": each.subject.parameters,
                    "multiply_adds_per_megapixel": each.multiply_adds,
                    "activation_bytes_at_largest": each.activations.get(at.device),
                    "device": at.device,
                    "width": at.size[0],
                    "height": at.size[1],
                    "milliseconds": at.milliseconds,
                    "milliseconds_first_quartile": at.low,
                    "milliseconds_third_quartile": at.high,
                    "milliseconds_per_megapixel": at.per_megapixel,
                    "relative": at.relative,
                    "quality": (quality or {}).get(each.subject.name),
                }
            )
    return found


def write_profile_csv(records: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write records as CSV, whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(records[0]))
            writer.writeheader()
            writer.writerows(records)

    atomic_write(file, write)


def write_profile_json(records: Sequence[Mapping[str, Any]], where: Mapping[str, Any], file: Path) -> None:
    """Write records and what was measured ``where`` as JSON, whole or not at all."""
    text = json.dumps({"measured": dict(where), "networks": list(records)}, indent=1)
    atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _devices_and_sizes(profiles: Sequence[Profile]) -> tuple[list[str], list[Size]]:
    latencies: list[Latency] = [found for each in profiles for found in each.latencies]
    devices = list(dict.fromkeys(found.device for found in latencies))
    return devices, list(dict.fromkeys(found.size for found in latencies))


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f}"


def _spread(found: Latency | None) -> str:
    """Return median and quartiles: ``12.3 (12.1-12.9)``."""
    if found is None:
        return "-"
    digits = 0 if found.milliseconds >= 1000 else 1 if found.milliseconds >= 10 else 2
    return f"{found.milliseconds:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"
