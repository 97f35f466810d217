"""Commands with weight files under their authors' names: trained by, tested, restored with."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
import yaml

from tests.e2e.given.layouts import Job
from tests.published_nets import published_edsr, published_rcan
from tests.tiny import write_job

RCAN = {
    **{"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_group": 2, "num_block": 2},
    **{"squeeze_factor": 4, "upscale": 2},
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        job = Job(tmp_path_factory.mktemp("published"), patch)
        torch.manual_seed(2)
        write_job(job.folder)
        state = {"module." + key: value for key, value in published_edsr(12, 2).state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, job.folder / "edsr.pt")
        torch.save(published_rcan(rgb_range=1).state_dict(), job.folder / "rcan.pt")
        yield job


def test_a_run_is_taught_by_a_published_file(job: Job) -> None:
    """And its loss is that of the same teacher under its own names."""
    net = published_edsr(12, 2)
    net.load_state_dict({k[7:]: v for k, v in torch.load(job.folder / "edsr.pt")["state_dict"].items()})
    from dckd_basicsr.archs.layouts import from_published

    read = from_published(net.state_dict())
    assert read is not None
    torch.save({"params": read.state}, job.folder / "own.pth")
    losses = {}
    for name in ("edsr.pt", "own.pth"):
        log = job.basicsr(
            "train", "-opt", "job.yml", "--force_yml", "name=taught", "train:total_iter=1", "val:val_freq=9",
            "train:contrastive_opt=~", "train:distribution_opt=~", "train:consistency_opt=~",
            f"path:pretrain_network_teacher={name}",
        )  # fmt: skip
        losses[name] = next(line.split("l_logits: ")[1].split()[0] for line in log.splitlines() if "l_logits: " in line)
    assert losses["edsr.pt"] == losses["own.pth"]
    assert float(losses["own.pth"]) > 0


def test_a_published_file_is_tested_and_restores(job: Job) -> None:
    options = yaml.safe_load((job.folder / "job.yml").read_text())
    kept = {key: options[key] for key in ("model_type", "scale", "num_gpu", "manual_seed", "val")}
    paths = {"pretrain_network_g": "rcan.pt"}
    test = {**kept, "name": "tested", "datasets": {"test_1": options["datasets"]["val"]}, "path": paths}
    test["network_g"] = {**RCAN, "img_range": 1.0}
    (job.folder / "test.yml").write_text(yaml.safe_dump(test))
    job.basicsr("test", "-opt", "test.yml", "--force_yml", "val:save_img=true")
    (measured,) = json.loads((job.folder / "results/tested/metrics.json").read_text()).values()
    assert measured["count"] == 3

    job.basicsr("restore", "photos", "-o", "large", "--weights", "rcan.pt", "--quiet")
    photo = torch.from_numpy(cv2.imread(str(job.folder / "photos/photo0.png"))[..., ::-1].copy()).permute(2, 0, 1)
    net = published_rcan(rgb_range=1)
    net.load_state_dict(torch.load(job.folder / "rcan.pt"))
    want = net.answer(photo[None] / 255)[0].clamp(0, 1).mul(255).round()
    (restored,) = Path(job.folder, "large").glob("photo0*.png")
    found = torch.from_numpy(cv2.imread(str(restored))[..., ::-1].copy()).permute(2, 0, 1)
    assert (found - want).abs().max() <= 1
    assert want.std() > 1, "a picture that tells something"
