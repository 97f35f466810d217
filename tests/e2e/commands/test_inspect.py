"""``basicsr inspect``: what is known by hand, at another place of a run, with its weights; and nothing is written."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from dckd_basicsr.cli import main
from tests.tiny import run, write_job

Table = dict[str, dict[str, str]]

NEGATIVE = '''
from dckd_basicsr.distill import register_term
from dckd_basicsr.distill.terms import PixelTerm


@register_term("negative")
class NegativeTerm(PixelTerm):
    """What pulls away from GT."""

    def forward(self, step):
        return -super().forward(step)
'''
ALONE = [f"train:{name}_opt=~" for name in ("logits", "contrastive", "distribution", "consistency")]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    write_job(folder)
    (folder / "my_terms.py").write_text(NEGATIVE)
    return folder


def inspected(folder: Path, *arguments: str) -> tuple[Table, Table, str]:
    """Run it in this process; return its two tables by row and column, and all it printed."""
    before, printed = sorted(folder.rglob("*")), io.StringIO()
    back = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed):
            assert main(["inspect", "-opt", "job.yml", *arguments]) == 0
    finally:
        os.chdir(back)
    assert sorted(folder.rglob("*")) == before
    return *tables_in(printed.getvalue()), printed.getvalue()


def tables_in(said: str) -> tuple[Table, Table]:
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", said, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        tables.append({row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows})
    return tables[0], tables[1]


def test_what_is_known_by_hand(job: Path) -> None:
    listed = "train:losses=[{type: pixel, weight: 2, name: l_two}, {type: negative, weight: 0.5}]"
    arguments = ["--import", "my_terms", "--batches", "3", "--force_yml", *ALONE, listed]
    done = run(job, "inspect", "-opt", "job.yml", *arguments)
    assert done.returncode == 0, done.stderr
    assert "tiny, iteration 1: 3 x 2 LQ patches of 16x16 px; EDSR with 4531 parameters" in done.stdout
    assert re.search(r"inspect: 100%.* 3/3 ", done.stderr)
    terms, cosines = tables_in(done.stdout)
    assert [terms["l_two"][key] for key in ("weight", "ratio to l_pix", "equal at weight")] == ["2", "2", "1"]
    assert [terms["l_negative"][key] for key in ("weight", "ratio to l_pix", "equal at weight")] == ["0.5", "0.5", "1"]
    assert [terms[name]["share of total"] for name in terms] == ["40.0 %", "80.0 %", "-20.0 %", "-"]
    assert terms["l_total"]["ratio to l_pix"] == "2.5"
    assert cosines["l_pix"] == {"l_pix": "1", "l_two": "1.000 ± 0.000", "l_negative": "-1.000 ± 0.000",
                                "l_total": "1.000 ± 0.000"}  # fmt: skip
    assert cosines["l_negative"]["l_total"] == "-1.000 ± 0.000"


def test_schedules_are_as_at_that_iteration(job: Path) -> None:
    weight = "train:logits_opt:loss_weight={type: linear, from: 0.0, to: 3.0}"
    contrast = "train:contrastive_opt:loss_weight=0.5"
    first, _, said = inspected(job, "--batches", "1", "--force_yml", weight, contrast)
    assert "l_logits" not in first
    assert "l_logits is not there: its weight is 0 in iteration 1" in said
    assert first["l_contrast"]["weight"] == "0.5"
    assert first["l_dist"]["weight"] == "0.001"  # the loss's own
    third, _, said = inspected(job, "--batches", "1", "--iteration", "3", "--force_yml", weight, contrast)
    assert third["l_logits"]["weight"] == "1"
    assert "not there" not in said


def test_the_weights_of_a_run_and_the_state_of_one(job: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    shutil.copytree(job, folder)
    assert run(folder, "train", "-opt", "job.yml", "--force_yml", "train:total_iter=4").returncode == 0
    weights, steps = "experiments/tiny/models/net_g_3.pth", ["--batches", "2", "--iteration", "4"]
    average = torch.load(folder / weights, weights_only=True)["params_ema"]
    torch.save(average, folder / "average.pth")
    told = ["path:pretrain_network_g=average.pth", "path:param_key_g=~"]
    wanted, _, _ = inspected(folder, *steps, "--force_yml", *ALONE, *told)
    found, _, _ = inspected(folder, "--weights", weights, *steps, "--force_yml", *ALONE)
    assert found == wanted
    of_student, _, _ = inspected(folder, *steps, "--force_yml", *ALONE, f"path:pretrain_network_g={weights}")
    assert of_student != wanted
    resumed = "path:resume_state=experiments/tiny/training_states/3.state"
    log = next((folder / "experiments/tiny").glob("train_*.log")).read_text()
    one, _, said = inspected(folder, "--batches", "1", "--force_yml", resumed, "train:total_iter=4")
    assert "tiny, iteration 4: 1 x 2 LQ patches" in said
    logged = dict(re.findall(r"(l_\w+): (\S+)", next(line for line in log.splitlines() if "iter:       4" in line)))
    assert logged.keys() == one.keys()
    for name, value in logged.items():  # negatives, transforms and history model too are those of the run
        assert float(one[name]["value"]) == pytest.approx(float(value), rel=1e-3)


def test_inputs_alone_in_accumulated_parts(job: Path) -> None:
    options = ["train:pixel_opt=~", "datasets:train:type=SinglePatchDataset", "datasets:train:dataroot_gt=~",
               "datasets:train:dataroot_lq=photos", "datasets:train:io_backend:type=disk", "train:accumulate=2",
               "datasets:train:dataset_enlarge_ratio=4"]  # fmt: skip
    terms, _, said = inspected(job, "--batches", "3", "--force_yml", *options)
    assert "3 x 2 LQ patches of 16x16 px" in said
    assert terms["l_logits"]["ratio to l_logits"] == "1"
    assert "l_pix" not in terms
