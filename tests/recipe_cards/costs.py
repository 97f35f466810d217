"""What the packaged trainings cost: counted once, and kept in ``costs.json`` beside what it was counted of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dckd_basicsr.archs import outline
from dckd_basicsr.config import packaged_options
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.report import image_cost
from dckd_basicsr.report.cost import parameter_count

from ..benchmarks.sweeps import work_of

__all__ = ["COSTS", "counted_of", "kept", "network_cost", "options_of", "training_cost", "trainings", "write_costs"]

COSTS = Path(__file__).with_name("costs.json")


def trainings() -> list[str]:
    """The packaged option files that train a network, by name."""
    return [name for name in packaged_options() if not name.startswith(("test_", "demo_test"))]


def options_of(name: str, methods: tuple[str, ...] = ()) -> dict[str, Any]:
    """A packaged file's options, with what it inherits."""
    return resolve_options(packaged_options()[name], [], methods)[0]


def counted_of(opt: Mapping[str, Any]) -> str:
    """A sum of all that the costs of a training depend on; they are stale where it differs."""
    data = opt["datasets"]["train"]
    read = {key: data.get(key) for key in ("gt_size", "batch_size_per_gpu", "progressive")}
    parts = {key: value for key, value in opt.items() if key.startswith("network_") or key in ("scale", "train")}
    return hashlib.sha256(json.dumps([parts, read], sort_keys=True).encode()).hexdigest()[:16]


def network_cost(block: Mapping[str, Any], scale: int) -> dict[str, Any]:
    """Parameters, and multiply-adds for an output of 1280x720."""
    bare = dict(block)
    if "teachers" in block:  # inside a network; their files are not needed to count
        bare["teachers"] = [{**each, "path": None} for each in block["teachers"]]
    return {"parameters": parameter_count(outline(bare, scale=scale).net), "multiply_adds": image_cost(bare, scale)}


def training_cost(name: str) -> dict[str, Any]:
    """Count everything of one file; takes seconds to a minute."""
    opt = options_of(name)
    nets = {key: network_cost(opt[key], opt["scale"]) for key in ("network_g", "network_teacher") if opt.get(key)}
    found = {"of": counted_of(opt), **nets, "multiply_adds": None, "hours": None}
    if opt["model_type"] in ("DCKDModel", "RestorationModel"):  # steps of others are not counted
        alone = options_of(name, ("scratch",)) if opt["model_type"] == "DCKDModel" else opt
        work = work_of(opt, alone)
        found |= {"multiply_adds": work.multiply_adds, "hours": round(work.hours, 1)}
    return found


def kept() -> dict[str, dict[str, Any]]:
    """The costs as counted last, by option file."""
    return json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.is_file() else {}


def write_costs() -> None:
    """Count what is new or stale, and keep it, one file after the other: seconds to minutes each."""
    known = kept()
    found: dict[str, dict[str, Any]] = {}
    for name in tqdm(trainings(), "count", unit="file"):
        fresh = known.get(name, {}).get("of") == counted_of(options_of(name))
        found[name] = known[name] if fresh else training_cost(name)
        COSTS.write_text(json.dumps({**known, **found}, indent=1) + "\n", encoding="utf-8")
    COSTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
