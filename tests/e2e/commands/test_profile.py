"""``basicsr profile`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import run


def test_students_beside_shipped_weights(tmp_path: Path) -> None:
    command = ("profile", "builtin:edsr_x4_f64b16", "edsr-m", "span-s", "--sizes", "8x8,16x12", "--repeats", "3")
    done = run(tmp_path, *command, "--threads", "1", "--json", "found.json")
    assert done.returncode == 0, done.stderr
    assert "threads on the CPU: 1" in done.stdout
    assert "24/24" in done.stderr, "3 networks, 2 sizes, 3 rounds and one untimed: the bar is full"
    header, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.split("\n") if "|" in line
    ]
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(table) == ["builtin:edsr_x4_f64b16", "edsr-m", "span-s"]
    shipped, student = table["builtin:edsr_x4_f64b16"], table["edsr-m"]
    same = ("scale", "parameters", "G multiply-adds / megapixel", "activations at 16x12 (MiB)")
    assert [shipped[key] for key in same] == [student[key] for key in same]
    assert shipped["parameters"] == "1,517,571"
    assert shipped["time / builtin:edsr_x4_f64b16"] == "1.00"
    records = json.loads((tmp_path / "found.json").read_text())["networks"]
    assert [(each["width"], each["height"]) for each in records] == [(8, 8), (16, 12)] * 3
    assert all(0 < each["milliseconds_first_quartile"] <= each["milliseconds"] for each in records)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["found.json"]
