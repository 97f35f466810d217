"""Every sweep in ``options/sweeps/`` is right: each of its trainings and tests passes the check, but for files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from dckd_basicsr.compare import Base, Sweep, Variant, load_sweep
from dckd_basicsr.compare.sweep import packaged_sweeps
from dckd_basicsr.config import find_options, option_notes, option_problems
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.distill.terms import TERM_KEYS

SWEEPS = packaged_sweeps()
TESTED = {
    "bench_cpu": ["Set5", "Set14"],
    "table2_rcan": ["Set5", "Set14", "BSD100", "Urban100"],
    "table2_swinir": ["Set5", "Set14", "BSD100", "Urban100"],
    "table3_gopro": ["GoPro"],
    "table4_derain": ["Test100", "Rain100H", "Rain100L", "Test2800", "Test1200"],
    "table5_components": ["Set5", "Set14", "BSD100", "Urban100"],
    "table6_degradations": ["Set5", "Set14", "BSD100", "Urban100"],
    "table7_lambdas": ["Set5", "Set14", "BSD100", "Urban100"],
    "table8_swinir_light": ["Set14", "BSD100", "Urban100", "Manga109"],
    "fig8_interval": ["Set5", "Set14", "BSD100", "Urban100"],
    "fig8_negatives": ["Set5", "Set14", "BSD100", "Urban100"],
}


def overrides(*options: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for block in options for key, value in block.items()]


def training(sweep: Sweep, base: Base, variant: Variant) -> dict[str, Any]:
    given = overrides(sweep.options, base.options, variant.options)
    return resolve_options(find_options(base.train), given, variant.methods)[0]


def trainings(name: str) -> dict[str, dict[str, Any]]:
    """The resolved options of each variant of the first base."""
    sweep = load_sweep(SWEEPS[name])
    base = next(iter(sweep.bases.values()))
    return {key: training(sweep, base, variant) for key, variant in sweep.variants.items()}


def test_the_set_is_complete() -> None:
    assert SWEEPS.keys() == TESTED.keys()


@pytest.mark.parametrize("name", SWEEPS)
def test_every_run_passes_the_check_but_for_files(name: str) -> None:
    sweep = load_sweep(SWEEPS[name])
    assert sweep.name == name
    assert sweep.seeds == (0, 1, 2)
    for key, base in sweep.bases.items():
        found = [
            training(sweep, base, variant)
            for variant in sweep.variants.values()
            if variant.bases is None or key in variant.bases
        ]
        for opt in found:
            assert option_problems(opt) == []
            assert option_notes(opt) == []
        distinct = {json.dumps({**opt, "name": ""}, sort_keys=True) for opt in found}
        assert len(distinct) == len(found), "no two variants are the same training"
        given = overrides(sweep.test_options, base.test_options)
        test, _ = resolve_options(find_options(base.test), given, (), is_train=False)
        assert [dataset["name"] for dataset in test["datasets"].values()] == TESTED[name]
        assert option_problems({**test, "network_g": found[0]["network_g"]}, is_train=False) == []
        assert test["scale"] == found[0]["scale"]


@pytest.mark.parametrize("name", [name for name in SWEEPS if name != "bench_cpu"])
def test_the_comment_says_what_it_costs_and_what_to_get(name: str) -> None:
    comment = SWEEPS[name].read_text(encoding="utf-8").split("\nname:")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    for part in ("DCKD paper", f"basicsr compare {name}", "# Cost, estimated: ", "CHANGE", "VQGAN"):
        assert part in comment


def test_the_ablations_change_what_their_tables_name() -> None:
    terms = {
        name: {key for key in TERM_KEYS if opt["train"].get(key)}
        for name, opt in trainings("table5_components").items()
    }
    plain = {"pixel_opt", "logits_opt"}
    assert terms == {
        "none": plain,
        "dcr": {*plain, "contrastive_opt"},
        "dmm": {*plain, "distribution_opt"},
        "both": {*plain, "contrastive_opt", "distribution_opt"},
    }
    kinds = ("blur", "resize", "noise")
    degraded = {
        name: tuple(opt["train"]["negatives"]["degradation"][kind]["prob"] for kind in kinds)
        for name, opt in trainings("table6_degradations").items()
    }
    assert degraded == {"blur": (1, 0, 0), "resize": (0, 1, 0), "noise": (0, 0, 1), "mix": (1, 1, 1)}
    weights = {
        name: tuple(opt["train"][key]["loss_weight"] for key in ("contrastive_opt", "distribution_opt"))
        for name, opt in trainings("table7_lambdas").items()
    }
    assert list(weights.values()) == [(0.01, 0.001), (1, 0.001), (0.1, 1e-4), (0.1, 0.01), (0.1, 0.001)]
    assert [opt["train"]["negatives"]["num"] for opt in trainings("fig8_negatives").values()] == [3, 4, 5, 6, 7]
    steps = [[every for _, every in opt["train"]["history"]["schedule"]] for opt in trainings("fig8_interval").values()]
    assert steps == [[s, 2 * s, 3 * s] for s in (100, 500, 1000, 2000, 5000)]
